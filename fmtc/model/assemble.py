"""Codecs put into a network: transforms folded into its convolutions where exact, coding points."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import fx, nn

from ..codec.codec import Codec, TensorCodec
from ..codec.transform import Transform
from ..network import fold
from ..network.activations import activation_limits, in_place
from ..network.capture import tidy
from ..network.groups import Group, count_reads
from ..network.prepared import Prepared
from ..ops import UNLIMITED
from ..planes import Layout
from .points import CodedPoint, CodingPoint, ReusingPoint, make_point


@torch.no_grad()
def assemble(
    prepared: Prepared,
    codecs: Mapping[str, Codec],
    weights: Mapping[str, tuple[torch.Tensor, torch.Tensor]] | None = None,
    reused: Mapping[str, str] | None = None,
) -> dict[str, CodingPoint]:
    """Put the codecs into the network of ``prepared``, which is changed; the points by layer.

    codecs: of each layer, in execution order. weights: of groups' convolutions as they are in the
    end, everything folded, in the place of those that folding gives. reused: the layers that use
    levels again, and whose.
    """
    groups = {group.name: group for group in prepared.groups}
    coded = [group for group in prepared.groups if group.name in codecs]
    _set_convolutions(prepared)
    reads = count_reads(coded, prepared.points)
    taken = {
        layer: source
        for layer, source in (reused or {}).items()
        if _takes_levels(groups[layer], groups[source])
        and all(_is_folded(codecs[name]) for name in (layer, source))
    }
    points: dict[str, CodingPoint] = {}
    for group in coded:
        source = points.get(taken.get(group.name, ""))
        users = [groups[layer].maker for layer, name in taken.items() if name == group.name]
        points[group.name] = _insert(group, codecs[group.name], source, users)
    for name, (weight, bias) in (weights or {}).items():
        if isinstance(points.get(name), ReusingPoint):
            continue
        fold.change_convolution(
            groups[name].network,
            groups[name].maker,
            partial(_with, weight=weight, bias=bias),
        )
    for name, count in reads.items():
        points[name].reads = count
    for path in prepared.parts:
        _write_in_place(prepared.graph(path))
        tidy(prepared.graph(path))
    return {name: points[name] for name in codecs}


def _with(conv: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Conv2d:
    return fold.conv_like(conv, weight.reshape(*weight.shape[:2], *conv.kernel_size), bias)


def _set_convolutions(prepared: Prepared) -> None:
    """Give each group a layer of its own, with what scales it; when it is replaced it is gone."""
    convs = [fold.plain_convolution(group) for group in prepared.groups]
    for path in prepared.parts:
        fold.forget_convolutions(prepared.graph(path))
    for group, conv in zip(prepared.groups, convs, strict=True):
        if conv is not None:
            fold.set_convolution(group, conv)


def _insert(
    group: Group, codec: Codec, source: CodingPoint | None, users: list[fx.Node]
) -> CodingPoint:
    """Rewrite one group: fold what can be folded, then insert its coding point.

    source: the point whose levels it takes. users: the convolutions behind which its own are taken.
    """
    network, folded, consumers = group.network, False, []
    if _is_folded(codec):
        folded, consumers = group.foldable, group.consumers or users
        if folded and source is None:
            _fold_forward(group, codec)
        matrix, mean = codec.transform.inverses[0], codec.transform.means[0]
        for consumer in consumers:
            inverse = partial(fold.fold_input, matrix=matrix, offset=mean)
            fold.change_convolution(network, consumer, inverse)
    read, point = group.output, make_point(codec, folded, bool(consumers))
    if source is not None:
        [read] = group.maker.all_input_nodes
        assert isinstance(codec, TensorCodec) and isinstance(source, CodedPoint)
        point = ReusingPoint(codec, source, bool(consumers))
    point.layout = group.layout
    name = fold.module_name("point", group.name)
    network.add_submodule(name, point)
    with network.graph.inserting_after(group.output):
        node = network.graph.call_module(name, (read,))
    group.output.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)
    if source is not None:
        network.graph.erase_node(group.maker)
    if isinstance(codec, TensorCodec) and len(node.users) > len(consumers) > 0:
        _give_back(group, node, codec, consumers)
    elif isinstance(point, CodedPoint) and not consumers:
        _take_activation(network, node, point)
    return point


def _is_folded(codec: Codec) -> TypeGuard[TensorCodec]:
    """Whether the transform is part of the convolutions around the tensor, where these allow it."""
    return isinstance(codec, TensorCodec) and codec.foldable


def _takes_levels(group: Group, source: Group) -> bool:
    """Whether a group that uses another's levels again reads them themselves, and all of them."""
    conv = fold.plain_convolution(group)
    return (
        conv is not None
        and conv.stride == (1, 1)
        and group.maker.args[0] is source.output
        and group.output is group.maker
        and group.foldable
        and group.layout == source.layout
    )


