"""Would other quantisers take fewer bits for the same values? Three beside the uniform one.

At each coding point of a compressed network the transformed values of test images are quantised
anew, on grids of several scales:

- "rate-distortion": uniform, but a level nearer to 0 where its error costs less than its bits save;
- "dependent": two quantisers, the even multiples of a finer step and the odd ones with 0, chosen by
  a state of two bits that the parities of the indices before it drive, as in VVC (Schwarz et al.,
  "Hybrid video coding with trellis-coded quantization", DCC 2019). The Viterbi algorithm looks for
  the indices of a position, component after component;
- "dependent, rate-distortion": both.

An error is in the unit of what it does to the outputs, so that errors add up over the layers. Rates
are entropies of what is coded, predicted as the codec does, in classes of segments as the preset
makes them, and with a table for each of the two quantisers; no stream is made. Each row's rate is
compared with the uniform quantiser's at the same error, between its scales.

    python -m experiments.other_quantizers --model mobilenet_v2 --weights FILE --data FOLDER \
        --images 8 --steps 0.0005 0.0009

--network also lets the network run on levels of "rate-distortion", as errors that lean to one side
need not do to its outputs what noise does, and gives the SNR of its outputs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

import fmtc
from fmtc import ops
from fmtc.calibration.prediction import fit_prediction
from fmtc.cli.command import Parser
from fmtc.cli.options import add_eval_options
from fmtc.codec.classes import plane_classes
from fmtc.codec.positions import PositionClasses
from fmtc.model.points import CodedPoint

from .networks import model_and_images

UNIFORM = (0.9, 1.0, 1.06, 1.12, 1.25, 1.4)  # scales of the step
LAMBDAS = (0.06, 0.1155, 0.2)  # of squared steps a bit; 2 ln 2 / 12 is the slope of a fine grid
FINER = (0.55, 0.62)  # scales of the dependent quantisers' step
# Next state of each of four, for an even index and an odd one; states 2 and 3 take the second
# quantiser. Two states lead to each.
NEXT = ((0, 2), (2, 0), (1, 3), (3, 1))
BITS = 32  # magnitudes with a length of their own; beyond them lengths go on as the last two
MOST_CLASSES, POSITION_CLASSES = 8, 4


@dataclass
class Layer:
    """values: f32 [N, K, H, W], in steps. source: the layer whose levels it codes again, if any."""

    values: torch.Tensor
    source: int | None
    channels: int

    @property
    def count(self) -> int:
        """Values of the original tensors."""
        images, _, height, width = self.values.shape
        return images * self.channels * height * width


@dataclass
class Indices:
    """What is coded, and the levels (multiples of the step) it stands for; int16 [N, K, H, W].

    second: whether the second quantiser coded it; None where there is one.
    """

    levels: torch.Tensor
    coded: torch.Tensor
    second: torch.Tensor | None = None


def layers_of(compressed: fmtc.CompressedModel, images: torch.Tensor) -> list[Layer]:
    """The coding points' transformed values, in the order in which they are coded."""
    found: list[Layer] = []
    known: list[torch.Tensor] = []

    def look(point: CodedPoint, args: tuple[torch.Tensor]) -> None:
        planes = point.layout.planes(args[0])
        values = planes if point.forward_folded else point.codec.forward(planes)
        values = values.float() / point.codec.quantizer.step
        levels = values.round().to(torch.int16)
        exact = float((values - levels).square().mean()) < 1e-4  # levels come back behind 1 x 1
        same = (i for i, other in enumerate(known) if torch.equal(other, levels))
        found.append(Layer(values, next(same, None) if exact else None, point.codec.channels))
        known.append(levels)

    points = [module for module in compressed.modules() if isinstance(module, CodedPoint)]
    hooks = [point.register_forward_pre_hook(look) for point in points]
    with torch.no_grad():
        compressed(images)
    for hook in hooks:
        hook.remove()
    return found


