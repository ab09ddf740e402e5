"""Where a network's tensors are written: groups and their coding points.

docs/method.md, "Coding points": an accelerator that works layer by layer fuses ``conv -> [BN] ->
[+ residual] -> [activation]`` and writes the result once.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp

from .activations import is_activation
from .untraced import HookedConv, Untraced

CONV_FUNCTIONS = (F.conv2d, torch.conv2d, F.conv_transpose2d, torch.conv_transpose2d)
ADD_FUNCTIONS = (operator.add, operator.iadd, torch.add)
BATCH_NORM_FORWARD = nn.BatchNorm2d.forward


def is_plain_conv(module: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """A Conv2d that computes what Conv2d does, so that its weights can be rewritten."""
    return (
        isinstance(module, nn.Conv2d)
        and type(module).forward is nn.Conv2d.forward
        and type(module)._conv_forward is nn.Conv2d._conv_forward
    )


BEFORE, AFTER = "before", "after"  # the sides of an activation


@dataclass
class Side:
    """A place where a group's value can be coded: the value of ``output``.

    foldable: the transform can be part of the convolution's weights (ungrouped module, nothing
    non-linear before the coding point). consumers: convolutions that take the inverse transform
    into their weights; empty where it must be applied explicitly.
    """

    output: fx.Node
    foldable: bool
    consumers: list[fx.Node] = field(default_factory=list)


@dataclass
class Group:
    """One convolution and what is fused to it.

    name: the convolution's module path, with ``@2``, ``@3`` for further calls of one module.
    conv, batch_norm, adds: nodes. ``sides``: where it can be coded, "before" its activation and,
    where it has one, "after" it; ``side`` is the one that is coded, the paper's to begin with.
    """

    name: str
    conv: fx.Node
    sides: dict[str, Side]
    side: str
    batch_norm: fx.Node | None = None
    adds: list[fx.Node] = field(default_factory=list)
    excluded: bool = False

    @property
    def output(self) -> fx.Node:
        return self.sides[self.side].output

    @property
    def foldable(self) -> bool:
        return self.sides[self.side].foldable

    @property
    def consumers(self) -> list[fx.Node]:
        return self.sides[self.side].consumers

    def mapped(self, to: dict[fx.Node, fx.Node]) -> Group:
        """The same group in another graph, given that graph's node for each of this one's."""
        sides = {
            name: replace(side, output=to[side.output], consumers=[to[n] for n in side.consumers])
            for name, side in self.sides.items()
        }
        return replace(
            self,
            conv=to[self.conv],
            sides=sides,
            batch_norm=self.batch_norm and to[self.batch_norm],
            adds=[to[add] for add in self.adds],
        )

    def residual(self, add: fx.Node) -> fx.Node:
        """The other input of a residual add of this group."""
        inside = {self.conv, self.batch_norm, *self.adds}
        return next(arg for arg in add.all_input_nodes if arg not in inside)


def untraced_modules(network: nn.Module) -> list[Untraced]:
    """The modules of a traced network that run as they are."""
    return [module for module in network.modules() if isinstance(module, Untraced)]


def find_groups(
    network: fx.GraphModule,
    example: torch.Tensor,
) -> list[Group]:
    """The groups of a traced network in execution order.

    example: one input, [1, ...] float; it is run to know the shapes, and what untraced modules
    call. Convolutions of globally pooled tensors (squeeze-excite, heads) are fully connected
    layers and have no group.
    """
    with torch.no_grad():
        ShapeProp(network).propagate(example)
    view = _View(network)
    groups = []
    calls: dict[str, int] = {}
    for node in network.graph.nodes:
        if view.is_conv(node) and node not in view.pooled and _is_image(node):
            base = node.target if node.op == "call_module" else node.name
            calls[base] = calls.get(base, 0) + 1
            name = base if calls[base] == 1 else f"{base}@{calls[base]}"
            groups.append(view.group(name, node))
    return groups


def select(
    layers: Sequence[Group | HookedConv],
    include: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
) -> None:
    """Mark the layers outside ``include`` or inside ``exclude`` (name patterns) as excluded.

    Raises ValueError where there is no layer, or a pattern matches none.
    """
    if not layers:
        raise ValueError("the network has no convolution whose output could be coded")
    include = list(include) if include is not None else ["*"]
    exclude = list(exclude)
    names = [layer.name for layer in layers]
    for pattern in [*include, *exclude]:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"no layer matches '{pattern}'; the layers are: {', '.join(names)}")
    for layer in layers:
        chosen = any(fnmatchcase(layer.name, p) for p in include)
        layer.excluded = not chosen or any(fnmatchcase(layer.name, p) for p in exclude)


def count_reads(groups: list[Group]) -> dict[str, int]:
    """How often what each group writes is read: once by each group that it goes into (by its
    convolution or its residual add, through pooling and the like), and once for the output."""
    performed_by = {node: group.name for group in groups for node in (group.conv, *group.adds)}
    reads = {}
    for group in groups:
        readers, seen, front = set(), set(), list(group.output.users)
        while front:
            node = front.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in performed_by:
                readers.add(performed_by[node])
            elif node.op == "output":
                readers.add("output")
            else:
                front.extend(node.users)
        reads[group.name] = len(readers)
    return reads


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    meta = node.meta.get("tensor_meta")
    return None if meta is None or not hasattr(meta, "shape") else tuple(meta.shape)


def _is_image(node: fx.Node) -> bool:
    shape = _shape(node)
    return shape is not None and len(shape) == 4


class _View:
    """What the search for groups asks of a graph."""

    def __init__(self, network: fx.GraphModule):
        self.network, self.modules = network, dict(network.named_modules())
        self.order = {node: i for i, node in enumerate(network.graph.nodes)}
        self.pooled = self._find_pooled(network.graph)

    def module(self, node: fx.Node) -> nn.Module | None:
        return self.modules.get(node.target) if node.op == "call_module" else None

    def is_conv(self, node: fx.Node) -> bool:
        if node.op == "call_function":
            return node.target in CONV_FUNCTIONS
        return isinstance(self.module(node), (nn.Conv2d, nn.ConvTranspose2d))

    def is_plain_conv(self, node: fx.Node) -> bool:
        """A Conv2d module whose weights we may rewrite."""
        module = self.module(node)
        return is_plain_conv(module)

    def is_grouped(self, node: fx.Node) -> bool:
        module = self.module(node)
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            return module.groups > 1
        return bool(node.kwargs.get("groups", node.args[6] if len(node.args) > 6 else 1) != 1)

    def _find_pooled(self, graph: fx.Graph) -> set[fx.Node]:
        """Nodes that hold globally pooled tensors: one pixel an image, whatever the input size."""
        pooled: set[fx.Node] = set()
        for node in graph.nodes:
            inputs = [n for n in node.all_input_nodes if _shape(n) is not None]
            carried = bool(inputs) and all(n in pooled for n in inputs)
            if carried or self._is_global_pool(node):
                pooled.add(node)
        return pooled

    def _is_global_pool(self, node: fx.Node) -> bool:
        module = self.module(node)
        if isinstance(module, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)):
            return module.output_size in (1, (1, 1), [1, 1])
        if node.target in (F.adaptive_avg_pool2d, F.adaptive_max_pool2d):
            size = node.args[1] if len(node.args) > 1 else node.kwargs.get("output_size")
            return size in (1, (1, 1), [1, 1])
        if node.target in (torch.mean, "mean"):
            dims = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
            return isinstance(dims, (list, tuple)) and {d % 4 for d in dims} == {2, 3}
        return False

    @staticmethod
    def _has_statistics(module: nn.Module | None) -> bool:
        if not isinstance(module, nn.BatchNorm2d) or module.running_var is None:
            return False
        return type(module).forward is BATCH_NORM_FORWARD

    @staticmethod
    def sole_user(node: fx.Node) -> fx.Node | None:
        return next(iter(node.users)) if len(node.users) == 1 else None

    def group(self, name: str, conv: fx.Node) -> Group:
        tail, batch_norm, adds = conv, None, []
        following = self.sole_user(tail)
        if following is not None and self._has_statistics(self.module(following)):
            tail = batch_norm = following
        while (add := self._residual_add(tail)) is not None:
            tail = add
            adds.append(add)
        ungrouped = not self.is_grouped(conv)
        foldable = ungrouped and self.is_plain_conv(conv)
        sides = {BEFORE: Side(tail, foldable, self._folding_consumers(tail))}
        side, activation = BEFORE, self.sole_user(tail)
        if activation is not None and is_activation(self.network, activation):
            sides[AFTER] = Side(activation, False, self._folding_consumers(activation))
            # What a grouped convolution writes for an ungrouped one is coded after the activation,
            # because the transform cannot be folded into the former (docs/method.md).
            if not ungrouped and self._feeds_ungrouped(activation):
                side = AFTER
        return Group(name, conv, sides, side, batch_norm, adds)

    def _residual_add(self, tail: fx.Node) -> fx.Node | None:
        """The add that this group performs: its other operand exists already when we get there."""
        add = self.sole_user(tail)
        if add is None or add.kwargs or len(add.args) != 2:
            return None
        is_function = add.op == "call_function" and add.target in ADD_FUNCTIONS
        if not is_function and (add.op, add.target) != ("call_method", "add"):
            return None
        other = add.args[1] if add.args[0] is tail else add.args[0]
        if not isinstance(other, fx.Node) or _shape(other) != _shape(tail):
            return None
        return add if self.order[other] < self.order[tail] else None

    def _feeds_ungrouped(self, node: fx.Node) -> bool:
        """True where the next convolutions that read this value are all ungrouped."""
        found, seen, front = [], set(), list(node.users)
        while front:
            user = front.pop()
            if user in seen or user in self.pooled:
                continue
            seen.add(user)
            if self.is_conv(user):
                found.append(user)
            else:
                front.extend(user.users)
        return bool(found) and not any(self.is_grouped(conv) for conv in found)

    def _folding_consumers(self, output: fx.Node) -> list[fx.Node]:
        """Every reader, if each is an unpadded ungrouped convolution (exact there)."""
        users = list(output.users)
        exact = users and all(
            self.is_plain_conv(user) and not self.is_grouped(user) and self._pads_nothing(user)
            for user in users
        )
        return users if exact else []

    def _pads_nothing(self, node: fx.Node) -> bool:
        module = self.module(node)
        assert is_plain_conv(module)
        padding = module.padding
        return padding == "valid" or (not isinstance(padding, str) and not any(padding))
