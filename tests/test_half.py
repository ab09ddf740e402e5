"""Networks in half precision: calibrated in float32, run in their own type."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import TinyParts, images, tiny

import fmtc
from fmtc import ops
from fmtc.calibration.compressor import Compressor

DTYPES = [torch.float16, torch.bfloat16]
CASES = {
    "fmtc": {"target": fmtc.Step(0.003)},
    "paper": {"config": "paper"},
}


def compressed(dtype, options, network=None):
    model = (tiny() if network is None else network).to(dtype)
    return fmtc.compress(model, images(8).to(dtype), **options, micro_batch=4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
def test_from_calibration_to_streams_and_back(options, dtype, tmp_path):
    half, x = compressed(dtype, options), images(5, seed=3).to(dtype)
    assert {p.dtype for p in half.network.parameters()} == {dtype}
    streamed = half(x)
    report = half.report()
    assert streamed.dtype == dtype and report.values and report.bits_per_value["stream"] > 0
    half.mode = "simulate"
    assert torch.equal(half(x), streamed)
    half.mode = "stream"
    half.save(tmp_path / "half.safetensors")
    loaded = fmtc.load(tmp_path / "half.safetensors", half.reference)
    assert torch.equal(loaded(x), streamed)
    moved = copy.deepcopy(half)
    moved.load_state_dict(half.state_dict())
    assert torch.equal(moved(x), streamed)


@pytest.mark.parametrize("dtype", DTYPES)
def test_statistics_are_those_of_the_network_in_float32(dtype, monkeypatch):
    """With the weights that it has, rounded as they are, and images as they were given."""
    seen = []
    moments = ops.channel_moments

    def noting(x):
        seen.append(x.dtype)
        return moments(x)

    monkeypatch.setattr(ops, "channel_moments", noting)
    options = {"config": "paper", "keep_moments": True}
    half = compressed(dtype, options)
    assert set(seen) == {torch.float32}
    in_single = tiny().to(dtype).float()
    x = images(8).to(dtype)
    single = fmtc.compress(in_single, x.float(), **options, micro_batch=4)
    for name, codec in single.codecs.items():
        ours = half.codecs[name]
        assert torch.equal(ours.histogram, codec.histogram) and ours.mse == codec.mse
        for part, expected in zip(ours.moments.parts, codec.moments.parts, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(part, expected, strict=True))


def test_images_of_any_type_calibrate_a_network():
    single = Compressor(tiny().half(), images(8).half().float())
    assert {x.dtype for x in single.batches} == {torch.float32}
    half = Compressor(tiny().half(), images(8).half())
    assert all(torch.equal(a, b) for a, b in zip(single.batches, half.batches, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
def test_compared_with_float32(dtype):
    """A reference of another type is run in its own: noise of rounding and of coding add up."""
    network, x = tiny().to(dtype), images(24, seed=7).to(dtype)
    half = compressed(dtype, {"target": fmtc.Step(0.003)}, network)
    coding = fmtc.evaluate(half, x)["snr_db"]
    rounding = fmtc.evaluate(network, x, reference=tiny())["snr_db"]
    both = fmtc.evaluate(half, x, reference=tiny())["snr_db"]
    expected = -10 * torch.tensor([10 ** (-coding / 10), 10 ** (-rounding / 10)]).sum().log10()
    assert both == pytest.approx(float(expected), abs=3)
    assert both < max(coding, rounding)


MIXED = [(torch.float16, torch.float32), (torch.float32, torch.bfloat16)]


@pytest.mark.parametrize("dtype, given", MIXED)
def test_images_of_another_type_are_told_in_a_sentence(dtype, given):
    one = compressed(dtype, {"config": "paper"})
    message = f"the network computes in {dtype}, its input is {given}: give it x.to({dtype})"
    with pytest.raises(ValueError) as raised:
        one(images(2).to(given))
    assert str(raised.value) == message
    with pytest.raises(ValueError, match="the network computes in"):  # of another size, too
        one(images(2, size=18).to(given))
    # An evaluation takes any, as each network's own.
    point = fmtc.evaluate(one, images(4).to(given))
    assert point["values"]


@pytest.mark.filterwarnings("ignore:Converting")
def test_python_around_parts_may_take_any_type():
    class Converting(TinyParts):
        def forward(self, x):
            return super().forward(x.to(next(self.parameters()).dtype))

    one = compressed(torch.float16, {"config": "paper"}, tiny(Converting))
    assert one(images(2)).dtype == torch.float16
