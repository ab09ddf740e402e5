"""Sensitivities against Jacobians, entry by entry."""

import copy

import pytest
import torch
import torch.nn.functional as F
from networks import TinyDepthwise, TinyOdd, TinyResidual, images, tiny
from torch import nn

import fmtc
from fmtc.calibration.sensitivity import sensitivities
from fmtc.calibration.units import measure_units
from fmtc.codec.transform import metric_root
from fmtc.network.groups import AFTER, BEFORE
from fmtc.network.prepared import Prepared


class Small(nn.Module):
    """Two convolutions with a ReLU between them, the second grouped; few outputs."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=2)
        self.unused = nn.Conv2d(4, 2, 1)

    def head(self, x):
        return self.second(x).mean((2, 3))

    def forward(self, x):
        x = self.first(x)
        self.unused(x.relu())
        return self.head(x.relu())


class Residual(Small):
    def forward(self, x):
        x = self.first(x)
        y = F.relu(x)
        return (self.second(F.pad(y, (1, 1, 1, 1))) + y).mean((2, 3))


class Stubborn(nn.Module):
    """What torch.fx cannot trace."""

    def __init__(self):
        super().__init__()
        self.conv, self.never = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        y = self.conv(x)
        return self.never(y) if y.abs().sum() < 0 else y.relu_()


class Parted(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.inner, self.last = nn.Conv2d(3, 4, 1), Stubborn(), nn.Conv2d(4, 3, 1)

    def forward(self, x):
        return self.last(self.inner(self.stem(x))).mean((2, 3))


def network_of(model, x):
    prepared = Prepared.of(model, x)
    return prepared.network, prepared.groups


def measure(model, x, probes=2, seed=0, choice=None):
    batches = [x] if isinstance(x, torch.Tensor) else x
    directions = measure_units(model, batches, choice).directions
    return dict(sensitivities(*network_of(model, batches[0]), batches, directions, probes, seed))


def exact(tail, features):
    """Average of J^T J over images and positions, in units of the outputs' deviations."""
    total = torch.zeros(features.shape[1], features.shape[1], dtype=torch.float64)
    outputs = tail(features).detach().double()
    mean = outputs.mean([0, 2, 3], keepdim=True) if outputs.dim() == 4 else outputs.mean(0)
    norms = (outputs - mean).flatten(1).norm(dim=1)
    if outputs[0].numel() == 1:
        norms = norms.square().mean().sqrt().expand(len(norms))
    for f, deviation in zip(features, norms, strict=True):
        jacobian = torch.autograd.functional.jacobian(tail, f[None]).double()
        jacobian = jacobian.flatten(1, -4).flatten(0, -4)  # outputs, C, H, W
        total += torch.einsum("ochw,odhw->cd", jacobian, jacobian) / deviation**2
    return total / (len(features) * features.shape[2] * features.shape[3])


def assert_close_to(got, expected, share=0.1):
    assert float((got - expected).norm()) < share * float(expected.norm())


@pytest.mark.parametrize("kind", [Small, Residual])
def test_metric_is_the_average_of_squared_jacobians(kind):
    torch.manual_seed(0)
    model = kind().eval()
    x = images(3, size=9)
    got = measure(model, x, probes=6000)
    with torch.no_grad():
        before = model.first(x)
    after = before.relu()

    def from_after(y):
        if kind is Small:
            return model.head(y)
        return (model.second(F.pad(y, (1, 1, 1, 1))) + y).mean((2, 3))

    if kind is Small:
        key, values = ("first", BEFORE), before
        assert_close_to(got[key].metric, exact(lambda z: from_after(z.relu()), before))
        covariance = torch.cov(values.transpose(0, 1).flatten(1).double(), correction=0)
        torch.testing.assert_close(got[key].covariance, covariance, rtol=1e-4, atol=1e-6)
        assert got[key].positions == 49
        with torch.no_grad():
            second = model.second(after)
        assert_close_to(got["second", BEFORE].metric, exact(lambda z: z.mean((2, 3)), second))
    else:
        assert_close_to(got["first", BEFORE].metric, exact(lambda z: from_after(z.relu()), before))


def test_both_sides_of_an_activation():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU6(), nn.Conv2d(4, 5, 3), nn.Flatten()).eval()
    x = images(2, size=6)
    got = measure(model, x, probes=800)
    with torch.no_grad():
        before = model[0](x)
    assert_close_to(got["0", BEFORE].metric, exact(model[1:], before))
    assert_close_to(got["0", AFTER].metric, exact(model[2:], before.clamp(0, 6)))
    assert set(got) == {("0", BEFORE), ("0", AFTER), ("2", BEFORE)}


def test_more_probes_come_closer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.Flatten()).eval()
    x = images(2, size=6)
    with torch.no_grad():
        expected = exact(model[1:], model[0](x))
    distances = [
        sum(
            float((measure(model, x, probes, seed)["0", BEFORE].metric - expected).norm())
            for seed in range(8)
        )
        for probes in (1, 16)
    ]
    assert distances[1] < 0.5 * distances[0]  # a quarter is expected


