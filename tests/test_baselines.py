"""The quantisers of other methods against slow, obvious ones, and their presets on networks."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from networks import TinyDepthwise, TinyOdd, TinyResidual, first_tensor, images, latin, tiny

import fmtc
from fmtc import ops
from fmtc.codec import ranges as baselines
from fmtc.codec.quantizer import Quantizer
from fmtc.codec.transform import Transform
from fmtc.network.groups import AFTER

BASELINES = ["q", "q-vlc", "gemmlowp", "aciq", "kld", "pca+aciq", "pca+kld", "ebpc", "dct-cm"]
AFTER_ACTIVATION = ["gemmlowp", "aciq", "kld", "ebpc", "dct-cm"]


def stored(*tensors):
    """What the rules take: a function that yields the tensors."""
    return lambda: iter(tensors)


def sample(distribution, n=3, channels=4, size=40, seed=0):
    torch.manual_seed(seed)
    return distribution.sample((n, channels, size, size))


# -- The grid -------------------------------------------------------------------------------------


def gemmlowp_reference(x, low, high, bits):
    """Levels and decoded values as in the paper's section 2.1: S, Z, q = round(Z + x / S)."""
    low, high = min(low, 0.0), max(high, 0.0)
    last = 2**bits - 1
    scale = float(np.float32((high - low) / last))
    zero = min(max(math.floor(-low / scale + 0.5), 0), last)
    q = [math.floor(min(max(zero + v / scale, 0), last) + 0.5) for v in x]
    return [n - zero for n in q], [(n - zero) * scale for n in q]


@given(
    st.lists(st.floats(-8, 8, width=32), min_size=2, max_size=30),
    st.integers(2, 10),
    st.floats(0.1, 3),
)
def test_grid_is_gemmlowp(values, bits, shrink):
    x = torch.tensor(values)
    low, high = float(x.min()) / shrink, float(x.max()) / shrink
    if max(high, 0) - min(low, 0) < 1e-3:
        return
    ends = torch.tensor([low, high], dtype=torch.float64)  # where 0 lies half-way, each bit counts
    quantizer = Quantizer.of_ranges(*ends, torch.tensor(bits))
    levels, clamped = quantizer.quantize(x[None])
    expected, decoded = gemmlowp_reference(values, low, high, bits)
    # Where a value is half-way between two levels, we take the even one.
    halfway = (x / quantizer.step % 1 - 0.5).abs() < 1e-4
    assert torch.equal(levels[0][~halfway], torch.tensor(expected, dtype=torch.int16)[~halfway])
    assert (levels[0] - torch.tensor(expected)).abs().max() <= 1
    torch.testing.assert_close(
        quantizer.dequantize(levels)[0][~halfway], torch.tensor(decoded)[~halfway].float()
    )
    assert quantizer.hi - quantizer.lo == 2**bits - 1 and quantizer.lo <= 0 <= quantizer.hi


def test_grid_by_hand():
    assert baselines.grid(-1.0, 3.0, 2) == (pytest.approx(4 / 3), -1, 2)
    assert baselines.grid(0.0, 2.55, 8) == (pytest.approx(0.01), 0, 255)
    assert baselines.grid(5.0, 30.0, 4) == (2.0, 0, 15)  # 0 is a level, as padding needs it
    assert baselines.grid(-30.0, -5.0, 4) == (2.0, -15, 0)
    assert baselines.grid(0.0, 0.0, 8) == (1.0, 0, 0)
    assert baselines.grid(-1.0, 1.0, 0) == (2.0, 0, 0)  # no bits: only 0 is left


def test_gemmlowp_takes_all_values():
    low, high, bits = baselines.gemmlowp(stored(torch.tensor([[1.0, -2]]), torch.ones(0, 2)), 5)
    assert (float(low), float(high), int(bits)) == (-2, 1, 5)


# -- ACIQ -----------------------------------------------------------------------------------------

LAPLACE = [2.831, 3.897, 5.029, 6.205, 7.413, 8.646, 9.897]  # 2 to 8 bits, of the paper
GAUSS = [1.710, 2.151, 2.559, 2.936, 3.287, 3.615, 3.924]


@pytest.mark.parametrize("bits", range(2, 9))
def test_aciq_clips_are_the_published_ones(bits):
    assert baselines.laplace_clip(bits) == pytest.approx(LAPLACE[bits - 2], abs=1e-3)
    assert baselines.gauss_clip(bits) == pytest.approx(GAUSS[bits - 2], abs=1e-3)


