"""When a compressed network is as good as it was, and the smallest rate at which it is."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass

from fmtc.errors import UsageError

from .common import Point, Result

# A difference of fewer images than this is noise.
FEWEST_IMAGES = 10
LEAST_KL = 1e-9  # nats; a point with less counts as one with so much


@dataclass(frozen=True)
class Criterion:
    """When a compressed network is as good as it was before, up to a tolerance.

    figure: of a point, "kl" or "top1". limit: of it, the largest KL in nats or the least accuracy.
    """

    figure: str
    limit: float
    text: str

    @classmethod
    def of(
        cls, result: Result, nats: float, drop_percent: float | None, weight_bits: int = 32
    ) -> Criterion:
        """Of a network whose weights alone were quantised: what they cost is no fault of the rest.

        By the divergence of the outputs, KL(uncompressed || compressed), nats at most; or by the
        accuracy, if a drop is given. UsageError: no labels, or too few images for it to show.
        """
        before = {"kl": 0.0, "top1": result["reference"]["top1"]}
        for point in result["points"]:
            if point["preset"] is None and point["weight_bits"] == weight_bits:
                before = point
        if drop_percent is None:
            limit = (before["kl"] or 0.0) + nats
            return cls("kl", limit, f"KL ≤ {limit:.3g}")
        images = result["dataset"]["evaluated_images"]
        if before["top1"] is None or images * drop_percent / 100 < FEWEST_IMAGES:
            lacks = "has no labels" if before["top1"] is None else f"of {images} images is noise"
            raise UsageError(
                f"{result['model']}: a drop of {drop_percent:g} % {lacks}; leave --drop out, and "
                "the divergence of the outputs decides (--kl)"
            )
        return cls("top1", before["top1"] - drop_percent / 100, f"top-1 within {drop_percent:g} %")

    @classmethod
    def chosen(cls, result: Result, options: argparse.Namespace, weight_bits: int) -> Criterion:
        """That of --kl, or of --drop."""
        return cls.of(result, options.kl, options.drop, weight_bits)

    @classmethod
    def lower(cls, result: Result, options: argparse.Namespace, weight_bits: int) -> Criterion:
        """That of --lower-kl, or with --drop that of --lower-drop."""
        drop = None if options.drop is None else options.lower_drop
        return cls.of(result, options.lower_kl, drop, weight_bits)

    def met_by(self, point: Point) -> bool:
        value = point[self.figure]
        return value is not None and self.merit(value) >= self.merit(self.limit) - 1e-9

    def merit(self, value: float) -> float:
        """What rises with the rate, nearly in a line: of a divergence, minus its logarithm."""
        return -math.log(max(value, LEAST_KL)) if self.figure == "kl" else value

    def bounds(self, point: Point) -> tuple[float, float] | None:
        """The 95 % interval of the point's figure, the better end first; None if not known."""
        interval = point.get(f"{self.figure}_interval")
        return tuple(sorted(interval, key=self.merit, reverse=True)) if interval else None

    def __str__(self) -> str:
        return self.text


def add_lower_options(parser: argparse.ArgumentParser, where: str) -> None:
    """--lower-kl and --lower-drop, of experiments with a second, looser criterion."""
    group = parser.add_argument_group(where)
    group.add_argument(
        "--lower-kl", type=float, default=0.1, metavar="NATS",
        help="in place of --kl (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--lower-drop", type=float, default=0.5, metavar="PERCENT",
        help="in place of --drop (default: %(default)s)",
    )  # fmt: skip


def smallest(points: Sequence[Point], criterion: Criterion, rate: str = "entropy") -> Point | None:
    """The point of the smallest rate among those that meet the criterion."""
    good = [point for point in points if criterion.met_by(point)]
    return min(good, key=lambda point: point["bits_per_value"][rate], default=None)


def rate_at(points: Sequence[Point], criterion: Criterion, rate: str = "entropy") -> float | None:
    """The smallest rate at which the curve through its points meets the criterion.

    Between two points the rate is linear in the accuracy, or in the logarithm of the divergence.
    None where no point meets it.
    """
    curve = [(p["bits_per_value"][rate], p[criterion.figure]) for p in points]
    return _crossing(curve, criterion)


def rate_interval(
    points: Sequence[Point], criterion: Criterion, rate: str = "entropy"
) -> tuple[float | None, float | None]:
    """`rate_at` of the curves through the better and the worse ends of the points' intervals."""
    known = [(p["bits_per_value"][rate], criterion.bounds(p)) for p in points]
    ends = ([(bits, b[end]) for bits, b in known if b is not None] for end in (0, 1))
    better, worse = (_crossing(curve, criterion) for curve in ends)
    return better, worse


def _crossing(curve: Sequence[tuple[float, float | None]], criterion: Criterion) -> float | None:
    """Of (rate, figure): where the curve first reaches the limit."""
    least = criterion.merit(criterion.limit)
    known = sorted((bits, criterion.merit(value)) for bits, value in curve if value is not None)
    for index, (bits, merit) in enumerate(known):
        if merit >= least - 1e-9:
            if index == 0:
                return bits
            bits0, merit0 = known[index - 1]
            return bits0 + (bits - bits0) * (least - merit0) / (merit - merit0)
    return None
