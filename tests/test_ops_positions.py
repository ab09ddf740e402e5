"""position_activity, arrange and rANS streams with classes against one block at a time in numpy."""

import itertools
import math

import numpy as np
import pytest
import streams
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import from_rows, to_rows
from test_ops_rans import encode_payload, laplacian, reference_chunking

from fmtc import ops
from fmtc.errors import StreamError

pytestmark = pytest.mark.usefixtures("backend")

# -- References -----------------------------------------------------------------------------------


def reference_activity(levels, weights):
    """levels [N, K, H, W], weights [K]: the mean of each block's positions, rounded down."""
    magnitudes = np.abs(levels.numpy().astype(np.int64))
    shares = np.minimum(magnitudes * weights.numpy().astype(np.int64)[:, None, None], 2**14)
    sums = shares.sum(1)
    images, height, width = sums.shape
    activity = np.empty((images, math.ceil(height / 2), math.ceil(width / 2)), np.int64)
    for n, y, x in np.ndindex(activity.shape):
        block = sums[n, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        activity[n, y, x] = block.sum() // block.size
    return torch.from_numpy(activity)


def reference_map(classes):
    """What stands for the classes [H', W'] of an image's blocks in its arrangement."""
    inside = np.pad(classes.astype(np.int64), ((1, 0), (1, 0)))
    expected = (32 * inside[1:, :-1] + 32 * inside[:-1, 1:] + 32) // 64
    return (inside[1:, 1:] - expected).ravel()


def reference_arrange(levels, classes, num_classes):
    """Values and positions of an image [K, H, W] with the classes [H', W'], as lists."""
    classes = classes.numpy()
    values = list(reference_map(classes))
    for plane in levels.numpy():
        for c in range(num_classes):
            for y, x in np.argwhere(classes == c):
                values.extend(plane[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].ravel())
    of_positions = classes.repeat(2, 0).repeat(2, 1)[: levels.shape[1], : levels.shape[2]]
    return [int(v) for v in values], [int((of_positions == c).sum()) for c in range(num_classes)]


def reference_stream(case, n):
    """The stream of image n of a case as docs/stream_format.md describes it."""
    values, positions = reference_arrange(case.levels[n], case.classes[n], case.num_classes)
    return stream_of(case, values, positions)


def stream_of(case, values, positions, log2=17, states=None):
    """The stream of any values and positions, right or wrong.

    In chunks of 2**log2 values where states are given, or as the encoder chooses.
    """
    sizes = [case.classes[0].numel(), *positions * case.shape[0]]
    rows = case.frequencies.tolist()
    tables = [rows[t] for t, size in zip(case.table_of.tolist(), sizes, strict=True)
              for _ in range(size)]  # fmt: skip
    if states is None:
        log2, states = reference_chunking(len(values), case.lane_values)
    payloads = [
        encode_payload(values[i : i + 2**log2], tables[i : i + 2**log2], case.LO, states)
        for i in range(0, len(values), 2**log2)
    ]
    fields = case.TABLE_ID, *case.shape, log2, states, *case.crop
    return streams.container(streams.RANS, fields, payloads, positions)


# -- Inputs ---------------------------------------------------------------------------------------


def random_classes(shape, allowed, seed=0):
    """Classes u8 of the blocks of images of this shape [N, K, H, W], out of a list."""
    generator = torch.Generator().manual_seed(seed)
    blocks = shape[0], math.ceil(shape[2] / 2), math.ceil(shape[3] / 2)
    picked = torch.randint(0, len(allowed), blocks, generator=generator)
    return torch.tensor(allowed, dtype=torch.uint8)[picked]


class Case:
    """Levels, classes of their blocks, and tables for all segments; some levels are escaped."""

    TABLE_ID, LO, HI = 0xBEEF, -12, 12

    def __init__(
        self, shape, num_classes, tables=1, scale=2.0, allowed=None, crop=(0, 0), lane_values=0
    ):
        self.lane_values = lane_values
        self.num_classes, self.crop = num_classes, crop
        self.levels = laplacian(shape, scale, seed=sum(shape) + num_classes)
        self.classes = random_classes(shape, allowed or range(num_classes), sum(shape))
        segments = 1 + shape[1] * num_classes
        self.table_of = torch.randperm(segments, generator=torch.Generator().manual_seed(1))
        self.table_of %= tables
        generator = torch.Generator().manual_seed(2)
        counts = torch.randint(1, 1000, (tables, self.HI - self.LO + 1), generator=generator)
        self.frequencies = ops.rans_frequencies(counts, 12)
        self.encode_table, self.decode_table, self.base = ops.rans_tables(self.frequencies)

    @property
    def shape(self):
        return tuple(self.levels.shape[1:])

    def encode_args(self, levels=None, classes=None):
        levels = self.levels if levels is None else levels
        classes = self.classes if classes is None else classes
        tables = self.LO, self.table_of, self.encode_table
        lanes = (self.lane_values,) if self.lane_values else ()
        return levels, *tables, self.TABLE_ID, *self.crop, classes, *lanes

    def decode_args(self, data, used):
        tables = self.decode_table, self.base
        return data, used, self.LO, self.table_of, *tables, self.TABLE_ID, *self.shape

    def encode(self):
        return ops.rans_encode(*self.encode_args())

    def decode(self, data, used):
        return ops.rans_decode(*self.decode_args(data, used))

    def streams(self):
        return from_rows(*self.encode())


CASES = {
    "odd sides": Case((3, 5, 7, 5), 3, tables=4),
    "even sides": Case((2, 4, 8, 6), 2, tables=2),
    "8 classes": Case((2, 3, 9, 12), 8, tables=25),
    "one row": Case((2, 3, 1, 9), 4, tables=3),
    "one column": Case((2, 3, 9, 1), 4, tables=3),
    "one position": Case((2, 3, 1, 1), 2, tables=2),
    "one component": Case((2, 1, 6, 6), 5, tables=6),
    "many components": Case((1, 300, 3, 3), 2, tables=7),
    "cropped": Case((2, 3, 6, 6), 3, tables=2, crop=(3, 0)),
    "first class empty": Case((2, 3, 7, 7), 4, tables=5, allowed=[1, 2, 3]),
    "last class empty": Case((2, 3, 7, 7), 4, tables=5, allowed=[0, 1]),
    "one class has all": Case((2, 3, 7, 7), 8, tables=5, allowed=[4]),
    "many escapes": Case((2, 3, 7, 7), 3, tables=3, scale=300),
    "several states": Case((2, 8, 40, 50), 4, tables=8),
    "several chunks": Case((2, 6, 150, 151), 4, tables=8),
    "short lanes": Case((2, 8, 40, 50), 4, tables=8, lane_values=256),
    "batch 0": Case((0, 3, 5, 5), 2),
}
# Shapes that can be arranged, but not coded with classes.
EMPTY = [(2, 0, 3, 3), (2, 3, 0, 4), (2, 3, 4, 0)]


def random_weights(components, most=300, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, most + 1, (components,), generator=generator, dtype=torch.int32)


def histogram_args(case, lo=-5, hi=6, num_groups=3):
    """Some levels lie beyond lo .. hi."""
    groups = case.table_of % num_groups
    return case.levels, case.classes, case.num_classes, lo, hi, groups, num_groups


def sample_inputs():
    """Operator name and arguments, for the tests that treat all operators alike."""
    for case in CASES.values():
        weights = random_weights(case.shape[0])
        yield "position_activity", (case.levels, weights)
        whole_range = laplacian(case.levels.shape, 30000.0).clamp(-32768, 32767)
        yield "position_activity", (whole_range, weights.sign() * 2**15)
        yield "arrange", (case.levels, case.classes, case.num_classes)
        yield "position_histogram", histogram_args(case)
        yield "rans_encode", case.encode_args()
        yield "rans_decode", case.decode_args(*case.encode())
    # More bins than the fast memory of a block of GPU threads has.
    yield "position_histogram", histogram_args(CASES["odd sides"], -3000, 3000)
    for shape in EMPTY:
        levels = torch.empty(shape, dtype=torch.int16)
        yield "position_activity", (levels, random_weights(shape[1]))
        classes, groups = random_classes(shape, [0, 1, 2]), torch.arange(1 + 3 * shape[1])
        yield "arrange", (levels, classes, 3)
        yield "position_histogram", (levels, classes, 3, 0, 0, groups, len(groups))


SAMPLES = list(sample_inputs())


def samples_of(operator):
    return [args for name, args in SAMPLES if name == operator]


# -- Activity and arrangement ---------------------------------------------------------------------


@pytest.mark.parametrize("args", samples_of("position_activity"))
def test_activity(args):
    activity = ops.position_activity(*args)
    assert activity.dtype == torch.int64 and activity.is_contiguous()
    assert torch.equal(activity, reference_activity(*args))


def test_activity_is_the_mean_of_what_a_cut_block_has():
    levels = torch.tensor([[[[5, 2, 7], [0, -3, 1], [4, 4, -9]]]], dtype=torch.int16)
    activity = ops.position_activity(levels, torch.tensor([3], dtype=torch.int32))
    assert activity.tolist() == [[[7, 12], [12, 27]]]


@pytest.mark.parametrize("args", samples_of("arrange"))
def test_arrange(args):
    values, positions = ops.arrange(*args)
    assert values.dtype == torch.int16 and positions.dtype == torch.int64
    levels, classes, num_classes = args
    assert values.shape == (len(levels), classes.shape[1:].numel() + levels.shape[1:].numel())
    assert positions.shape == (len(levels), num_classes)
    for image, blocks, *result in zip(levels, classes, values, positions, strict=True):
        expected = reference_arrange(image, blocks, num_classes)
        assert tuple(part.tolist() for part in result) == expected


@pytest.mark.parametrize("args", samples_of("position_histogram"))
def test_position_histogram(args):
    counts = ops.position_histogram(*args)
    levels, classes, num_classes, lo, hi, groups, num_groups = args
    expected = torch.zeros(num_groups, hi - lo + 1, dtype=torch.int64)
    for image, blocks in zip(levels, classes, strict=True):
        values, positions = reference_arrange(image, blocks, num_classes)
        sizes = torch.tensor([blocks.numel(), *positions * len(image)])
        for value, group in zip(values, groups.repeat_interleave(sizes), strict=True):
            expected[group, min(max(value, lo), hi) - lo] += 1
    assert torch.equal(counts, expected)


def test_wrong_values(backend):
    """The CPU refuses them; others cannot, so they take what comes next to them, or nothing."""
    case = CASES["odd sides"]
    levels, classes, num_classes, lo, hi, groups, num_groups = histogram_args(case)
    wrong_classes = torch.where(classes == num_classes - 1, 200, classes).to(torch.uint8)
    wrong_groups = groups.clone()
    wrong_groups[2:4] = torch.tensor([-1, num_groups])
    some, right, none = WEIGHTS - 100, (WEIGHTS - 100).clamp(0), torch.zeros_like(WEIGHTS)
    calls = [
        lambda: ops.position_activity(levels, some),
        lambda: ops.arrange(levels, wrong_classes, num_classes),
        lambda: ops.position_histogram(levels, wrong_classes, *histogram_args(case)[2:]),
        lambda: ops.position_histogram(
            levels, classes, num_classes, lo, hi, wrong_groups, num_groups
        ),
    ]
    if backend == "cpu":
        for call in calls:
            with pytest.raises(RuntimeError, match="must be from 0 to"):
                call()
        return
    assert torch.equal(calls[0](), reference_activity(levels, right))
    assert not ops.position_activity(levels, none - 2**31).any()
    most = none + 2**31 - 1
    assert torch.equal(
        ops.position_activity(levels, most), reference_activity(levels, none + 2**15)
    )
    for got, expected in zip(calls[1](), ops.arrange(levels, classes, num_classes), strict=True):
        assert torch.equal(got, expected)
    counts = ops.position_histogram(*histogram_args(case))
    assert torch.equal(calls[2](), counts)
    kept = torch.where(torch.arange(len(groups)) // 2 == 1, num_groups, groups)
    assert torch.equal(
        calls[3](),
        ops.position_histogram(levels, classes, num_classes, lo, hi, kept, num_groups + 1)[:-1],
    )


@pytest.mark.cpu_only
def test_position_histogram_refuses():
    case = CASES["odd sides"]
    levels, classes, num_classes, lo, hi, groups, num_groups = histogram_args(case)
    with pytest.raises(RuntimeError, match=r"dimension 0 of groups must be 16 .*shape is \[15\]"):
        ops.position_histogram(levels, classes, num_classes, lo, hi, groups[1:], num_groups)
    with pytest.raises(RuntimeError, match="groups must be from 0 to num_groups - 1 = 0"):
        ops.position_histogram(levels, classes, num_classes, lo, hi, groups, 1)
    with pytest.raises(RuntimeError, match="lo must not exceed hi"):
        ops.position_histogram(levels, classes, num_classes, 3, 2, groups, num_groups)
    with pytest.raises(RuntimeError, match="classes must be from 0 to 2"):
        ops.position_histogram(levels, classes + 1, num_classes, lo, hi, groups, num_groups)


def test_arrangement_worked_example():
    levels = torch.arange(1, 10, dtype=torch.int16).reshape(1, 1, 3, 3)
    classes = torch.tensor([[[1, 0], [1, 1]]], dtype=torch.uint8)
    values, positions = ops.arrange(levels, classes, 2)
    assert values.tolist() == [[1, -1, 0, 0, 3, 6, 1, 2, 4, 5, 7, 8, 9]]
    assert positions.tolist() == [[2, 7]]


def test_any_strides_give_the_same(layout):
    case = CASES["odd sides"]
    weights, groups = random_weights(5), case.table_of % 3
    levels, classes = layout(case.levels), layout(case.classes[:, None])[:, 0]

    def results(levels, classes):
        yield ops.position_activity(levels, weights)
        yield from ops.arrange(levels, classes, 3)
        yield ops.position_histogram(levels, classes, 3, -5, 6, groups, 3)

    for got, expected in zip(
        results(levels, classes), results(case.levels, case.classes), strict=True
    ):
        assert torch.equal(got, expected)


@settings(max_examples=200)
@given(st.data())
def test_any_arrangement_and_stream(data):
    """Any shape, classes and tables, with any levels at all."""
    draw = data.draw
    n, k, h, w = (
        draw(st.integers(0 if i == 0 else 1, most)) for i, most in enumerate((3, 6, 9, 9))
    )
    count, tables = draw(st.integers(2, 8)), draw(st.integers(1, 9))
    allowed = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=count))
    case = Case((n, k, h, w), count, tables, draw(st.sampled_from([0.1, 2.0, 9000.0])), allowed)
    values, positions = ops.arrange(case.levels, case.classes, count)
    for i in range(n):
        expected = reference_arrange(case.levels[i], case.classes[i], count)
        assert (values[i].tolist(), positions[i].tolist()) == expected
    levels, status = case.decode(*case.encode())
    assert not status.any() and torch.equal(levels, case.levels)