def _give_back(group: Group, node: fx.Node, codec: TensorCodec, but: list[fx.Node]) -> None:
    """Let all readers of a point that stays transformed, but for some, read what it stands for."""
    network, name = group.network, fold.module_name("back", group.name)
    network.add_submodule(name, Back(codec.transform, group.layout))
    with network.graph.inserting_after(node):
        made = network.graph.call_module(name, (node,))
    node.replace_all_uses_with(made, delete_user_cb=lambda user: user not in (made, *but))


def _take_activation(network: fx.GraphModule, node: fx.Node, point: CodedPoint) -> None:
    """Let the point apply the activation that alone reads it, where that only limits values."""
    activation = next(iter(node.users)) if len(node.users) == 1 else None
    limits = activation and activation_limits(activation)
    if activation and limits:
        point.limits = limits
        activation.replace_all_uses_with(node)
        network.graph.erase_node(activation)


def _write_in_place(network: fx.GraphModule) -> None:
    """Let activations that only limit values write over a convolution's result.

    Where they alone read it: a result of their own would cost fresh memory, and the network as the
    user wrote it mostly does without.
    """
    for node in network.graph.nodes:
        read = node.args[0] if node.args else None
        if not isinstance(read, fx.Node) or read.op != "call_module" or len(read.users) > 1:
            continue
        made_here = isinstance(network.get_submodule(str(read.target)), nn.Conv2d)
        if made_here and activation_limits(node):
            node.target = in_place(node)


def _fold_forward(group: Group, codec: TensorCodec) -> None:
    """y = W'x + sum of T r: transform the weights, and each residual by a product of its own."""
    matrix, offset = codec.transform.matrices[0], codec.transform.offsets[0].double()
    network = group.network
    for i, add in enumerate(group.adds):
        residual, product = group.residual(add), matrix.double()
        read, back = residual, _back_of(network, residual)
        if back is not None:  # T (V y + mean): its mean goes to the convolution
            [read] = residual.all_input_nodes
            offset = offset + product @ back.transform.means[0].double()
            product = product @ back.transform.inverses[0].double()
        name = fold.module_name(f"residual{i}", group.name)
        network.add_submodule(name, Product(product.float(), group.layout))
        with network.graph.inserting_before(add):
            node = network.graph.call_module(name, (read,))
        add.args = tuple(node if arg is residual else arg for arg in add.args)
        if back is not None and not residual.users:
            network.graph.erase_node(residual)
    forward = partial(fold.fold_output, matrix=matrix, offset=offset)
    fold.change_convolution(network, group.maker, forward)


def _back_of(network: fx.GraphModule, node: fx.Node) -> Back | None:
    """The way back that a node is."""
    module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
    return module if isinstance(module, Back) else None


class Back(nn.Module):
    """The way back of a transform, for a tensor of this layout."""

    def __init__(self, transform: Transform, layout: Layout):
        super().__init__()
        self.transform, self.layout = transform, layout

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        x = self.transform.back(self.layout.planes(y), UNLIMITED, y.dtype)
        return self.layout.restored(x, y.shape)


class Product(nn.Module):
    """matrix [K, C] times the channels of a tensor of this layout."""

    def __init__(self, matrix: torch.Tensor, layout: Layout):
        super().__init__()
        self.weight = nn.Parameter(matrix[:, :, None, None], requires_grad=False)
        self.layout = layout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layout.restored(F.conv2d(self.layout.planes(x), self.weight), x.shape)


def _flops(x: torch.Size, matrix: torch.Size, *_: object, **__: object) -> int:
    """Of ``ops.transform_channels``, of the shapes of its arguments."""
    return 2 * x[0] * matrix.numel() * x[2:].numel()


def count_multiply_adds(network: nn.Module, example: torch.Tensor) -> int:
    """Multiply-adds of convolutions and matrix products for one input."""
    from torch.utils.flop_counter import FlopCounterMode  # takes a while to import

    mapping = {torch.ops.fmtc.transform_channels: _flops}
    counter = FlopCounterMode(display=False, custom_mapping=mapping)
    with torch.no_grad(), counter:
        network(example)
    return counter.get_total_flops() // 2
