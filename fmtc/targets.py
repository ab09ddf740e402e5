"""What a compressed network shall reach, and the search for the quantiser step that reaches it.

A target stands beside each point of a result as its ``setting``. Bits and Step are set as they are;
the others are searched for with measurements that take a whole calibration each, so that few of
them must do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

from .codec.codec import check_bits

EPSILON = 1e-9


@dataclass(frozen=True)
class Measure:
    """What a network compressed with this global step has: the figures that targets are about.

    rate: bits per value; snr_db: of the outputs; agreement: share of the images 0...1; top1_drop:
    share of the labelled images lost (negative: won). None where it was not measured.
    """

    step: float
    rate: float | None = None
    snr_db: float | None = None
    agreement: float | None = None
    top1_drop: float | None = None

    @classmethod
    def of(
        cls, step: float, point: Mapping[str, Any], reference_top1: float | None = None
    ) -> Measure:
        """From a point of `fmtc.evaluate`: stream bytes where made, otherwise cross-entropy."""
        rates, top1 = point["bits_per_value"], point["top1"]
        return cls(
            step,
            rate=rates["cross_entropy"] if rates["stream"] is None else rates["stream"],
            snr_db=point["snr_db"],
            agreement=point["agreement"],
            top1_drop=None if None in (top1, reference_top1) else reference_top1 - top1,
        )


class Target:
    """A kind and a value, as in the result schema's ``setting``; str() is the command line's."""

    kind: ClassVar[str]
    figure: ClassVar[str | None] = None  # of a Measure, where a step is searched for
    value: float

    def measured(self, measure: Measure) -> float:
        """The figure that the target is about. ValueError where it was not measured."""
        figure = getattr(measure, self.figure)
        if figure is None:
            why = {"agreement": "the network has no classes", "top1_drop": "there are no labels"}
            raise ValueError(
                f"the target {self} cannot be measured: {why.get(self.figure, 'no figure')}"
            )
        return figure

    @property
    def setting(self) -> dict[str, Any]:
        return {"kind": self.kind, "value": self.value}

    def __str__(self) -> str:
        return f"{self.kind}={self.value:.12g}"


@dataclass(frozen=True)
class Bits(Target):
    """b of the presets that have one, 2 to 12: a layer's step is its range / (2^b - 2)."""

    value: int
    kind: ClassVar[str] = "b"

    def __post_init__(self) -> None:
        if not isinstance(self.value, int) or isinstance(self.value, bool):
            raise ValueError(f"bits must be a whole number, got {self.value!r}")
        check_bits(self.value)


@dataclass(frozen=True)
class Step(Target):
    """The global quantiser step itself."""

    value: float
    kind: ClassVar[str] = "step"

    def __post_init__(self) -> None:
        _check_positive("a step", self.value)


@dataclass(frozen=True)
class Rate(Target):
    """Bits per value of the original feature maps: of the streams, else the cross-entropy."""

    value: float
    kind: ClassVar[str] = "rate"
    figure: ClassVar[str] = "rate"

    def __post_init__(self) -> None:
        _check_positive("a rate", self.value)

    def told(self, measure: Measure) -> str:
        return f"{self.measured(measure):.3f} bits per value"

    def error(self, measure: Measure) -> float:
        """Difference from the target in units of what is tolerated (2 %)."""
        return abs(self.measured(measure) / self.value - 1) / 0.02

    @staticmethod
    def octaves(rate: float) -> float:
        """Falls by about 1 for each doubling of the step, in high and in low rates.

        A rate r falls by 1 bit an octave where it is high and in proportion to r where it is low:
        dr/dx = -r / (1 + r), so that r + ln r falls by 1.
        """
        rate = max(rate, 1e-6)
        return rate + math.log(rate)


@dataclass(frozen=True)
class SNR(Target):
    """Signal-to-noise ratio of the network's outputs in dB."""

    value: float
    kind: ClassVar[str] = "snr_db"
    figure: ClassVar[str] = "snr_db"

    def __post_init__(self) -> None:
        _check_positive("an SNR", self.value)

    def told(self, measure: Measure) -> str:
        return f"{self.measured(measure):.2f} dB"

    def error(self, measure: Measure) -> float:
        """Difference from the target in units of what is tolerated (0.2 dB)."""
        return abs(self.measured(measure) - self.value) / 0.2

    @staticmethod
    def octaves(snr_db: float) -> float:
        """Falls by about 1 for each doubling of the step.

        The noise grows by 6 dB an octave until nearly all levels are 0 and the SNR nears 0 dB, as
        s = 10 log10(1 + a / step^2) does; from about there on, straight on to negative ones.
        """
        above = max(snr_db, 0.5)
        return 0.5 * math.log2(10 ** (above / 10) - 1) + (snr_db - above) / 6