# -- Streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_streams_are_those_of_the_format(name):
    case = CASES[name]
    assert case.streams() == [reference_stream(case, n) for n in range(len(case.levels))]


@pytest.mark.parametrize("name", CASES)
def test_round_trip(name):
    case = CASES[name]
    data, used = case.encode()
    assert data.dtype == torch.uint8 and used.dtype == torch.int64
    assert not data[torch.arange(data.shape[1]) >= used[:, None]].any()
    levels, status = case.decode(data, used)
    assert levels.dtype == torch.int16 and levels.is_contiguous() and not status.any()
    assert torch.equal(levels, case.levels)


def test_a_stream_does_not_depend_on_its_batch():
    case = CASES["odd sides"]
    alone = [
        ops.rans_encode(*case.encode_args(levels[None], classes[None]))
        for levels, classes in zip(case.levels, case.classes, strict=True)
    ]
    assert case.streams() == [from_rows(*one)[0] for one in alone]


@pytest.mark.parametrize("images", [1, 2, 3, 5, 8, 9])
@pytest.mark.parametrize("shape, states", [((3, 20, 20), 1), ((9, 31, 31), 2), ((19, 31, 31), 4)])
def test_streams_of_a_batch_are_decoded_together(images, shape, states):
    """Each has segments of other sizes."""
    case = Case((images, *shape), 4, tables=9)
    assert ops.stream_info(case.streams()[0])["lanes"] == states
    levels, status = case.decode(*case.encode())
    assert not status.any() and torch.equal(levels, case.levels)


