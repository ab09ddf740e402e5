"""How few eigenvalues hold how much of the energy, and what levels a layer has: shapes to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

MOST_BINS = 64
OUTSIDE = 1e-3  # share of the symbols that a histogram to draw may leave out at each end


def eigenvalues_needed(eigenvalues: torch.Tensor, energies: Sequence[float]) -> list[float]:
    """For each share of the energy, the share of the eigenvalues that hold it, the largest first.

    eigenvalues: [n] of a covariance, on any scale and in any order; those below 0 are rounding.
    energies: shares of their sum, 0...1. Between two eigenvalues the share is interpolated.
    """
    falling = eigenvalues.double().sort(descending=True).values.clamp(min=0)
    energy = torch.cat([falling.new_zeros(1), falling.cumsum(0)])
    energy = energy / energy[-1].clamp(min=torch.finfo(energy.dtype).tiny)
    wanted = torch.tensor(list(energies), dtype=torch.float64)
    last = torch.searchsorted(energy, wanted * (1 - 1e-12)).clamp(1, len(falling))
    below, above = energy[last - 1], energy[last]
    inside = ((wanted - below) / (above - below).clamp(min=1e-300)).clamp(0, 1)
    return ((last - 1 + inside) / len(falling)).tolist()


def drawn_histogram(counts: torch.Tensor, lowest: int) -> dict[str, Any]:
    """Counts [L] of the symbols lowest, lowest + 1, ... as bins to draw: first, width and counts.

    At most MOST_BINS bins of `width` symbols, the first from `first` on; what is left out at the
    ends is OUTSIDE of all at each.
    """
    seen = counts.cumsum(0)
    total = int(seen[-1]) if len(seen) else 0
    if not total:
        return {"first": lowest, "width": 1, "counts": []}
    first = int((seen <= OUTSIDE * total).sum())
    last = int((seen < (1 - OUTSIDE) * total).sum())
    width = -(-(last - first + 1) // MOST_BINS)
    shown = counts[first : last + 1]
    bins = torch.nn.functional.pad(shown, (0, -len(shown) % width)).reshape(-1, width).sum(1)
    return {"first": lowest + first, "width": width, "counts": bins.tolist()}
