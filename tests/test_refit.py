"""Refitted convolutions against an explicit ridge regression with unfold and numpy."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from networks import TinyDepthwise, TinyOdd, TinyResidual, images, tiny
from torch import nn

import fmtc
from fmtc.calibration import refit as module
from fmtc.calibration.compressor import Compressor
from fmtc.calibration.fit import Knob
from fmtc.calibration.refit import RIDGES, refit
from fmtc.calibration.sequence import run_sequentially
from fmtc.network.fold import plain_convolution
from fmtc.network.prepared import Prepared
from fmtc.targets import Step

GEOMETRIES = {
    "1x1": dict(kernel_size=1),
    "1x1 strided": dict(kernel_size=1, stride=2),
    "3x3": dict(kernel_size=3),
    "padded": dict(kernel_size=3, padding=1),
    "1x1 padded": dict(kernel_size=1, padding=1),
    "strided": dict(kernel_size=3, stride=2, padding=1),
    "dilated": dict(kernel_size=3, dilation=2, padding=2),
    "oblong": dict(kernel_size=(1, 3), padding=(0, 1), stride=(2, 1), dilation=(1, 2)),
    "same": dict(kernel_size=(2, 3), padding="same"),
    "valid": dict(kernel_size=(2, 3), padding="valid"),
    "reflect": dict(kernel_size=3, padding=1, padding_mode="reflect"),
    "circular": dict(kernel_size=3, padding=(1, 0), padding_mode="circular"),
    "replicate": dict(kernel_size=3, padding=1, padding_mode="replicate"),
    "grouped": dict(kernel_size=3, padding=1, groups=2),
    "depthwise": dict(kernel_size=3, padding=1, groups=4),
    "depthwise 1x1": dict(kernel_size=1, groups=4, bias=False),
    "multiplier": dict(kernel_size=3, groups=4, stride=2),
    "no bias": dict(kernel_size=3, bias=False),
}


def make(name):
    torch.manual_seed(3)
    return nn.Conv2d(4, 8, **GEOMETRIES[name]).eval().requires_grad_(False)


def batches(n=5, size=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, 4, size, size, generator=generator) + 0.5 for _ in range(n)]


def padded(conv, x):
    """The input with its padding made explicit, by the geometry's definition."""
    if conv.padding == "valid":
        return x
    if conv.padding == "same":
        total = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
        sides = [total[1] // 2, total[1] - total[1] // 2, total[0] // 2, total[0] - total[0] // 2]
    else:
        (rows, columns) = conv.padding
        sides = [columns, columns, rows, rows]
    mode = {"zeros": "constant"}.get(conv.padding_mode, conv.padding_mode)
    return F.pad(x, sides, mode=mode) if any(sides) else x


def slow_ridge(conv, inputs, targets, ridge):
    """Weight [O, I/G, kh, kw] and bias [O] of an explicit regression for every group."""
    weight = conv.weight.double().numpy().copy()
    bias = np.zeros(len(weight)) if conv.bias is None else conv.bias.double().numpy().copy()
    outputs, size = len(weight) // conv.groups, weight[0].size
    patches, missing = [], []
    for x, y in zip(inputs, targets, strict=True):
        unfolded = F.unfold(padded(conv, x), conv.kernel_size, conv.dilation, 0, conv.stride)
        patches.append(unfolded.transpose(0, 1).flatten(1).double().numpy())
        missing.append((y - conv(x)).transpose(0, 1).flatten(1).double().numpy())
    patches, missing = np.concatenate(patches, 1), np.concatenate(missing, 1)
    for g in range(conv.groups):
        p = patches[g * size : (g + 1) * size]
        r = missing[g * outputs : (g + 1) * outputs]
        centred, rest = p - p.mean(1, keepdims=True), r - r.mean(1, keepdims=True)
        gram = centred @ centred.T / p.shape[1]
        gram += ridge * np.mean(np.diag(gram)) * np.eye(size)
        change = np.linalg.solve(gram, centred @ rest.T / p.shape[1]).T
        rows = slice(g * outputs, (g + 1) * outputs)
        weight[rows] += change.reshape(outputs, *weight.shape[1:])
        bias[rows] += r.mean(1) - change @ p.mean(1)
    return weight, bias


@pytest.fixture
def all_positions(monkeypatch):
    monkeypatch.setattr(module, "POSITIONS_PER_WEIGHT", 10**9)


def noisy(conv, seed=1, scale=0.3, clean=None):
    """Inputs as a codec leaves them, and what the convolution should have made of the originals."""
    clean = clean or batches()
    generator = torch.Generator().manual_seed(seed)
    noise = [scale * torch.randn(x.shape, generator=generator) - 0.1 for x in clean]
    return [x + e for x, e in zip(clean, noise, strict=True)], [conv(x) for x in clean]


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("ridge", [0.03, 1.0])
def test_equals_an_explicit_regression(name, ridge, monkeypatch, all_positions):
    monkeypatch.setattr(module, "RIDGES", (ridge,))
    conv = make(name)
    equals_slow_ridge(conv, *noisy(conv), ridge)


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("ridge", [0.03, 1.0])
def test_equals_it_with_fewer_samples_than_weights(name, ridge, monkeypatch):
    """So few that what regresses is a matrix of samples; means far above the deviations."""
    monkeypatch.setattr(module, "RIDGES", (ridge,))
    conv = make(name)
    inputs, targets = noisy(conv, clean=[b[:1, :, :5, :5] + 30 for b in batches(3)])
    equals_slow_ridge(conv, inputs, targets, ridge)


def equals_slow_ridge(conv, inputs, targets, ridge):
    got = refit(conv, inputs, targets)
    weight, bias = slow_ridge(conv, inputs, targets, ridge)
    np.testing.assert_allclose(got.weight.numpy(), weight, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(got.bias.numpy(), bias, rtol=1e-3, atol=1e-4)
    for option in ("stride", "padding", "dilation", "groups", "padding_mode"):
        assert getattr(got, option) == getattr(conv, option)
    assert got(inputs[0]).shape == targets[0].shape


@pytest.mark.parametrize("name", GEOMETRIES)
def test_a_perturbed_map_is_recovered(name):
    conv = make(name)
    torch.manual_seed(5)
    wrong = make(name)
    wrong.weight += 0.3 * torch.randn_like(wrong.weight)
    inputs = batches(8)
    targets = [conv(x) + 1 for x in inputs]
    got = refit(wrong, inputs, targets)
    assert got is not wrong

    def error(c):
        return float(sum((c(x) - y).square().mean() for x, y in zip(inputs, targets, strict=True)))

    assert error(got) < 0.01 * error(wrong)
    assert not got.weight.requires_grad and not got.bias.requires_grad


def test_the_ridge_is_the_best_on_held_out_batches(all_positions):
    conv = make("3x3")
    inputs, targets = noisy(conv)
    held = [3, 4]  # every 4th and the last
    kept = [0, 1, 2]

    def error(ridge):
        weight, bias = slow_ridge(
            conv, [inputs[i] for i in kept], [targets[i] for i in kept], ridge
        )
        weight, bias = torch.from_numpy(weight).float(), torch.from_numpy(bias).float()
        return sum(
            float((F.conv2d(inputs[i], weight, bias) - targets[i]).square().sum()) for i in held
        )

    best = min(RIDGES[:-1], key=error)
    weight, _ = slow_ridge(conv, inputs, targets, best)
    np.testing.assert_allclose(
        refit(conv, inputs, targets).weight.numpy(), weight, rtol=1e-3, atol=1e-4
    )


def test_what_does_not_help_held_out_batches_is_left_alone():
    """Few samples, nothing to learn: what is missing is noise."""
    conv = make("3x3")
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        inputs = [torch.randn(1, 4, 6, 6, generator=generator) for _ in range(4)]
        targets = [conv(x) for x in inputs]
        targets = [y + torch.randn(y.shape, generator=generator) for y in targets]
        got = refit(conv, inputs, targets)
        held = inputs[3], targets[3]
        error = float((got(held[0]) - held[1]).square().mean())
        # Not worse there; and where nothing is gained it is the same object.
        assert got is conv or error < float((conv(held[0]) - held[1]).square().mean())
    # Held-out batches that say the opposite of the others.
    x = batches(4)
    shifts = (1.0, 1.0, 1.0, -1.0)
    assert refit(conv, x, [conv(b) + s for b, s in zip(x, shifts, strict=True)]) is conv


def test_nothing_to_do():
    conv, x = make("3x3"), batches(3)
    assert refit(conv, x, [conv(b) for b in x]) is conv  # nothing was coded before it
    assert refit(conv, x[:1], [conv(x[0]) + 1]) is conv  # no batch to hold out
    zeros = [torch.zeros_like(b) for b in x]
    got = refit(conv, zeros, [conv(b) + 1 for b in zeros])
    assert torch.equal(got.weight, conv.weight)
    torch.testing.assert_close(got.bias, conv.bias + 1)


def test_equal_for_equal_seeds():
    conv = make("padded")
    inputs, targets = noisy(conv)
    first, second = (refit(conv, inputs, targets, seed=1) for _ in range(2))
    assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)


def test_positions_are_sampled_where_there_are_many(monkeypatch):
    conv = make("padded")
    inputs, targets = noisy(conv)
    whole = refit(conv, inputs, targets)
    monkeypatch.setattr(module, "POSITIONS_PER_WEIGHT", 4)
    some = refit(conv, inputs, targets)
    assert not torch.equal(whole.weight, some.weight)
    error = float((some(inputs[0]) - targets[0]).square().mean())
    assert error < float((conv(inputs[0]) - targets[0]).square().mean())


def on_a_grid(channel, levels):
    """True where the values are low + step k with k = 0 ... levels - 1."""
    above, span = channel - channel.min(), float(channel.max() - channel.min())
    steps = [span / k for k in range(1, levels)]
    return any(float((above / s - (above / s).round()).abs().max()) < 1e-3 for s in steps)


@pytest.mark.parametrize("kind", [TinyDepthwise, TinyOdd])
@pytest.mark.parametrize("bits", [8, 4])
def test_refitted_weights_are_on_the_grid(kind, bits):
    compressor = Compressor(tiny(kind), images(24), weight_bits=bits, micro_batch=4)
    prepared, calibrated, _ = compressor.calibrate(Knob(step=0.02))
    assert calibrated.refitted
    for group in prepared.groups:
        if group.name in calibrated.refitted:
            edge = group.name in ("stem", "last", "twice", "twice@2")  # 8 bits
            for channel in plain_convolution(group).weight.flatten(1):
                assert on_a_grid(channel, 2**8 if edge else 2**bits), group.name
    compressed = compressor.compress(Step(0.02))
    assert fmtc.evaluate(compressed, images(4, seed=1))["snr_db"] > 0


class _Shifting:
    """A codec that errs by the same amount everywhere."""

    def simulate(self, x):
        return x + 0.25


@torch.no_grad()
def test_the_error_of_what_is_added_is_part_of_what_a_convolution_shall_give():
    """Its target is what the uncompressed sum lacks beside the decoded tensor that is added."""
    x = images(8)
    prepared = Prepared.of(tiny(TinyResidual), x)
    clean = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, node):
            clean[node.name] = super().run_node(node)
            return clean[node.name]

    Recorder(prepared.network).run(x)
    convolved, wanted, sums = {}, {}, {}

    def refit_of(group, conv, inputs, targets):
        convolved[group.name], wanted[group.name] = conv(inputs[0]), targets[0]
        return conv

    def fit(group, tensors):
        sums[group.name] = tensors[0]
        return _Shifting()

    run_sequentially(prepared.copy(), [x], fit, clean=prepared, refit=refit_of)
    added = [group for group in prepared.groups if group.adds]
    assert added
    for group in added:
        decoded = sums[group.name] - convolved[group.name]  # what is added
        expected = clean[group.adds[-1].name] - decoded
        torch.testing.assert_close(wanted[group.name], expected, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(wanted[group.name], clean[group.maker.name], atol=1e-3)
