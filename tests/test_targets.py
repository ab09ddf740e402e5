"""Targets: how they are written, and the search on synthetic curves, which cost nothing."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from fmtc.calibration.search import search
from fmtc.targets import (
    KL,
    SNR,
    AccuracyDrop,
    Agreement,
    Bits,
    Measure,
    Rate,
    Step,
    TargetError,
    as_target,
    parse_targets,
    target_of,
)

BEST_SNR = 30.0  # of the curves below at step 1


class Network:
    """A made-up network: its figures as functions of the step, and the steps measured."""

    def __init__(self, **curves):
        self.curves, self.steps = curves, []

    def __call__(self, step: float) -> Measure:
        assert step > 0 and step not in self.steps, "measured twice"
        self.steps.append(step)
        return Measure(step, **{name: curve(step) for name, curve in self.curves.items()})


def snr(step: float) -> float:
    """6 dB an octave, less where nearly all levels are 0."""
    return 10 * math.log10(1 + (BEST_SNR / step) ** 2)


def rate(step: float) -> float:
    """Entropy of a Gaussian of deviation 4 on this grid, roughly: linear, then vanishing."""
    return 0.5 * math.log2(1 + (16 / step) ** 2)


def mixed_rate(step: float) -> float:
    """Components of many scales, as a layer has them."""
    return sum(rate(step * 1.6**k) for k in range(20)) / 20


# How targets are written


def test_kind_value_and_text_are_those_of_the_schema_and_the_command_line():
    for target, kind, value, text in [
        (Bits(8), "b", 8, "b=8"),
        (Step(0.05), "step", 0.05, "step=0.05"),
        (Rate(1.0), "rate", 1.0, "rate=1"),
        (SNR(12.5), "snr_db", 12.5, "snr_db=12.5"),
        (KL(0.02), "kl", 0.02, "kl=0.02"),
        (Agreement(0.97), "agreement", 0.97, "agreement=0.97"),
        (AccuracyDrop(0.1), "drop", 0.001, "drop=0.1"),
    ]:
        assert target.setting == {"kind": kind, "value": value} and str(target) == text
        assert parse_targets(text) == [target] and target_of(target.setting) == target
        assert as_target(target) is target and as_target(text) == target
    assert parse_targets("rate=1.0, 2") == [Rate(1.0), Rate(2.0)]
    assert as_target(" b = 8 ") == Bits(8) and type(as_target("b=8").value) is int
    assert Bits(np.int64(8)).setting == {"kind": "b", "value": 8}
    assert AccuracyDrop(0.3, labelled=([1], [2])) == AccuracyDrop(0.3)
    assert AccuracyDrop(0.3, labelled=iter([1, 2])).labelled == [1, 2]  # read for each step
    assert hash(target_of({"kind": "drop", "value": 0.3 / 100})) == hash(AccuracyDrop(0.3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Bits(13), "bits must be 2 to 12, got 13"),
        (lambda: Bits(8.5), "bits must be a whole number, got 8.5"),
        (lambda: Bits(True), "bits must be a whole number, got True"),
        (lambda: Bits(1), "bits must be 2 to 12, got 1"),
        (lambda: Step(0), "a step must be positive and finite, got 0"),
        (lambda: Rate(-1.0), "a rate must be positive"),
        (lambda: SNR(math.inf), "an SNR must be positive and finite, got inf"),
        (lambda: SNR(math.nan), "an SNR must be positive"),
        (lambda: Rate("1"), "a rate must be positive and finite, got '1'"),
        (lambda: Agreement(97), "a share of the images, 0...1; got 97"),
        (lambda: Agreement(0.0), "an agreement must be positive"),
        (lambda: AccuracyDrop(-0.1), "percentage points of accuracy"),
        (lambda: AccuracyDrop(100), "percentage points of accuracy"),
        (lambda: parse_targets("speed=3"), "unknown target 'speed=3'; known: b=7,8, step=0.05"),
        (lambda: parse_targets("12"), "unknown target '12'; known: "),
        (lambda: as_target("snr=15"), "did you mean 'snr_db='?"),
        (lambda: as_target("Agrement=.9"), "did you mean 'agreement='?"),
        (lambda: as_target("bits=8"), "did you mean 'b='?"),
        (lambda: as_target("15"), "unknown target '15'; known: "),
        (lambda: as_target("snr_db=12,15"), "one target is needed, 'snr_db=12,15' has 2 values"),
        (lambda: as_target(15), "a target needs a kind, 15 has none: write fmtc.SNR(15) or "
                                "'snr_db=15', or fmtc.Rate(...)"),
        (lambda: as_target(0.5), "write fmtc.SNR(0.5)"),
        (lambda: as_target(SNR), "a target is fmtc.SNR(15) or the like, or 'snr_db=15'; got SNR"),
        (lambda: as_target(None), "got NoneType"),
        (lambda: as_target({"kind": "rate"}), "got dict"),
        (lambda: parse_targets("snr_db="), "has no value; write it like snr_db=12,15"),
        (lambda: parse_targets("rate=1,x"), "target 'rate=1,x': 'x' is not a number"),
        (lambda: parse_targets("rate=1,,2"), "'' is not a number"),
        (lambda: parse_targets("b=8.5"), "bits must be a whole number, got 8.5"),
        (lambda: search(SNR(10), snr, start=0.0), "step to start from must be positive"),
        (lambda: search(Step(1.0), snr, 1.0), "step=1 is set as it is"),
        (lambda: search(Agreement(0.9), Measure, 1.0), "network has no classes"),
        (lambda: search(AccuracyDrop(1), Measure, 1.0), "there are no labels"),
    ],
)  # fmt: skip
def test_wrong_targets_are_refused_in_words(make, message):
    with pytest.raises(ValueError) as caught:
        make()
    assert message in str(caught.value)


def test_a_measure_has_the_stream_where_one_was_made():
    rates = {"cross_entropy": 1.5, "stream": None}
    point = {"bits_per_value": rates, "snr_db": 12.0, "kl": 0.01, "agreement": 0.9, "top1": 0.7}
    point["outputs"] = [{"name": "output", "snr_db": 12.0}]
    assert Measure.of(0.5, point) == Measure(0.5, 1.5, 12.0, 0.01, 0.9, None)
    rates["stream"] = 1.6
    measure = Measure.of(0.5, point, reference_top1=0.75)
    assert measure.rate == 1.6 and measure.top1_drop == pytest.approx(0.05)


def test_a_measure_names_the_worst_of_several_outputs():
    rates = {"cross_entropy": 1.5, "stream": None}
    outputs = [("a", 13.0), ("b", 12.0), ("constant", None)]
    point = {"bits_per_value": rates, "snr_db": 12.0, "kl": 0.01, "agreement": None, "top1": None,
             "outputs": [{"name": name, "snr_db": snr} for name, snr in outputs]}  # fmt: skip
    measure = Measure.of(0.5, point)
    assert measure.worst == "b"
    assert (
        SNR(15)
        .note(measure)
        .startswith("the target snr_db=15 is met to no more than 12.00 dB of output 'b': calibrate")
    )
    assert "nearest is 12.00 dB of output 'b', at step" in str(TargetError(SNR(15), measure))


# Rates and SNR


@pytest.mark.parametrize("curve", [rate, mixed_rate])
@pytest.mark.parametrize("value", [0.05, 0.3, 1.0, 2.0, 4.0, 7.0])
@pytest.mark.parametrize("miss", [1 / 50, 1 / 4, 0.7, 1, 1.5, 5, 100])
def test_rate_is_met_in_few_measurements(curve, value, miss):
    right = search(Rate(value), Network(rate=curve), 1.0).step
    network = Network(rate=curve)
    found = search(Rate(value), network, right * miss)
    assert found.measure.rate == pytest.approx(value, rel=0.02)
    near = 0.6 < miss < 2
    assert found.measurements == len(network.steps) <= (3 if near else 7)


@pytest.mark.parametrize("value", [1.0, 10.0, 15.0, 25.0, 60.0])
@pytest.mark.parametrize("miss", [1 / 50, 1 / 4, 0.7, 1, 1.5, 5, 100])
def test_snr_is_met_in_few_measurements(value, miss):
    right = BEST_SNR / math.sqrt(10 ** (value / 10) - 1)
    network = Network(snr_db=snr)
    found = search(SNR(value), network, right * miss)
    assert abs(found.measure.snr_db - value) <= 0.2
    near = 0.6 < miss < 2
    assert found.measurements == len(network.steps) <= (3 if near else 7)


@pytest.mark.parametrize("value", [1e-4, 0.003, 0.02, 0.3])
@pytest.mark.parametrize("miss", [1 / 50, 1 / 4, 0.7, 1, 1.5, 5, 100])
def test_divergence_is_met_in_few_measurements(value, miss):
    """It grows with the square of the step, and no longer where nothing is left of the outputs."""
    network = Network(kl=lambda step: math.log1p(0.01 * step**2))
    found = search(KL(value), network, 10 * math.sqrt(math.expm1(value)) * miss)
    assert found.measure.kl == pytest.approx(value, rel=0.05)
    assert found.measurements <= (3 if 0.6 < miss < 2 else 7)


def test_a_divergence_that_stays_below_is_met():
    network = Network(kl=lambda step: min(0.003 * step, 0.01))
    assert search(KL(0.02), network, 1.0, coarsest=8.0).measure.kl == 0.01
    with pytest.raises(TargetError, match="kl=0.02 cannot be met: the nearest is 0.5 nats"):
        search(KL(0.02), Network(kl=lambda step: max(0.5, step)), 0.3)


@pytest.mark.parametrize("seed", range(20))
def test_noise_costs_measurements_not_the_result(seed):
    """0.1 dB of noise, half of what is tolerated, and a slope that is not the expected one."""
    noise = random.Random(seed)
    network = Network(snr_db=lambda step: 25 - 11 * math.log10(step) + noise.gauss(0, 0.1))
    found = search(SNR(15), network, noise.uniform(0.3, 30))
    assert abs(found.measure.snr_db - 15) <= 0.2 and found.measurements <= 6


@pytest.mark.parametrize("seed", range(20))
def test_much_noise_ends_where_the_step_is_known(seed):
    """1 dB, as an SNR of few images has it."""
    noise = random.Random(seed)
    network = Network(snr_db=lambda step: snr(step) + noise.gauss(0, 0.7))
    known = []
    for value in (10, 15, 20, 25):
        found = search(SNR(value), network, noise.uniform(0.3, 30), known)
        known += [found.measure]
        assert abs(found.measure.snr_db - value) <= 1 and abs(snr(found.step) - value) < 3
    assert len(network.steps) <= 24


def test_a_curve_that_rises_in_between_is_crossed_somewhere():
    network = Network(snr_db=lambda step: snr(step) + 2 * math.sin(9 * math.log2(step)))
    found = search(SNR(20), network, 0.1)
    assert abs(found.measure.snr_db - 20) <= 0.5 and found.measurements <= 10


def test_a_plateau_on_the_way_is_passed():
    def stairs(step: float) -> float:
        return 12 + max(0, -6 * math.log2(step) - 20) + min(0, -6 * math.log2(step))

    found = search(SNR(18), Network(snr_db=stairs), 0.8)
    assert abs(found.measure.snr_db - 18) <= 0.2 and found.measurements <= 10
    found = search(SNR(6), Network(snr_db=stairs), 0.15)
    assert abs(found.measure.snr_db - 6) <= 0.2 and found.measurements <= 10


def test_what_is_known_saves_measurements():
    network = Network(rate=mixed_rate)
    known = [network(step) for step in (0.01, 0.1, 1.0, 10.0)]
    assert search(Rate(mixed_rate(0.4)), network, 100.0, known).measurements <= 3
    met = search(Rate(mixed_rate(1.0)), network, 5.0, known)
    assert met.measurements == 0 and met.measure is known[2]
    # Known plateaus do not hide what the start leads to, nor do figures that fall apart at last.
    network = Network(snr_db=lambda step: 9 if step < 0.01 else snr(step))
    known = [network(2.0**-i) for i in (10, 12, 14)]
    assert search(SNR(15), network, 3.0, known).measurements <= 4
    # Earlier measurements need not have every figure.
    assert search(SNR(20), Network(snr_db=snr), 3.0, known).measurements <= 3


def unreachable(target, network, start, **range_) -> TargetError:
    with pytest.raises(TargetError) as caught:
        search(target, network, start, **range_)
    assert len(network.steps) <= 8
    return caught.value


@pytest.mark.parametrize("start", [0.01, 1.0, 30.0])
def test_a_ceiling_is_said_with_the_nearest(start):
    """Quantised weights, say, cap the SNR; a limited alphabet the rate."""
    capped = Network(snr_db=lambda step: -10 * math.log10(10**-2 + 1 / 10 ** (snr(step) / 10)))
    error = unreachable(SNR(21), capped, start)
    assert 19.5 < error.nearest.snr_db <= 20 and error.target == SNR(21)
    assert f"snr_db=21 cannot be met: the nearest is {error.nearest.snr_db:.2f} dB" in str(error)
    error = unreachable(Rate(9), Network(rate=lambda step: min(rate(step), 6.5)), start)
    assert error.nearest.rate == 6.5 and "6.500 bits per value, at step" in str(error)


def test_a_floor_and_the_ends_of_the_range_are_said():
    error = unreachable(Rate(0.01), Network(rate=lambda step: 0.05 + rate(step)), 10.0)
    assert error.nearest.rate == pytest.approx(0.05, abs=0.01)
    network = Network(rate=rate)
    error = unreachable(Rate(9), network, 1.0, finest=0.5)
    assert error.nearest.step == 0.5 and min(network.steps) == 0.5
    error = unreachable(Rate(0.1), Network(rate=rate), 1.0, coarsest=2.0)
    assert error.nearest.step == 2.0


@pytest.mark.parametrize("start", [0.01, 1.0, 6.0])
def test_an_snr_that_the_coarsest_step_exceeds_is_met(start):
    """The nearest to 15 dB has 30.8: that is no failure."""
    for curve, best in [(lambda step: 30.8, 30.8), (lambda step: 40 - step, 34), (snr, snr(6))]:
        found = search(SNR(10), Network(snr_db=curve), start, coarsest=6.0)
        assert found.step == 6.0 and found.measure.snr_db == pytest.approx(best)
        assert found.measurements <= 8
    plateau = Network(snr_db=lambda step: max(snr(step), 30.8))  # without an end
    found = search(SNR(15), plateau, start)
    assert found.measure.snr_db == 30.8 and found.step == max(plateau.steps)
    known = [Measure(6.0, snr_db=30.8)]
    assert search(SNR(15), Network(snr_db=snr), start, known, coarsest=6.0).step == 6.0


def test_a_jump_over_an_snr_is_met_above_it_and_over_a_rate_is_said():
    network = Network(snr_db=lambda step: snr(step) + (5 if step < 3 else 0))
    found = search(SNR(22.5), network, 1.0)
    assert found.measurements <= 10 and 2.9 < found.step < 3
    assert found.measure.snr_db == pytest.approx(25, abs=0.2)
    network = Network(rate=lambda step: rate(step) + (1 if step < 3 else 0))
    with pytest.raises(TargetError) as caught:
        search(Rate(2.9), network, 1.0)
    assert len(network.steps) <= 10 and abs(caught.value.nearest.rate - 2.9) < 1


def test_a_small_jump_meets_a_target_once_the_step_is_known():
    """1 dB or 10 % beside it, at a step known to 3 %; more than that does not."""

    def jump(step: float, height: float) -> float:
        return height / 2 if step < 3 else -height / 2

    def snrs(height: float) -> Network:
        return Network(snr_db=lambda step: 15 + jump(step, height) - 6 * math.log2(step / 3))

    def rates(height: float) -> Network:
        return Network(rate=lambda step: 1 + jump(step, height) - math.log2(step / 3))

    for start in (0.7, 2.0, 2.9, 3.1, 4.0):
        network = snrs(1.8)
        found = search(SNR(15), network, start)
        assert 0.8 < abs(found.measure.snr_db - 15) <= 1
        finer = max(step for step in network.steps if step < 3)
        coarser = min(step for step in network.steps if step >= 3)
        assert coarser / finer < 1.036
        assert search(SNR(15), snrs(2.2), start).measure.snr_db > 16
        assert abs(search(Rate(1), rates(0.18), start).measure.rate - 1) <= 0.1
        with pytest.raises(TargetError):
            search(Rate(1), rates(0.22), start)


def test_what_is_not_as_near_as_meant_is_noted():
    assert SNR(15).note(Measure(1.0, snr_db=15.1)) is None
    assert SNR(15).note(Measure(1.0, snr_db=30.8)) == (
        "the target snr_db=15 is exceeded, 30.80 dB: no coarser step that was tried has it"
    )
    note = "the target snr_db=15 is met to no more than 14.50 dB: calibrate with more images"
    assert SNR(15).note(Measure(1.0, snr_db=14.5)).startswith(note)
    assert "no more than 0.500 bits per value" in Rate(1).note(Measure(1.0, rate=0.5))
    assert Agreement(0.9).note(Measure(1.0, agreement=1.0)) is None


# Shares of images


def agreement(images: int, seed: int = 0):
    """Images that change class at a step of their own: what a few images make of the curve."""
    thresholds = [random.Random(seed + i).lognormvariate(0, 1.5) for i in range(images)]
    return lambda step: sum(step <= t for t in thresholds) / images


@pytest.mark.parametrize("value", [0.5, 0.9, 0.97, 1.0])
@pytest.mark.parametrize("start", [0.02, 0.3, 1.0, 8.0])
def test_agreement_is_met_by_the_largest_step(value, start):
    curve = agreement(64)
    network = Network(agreement=curve)
    found = search(Agreement(value), network, start)
    assert curve(found.step) >= value > curve(found.step * 1.0501)
    assert found.measurements == len(network.steps) <= 10


def test_drop_is_measured_against_the_uncompressed_network():
    """Also negative: a little noise may well win an image."""

    def drop(step: float) -> float:
        return -0.01 if step < 0.5 else 0.002 if step < 1.7 else 0.1

    network = Network(top1_drop=drop)
    assert 1.6 < search(AccuracyDrop(0.2), network, 0.3).step < 1.7
    assert 0.47 < search(AccuracyDrop(0.1), Network(top1_drop=drop), 4.0).step < 0.5
    assert 0.47 < search(AccuracyDrop(0), Network(top1_drop=drop), 1.0).step < 0.5


@pytest.mark.parametrize("seed", range(10))
def test_a_share_that_is_not_monotone_is_still_met(seed):
    noise = random.Random(seed)

    def curve(step: float) -> float:
        return round(64 * min(1, math.exp(-step / 5) + noise.gauss(0, 0.015))) / 64

    network = Network(agreement=curve)
    found = search(Agreement(0.95), network, noise.uniform(0.02, 2))
    assert found.measure.agreement >= 0.95 and found.measurements <= 10


def test_shares_that_nothing_meets_and_that_everything_meets():
    error = unreachable(Agreement(0.99), Network(agreement=lambda step: 0.9 - step / 1e6), 1.0)
    assert error.nearest.agreement == pytest.approx(0.9, abs=0.001)
    assert "agreement=0.99 cannot be met: the nearest is 90.00 % of the images" in str(error)
    error = unreachable(AccuracyDrop(0.1), Network(top1_drop=lambda step: 0.05), 1.0, finest=0.1)
    assert "drop=0.1 cannot be met: the nearest is 5.00 % of accuracy lost" in str(error)
    found = search(Agreement(0.5), Network(agreement=lambda step: 0.75), 1.0, coarsest=6.0)
    assert found.step == 6.0 and found.measurements <= 4


def test_shares_use_what_is_known():
    curve = agreement(64)
    network = Network(agreement=curve)
    first = search(Agreement(0.97), network, 1.0)
    known = [Measure(step, agreement=curve(step)) for step in network.steps]
    assert search(Agreement(0.97), network, 1.0, known).measurements == 0
    again = search(Agreement(0.95), network, 1.0, known)
    assert again.step >= first.step and curve(again.step) >= 0.95 and again.measurements <= 6
