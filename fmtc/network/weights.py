"""Weight quantisation: a uniform grid for each output channel.

docs/method.md, "Quantised weights".

After Banner et al., "Post training 4-bit quantization of convolutional networks for
rapid-deployment" (NeurIPS 2019, arXiv:1810.05723): clipping of least squared error, and what
rounding does to a channel's mean and standard deviation is put right again. Their allocation of
bits to channels is left out: it lowers the weights' error (by up to 2 dB), not the logits'.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn

from .layers import CONVOLUTIONS

WEIGHT_BITS = (32, 8, 4)
EDGE_BITS = 8  # of the first convolution and the classifier, unless all weights stay float
# Of a channel's range, what a 4-bit grid may span; what lies outside is clipped.
SHARES = tuple(1 - 0.05 * i for i in range(14))


def check_weight_bits(bits: int) -> None:
    """Raise ValueError where weights cannot be quantised to ``bits``."""
    if bits not in WEIGHT_BITS:
        widths = ", ".join(map(str, WEIGHT_BITS))
        raise ValueError(f"weight_bits must be one of {widths} (32: float weights); got {bits!r}")


@dataclass(frozen=True)
class WeightGrid:
    """Channel o may take the values low[o] + step[o] k, k = 0 ... 2^bits - 1.

    low, step: [O, 1]; the step of a constant channel is 0.
    """

    low: Tensor
    step: Tensor
    bits: int

    @classmethod
    def fit(cls, weight: Tensor, bits: int) -> WeightGrid:
        """Each channel's grid of least squared error for a float weight [O, ...]; bits 8 or 4.

        Candidates are the symmetric grid with step max|w| / (2^(bits-1) - 1); at 8 bit the grid
        over [min, max], so that a weight on either stays where it is; at 4 bit grids that have a
        zero and span a share of the range (a free offset has less error, but a worse network).
        """
        check_weight_bits(bits)
        if bits == 32:
            raise ValueError("32 bit means float weights, which have no grid")
        rows = weight.detach().flatten(1)
        grids = [cls(low, step, bits) for low, step in _candidates(rows, bits)]
        errors = [(grid.nearest(rows) - rows).square().sum(1, keepdim=True) for grid in grids]
        best = torch.stack(errors).argmin(0, keepdim=True)
        low = torch.stack([grid.low for grid in grids]).gather(0, best)[0]
        step = torch.stack([grid.step for grid in grids]).gather(0, best)[0]
        return cls(low, step, bits)

    def nearest(self, weight: Tensor) -> Tensor:
        """Each value's nearest on the grid; the same shape."""
        step = torch.where(self.step > 0, self.step, 1)
        levels = ((weight.flatten(1) - self.low) / step).round().clamp(0, 2**self.bits - 1)
        return (self.low + self.step * levels).reshape(weight.shape)

    def round(self, weight: Tensor) -> Tensor:
        """``nearest``, with the mean and the standard deviation that each channel had before.

        mean(w) + (q - mean(q)) |w - mean(w)| / |q - mean(q)|, the paper's equations 12 and 13. It
        shifts and stretches a channel's grid, which stays uniform with as many values.
        """
        rows, rounded = weight.flatten(1), self.nearest(weight).flatten(1)
        mean = rows.mean(1, keepdim=True)
        rounded = rounded - rounded.mean(1, keepdim=True)
        spread = rounded.norm(dim=1, keepdim=True)
        stretch = (rows - mean).norm(dim=1, keepdim=True) / spread
        return (mean + rounded * torch.where(spread > 0, stretch, 1)).reshape(weight.shape)


def _candidates(rows: Tensor, bits: int) -> Iterator[tuple[Tensor, Tensor]]:
    """(low, step), each [O, 1], of the grids that channels [O, n] may have."""
    least, most, top = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True), 2**bits - 1
    step = torch.maximum(-least, most) / (top // 2)
    yield -(top // 2) * step, step
    if bits == 8:
        yield least, (most - least) / top
        return
    least, most = least.clamp(max=0), most.clamp(min=0)
    for share in SHARES:
        step = share * (most - least) / top
        yield (share * least / step).nan_to_num().round() * step, step


def quantize_weight(weight: Tensor, bits: int) -> Tensor:
    """A float weight [O, ...] on its channels' grids of 2^bits values; 32 leaves it as it is."""
    check_weight_bits(bits)
    return weight if bits == 32 else WeightGrid.fit(weight, bits).round(weight)


@torch.no_grad()
def quantize_network(network: nn.Module, bits: int) -> dict[str, WeightGrid]:
    """Quantise every convolution and linear layer of a network in place, outside of graphs too.

    Returns the grids by module path, for weights that are changed later; none where bits is 32.

    The first convolution and the classifier (the last linear layer, or where there is none the
    last convolution) have 8 bit. Biases stay float. A weight that several calls share stays shared.
    Raises ValueError where a weight is no parameter of the network but computed in every call.
    """
    check_weight_bits(bits)
    if bits == 32:
        return {}
    layers = list(_layers(network))
    convs = [layer for layer in layers if layer.is_conv]
    linear = [layer for layer in layers if not layer.is_conv]
    edges = {layer.weight.data_ptr() for layer in convs[:1] + (linear or convs)[-1:]}
    grids: dict[str, WeightGrid] = {}
    done: dict[int, WeightGrid] = {}
    for layer in layers:
        address = layer.weight.data_ptr()
        if address not in done:
            channels = layer.channels()
            width = EDGE_BITS if address in edges else bits
            grid = done[address] = WeightGrid.fit(channels.flatten(0, 1), width)
            channels.copy_(grid.round(channels.flatten(0, 1)).view_as(channels))
        grids[layer.name] = done[address]
    return grids


class _Layer(NamedTuple):
    """A weight [O, ...], or [I, O / groups, ...] where ``transposed`` is a number of groups."""

    name: str
    weight: Tensor
    is_conv: bool
    transposed: int = 0

    def channels(self) -> Tensor:
        """A view [groups, O / groups, ...] of the weight."""
        weight = self.weight.detach()
        if not self.transposed:
            return weight[None]
        return weight.unflatten(0, (self.transposed, -1)).transpose(1, 2)


def _layers(network: nn.Module) -> Iterator[_Layer]:
    """The weights; of a graph in the order in which it uses them."""
    for part in network.modules():
        for node in part.graph.nodes if isinstance(part, fx.GraphModule) else ():
            if node.target in (*CONVOLUTIONS, torch.ops.aten.linear.default):
                raise _computed(node.name)
    for path, module in _modules(network):
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            if "weight" not in module._parameters:
                raise _computed(path)
            conv = module if isinstance(module, nn.modules.conv._ConvNd) else None
            groups = conv.groups if conv is not None and conv.transposed else 0
            yield _Layer(path, module.weight, conv is not None, groups)


def _modules(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    if not isinstance(network, fx.GraphModule):
        yield from network.named_modules()
        return
    for node in network.graph.find_nodes(op="call_module"):
        yield str(node.target), network.get_submodule(str(node.target))


def _computed(layer: str) -> ValueError:
    return ValueError(
        f"{layer}: its weight is computed in every call and cannot be quantised; make it a plain "
        "parameter (torch.nn.utils.parametrize.remove_parametrizations) or use weight_bits=32"
    )
