"""encode_point, decode_point and simulate_point against the single operators, one by one."""

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from fmtc import ops

LO, HI = -20, 20  # of the tables; levels go beyond
LEVELS = -60, 61


class Point:
    """The parameters of a point with random contents, and the stages one by one."""

    def __init__(self, seed=0, *, channels=5, kind="matrix", sources=1, split=True, classes=3,
                 coder="rans", lane_values=0):  # fmt: skip
        g = torch.Generator().manual_seed(seed)
        self.kind, self.classes = kind, classes if coder == "rans" else 1
        self.coder, self.lane_values = coder, lane_values
        self.channels, self.step = channels, 0.25
        levels = channels
        self.matrix = self.offset = self.inverse = self.mean = self.places = self.steps = None
        self.size = 1
        outside, components = channels, channels
        if kind in ("matrix", "matrix+dct2", "matrix+dct4"):
            components = levels = max(channels - 1, 1)
            self.matrix = torch.randn(levels, channels, generator=g)
            self.offset = torch.randn(levels, generator=g)
            self.inverse = self.matrix.T.contiguous()
            self.mean = torch.randn(outside, generator=g)
        if "dct" in kind:
            self.size = int(kind[-1])
            count = self.size**2
            coded = torch.rand(components, count, generator=g) < 0.7
            coded[:, 0] = True
            levels = int(coded.sum())
            self.places = torch.full((components, count), -1, dtype=torch.int32)
            self.places[coded] = torch.randperm(levels, generator=g).to(torch.int32)
            self.steps = 0.1 + torch.rand(count, generator=g)
        self.levels_planes = levels
        sources = min(sources, levels - 1)
        coefficients = torch.randint(-2000, 2000, (levels, 3 + 9 * sources), generator=g)
        if coder == "huffman":  # whose tables must have all symbols
            coefficients.zero_()
        self.coefficients = coefficients.to(torch.int16)
        self.shifts = torch.zeros(levels, dtype=torch.int64)
        if split:
            self.shifts[::3] = torch.randint(1, 6, (len(self.shifts[::3]),), generator=g)
        self.planes = levels + int((self.shifts > 0).sum())
        segments = 1 + self.planes * self.classes if self.classes > 1 else self.planes
        self.table_of = torch.randint(0, 4, (segments,), generator=g)
        self.weights = self.thresholds = None
        if self.classes > 1:
            self.weights = torch.randint(0, 600, (self.planes,), generator=g, dtype=torch.int32)
            self.thresholds = torch.randint(0, 8000, (self.classes - 1,), generator=g).sort().values
        self.first = LEVELS[0] if coder == "huffman" else LO
        width = LEVELS[1] - LEVELS[0] + 1 if coder == "huffman" else HI - LO + 1
        counts = torch.randint(1, 900, (4, width), generator=g)
        if coder == "rans":
            tables = ops.rans_tables(ops.rans_frequencies(counts, 12))
            self.encode_table, self.decode_table, self.base = tables
        else:
            self.encode_table, self.decode_table = ops.huffman_tables(
                ops.huffman_lengths(counts, 12)
            )
            self.base = None
        self.groups = torch.randint(0, 3, (segments,), generator=g)
        self.crop = (0, 0)

    def x(self, images, height, width, seed=1, dtype=torch.float32):
        g = torch.Generator().manual_seed(seed)
        self.crop = (-height % self.size, -width % self.size)
        return (3 * torch.randn(images, self.channels, height, width, generator=g)).to(dtype)

    def rows(self, height, width):
        return -(-height // self.size), -(-width // self.size)

    # -- The arguments of the operators

    def encode_args(self, x, counting=True):
        quantizer = self.matrix, self.offset, self.places, self.steps, self.step, *LEVELS
        symbols = self.coefficients, self.shifts, self.planes, self.weights, self.thresholds
        coder = self.coder, self.first, self.table_of, self.encode_table, 7, *self.crop
        counts = (self.groups, 3, HI - LO + 1) if counting else (None, 0, 0)
        return x, *quantizer, *symbols, *coder, self.lane_values, *counts

    def decode_args(self, data, used, height, width, limits=(None, None), dtype="float32"):
        coder = self.coder, self.first, self.table_of, self.decode_table, self.base, 7
        symbols = self.coefficients, self.shifts, self.planes
        back = self.inverse, self.mean, self.places, self.steps, self.step, *self.crop
        return data, used, *self.rows(height, width), *coder, *symbols, *back, *limits, dtype

    def simulate_args(self, x, limits=(None, None), counting=True):
        quantizer = self.matrix, self.offset, self.inverse, self.mean, self.places, self.steps
        symbols = self.coefficients, self.shifts, self.planes, self.weights, self.thresholds
        counts = (self.groups, 3, HI - LO + 1) if counting else (None, 0, 0)
        return x, *quantizer, self.step, *LEVELS, *symbols, *limits, self.first, *counts

    # -- The same by the single operators

    def quantized(self, x):
        if self.places is not None:
            if self.matrix is not None:
                x = ops.transform_channels(x, self.matrix, self.offset)
            return ops.dct_quantize(x, self.places, self.levels_planes, self.steps, *LEVELS)
        if self.matrix is not None:
            return ops.transform_quantize(x, self.matrix, self.offset, self.step, *LEVELS)
        return ops.quantize(x.float(), self.step, *LEVELS)

    def symbols(self, levels):
        residuals = ops.predict(levels, self.coefficients)
        planes = list(residuals.unbind(1))
        for k in self.shifts.nonzero()[:, 0].tolist():
            shift = int(self.shifts[k])
            planes.append(planes[k] & (1 << shift) - 1)
            planes[k] = planes[k] >> shift
        return torch.stack(planes, 1)

    def classes_of(self, symbols):
        if self.classes == 1:
            return None
        activity = ops.position_activity(symbols, self.weights)
        return torch.bucketize(activity, self.thresholds, right=True).to(torch.uint8)

    def counted(self, symbols, classes):
        by = self.first, self.first + HI - LO, self.groups, 3
        if classes is not None:
            return ops.position_histogram(symbols, classes, self.classes, *by)
        return ops.histogram(symbols.clamp(*by[:2]), *by)

    def encoded(self, x):
        levels, clamped = self.quantized(x)
        symbols = self.symbols(levels)
        classes = self.classes_of(symbols)
        tables = symbols, self.first, self.table_of, self.encode_table, 7, *self.crop
        if self.coder == "rans":
            data, used = ops.rans_encode(*tables, classes, self.lane_values)
        else:
            data, used = ops.huffman_encode(*tables, self.lane_values)
        return data, used, clamped, self.counted(symbols, classes)

    def decoded(self, data, used, height, width, limits=(None, None), dtype=torch.float32):
        shape = self.planes, *self.rows(height, width)
        tables = data, used, self.first, self.table_of, self.decode_table
        if self.coder == "rans":
            symbols, status = ops.rans_decode(*tables, self.base, 7, *shape)
        else:
            symbols, status = ops.huffman_decode(*tables, 7, *shape)
        planes = list(symbols.unbind(1))
        low = self.levels_planes
        for k in self.shifts.nonzero()[:, 0].tolist():
            planes[k] = planes[k] << int(self.shifts[k]) | planes[low]
            low += 1
        levels = ops.unpredict(torch.stack(planes[: self.levels_planes], 1), self.coefficients)
        return self.restored(levels, height, width, limits, dtype), status

    def restored(self, levels, height, width, limits=(None, None), dtype=torch.float32):
        if self.places is not None:
            of_places = self.places, height, width, self.steps
            if self.inverse is None:
                return ops.dequantize_dct(levels, *of_places, dtype)
            y = ops.dequantize_dct(levels, *of_places)
            return ops.transform_channels(y, self.inverse, self.mean, *limits).to(dtype)
        if self.inverse is not None:
            by = self.inverse, self.mean, self.step, *limits, dtype
            return ops.dequantize_transform(levels, *by)
        return ops.dequantize(levels, self.step, dtype)


KINDS = ["matrix", "step", "dct2", "dct4", "matrix+dct2", "matrix+dct4"]
SIZES = [(2, 8, 12), (3, 7, 7), (1, 1, 1), (5, 3, 9), (0, 4, 4), (2, 1, 5), (1, 40, 41)]


def sample_inputs():
    for kind in KINDS:
        for coder in ("rans", "huffman"):
            point = Point(3, kind=kind, coder=coder)
            x = point.x(3, 7, 9)
            yield "encode_point", point.encode_args(x)
            data, used, *_ = ops.encode_point(*point.encode_args(x))
            yield "decode_point", point.decode_args(data, used, 7, 9)
            yield "simulate_point", point.simulate_args(x)
    point = Point(4, classes=1, split=False, sources=0)
    x = point.x(2, 5, 6, dtype=torch.float16)
    yield "encode_point", point.encode_args(x, counting=False)
    yield "simulate_point", point.simulate_args(x, (0.0, 6.0), counting=False)
    yield "encode_point", point.encode_args(point.x(0, 5, 6))


SAMPLES = list(sample_inputs())


def check(point, x, limits=(None, None), dtype=torch.float32):
    """All three operators give what the single ones give."""
    height, width = x.shape[2:]
    made, expected = ops.encode_point(*point.encode_args(x)), point.encoded(x)
    for one, other in zip(made, expected, strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)
    data, used, clamped, counts = expected
    y, status = ops.decode_point(*point.decode_args(data, used, height, width, limits, dtype))
    expected, _ = point.decoded(data, used, height, width, limits, dtype)
    assert not status.any() and y.dtype == dtype and torch.equal(y, expected)
    same = ops.simulate_point(*point.simulate_args(x, limits))
    for one, other in zip(same, (y.to(x.dtype), clamped, counts), strict=True):
        assert one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coder", ["rans", "huffman"])
@pytest.mark.parametrize("size", SIZES)
def test_points_are_their_stages(kind, coder, size):
    point = Point(sum(size), kind=kind, coder=coder)
    check(point, point.x(*size), (0.0, 6.0) if "matrix" in kind else (None, None))


@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from(KINDS),
    coder=st.sampled_from(["rans", "huffman"]),
    channels=st.integers(1, 20),
    sources=st.integers(0, 16),
    split=st.booleans(),
    classes=st.sampled_from([1, 2, 4, 8]),
    lane_values=st.sampled_from([0, 256, 4096]),
    size=st.tuples(st.integers(1, 9), st.integers(1, 21), st.integers(1, 21)),
)
@hypothesis_settings(max_examples=60)
def test_any_point_is_its_stages(seed, size, **parameters):
    point = Point(seed, **parameters)
    check(point, point.x(*size, seed=seed))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_other_dtypes_and_strides(dtype):
    point = Point(5)
    x = point.x(3, 9, 7, dtype=dtype).to(memory_format=torch.channels_last)
    check(point, x, dtype=dtype)
    check(point, point.x(3, 7, 9).transpose(2, 3))


