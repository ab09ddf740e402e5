"""Where images, channels and positions are in a tensor, and its planes as codecs take them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from .activations import operator_name
from .layers import arguments

Shape = tuple[int | str, ...]  # a symbol's name, or an expression of it, for what is free


@dataclass(frozen=True)
class Layout:
    """batch, channels: the dimensions of images and channels; all others are positions.

    windows: how many entries of the batch dimension belong to one image, as with attention in
    windows.
    """

    batch: int = 0
    channels: int = 1
    windows: int = 1

    def planes(self, x: Tensor) -> Tensor:
        """x as [N, C, H, W]: further positions are rows, too, and of one dimension a row.

        [N, C, L] and [N, L, C] become [N, C, 1, L], [N, C, D, H, W] becomes [N, C, D H, W], and
        windows are rows.
        """
        x = x.movedim((self.batch, self.channels), (0, 1))
        if self.windows > 1:
            x = x.unflatten(0, (-1, self.windows)).movedim(1, 2)
        for _ in range(4 - x.dim()):
            x = x.unsqueeze(2)
        return x.flatten(2, -2) if x.dim() > 4 else x

    def restored(self, planes: Tensor, shape: torch.Size) -> Tensor:
        """The tensor of this layout whose planes [N, K, H, W] are; shape: as it was, but for K."""
        positions = [n for d, n in enumerate(shape) if d not in (self.batch, self.channels)]
        if self.windows > 1:
            x = planes.reshape(*planes.shape[:2], self.windows, *positions)
            x = x.movedim(2, 1).flatten(0, 1)
        else:
            x = planes.reshape(*planes.shape[:2], *positions)
        return x.movedim((0, 1), (self.batch, self.channels))

    def permuted(self, order: list[int]) -> Layout:
        """Of the tensor whose dimension i is this one's ``order[i]``."""
        return Layout(order.index(self.batch), order.index(self.channels), self.windows)

    def keeps_positions(self, order: list[int]) -> bool:
        """Whether positions stay in their order when dimensions are permuted so."""
        places = [d for d in order if d not in (self.batch, self.channels)]
        return places == sorted(places)


def permutation(node: fx.Node) -> list[int] | None:
    """For each dimension of what a node gives, that of its input; None where it permutes none."""
    name, rank = operator_name(node), len(node.meta.get("shape", ()))
    args = arguments(node) if name in ("permute", "transpose", "movedim", "t") else {}
    if name == "permute":
        return [d % rank for d in args["dims"]]
    if name == "transpose":
        order = list(range(rank))
        a, b = args["dim0"] % rank, args["dim1"] % rank
        order[a], order[b] = b, a
        return order
    return None


class Layouts:
    """The layouts of a graph's tensors; None for those that are of no image or have no channels."""

    def __init__(self, network: fx.GraphModule):
        self.network = network
        inputs = network.graph.find_nodes(op="placeholder")
        shapes = [node.meta.get("shape", ()) for node in inputs]
        symbol = next((s[0] for s in shapes if s and isinstance(s[0], str)), None)
        self._batch = re.compile(rf"(?:(\d+)\*)?{re.escape(symbol)}") if symbol else None
        self._of: dict[fx.Node, Layout | None] = {}
        for node in network.graph.nodes:
            self._of[node] = self._layout(node)

    def __getitem__(self, node: fx.Node) -> Layout | None:
        return self._of[node]

    def _layout(self, node: fx.Node) -> Layout | None:
        shape: Shape = node.meta.get("shape", ())
        found = self._batch_of(shape)
        if found is None or len(shape) < 3:
            return None
        batch, windows = found
        channels = self._channels(node, shape)
        return None if channels == batch else Layout(batch, channels, windows)

    def _batch_of(self, shape: Shape) -> tuple[int, int] | None:
        """The dimension of images, and how many of its entries an image has."""
        for dim, size in enumerate(shape):
            match = self._batch.fullmatch(size) if self._batch and isinstance(size, str) else None
            if match:
                return dim, int(match[1] or 1)
        return None

    def _channels(self, node: fx.Node, shape: Shape) -> int:
        """The dimension of channels: where an operator puts them, else where they come from."""
        if node.op == "call_module":
            module = self.network.get_submodule(str(node.target))
            if isinstance(module, torch.nn.Linear):
                return len(shape) - 1
            if isinstance(module, torch.nn.modules.conv._ConvNd):
                return 1
        name = operator_name(node)
        if name == "layer_norm" and len(arguments(node)["normalized_shape"]) == 1:
            return len(shape) - 1
        if name == "group_norm":
            return 1
        order = permutation(node)
        for source in node.all_input_nodes:
            layout, before = self._of.get(source), source.meta.get("shape", ())
            if layout is None:
                continue
            if order is not None:
                return order.index(layout.channels)
            if len(before) == len(shape):
                return layout.channels
            if shape[: layout.channels + 1] == before[: layout.channels + 1]:
                return layout.channels  # positions were put together, or apart
            if layout.channels == len(before) - 1 and shape[-1] == before[-1]:
                return len(shape) - 1
        return 1 if len(shape) != 3 else 2
