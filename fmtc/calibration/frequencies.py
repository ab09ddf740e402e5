"""Which frequencies of blocks of positions are coded, and with which steps.

docs/method.md, "Frequencies".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import torch

from ..codec.block import Block
from ..codec.frequencies import FrequencyQuantizer, energies
from ..codec.quantizer import Quantizer

LEAST_BLOCKS = 3  # in a row or column of a tensor, below which there is little left to predict
# Bits a value that steps of their own save in fine quantisation, below which they are not worth it.
LEAST_GAIN = 0.02
LEAST_COST = 0.1  # of a frequency, as a share of their mean: more is not known of it
# Bits that a squared error of one step is worth: where quantisation is fine, half a bit halves an
# error's square, step^2 / 12, which is -d bits / d square = 6 / ln 2.
BITS_OF_SQUARE = 6 / math.log(2)
TRIED_VALUES = 2**20  # of a tensor with which block sizes are compared

Costs = Mapping[int, torch.Tensor]  # of an error of each frequency, f64 [size * size] by size


def block_sizes(costs: Costs, height: int, width: int) -> list[int]:
    """The sizes of blocks that may be worth it for a tensor of this height and width."""
    return [
        size
        for size, of in costs.items()
        if min(height, width) > size * (LEAST_BLOCKS - 1) and gain(of) >= LEAST_GAIN
    ]


def relative(costs: torch.Tensor) -> torch.Tensor:
    """Costs f64 [F] as shares of their mean, which is not below LEAST_COST."""
    return (costs / costs.mean()).clamp(min=LEAST_COST)


def gain(costs: torch.Tensor) -> float:
    """Bits a value that frequencies with such costs save where all of them are coded finely.

    Half the logarithm of their arithmetic mean over their geometric one.
    """
    if not 0 < float(costs.sum()) < math.inf:
        return 0.0  # nothing depends on the tensor, or it has no whole block
    shares = relative(costs)
    return float(0.5 * (shares.mean().log2() - shares.log2().mean()))


def by_frequency(
    quantizer: Quantizer,
    costs: torch.Tensor,
    values: Iterable[torch.Tensor],
    components: int,
    drop: bool,
) -> tuple[torch.Tensor, FrequencyQuantizer]:
    """Which components have frequencies that are coded, bool [components], and their quantiser.

    quantizer: of values that are no frequencies; its step is that of a frequency of mean cost.
    costs: f64 [size * size]. values: calibration values [N, components, H, W]. drop: leave out
    frequencies of components whose levels are all 0 there. The strongest come first: later ones are
    predicted from them.
    """
    count = len(costs)
    device = costs.device
    every = torch.arange(components * count, dtype=torch.int32, device=device)
    layout = math.isqrt(count), every, relative(costs).rsqrt()
    whole = FrequencyQuantizer(quantizer, *layout, components)
    squares = torch.zeros(len(every), dtype=torch.float64, device=device)
    for y in values:
        squares += whole.quantize(y)[0].double().square().sum((0, 2, 3))
    order = squares.argsort(descending=True, stable=True)
    if drop:
        order = order[: max(1, int((squares > 0).sum()))]
    used = torch.zeros(components, dtype=torch.bool, device=device)
    used[order // count] = True
    place = used.cumsum(0) - 1
    coded = place[order // count] * count + order % count
    return used, FrequencyQuantizer(quantizer, layout[0], coded, layout[2], int(used.sum()))


def loss(
    quantizer: Quantizer,
    used: torch.Tensor,
    costs: torch.Tensor,
    values: Iterable[torch.Tensor],
    bits: Callable[[list[torch.Tensor]], float],
) -> float:
    """What a quantiser takes: bits, and its errors by what they cost, in bits.

    used: bool [K], the components that it codes. costs: f64 [size * size], by which errors are
    weighed. values: [N, K, H, W]. bits: of levels.
    """
    weights, size = relative(costs), math.isqrt(len(costs))
    tile = Block().tiled(quantizer.size)
    levels, squares = [], 0.0
    for y in values:
        coded = y[:, used]
        part, _ = quantizer.quantize(coded)
        error = y.clone()
        error[:, used] -= quantizer.dequantize(part, crop=tile.crop(*y.shape[2:]))
        squares += float((energies(error, size) * weights).mean()) * y.numel()
        levels.append(part)
    return bits(levels) + BITS_OF_SQUARE * squares / quantizer.step**2
