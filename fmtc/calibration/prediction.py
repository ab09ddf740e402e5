"""What predicts levels: least squares over those of calibration, where that pays.

docs/method.md, "Prediction and classes of positions".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .. import ops
from ..codec.prediction import (
    MAX_SHIFT,
    MOST,
    OWN,
    UNIT,
    WIDEST,
    WINDOW,
    SymbolMap,
    rms_symbols,
)
from .sample import sampled

# Where a component's own neighbours lie, and what lies around a position of a source.
OWN_NEIGHBOURS = [(0, -1), (-1, 0), (-1, -1)]
AROUND = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
VALUES = 1 << 22  # levels, of whole images, that are looked at, at most
SAMPLES = 1 << 15  # positions, of which coefficients of sources are found, at most
TOGETHER = 32  # components whose neighbours are held at a time
# Bits a value that a source must save: it takes nine multiplications.
LEAST_SAVED = 0.0025
FEWEST_SOURCES = 4  # of which a component is predicted; then twice as many, up to all


def fit_prediction(levels: list[torch.Tensor], sources: int) -> SymbolMap:
    """The prediction of levels int16 [N, K, H, W] that codes them shortest.

    Each component has none, one of its own neighbours, or one of them and of some of the first
    ``sources`` components.
    """
    levels = sampled(levels, VALUES)
    components, device = levels[0].shape[1], levels[0].device
    values = sum(part[:, 0].numel() for part in levels)
    best = _Best.of(SymbolMap.identity(components).to(device), levels)
    free = torch.zeros(components, device=device)
    best = best.or_else(_predicting(_own_neighbours(levels)), levels, free)
    wide = (best.bits > FEWEST_SOURCES * LEAST_SAVED * values).nonzero()[:, 0]
    wide = wide[wide > 0]  # the first has no source
    sources = min(sources, components - 1)
    some = min(FEWEST_SOURCES, sources)
    products = _Products.of_levels(levels, sources, wide) if some and len(wide) else None
    while products is not None and some <= sources:
        before = torch.arange(components, device=device).clamp(max=some)
        # What so many coefficients save by chance (Schwarz 1978), and what they must save besides.
        price = before * (WINDOW / 2 * math.log2(values) + LEAST_SAVED * values)
        best = best.or_else(_predicting(products.coefficients(some, components)), levels, price)
        some *= 2
    shifts = (best.scales / WIDEST).log2().ceil().clamp(0, MAX_SHIFT)
    return SymbolMap(best.coefficients, shifts.to(torch.int64))


@dataclass(frozen=True)
class _Best:
    """Of each component the coefficients that code it shortest so far, i16 [K, n]; what they take.

    bits: f64 [K], of all its symbols, and what was asked for having them. scales: f64 [K], root
    mean squares of these.
    """

    coefficients: torch.Tensor
    bits: torch.Tensor
    scales: torch.Tensor

    @classmethod
    def of(cls, symbol_map: SymbolMap, levels: list[torch.Tensor]) -> _Best:
        return cls(symbol_map.coefficients, *_measure(symbol_map, levels))

    def or_else(
        self, symbol_map: SymbolMap, levels: list[torch.Tensor], price: torch.Tensor
    ) -> _Best:
        """With another map's coefficients where they save more bits than their price, f64 [K]."""
        other = _Best.of(symbol_map, levels)
        pays = other.bits + price < self.bits
        if not pays.any():
            return self
        more = other.coefficients.shape[1] - self.coefficients.shape[1]
        return _Best(
            torch.where(pays[:, None], other.coefficients, F.pad(self.coefficients, (0, more))),
            torch.where(pays, other.bits + price, self.bits),
            torch.where(pays, other.scales, self.scales),
        )


def _predicting(exact: torch.Tensor) -> SymbolMap:
    """With coefficients as near to these, f64 [K, n], as they can be."""
    rounded = (exact * UNIT).round().clamp(-(2**15), 2**15 - 1)
    rounded[:, :OWN] = rounded[:, :OWN].clamp(-MOST, MOST)
    shifts = torch.zeros(len(exact), dtype=torch.int64, device=exact.device)
    return SymbolMap(rounded.to(torch.int16), shifts)