@pytest.mark.filterwarnings("ignore:.*cannot capture")
def test_parts_are_measured_like_whole_networks():
    torch.manual_seed(0)
    model, x = Parted().eval(), images(2, size=6)
    got = measure(model, x, probes=800)
    with torch.no_grad():
        before = model.inner.conv(model.stem(x))
    assert_close_to(
        got["inner.conv", BEFORE].metric, exact(lambda z: model.last(z.relu()).mean((2, 3)), before)
    )
    assert ("inner.never", BEFORE) not in got  # never called


@pytest.mark.parametrize("kind", [TinyResidual, TinyDepthwise, TinyOdd])
def test_deterministic_by_seed_and_independent_of_batches(kind):
    model, x = tiny(kind), images(11)
    one, again, other = (measure(model, x, seed=seed) for seed in (3, 3, 4))
    split = measure(model, list(x.split(3)), seed=3)
    assert list(one) == list(again) == list(split)
    for key, item in one.items():
        assert torch.equal(item.metric, again[key].metric)
        assert torch.equal(item.metric, item.metric.T) or torch.allclose(item.metric, item.metric.T)
        torch.testing.assert_close(split[key].metric, item.metric, rtol=1e-3, atol=1e-6)
        torch.testing.assert_close(split[key].covariance, item.covariance, rtol=1e-4, atol=1e-6)
        assert split[key].positions == item.positions
        assert torch.linalg.eigvalsh(item.metric)[0] >= -1e-6 * item.metric.trace()
    assert any(not torch.equal(one[key].metric, other[key].metric) for key in one)


def test_some_channels_tell_what_frequencies_cost(monkeypatch):
    model, x = tiny(TinyResidual), images(32)
    whole = measure(model, x)
    monkeypatch.setattr("fmtc.calibration.sensitivity.FREQUENCY_VALUES", 1 << 14)
    some = measure(model, x)
    split = measure(model, list(x.split(3)))
    differ = 0
    for key, item in whole.items():
        for size, expected in item.frequencies.items():
            got = some[key].frequencies[size]
            differ += not torch.equal(got, expected)
            assert_close_to(got, expected, share=0.2)
            # Frequencies that a gradient lacks, as behind a pool, are rounding.
            rounding = 1e-6 * float(got.max())
            torch.testing.assert_close(split[key].frequencies[size], got, rtol=1e-3, atol=rounding)
    assert differ


def test_tensors_that_the_output_does_not_depend_on():
    class Dead(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.dead, self.blocked = (nn.Conv2d(3, 4, 1) for _ in range(3))

        def forward(self, x):
            return {"out": self.conv(x).flatten(1), "aux": self.dead(x), "z": 0 * self.blocked(x)}

    torch.manual_seed(0)
    got = measure(Dead().eval(), images(2), choice=("out", "z"))
    assert not got["dead", BEFORE].metric.any() and not got["blocked", BEFORE].metric.any()
    assert got["conv", BEFORE].metric.trace() > 0
    constant = measure(Dead().eval(), torch.zeros(2, 3, 6, 6), choice=("out", "z"))
    assert all(item.metric.isfinite().all() for item in constant.values())


@pytest.mark.parametrize("size", [12, 48])
def test_what_no_reader_can_see_is_no_direction(size):
    """Behind a 1x1 convolution of 12 channels to 4 the output depends on 4 directions, exactly."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1, groups=3), nn.ReLU6(), nn.Conv2d(12, 4, 1), nn.ReLU(),
        nn.Conv2d(4, 4, 3), nn.Flatten(),
    )  # fmt: skip
    metrics = fmtc.Compressor(model.eval(), images(16, size=size)).metrics
    root, _ = metric_root(metrics.metrics["0", AFTER])
    assert root.shape == (4, 12)
    assert len(metric_root(metrics.metrics["0", BEFORE])[0]) == 12


def test_grouped_convolutions_keep_groups_apart_in_the_metric():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, groups=2), nn.Flatten()).eval()
    metric = measure(model, images(4, size=6), probes=400)["0", BEFORE].metric
    across = metric[:2, 2:].norm() / metric.norm()
    assert across < 0.05  # nothing but sampling error


@pytest.mark.parametrize("trained", [True, False])
def test_the_model_is_left_as_it_was(trained):
    model = tiny().train(trained)
    for i, p in enumerate(model.parameters()):
        p.requires_grad_(i % 2 == 0)
    before = copy.deepcopy(model.state_dict())
    flags = [p.requires_grad for p in model.parameters()]
    x = images(4)
    compressed = fmtc.compress(model, x, target=fmtc.Step(0.1))
    assert [p.requires_grad for p in model.parameters()] == flags
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert model.training is trained and not x.requires_grad
    assert not compressed(x).requires_grad
    assert not any(
        b.requires_grad for c in compressed.codecs.values() for b in c.transform.matrices
    )


def test_inference_mode_and_no_grad_around_it():
    outputs = []
    for around in (torch.no_grad, torch.enable_grad):
        with around():
            outputs.append(fmtc.compress(tiny(), images(4), target=fmtc.Step(0.1))(images(2)))
    assert torch.equal(*outputs)
