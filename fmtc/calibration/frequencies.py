"""Which frequencies of blocks of positions are coded, and with which steps.

docs/method.md, "Frequencies".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch

from ..codec.frequencies import FrequencyQuantizer
from ..codec.quantizer import Quantizer
from ..codec.transform import Transform

# The smallest side of a tensor, in positions, for blocks of a size. Of smaller ones too few blocks
# are left for the prediction.
LEAST_SIDE = {4: 28, 2: 7}
# Bits a value that steps of their own save in fine quantisation, below which they are not worth it.
LEAST_GAIN = 0.02
LEAST_COST = 0.1  # of a frequency, as a share of their mean: more is not known of it


def block_size(costs: Mapping[int, torch.Tensor], height: int, width: int) -> int:
    """The size of the blocks of a tensor of this height and width; 1 for none.

    costs: what an error of each frequency costs, f64 [size * size] by size.
    """
    for size, side in LEAST_SIDE.items():
        if size in costs and min(height, width) >= side and gain(costs[size]) >= LEAST_GAIN:
            return size
    return 1


def relative(costs: torch.Tensor) -> torch.Tensor:
    """Costs f64 [F] as shares of their mean, which is not below LEAST_COST."""
    return (costs / costs.mean()).clamp(min=LEAST_COST)


def gain(costs: torch.Tensor) -> float:
    """Bits a value that frequencies with such costs save where all of them are coded finely.

    Half the logarithm of their arithmetic mean over their geometric one.
    """
    if not bool((costs > 0).all()):
        return 0.0
    shares = relative(costs)
    return float(0.5 * (shares.mean().log2() - shares.log2().mean()))


def by_frequency(
    transform: Transform,
    quantizer: Quantizer,
    costs: torch.Tensor,
    values: Callable[[], Iterable[torch.Tensor]],
    drop: bool,
) -> tuple[Transform, FrequencyQuantizer]:
    """The quantiser of the frequencies of blocks, and the transform to the components that it uses.

    quantizer: of values that are no frequencies; its step is that of a frequency of mean cost.
    costs: f64 [size * size]. values: calibration values [N, K, H, W]. drop: leave out frequencies
    of components whose levels are all 0 there. The strongest come first: later ones are predicted
    from them.
    """
    components, size = transform.components, round(len(costs) ** 0.5)
    scales = relative(costs).rsqrt()
    every = torch.arange(components * len(costs), dtype=torch.int32)
    whole = FrequencyQuantizer(quantizer, size, every, scales, components)
    squares = torch.zeros(len(every), dtype=torch.float64)
    for y in values():
        squares += whole.quantize(y)[0].double().square().sum((0, 2, 3))
    order = squares.argsort(descending=True, stable=True)
    if drop:
        order = order[: max(1, int((squares > 0).sum()))]
    component, frequency = order // len(costs), order % len(costs)
    used = torch.zeros(components, dtype=torch.bool)
    used[component] = True
    place = used.cumsum(0) - 1
    coded = place[component] * len(costs) + frequency
    made = FrequencyQuantizer(quantizer, size, coded, scales, int(used.sum()))
    return transform.keep(used), made
