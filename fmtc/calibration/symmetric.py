"""Symmetric matrices, of which half is calculated and held."""

from __future__ import annotations

import torch

ROWS = 128  # of a strip


class Symmetric:
    """Matrices [G, n, n] in strips of rows, each from its first element on the diagonal."""

    def __init__(
        self,
        groups: int,
        size: int,
        dtype: torch.dtype = torch.float64,
        device: torch.device | None = None,
    ):
        self.size = size
        self._strips = [
            torch.zeros(groups, min(ROWS, size - row), size - row, dtype=dtype, device=device)
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
        first = self._strips[0]
        matrices = first.new_empty(first.shape[0], self.size, self.size)
        for row, strip in zip(range(0, self.size, ROWS), self._strips, strict=True):
            matrices[:, row : row + ROWS, row:] = strip
            matrices[:, row:, row : row + ROWS] = strip.mT
        return matrices