@pytest.mark.parametrize("log2, states", [(8, 1), (8, 64), (9, 4), (10, 2)])
def test_decoder_takes_any_chunks_and_states(log2, states):
    """Chunks begin and end anywhere in the map and in segments, also in those of other tables."""
    case = Case((1, 7, 17, 19), 6, tables=11)
    arranged = reference_arrange(case.levels[0], case.classes[0], 6)
    levels, status = case.decode(*to_rows([stream_of(case, *arranged, log2, states)]))
    assert not status.any() and torch.equal(levels, case.levels)


def test_stream_info_of_a_stream_with_classes():
    case = CASES["several chunks"]
    data, used = case.encode()
    stream = from_rows(data, used)[1]
    info = ops.stream_info(stream + b"the next stream")
    assert info["size"] == len(stream) and info["chunks"] == 2
    assert (info["channels"], info["height"], info["width"]) == case.shape


def test_streams_of_any_strides_are_the_same(layout):
    case = CASES["odd sides"]
    levels, classes = layout(case.levels), layout(case.classes[:, None])[:, 0]
    encoded = ops.rans_encode(*case.encode_args(levels, classes)), case.encode()
    for got, expected in zip(*encoded, strict=True):
        assert torch.equal(got, expected)


# -- Damage ---------------------------------------------------------------------------------------


