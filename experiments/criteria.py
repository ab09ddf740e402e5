"""When a compressed network is as good as it was, and the smallest rate at which it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .common import FEWEST_IMAGES, Point, Result


@dataclass(frozen=True)
class Criterion:
    """When a compressed network is as good as it was before, up to a tolerance.

    The figure of a point ("top1" or "agreement") that must be ``least`` or more.
    """

    figure: str
    least: float
    text: str

    @classmethod
    def of(
        cls, result: Result, drop_percent: float, agreement_percent: float, weight_bits: int = 32
    ) -> Criterion:
        """Of a network whose weights alone were quantised: what they cost is no fault of the rest.

        By accuracy where there are labels, and images enough for the drop to show; otherwise the
        agreement with the uncompressed network may fall by what agreement_percent leaves to 100.
        """
        reference, images = result["reference"]["top1"], result["dataset"]["evaluated_images"]
        before = {"top1": reference, "agreement": 1.0}
        for point in result["points"]:
            if point["preset"] is None and point["weight_bits"] == weight_bits:
                before = point
        if reference is not None and images * drop_percent / 100 >= FEWEST_IMAGES:
            text = f"top-1 within {drop_percent:g} %"
            return cls("top1", before["top1"] - drop_percent / 100, text)
        least = before["agreement"] - (1 - agreement_percent / 100)
        return cls("agreement", least, f"agreement ≥ {100 * least:.4g} %")

    def met_by(self, point: Point) -> bool:
        return point[self.figure] is not None and point[self.figure] >= self.least - 1e-9

    def __str__(self) -> str:
        return self.text


def smallest(points: Sequence[Point], criterion: Criterion, rate: str = "entropy") -> Point | None:
    """The point of the smallest rate among those that meet the criterion."""
    good = [point for point in points if criterion.met_by(point)]
    return min(good, key=lambda point: point["bits_per_value"][rate], default=None)


def rate_at(points: Sequence[Point], criterion: Criterion, rate: str = "entropy") -> float | None:
    """The smallest rate at which the curve, linear between its points, meets the criterion.

    None where no point meets it.
    """
    curve = sorted((p["bits_per_value"][rate], p[criterion.figure]) for p in points)
    for index, (bits, figure) in enumerate(curve):
        if figure >= criterion.least - 1e-9:
            if index == 0:
                return bits
            bits0, figure0 = curve[index - 1]
            return bits0 + (bits - bits0) * (criterion.least - figure0) / (figure - figure0)
    return None
