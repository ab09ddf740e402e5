"""Reverse water-filling, the choice of sides and the metric of consumers, by hand."""

import math

import pytest
import torch
from networks import TinyDepthwise, TinyParts, images, tiny

from fmtc.calibration.compressor import Compressor
from fmtc.calibration.placement import (
    LEAST_RHO,
    Spectrum,
    choose_sides,
    consumer_metric,
    expected,
    regularized,
)
from fmtc.calibration.sensitivity import Sensitivity
from fmtc.network.capture import capture
from fmtc.network.groups import AFTER, BEFORE, find_groups

STEP = math.sqrt(12.0)  # its noise has variance 1


def spectrum(*variances, positions=10.0, channels=4):
    return Spectrum(torch.tensor(variances, dtype=torch.float64), positions, channels)


def test_water_filling_by_hand():
    # Variances 16 and 4 cost 2 and 1 bits and err by 1 each; 0.5 and 0 cost nothing.
    known = spectrum(16.0, 4.0, 0.5, 0.0)
    assert known.bits(STEP) == pytest.approx(10 * 3)
    assert known.error(STEP) == pytest.approx(10 * 2.5)
    assert known.cost(STEP) == pytest.approx(30 + 25 / (2 * math.log(2)))
    assert known.bits(2 * STEP) == pytest.approx(10 * 1)
    assert known.error(2 * STEP) == pytest.approx(10 * 8.5)
    assert spectrum().bits(STEP) == spectrum().error(STEP) == 0


def test_expected_rate_and_snr():
    rate, snr_db = expected([spectrum(16.0, 4.0), spectrum(4.0, positions=2.0)], STEP)
    assert rate == pytest.approx((30 + 2) / (10 * 4 + 2 * 4))
    assert snr_db == pytest.approx(-10 * math.log10(10 * 2 + 2 * 1))
    assert expected([spectrum(0.0)], STEP) == (0, 200)


def test_the_cost_falls_where_the_bits_pay():
    """At a step the exchange rate makes that very step's bits worth their error."""
    known, steps = spectrum(100.0, 9.0, 2.0), [STEP * 1.05**i for i in range(-20, 21)]
    price = 1 / (2 * math.log(2))  # bits for a squared error at STEP, whose noise is 1
    costs = [known.bits(s) + price * known.error(s) for s in steps]
    assert min(costs) == pytest.approx(known.cost(STEP))


def test_spectrum_is_that_of_the_weighted_covariance():
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, 5, generator=generator, dtype=torch.float64)
    covariance, metric = a @ a.T, b[:, :3] @ b[:, :3].T
    got = Spectrum.of(Sensitivity(metric, covariance, 7.0), metric)
    values = torch.linalg.eigvals(covariance @ metric).real.sort(descending=True).values
    torch.testing.assert_close(got.variances.sort(descending=True).values, values[:3])
    assert (got.positions, got.channels) == (7.0, 5)


def test_regularized():
    metric, eye = torch.diag(torch.tensor([3.0, 1.0]).double()), torch.eye(2).double()
    # rho = share R / probes: 0.1 x 2 / 4 of the identity's shape, 0.1 x 1 / 4 of rank 1.
    torch.testing.assert_close(regularized(metric, None, 0.1, 4), metric + 0.05 * 4 / 2 * eye)
    background = torch.ones(2, 2).double()
    seen = regularized(metric, background, 0.1, 4)
    torch.testing.assert_close(seen, metric + 0.025 * 4 / 2 * background)
    torch.testing.assert_close(
        regularized(metric, 0 * background, 0.1, 4), regularized(metric, None, 0.1, 4)
    )
    assert not regularized(0 * metric, background, 0.1, 4).any()
    least = regularized(metric, None, 0.1, 10**6)
    torch.testing.assert_close(least, metric + LEAST_RHO * 2 * eye)
    torch.testing.assert_close(regularized(metric, None, 100.0, 1), metric + 2 * eye)


def test_metrics_of_a_network_are_regularized_by_all_its_probes():
    x = images(6)
    metrics = Compressor(tiny(TinyParts), x, micro_batch=4).metrics
    measured, preset = metrics.sensitivities, metrics.preset
    for layer in ("inner.conv1", "inner.conv2"):  # of which nothing is known that reads them
        metric, share = measured[layer, BEFORE].metric, preset.regularization
        wanted = regularized(metric, None, share, 6 * preset.probes)
        torch.testing.assert_close(metrics.metrics[layer, BEFORE], wanted)
        assert not torch.allclose(wanted, regularized(metric, None, share, preset.probes))


def groups_of(model):
    network = capture(model, torch.randn(2, 3, 12, 12))
    return network, {g.name: g for g in find_groups(network)}


def test_sides_are_chosen_by_cost():
    _, groups = groups_of(tiny(TinyDepthwise))
    group, other, left_out = groups["first.0"], groups["first.3"], groups["grouped"]
    unknown = groups["stem"]
    left_out.excluded = True
    assert list(group.sides) == [BEFORE, AFTER]
    sides = {name: g.side for name, g in groups.items()}
    cheap, dear = spectrum(4.0), spectrum(64.0, 4.0)
    spectra = {
        ("first.0", BEFORE): dear, ("first.0", AFTER): cheap,
        ("first.3", BEFORE): cheap, ("first.3", AFTER): dear,
        ("grouped", BEFORE): dear, ("grouped", AFTER): cheap,
    }  # fmt: skip
    choose_sides(list(groups.values()), spectra, STEP)
    assert (group.side, other.side) == (AFTER, BEFORE)
    assert left_out.side == sides["grouped"] and unknown.side == sides["stem"]
    assert group.output is group.sides[AFTER].output and not group.foldable
    # At a step that leaves nothing of either, the side with less error is taken.
    spectra["first.0", AFTER] = spectrum(4.0, 4.0)
    spectra["first.0", BEFORE] = spectrum(5.0)
    choose_sides([group], spectra, 100 * STEP)
    assert group.side == BEFORE


def test_consumer_metric_is_the_error_that_consumers_see():
    torch.manual_seed(0)
    consumer = torch.nn.Conv2d(4, 2, 3)
    metric = consumer_metric([consumer.weight])
    expected = torch.zeros(4, 4, dtype=torch.float64)
    weight = consumer.weight.detach().double()
    for o in range(2):
        for y in range(3):
            for x in range(3):
                expected += torch.outer(weight[o, :, y, x], weight[o, :, y, x])
    torch.testing.assert_close(metric, expected)
    both = consumer_metric(iter([consumer.weight, consumer.weight]))
    torch.testing.assert_close(both, 2 * metric)
    assert consumer_metric([]) is None


def test_project_convolutions_leave_few_directions():
    model = tiny(TinyDepthwise)
    network, groups = groups_of(model)
    side = groups["first.3"].sides[AFTER]
    assert [node.target for node in side.consumers] == ["first.6"]
    metric = consumer_metric(network.get_submodule(node.target).weight for node in side.consumers)
    assert metric.shape == (12, 12) and torch.linalg.matrix_rank(metric) == 4
