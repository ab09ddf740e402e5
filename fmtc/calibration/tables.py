"""A coder's tables from the levels of calibration (docs/method.md, "Entropy coding")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .. import ops
from ..codec.classes import plane_classes
from ..codec.coders import Coder, coders
from ..codec.positions import PositionClasses
from ..codec.prediction import SymbolMap
from ..codec.quantizer import MAX_LEVELS, Quantizer
from ..presets import Preset
from .prediction import fit_prediction

# What classes of positions add to a stream's header: their number, and how many positions each has.
POSITION_HEADER_BITS = 8 * 8


@dataclass(frozen=True)
class Coded:
    """How the symbols of a layer are coded.

    class_of: i64, the class of each segment. histogram: i64 [classes, L] of the calibration
    symbols. These and the coder are on the CPU, the others where the levels are.
    """

    symbol_map: SymbolMap
    coder: Coder
    class_of: torch.Tensor
    histogram: torch.Tensor
    positions: PositionClasses | None

    def bits(self) -> float:
        """Of all calibration symbols at the entropy of their classes."""
        return float((ops.entropy(self.histogram) * self.histogram.sum(1)).sum())


def fit_coder(levels: list[torch.Tensor], quantizer: Quantizer, preset: Preset) -> Coded:
    """The coder of levels int16 [N, K, H', W'], as the preset wants it and the coder can do.

    Of levels on a device only counts go to the CPU, where classes and tables are found.
    """
    kind = coders[preset.coder]
    if preset.predict and kind.predicted:
        symbol_map = fit_prediction(levels, preset.sources)
    else:
        symbol_map = SymbolMap.identity(levels[0].shape[1]).to(levels[0].device)
    symbols = [symbol_map.symbols(part) for part in levels]
    lo, hi = quantizer.lo, quantizer.hi
    if kind.escapes:
        lo = max(lo, min(int(part.min()) for part in symbols), -MAX_LEVELS // 2)
        hi = min(hi, max(int(part.max()) for part in symbols), MAX_LEVELS // 2 - 1)
        lo, hi = min(lo, hi), max(lo, hi)
    shifts = symbol_map.plane_shifts().cpu()
    kinds = quantizer.kinds(len(shifts))
    each = torch.arange(len(shifts), device=levels[0].device)
    within = (part.clamp(lo, hi) for part in symbols)
    counts = _total(ops.histogram(part, lo, hi, each, len(shifts)) for part in within)
    class_of = plane_classes(counts, lo, torch.maximum(shifts, kinds), preset.classes)
    coded = _Segments(lo, class_of, _sum_by(class_of, counts))
    if preset.position_classes > 1 and kind.classes:
        by_position = _by_position(symbols, counts, lo, hi, shifts, preset)
        header = POSITION_HEADER_BITS * sum(len(part) for part in symbols)
        coded = min(coded, by_position, key=lambda c: c.bits(header))
    table_of, counts = coded.class_of, coded.histogram
    of_segments = quantizer.kinds(len(table_of))
    kind_of_class = torch.zeros(len(counts), dtype=torch.int64).scatter(0, table_of, of_segments)
    if not (preset.table_per_class and kind.tables):  # one for each kind of planes
        table_of, counts = of_segments, _sum_by(kind_of_class, counts)
        kind_of_class = torch.arange(len(counts))
    more: dict[str, Any] = {}
    alphabets = quantizer.alphabets()
    if alphabets is not None and kind.alphabets:
        more = {"alphabets": alphabets[kind_of_class]}
    number = coded.positions.count if coded.positions else 1
    coder = kind(coded.lo, counts, table_of, number, preset.lane_values, **more)
    return Coded(symbol_map, coder, coded.class_of, coded.histogram, coded.positions)


def _by_position(
    symbols: list[torch.Tensor],
    counts: torch.Tensor,
    lo: int,
    hi: int,
    shifts: torch.Tensor,
    preset: Preset,
) -> _Segments:
    """With classes of positions; lo, hi, counts: of the planes."""
    magnitudes = torch.arange(lo, hi + 1).abs()
    scales = (counts * magnitudes).sum(1).double() / counts.sum(1).clamp(min=1)
    scales[shifts > 0] = torch.inf  # low bits
    classes = preset.position_classes
    found = PositionClasses.fit(symbols, scales, classes)
    lo, hi = min(lo, 1 - classes), max(hi, classes - 1)  # the map has its place in the tables
    each = torch.arange(found.segments, device=symbols[0].device)
    counts = _total(
        found.histogram(part, found.of(part), lo, hi, each, found.segments) for part in symbols
    )
    of_planes = plane_classes(counts[1:], lo, shifts.repeat_interleave(classes), preset.classes)
    class_of = torch.cat([of_planes.max()[None] + 1, of_planes])  # the map's is its own
    return _Segments(lo, class_of, _sum_by(class_of, counts), found)


@dataclass(frozen=True)
class _Segments:
    """The class of each segment of a stream, and the histograms of classes from level ``lo`` on."""

    lo: int
    class_of: torch.Tensor
    histogram: torch.Tensor
    positions: PositionClasses | None = None

    def bits(self, header: int) -> float:
        """Of all symbols at their entropy, and of a larger header with classes of positions."""
        bits = float((ops.entropy(self.histogram) * self.histogram.sum(1)).sum())
        return bits + (header if self.positions else 0)


def _sum_by(class_of: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Histograms i64 [classes, L] of those [segments, L] whose classes are given."""
    histogram = torch.zeros(int(class_of.max()) + 1, counts.shape[1], dtype=torch.int64)
    return histogram.index_add_(0, class_of, counts)


def _total(parts) -> torch.Tensor:
    """The sum of histograms, on the CPU."""
    return torch.stack(list(parts)).sum(0).cpu()
