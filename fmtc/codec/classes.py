"""Classes of components of similar scale, which share a table.

docs/method.md, "Entropy coding".
"""

from __future__ import annotations

import torch

from .. import ops
from .prediction import rms_symbols

MAX_CUTS = 32  # where sorted components may be cut


def plane_classes(counts: torch.Tensor, lo: int, kinds: torch.Tensor, classes: int) -> torch.Tensor:
    """Class of each plane of symbols: by scale, but each kind that is not 0 is a class.

    counts: i64 [planes, L] over the symbols lo .. lo+L-1. kinds: i64 [planes], 0, or how many low
    bits a plane holds (``SymbolMap.plane_shifts``), or what else (``Quantizer.kinds``). classes: of
    the planes of kind 0. Returns i64 [planes].
    """
    class_of = torch.empty_like(kinds)
    whole = kinds == 0
    scales = rms_symbols(counts[whole], lo)
    class_of[whole] = scale_classes(counts[whole], scales, classes)
    for kind in kinds[~whole].unique():
        class_of[kinds == kind] = class_of[whole | (kinds < kind)].max() + 1
    return class_of


def scale_classes(histograms: torch.Tensor, scales: torch.Tensor, classes: int) -> torch.Tensor:
    """Partition components into at most ``classes`` classes of similar scale.

    histograms: i64 [K, L] levels of each component; scales: f64 [K]. Components sorted by scale are
    cut where the total of the classes' entropies is smallest (dynamic programming over at most
    MAX_CUTS possible cuts). Returns the class of each component, i64 [K].
    """
    order = scales.argsort(descending=True, stable=True)
    bins = _even_bins(len(order), MAX_CUTS)
    sums = torch.zeros(len(bins), histograms.shape[1], dtype=torch.int64)
    sums.index_add_(0, torch.repeat_interleave(torch.tensor(bins)), histograms[order])
    cumulative = torch.cat([torch.zeros_like(sums[:1]), sums.cumsum(0)])
    cuts = _best_cuts(_interval_bits(cumulative), classes)
    class_of_bin = torch.zeros(len(bins), dtype=torch.int64)
    for cut in cuts:
        class_of_bin[cut:] += 1
    class_of = torch.empty(len(order), dtype=torch.int64)
    class_of[order] = class_of_bin.repeat_interleave(torch.tensor(bins))
    return class_of


def _even_bins(items: int, most: int) -> list[int]:
    """Sizes of at most ``most`` nearly equal bins."""
    bins = min(items, most)
    return [items * (i + 1) // bins - items * i // bins for i in range(bins)]


def _interval_bits(cumulative: torch.Tensor) -> list[list[float]]:
    """cost[i][j]: bits of bins i..j-1 under one histogram; cumulative i64 [B+1, L]."""
    bins = len(cumulative) - 1
    cost = [[0.0] * (bins + 1) for _ in range(bins + 1)]
    for i in range(bins):
        counts = cumulative[i + 1 :] - cumulative[i]
        bits = ops.entropy(counts) * counts.sum(1)
        cost[i][i + 1 :] = bits.tolist()
    return cost


def _best_cuts(cost: list[list[float]], classes: int) -> list[int]:
    """Positions that cut the bins into at most ``classes`` intervals of least total cost."""
    bins = len(cost) - 1
    best: list[tuple[float, list[int]]] = [(cost[0][j], []) for j in range(bins + 1)]
    for _ in range(min(classes, bins) - 1):
        best = [
            min([best[j], *((best[i][0] + cost[i][j], [*best[i][1], i]) for i in range(1, j))])
            for j in range(bins + 1)
        ]
    return best[bins][1]
