"""What a user would take today: number formats of one width, with and without VLC, and APack."""

import dataclasses

import pytest
import torch
from networks import TinyDepthwise, TinyOdd, TinyResidual, first_tensor, images, latin, tiny

import fmtc
from fmtc import ops
from fmtc.codec.scaled import SCALINGS, ScaledQuantizer
from fmtc.model.points import make_point
from fmtc.network.groups import AFTER

WIDTHS = {"int8": 8, "int6-token": 6, "int4-token": 4, "mxfp4": 4, "nvfp4": 4}
SCALED = {name: WIDTHS[name] for name in WIDTHS if name != "int8"}
FORMATS = [*WIDTHS, *(f"{name}-vlc" for name in WIDTHS), "apack"]
BLOCKS = {"mxfp4": 32, "nvfp4": 16}


def bits_of(preset):
    return {**WIDTHS, "apack": 8}[preset.removesuffix("-vlc")]


@pytest.mark.parametrize("preset,kind", latin(FORMATS, [TinyResidual, TinyDepthwise, TinyOdd]))
def test_stream_equals_simulate_bit_for_bit_also_when_loaded(preset, kind, tmp_path):
    model, x = tiny(kind), images(3, seed=1)
    compressed = fmtc.compress(model, images(8), preset)
    compressed.save(tmp_path / "codec.safetensors")
    streamed = first_tensor(compressed(x))
    rates = compressed.report().to_dict()
    assert rates["bits_per_value"]["stream"] > 0
    compressed.mode = "simulate"
    compressed.reset_statistics()
    assert torch.equal(first_tensor(compressed(x)), streamed)
    others = compressed.report().to_dict()["bits_per_value"]
    assert {**rates["bits_per_value"], "stream": None} == others
    loaded = fmtc.load(tmp_path / "codec.safetensors", model)
    assert torch.equal(first_tensor(loaded(x)), streamed)
    assert loaded.report().to_dict() == rates


@pytest.mark.parametrize("preset", FORMATS)
def test_one_width(preset):
    found, width = fmtc.PRESETS[preset], bits_of(preset)
    assert found.default_bits == width and [b for b in range(2, 13) if found.allows(b)] == [width]
    message = f"bits must be {width} with preset '{preset}', got {width + 1}"
    with pytest.raises(ValueError, match=message):
        fmtc.compress(tiny(), images(), preset, bits=width + 1)
    one = fmtc.compress(tiny(), images(), preset, bits=width)
    assert torch.equal(one(images()), fmtc.compress(tiny(), images(), preset)(images()))


def test_int8_is_gemmlowp_of_8_bits():
    model, x = tiny(), images(16, size=36)
    names = ("int8", "int8-vlc", "apack")
    models = {name: fmtc.compress(model, x, name) for name in names}
    models["gemmlowp"] = fmtc.compress(model, x, "gemmlowp", bits=8)
    outputs = {name: m(x) for name, m in models.items()}
    assert all(torch.equal(y, outputs["gemmlowp"]) for y in outputs.values())
    rates = {name: m.report().bits_per_value for name, m in models.items()}
    assert rates["int8-vlc"] == rates["gemmlowp"]
    assert 8 < rates["int8"]["stream"] < 8.3
    assert rates["int8"]["entropy"] == rates["apack"]["entropy"]
    # Ranges of values lose some percent of what a table of each would take.
    assert rates["apack"]["cross_entropy"] <= 1.05 * rates["int8-vlc"]["entropy"]
    assert rates["apack"]["stream"] <= 1.03 * rates["int8-vlc"]["stream"]


def test_apack_codes_what_it_has_not_seen():
    x = torch.randn(2, 4, 20, 20).clamp(-1, 1).relu()
    codec = fmtc.calibrate_tensor(x, "apack")
    y = 100 * torch.randn(2, 4, 20, 20).relu()
    data = codec.encode(y)
    assert torch.equal(codec.decode(data), codec.simulate(y))
    assert ops.stream_info(codec.streams(y)[0])["coder"] == "rans"
    symbols = torch.arange(-32768, 32768).to(torch.int16).view(1, 1, 256, 256)
    coder = fmtc.codec.coders.coders["apack"](0, codec.coder.counts, torch.zeros(1).long())
    assert torch.equal(coder.decode(*coder.encode(symbols), 256, 256), symbols)


