"""Symmetric matrices, of which half is calculated and held."""

from __future__ import annotations

import torch

ROWS = 128  # of a strip


class Symmetric:
    """Matrices [G, n, n] in strips of rows, each from its first element on the diagonal."""

    def __init__(self, groups: int, size: int, dtype: torch.dtype = torch.float64):
        self.size = size
        self._strips = [
            torch.zeros(groups, min(ROWS, size - row), size - row, dtype=dtype)
            for row in range(0, size, ROWS)
        ]

    @classmethod
    def of(cls, matrices: torch.Tensor) -> Symmetric:
        """Of symmetric matrices [G, n, n]."""
        made = cls(0, 0)
        made.size = matrices.shape[1]
        starts = range(0, made.size, ROWS)
        made._strips = [matrices[:, row : row + ROWS, row:].clone() for row in starts]
        return made

    def add_products(self, x: torch.Tensor) -> None:
        """Add x xᵀ of [G, n, P], in the type of the matrices."""
        for row, strip in zip(range(0, self.size, ROWS), self._strips, strict=True):
            strip.baddbmm_(x[:, row : row + ROWS], x[:, row:].mT)

    def whole(self) -> torch.Tensor:
        """The matrices [G, n, n], new."""
        groups, dtype = self._strips[0].shape[0], self._strips[0].dtype
        matrices = torch.empty(groups, self.size, self.size, dtype=dtype)
        for row, strip in zip(range(0, self.size, ROWS), self._strips, strict=True):
            matrices[:, row : row + ROWS, row:] = strip
            matrices[:, row:, row : row + ROWS] = strip.mT
        return matrices
