"""Compressed networks on other devices, as far as that can be seen without one.

torch's fake tensors know what device each tensor would be on, and refuse to mix them.
"""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fmtc
from fmtc import ops
from fmtc.cli.demo import digits_data, digits_model
from fmtc.ops import devices

CASES = {
    "fmtc": {"target": fmtc.Step(0.001)},
    "paper": {"preset": "paper", "bits": 6},
    "kld": {"preset": "kld", "bits": 5},
    "dct-cm": {"preset": "dct-cm", "bits": 5},
}


@pytest.mark.parametrize("options", CASES.values(), ids=CASES)
@pytest.mark.parametrize("mode", ["simulate", "stream"])
def test_all_tensors_move_to_a_device(options, mode, monkeypatch):
    images = digits_data().train_images[:32]
    compressed = fmtc.compress(digits_model(), images, **options)
    compressed.mode = mode
    monkeypatch.setattr(ops, "check_status", lambda status: None)  # fake tensors have no values
    with FakeTensorMode(allow_non_fake_inputs=True):
        compressed.to("cuda:0")
        output = compressed.network(torch.empty(2, *images.shape[1:], device="cuda:0"))
    assert output.device == torch.device("cuda:0") and output.shape == (2, 10)
    for point in compressed.points.values():
        assert point.codec.device.type == "cuda"
        assert all(buffer.device.type == "cuda" for buffer in point.statistics.buffers())


def test_a_codec_keeps_to_its_device():
    codec = fmtc.calibrate_tensor(torch.randn(4, 3, 8, 8), preset="paper", bits=6)
    assert codec.to("cpu") is codec and codec.device == torch.device("cpu")
    with pytest.raises(ValueError, match="the codec is on cpu, the tensor on meta"):
        codec.encode(torch.empty(1, 3, 8, 8, device="meta"))


def test_a_device_that_cannot_be_used_is_an_error_with_the_reason(monkeypatch):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match="device cuda: this torch"):
        devices.usable("cuda")
    assert devices.usable("cpu") == torch.device("cpu")
    monkeypatch.setattr("fmtc.calibration.compressor.device_of", lambda model: torch.device("cuda"))
    with pytest.raises(ValueError, match="device cuda: this torch"):
        fmtc.compress(digits_model(), torch.randn(8, 1, 8, 8), "paper", bits=6)


def test_dtypes_of_a_codec_stay():
    compressed = fmtc.compress(digits_model(), digits_data().train_images[:32], **CASES["fmtc"])
    before = {name: buffer.clone() for name, buffer in compressed.named_buffers()}
    assert {buffer.dtype for buffer in before.values()} >= {torch.int64, torch.float32}
    compressed.double()
    assert {parameter.dtype for parameter in compressed.parameters()} == {torch.float64}
    for name, buffer in compressed.named_buffers():
        assert buffer.dtype == before[name].dtype and torch.equal(buffer, before[name]), name