def test_smallest_b_of_a_preset():
    made = fmtc.BitsPreset(name="mine", min_bits=5, max_bits=6)
    assert made.default_bits == 6 and not made.allows(4) and made.allows(5)
    with pytest.raises(ValueError, match="bits must be 5 to 6 with preset 'mine', got 8"):
        made.check_bits(8)
    with pytest.raises(ValueError, match="min_bits must be 2 to max_bits; got 7"):
        fmtc.BitsPreset(name="mine", min_bits=7, max_bits=6)
    assert fmtc.calibrate_tensor(images(4), made).quantizer.step == pytest.approx(
        fmtc.calibrate_tensor(images(4), made, bits=6).quantizer.step
    )


@pytest.mark.parametrize("preset", FORMATS)
@pytest.mark.parametrize("value", [0.0, 2.5, -3.0])
def test_constant_tensors(preset, value):
    x = torch.full((2, 3, 4, 4), value)
    codec = fmtc.calibrate_tensor(x, preset)
    assert torch.equal(codec.decode(codec.encode(x)), codec.simulate(x))
    tolerance = 0.21 if "fp4" in preset else 0.02  # MXFP4 has 2 and 3, and 2 has the even code
    torch.testing.assert_close(codec.simulate(x), x, rtol=tolerance, atol=1e-6)


# -- Scales at each position -----------------------------------------------------------------------


