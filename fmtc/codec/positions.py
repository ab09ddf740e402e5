"""Classes of positions: where an image is busy in one component it is in most of them.

Each cell of 2 x 2 positions gets a class by how much goes on there in all components together, and
the coder has a table for each class in each component. The map of classes is part of the stream.
"""

from __future__ import annotations

import torch

from .. import ops
from .archive import Tensors, require, typed, within
from .exact import Exact

MAX_CLASSES = 8
UNIT = 256  # a weight of 1
MOST_WEIGHT = 1 << 15
LEAST_SCALE = 1e-3  # a plane that is almost always 0 counts as one of this mean magnitude
SAMPLES = 1 << 20  # cells of which thresholds are found, at most


class PositionClasses(Exact):
    """weights: i32 [planes], in 1/UNIT, of each plane's symbols; thresholds: i64 [C - 1], sorted.

    A cell's class is the number of thresholds that its activity reaches (``position_activity``).
    """

    weights: torch.Tensor
    thresholds: torch.Tensor

    def __init__(self, weights: torch.Tensor, thresholds: torch.Tensor):
        super().__init__()
        self.hold("weights", weights)
        self.hold("thresholds", thresholds)

    @property
    def count(self) -> int:
        """C, the number of classes."""
        return len(self.thresholds) + 1

    @property
    def segments(self) -> int:
        """Pieces of a stream that have a table each: the map, and each class of each plane."""
        return 1 + len(self.weights) * self.count

    def of(self, symbols: torch.Tensor) -> torch.Tensor:
        """Classes u8 [N, ceil(H/2), ceil(W/2)] of symbols int16 [N, planes, H, W]."""
        activity = ops.position_activity(symbols, self.weights)
        return torch.bucketize(activity, self.thresholds, right=True).to(torch.uint8)

    def histogram(
        self,
        symbols: torch.Tensor,
        classes: torch.Tensor,
        lo: int,
        hi: int,
        groups: torch.Tensor,
        num_groups: int,
    ) -> torch.Tensor:
        """Counts i64 [num_groups, hi - lo + 1] of what is coded, by the group of each segment.

        symbols: int16 [N, planes, H, W]; beyond lo..hi they count as the nearest. classes: those
        of their positions (``of``). groups: i64 [segments].
        """
        return ops.position_histogram(symbols, classes, self.count, lo, hi, groups, num_groups)

    @classmethod
    def fit(
        cls, symbols: list[torch.Tensor], scales: torch.Tensor, classes: int
    ) -> PositionClasses:
        """Classes of about equal size over symbols int16 [N, planes, H, W].

        scales: f64 [planes], the mean magnitude of each plane's symbols; infinite where the plane
        tells nothing. A symbol counts by 1 over the scale of a two-sided geometric distribution of
        that mean, so that the sum is what tells best by how much all scales are larger here.
        """
        weights = torch.asinh(1 / scales.clamp(min=LEAST_SCALE)) * UNIT
        weights = weights.round().clamp(0, MOST_WEIGHT).to(symbols[0].device, torch.int32)
        activity = torch.cat([ops.position_activity(part, weights).flatten() for part in symbols])
        activity = activity[:: 1 + len(activity) // SAMPLES].double()
        shares = torch.linspace(0, 1, classes + 1, dtype=torch.float64)[1:-1].to(activity.device)
        return cls(weights, torch.quantile(activity, shares).round().to(torch.int64))

    def packed(self) -> Tensors:
        """The tensors of an archive's layer."""
        return {"position_weights": self.weights, "position_thresholds": self.thresholds}

    @classmethod
    def unpacked(cls, tensors: Tensors, planes: int) -> PositionClasses | None:
        """From such tensors, None where they have none. ValueError where they do not fit."""
        if "position_weights" not in tensors:
            return None
        weights = typed(tensors, "position_weights", torch.int32, 1)
        thresholds = typed(tensors, "position_thresholds", torch.int64, 1)
        require(len(weights) == planes, "weights of its classes of positions")
        require(within(weights, 0, MOST_WEIGHT), "weights of its classes of positions")
        require(1 <= len(thresholds) < MAX_CLASSES, "its classes of positions")
        require(bool((thresholds.diff() >= 0).all()), "thresholds that are not sorted")
        return cls(weights, thresholds)
