"""The codec of bare tensors, blocks, tables and classes, each stage alone."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fmtc
from fmtc.codec.classes import scale_classes
from fmtc.codec.codec import _batches
from fmtc.codec.coders import coders, table_max_length
from fmtc.codec.moments import Moments
from fmtc.codec.quantizer import Quantizer
from fmtc.codec.transform import quantize_rows


def correlated(n=4, c=6, h=9, w=7, seed=0):
    """Channels that are mixtures of half as many sources."""
    generator = torch.Generator().manual_seed(seed)
    sources = torch.randn(n, (c + 1) // 2, h, w, generator=generator)
    mixing = torch.randn(c, (c + 1) // 2, generator=generator)
    noise = 0.05 * torch.randn(n, c, h, w, generator=generator)
    return torch.einsum("cs,nshw->nchw", mixing, sources) + noise + 3


BLOCKS = ["1,1,C", "2,2,C", "1,1,4", "4,4,1", "3,5,2", "1,8,6"]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("shape", [(2, 6, 9, 7), (1, 5, 1, 1), (3, 1, 4, 4), (0, 6, 9, 7)])
def test_block_join_inverts_split(block, shape):
    block = fmtc.Block.parse(block)
    x = torch.arange(float(np.prod(shape))).view(shape)
    if block.is_pixel or x.numel():
        split = block.split(x)
        assert split.shape[1] == block.groups(shape[1]) * block.size(shape[1])
        assert torch.equal(block.join(split, shape[1], block.crop(*shape[2:])), x)


def test_block_split_against_loops():
    x = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    split = fmtc.Block(2, 3, 2).split(x)
    assert split.shape == (2, 2 * 12, 2, 2)
    for n, g, c, i, j, row, column in itertools.product(*map(range, (2, 2, 2, 2, 3, 2, 2))):
        expected = x[n, min(2 * g + c, 2), 2 * row + i, 3 * column + j]  # channel 2 is repeated
        assert split[n, g * 12 + c * 6 + i * 3 + j, row, column] == expected


@pytest.mark.parametrize("bad", ["1,1", "a,b,c", "1,1,0", (1, 300, None), "1,1,C,2", 7])
def test_bad_block(bad):
    with pytest.raises(ValueError, match="expected h,w,c"):
        fmtc.Block.parse(bad)


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("bits", [2, 8, 12])
def test_decode_is_simulate(block, bits):
    x = correlated()
    codec = fmtc.calibrate_tensor(x, bits=bits, block=block)
    data = codec.encode(x)
    assert isinstance(data, bytes)
    assert torch.equal(codec.decode(data), codec.simulate(x))
    other = correlated(3, h=5, w=12, seed=1)  # another size
    assert torch.equal(codec.decode(codec.encode(other)), codec.simulate(other))


def test_error_is_that_of_the_step():
    x = correlated(8)
    codec = fmtc.calibrate_tensor(x, fmtc.BitsPreset(name="float basis"), bits=8)
    error = (codec.decode(codec.encode(x)) - x).double().square().mean()
    assert float(error) == pytest.approx(codec.mse, rel=1e-6)
    assert codec.mse <= 1.1 * codec.quantizer.step**2 / 12


def test_pca_coding_beats_plain_levels():
    """6 channels of rank 3: the transform must remove redundancy at equal error."""
    x = correlated(4, h=32, w=40)
    codec = fmtc.calibrate_tensor(x, fmtc.BitsPreset(name="float basis"), bits=8)
    levels = (x / codec.quantizer.step).round().to(torch.int64)
    counts = torch.bincount((levels - levels.min()).flatten())
    plain = float(fmtc.ops.entropy(counts[None]))
    bits = 8 * len(codec.encode(x)) / x.numel()
    assert bits < 0.8 * plain


def test_paper_step_is_the_range_of_the_strongest_component():
    x = correlated(8)
    codec = fmtc.calibrate_tensor(x, fmtc.BitsPreset(name="float basis"), bits=6)
    eigenvalues, basis = np.linalg.eigh(np.cov(x.transpose(0, 1).flatten(1).double(), bias=True))
    first = torch.einsum(
        "c,nchw->nhw",
        torch.from_numpy(basis[:, -1]),
        x.double() - x.double().mean((0, 2, 3))[:, None, None],
    )
    assert codec.quantizer.step == pytest.approx(float(first.max() - first.min()) / 62, rel=1e-4)


def test_quantizer_margin_never_exceeds_the_table():
    for bits in range(2, 13):
        quantizer = Quantizer.fit(8.0, -3.0, 5.0, bits, 0.125)
        assert quantizer.hi - quantizer.lo + 1 <= 4096
        assert (
            quantizer.lo - 0.5 <= -3 / quantizer.step and 5 / quantizer.step <= quantizer.hi + 0.5
        )
    assert Quantizer.fit(0.0, 1.0, 1.0, 8, 0.1).step == 1.0
    far = Quantizer.fit(1.0, -1e6, 1e6, 8, 0.125)
    assert (far.lo, far.hi) == (-2047, 2048) and far.step == pytest.approx(1 / 254)


def test_robust_range_is_a_quantile_and_outliers_stay_codable():
    x = correlated(6, h=40, w=40)
    x[0, :, 0, 0] *= 40  # one pixel far outside
    plain, robust = (fmtc.calibrate_tensor(x, p, bits=8) for p in ("paper", "paper-robust"))
    exact = fmtc.BitsPreset(name="float basis", outliers=1e-4, drop_components=False)
    codec = fmtc.calibrate_tensor(x, exact, bits=8)
    y = codec.transform.forward(x).flatten().sort().values
    left = 1 + int(1e-4 * x.numel())
    span = float(y[-left] - y[left - 1])
    assert codec.quantizer.step == pytest.approx(span / 254, rel=1e-5)
    assert robust.quantizer.step < 0.5 * plain.quantizer.step
    assert robust.clamped == 0
    error = (robust.decode(robust.encode(x)) - x).abs()[0, :, 0, 0].max()
    assert float(error) < 0.02 * float(x.abs().max())  # the 8-bit basis, not a clamp


def test_quantized_rows_lie_on_an_8_bit_grid():
    matrix = torch.randn(5, 7)
    rows = quantize_rows(matrix, 8)
    for row, original in zip(rows, matrix, strict=True):
        grid = row / (original.abs().max() / 127)
        torch.testing.assert_close(grid, grid.round(), rtol=0, atol=1e-4)
        assert (row - original).abs().max() <= original.abs().max() / 254 * 1.001
    assert torch.equal(quantize_rows(torch.zeros(2, 3), 8), torch.zeros(2, 3))


def test_moments_of_parts_are_those_of_the_whole():
    x = correlated(7)
    whole = Moments().update(x, 1)
    parts = Moments().update(x[:3], 1).merge(Moments().update(x[3:], 1))
    for a, b in zip(whole.parts[0], parts.parts[0], strict=True):
        torch.testing.assert_close(a, b)


def test_a_stream_does_not_depend_on_its_batch():
    x = correlated(3)
    codec = fmtc.calibrate_tensor(x)
    assert codec.streams(x) == [stream for image in x for stream in codec.streams(image[None])]
    assert codec.streams(x[:0]) == [] and codec.decode(codec.encode(x[:0])).shape == (0, 6, 0, 0)


def test_streams_of_very_different_lengths():
    """They are decoded in several batches, so that rows of one length never take much more."""
    x = correlated(9, h=40, w=40)
    x[:6] = 0
    codec = fmtc.calibrate_tensor(x)
    streams = codec.streams(x)
    batches = [[len(stream) for stream in batch] for batch in _batches(streams)]
    assert [length for batch in batches for length in batch] == list(map(len, streams))
    assert len(batches) > 1 and all(len(b) * max(b) <= 2 * sum(b) for b in batches)
    assert torch.equal(codec.decode(streams), codec.simulate(x))
    damaged = bytearray(streams[7])
    damaged[-1] ^= 1
    streams[7] = bytes(damaged)
    with pytest.raises(fmtc.StreamError, match="stream of image 7: "):
        codec.decode(streams)


def test_stages_one_by_one_are_encode_and_decode():
    x = correlated(2)
    codec = fmtc.calibrate_tensor(x)
    levels, clamped = codec.quantize(x)
    data, used = codec.encode_levels(levels)
    streams = [bytes(row[:size].tolist()) for row, size in zip(data, used, strict=True)]
    assert streams == codec.streams(x) and not clamped
    assert torch.equal(codec.decode_levels(data, used, 9, 7), levels)
    decoded = codec.dequantize(levels)
    assert torch.equal(decoded, codec.decode(streams))
    torch.testing.assert_close(codec.inverse(codec.quantizer.dequantize(levels)), decoded)
    assert (codec.forward(x) / codec.quantizer.step - levels).abs().max() < 0.5 + 1e-3


def test_every_damage_is_noticed():
    x = correlated(1, h=3, w=3)
    codec = fmtc.calibrate_tensor(x)
    for data in (codec.encode(x), codec.streams(x)[0]):
        for size in range(len(data)):
            with pytest.raises(fmtc.StreamError):
                codec.decode(data[:size])
        for bit in range(8 * len(data)):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(fmtc.StreamError):
                codec.decode(bytes(flipped))
        with pytest.raises(fmtc.StreamError):
            codec.decode(data + b"x")
    other = fmtc.calibrate_tensor(correlated(seed=9))
    with pytest.raises(fmtc.StreamError):
        other.decode(data)


@pytest.mark.parametrize(
    "x,message",
    [
        (torch.zeros(6, 9, 7), r"expected a tensor \[N, 6, \*, \*\], got \[6, 9, 7\]"),
        (torch.zeros(1, 5, 9, 7), r"got \[1, 5, 9, 7\]"),
        (torch.zeros(1, 6, 9, 7, dtype=torch.int32), "floating-point"),
        (torch.full((1, 6, 2, 2), float("nan")), "NaN or Inf"),
        (torch.zeros(2, 6, 0, 3), "without pixels"),
    ],
)
def test_bad_tensors_to_encode(x, message):
    codec = fmtc.calibrate_tensor(correlated())
    with pytest.raises(ValueError, match=message):
        codec.encode(x)


@pytest.mark.parametrize(
    "samples,message",
    [
        ([], "empty"),
        (torch.zeros(0, 3, 2, 2), "empty"),
        (torch.zeros(3), r"expected floating-point tensors \[N, C, H, W\], or .*, got .* \[3\]"),
        (torch.zeros(1, 3, 2, 2, dtype=torch.int16), "floating-point"),
        ([torch.zeros(1, 3, 2, 2), torch.zeros(1, 4, 2, 2)], "differ in their channels"),
        (torch.full((1, 3, 2, 2), float("inf")), "NaN or Inf"),
    ],
)
def test_bad_samples(samples, message):
    with pytest.raises(fmtc.CalibrationError, match=message):
        fmtc.calibrate_tensor(samples)


@pytest.mark.parametrize(
    "options,message",
    [
        ({"bits": 1}, "bits must be 2 to 12, got 1"),
        ({"bits": 11, "preset": "q"}, "bits must be 2 to 10 with preset 'q', got 11"),
        ({"bits": 7.5}, "bits must be a whole number, got 7.5"),
        ({"bits": True}, "bits must be a whole number, got True"),
        ({"bits": "8"}, "bits must be a whole number, got '8'"),
        ({"preset": "fmtc"}, "preset 'fmtc' needs a step"),
        ({"step": 0.0}, "step must be positive, got 0.0"),
        ({"step": float("nan")}, "step must be positive, got nan"),
        ({"preset": "q", "keep_moments": True}, "preset 'q' has no moments to keep"),
        ({"preset": "dct-cm", "start": True}, "preset 'dct-cm' has no moments to keep"),
        ({"preset": "q", "block": "2,2,C"}, "preset 'q' does not transform blocks such as 2,2,C"),
    ],
)
def test_bad_options(options, message):
    x = correlated()
    if "start" in options:
        options = options | {"start": fmtc.calibrate_tensor(x, keep_moments=True)}
    with pytest.raises(ValueError, match=message):
        fmtc.calibrate_tensor(x, **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_float_types_calibrate_and_encode(dtype):
    x = correlated().to(dtype)
    codec = fmtc.calibrate_tensor(x, bits=6)
    decoded = codec.decode(codec.encode(x))
    assert (decoded - x.float()).square().mean() < 4 * codec.mse


@pytest.mark.parametrize("coder,escapes", [("rans", True), ("huffman", False)])
def test_what_is_far_beyond_the_calibrated_is_escaped_or_clamped(coder, escapes):
    x = correlated()
    codec = fmtc.calibrate_tensor(x, "fmtc", step=0.1, coder=coder)
    far = 3 + 30 * (x - 3)
    clamped = codec.quantize(far)[1]
    assert codec.coder.escapes is escapes and bool(clamped) is not escapes
    assert torch.equal(codec.decode(codec.encode(far)), codec.simulate(far))


@pytest.mark.parametrize("preset", ["fmtc", "paper", "aciq"])
def test_a_codec_moves_but_keeps_its_types(preset):
    x = correlated()
    knob = {"step": 0.5} if preset == "fmtc" else {"bits": 4}
    codec = fmtc.calibrate_tensor(x, preset, **knob)

    def types():
        return {name: b.dtype for name, b in codec.named_buffers(remove_duplicate=False)}

    data, before = codec.encode(x), types()
    assert not codec.state_dict()  # a model's has them as one description
    assert codec.half().encode(x) == codec.double().encode(x) == data
    codec.to("meta")
    assert codec.device.type == "meta" and all(b.is_meta for b in codec.buffers())
    assert types() == before


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 3), c=st.integers(1, 7), h=st.integers(1, 9), w=st.integers(1, 9),
    bits=st.integers(2, 12), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_tensor_of_the_right_depth_survives(n, c, h, w, bits, seed):
    codec = fmtc.calibrate_tensor(correlated(2, c, seed=seed), bits=bits)
    x = 5 * torch.randn(n, c, h, w)  # far outside the calibrated range too
    decoded = codec.decode(codec.encode(x))
    assert torch.equal(decoded.flatten(), codec.simulate(x).flatten())


def test_tables_keep_every_level_codable():
    counts = torch.zeros(1, 300, dtype=torch.int64)
    counts[0, 150] = 10**9
    huffman = coders["huffman"]
    coder = huffman(-150, counts, torch.zeros(4, dtype=torch.int64))
    assert (coder.lengths > 0).all() and coder.lengths[0, 150] == 1
    assert coder.lengths.max() <= table_max_length(300)
    probabilities = torch.exp2(-coder.cross_entropy_bits())
    assert float(probabilities.sum()) == pytest.approx(1)
    one = huffman(0, counts[:, 150:151], torch.zeros(1, dtype=torch.int64))
    assert one.lengths.tolist() == [[1]]


def test_table_id_tells_tables_apart():
    counts = torch.tensor([[5, 3, 1, 1]])
    one = torch.zeros(2, dtype=torch.int64)
    huffman, rans = coders["huffman"], coders["rans"]
    ids = {
        huffman(0, counts, one).table_id,
        huffman(-1, counts, one).table_id,
        huffman(0, torch.tensor([[1, 1, 3, 5]]), one).table_id,
        huffman(0, counts, torch.zeros(3, dtype=torch.int64)).table_id,
        rans(0, counts, one).table_id,
        rans(0, torch.tensor([[5, 3, 2, 1]]), one).table_id,
    }
    assert len(ids) == 6 and all(0 <= i < 2**16 for i in ids)


@pytest.mark.parametrize("name", coders)
def test_each_coder_codes_levels(name):
    generator = torch.Generator().manual_seed(4)
    draw = torch.distributions.Laplace(0.0, 1.5)
    torch.manual_seed(4)
    levels = draw.sample((2, 6, 40, 50)).round().clamp(-20, 20).to(torch.int16)
    table_of = torch.randint(0, 2, (6,), generator=generator)
    counts = fmtc.ops.histogram(levels, -20, 20, table_of, 2)
    coder = coders[name](-20, counts, table_of)
    data, used = coder.encode(levels, (1, 2))
    assert torch.equal(coder.decode(data, used, 40, 50), levels)
    info = fmtc.ops.stream_info(bytes(data[0, : used[0]].tolist()))
    named = {"fixed": "huffman", "apack": "rans"}.get(name, name)  # whose codes theirs are
    assert (info["coder"], info["table_id"]) == (named, coder.table_id)
    assert (info["crop_h"], info["crop_w"]) == (1, 2)

    ideal = float((counts * coder.cross_entropy_bits()).sum()) / 8
    if named == "rans":  # 2 streams with a header of 17 bytes and 4 bytes for each of 2 states
        assert 0 <= int(used.sum()) - ideal <= 2 * (17 + 8) + 1e-4 * ideal
    elif name in ("ebpc", "dct-cm"):  # with contexts, without tables
        assert int(used.sum()) < levels.numel() * 6 / 8
    elif name == "fixed":  # 6 bits for 41 levels
        assert levels.numel() * 6 / 8 <= int(used.sum()) <= levels.numel() * 6 / 8 + 2 * 40
    else:
        assert ideal <= int(used.sum()) <= 1.1 * ideal
    data[1, 30] ^= 1
    with pytest.raises(fmtc.StreamError, match="image 1"):
        coder.decode(data, used, 40, 50)


@pytest.mark.parametrize("name", coders)
def test_nothing_is_cropped_by_default(name):
    coder = coders[name](-2, torch.ones(1, 5, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))
    data, used = coder.encode(torch.zeros(1, 3, 2, 2, dtype=torch.int16))
    info = coder.stream_info(bytes(data[0, : used[0]].tolist()))
    assert (info["crop_h"], info["crop_w"]) == (0, 0)


def test_cross_entropy_of_rans_tables_counts_escapes():
    counts = torch.zeros(1, 1000, dtype=torch.int64)
    counts[0, 500] = 10**9
    counts[0, 0] = 1
    coder = coders["rans"](-500, counts, torch.zeros(4, dtype=torch.int64))
    bits = coder.cross_entropy_bits()[0]
    escape = -math.log2(int(coder.frequencies[0, -1]) / 4096)
    assert float(bits[0]) == float(bits[999]) == escape + 16
    assert float(bits[500]) < 0.01
    direct = coder.frequencies[0, :-1] > 0
    assert float(torch.exp2(-bits[direct]).sum()) + 2**-escape == pytest.approx(1)
    anything = torch.tensor([-32768, 32767, 0, 499], dtype=torch.int16).view(1, 4, 1, 1)
    assert torch.equal(coder.decode(*coder.encode(anything), 1, 1), anything)


def test_unknown_coders_are_refused():
    known = "did you mean 'rans'.* known are huffman, fixed, rans, apack, ebpc, dct-cm"
    with pytest.raises(ValueError, match=f"unknown coder 'ans': {known}"):
        coders["ans"]
    with pytest.raises(ValueError, match=f"unknown coder 'ans': {known}"):
        fmtc.calibrate_tensor(correlated(), coder="ans")


@pytest.mark.parametrize("wrong", [-256, 1, 255, 3000, 131072])
def test_wrong_lane_values_are_refused(wrong):
    message = f"lane_values must be a power of two from 256 to 65536, or 0 .*, got {wrong}$"
    with pytest.raises(ValueError, match=message):
        fmtc.calibrate_tensor(correlated(), lane_values=wrong)
    counts, table_of = torch.ones(1, 4, dtype=torch.int64), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        coders["huffman"](0, counts, table_of, lane_values=wrong)


@pytest.mark.parametrize("preset", ["fmtc", "paper", "ebpc", "dct-cm", "q"])
def test_any_lane_values_code_the_same_tensor(preset):
    knob = {"step": 0.5} if preset == "fmtc" else {"bits": 6}
    x, sizes = correlated(2, 9, 50, 41), []
    expected = fmtc.calibrate_tensor(x, preset, **knob).simulate(x)
    for lane_values in (256, 1024, 4096, 65536):
        codec = fmtc.calibrate_tensor(x, preset, **knob, lane_values=lane_values)
        data = codec.encode(x)
        assert torch.equal(codec.decode(data), expected)
        sizes.append(len(data))
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > sizes[1]


@pytest.mark.parametrize("classes", [1, 2, 3, 8])
def test_classes_are_the_best_contiguous_partition(classes):
    generator = torch.Generator().manual_seed(3)
    scales = torch.rand(7, generator=generator, dtype=torch.float64) * 6
    levels = (
        (torch.randn(7, 200, generator=generator) * scales[:, None]).round().long().clamp(-20, 20)
    )
    counts = torch.stack([torch.bincount(row + 20, minlength=41) for row in levels])

    def bits(class_of):
        merged = [counts[class_of == k].sum(0) for k in class_of.unique()]
        return sum(float(fmtc.ops.entropy(m[None])) * int(m.sum()) for m in merged)

    got = scale_classes(counts, scales, classes)
    order = scales.argsort(descending=True)
    assert (got[order].diff() >= 0).all() and len(got.unique()) <= classes
    best = min(
        bits(torch.tensor([sum(i >= c for c in cuts) for i in range(7)])[order.argsort()])
        for n in range(classes)
        for cuts in itertools.combinations(range(1, 7), n)
    )
    assert bits(got) == pytest.approx(best)


def test_repeated_positions_are_no_samples():
    """As behind a pool over nearly all positions: images of 16 channels, of which 12 say little."""
    x = torch.randn(12, 16, 1, 1, generator=torch.Generator().manual_seed(0))
    other = torch.randn(2, 16, 6, 6, generator=torch.Generator().manual_seed(1))
    codec = fmtc.calibrate_tensor(x.expand(-1, -1, 6, 6).contiguous(), bits=8)
    assert codec.components == 16
    assert (codec.simulate(other) - other).norm() < 0.2 * other.norm()


def test_what_is_simulated_is_what_can_be_encoded():
    x = correlated()
    codec = fmtc.calibrate_tensor(x, bits=6)
    for wrong, message in (
        (x[0], "expected a tensor"), (x[:, :-1], "expected a tensor"), (x.int(), "floating-point"),
        (x / 0, "NaN or Inf"),
    ):  # fmt: skip
        for call in (codec.encode, codec.simulate):
            with pytest.raises(ValueError, match=message):
                call(wrong)


def test_arguments_that_contradict_each_other():
    x = torch.randn(8, 6, 6, 6)
    with pytest.raises(ValueError, match="bits or a step, not both"):
        fmtc.calibrate_tensor(x, "fmtc", bits=6, step=0.1)
    start = fmtc.calibrate_tensor(x, keep_moments=True)
    with pytest.raises(fmtc.CalibrationError, match="channels in dimension 1, these .* in 3"):
        fmtc.calibrate_tensor(x, start=start, channel_dim=-1)


def test_shapes_of_no_tensor():
    x = correlated()
    codec = fmtc.calibrate_tensor(x, bits=6)
    data = codec.encode(x)
    for shape in ([-1, *x.shape[1:]], [*x.shape[:3], x.shape[3] + 1], x.shape[:3]):
        with pytest.raises(ValueError, match="decode: "):
            codec.decode(data, shape)


@pytest.mark.parametrize("data", [np.zeros(9, np.uint8), torch.zeros(9), "bytes", None])
def test_what_holds_no_streams(data):
    codec = fmtc.calibrate_tensor(correlated(), bits=6)
    with pytest.raises(TypeError, match=f"list of streams, not {type(data).__name__}"):
        codec.decode(data)


def test_a_step_that_clamps_is_told():
    x = torch.randn(4, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match="step 1e-05 is too fine: .* take a coarser step"):
        codec = fmtc.calibrate_tensor(x, "fmtc", step=1e-5)
    assert codec.clamped > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        codec = fmtc.calibrate_tensor(x, "fmtc", step=1e-3)
        assert codec.clamped == 0
        codec.encode(x)
    far = torch.cat([x, 1e3 * x])
    with pytest.warns(UserWarning, match="values lie beyond the 16-bit levels of this codec"):
        data = codec.encode(far)
    assert torch.equal(codec.decode(data), codec.simulate(far))
    paper = fmtc.calibrate_tensor(x, "paper", bits=4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        paper.encode(far)  # whose range is meant to clamp
