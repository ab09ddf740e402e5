"""Calibration and evaluation where the network is, seen without a GPU (`other_device`)."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import TinyOdd, TinyParts, images, tiny
from other_device import CPU, DEVICE, MixedDevices, OtherDevice, There, Waited, capturing
from torch import nn

import fmtc
from fmtc import ops
from fmtc.calibration import search
from fmtc.calibration.compressor import Compressor
from fmtc.cli import eval as evaluation
from fmtc.cli import main as cli
from fmtc.network.outputs import tensors


@pytest.fixture
def device():
    with OtherDevice() as entered:
        yield entered


class Small(nn.Module):
    """BN, a residual, a depthwise and a strided layer, a classifier: each once."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.project = nn.Conv2d(4, 4, 1)
        self.down, self.head = nn.Conv2d(4, 6, 3, stride=2), nn.Linear(6, 5)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = x + self.project(self.depthwise(x).relu())
        return self.head(self.down(x).relu().mean((2, 3)))


class Tokens(nn.Module):
    """Linear layers on tokens; what it makes itself depends on how many images there are."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 3, stride=3)
        self.norm, self.first, self.second = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).mT
        x = torch.cat([torch.zeros(x.shape[0], 1, x.shape[2], device=x.device), x], 1)
        x = x + self.second(nn.functional.gelu(self.first(self.norm(x))))
        return self.head(x[:, 0] + x.mean(1))


# -- The device itself -----------------------------------------------------------------------------


def test_tensors_are_made_and_moved_as_on_a_device(device):
    x = torch.ones(2, 3).to(DEVICE)
    made = torch.zeros(3, device=x.device), x.new_zeros(3), torch.zeros_like(x), x.to(torch.int64)
    assert all(isinstance(of, There) and of.device == DEVICE for of in (x, *made, x + 1, x[0]))
    assert not isinstance(torch.zeros(3), There) and x.to(DEVICE) is x and not device.moved
    assert torch.equal(x.cpu(), torch.ones(2, 3)) and x.cpu().device == CPU
    assert [list(of.shape) for of in device.moved] == [[2, 3]] * 2
    assert x.add_(1) is x and float(x.sum()) == 12 and x.tolist() == [[2.0] * 3] * 2
    assert torch.tensor([1.0]).to(x).device == DEVICE
    with pytest.raises(TypeError, match="numpy"):
        x.numpy()


def test_gradients_are_there(device):
    layer = nn.Conv2d(3, 4, 3).to(DEVICE)
    x = images(2).to(DEVICE).requires_grad_()
    [gradient] = torch.autograd.grad(layer(x).square().sum(), x)
    assert isinstance(gradient, There) and isinstance(copy.deepcopy(layer).weight, There)
    layer.cpu()
    assert not isinstance(layer.weight, There) and isinstance(layer.weight, nn.Parameter)


MIXED = {
    "sum": lambda x: x + torch.arange(3),
    "index": lambda x: x[:, torch.tensor([0])],
    "list": lambda x: x[:, [0, 2]],
    "mask": lambda x: x[torch.tensor([True, False])],
    "copy": lambda x: x.copy_(torch.ones(2, 3)),
    "out": lambda x: torch.add(x, 1, out=torch.empty(2, 3)),
    "cat": lambda x: torch.cat([x, torch.ones(1, 3)]),
    "operator": lambda x: ops.histogram(x.to(torch.int16), 0, 1, torch.arange(3), 3),
    "for the CPU": lambda x: torch.ops.fmtc.simulate_point(
        x[:, :, None, None], *[None] * 6, 1.0, -1, 1, *[x.to(torch.int16)] * 2, 3, *[None] * 4,
        0, None, 0, 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("mixed", MIXED.values(), ids=MIXED)
def test_tensors_of_two_devices_do_not_meet(mixed, device):
    with pytest.raises(MixedDevices):
        mixed(torch.ones(2, 3).to(DEVICE))


@pytest.mark.parametrize("factory", ["arange", "zeros", "eye"])
def test_a_tensor_made_on_the_wrong_device_is_found(factory, device, monkeypatch):
    """A calibration in which one of torch's functions forgets the device."""
    right = getattr(torch, factory)
    monkeypatch.setattr(torch, factory, lambda *a, device=None, **k: right(*a, **k))
    with pytest.raises(MixedDevices):
        compressed(Small, {"target": fmtc.Step(0.01)}, DEVICE)


# -- Calibration -----------------------------------------------------------------------------------

