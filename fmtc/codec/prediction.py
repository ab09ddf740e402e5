"""From levels to what the entropy coder codes, and back without loss: prediction and splitting.

Each level is predicted from its neighbours on the left, above and above left, linearly and with
coefficients of its component's own; what is coded is the difference. Where differences are wide,
their low bits are as good as random: they become a plane of their own, so that no table needs more
than a few hundred symbols.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .. import ops
from .archive import Tensors, require, typed, within
from .exact import Exact

UNIT = 64  # a coefficient of 1
MOST = 256  # largest absolute coefficient
# Root mean square from which on bits are split off: what is left is at most this wide, so that the
# 255 levels that a rANS table codes directly reach 8 times as far to each side.
WIDEST = 16
MAX_SHIFT = 8


class SymbolMap(Exact):
    """coefficients: i16 [K, 3] in 1/UNIT for left, above and above left; shifts: i64 [K].

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
        require(coefficients.shape == (components, 3), "its coefficients")
        require(within(coefficients, -MOST, MOST), "its coefficients")
        return cls(coefficients, shifts)

    @classmethod
    def fit(cls, levels: list[torch.Tensor]) -> SymbolMap:
        """Least squares over levels int16 [N, K, H, W]; no prediction where it does not pay."""
        plain = cls.identity(levels[0].shape[1])
        fitted = cls(_least_squares(levels), plain.shifts)
        bits, scales = fitted._measure(levels)
        plain_bits, plain_scales = plain._measure(levels)
        pays = bits < plain_bits
        shifts = (torch.where(pays, scales, plain_scales) / WIDEST).log2().ceil()
        return cls(fitted.coefficients * pays[:, None], shifts.clamp(0, MAX_SHIFT).to(torch.int64))

    def _measure(self, levels: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Entropy in bits and root mean square of each component's symbols, f64 [K]."""
        symbols = [self.symbols(part) for part in levels]
        low = min(int(part.min()) for part in symbols)
        high = max(int(part.max()) for part in symbols)
        each = torch.arange(self.planes)
        counts = torch.zeros(self.planes, high - low + 1, dtype=torch.int64)
        for part in symbols:
            counts += ops.histogram(part, low, high, each, self.planes)
        return ops.entropy(counts) * counts.sum(1), rms_symbols(counts, low)


def rms_symbols(counts: torch.Tensor, lo: int) -> torch.Tensor:
    """Root mean square of symbols by their histograms i64 [K, L] over lo .. lo+L-1, f64 [K]."""
    symbols = torch.arange(lo, lo + counts.shape[1], dtype=torch.float64)
    return ((counts.double() @ symbols.square()) / counts.sum(1).clamp(min=1)).sqrt()


def _least_squares(levels: list[torch.Tensor]) -> torch.Tensor:
    """Coefficients i16 [K, 3] of the prediction with the least square error."""
    components = levels[0].shape[1]
    gram = torch.zeros(components, 3, 3, dtype=torch.float64)
    cross = torch.zeros(components, 3, 1, dtype=torch.float64)
    for part in levels:
        neighbours, target = _neighbours(part)
        gram += (neighbours.transpose(1, 2) @ neighbours).double()
        cross += (neighbours.transpose(1, 2) @ target[:, :, None]).double()
    # Keeps images of one row, one column or one value solvable.
    gram += (1 + 1e-6 * gram.amax((1, 2), keepdim=True)) * torch.eye(3, dtype=torch.float64)
    exact = torch.linalg.solve(gram, cross)[..., 0]
    return (exact * UNIT).round().clamp(-MOST, MOST).to(torch.int16)


def _neighbours(levels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Left, above and above left of every level, f32 [K, N*H*W, 3], and the levels [K, N*H*W]."""
    padded = F.pad(levels.float(), (1, 0, 1, 0)).transpose(0, 1)
    around = (padded[..., 1:, :-1], padded[..., :-1, 1:], padded[..., :-1, :-1])
    stacked = torch.stack([part.flatten(1) for part in around], -1)
    return stacked, padded[..., 1:, 1:].flatten(1)
