"""What a compressed network shall reach: bits, a step, a rate, an SNR, or what may be lost.

A target stands beside each point of a result as its ``setting``. Bits and Step are set as they are;
the others are searched for (`fmtc.calibration.search`) with measurements that take a whole
calibration each, so that few of them must do.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, ClassVar

EPSILON = 1e-9
MIN_BITS, MAX_BITS = 2, 12  # of b; presets may allow less
DEFAULT_BITS = 8


@dataclass(frozen=True)
class Measure:
    """What a network compressed with this global step has: the figures that targets are about.

    rate: bits per value; snr_db: of the worst output; kl: mean over the images, nats; agreement:
    share of the images 0...1; top1_drop: share of the labelled images lost (negative: won). None
    where it was not measured.
    worst: the name of the output whose SNR it is, where there are several.
    """

    step: float
    rate: float | None = None
    snr_db: float | None = None
    kl: float | None = None
    agreement: float | None = None
    top1_drop: float | None = None
    worst: str | None = None

    @classmethod
    def of(
        cls, step: float, point: Mapping[str, Any], reference_top1: float | None = None
    ) -> Measure:
        """From a point of `fmtc.evaluate`: stream bytes where made, otherwise cross-entropy."""
        rates, top1 = point["bits_per_value"], point["top1"]
        drop = None if top1 is None or reference_top1 is None else reference_top1 - top1
        outputs = {output["name"]: output["snr_db"] for output in point["outputs"]}
        known = [name for name, snr in outputs.items() if snr is not None]
        return cls(
            step,
            rate=rates["cross_entropy"] if rates["stream"] is None else rates["stream"],
            snr_db=point["snr_db"],
            kl=point["kl"],
            agreement=point["agreement"],
            top1_drop=drop,
            worst=min(known, key=outputs.__getitem__) if known and len(outputs) > 1 else None,
        )


class Target:
    """A kind and a value, as in the result schema's ``setting``; str() is the command line's."""

    kind: ClassVar[str]
    if TYPE_CHECKING:  # not for dataclasses, which would take a property for a field's default

        @property
        def value(self) -> float: ...

    @property
    def setting(self) -> dict[str, Any]:
        return {"kind": self.kind, "value": self.value}

    def note(self, measure: Measure) -> str | None:
        """How far from the target the best measurement is; None where it is as near as meant."""
        return None

    def __str__(self) -> str:
        return f"{self.kind}={self.value:.12g}"


@dataclass(frozen=True)
class Bits(Target):
    """b of the presets that have one: a layer's step is its range / (2^b - 2).

    Args:
        value: A whole number, 2 to 12; presets may allow less.

    Raises:
        ValueError: Any other value.

    Example:
        >>> print(fmtc.Bits(8))
        b=8
    """

    value: int
    kind: ClassVar[str] = "b"

    def __post_init__(self) -> None:
        if not isinstance(self.value, Integral) or isinstance(self.value, bool):
            raise ValueError(f"bits must be a whole number, got {self.value!r}")
        if not MIN_BITS <= self.value <= MAX_BITS:
            raise ValueError(f"bits must be {MIN_BITS} to {MAX_BITS}, got {self.value}")
        object.__setattr__(self, "value", int(self.value))  # numpy's, too


@dataclass(frozen=True)
class Step(Target):
    """The global quantiser step itself.

    Args:
        value: In units of what an error does to the output; positive.

    Raises:
        ValueError: It is not positive and finite.

    Example:
        >>> print(fmtc.Step(0.05))
        step=0.05
    """

    value: float
    kind: ClassVar[str] = "step"

    def __post_init__(self) -> None:
        _check_positive("a step", self.value)


class Sought(Target):
    """A target that a step is searched for: ``figure`` of a Measure is what it is about."""

    figure: ClassVar[str]

    def measured(self, measure: Measure) -> float:
        """The figure that the target is about. ValueError where it was not measured."""
        figure: float | None = getattr(measure, self.figure)
        if figure is None:
            why = {
                "agreement": "the network has no classes",
                "kl": "the network has no classes",
                "top1_drop": "there are no labels",
                "snr_db": "the outputs are constant",
            }
            raise ValueError(
                f"the target {self} cannot be measured: {why.get(self.figure, 'no figure')}"
            )
        return figure

    def told(self, measure: Measure) -> str:
        """The figure with its unit."""
        raise NotImplementedError


class Value(Sought):
    """A target that is met by coming near its value."""

    def error(self, measure: Measure) -> float:
        """Difference from the target in units of what is tolerated."""
        raise NotImplementedError

    def exceeded_by(self, measure: Measure) -> bool:
        """Whether this is better than what was asked for, so that it is met."""
        raise NotImplementedError

    @staticmethod
    def octaves(figure: float) -> float:
        """The figure on a scale on which it falls by about 1 for each doubling of the step."""
        raise NotImplementedError

    def note(self, measure: Measure) -> str | None:
        if self.error(measure) <= 1:
            return None
        told = self.told(measure)
        if self.exceeded_by(measure):
            return f"the target {self} is exceeded, {told}: no coarser step that was tried has it"
        return (
            f"the target {self} is met to no more than {told}: calibrate with more images to do "
            "better"
        )


@dataclass(frozen=True)
class Rate(Value):
    """Bits per value of the original feature maps: of the streams, else the cross-entropy.

    It is met to within 2 %: from above and from below.

    Args:
        value: Bits per value; positive.

    Raises:
        ValueError: It is not positive and finite.

    Example:
        >>> print(fmtc.Rate(1.5))
        rate=1.5
    """

    value: float
    kind: ClassVar[str] = "rate"
    figure: ClassVar[str] = "rate"

    def __post_init__(self) -> None:
        _check_positive("a rate", self.value)

    def told(self, measure: Measure) -> str:
        return f"{self.measured(measure):.3f} bits per value"

    def exceeded_by(self, measure: Measure) -> bool:
        return False  # fewer bits are no better where others were asked for

    def error(self, measure: Measure) -> float:
        """Difference from the target in units of what is tolerated (2 %)."""
        return abs(self.measured(measure) / self.value - 1) / 0.02

    @staticmethod
    def octaves(figure: float) -> float:
        """Falls by about 1 for each doubling of the step, in high and in low rates.

        A rate r falls by 1 bit an octave where it is high and in proportion to r where it is low:
        dr/dx = -r / (1 + r), so that r + ln r falls by 1.
        """
        rate = max(figure, 1e-6)
        return rate + math.log(rate)


@dataclass(frozen=True)
class SNR(Value):
    """Signal-to-noise ratio of the network's outputs in dB, to within 0.2 dB: of the worst one.

    Where no step comes as near (the coarsest there is has more, say), the coarsest that has as much
    or more: it is met.

    Args:
        value: dB; positive.

    Raises:
        ValueError: It is not positive and finite.

    Example:
        >>> print(fmtc.SNR(15))
        snr_db=15
    """

    value: float
    kind: ClassVar[str] = "snr_db"
    figure: ClassVar[str] = "snr_db"

    def __post_init__(self) -> None:
        _check_positive("an SNR", self.value)

    def told(self, measure: Measure) -> str:
        of = "" if measure.worst is None else f" of output '{measure.worst}'"
        return f"{self.measured(measure):.2f} dB{of}"

    def exceeded_by(self, measure: Measure) -> bool:
        return self.measured(measure) >= self.value - EPSILON

    def error(self, measure: Measure) -> float:
        """Difference from the target in units of what is tolerated (0.2 dB)."""
        return abs(self.measured(measure) - self.value) / 0.2

    @staticmethod
    def octaves(figure: float) -> float:
        """Falls by about 1 for each doubling of the step.

        The noise grows by 6 dB an octave until nearly all levels are 0 and the SNR nears 0 dB, as
        s = 10 log10(1 + a / step^2) does; from about there on, straight on to negative ones.
        """
        above = max(figure, 0.5)
        return 0.5 * math.log2(10 ** (above / 10) - 1) + (figure - above) / 6


@dataclass(frozen=True)
class KL(Value):
    """Divergence of a classifier's outputs from the uncompressed network's, to within 5 %.

    Mean over the images of KL(softmax of its outputs || softmax of the compressed network's), nats.
    Where no step comes as near, the coarsest that has as little or less: it is met.

    Args:
        value: Nats; positive.

    Raises:
        ValueError: It is not positive and finite.

    Example:
        >>> print(fmtc.KL(0.05))
        kl=0.05
    """

    value: float
    kind: ClassVar[str] = "kl"
    figure: ClassVar[str] = "kl"

    def __post_init__(self) -> None:
        _check_positive("a divergence", self.value)

    def told(self, measure: Measure) -> str:
        return f"{self.measured(measure):.3g} nats"

    def exceeded_by(self, measure: Measure) -> bool:
        return self.measured(measure) <= self.value * (1 + EPSILON)

    def error(self, measure: Measure) -> float:
        """Difference from the target in units of what is tolerated (5 %)."""
        return abs(self.measured(measure) / self.value - 1) / 0.05

    @staticmethod
    def octaves(figure: float) -> float:
        """Falls by 1 for each doubling of the step: a small divergence grows with its square."""
        return -0.5 * math.log2(max(figure, 1e-12))


class Share(Sought):
    """A share of images that may be lost, which the largest step with no more than that meets."""

    @property
    def allowed(self) -> float:
        """The share that may be lost, 0...1."""
        raise NotImplementedError

    def loss(self, measure: Measure) -> float:
        """The share that is lost; negative where images are won."""
        raise NotImplementedError

    def met_by(self, measure: Measure) -> bool:
        """Whether no more is lost than may be."""
        return self.loss(measure) <= self.allowed + EPSILON


@dataclass(frozen=True)
class Agreement(Share):
    """Least share of the calibration images that keep their class.

    The largest step with no more images lost meets it.

    Args:
        value: The share, above 0 and up to 1.

    Raises:
        ValueError: Any other value.

    Example:
        >>> print(fmtc.Agreement(0.99))
        agreement=0.99
    """

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
        return f"{100 * self.measured(measure):.2f} % of the images"


@dataclass(frozen=True)
class AccuracyDrop(Share):
    """At most this many percentage points of top-1 below the uncompressed network.

    The largest step with no more lost meets it.

    Args:
        percent: Percentage points, 0 to below 100.
        labelled: Images and labels to measure it on, anything that `fmtc.evaluate` takes. They are
            read for each step that is tried, so that what can be read only once, a generator, is
            kept as a list.

    Raises:
        ValueError: Another percentage.

    Example:
        >>> print(fmtc.AccuracyDrop(0.5, (images, labels)))
        drop=0.5
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
        if isinstance(self.labelled, Iterator):
            object.__setattr__(self, "labelled", list(self.labelled))

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
        return f"{100 * self.measured(measure):.2f} % of accuracy lost"

    def __str__(self) -> str:
        return f"{self.kind}={self.percent:.12g}"


EXAMPLES: dict[str, tuple[type[Target], str]] = {
    "b": (Bits, "b=7,8"),
    "step": (Step, "step=0.05"),
    "rate": (Rate, "rate=1.0,2.0 (bits per value)"),
    "snr_db": (SNR, "snr_db=12,15"),
    "kl": (KL, "kl=0.02 (nats)"),
    "agreement": (Agreement, "agreement=0.97,0.99"),
    "drop": (AccuracyDrop, "drop=0.1 (percent)"),
}
# Other words for them that one may think of.
_ALIKE = {"bits": "b", "snr": "snr_db", "psnr": "snr_db", "accuracydrop": "drop", "bpv": "rate"}


def as_target(target: Target | str) -> Target:
    """The target itself, or that of a text with one value, such as "snr_db=15" or "drop=0.1".

    ValueError: a number, which has no kind; an unknown kind, with the nearest that is known; a text
    with no value or several.
    """
    if isinstance(target, Target):
        return target
    if isinstance(target, str):
        targets = parse_targets(target)
        if len(targets) != 1:
            raise ValueError(f"one target is needed, '{target}' has {len(targets)} values")
        return targets[0]
    if isinstance(target, Real):
        raise ValueError(
            f"a target needs a kind, {target!r} has none: write fmtc.SNR({target!r}) or "
            f"'snr_db={target!r}', or fmtc.Rate(...)"
        )
    what = target.__name__ if isinstance(target, type) else type(target).__name__
    raise ValueError(f"a target is fmtc.SNR(15) or the like, or 'snr_db=15'; got {what}")


def chosen_target(target: Target | str | None, bits: int | None) -> Target | None:
    """The target, or that of bits; None where neither is given. ValueError for both."""
    if bits is None:
        return None if target is None else as_target(target)
    if target is not None:
        raise ValueError(f"give bits or a target, not both ({bits} bits, {target})")
    return Bits(bits)


def parse_targets(text: str) -> list[Target]:
    """ "rate=1.0,2.0" -> [Rate(1.0), Rate(2.0)]; a drop is in percent, without labelled data yet.

    ValueError: an unknown kind, no values, a value that the kind cannot have.
    """
    name, _, values = text.partition("=")
    kind = name.strip()
    if kind not in EXAMPLES:
        raise ValueError(_unknown(text, kind))
    make, example = EXAMPLES[kind]
    if not values.strip():
        raise ValueError(f"target '{text}' has no value; write it like {example}")
    return [_made(make, _parse_number(value, text)) for value in values.split(",")]


def target_of(setting: Mapping[str, Any]) -> Target:
    """The target that a result's setting was made for (a drop without its labelled data)."""
    kind, value = setting["kind"], setting["value"]
    if kind == "drop":
        return AccuracyDrop(float(f"{100 * value:.12g}"))
    return _made(EXAMPLES[kind][0], value)


class TargetError(ValueError):
    """No step meets the target.

    Attributes:
        target: What was asked for.
        nearest: The measurement that comes closest to it.
    """

    def __init__(self, target: Sought, nearest: Measure) -> None:
        super().__init__(
            f"the target {target} cannot be met: the nearest is {target.told(nearest)}, "
            f"at step {nearest.step:.4g}"
        )
        self.target, self.nearest = target, nearest


def _made(make: type[Target], value: float) -> Target:
    """Bits are whole numbers, if they can be."""
    whole = make is Bits and float(value).is_integer()
    return make(int(value) if whole else value)  # type: ignore[call-arg]  # all but the base take it


def _unknown(text: str, kind: str) -> str:
    """The sentence about a kind that is not known, with the nearest that is."""
    near = get_close_matches(kind.lower(), [*EXAMPLES, *_ALIKE], n=1)
    hint = f"; did you mean '{_ALIKE.get(near[0], near[0])}='?" if near else ""
    known = ", ".join(example for _, example in EXAMPLES.values())
    return f"unknown target '{text}'; known: {known}{hint}"


def _check_positive(what: str, value: float) -> None:
    if not isinstance(value, Real) or not value > 0 or not math.isfinite(value):
        raise ValueError(f"{what} must be positive and finite, got {value!r}")


def _parse_number(text: str, target: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"target '{target}': '{text.strip()}' is not a number") from None