CASES = {
    "step": (Small, {"target": fmtc.Step(0.003)}),
    "snr": (Small, {"target": fmtc.SNR(15)}),
    "kl": (Small, {"target": fmtc.KL(1e-5)}),
    "tokens": (Tokens, {"target": fmtc.Step(0.01)}),
    "several outputs": (TinyOdd, {"target": fmtc.Step(0.01)}),
    "parts": (TinyParts, {"target": fmtc.Step(0.01)}),
    "weights": (Small, {"target": fmtc.Step(0.01), "weight_bits": 4}),
    "paper": (Small, {"config": "paper", "keep_moments": True}),
    "blocks": (Small, {"config": "paper", "block": "2,2,4"}),
    "left out": (Small, {"config": "paper", "exclude": ["stem"]}),
    "aciq": (Small, {"config": "aciq", "bits": 4}),
    "pca+kld": (Small, {"config": "pca+kld", "bits": 4}),
    "dct-cm": (Small, {"config": "dct-cm"}),
    "nvfp4-vlc": (Small, {"config": "nvfp4-vlc"}),
}


def compressed(kind, options, where=CPU):
    """Of a network and images on a device; several batches, so that convolutions are refitted."""
    network, x = tiny(kind).to(where), images(8).to(where)
    return fmtc.compress(network, x, **options, micro_batch=4)


@cache
def on_the_device(case):
    """What is made of a case there, for several tests."""
    return compressed(*CASES[case], DEVICE)


def archived(compressed):
    """All that a calibration has found out, as bytes, but for how long it took."""
    return replace(compressed.calibrated(), seconds=0.0).archive().to_bytes()


def on_the_cpu(output):
    return [x.values if isinstance(x, There) else x for x in tensors(output)]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_calibration_stays_where_the_network_is(case, device, monkeypatch):
    """And finds what it finds on the CPU, to the last bit."""
    monkeypatch.setattr(search, "MOST_MEASUREMENTS", 1)
    more = images(3, seed=5)
    here, there = compressed(*CASES[case]), on_the_device(case)
    assert {x.device for x in (*there.parameters(), *there.buffers())} == {DEVICE}
    assert archived(there) == archived(here)
    for mode in ("stream", "simulate"):
        here.mode = there.mode = mode
        made = there(more.to(DEVICE))
        assert {x.device for x in tensors(made)} == {DEVICE}
        for output, expected in zip(on_the_cpu(made), tensors(here(more)), strict=True):
            assert torch.equal(output, expected)
    assert there.report().to_json() == here.report().to_json()


def test_only_counts_leave_the_device(device):
    """What a calibration reads besides are single numbers."""
    compressor = Compressor(tiny(Small).to(DEVICE), images(8).to(DEVICE), micro_batch=4)
    device.moved.clear()
    compressor.compress(fmtc.Step(0.003))
    kinds = {(x.dtype, x.dim()) for x in device.moved}
    # Histograms, shifts and classes; of floats the means of outputs, for evaluations.
    assert kinds == {(torch.int64, 2), (torch.int64, 1), (torch.float64, 1)}
    means = [x for x in device.moved if x.is_floating_point()]
    assert [list(x.shape) for x in means] == [[5]]


def test_half_precision(device):
    options, x = {"config": "paper", "mode": "stream"}, images(8).half()
    here = fmtc.compress(tiny(Small).half(), x, **options)
    there = fmtc.compress(tiny(Small).half().to(DEVICE), x.to(DEVICE), **options)
    assert archived(there) == archived(here)
    assert torch.equal(there(x.to(DEVICE)).values, here(x))


def test_images_go_to_the_network(device):
    """Wherever they are, as those of a DataLoader."""
    x = images(8)
    there = fmtc.compress(tiny(Small).to(DEVICE), list(x.split(4)), "paper")
    here = fmtc.compress(tiny(Small), x.to(DEVICE).split(4), "paper")
    assert there.report().to_json() == here.report().to_json()
    assert next(here.parameters()).device == CPU and next(there.parameters()).device == DEVICE


def test_a_calibration_is_continued_where_the_network_is(device):
    first = compressed(Small, {"config": "paper", "keep_moments": True})
    options = {"config": "paper", "keep_moments": True, "start": first}
    here, there = compressed(Small, options), compressed(Small, options, DEVICE)
    assert archived(there) == archived(here)


def test_a_bare_tensor(device):
    x = torch.randn(4, 6, 8, 8, generator=torch.Generator().manual_seed(0))
    here, there = fmtc.calibrate_tensor(x, bits=6), fmtc.calibrate_tensor(x.to(DEVICE), bits=6)
    assert there.device == DEVICE and there.encode(x.to(DEVICE)) == here.encode(x)
    assert torch.equal(there.decode(here.encode(x)).values, here.decode(here.encode(x)))