def test_the_map_must_have_the_positions_of_the_header():
    """With one table for all segments, nothing else would notice."""
    case = Case((1, 2, 4, 5), 3)
    values, right = reference_arrange(case.levels[0], case.classes[0], 3)
    for first, second in itertools.product(range(21), repeat=2):
        positions = [first, second, 20 - first - second]
        if positions[2] < 0:
            continue
        levels, status = case.decode(*to_rows([stream_of(case, values, positions)]))
        if positions == right:
            assert not status.any() and torch.equal(levels, case.levels)
        else:
            assert status.all() and not levels.any()
            with pytest.raises(StreamError, match="image 0: "):
                ops.check_status(status)


def test_the_map_must_hold_classes():
    """All maps with one value changed: taken where they are maps of as many positions."""
    case = Case((1, 2, 6, 6), 3)
    values, right = reference_arrange(case.levels[0], case.classes[0], 3)
    maps = {
        tuple(reference_map(np.array(classes).reshape(3, 3))): classes
        for classes in itertools.product(range(3), repeat=9)
    }
    taken = 0
    for place, value in itertools.product(range(9), [-32768, *range(-5, 6), 300, 32767]):
        changed = [*values[:place], value, *values[place + 1 :]]
        classes = maps.get(tuple(changed[:9]))
        valid = classes is not None and [4 * classes.count(c) for c in range(3)] == right
        levels, status = case.decode(*to_rows([stream_of(case, changed, right)]))
        assert status.tolist() == [0 if valid else 12]  # kBadCode of csrc/core/status.h
        if valid:
            blocks = torch.tensor(classes, dtype=torch.uint8).reshape(1, 3, 3)
            assert ops.arrange(levels, blocks, 3)[0][0].tolist() == changed
            taken += 1
        else:
            assert not levels.any()
    assert taken >= 9  # each place with its own value