def test_nan_and_infinity_are_counted_as_clamped():
    point = Point(6, kind="step")
    x = point.x(2, 6, 6)
    x[0, 0, 0, :3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    check(point, x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coder", ["rans", "huffman"])
def test_damaged_streams_have_a_status_and_levels_of_0(kind, coder):
    point = Point(8, kind=kind, coder=coder)
    x = point.x(4, 9, 10)
    data, used, *_ = ops.encode_point(*point.encode_args(x))
    g = torch.Generator().manual_seed(0)
    for _ in range(40):
        damaged, sizes = data.clone(), used.clone()
        for image in (1, 3):
            at = int(torch.randint(int(used[image]), (), generator=g))
            damaged[image, at] ^= 1 << int(torch.randint(8, (), generator=g))
        sizes[0] = int(torch.randint(-1, int(used[0]), (), generator=g))
        y, status = ops.decode_point(*point.decode_args(damaged, sizes, 9, 10))
        expected, of_stages = point.decoded(damaged, sizes, 9, 10)
        assert torch.equal(status, of_stages) and torch.equal(y, expected)
        assert (status != 0).tolist() == [True, True, False, True]


def test_a_symbol_without_a_code_is_named():
    point = Point(9, kind="step", coder="huffman", split=False)
    x = point.x(3, 4, 4)
    args = list(point.encode_args(x))
    args[6:8] = [-3000, 3000]
    x[1, 2, 3, 1] = 500.0
    with pytest.raises(RuntimeError, match="level 2000 of component 2 in image 1 has no code"):
        ops.encode_point(*args)


@pytest.mark.parametrize(
    "name, change, message",
    [
        ("matrix", torch.zeros(4, 3), "x must have 3 channels"),
        ("offset", None, "a matrix comes with its offset"),
        ("step", 0.0, "step must be a positive"),
        ("lo", 100, "lo must not exceed hi"),
        ("coefficients", torch.zeros(4, 5, dtype=torch.int16), "dimension 1 of coefficients"),
        ("shifts", torch.full((4,), 16), "a shift must be from 0 to 15"),
        ("planes", 3, "planes must be"),
        ("weights", torch.full((6,), -1, dtype=torch.int32), "a weight must be from 0"),
        ("thresholds", None, "come with their thresholds"),
        ("coder", "ebpc", "coder must be rans"),
        ("table_of", torch.full((19,), 9), "table_of must be from 0 to 3"),
        ("groups", torch.full((19,), 3), "groups must be from 0"),
        ("x", torch.zeros(2, 5, 4), "x must have 4 dimensions"),
    ],
)
def test_errors_name_the_operator_and_the_argument(name, change, message):
    point = Point(10)
    assert (point.planes, len(point.table_of)) == (6, 19)
    args = list(point.encode_args(point.x(2, 4, 4)))
    names = [a.name for a in torch.ops.fmtc.encode_point.default._schema.arguments]
    args[names.index(name)] = change
    with pytest.raises(RuntimeError, match=f"encode_point.*{message}"):
        ops.encode_point(*args)


def test_a_matrix_fits_the_components_of_places():
    point = Point(12, kind="matrix+dct2")
    args = list(point.encode_args(point.x(2, 4, 4)))
    args[1], args[2] = torch.zeros(3, 5), torch.zeros(3)
    message = r"encode_point: dimension 0 of the matrix must be 4 \(the components of places\)"
    with pytest.raises(RuntimeError, match=message):
        ops.encode_point(*args)


def test_too_many_levels_are_refused_before_anything_is_made():
    point = Point(11)
    data, used, *_ = ops.encode_point(*point.encode_args(point.x(2, 4, 4)))
    with pytest.raises(RuntimeError, match="decode_point.*more than max_values = 10"):
        ops.decode_point(*point.decode_args(data, used, 4, 4), 10)