# -- Graphs ----------------------------------------------------------------------------------------

WAITING = {
    "a number": lambda x: float(x.sum()),
    "a decision": lambda x: 1 if x.any() else 0,
    "a list": lambda x: x.tolist(),
    "the CPU": lambda x: x.cpu(),
    "how many": lambda x: x.nonzero(),
    "tables": lambda x: ops.huffman_lengths(x.to(torch.int64), 8),
}


@pytest.mark.parametrize("waits", WAITING.values(), ids=WAITING)
def test_what_waits_cannot_be_captured(waits, device):
    x = torch.ones(2, 3).to(DEVICE)
    waits(x)
    with capturing(), pytest.raises(Waited):
        waits(x)


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("parts", "snr", "kl")])
def test_a_graph_can_hold_the_whole_network(case, device):
    """It counts, encodes, decodes and looks at the status of each stream without waiting."""
    there, x = on_the_device(case), images(3, seed=5).to(DEVICE)
    for mode in ("stream", "simulate"):
        there.mode = mode
        expected = there(x)
        there.reset_statistics()
        with capturing():
            made = there(x)
        for output, known in zip(tensors(made), tensors(expected), strict=True):
            assert torch.equal(output, known)
        assert there.report().values


# -- What follows ----------------------------------------------------------------------------------


def test_saved_loaded_moved_and_evaluated(device, tmp_path):
    x, labels = images(10, seed=4), torch.arange(10) % 5
    here, there = compressed(*CASES["step"]), on_the_device("step")
    there.save(tmp_path / "there.safetensors")
    loaded = fmtc.load(tmp_path / "there.safetensors", tiny(Small).to(DEVICE))
    moved = fmtc.load(tmp_path / "there.safetensors", tiny(Small)).to(DEVICE)
    again = copy.deepcopy(there)
    again.load_state_dict(there.state_dict())
    back = copy.deepcopy(there).to("cpu")

    def figures(of):
        point = fmtc.evaluate(of, (x, labels), mode="stream")
        return {key: value for key, value in point.items() if key not in ("seconds", "setting")}

    expected = figures(here)
    for one in (there, loaded, moved, again, back):
        assert figures(one) == expected
    assert {of.device for of in back.buffers()} == {CPU} == {of.device for of in back.parameters()}


def test_images_of_another_size(device):
    options = {"config": "paper"}
    here, there = compressed(Tokens, options), compressed(Tokens, options, DEVICE)
    larger = images(2, size=18, seed=2)
    assert torch.equal(there(larger.to(DEVICE)).values, here(larger))


def test_a_split_network(device):
    x = images(8)
    here = fmtc.split(tiny(Small), "stem", x, target=fmtc.Step(0.01))
    there = fmtc.split(tiny(Small).to(DEVICE), "stem", x.to(DEVICE), target=fmtc.Step(0.01))
    assert there.head(x.to(DEVICE)) == here.head(x)
    assert torch.equal(there.tail(here.head(x)).values, here.tail(here.head(x)))


NETWORK = """
from networks import tiny
from test_other_device import Small

def make():
    return tiny(Small)
"""


def test_fmtc_eval_on_a_device(device, tmp_path, monkeypatch):
    """It calibrates there, and measures what it measures on the CPU."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NETWORK)
    values = np.random.default_rng(0).integers(0, 256, (14, 12, 12, 3), dtype=np.uint8)
    np.savez("data.npz", images=values, labels=np.arange(14) % 5)
    known = {"cpu": CPU, "cuda": DEVICE}
    monkeypatch.setattr(evaluation, "usable", known.__getitem__)
    devices = []
    monkeypatch.setattr(Compressor, "compress", _noting(devices, Compressor.compress))
    command = ["eval", "--model", "net.py:make", "--data", "data.npz"]
    command += ["--calib-images", "8", "--target", "step=0.01", "--quiet"]
    results = {}
    for name in known:
        assert cli.main([*command, "--device", name, "--out", name]) == 0
        results[name] = json.loads(Path(name, "result.json").read_text())
    here, there = results.values()
    assert devices == [CPU, DEVICE] and there["reference"] == here["reference"]
    for of in (here, there):
        del of["points"][0]["seconds"]
    assert there["points"] == here["points"]


def _noting(devices, compress):
    """A compressor's ``compress`` that notes where its images are."""

    def noting(self, *args, **kwargs):
        devices.append(self.batches[0].device)
        return compress(self, *args, **kwargs)

    return noting