def lengths_of(indices: torch.Tensor, where: torch.Tensor | None = None) -> torch.Tensor:
    """Bits of each magnitude below BITS in each component, f64 [K, BITS].

    indices: [N, K, H, W]; those at ``where``, bool, alone.
    """
    components = indices.shape[1]
    of = torch.arange(components)[:, None, None] * BITS + indices.abs().long().clamp(max=BITS - 1)
    of = of.flatten() if where is None else of[where]
    counts = torch.bincount(of, minlength=components * BITS).view(components, BITS).double()
    counts += 0.01 / 2.0 ** torch.arange(BITS).clamp(max=12)  # a chance for each
    bits = -(counts / counts.sum(1, keepdim=True)).log2()
    bits[:, 1:] += 1  # the sign
    return bits.cummax(1).values


def bits_of(lengths: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """Bits of indices [..., K, P], of lengths [K, BITS]."""
    magnitude = indices.abs().long()
    inner = magnitude.clamp(max=BITS - 1)
    slope = (lengths[:, -1] - lengths[:, -2])[:, None]
    expanded = lengths[:, None].expand(*indices.shape, BITS)
    return expanded.gather(-1, inner[..., None])[..., 0] + slope * (magnitude - inner)


def uniform(values: torch.Tensor, weight: float) -> Indices:
    """Nearest levels; with a weight of bits, those of the least error + weight * bits."""
    levels = values.round().to(torch.int16)
    for _ in range(2 if weight else 0):
        levels = cheapest(values, lengths_of(levels), weight)
    return Indices(levels, levels)


def cheapest(values: torch.Tensor, lengths: torch.Tensor, weight: float) -> torch.Tensor:
    """Of the nearest level, that nearer to 0 and 0 itself the one with the least cost."""
    candidates = torch.stack([values.round(), values.trunc(), torch.zeros_like(values)])
    costs = [
        (values - levels).square() + weight * bits_of(lengths, levels.flatten(2)).view_as(levels)
        for levels in candidates
    ]
    best = torch.stack(costs).argmin(0)
    return candidates.gather(0, best[None])[0].to(torch.int16)


def dependent(values: torch.Tensor, weight: float) -> Indices:
    """Indices of the two quantisers, found by the Viterbi algorithm along the components."""
    images, components, height, width = values.shape
    along = values.transpose(0, 1).flatten(1).double()  # [K, positions of all images]
    lengths = torch.zeros(2, components, BITS, dtype=torch.float64)
    coded, second = _trellis(along, lengths, 0.0)
    for _ in range(2 if weight else 0):
        planes, of = (x.view(components, -1, 1)[None] for x in (coded, second))
        lengths = torch.stack([lengths_of(planes, of == bool(q)) for q in (0, 1)])
        coded, second = _trellis(along, lengths, weight)
    levels = (2 * coded - coded.sign() * second).to(torch.int16)
    shape = components, images, height, width
    levels, coded, second = (x.view(shape).transpose(0, 1) for x in (levels, coded, second))
    return Indices(levels.contiguous(), coded.to(torch.int16).contiguous(), second.contiguous())


def _trellis(
    along: torch.Tensor, lengths: torch.Tensor, weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices, and whether the second quantiser has them, i64 and bool [K, P], of values [K, P]."""
    components, positions = along.shape
    cost = torch.full((4, positions), math.inf, dtype=torch.float64)
    cost[0] = 0
    choices = torch.empty(components, 2, 2, positions, dtype=torch.int16)  # quantiser, parity
    before = torch.empty(components, 4, positions, dtype=torch.uint8)
    for k, values in enumerate(along):
        best = torch.full((2, 2, positions), math.inf, dtype=torch.float64)
        for q in (0, 1):
            middle = ((values + values.sign() * q) / 2).round()
            for index in (middle, middle - 1, middle + 1, torch.zeros_like(middle)):
                level = 2 * index - index.sign() * q
                bits = bits_of(lengths[q, k : k + 1], index[None])[0] if weight else 0.0
                total = (values - level).square() + weight * bits
                for parity in (0, 1):
                    better = (index % 2 == parity) & (total < best[q, parity])
                    best[q, parity] = torch.where(better, total, best[q, parity])
                    chosen = torch.where(better, index.short(), choices[k, q, parity])
                    choices[k, q, parity] = chosen
        after = torch.full_like(cost, math.inf)
        for state, parity in itertools.product(range(4), (0, 1)):
            to, total = NEXT[state][parity], cost[state] + best[state // 2, parity]
            better = total < after[to]
            after[to] = torch.where(better, total, after[to])
            before[k, to] = torch.where(
                better, torch.tensor(state, dtype=torch.uint8), before[k, to]
            )
        cost = after
    return _traced(cost.argmin(0), choices, before)


def _traced(
    state: torch.Tensor, choices: torch.Tensor, before: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Back along the best path from its last state."""
    components, positions = len(choices), len(state)
    coded = torch.empty(components, positions, dtype=torch.int64)
    second = torch.empty(components, positions, dtype=torch.bool)
    parity_to = torch.empty(4, 4, dtype=torch.int64)
    for at, parity in itertools.product(range(4), (0, 1)):
        parity_to[at, NEXT[at][parity]] = parity
    everywhere = torch.arange(positions)
    for k in reversed(range(components)):
        previous = before[k].gather(0, state[None])[0].long()
        parity = parity_to[previous, state]
        second[k] = previous >= 2
        coded[k] = choices[k, previous // 2, parity, everywhere].long()
        state = previous
    return coded, second


def bits(indices: Indices) -> float:
    """Of the symbols as they would be coded, at the entropies of their classes."""
    symbol_map = fit_prediction([indices.levels], fmtc.PRESETS["fmtc"].sources)
    residuals = ops.predict(indices.levels, symbol_map.coefficients)
    if indices.second is not None:
        # The prediction as an index: half of it, rounded away from 0.
        predicted = indices.levels.int() - residuals.int()
        halves = predicted.sign() * ((predicted.abs() + 1) // 2)
        residuals = (indices.coded - halves).to(torch.int16)
    plain = _coded_bits(residuals, indices.second, 1)
    return min(plain, _coded_bits(residuals, indices.second, POSITION_CLASSES))


def _coded_bits(symbols: torch.Tensor, second: torch.Tensor | None, classes: int) -> float:
    images, components, height, width = symbols.shape
    segments = torch.arange(components)[:, None, None].expand(symbols.shape)
    extra = 0.0
    if classes > 1:
        scales = symbols.abs().double().mean((0, 2, 3))
        positions = PositionClasses.fit([symbols], scales, classes)
        map_ = positions.of(symbols).long()
        cells = map_.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None, :height, :width]
        segments = segments * classes + cells
        extra = _entropy(map_.view(1, -1)) + 64 * images
    low = int(symbols.min())
    counts = _counts(symbols, segments, components * classes, low)
    class_of = plane_classes(counts, low, torch.zeros(len(counts), dtype=torch.int64), MOST_CLASSES)
    tables = class_of[segments]
    if second is not None:
        tables = 2 * tables + second
    counts = _counts(symbols, tables, int(tables.max()) + 1, low)
    return float((ops.entropy(counts) * counts.sum(1)).sum()) + extra


def _entropy(values: torch.Tensor) -> float:
    counts = torch.bincount(values.flatten())[None]
    return float(ops.entropy(counts)[0] * counts.sum())


def _counts(symbols: torch.Tensor, groups: torch.Tensor, number: int, low: int) -> torch.Tensor:
    width = int(symbols.max()) - low + 1
    flat = (groups * width + (symbols.long() - low)).flatten()
    return torch.bincount(flat, minlength=number * width).view(number, width)


def measure(layers: list[Layer], scale: float, quantizer, weight: float) -> tuple[float, float]:
    """Bits a value, and the squared error in squared steps of scale 1, of all layers together."""
    total, error, made = 0.0, 0.0, {}
    for i, layer in enumerate(layers):
        if layer.source is None:
            scaled = layer.values / scale
            made[i] = quantizer(scaled, weight)
            error += float((scaled - made[i].levels).double().square().sum()) * scale**2
        else:
            made[i] = made[layer.source]  # its levels, on the same path
        total += bits(made[i])
    return total / sum(layer.count for layer in layers), error


def table(layers: list[Layer]) -> Iterable[str]:
    """Lines of Markdown: each quantiser, its rate and error, and what uniform ones take there."""
    curve = [(scale, *measure(layers, scale, uniform, 0.0)) for scale in UNIFORM]
    base = next(error for scale, _, error in curve if scale == 1)

    def decibels(error: float) -> float:
        return 10 * math.log10(error / base)

    points = sorted((decibels(error), rate) for _, rate, error in curve)
    yield "| quantiser | scale | weight | bits | error dB | beside uniform |"
    yield "|---|--:|--:|--:|--:|--:|"
    for scale, rate, error in curve:
        yield f"| uniform | {scale} | | {rate:.4f} | {decibels(error):+.2f} | |"
    tried = [
        *(("rate-distortion", uniform, s, w) for s in (0.9, 1.0) for w in LAMBDAS),
        *(("dependent", dependent, s, 0.0) for s in FINER),
        # In squared steps of the finer grid, which is as fine as a uniform one of 1.7 times its.
        *(("dependent, rate-distortion", dependent, s, w * 3) for s in FINER for w in LAMBDAS[:2]),
    ]
    for name, quantizer, scale, weight in tried:
        rate, error = measure(layers, scale, quantizer, weight)
        there = _between(points, decibels(error))
        told = f"{rate / there - 1:+.1%}" if there else "beyond"
        yield f"| {name} | {scale} | {weight:g} | {rate:.4f} | {decibels(error):+.2f} | {told} |"


def _between(points: list[tuple[float, float]], at: float) -> float | None:
    """The rate of a curve at an error in dB; None beyond its ends."""
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if x0 <= at <= x1:
            return y0 + (y1 - y0) * (at - x0) / (x1 - x0)
    return None


def run_on_rate_distortion(compressed: fmtc.CompressedModel, layers: list[Layer], weight: float):
    """Let the points round as "rate-distortion" does, with the lengths of these layers' levels."""
    points = [module for module in compressed.modules() if isinstance(module, CodedPoint)]
    for point, layer in zip(points, layers, strict=True):
        if layer.source is not None:
            continue
        lengths = lengths_of(uniform(layer.values, weight).levels)

        def quantize(x, point=point, lengths=lengths):
            values = x if point.forward_folded else point.codec.forward(x)
            levels = cheapest(values.float() / point.codec.quantizer.step, lengths, weight)
            return levels, torch.zeros((), dtype=torch.int64)

        point.quantize = quantize  # type: ignore[method-assign]


def main(arguments: list[str] | None = None) -> None:
    args = _parser().parse_args(arguments)
    model, calibration, test = model_and_images(args)
    looked_at = test.tensor()[0][: args.looked_at]
    reference = fmtc.Reference(model, test, batch=args.batch) if args.network else None
    for step in args.steps:
        compressed = fmtc.compress(model, calibration.tensor()[0], target=fmtc.Step(step))
        compressed.mode = "simulate"
        layers = layers_of(compressed, looked_at)
        if reference is None:
            print(f"\nStep {step:g}:\n", *table(layers), sep="\n", flush=True)
            continue
        print("\n| step | levels | bits | SNR dB | KL |\n|--:|---|--:|--:|--:|")
        for weight in (0.0, LAMBDAS[1]):
            if weight:
                run_on_rate_distortion(compressed, layers, weight)
            point = fmtc.evaluate(compressed, test, reference=reference, batch=args.batch)
            rate, name = point["bits_per_value"]["entropy_classes"], "rate-distortion"
            cells = f"{rate:.3f} | {point['snr_db']:.2f} | {point['kl']:.4f}"
            print(f"| {step:g} | {name if weight else 'nearest'} | {cells} |", flush=True)


def _parser() -> Parser:
    parser = add_eval_options(Parser("experiments.other_quantizers", description=__doc__))
    parser.add_argument("--steps", type=float, nargs="+", default=[0.0005], help="of the preset")
    parser.add_argument(
        "--looked-at", type=int, default=8, metavar="N", help="test images quantised anew (8)"
    )
    parser.add_argument("--network", action="store_true", help="run it on rate-distortion levels")
    return parser


if __name__ == "__main__":
    main()