def test_another_number_of_classes_is_refused():
    case = CASES["even sides"]
    data, used = case.encode()
    plain = ops.rans_encode(
        case.levels, case.LO, case.table_of[:4], case.encode_table, case.TABLE_ID
    )
    for segments, streams_of_another in ((13, (data, used)), (4, (data, used)), (9, plain)):
        args = list(case.decode_args(*streams_of_another))
        args[3] = torch.zeros(segments, dtype=torch.int64)
        levels, status = ops.rans_decode(*args)
        assert status.all() and not levels.any()
        with pytest.raises(StreamError, match="image 0: .*shape"):
            ops.check_status(status)


def test_only_the_damaged_stream_of_a_batch_is_lost():
    case = CASES["several chunks"]
    made = case.streams()
    damaged = made[0][:-1] + bytes([made[0][-1] ^ 1])
    levels, status = case.decode(*to_rows([damaged, made[1]]))
    assert (status != 0).tolist() == [True, False]
    assert not levels[0].any() and torch.equal(levels[1], case.levels[1])


# -- Operators as such ----------------------------------------------------------------------------


@pytest.mark.cpu_only
def test_export_with_dynamic_batch_and_size():
    case = CASES["odd sides"]
    weights, thresholds = random_weights(5), torch.tensor([700, 900])

    class Coder(torch.nn.Module):
        def forward(self, y):
            levels, _ = ops.quantize(y, 1.0, -1000, 1000)
            activity = ops.position_activity(levels, weights)
            classes = torch.bucketize(activity, thresholds, right=True).to(torch.uint8)
            data, used = ops.rans_encode(*case.encode_args(levels, classes))
            return ops.rans_decode(*case.decode_args(data, used)[:7], *levels.shape[1:])

    # A map of one row would be a dimension of 1, which torch.export takes for a constant.
    sizes = {0: torch.export.Dim("n", max=64), 2: torch.export.Dim("h", min=3, max=256)}
    exported = torch.export.export(Coder(), (case.levels.float(),), dynamic_shapes=(sizes,))
    other = laplacian((2, 5, 90, 5), 3.0)
    levels, status = exported.module()(other.float())
    assert torch.equal(levels, other) and not status.any()


