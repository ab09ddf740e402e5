"""From levels to what the entropy coder codes, and back without loss: prediction and splitting.

Each level is predicted from its neighbours on the left, above and above left, and from what lies
around it in the first components (the sources), linearly and with coefficients of its component's
own; what is coded is the difference. Where differences are wide, their low bits are as good as
random: they become a plane of their own, so that no table needs more than a few hundred symbols.
"""

from __future__ import annotations

import torch

from .. import ops
from .archive import Tensors, require, typed, within
from .exact import Exact

UNIT = 4096  # a coefficient of 1
MOST = 4 * UNIT  # largest absolute coefficient of a component's own neighbours
OWN, WINDOW = 3, 9  # coefficients of these, and of each source
MAX_SOURCES = 16
# Root mean square from which on bits are split off: what is left is at most this wide, so that the
# 255 levels that a rANS table codes directly reach 8 times as far to each side.
WIDEST = 16
MAX_SHIFT = 8


class SymbolMap(Exact):
    """coefficients: i16 [K, OWN + WINDOW*M], as ``ops.predict`` takes them; shifts: i64 [K].

    M, the number of sources, is 0 to MAX_SOURCES. A coefficient of UNIT is 1.

    A component with shift s > 0 has two planes of symbols: difference >> s in its place, and the s
    low bits behind those of all components.
    """

    coefficients: torch.Tensor
    shifts: torch.Tensor
    split: torch.Tensor  # the components that are split, i64

    def __init__(self, coefficients: torch.Tensor, shifts: torch.Tensor):
        super().__init__()
        self.hold("coefficients", coefficients)
        self.hold("shifts", shifts)
        self.hold("split", shifts.nonzero()[:, 0])
        self.splits = len(self.split)
        self.predicts = bool(coefficients.any())

    @classmethod
    def identity(cls, components: int) -> SymbolMap:
        """Codes the levels as they are."""
        return cls(
            torch.zeros(components, 3, dtype=torch.int16),
            torch.zeros(components, dtype=torch.int64),
        )

    @property
    def planes(self) -> int:
        return len(self.shifts) + self.splits

    def plane_shifts(self) -> torch.Tensor:
        """For each plane, 0 or the number of low bits that it holds, i64 [planes]."""
        return torch.cat([torch.zeros_like(self.shifts), self.shifts[self.split]])

    def symbols(self, levels: torch.Tensor) -> torch.Tensor:
        """Levels int16 [N, K, H, W] -> symbols int16 [N, planes, H, W]."""
        residuals = ops.predict(levels, self.coefficients) if self.predicts else levels
        if not self.splits:
            return residuals
        shift = self._shifts(levels)
        wide = residuals[:, self.split]
        high, low = wide >> shift, wide & ((1 << shift) - 1)
        return torch.cat([residuals.index_copy(1, self.split, high), low], 1)

    def levels(self, symbols: torch.Tensor) -> torch.Tensor:
        """The inverse of ``symbols``."""
        residuals = symbols[:, : len(self.shifts)]
        if self.splits:
            low = symbols[:, len(self.shifts) :]
            wide = (residuals[:, self.split] << self._shifts(symbols)) | low
            residuals = residuals.index_copy(1, self.split, wide)
        if self.predicts:
            return ops.unpredict(residuals, self.coefficients)
        return residuals.contiguous()

    def _shifts(self, like: torch.Tensor) -> torch.Tensor:
        return self.shifts[self.split].to(like.dtype)[:, None, None]

    def packed(self) -> Tensors:
        """The tensors of an archive's layer."""
        return {"coefficients": self.coefficients, "shifts": self.shifts}

    @classmethod
    def unpacked(cls, tensors: Tensors, components: int) -> SymbolMap:
        """From such tensors. ValueError where they do not fit so many components."""
        shifts = typed(tensors, "shifts", torch.int64, 1)
        coefficients = typed(tensors, "coefficients", torch.int16, 2)
        require(shifts.shape == (components,) and within(shifts, 0, 15), "its shifts")
        sources, rest = divmod(coefficients.shape[1] - OWN, WINDOW)
        most = max(min(components - 1, MAX_SOURCES), 0)
        fits = 0 <= sources <= most and not rest and len(coefficients) == components
        require(fits and within(coefficients[:, :OWN], -MOST, MOST), "its coefficients")
        return cls(coefficients, shifts)


def rms_symbols(counts: torch.Tensor, lo: int) -> torch.Tensor:
    """Root mean square of symbols by their histograms i64 [K, L] over lo .. lo+L-1, f64 [K]."""
    symbols = torch.arange(lo, lo + counts.shape[1], dtype=torch.float64, device=counts.device)
    return ((counts.double() @ symbols.square()) / counts.sum(1).clamp(min=1)).sqrt()
