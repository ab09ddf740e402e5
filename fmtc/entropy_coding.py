"""Tables of the entropy coder, from calibration counts (METHOD section 4)."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field

import torch

from . import ops
from .presets import MAX_LEVELS

# A level never seen in calibration counts as 1/SMOOTHING of an occurrence, so it stays codable.
SMOOTHING = 64
# Longest Huffman code, and its least headroom over a fixed-length code: rare levels at the longest
# length take levels / 2^length of the code space, 2^-HEADROOM at most where the limit allows it.
MAX_LENGTH = 15
HEADROOM = 6


def smoothed(counts: torch.Tensor) -> torch.Tensor:
    """Counts i64 [T, L] from which tables are built: every level has a chance."""
    return counts * SMOOTHING + 1


def table_max_length(levels: int) -> int:
    """Length limit of the Huffman codes for an alphabet of this size, 7 to 15 bits."""
    return min(MAX_LENGTH, math.ceil(math.log2(max(levels, 2))) + HEADROOM)


@dataclass
class Tables:
    """Huffman tables of a layer.

    counts: i64 [T, L] calibration histogram of each table over the levels lo .. lo+L-1.
    table_of: i64 [K], the table of each component. The rest is derived.
    """

    lo: int
    counts: torch.Tensor
    table_of: torch.Tensor
    lengths: torch.Tensor = field(init=False)
    encode_table: torch.Tensor = field(init=False)
    decode_table: torch.Tensor = field(init=False)
    table_id: int = field(init=False)

    def __post_init__(self):
        levels = self.counts.shape[1]
        if not 1 <= levels <= MAX_LEVELS:
            raise ValueError(f"{levels} levels do not fit a table; at most {MAX_LEVELS}")
        self.lengths = ops.huffman_lengths(smoothed(self.counts), table_max_length(levels))
        self.encode_table, self.decode_table = ops.huffman_tables(self.lengths)
        parts = (self.table_of.to(torch.int64), self.lengths)
        self.table_id = zlib.crc32(self.lo.to_bytes(4, "little", signed=True))
        for part in parts:
            self.table_id = zlib.crc32(part.cpu().numpy().tobytes(), self.table_id)

    @property
    def hi(self) -> int:
        return self.lo + self.counts.shape[1] - 1

    def cross_entropy_bits(self) -> torch.Tensor:
        """-log2 of the probability that the tables give each level, f64 [T, L]."""
        p = smoothed(self.counts).double()
        return -(p / p.sum(1, keepdim=True)).log2()


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


MAX_CUTS = 32


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
    best = [(cost[0][j], []) for j in range(bins + 1)]
    for _ in range(min(classes, bins) - 1):
        best = [
            min([best[j], *((best[i][0] + cost[i][j], [*best[i][1], i]) for i in range(1, j))])
            for j in range(bins + 1)
        ]
    return best[bins][1]
