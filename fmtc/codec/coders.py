"""Tables of the entropy coder, from calibration counts (METHOD section 4)."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field

import torch

from .. import ops
from ..presets import MAX_LEVELS, check_lane_values
from .prediction import rms_symbols

# "fixed": the same number of bits for every level. "ebpc" and "dct-cm": docs/stream_format.md.
CODERS = ("huffman", "rans", "fixed", "ebpc", "dct-cm")
WITH_TABLES = ("huffman", "rans")  # these can have several
# Slots of a rANS table, as a power of two. 11 would halve the decode tables and cost 0.2% more rate
# at 1.6 bits/value, 0.5% at 4.6 (docs/measurements.md).
RANS_LOG2_TOTAL = 12
ESCAPED_BITS = 16  # of an escaped level, besides the escape symbol
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
    """Tables of a layer for one of the CODERS.

    counts: i64 [T, L] calibration histogram of each table over the levels lo .. lo+L-1.
    table_of: i64 [segments], the table of each component; with several classes of positions, of the
    map and of each class of each component.
    lane_values: as in a ``Preset``; it is the encoder's choice alone. The rest is derived.
    lengths: u8 [T, L] Huffman code lengths, also where the coder is another one.
    frequencies: i32 [T, L + 1] of ``ops.rans_frequencies``, None for other coders.
    encode_table, decode_table: of the coder, None where it has none.
    table_id: 0..65535, from all that decides how a stream is decoded.
    Raises ValueError for an unknown coder, too many levels or wrong lane_values.
    """

    lo: int
    counts: torch.Tensor
    table_of: torch.Tensor
    coder: str = "huffman"
    position_classes: int = 1
    lane_values: int = 0
    lengths: torch.Tensor = field(init=False)
    frequencies: torch.Tensor | None = field(init=False, default=None)
    encode_table: torch.Tensor | None = field(init=False, default=None)
    decode_table: torch.Tensor | None = field(init=False, default=None)
    base: torch.Tensor | None = field(init=False, default=None)
    table_id: int = field(init=False)

    def __post_init__(self):
        levels = self.counts.shape[1]
        if self.coder not in CODERS:
            raise ValueError(f"unknown coder '{self.coder}'; known: {', '.join(CODERS)}")
        if not 1 <= levels <= MAX_LEVELS:
            raise ValueError(f"{levels} levels do not fit a table; at most {MAX_LEVELS}")
        check_lane_values(self.lane_values)
        counts = smoothed(self.counts)
        self.lengths = ops.huffman_lengths(counts, table_max_length(levels))
        if self.coder == "rans":
            self.frequencies = ops.rans_frequencies(counts, RANS_LOG2_TOTAL)
            tables = ops.rans_tables(self.frequencies)
            self.encode_table, self.decode_table, self.base = tables
        elif self.coder == "huffman":
            self.encode_table, self.decode_table = ops.huffman_tables(self.lengths)
        elif self.coder == "fixed":  # a Huffman code whose lengths are all the same
            bits = self.word_bits
            equal = torch.full((len(self.counts), 2**bits), bits, dtype=torch.uint8)
            self.encode_table, self.decode_table = ops.huffman_tables(equal)
        self.table_id = self._identifier()

    def _identifier(self) -> int:
        codes = self.lengths if self.frequencies is None else self.frequencies
        checksum = zlib.crc32(self.coder.encode() + self.lo.to_bytes(4, "little", signed=True))
        for part in (self.table_of.to(torch.int64), codes):
            checksum = zlib.crc32(part.cpu().numpy().tobytes(), checksum)
        return checksum & 0xFFFF

    @property
    def components(self) -> int:
        segments = len(self.table_of)
        return segments if self.position_classes == 1 else (segments - 1) // self.position_classes

    @property
    def word_bits(self) -> int:
        """Bits of a number for each level."""
        return max(1, (self.counts.shape[1] - 1).bit_length())

    @property
    def hi(self) -> int:
        return self.lo + self.counts.shape[1] - 1

    def encode(
        self,
        levels: torch.Tensor,
        crop: tuple[int, int] = (0, 0),
        classes: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One stream for each image of levels int16 [N, K, H, W].

        crop: rows and columns of block padding, kept in the header. classes: u8 of the positions
        (``PositionClasses.of``), where there are several; rANS only. Returns bytes u8 [N, bound]
        and used sizes i64 [N]. Raises RuntimeError for a level outside the tables; rANS escapes it.
        """
        coded_by = {"rans": ops.rans_encode, "ebpc": ops.ebpc_encode, "dct-cm": ops.dct_cm_encode}
        encode = coded_by.get(self.coder, ops.huffman_encode)
        how = (self.word_bits,) if self.encode_table is None else (self.table_of, self.encode_table)
        by_class = (classes,) if self.coder == "rans" else ()
        return encode(levels, self.lo, *how, self.table_id, *crop, *by_class, self.lane_values)

    def decode(
        self, data: torch.Tensor, used: torch.Tensor, height: int, width: int
    ) -> torch.Tensor:
        """Levels int16 [N, K, height, width] of such streams. Raises StreamError for damage."""
        levels, status = self.decode_unchecked(data, used, height, width)
        ops.check_status(status)
        return levels

    def decode_unchecked(
        self, data: torch.Tensor, used: torch.Tensor, height: int, width: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The same, and status i32 [N] (``ops.check_status``): damage does not raise."""
        shape = self.components, height, width
        coded_by = {"rans": ops.rans_decode, "ebpc": ops.ebpc_decode, "dct-cm": ops.dct_cm_decode}
        decode = coded_by.get(self.coder, ops.huffman_decode)
        how = (self.word_bits,) if self.decode_table is None else (self.table_of, self.decode_table)
        base = () if self.base is None else (self.base,)
        return decode(data, used, self.lo, *how, *base, self.table_id, *shape)

    def cross_entropy_bits(self) -> torch.Tensor:
        """Ideal code length of each level under the tables in use, f64 [T, L].

        Of its share of the smoothed counts, -log2, from which a Huffman code is made. rANS: -log2
        of its share of the slots; of an escaped level, that of the escape and 16 bits.
        """
        if self.frequencies is None:
            p = smoothed(self.counts).double()
            return -(p / p.sum(1, keepdim=True)).log2()
        p = self.frequencies.double() / 2**RANS_LOG2_TOTAL
        bits = -p.log2()
        return torch.where(p[:, :-1] > 0, bits[:, :-1], bits[:, -1:] + ESCAPED_BITS)


def plane_classes(
    counts: torch.Tensor, lo: int, shifts: torch.Tensor, classes: int
) -> torch.Tensor:
    """Class of each plane of symbols: by scale, planes of low bits by how many they hold.

    counts: i64 [planes, L] over the symbols lo .. lo+L-1. shifts: i64 [planes], 0 or the number of
    low bits (``SymbolMap.plane_shifts``). classes: of the other planes. Returns i64 [planes].
    """
    class_of = torch.empty_like(shifts)
    whole = shifts == 0
    scales = rms_symbols(counts[whole], lo)
    class_of[whole] = scale_classes(counts[whole], scales, classes)
    for shift in shifts[~whole].unique():
        class_of[shifts == shift] = class_of[whole | (shifts < shift)].max() + 1
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