def _measure(
    symbol_map: SymbolMap, levels: list[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Entropy in bits and root mean square of each component's symbols, f64 [K]."""
    symbols = [symbol_map.symbols(part) for part in levels]
    low = min(int(part.min()) for part in symbols)
    high = max(int(part.max()) for part in symbols)
    each = torch.arange(symbol_map.planes, device=levels[0].device)
    counts = each.new_zeros(symbol_map.planes, high - low + 1)
    for part in symbols:
        counts += ops.histogram(part, low, high, each, symbol_map.planes)
    return ops.entropy(counts) * counts.sum(1), rms_symbols(counts, low)


def _own_neighbours(levels: list[torch.Tensor]) -> torch.Tensor:
    """Coefficients f64 [K, OWN] with the least square error."""
    components = levels[0].shape[1]
    device = levels[0].device
    gram = torch.zeros(components, OWN + 1, OWN + 1, dtype=torch.float64, device=device)
    for part in levels:
        padded = F.pad(part.float(), (1, 0, 1, 0)).transpose(0, 1)
        of = padded[..., 1:, :-1], padded[..., :-1, 1:], padded[..., :-1, :-1], padded[..., 1:, 1:]
        neighbours = torch.stack([one.flatten(1) for one in of], -1)
        gram += (neighbours.transpose(1, 2) @ neighbours).double()
    return _solved(gram)


@dataclass(frozen=True)
class _Products:
    """Inner products of what some components may be predicted from, over some positions.

    of: i64 [W], these components. own: f64 [W, OWN + 1, OWN + 1], of their neighbours and, last,
    themselves; between: f64 [W, OWN + 1, WINDOW*M], of these and what lies around the sources;
    around: f64 [WINDOW*M, WINDOW*M].
    """

    of: torch.Tensor
    own: torch.Tensor
    between: torch.Tensor
    around: torch.Tensor

    @classmethod
    def of_levels(cls, levels: list[torch.Tensor], sources: int, of: torch.Tensor) -> _Products:
        """Of at most SAMPLES positions, which are the same in each call."""
        total = sum(part[:, 0].numel() for part in levels)
        generator = torch.Generator().manual_seed(0)
        chosen = torch.randperm(total, generator=generator)[:SAMPLES].sort().values.to(of.device)
        every = torch.arange(sources, device=of.device)
        windows = _around(levels, chosen, AROUND, every).flatten(0, 1)
        own, between = [], []
        for some in of.split(TOGETHER):
            found = _around(levels, chosen, [*OWN_NEIGHBOURS, (0, 0)], some)
            own.append((found @ found.transpose(1, 2)).double())
            between.append((found @ windows.T).double())
        around = windows.double()
        return cls(of, torch.cat(own), torch.cat(between), around @ around.T)

    def coefficients(self, sources: int, components: int) -> torch.Tensor:
        """With the least square error, f64 [components, OWN + WINDOW*sources]; of others 0.

        A component has the sources before it. All that have as many share most of their equations,
        which are solved once: what is left of each are OWN, by the Schur complement.
        """
        exact = self.own.new_zeros(components, OWN + WINDOW * sources)
        sources_of = self.of.clamp(max=sources)
        for count in sources_of.unique().tolist():
            n = WINDOW * count
            alike = sources_of == count
            between = self.between[alike, :, :n]
            shared = _solvable(self.around[:n, :n])
            through = torch.linalg.solve(shared, between.flatten(0, 1).T).T.view_as(between)
            own = _solved(self.own[alike] - between @ through.transpose(1, 2))
            theirs = through[:, OWN] - (own[:, None] @ through[:, :OWN])[:, 0]
            exact[self.of[alike], : OWN + n] = torch.cat([own, theirs], 1)
        return exact


def _around(
    levels: list[torch.Tensor],
    chosen: torch.Tensor,
    places: list[tuple[int, int]],
    components: torch.Tensor,
) -> torch.Tensor:
    """What lies at these places around the chosen positions, f32 [components, places, chosen]."""
    found, begin = [], 0
    for part in levels:
        images, _, height, width = part.shape
        size = images * height * width
        own = chosen[(chosen >= begin) & (chosen < begin + size)] - begin
        begin += size
        image, h, w = own // (height * width), own // width % height, own % width
        padded = F.pad(part[:, components], (1, 1, 1, 1))
        at = [padded[image, :, h + 1 + dy, w + 1 + dx] for dy, dx in places]
        found.append(torch.stack(at).permute(2, 0, 1).float())
    return torch.cat(found, -1)


def _solved(products: torch.Tensor) -> torch.Tensor:
    """Coefficients f64 [..., n] that predict the last of n + 1 variables, of their products."""
    inputs, target = products[..., :-1, :-1], products[..., :-1, -1:]
    return torch.linalg.solve(_solvable(inputs), target)[..., 0]


def _solvable(products: torch.Tensor) -> torch.Tensor:
    """With a little more on the diagonal, for images of one row, one column or one value."""
    room = 1 + 1e-6 * products.amax((-2, -1), keepdim=True)
    return products + room * torch.eye(
        products.shape[-1], dtype=torch.float64, device=products.device
    )
