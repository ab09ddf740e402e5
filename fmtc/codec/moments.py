"""Second moments of what is transformed, gathered in one pass over any number of batches."""

from __future__ import annotations

import torch

from .. import ops
from .archive import Tensors, require, typed

Part = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Moments:
    """Count, mean and centred second moments of the blocks of a layer, in double, mergeable.

    One set for each channel group: lists of (count i64 [], mean f64 [n], m2 f64 [n, n]).
    """

    def __init__(self, parts: list[Part] | None = None):
        self._parts = parts

    @property
    def parts(self) -> list[Part]:
        """Of each channel group. ValueError where nothing has been taken in."""
        if self._parts is None:
            raise ValueError("there are no moments of no data")
        return self._parts

    def to(self, device: torch.device) -> Moments:
        """The same on a device."""
        return Moments(
            [(n.to(device), mean.to(device), m2.to(device)) for n, mean, m2 in self.parts]
        )

    def update(self, blocks: torch.Tensor, groups: int) -> Moments:
        """Take in a batch of blocks [N, G*n, H', W']."""
        new = [ops.channel_moments(part) for part in blocks.chunk(groups, 1)]
        return self.merge(Moments(new))

    def merge(self, other: Moments) -> Moments:
        """Take in moments of other data, as if all had been seen together (Chan et al.)."""
        if self._parts is None:
            self._parts = list(other.parts)
        else:
            pairs = zip(self.parts, other.parts, strict=True)
            self._parts = [ops.merge_moments(*a, *b) for a, b in pairs]
        return self

    def is_finite(self) -> bool:
        return all(m.isfinite().all() and m2.isfinite().all() for _, m, m2 in self.parts)

    def packed(self) -> Tensors:
        """The tensors of an archive's layer."""
        tensors: Tensors = {}
        for g, (count, mean, m2) in enumerate(self.parts):
            tensors |= {f"count.{g}": count, f"moment1.{g}": mean, f"moment2.{g}": m2}
        return tensors

    @classmethod
    def unpacked(cls, tensors: Tensors, groups: int, size: int) -> Moments | None:
        """From such tensors, of blocks of ``size`` values; None where they have no moments."""
        if "count.0" not in tensors:
            return None
        parts = []
        for g in range(groups):
            mean = typed(tensors, f"moment1.{g}", torch.float64, 1)
            m2 = typed(tensors, f"moment2.{g}", torch.float64, 2)
            require(mean.shape == (size,) and m2.shape == (size, size), "its moments")
            parts.append((typed(tensors, f"count.{g}", torch.int64, 0), mean, m2))
        return cls(parts)
