"""Where a network's tensors are written: groups and their coding points.

docs/method.md, "Coding points": an accelerator that works layer by layer fuses ``layer -> [scales]
-> [+ residual] -> [activation]`` and writes the result once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import torch
from torch import fx, nn

from ..planes import Layout
from .activations import is_activation, operator_name
from .layers import arguments, held, is_plain_layer
from .layout import Layouts, permutation
from .written import kind_of, read_tensors

aten = torch.ops.aten
BEFORE, AFTER = "before", "after"  # the sides of an activation
POINTS = ("all", "paper")
AS_IT_IS = 32  # bits of layers that are left out and not even quantised


@dataclass
class Side:
    """A place where a group's value can be coded: the value of ``output``, which has a ``layout``.

    foldable: the transform can be part of the layer's weights (ungrouped, nothing non-linear before
    the coding point). consumers: layers that take the inverse transform into their weights; empty
    where it must be applied explicitly.
    """

    output: fx.Node
    layout: Layout
    foldable: bool
    consumers: list[fx.Node] = field(default_factory=list)


@dataclass
class Group:
    """What is computed in one go before it is written, and what is fused to it.

    network: the graph that it is in. name: the layer's module path, or that of the module that
    makes it and its operator, with ``@2``, ``@3`` for further ones. kind: of ``written.kind_of``.
    maker: the node of the convolution, linear layer or other operator; scales, adds: nodes behind
    it, BN and the like and residual adds. made, reads: the layouts of what the maker gives, and of
    what a layer reads. ``sides``: where
    it can be coded, "before" its activation and, where it has one, "after" it; ``side`` is the one
    that is coded, the paper's to begin with. excluded: left out; uncoded: and not even quantised.
    """

    network: fx.GraphModule
    name: str
    kind: str
    maker: fx.Node
    made: Layout
    sides: dict[str, Side]
    side: str
    reads: Layout | None = None
    scales: list[fx.Node] = field(default_factory=list)
    adds: list[fx.Node] = field(default_factory=list)
    excluded: bool = False
    uncoded: bool = False

    @property
    def output(self) -> fx.Node:
        return self.sides[self.side].output

    @property
    def layout(self) -> Layout:
        """Of what is coded."""
        return self.sides[self.side].layout

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
            maker=to[self.maker],
            sides=sides,
            scales=[to[node] for node in self.scales],
            adds=[to[node] for node in self.adds],
        )

    def residual(self, add: fx.Node) -> fx.Node:
        """The other input of a residual add of this group."""
        inside = _behind(self.maker, add)
        return next(arg for arg in add.all_input_nodes if arg not in inside)


def _behind(node: fx.Node, end: fx.Node) -> list[fx.Node]:
    """The nodes from this one to the end, each the only reader of the one before."""
    chain = [node]
    while chain[-1] is not end and len(chain[-1].users) == 1:
        chain.append(next(iter(chain[-1].users)))
    return chain[:-1] if chain[-1] is end else chain


# Kinds of tensors that have a coding point; attention scores and what is not known have none.
CODED = ("convolution", "linear", "sum", "product", "norm", "pool", "resize")
LAYERS = ("convolution", "linear")


def find_groups(network: fx.GraphModule, path: str = "", points: str = "all") -> list[Group]:
    """The groups of a captured graph in execution order.

    path: of the graph in its model, for the names. points: "all" that are written and have
    channels and positions, or "paper": what 2-d convolutions give, alone.
    Tensors of globally pooled ones (squeeze-excite, heads) have no group.
    """
    search = Search(network, points)
    groups: list[Group] = []
    calls: dict[str, int] = {}
    done: set[fx.Node] = set()  # performed by groups before
    for node in network.graph.nodes:
        kind = search.kind(node)
        if kind is None or node in done or not search.is_coded(node, kind):
            continue
        base = _name(node, path)
        calls[base] = calls.get(base, 0) + 1
        name = base if calls[base] == 1 else f"{base}@{calls[base]}"
        groups.append(search.group(name, kind, node))
        done |= set(groups[-1].adds)
    return groups


def _name(node: fx.Node, path: str) -> str:
    if node.op == "call_module":
        return path if path and node.meta["own"] else f"{path}.{node.target}".strip(".")
    return ".".join(part for part in (path, node.meta["path"], operator_name(node)) if part)


def select(
    layers: Sequence[Group],
    include: Iterable[str] | None = None,
    exclude: Iterable[str] = (),
    bits: int = 8,
) -> None:
    """Mark the layers outside ``include`` or inside ``exclude`` (name patterns) as excluded.

    bits: of these; AS_IT_IS: they have no coding point.

    Raises ValueError where there is no layer, or a pattern matches none.
    """
    if not layers:
        raise ValueError("the network writes no tensor that could be coded")
    include = list(include) if include is not None else ["*"]
    exclude = list(exclude)
    names = [layer.name for layer in layers]
    for pattern in [*include, *exclude]:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ValueError(f"no layer matches '{pattern}'; the layers are: {', '.join(names)}")
    for layer in layers:
        chosen = any(fnmatchcase(layer.name, p) for p in include)
        layer.excluded = not chosen or any(fnmatchcase(layer.name, p) for p in exclude)
        layer.uncoded = layer.excluded and bits == AS_IT_IS


def count_reads(groups: list[Group], points: str = "all") -> dict[str, int]:
    """How often what each group writes is read: once by each operator that writes something of its
    own, through those that do not, and once for the output.

    A residual add is its group's. With points "paper" only groups count as readers.
    """
    performed_by = {node: group.name for group in groups for node in (group.maker, *group.adds)}
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
            elif points == "all" and kind_of(group.network, node) is not None:
                readers.add(node.name)
            else:
                front.extend(node.users)
        reads[group.name] = len(readers)
    return reads


class Search:
    """What the search for groups asks of a graph."""

    def __init__(self, network: fx.GraphModule, points: str = "all"):
        self.network, self.points = network, points
        self.modules = dict(network.named_modules())
        self.layouts = Layouts(network)
        self.order = {node: i for i, node in enumerate(network.graph.nodes)}
        self.pooled: set[fx.Node] = set()  # one position an image, whatever the input size
        self.matrices: set[fx.Node] = set()  # of matrix products alone
        for node in network.graph.nodes:
            self._note(node)

    def _note(self, node: fx.Node) -> None:
        inputs = read_tensors(self.network, node)
        if (inputs and all(n in self.pooled for n in inputs)) or self._is_global_pool(node):
            self.pooled.add(node)
        kind = kind_of(self.network, node)
        follows = kind not in LAYERS and bool(inputs) and all(n in self.matrices for n in inputs)
        if kind == "attention" or follows:
            self.matrices.add(node)

    def module(self, node: fx.Node) -> nn.Module | None:
        return self.modules.get(str(node.target)) if node.op == "call_module" else None

    def kind(self, node: fx.Node) -> str | None:
        """Of what a node writes; sums of matrix products are as these."""
        kind = kind_of(self.network, node)
        return "attention" if kind is not None and node in self.matrices else kind

    def is_coded(self, node: fx.Node, kind: str) -> bool:
        """Whether what a node writes has a coding point (docs/method.md, "Coding points")."""
        layout = self.layouts[node]
        if layout is None or kind not in CODED or node in self.pooled:
            return False
        if self.points == "paper":
            return kind == "convolution" and len(node.meta["shape"]) == 4
        if kind == "pool":  # over channels it gives something else
            [source, *_] = read_tensors(self.network, node)
            # A stack of maps [N, 2, C, H, W], as of branches, gives a map.
            ranks = len(source.meta["shape"]), len(node.meta["shape"])
            before = self.layouts[source]
            same = before is not None and self._channels(node) == self._channels(source)
            return same or ranks == (5, 4)
        return True

    def _channels(self, node: fx.Node) -> int | str | None:
        layout = self.layouts[node]
        return None if layout is None else node.meta["shape"][layout.channels]

    def _is_global_pool(self, node: fx.Node) -> bool:
        name = operator_name(node)
        if name.startswith(("adaptive_avg_pool", "adaptive_max_pool")):
            size = arguments(node)["output_size"]
            return all(n == 1 for n in (size if isinstance(size, (list, tuple)) else [size]))
        if name in ("mean", "amax"):
            [source, *_] = node.all_input_nodes
            layout, rank = self.layouts[source], len(source.meta.get("shape", ()))
            dims = {d % rank for d in arguments(node).get("dim") or ()} if rank else set()
            return layout is not None and dims == set(range(rank)) - {layout.batch, layout.channels}
        return False

    @staticmethod
    def sole_user(node: fx.Node) -> fx.Node | None:
        return next(iter(node.users)) if len(node.users) == 1 else None

    def group(self, name: str, kind: str, maker: fx.Node) -> Group:
        tail = maker
        scales: list[fx.Node] = []
        adds: list[fx.Node] = []
        made = layout = self.layouts[maker]
        assert made is not None and layout is not None
        if kind in LAYERS:
            tail, layout, scales = self._scaled(maker, layout)
            while (add := self._residual_add(tail)) is not None:
                tail = add
                adds.append(add)
        plain = is_plain_layer(self.module(maker))
        ungrouped = plain and not self.is_grouped(maker)
        sides = {BEFORE: Side(tail, layout, ungrouped, self._folding_consumers(tail, layout))}
        side, activation = BEFORE, self.sole_user(tail)
        if activation is not None and is_activation(activation):
            consumers = self._folding_consumers(activation, layout)
            sides[AFTER] = Side(activation, layout, False, consumers)
            # What a grouped convolution writes for an ungrouped one is coded after the activation,
            # because the transform cannot be folded into the former (docs/method.md).
            grouped = kind == "convolution" and self.is_grouped(maker)
            if grouped and self._feeds_ungrouped(activation):
                side = AFTER
        reads = self._reads(maker) if kind in LAYERS else None
        return Group(self.network, name, kind, maker, made, sides, side, reads, scales, adds)

    def _reads(self, layer: fx.Node) -> Layout | None:
        """What a layer takes its input for, whatever it was before."""
        source = layer.all_input_nodes[0]
        layout, rank = self.layouts[source], len(source.meta["shape"])
        channels = rank - 1 if isinstance(self.module(layer), nn.Linear) else 1
        if layout is None or layout.batch == channels:
            return None
        return replace(layout, channels=channels)

    def is_grouped(self, node: fx.Node) -> bool:
        module = self.module(node)
        if module is None:
            return arguments(node)["groups"] > 1
        return getattr(module, "groups", 1) > 1

    def _scaled(self, maker: fx.Node, layout: Layout) -> tuple[fx.Node, Layout, list[fx.Node]]:
        """The end of what scales a layer's channels, its layout, and the nodes that scale.

        Dimensions may be permuted on the way, if positions stay in their order.
        """
        tail, scales = maker, list[fx.Node]()
        while (node := self.sole_user(tail)) is not None:
            order = permutation(node)
            if order is not None and layout.keeps_positions(order):
                layout = layout.permuted(order)
            elif scale_of(self.network, node, layout, tail) is not None:
                scales.append(node)
            else:
                break
            tail = node
        return tail, layout, scales

    def _residual_add(self, tail: fx.Node) -> fx.Node | None:
        """The add that this group performs: its other operand exists already when we get there."""
        add = self.sole_user(tail)
        if add is None or add.target is not aten.add.Tensor or add.kwargs:
            return None
        other = add.args[1] if add.args[0] is tail else add.args[0]
        if not isinstance(other, fx.Node) or other.meta.get("shape") != tail.meta.get("shape"):
            return None
        exists = self.order[other] < self.order[tail] and other.op != "get_attr"
        return add if exists else None

    def _feeds_ungrouped(self, node: fx.Node) -> bool:
        """True where the next layers that read this value are all ungrouped."""
        found, seen, front = [], set(), list(node.users)
        while front:
            user = front.pop()
            if user in seen or user in self.pooled:
                continue
            seen.add(user)
            if self.kind(user) in LAYERS:
                found.append(user)
            else:
                front.extend(user.users)
        return bool(found) and not any(self.is_grouped(layer) for layer in found)

    def _folding_consumers(self, output: fx.Node, layout: Layout) -> list[fx.Node]:
        """Every reader, if each is an unpadded ungrouped layer (exact there) on these channels."""
        users = list(output.users)
        exact = users and all(self._folds_inverse(user, output, layout) for user in users)
        return users if exact else []

    def _folds_inverse(self, user: fx.Node, output: fx.Node, layout: Layout) -> bool:
        module = self.module(user)
        if not is_plain_layer(module) or self.is_grouped(user):
            return False
        if isinstance(module, nn.Linear):
            return layout.channels == len(output.meta["shape"]) - 1
        assert isinstance(module, nn.Conv2d)
        padding = module.padding
        if layout.channels != 1:
            return False
        return padding == "valid" or (not isinstance(padding, str) and not any(padding))


def scale_of(
    network: fx.GraphModule, node: fx.Node, layout: Layout, x: fx.Node
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Scale and shift f64 [C] or [1] of a node that does x * scale + shift for each channel of x.

    None for any other node: BN with statistics and constants for each channel, or one for all.
    """
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        if not isinstance(module, nn.modules.batchnorm._BatchNorm) or layout.channels != 1:
            return None
        assert module.running_var is not None and module.running_mean is not None
        scale = (module.running_var.double() + module.eps).rsqrt()
        if module.affine:
            scale = scale * module.weight.detach().double()
        shift = -module.running_mean.double() * scale
        return scale, shift + module.bias.detach().double() if module.affine else shift
    name = operator_name(node)
    if name not in ("mul", "div", "add", "sub") or len(node.args) != 2 or node.kwargs:
        return None
    other = node.args[1] if node.args[0] is x else node.args[0]
    if name in ("div", "sub") and node.args[0] is not x:
        return None
    constant = _for_each_channel(network, other, layout, len(x.meta["shape"]))
    if constant is None:
        return None
    one, zero = torch.ones_like(constant), torch.zeros_like(constant)
    return {
        "mul": (constant, zero),
        "div": (1 / constant, zero),
        "add": (one, constant),
        "sub": (one, -constant),
    }[name]


def _for_each_channel(
    network: fx.GraphModule, value: object, layout: Layout, rank: int
) -> torch.Tensor | None:
    """A constant with one value for each channel, f64 [C], or for all, [1]."""
    if isinstance(value, (int, float)) and math.isfinite(value):
        return torch.tensor([value], dtype=torch.float64)
    tensor = held(network, value)
    if tensor is None or tensor.dim() > rank or not tensor.is_floating_point():
        return None
    shape = [1] * (rank - tensor.dim()) + list(tensor.shape)
    if any(size != 1 for dim, size in enumerate(shape) if dim != layout.channels):
        return None
    return tensor.detach().double().flatten()