class Share(Target):
    """A share of images that may be lost, which the largest step with no more than that meets."""

    allowed: float

    def loss(self, measure: Measure) -> float:
        raise NotImplementedError

    def met_by(self, measure: Measure) -> bool:
        return self.loss(measure) <= self.allowed + EPSILON


@dataclass(frozen=True)
class Agreement(Share):
    """Least share of the calibration images that keep their class, above 0 and up to 1."""

    value: float
    kind: ClassVar[str] = "agreement"
    figure: ClassVar[str] = "agreement"

    def __post_init__(self) -> None:
        _check_positive("an agreement", self.value)
        if self.value > 1:
            raise ValueError(f"an agreement is a share of the images, 0...1; got {self.value!r}")

    @property
    def allowed(self) -> float:
        return 1 - self.value

    def loss(self, measure: Measure) -> float:
        return 1 - self.measured(measure)

    def told(self, measure: Measure) -> str:
        return f"{100 * measure.agreement:.2f} % of the images"


@dataclass(frozen=True)
class AccuracyDrop(Share):
    """At most this many percentage points of top-1 below the uncompressed network, 0 or more.

    labelled: images and labels to measure it on, anything that `fmtc.evaluate` takes.
    """

    percent: float
    labelled: Any = field(default=None, repr=False, compare=False)
    kind: ClassVar[str] = "drop"
    figure: ClassVar[str] = "top1_drop"

    def __post_init__(self) -> None:
        if not isinstance(self.percent, Real) or not 0 <= self.percent < 100:
            raise ValueError(
                f"a drop is percentage points of accuracy, 0 to below 100; got {self.percent!r}"
            )

    @property
    def value(self) -> float:
        """The drop as a fraction: 0.001 for 0.1 percent."""
        return self.percent / 100

    @property
    def allowed(self) -> float:
        return self.value

    def loss(self, measure: Measure) -> float:
        return self.measured(measure)

    def told(self, measure: Measure) -> str:
        return f"{100 * measure.top1_drop:.2f} % of accuracy lost"

    def __str__(self) -> str:
        return f"{self.kind}={self.percent:.12g}"


EXAMPLES = {
    "b": (Bits, "b=7,8"),
    "step": (Step, "step=0.05"),
    "rate": (Rate, "rate=1.0,2.0 (bits per value)"),
    "snr_db": (SNR, "snr_db=12,15"),
    "agreement": (Agreement, "agreement=0.97,0.99"),
    "drop": (AccuracyDrop, "drop=0.1 (percent)"),
}


def parse_targets(text: str) -> list[Target]:
    """ "rate=1.0,2.0" -> [Rate(1.0), Rate(2.0)]; a drop is in percent, without labelled data yet.

    ValueError: an unknown kind, no values, a value that the kind cannot have.
    """
    kind, _, values = text.partition("=")
    if kind.strip() not in EXAMPLES:
        known = ", ".join(example for _, example in EXAMPLES.values())
        raise ValueError(f"unknown target '{text}'; known: {known}")
    make, example = EXAMPLES[kind.strip()]
    if not values.strip():
        raise ValueError(f"target '{text}' has no value; write it like {example}")
    return [make(_parse_number(value, text)) for value in values.split(",")]


def target_of(setting: Mapping[str, Any]) -> Target:
    """The target that a result's setting was made for (a drop without its labelled data)."""
    kind, value = setting["kind"], setting["value"]
    if kind == "drop":
        return AccuracyDrop(float(f"{100 * value:.12g}"))
    return EXAMPLES[kind][0](int(value) if kind == "b" else value)


class TargetError(ValueError):
    """No step meets the target. nearest: the measurement that comes closest to it."""

    def __init__(self, target: Target, nearest: Measure) -> None:
        super().__init__(
            f"the target {target} cannot be met: the nearest is {target.told(nearest)}, "
            f"at step {nearest.step:.4g}"
        )
        self.target, self.nearest = target, nearest


def _check_positive(what: str, value: float) -> None:
    if not isinstance(value, Real) or not value > 0 or not math.isfinite(value):
        raise ValueError(f"{what} must be positive and finite, got {value!r}")


def _parse_number(text: str, target: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"target '{target}': '{text.strip()}' is not a number") from None
    return int(number) if target.startswith("b=") and number.is_integer() else number