def sample(channels=48, n=2, size=30, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scales = torch.rand(n, 1, size, size, generator=generator)
    return scales * torch.randn(n, channels, size, size, generator=generator)


def exact_bits(preset, channels):
    """Of a value without headers: its element, and its share of a scale of 8 bits."""
    scales = -(-channels // BLOCKS.get(preset, channels))
    return WIDTHS[preset] + 8 * scales / channels


@pytest.mark.parametrize("preset", SCALED)
@pytest.mark.parametrize("channels", [1, 15, 16, 17, 32, 33, 96])
def test_rates_are_those_of_the_format(preset, channels):
    x = sample(channels, 1, 64)
    plain, vlc = (fmtc.calibrate_tensor(x, name) for name in (preset, f"{preset}-vlc"))
    streams = [plain.encode(x), vlc.encode(x)]
    for codec, data in zip((plain, vlc), streams, strict=True):
        assert torch.equal(codec.decode(data), codec.simulate(x))
    assert torch.equal(plain.simulate(x), vlc.simulate(x))
    bits = exact_bits(preset, channels)
    whole = {"mxfp4": 4.25, "nvfp4": 4.5}.get(preset)
    assert channels % 32 or whole in (None, bits)
    side = 8 * len(streams[0]) - bits * x.numel()  # header, sub-streams, checksum
    chunks = -(-(x.numel() + 4096 * -(-channels // BLOCKS.get(preset, channels))) // 65536)
    assert 0 < side <= 8 * (40 + 24 * chunks)
    assert len(streams[1]) < len(streams[0]) or channels == 1  # a scale for each value of 1


@pytest.mark.parametrize("preset", SCALED)
def test_what_is_counted_is_what_is_coded(preset):
    """Each rate from the histograms of values and of scales, apart from each other."""
    model, x = tiny(TinyDepthwise), images(16, size=24)
    compressed = fmtc.compress(model, x, f"{preset}-vlc")
    compressed(x)
    rates = compressed.report().bits_per_value
    entropy = huffman = 0.0
    for point in compressed.points.values():
        histogram, coder = point.counted.histogram, point.codec.coder
        kinds = point.codec.kind_of_class
        assert kinds.max() == 1
        for kind in (0, 1):
            of_kind = histogram[kinds == kind].sum(0)
            entropy += float(ops.entropy(of_kind) * of_kind.sum())
            huffman += float((of_kind * coder.lengths[kind].long()).sum())
            assert not of_kind[coder.lengths[kind] == 0].any()
        channels, *size = point.counted.shape
        scales = -(-channels // BLOCKS.get(preset, channels))
        positions = 16 * size[0] * size[1]
        assert histogram.sum(1)[kinds == 1].sum() == scales * positions
        assert histogram.sum(1)[kinds == 0].sum() == channels * positions
    values = compressed.report().values
    assert rates["entropy"] == pytest.approx(entropy / values)
    assert rates["huffman"] == pytest.approx(huffman / values)
    assert rates["entropy_classes"] <= rates["entropy"] <= rates["huffman"] < rates["stream"]
    assert rates["cross_entropy"] <= rates["huffman"]
    fixed = fmtc.compress(model, x, preset)
    assert torch.equal(fixed(x), compressed(x))
    assert {**fixed.report().bits_per_value, "stream": 0} == {**rates, "stream": 0}


def test_tables_are_for_levels_or_for_scales():
    codec = fmtc.calibrate_tensor(sample(), "nvfp4-vlc")
    assert codec.coder.table_of.tolist() == [0] * 48 + [1] * 3
    assert codec.coder.alphabet_of.tolist() == [[-7, 7], [0, 255]]
    ideal = codec.coder.cross_entropy_bits()
    assert ideal.isfinite().all() and not ideal[0, 15:].any() and not ideal[1, :7].any()
    lengths = codec.coder.lengths.double()
    for table in lengths:
        assert float(torch.exp2(-table[table > 0]).sum()) == 1
    levels, _ = codec.quantize(sample())
    levels[0, 0, 0, 0] = 8  # no level of a value, though one of a scale
    with pytest.raises(RuntimeError, match="level 8 of component 0 in image 0 has no code"):
        codec.encode_levels(levels)


def test_classes_of_channels_have_tables_of_their_own():
    x = sample() * torch.logspace(-1, 0, 48)[:, None, None]
    preset = dataclasses.replace(fmtc.PRESETS["int4-token-vlc"], table_per_class=True)
    one, many = fmtc.calibrate_tensor(x, "int4-token-vlc"), fmtc.calibrate_tensor(x, preset)
    assert len(many.coder.counts) == many.class_of.max() + 1 > 3
    assert many.kind_of_class.tolist() == [0] * (len(many.histogram) - 1) + [1]
    assert many.coder.table_of[-1] == len(many.histogram) - 1
    data = many.encode(x)
    assert torch.equal(many.decode(data), one.simulate(x)) and len(data) < len(one.encode(x))


@pytest.mark.parametrize("coder", ["rans", "apack"])
def test_other_coders(coder):
    x = sample(17)
    for preset in SCALED:
        codec, vlc = (fmtc.calibrate_tensor(x, preset, coder=c) for c in (coder, "huffman"))
        data = codec.encode(x)
        assert torch.equal(codec.decode(data), codec.simulate(x))
        assert len(data) < 1.05 * len(vlc.encode(x))


def test_integers_are_unsigned_behind_a_relu():
    for name, width in (("int6-token", 6), ("int4-token", 4)):
        signed, unsigned = fmtc.calibrate_tensor(sample(), name), None
        unsigned = fmtc.calibrate_tensor(sample().relu(), name)
        half = 2 ** (width - 1) - 1
        assert (signed.quantizer.least, signed.quantizer.most) == (-half, half)
        assert (unsigned.quantizer.least, unsigned.quantizer.most) == (0, 2**width - 1)


def test_scales_of_a_layer():
    x = sample()
    largest = float(x.abs().max())
    nvfp4 = fmtc.calibrate_tensor(x, "nvfp4")
    assert nvfp4.quantizer.step == pytest.approx(largest / 6 / 448, rel=1e-6)
    levels, clamped = nvfp4.quantize(x)
    assert int(levels[:, 48:].max()) == 126 and int(clamped) == 0
    # Others may be larger: NVFP4's scale saturates, which cuts values off; MXFP4's and E5M3 do not.
    for preset, lost in (("nvfp4", True), ("mxfp4", False), ("int6-token", False)):
        codec = fmtc.calibrate_tensor(x, preset)
        y, error = codec.simulate(16 * x), (codec.simulate(x) - x).abs().max()
        assert torch.equal(codec.decode(codec.encode(16 * x)), y)
        assert ((y - 16 * x).abs().max() > 17 * error) == lost
        assert (codec.quantize(16 * x)[1] > codec.quantize(x)[1]) == lost


@pytest.mark.parametrize("preset", SCALED)
@pytest.mark.parametrize("unit", [1e-30, 1e-9, 1.0, 1e9, 1e30])
def test_any_unit(preset, unit):
    x = sample()
    codec = fmtc.calibrate_tensor(unit * x, preset)
    decoded = codec.decode(codec.encode(unit * x)) / unit
    noise = (decoded - x).square().mean() / x.square().mean()
    assert noise < {"int6-token": 0.001, "int4-token": 0.03}.get(preset, 0.02)


def test_no_images_and_zeros_and_constants():
    for preset in FORMATS:
        codec = fmtc.calibrate_tensor(sample(5), preset)
        assert codec.decode(codec.encode(torch.empty(0, 5, 4, 4))).shape == (0, 5, 0, 0)
        assert codec.simulate(torch.empty(0, 5, 4, 4)).shape == (0, 5, 4, 4)
        zeros = torch.zeros(2, 5, 4, 4)
        assert torch.equal(codec.decode(codec.encode(zeros)), zeros)
        with pytest.raises(ValueError, match="NaN or Inf"):
            codec.encode(zeros.fill_(torch.nan))


@pytest.mark.parametrize("preset", SCALED)
def test_nan_becomes_zero_and_is_counted(preset):
    x = sample(17)
    codec = fmtc.calibrate_tensor(x, preset)
    point = make_point(codec)
    x[0, 3, 5, 6], x[1, 0, 0, 0] = torch.nan, torch.inf
    y = point(x)
    assert y.isfinite().all() and y[0, 3, 5, 6] == 0 and y[1, 0, 0, 0] > 0
    others = x.clone()
    others[0, 3, 5, 6], others[1, 0, 0, 0] = 0, 0
    same = torch.ones_like(x, dtype=torch.bool)
    same[1, 0, 0, 0] = False
    assert torch.equal(y[same], codec.simulate(others)[same])
    clamped = int(codec.quantize(others)[1])
    assert (point.counted.nans, point.counted.clamped) == (1, clamped + 2)


@pytest.mark.parametrize("preset", FORMATS)
def test_behind_the_activation(preset):
    sides = fmtc.compress(tiny(), images(), preset).sides
    assert {name for name, side in sides.items() if side == AFTER} == {"stem", "conv1", "shortcut"}


@pytest.mark.parametrize("preset", FORMATS)
def test_float_mode_is_the_network(preset):
    model, x = tiny(TinyDepthwise), images(3, seed=1)
    compressed = fmtc.compress(model, images(8), preset, mode="float")
    with torch.no_grad():
        torch.testing.assert_close(compressed(x), model(x), rtol=1e-3, atol=1e-3)
    assert compressed.multiply_adds["compressed"] == compressed.multiply_adds["plain"]


def test_tokens_and_other_ranks(tmp_path):
    x = torch.randn(3, 50, 24)
    for preset in FORMATS:
        codec = fmtc.calibrate_tensor(x, preset, channel_dim=-1)
        codec.save(tmp_path / "codec.safetensors")
        loaded = fmtc.TensorCodec.load(tmp_path / "codec.safetensors")
        data = codec.encode(x)
        assert loaded.encode(x) == data and torch.equal(loaded.decode(data), codec.simulate(x))
        assert loaded.coder.table_id == codec.coder.table_id
        assert str(loaded.quantizer) == str(codec.quantizer)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"transform": "pca"}, "scaling must be 'layer' with a transform"),
        ({"rule": "kld"}, "scaling must be 'layer' with a transform, a rule"),
        ({"predict": True}, "scaling must be 'layer' with"),
        ({"position_classes": 4}, "scaling must be 'layer' with"),
        ({"scaling": "mxfp6"}, "scaling must be one of layer, token, mxfp4, nvfp4; got 'mxfp6'"),
    ],
)
def test_what_has_no_scales(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(fmtc.PRESETS["mxfp4-vlc"], **changes)


def test_what_cannot_code_scales_is_refused():
    for coder in ("ebpc", "dct-cm"):
        with pytest.raises(ValueError, match=f"coder '{coder}' has no tables for scales"):
            fmtc.calibrate_tensor(sample(), "mxfp4", coder=coder)
        with pytest.raises(ValueError, match=f"coder '{coder}' has no tables for scales"):
            fmtc.compress(tiny(), images(), "mxfp4", coder=coder)
    with pytest.raises(ValueError, match="does not transform blocks such as 2,2,C"):
        fmtc.compress(tiny(), images(), "nvfp4", block="2,2,C")


def test_quantisers_alone():
    quantizer = ScaledQuantizer.for_layer(SCALINGS["nvfp4"], -3.0, 6 * 448.0, 4)
    assert quantizer.step == 1.0 and not quantizer.one_step and "nvfp4" in str(quantizer)
    assert quantizer.planes(17) == 19 and quantizer.kinds(19).tolist() == [0] * 17 + [1, 1]
    token = ScaledQuantizer.for_layer(SCALINGS["token"], 0.0, 0.0, 6)
    assert token.step == 1.0 and token.planes(17) == 18 and token.kinds(18).sum() == 1
    packed = quantizer.packed()
    assert str(ScaledQuantizer.unpacked(packed)) == str(quantizer)
    for changes in (
        {"format": "fp4"},
        {"scale_block": -1},
        {"scale_block": 2**31},
        {"step": 0.0},
        {"step": 1e-60},
        {"step": float("inf")},
        {"lo": -8},
        {"format": "mxfp4", "step": 2.0},
        {"format": "integers", "lo": -6},
        {"format": "integers", "lo": 0, "hi": 2048},
    ):
        with pytest.raises(ValueError):
            ScaledQuantizer.unpacked({**packed, **changes})
