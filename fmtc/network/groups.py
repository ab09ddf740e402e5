"""Where a network's tensors are written: groups and their coding points.

docs/method.md, "Coding points": an accelerator that works layer by layer fuses ``conv -> [BN] ->
[+ residual] -> [activation]`` and writes the result once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TypeGuard

import torch
from torch import fx, nn

from .activations import is_activation, operator_name
from .layers import CONVOLUTIONS, arguments

aten = torch.ops.aten
POSITIONS = {2, 3}  # the dimensions of a map's positions


def is_plain_conv(module: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """A 2-d convolution, not a transposed one: its weights can be rewritten."""
    return isinstance(module, nn.Conv2d)


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

    network: the graph that it is in. name: the convolution's module path, with ``@2``, ``@3`` for
    further calls of one module.
    conv, batch_norm, adds: nodes. ``sides``: where it can be coded, "before" its activation and,
    where it has one, "after" it; ``side`` is the one that is coded, the paper's to begin with.
    """

    network: fx.GraphModule
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

    def mapped(self, network: fx.GraphModule) -> Group:
        """The same group in another copy of its graph."""
        to = dict(zip(self.network.graph.nodes, network.graph.nodes, strict=True))
        sides = {
            name: replace(side, output=to[side.output], consumers=[to[n] for n in side.consumers])
            for name, side in self.sides.items()
        }
        return replace(
            self,
            network=network,
            conv=to[self.conv],
            sides=sides,
            batch_norm=self.batch_norm and to[self.batch_norm],
            adds=[to[add] for add in self.adds],
        )

    def residual(self, add: fx.Node) -> fx.Node:
        """The other input of a residual add of this group."""
        inside = {self.conv, self.batch_norm, *self.adds}
        return next(arg for arg in add.all_input_nodes if arg not in inside)


def find_groups(network: fx.GraphModule, path: str = "") -> list[Group]:
    """The groups of a captured graph in execution order.

    path: of the graph in its model, for the names.
    Convolutions of globally pooled tensors (squeeze-excite, heads) are fully connected layers and
    have no group.
    """
    view = _View(network)
    groups = []
    calls: dict[str, int] = {}
    for node in network.graph.nodes:
        if view.is_conv(node) and node not in view.pooled and len(_shape(node) or ()) == 4:
            base = str(node.target) if node.op == "call_module" else node.name
            base = path if path and node.meta["own"] else f"{path}.{base}".strip(".")
            calls[base] = calls.get(base, 0) + 1
            name = base if calls[base] == 1 else f"{base}@{calls[base]}"
            groups.append(view.group(name, node))
    return groups


def select(
    layers: Sequence[Group],
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


def _shape(node: fx.Node) -> tuple[int | str, ...] | None:
    return node.meta.get("shape")


class _View:
    """What the search for groups asks of a graph."""

    def __init__(self, network: fx.GraphModule):
        self.network, self.modules = network, dict(network.named_modules())
        self.order = {node: i for i, node in enumerate(network.graph.nodes)}
        self.pooled = self._find_pooled(network.graph)

    def module(self, node: fx.Node) -> nn.Module | None:
        return self.modules.get(str(node.target)) if node.op == "call_module" else None

    def is_conv(self, node: fx.Node) -> bool:
        """A module, or an operator whose weight is calculated from the input."""
        is_module = isinstance(self.module(node), (nn.Conv2d, nn.ConvTranspose2d))
        return is_module or node.target in CONVOLUTIONS

    def is_plain_conv(self, node: fx.Node) -> bool:
        """A Conv2d module whose weights we may rewrite."""
        return is_plain_conv(self.module(node))

    def is_grouped(self, node: fx.Node) -> bool:
        module = self.module(node)
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            return module.groups > 1
        return arguments(node)["groups"] > 1

    def _find_pooled(self, graph: fx.Graph) -> set[fx.Node]:
        """Nodes that hold globally pooled tensors: one pixel an image, whatever the input size."""
        pooled: set[fx.Node] = set()
        for node in graph.nodes:
            inputs = [n for n in node.all_input_nodes if _shape(n) and n.op != "get_attr"]
            carried = bool(inputs) and all(n in pooled for n in inputs)
            if carried or self._is_global_pool(node):
                pooled.add(node)
        return pooled

    def _is_global_pool(self, node: fx.Node) -> bool:
        name = operator_name(node)
        if name in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
            return all(size == 1 for size in arguments(node)["output_size"])
        if name in ("mean", "amax"):
            dims = arguments(node).get("dim") or ()
            return (
                len(_shape(node.all_input_nodes[0]) or ()) == 4
                and {d % 4 for d in dims} == POSITIONS
            )
        return False

    @staticmethod
    def _has_statistics(module: nn.Module | None) -> bool:
        return isinstance(module, nn.BatchNorm2d)

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
        if activation is not None and is_activation(activation):
            sides[AFTER] = Side(activation, False, self._folding_consumers(activation))
            # What a grouped convolution writes for an ungrouped one is coded after the activation,
            # because the transform cannot be folded into the former (docs/method.md).
            if not ungrouped and self._feeds_ungrouped(activation):
                side = AFTER
        return Group(self.network, name, conv, sides, side, batch_norm, adds)

    def _residual_add(self, tail: fx.Node) -> fx.Node | None:
        """The add that this group performs: its other operand exists already when we get there."""
        add = self.sole_user(tail)
        if add is None or add.target is not aten.add.Tensor or add.kwargs:
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
