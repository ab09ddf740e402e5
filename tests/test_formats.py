"""What a user would take today: number formats of one width, with and without VLC, and APack."""

import pytest
import torch
from networks import TinyDepthwise, TinyOdd, TinyResidual, first_tensor, images, tiny

import fmtc
from fmtc import ops

FORMATS = ["int8", "int8-vlc", "apack"]
BITS = {"int8": 8, "apack": 8}


def bits_of(preset):
    return BITS[preset.removesuffix("-vlc")]


@pytest.mark.parametrize("preset", FORMATS)
@pytest.mark.parametrize("kind", [TinyResidual, TinyDepthwise, TinyOdd])
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
    assert ops.stream_info(data)["coder"] == "rans"
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
    torch.testing.assert_close(codec.simulate(x), x, rtol=0.02, atol=1e-6)
