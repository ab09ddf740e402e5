"""Where images, channels and positions are in a tensor, its planes as codecs take them, and NaN."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def all_finite(x: Tensor) -> bool:
    """Whether no value of a tensor is NaN or infinite.

    Their sum says so in a fifteenth of the time, unless it overflows.
    """
    return bool(x.sum().isfinite()) or bool(x.isfinite().all())


@dataclass(frozen=True)
class Layout:
    """batch, channels: the dimensions of images and channels; all others are positions.

    windows: how many entries of the batch dimension belong to one image, as with attention in
    windows.
    """

    batch: int = 0
    channels: int = 1
    windows: int = 1

    def planes(self, x: Tensor) -> Tensor:
        """x as [N, C, H, W]: further positions are rows, too, and of one dimension a row.

        [N, C, L] and [N, L, C] become [N, C, 1, L], [N, C, D, H, W] becomes [N, C, D H, W], and
        windows are rows.
        """
        if self == USUAL and x.dim() == 4:
            return x
        x = x.movedim((self.batch, self.channels), (0, 1))
        if self.windows > 1:
            x = x.unflatten(0, (-1, self.windows)).movedim(1, 2)
        for _ in range(4 - x.dim()):
            x = x.unsqueeze(2)
        return x.flatten(2, -2) if x.dim() > 4 else x

    def restored(self, planes: Tensor, shape: torch.Size) -> Tensor:
        """The tensor of this layout whose planes [N, K, H, W] are; shape: as it was, but for K."""
        if self == USUAL and len(shape) == 4:
            return planes
        positions = [n for d, n in enumerate(shape) if d not in (self.batch, self.channels)]
        if self.windows > 1:
            x = planes.reshape(*planes.shape[:2], self.windows, *positions)
            x = x.movedim(2, 1).flatten(0, 1)
        else:
            x = planes.reshape(*planes.shape[:2], *positions)
        return x.movedim((0, 1), (self.batch, self.channels))

    def permuted(self, order: list[int]) -> Layout:
        """Of the tensor whose dimension i is this one's ``order[i]``."""
        return Layout(order.index(self.batch), order.index(self.channels), self.windows)

    def keeps_positions(self, order: list[int]) -> bool:
        """Whether positions stay in their order when dimensions are permuted so."""
        places = [d for d in order if d not in (self.batch, self.channels)]
        return places == sorted(places)


USUAL = Layout()  # of maps [N, C, H, W], which are planes
