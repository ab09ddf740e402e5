"""Classes of positions: what they are, when they are used, and what they are worth."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import TinyDepthwise, TinyResidual, images, tiny
from test_ops_positions import reference_activity, reference_arrange

import fmtc
from fmtc import ops
from fmtc.codec.positions import LEAST_SCALE, MOST_WEIGHT, UNIT, PositionClasses
from fmtc.errors import StreamError
from fmtc.presets import PRESETS

PLAIN = dataclasses.replace(PRESETS["fmtc"], name="plain", position_classes=1)
SHAPES = [(3, 4, 9, 7), (2, 1, 1, 1), (2, 3, 1, 6), (1, 5, 8, 8), (2, 2, 30, 31)]


def generator(seed):
    return torch.Generator().manual_seed(seed)


def stationary(n=4, c=4, side=48, scale=1.5, seed=0):
    """White noise, as busy here as there."""
    return scale * torch.randn(n, c, side, side, generator=generator(seed))


def uneven(n=4, c=4, side=48, seed=0):
    """The same noise, in squares of 8 x 8 that are busy or quiet in all channels."""
    gain = torch.rand(n, 1, math.ceil(side / 8), math.ceil(side / 8), generator=generator(seed + 9))
    gain = (4 * gain - 3).exp2().repeat_interleave(8, 2).repeat_interleave(8, 3)
    return gain[:, :, :side, :side] * stationary(n, c, side, seed=seed)


def symbols_of(shape, scale=3.0, seed=0):
    return (scale * torch.randn(shape, generator=generator(seed))).round().to(torch.int16)


def random_classes_of(planes, classes, seed=0):
    weights = torch.randint(0, 600, (planes,), generator=generator(seed), dtype=torch.int32)
    thresholds = torch.randint(0, 3000 * planes, (classes - 1,), generator=generator(seed))
    return PositionClasses(weights, thresholds.sort().values)


# -- What they are --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [2, 3, 8])
def test_a_class_is_how_many_thresholds_are_reached(shape, classes):
    found, symbols = random_classes_of(shape[1], classes), symbols_of(shape)
    assert (found.count, found.segments) == (classes, 1 + shape[1] * classes)
    activity = reference_activity(symbols, found.weights)
    reached = (activity[..., None] >= found.thresholds).sum(-1)
    of_blocks = found.of(symbols)
    assert of_blocks.dtype == torch.uint8 and torch.equal(of_blocks, reached.to(torch.uint8))


def test_a_threshold_belongs_to_the_class_above():
    symbols = torch.tensor([[[[4, 4, 5, 5], [4, 4, 5, 5]]]], dtype=torch.int16)
    weights, thresholds = torch.tensor([10], dtype=torch.int32), torch.tensor([40, 51])
    assert PositionClasses(weights, thresholds).of(symbols).tolist() == [[[1, 1]]]
    assert PositionClasses(weights, thresholds + 1).of(symbols).tolist() == [[[0, 1]]]


def slow_histogram(found, symbols, lo, hi, groups, num_groups):
    """One value at a time."""
    counts = torch.zeros(num_groups, hi - lo + 1, dtype=torch.int64)
    for image, classes in zip(symbols, found.of(symbols), strict=True):
        values, positions = reference_arrange(image, classes, found.count)
        sizes = [classes.numel(), *positions * len(image)]
        segments = [s for s, size in enumerate(sizes) for _ in range(size)]
        for value, segment in zip(values, segments, strict=True):
            counts[groups[segment], min(max(value, lo), hi) - lo] += 1
    return counts


@pytest.mark.parametrize("shape", [*SHAPES, (0, 2, 5, 5), (0, 3, 4, 4)])
@pytest.mark.parametrize("lo, hi", [(-40, 40), (-7, 9), (-2, 3), (0, 0), (3, 5)])
def test_histogram_is_that_of_what_is_coded(shape, lo, hi):
    """Symbols beyond lo .. hi count as the nearest."""
    symbols = symbols_of(shape)
    for classes, num_groups in ((2, 1), (4, 3), (8, 40)):
        found = random_classes_of(shape[1], classes)
        groups = torch.randint(0, num_groups, (found.segments,), generator=generator(1))
        counts = found.histogram(symbols, found.of(symbols), lo, hi, groups, num_groups)
        assert torch.equal(counts, slow_histogram(found, symbols, lo, hi, groups, num_groups))


def test_histogram_has_all_values_and_the_map():
    found, symbols = random_classes_of(4, 3), symbols_of((3, 4, 9, 7))
    each = torch.arange(found.segments)
    counts = found.histogram(symbols, found.of(symbols), -30, 30, each, found.segments)
    assert int(counts[0].sum()) == 3 * 5 * 4 and int(counts[1:].sum()) == symbols.numel()
    for k in range(4):  # a plane's classes together are the plane
        plane = ops.histogram(symbols[:, k : k + 1], -30, 30, torch.zeros(1).long(), 1)
        assert torch.equal(counts[1 + 3 * k : 4 + 3 * k].sum(0), plane[0])


def test_fit_weighs_a_symbol_by_the_scale_of_its_plane():
    scales = torch.tensor([0.0, 1e-9, 0.2, 1.0, 30.0, 1e6, torch.inf], dtype=torch.float64)
    found = PositionClasses.fit([symbols_of((2, 7, 8, 8))], scales, 4)
    # The decay of a two-sided geometric distribution of mean magnitude m is 1 / asinh(1 / m).
    expected = np.arcsinh(1 / np.maximum(scales.numpy(), LEAST_SCALE)) * UNIT
    assert found.weights.dtype == torch.int32
    assert found.weights.tolist() == np.minimum(np.round(expected), MOST_WEIGHT).tolist()
    decay = math.exp(-math.asinh(1.0))  # of the plane with mean magnitude 1
    magnitudes = np.arange(1, 200)
    mean = 2 * (magnitudes * decay**magnitudes).sum() / (1 + 2 * (decay**magnitudes).sum())
    assert mean == pytest.approx(1.0)


@pytest.mark.parametrize("classes", [2, 4, 8])
def test_fit_makes_classes_of_about_equal_size(classes):
    batches = [symbols_of((2, 6, 40, 40)), symbols_of((3, 6, 33, 21), seed=1)]
    scales = torch.full((6,), 2.4, dtype=torch.float64)
    found = PositionClasses.fit(batches, scales, classes)
    assert found.count == classes and found.thresholds.dtype == torch.int64
    activity = torch.cat([reference_activity(b, found.weights).flatten() for b in batches])
    for c, threshold in enumerate(found.thresholds.tolist(), 1):  # quantiles, but for ties
        below, at_most = (
            float((activity <= t).double().mean()) for t in (threshold - 1, threshold)
        )
        assert below - 2e-3 <= c / classes <= at_most + 2e-3
    sizes = torch.cat([found.of(b).flatten() for b in batches]).bincount(minlength=classes)
    assert (sizes / len(activity) - 1 / classes).abs().max() < 0.02


# -- What they are worth --------------------------------------------------------------------------


def side_bytes(streams):
    """At most, what streams of one chunk hold besides codes: header, checksum and states."""
    return streams * (30 + 4 * 32)


@pytest.mark.parametrize("shape", [(4, 4, 48), (3, 9, 33), (8, 2, 17)])
@pytest.mark.parametrize("step", [0.3, 1.0, 3.0])
def test_streams_are_as_long_as_the_tables_say(shape, step):
    x = uneven(*shape)
    codec = fmtc.calibrate_tensor(x, "fmtc", step=step)
    levels, _ = codec.quantizer.quantize(codec.forward(x))
    counts = codec.count(codec.symbols(levels))
    assert torch.equal(counts, codec.histogram)  # of the same tensors
    ideal = float((counts * codec.coder.cross_entropy_bits()).sum()) / 8
    data = codec.encode(x)
    assert ideal <= len(data) <= 1.001 * ideal + side_bytes(shape[0])
    assert torch.equal(codec.decode(data), codec.simulate(x))


@pytest.mark.parametrize("step", [0.5, 1.0, 2.0])
def test_uneven_images_have_classes_and_fewer_bits(step):
    x, other = uneven(8), uneven(8, seed=1)
    codec = fmtc.calibrate_tensor(x, "fmtc", step=step)
    plain = fmtc.calibrate_tensor(x, PLAIN, step=step)
    assert codec.position_classes.count == PRESETS["fmtc"].position_classes == 4
    assert codec.coder.position_classes == 4 and plain.position_classes is None
    assert codec.components == plain.components == codec.coder.components
    assert len(codec.class_of) == len(codec.coder.table_of) == codec.position_classes.segments
    for y in (x, other):  # not of the calibration images alone
        with_classes, without = codec.encode(y), plain.encode(y)
        assert len(with_classes) < 0.95 * len(without)
        assert torch.equal(codec.decode(with_classes), plain.decode(without))
        assert torch.equal(codec.decode(with_classes), codec.simulate(y))


def test_busy_squares_have_high_classes():
    x = uneven(8, c=12)
    codec = fmtc.calibrate_tensor(x, "fmtc", step=0.5)
    levels, _ = codec.quantizer.quantize(codec.forward(x))
    classes = codec.position_classes.of(codec.symbol_map.symbols(levels)).double()
    energy = F.avg_pool2d(x.double().square().mean(1), 8).log().flatten()
    of_square = F.avg_pool2d(classes, 4).flatten()
    assert float(torch.corrcoef(torch.stack([energy, of_square]))[0, 1]) > 0.95


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("side", [2, 7, 16, 48])
@pytest.mark.parametrize("channels", [1, 6])
def test_stationary_noise_has_no_classes(side, channels, seed):
    x = stationary(6, channels, side, seed=seed)
    codec, plain = (fmtc.calibrate_tensor(x, p, step=1.0) for p in ("fmtc", PLAIN))
    assert codec.position_classes is None and codec.coder.position_classes == 1
    if side > 2:  # few values may not reach as far as the map's, for which tables have room
        assert codec.encode(x) == plain.encode(x)


def test_only_rans_and_presets_that_ask_have_classes():
    x = uneven()
    assert fmtc.calibrate_tensor(x, "fmtc", step=1.0).position_classes is not None
    assert fmtc.calibrate_tensor(x, "fmtc", step=1.0, coder="huffman").position_classes is None
    assert fmtc.calibrate_tensor(x, "paper", bits=6).position_classes is None
    assert fmtc.calibrate_tensor(x, "paper", bits=6, coder="rans").position_classes is None


@pytest.mark.parametrize("count", [2, 3, 8])
def test_any_number_of_classes(count):
    preset = dataclasses.replace(PRESETS["fmtc"], position_classes=count)
    x = uneven()
    codec = fmtc.calibrate_tensor(x, preset, step=1.0)
    assert codec.position_classes.count == count
    assert torch.equal(codec.decode(codec.encode(x)), codec.simulate(x))


def test_the_map_has_its_place_in_the_tables():
    preset = dataclasses.replace(PRESETS["fmtc"], position_classes=8)
    x = uneven(8)
    codec = fmtc.calibrate_tensor(x, preset, step=3.0)
    symbols = codec.symbols(codec.quantize(x)[0])
    assert codec.position_classes.count == 8 and symbols.planes.abs().max() < 7
    assert (codec.coder.lo, codec.coder.hi) == (-7, 7)  # differences between classes


def test_one_table_for_all_classes():
    preset = dataclasses.replace(PRESETS["fmtc"], table_per_class=False)
    x = uneven()
    codec = fmtc.calibrate_tensor(x, preset, step=1.0)
    assert len(codec.coder.counts) == 1
    assert torch.equal(codec.decode(codec.encode(x)), codec.simulate(x))


def test_low_bits_tell_nothing_of_how_busy_a_place_is():
    x = uneven(8)
    x[:, :1] *= 300
    codec = fmtc.calibrate_tensor(x, "fmtc", step=1.0)
    low = codec.symbol_map.plane_shifts() > 0
    assert low.any() and codec.position_classes is not None
    assert not codec.position_classes.weights[low].any()
    assert codec.position_classes.weights[~low].all()
    for y in (x, 9 * uneven(3, side=21, seed=4), x[:0]):
        assert torch.equal(codec.decode(codec.encode(y)), codec.simulate(y)) or not len(y)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (2, 2), (31, 30), (65, 64)])
def test_images_of_any_size(size):
    codec = fmtc.calibrate_tensor(uneven(), "fmtc", step=1.0)
    x = 2 * torch.randn(3, 4, *size, generator=generator(5))
    data = codec.encode(x)
    assert torch.equal(codec.decode(data), codec.simulate(x))
    assert [s for image in x for s in codec.streams(image[None])] == codec.streams(x)


def test_damaged_streams_are_refused():
    x = uneven(1, side=10)
    codec = fmtc.calibrate_tensor(uneven(), "fmtc", step=1.0)
    data = codec.encode(x)
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StreamError):
            codec.decode(bytes(flipped))
    for size in range(1, len(data)):
        with pytest.raises(StreamError):
            codec.decode(data[:size])


def test_streams_with_and_without_classes_are_not_mixed_up():
    x = uneven()
    codec, plain = (fmtc.calibrate_tensor(x, p, step=1.0) for p in ("fmtc", PLAIN))
    for ours, theirs in ((codec, plain), (plain, codec)):
        with pytest.raises(StreamError):
            ours.decode(theirs.encode(x))


# -- Saved, and in a network ----------------------------------------------------------------------


def test_saved_codecs_make_the_same_bytes(tmp_path):
    x = uneven(5)
    codec = fmtc.calibrate_tensor(x, "fmtc", step=0.7, keep_moments=True)
    codec.save(tmp_path / "codec.safetensors")
    loaded = fmtc.TensorCodec.load(tmp_path / "codec.safetensors")
    assert torch.equal(loaded.position_classes.weights, codec.position_classes.weights)
    assert torch.equal(loaded.position_classes.thresholds, codec.position_classes.thresholds)
    assert loaded.coder.table_id == codec.coder.table_id
    for y in (x, uneven(3, side=19, seed=3)):
        data = codec.encode(y)
        assert loaded.encode(y) == data
        assert torch.equal(loaded.decode(data), codec.decode(data))


@pytest.mark.parametrize("kind", [TinyResidual, TinyDepthwise])
def test_a_network_with_classes(kind, tmp_path):
    model, x = tiny(kind), images(8, 48)
    x[..., 24:] *= 0.02  # half of each image is quiet
    compressed = fmtc.compress(model, x, "fmtc", target=fmtc.Step(1e-4))
    plain = fmtc.compress(model, x, PLAIN, target=fmtc.Step(1e-4))
    assert all(codec.position_classes is not None for codec in compressed.codecs.values())
    assert all(codec.position_classes is None for codec in plain.codecs.values())
    outputs, rates = {}, {}
    for mode in ("stream", "simulate"):
        compressed.mode = plain.mode = mode
        compressed.reset_statistics()
        outputs[mode], rates[mode] = compressed(x), compressed.report().bits_per_value
    assert torch.equal(outputs["stream"], outputs["simulate"])
    assert rates["stream"] == {**rates["simulate"], "stream": rates["stream"]["stream"]}
    ideal, values = rates["stream"]["cross_entropy"], compressed.report().values
    side_bits = 8 * side_bytes(8 * len(compressed.codecs)) / values
    assert ideal < rates["stream"]["stream"] < 1.001 * ideal + side_bits
    plain(x)
    assert ideal < 0.97 * plain.report().bits_per_value["cross_entropy"]
    compressed.save(tmp_path / "codec.safetensors")
    loaded = fmtc.load(tmp_path / "codec.safetensors", model)
    loaded.mode = "stream"
    assert torch.equal(loaded(x), outputs["stream"])
    assert loaded.report().bits_per_value == rates["stream"]