@pytest.mark.parametrize("bits", [0, 1, 3, 6, 11])
def test_aciq_clips_have_the_least_error(bits):
    """By numeric integration of the density, at and around the clip."""
    x = np.linspace(0, 60, 600_001)
    densities = {
        baselines.laplace_clip: np.exp(-x),
        baselines.gauss_clip: np.sqrt(2 / np.pi) * np.exp(-(x**2) / 2),
    }
    for clip, density in densities.items():

        def error(alpha, density=density):
            beyond = np.trapezoid(np.maximum(x - alpha, 0) ** 2 * density, x)
            return beyond + alpha**2 / (3 * 4**bits)

        best = clip(bits)
        assert error(best) < min(error(0.99 * best), error(1.01 * best))


def test_aciq_tells_laplace_from_gauss():
    for distribution, expected in (
        (torch.distributions.Laplace(0.5, 2.0), LAPLACE[4] * 2.0),
        (torch.distributions.Normal(0.5, 2.0), GAUSS[4] * 2.0),
    ):
        low, high, bits = baselines.aciq(stored(*sample(distribution).split(1)), 6)
        assert (float(high) + float(low)) / 2 == pytest.approx(0.5, abs=0.1)
        assert (float(high) - float(low)) / 2 == pytest.approx(expected, rel=0.03)
        assert int(bits) == 6 and not bits.dim()


def test_aciq_behind_a_relu():
    x = sample(torch.distributions.Laplace(0.0, 1.0)).relu()
    low, high, _ = baselines.aciq(stored(x), 6)
    mean = x.double().mean()
    alpha = LAPLACE[5] * float((x - mean).abs().mean())  # of one bit more
    assert float(low) == 0 and float(high) == pytest.approx(float(mean) + alpha, rel=1e-3)


def test_aciq_deals_out_bits_to_channels():
    scales = torch.tensor([8.0, 1.0, 1.0, 1 / 8])
    x = sample(torch.distributions.Laplace(0.0, 1.0)) * scales[:, None, None]
    low, high, bits = baselines.aciq(stored(x), 4)
    assert bits.tolist() == [6, 4, 4, 2]  # 8 ** (2 / 3) = 4 times the levels
    clips = torch.tensor([LAPLACE[b - 2] for b in bits.tolist()])
    torch.testing.assert_close(high, (clips * scales).double(), rtol=0.05, atol=0.02)
    torch.testing.assert_close(-low, high, rtol=0.1, atol=0.02)
    quantizer = Quantizer.of_ranges(low, high, bits)
    levels, _ = quantizer.quantize(x)
    for channel, width in enumerate(bits.tolist()):
        found = levels[:, channel]
        assert 2 ** (width - 1) < found.max() - found.min() + 1 <= 2**width
    assert baselines.aciq(stored(x), 4, each=False)[2].tolist() == 4


@given(st.lists(st.floats(0, 100, width=32), min_size=1, max_size=50), st.integers(2, 8))
def test_allocation(scales, bits):
    scales = torch.tensor(scales, dtype=torch.float64)
    given_bits = baselines.allocate(scales, bits)
    assert given_bits.min() >= 0 and given_bits.max() <= 8
    assert given_bits.double().mean() <= bits
    order = scales.argsort()
    assert (given_bits[order].diff() >= 0).all()
    if scales.min() > 1e-3 * scales.max() > 0:  # one bit more for any would be too many
        lacking = bits * len(scales) - int(given_bits.sum())
        ties = int((given_bits[..., None] == given_bits).sum(1).max())
        assert lacking <= max(ties, len(scales) - 1)


def test_a_quantizer_of_components_is_one_of_each():
    y = 3 * torch.randn(4, 3, 5, 6)
    each = ((0.5, -3, 4), (0.25, 0, 15), (2.0, 0, 0))
    quantizer = Quantizer.of_each(each)
    assert (quantizer.step, quantizer.lo, quantizer.hi) == (2.0, -3, 15)
    levels, clamped = quantizer.quantize(y)
    decoded, total = quantizer.dequantize(levels), 0
    assert levels.dtype == torch.int16 and decoded.dtype == torch.float32
    for k, one in enumerate(each):
        alone = Quantizer(*one)
        expected, over = alone.quantize(y[:, k])
        assert torch.equal(levels[:, k], expected)
        assert torch.equal(decoded[:, k], alone.dequantize(expected))
        total += int(over)
    assert int(clamped) == total > 0
    kept = quantizer.keep(torch.tensor([True, True, False]))
    assert kept.each == each[:2] and (kept.step, kept.lo, kept.hi) == (0.5, -3, 15)
    assert torch.equal(kept.columns, quantizer.columns[:, :2])