CASE = CASES["odd sides"]
LEVELS, CLASSES, WEIGHTS = CASE.levels, CASE.classes, random_weights(5)
TOO_LARGE = CLASSES.clone()
TOO_LARGE[1, 0, 0] = 3


def encode_with(**changes):
    names = "levels lo table_of encode_table table_id crop_h crop_w classes".split()
    return ops.rans_encode(**{**dict(zip(names, CASE.encode_args(), strict=True)), **changes})


def decode_with(**changes):
    names = "bytes used lo table_of decode_table base table_id channels height width".split()
    args = CASE.decode_args(*CASE.encode())
    return ops.rans_decode(**{**dict(zip(names, args, strict=True)), **changes})


ERRORS = [
    (
        lambda: ops.position_activity(LEVELS.int(), WEIGHTS),
        "position_activity: levels must be int16, but is int32",
    ),
    (
        lambda: ops.position_activity(LEVELS[0], WEIGHTS),
        r"position_activity: levels must have 4 dimensions \[N, K, H, W\], .* \[5, 7, 5\]",
    ),
    (
        lambda: ops.position_activity(LEVELS, WEIGHTS.long()),
        "position_activity: weights must be int32, but is int64",
    ),
    (
        lambda: ops.position_activity(LEVELS, WEIGHTS[None]),
        r"position_activity: weights must have 1 dimension.* \[K\], .* \[1, 5\]",
    ),
    (
        lambda: ops.position_activity(LEVELS, WEIGHTS[:4]),
        r"position_activity: dimension 0 of weights must be 5 .* \[4\]",
    ),
    pytest.param(
        lambda: ops.position_activity(LEVELS, WEIGHTS - 1000),
        "position_activity: weights must be from 0 to 32768",
        marks=pytest.mark.cpu_only,
    ),
    pytest.param(
        lambda: ops.position_activity(LEVELS, WEIGHTS + 32768),
        "position_activity: weights must be from 0 to 32768",
        marks=pytest.mark.cpu_only,
    ),
    (
        lambda: ops.position_activity(
            torch.zeros(1, 2**14 + 1, 1, 1, dtype=torch.int16), random_weights(2**14 + 1)
        ),
        "position_activity: the number of components must be from 0 to 16384, but is 16385",
    ),
    (
        lambda: ops.arrange(LEVELS.float(), CLASSES, 3),
        "arrange: levels must be int16, but is float32",
    ),
    (
        lambda: ops.arrange(LEVELS[0], CLASSES, 3),
        r"arrange: levels must have 4 dimensions \[N, K, H, W\], .* \[5, 7, 5\]",
    ),
    (
        lambda: ops.arrange(LEVELS, CLASSES.int(), 3),
        "arrange: classes must be uint8, but is int32",
    ),
    (
        lambda: ops.arrange(LEVELS, CLASSES[0], 3),
        r"arrange: classes must have 3 dimensions \[N, .*\], .* \[4, 3\]",
    ),
    (
        lambda: ops.arrange(LEVELS, CLASSES[:2], 3),
        r"arrange: dimension 0 of classes must be 3 \(the images N of levels\), .* \[2, 4, 3\]",
    ),
    (
        lambda: ops.arrange(LEVELS, CLASSES[:, :3], 3),
        r"arrange: dimension 1 of classes must be 4 \(ceil\(H / 2\)\), .* \[3, 3, 3\]",
    ),
    (
        lambda: ops.arrange(LEVELS, CLASSES[:, :, :2], 3),
        r"arrange: dimension 2 of classes must be 3 \(ceil\(W / 2\)\), .* \[3, 4, 2\]",
    ),
    pytest.param(
        lambda: ops.arrange(LEVELS, TOO_LARGE, 3),
        "arrange: classes must be from 0 to 2, but those of image 1 are not",
        marks=pytest.mark.cpu_only,
    ),
    (lambda: ops.arrange(LEVELS, CLASSES, 1), "arrange: num_classes must be from 2 to 8.* is 1"),
    (lambda: ops.arrange(LEVELS, CLASSES, 9), "arrange: num_classes must be from 2 to 8.* is 9"),
]
STREAM_ERRORS = [
    (
        lambda: encode_with(classes=CLASSES.long()),
        "rans_encode: classes must be uint8, but is int64",
    ),
    (
        lambda: encode_with(classes=CLASSES[:, None]),
        r"rans_encode: classes must have 3 dimensions \[N, .*\], .* \[3, 1, 4, 3\]",
    ),
    (
        lambda: encode_with(classes=CLASSES[:, :, :1]),
        r"rans_encode: dimension 2 of classes must be 3 .* \[3, 4, 1\]",
    ),
    pytest.param(
        lambda: encode_with(classes=TOO_LARGE),
        "rans_encode: classes must be from 0 to 2, but those of image 1 are not",
        marks=pytest.mark.cpu_only,
    ),
    (
        lambda: encode_with(levels=LEVELS[0]),
        r"rans_encode: levels must have 4 dimensions \[N, K, H, W\], .* \[5, 7, 5\]",
    ),
    (
        lambda: encode_with(classes=None),
        r"rans_encode: dimension 0 of table_of must be 5 .* \[16\]",
    ),
    (
        lambda: encode_with(table_of=CASE.table_of[:15]),
        r"rans_encode: with classes, table_of must have 1 \+ K \* .* K = 5 .* \[15\]",
    ),
    (
        lambda: encode_with(table_of=CASE.table_of[:5]),
        r"rans_encode: with classes, table_of must have 1 \+ K \* .* K = 5 .* \[5\]",
    ),
    (
        lambda: encode_with(table_of=CASE.table_of[:6]),
        r"rans_encode: with classes, table_of must have 1 \+ K \* .* K = 5 .* \[6\]",
    ),
    (
        lambda: encode_with(table_of=CASE.table_of[None]),
        r"rans_encode: with classes, table_of must have 1 \+ K \* .* \[1, 16\]",
    ),
    (
        lambda: encode_with(table_of=torch.zeros(46, dtype=torch.int64)),
        "rans_encode: classes must be from 1 to 8, but is 9",
    ),
    pytest.param(
        lambda: encode_with(table_of=CASE.table_of + 1),
        r"rans_encode: table_of must be from 0 to 3 .*, but segment \d+ has 4",
        marks=pytest.mark.cpu_only,
    ),
    (
        lambda: encode_with(levels=LEVELS[:, :0], table_of=torch.zeros(1, dtype=torch.int64)),
        "rans_encode: with classes, table_of .* K = 0 components",
    ),
    (
        lambda: encode_with(levels=LEVELS[:, :, :0], classes=CLASSES[:, :0]),
        "rans_encode: an image of 5 x 0 x 5 values is .*too small for classes",
    ),
    (
        lambda: decode_with(table_of=CASE.table_of[:15]),
        r"rans_decode: dimension 0 of table_of must be 5 .* \[15\]",
    ),
    (
        lambda: decode_with(table_of=torch.zeros(46, dtype=torch.int64)),
        "rans_decode: classes must be from 1 to 8, but is 9",
    ),
    (
        lambda: decode_with(height=0),
        "rans_decode: an image of 5 x 0 x 5 values is .*too small for classes",
    ),
]


@pytest.mark.parametrize("call, message", ERRORS)
def test_errors(call, message):
    with pytest.raises(RuntimeError, match=f"fmtc::{message}"):
        call()


@pytest.mark.parametrize("call, message", STREAM_ERRORS)
def test_errors_of_streams(call, message):
    with pytest.raises(RuntimeError, match=f"fmtc::{message}"):
        call()
