"""Where images, channels and positions are in the tensors of a graph."""

from __future__ import annotations

import re

import torch
from torch import fx

from ..planes import Layout
from .activations import operator_name
from .layers import arguments

Shape = tuple[int | str, ...]  # a symbol's name, or an expression of it, for what is free


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
            # Maps stay maps, and what has its channels last has them last.
            return 1 if layout.channels == 1 else len(shape) - 1
        return 1 if len(shape) != 3 else 2