# -- KLD ------------------------------------------------------------------------------------------


def kld_reference(counts, levels):
    """The threshold's bins, one count at a time."""
    middle, best = len(counts) // 2, (math.inf, None)
    for half in range(levels // 2, middle + 1):
        inside = [float(c) for c in counts[middle - half : middle + half + 1]]
        if not any(inside):
            continue
        p = list(inside)
        p[0] += sum(counts[: middle - half])
        p[-1] += sum(counts[middle + half + 1 :])
        width = len(inside) // levels
        q = [0.0] * len(inside)
        for level in range(levels):
            last = level == levels - 1
            bins = range(level * width, len(inside) if last else (level + 1) * width)
            filled = [i for i in bins if inside[i] > 0]
            for i in filled:
                q[i] = sum(inside[j] for j in bins) / len(filled)
        p, q = smooth(p), smooth(q)
        divergence = sum(
            a / sum(p) * math.log((a / sum(p)) / (b / sum(q))) for a, b in zip(p, q, strict=True)
        )
        best = min(best, (divergence, half), key=lambda found: found[0])
    return best[1]


def smooth(counts):
    empty = sum(c == 0 for c in counts)
    taken = 1e-4 * empty / (len(counts) - empty)
    return [c - taken if c else 1e-4 for c in counts]


@pytest.mark.parametrize("levels", [3, 7, 15])
@pytest.mark.parametrize("seed", range(4))
def test_kld_is_that_of_the_slow_search(levels, seed):
    generator = np.random.default_rng(seed)
    x = generator.laplace(0, 1, 4000)
    x = x if seed % 2 else np.maximum(x, 0)
    counts, _ = np.histogram(x, 101, (-abs(x).max(), abs(x).max()))
    found = baselines.kld_bins(counts.astype(float), levels)
    assert found == kld_reference(counts, levels)
    assert levels // 2 <= found <= 50


@pytest.mark.parametrize("levels", [3, 7, 15])
def test_kld_keeps_all_where_nothing_is_far_out(levels):
    even = np.ones(101)
    assert baselines.kld_bins(even, levels) == kld_reference(even, levels) == 50


@pytest.mark.parametrize("bits, bins", [(4, 2001), (7, 8001)])
def test_kld_seeks_the_threshold_for_the_levels_that_there_are(bits, bins):
    x = 0.01 * sample(torch.distributions.Laplace(0.0, 1.0))
    for values, levels in ((x, 2**bits - 1), (x.relu(), 2 ** (bits + 1) - 1)):
        limit = float(values.abs().max())
        counts = torch.histc(values.double(), bins, -limit, limit)
        kept = (2 * baselines.kld_bins(counts.numpy(), levels) + 1) / bins
        low, high, _ = baselines.kld(stored(*values.split(1)), bits)
        assert kept < 1 and float(max(-low, high)) == pytest.approx(kept * limit)


def test_kld_leaves_outliers_out():
    x = sample(torch.distributions.Normal(0.0, 1.0))
    x[0, 0, 0, 0] = 30.0
    low, high, bits = baselines.kld(stored(*x.split(1)), 4)
    assert 1.5 < float(high) < 6 and float(low) >= -float(high) - 1e-6 and int(bits) == 4
    low, _, _ = baselines.kld(stored(x.abs()), 4)
    assert float(low) >= 0
    _, high, _ = baselines.kld(stored(x.relu()), 4)
    assert 2 < float(high) < 6
    zero = torch.zeros(1, 2, 3, 3)
    assert [float(end) for end in baselines.kld(stored(zero), 8)[:2]] == [0, 0]


# -- Presets --------------------------------------------------------------------------------------


def outputs_and_counts(compressed, x):
    compressed.reset_statistics()
    output = first_tensor(compressed(x))
    return output, [point.counted.histogram for point in compressed.points.values()]


@pytest.mark.parametrize(
    "preset,bits,kind", latin(BASELINES, [2, 4, 8, 10], [TinyResidual, TinyDepthwise, TinyOdd])
)
def test_stream_equals_simulate_bit_for_bit_also_when_loaded(preset, kind, bits, tmp_path):
    model, x = tiny(kind), images(3, seed=1)
    weight_bits = {2: 4, 4: 32, 8: 8, 10: 32}[bits]
    compressed = fmtc.compress(model, images(8), preset, bits=bits, weight_bits=weight_bits)
    compressed.save(tmp_path / "codec.safetensors")
    streamed, counts = outputs_and_counts(compressed, x)
    rates = compressed.report().to_dict()
    compressed.mode = "simulate"
    simulated, simulated_counts = outputs_and_counts(compressed, x)
    assert torch.equal(streamed, simulated)
    assert all(map(torch.equal, counts, simulated_counts))
    loaded = fmtc.load(tmp_path / "codec.safetensors", model)
    assert torch.equal(first_tensor(loaded(x)), streamed)
    assert loaded.report().to_dict() == rates
    assert rates["bits_per_value"]["stream"] > 0


@pytest.mark.parametrize("preset", BASELINES)
@pytest.mark.parametrize("kind", [TinyResidual, TinyDepthwise])
def test_float_mode_is_the_network(preset, kind):
    model, x = tiny(kind), images(3, seed=1)
    compressed = fmtc.compress(model, images(8), preset, bits=10, mode="float")
    with torch.no_grad():
        torch.testing.assert_close(compressed(x), model(x), rtol=1e-3, atol=1e-3)
    if not preset.startswith(("pca", "dct")):  # and costs what it costs
        assert compressed.multiply_adds["compressed"] == compressed.multiply_adds["plain"]


def test_sides_of_the_activation():
    model = tiny()
    for preset in BASELINES:
        sides = fmtc.compress(model, images(), preset, bits=5).sides
        after = {name for name, side in sides.items() if side == AFTER}
        expected = {"stem", "conv1", "shortcut"} if preset in AFTER_ACTIVATION else set()
        assert after == expected
        assert set(sides) == {"stem", "conv1", "conv2", "shortcut"}


def test_more_bits_mean_less_error():
    model, x = tiny(), images(16)
    for preset in BASELINES:
        snr = [
            fmtc.evaluate(fmtc.compress(model, x, preset, bits=b), images(8, seed=1))["snr_db"]
            for b in (2, 4, 6)
        ]
        assert snr == sorted(snr) and snr[-1] > 10, preset


@pytest.mark.parametrize("bits", [2, 5, 8, 10])
def test_plain_quantiser_takes_b_bits_and_vlc_less(bits):
    model, x = tiny(), images(16, size=36)
    plain, vlc = (fmtc.compress(model, x, preset, bits=bits) for preset in ("q", "q-vlc"))
    assert torch.equal(plain(x), vlc(x))
    rates, vlc_rates = plain.report().bits_per_value, vlc.report().bits_per_value
    streams = 16 * len(plain.points)  # of 14 to 60 bytes of header, sub-streams and checksums
    side = (rates["stream"] - bits) * plain.report().values / 8
    assert 14 * streams <= side <= 60 * streams
    assert vlc_rates["stream"] < rates["stream"]
    for rate in ("entropy", "huffman"):
        assert rates[rate] == vlc_rates[rate] < rates["stream"]
    for codec in plain.codecs.values():
        assert codec.quantizer.hi - codec.quantizer.lo < 2**bits


def test_ebpc_loses_nothing():
    """Its levels are GEMMLOWP's, at any number of bits."""
    model, x = tiny(), images(8)
    for bits in (2, 5, 8, 10):
        levels, coded = (fmtc.compress(model, x, p, bits=bits) for p in ("gemmlowp", "ebpc"))
        assert torch.equal(levels(x), coded(x))
        assert levels.report().bits_per_value["entropy"] == coded.report().bits_per_value["entropy"]


def smooth_over_channels(channels=16):
    """Tensors that the DCT over channels makes sparse."""
    torch.manual_seed(0)
    waves = torch.cos(torch.pi / 8 * (torch.arange(channels) + 0.5) * torch.arange(2)[:, None])
    return torch.einsum("nshw,sc->nchw", torch.randn(4, 2, 9, 10), waves) + 3


def test_dct_is_that_of_the_definition():
    x = torch.randn(2, 11, 3, 4)
    block = fmtc.Block(1, 1, 4)
    y = Transform.dct(11, block).forward(block.split(x))
    padded = torch.cat([x, x[:, -1:]], 1)  # a twelfth channel, the last one again
    for group in range(3):
        for k in range(4):
            scale = math.sqrt((1 if k == 0 else 2) / 4)
            expected = sum(
                scale * math.cos(math.pi / 4 * (n + 0.5) * k) * padded[:, 4 * group + n]
                for n in range(4)
            )
            torch.testing.assert_close(y[:, 4 * group + k], expected, rtol=1e-5, atol=1e-5)
    back = block.join(Transform.dct(11, block).inverse(y), 11, (0, 0))
    torch.testing.assert_close(back, x, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="over channels, in blocks 1,1,c, not 2,1,4"):
        Transform.dct(11, fmtc.Block(2, 1, 4))


def test_dct_cm_skips_the_dct_where_the_layer_is_sparser_without():
    dense, sparse = smooth_over_channels(), sample(torch.distributions.Normal(-1.0, 1.0)).relu()
    with_dct, without = (fmtc.calibrate_tensor(x, "dct-cm", bits=8) for x in (dense, sparse))
    assert str(with_dct.block) == "1,1,8" and str(without.block) == "1,1,C"
    for codec, x in ((with_dct, dense), (without, sparse)):
        levels, _ = codec.quantizer.quantize(codec.forward(x))
        [stream] = codec.streams(x[:1])
        others = int((levels[:1] != 0).sum())
        assert len(stream) - 20 <= (levels[:1].numel() + 8 * others) / 8 <= len(stream) - 14
    assert others / levels[:1].numel() < 0.2


def test_table_classes():
    model, x = tiny(), images(16, size=36)
    one, many = (
        fmtc.compress(model, x, "gemmlowp", bits=6, table_classes=classes) for classes in (1, 4)
    )
    assert torch.equal(one(x), many(x))
    assert {len(codec.coder.counts) for codec in one.codecs.values()} == {1}
    assert max(len(codec.coder.counts) for codec in many.codecs.values()) == 4
    one, many = one.report().bits_per_value, many.report().bits_per_value
    assert one["entropy"] == many["entropy"]
    assert many["huffman"] < one["huffman"] and many["stream"] < one["stream"]
    step = fmtc.Step(0.1)
    single = fmtc.compress(model, x, target=step, table_classes=1)
    assert len(single.codecs["conv1"].coder.counts) == 1


def test_bare_tensors():
    x = sample(torch.distributions.Laplace(0.0, 1.0)).relu()
    for preset in BASELINES:
        codec = fmtc.calibrate_tensor(x, preset, bits=4)
        data = codec.encode(x)
        assert torch.equal(codec.decode(data), codec.simulate(x))
        coder = preset if preset in ("ebpc", "dct-cm") else "huffman"
        assert ops.stream_info(codec.streams(x)[0])["coder"] == coder
        assert 0 < codec.mse < 0.1


@pytest.mark.parametrize(
    "options, message",
    [
        ({"bits": 1}, "bits must be 2 to 12, got 1"),
        ({"bits": 11}, "bits must be 2 to 10 with preset 'aciq', got 11"),
        ({"block": "2,2,C"}, "preset 'aciq' does not transform blocks such as 2,2,C"),
        ({"keep_moments": True}, "preset 'aciq' has no moments to keep"),
        ({"table_classes": 0}, "table_classes must be 1 to 16, got 0"),
        ({"table_classes": 17}, "table_classes must be 1 to 16, got 17"),
        ({"target": fmtc.SNR(12)}, "preset 'aciq' takes bits"),
        ({"coder": "fixed", "table_classes": 8}, "coder 'fixed' has no tables"),
        ({"preset": "ebpc", "table_classes": 8}, "coder 'ebpc' has no tables"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        fmtc.compress(tiny(), images(), **{"preset": "aciq", **options})


def test_constant_and_negative_tensors():
    for value in (0.0, 2.5, -3.0):
        x = torch.full((2, 3, 4, 4), value)
        for preset in BASELINES:
            codec = fmtc.calibrate_tensor(x, preset, bits=8)
            assert torch.equal(codec.decode(codec.encode(x)), codec.simulate(x))
            torch.testing.assert_close(codec.simulate(x), x, rtol=0.02, atol=1e-6)
