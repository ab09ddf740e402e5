"""Sequential calibration: one pass over the graph, every point coding at once.

docs/method.md, "Sequential calibration": the graph is executed node by node on all micro-batches;
at a coding point the codec is fitted to what its group really produces from quantised inputs, and
what it decodes replaces the tensor. Values are freed as soon as nothing reads them any more.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import fx, nn

from ..codec.codec import Codec
from ..network.capture import tidy
from ..network.fold import plain_convolution, set_convolution
from ..network.groups import Group
from ..network.parts import calls_of, running
from ..network.prepared import Prepared
from ..progress import Progress, stage

# (layer, its output for each micro-batch) -> its codec; ``codec.simulate`` gives what is decoded.
FitLayer = Callable[[Group, list[torch.Tensor]], Codec]
# (layer, its convolution, decoded inputs, outputs of the uncompressed network) -> a convolution,
# the same one where nothing is gained.
Refit = Callable[[Group, nn.Conv2d, list[torch.Tensor], list[torch.Tensor]], nn.Conv2d]


@torch.no_grad()
def run_sequentially(
    prepared: Prepared,
    batches: list[torch.Tensor],
    fit: FitLayer,
    progress: Progress = False,
    clean: Prepared | None = None,
    refit: Refit | None = None,
) -> dict[str, Codec]:
    """Execute each graph once, fitting each layer's codec; what it decodes goes on downstream.

    refit: changes a group's convolution before its output is calibrated, in ``prepared``; ``clean``
    is then the same network, uncompressed, which is executed beside it.
    Returns the codecs by layer name, in execution order; of parts that are not called, none.
    """
    codecs: dict[str, Codec] = {}
    layers = sum(not group.uncoded for group in prepared.groups)
    with stage(progress, "calibrate", layers, "layer") as advance, ExitStack() as stack:
        for path in _order(prepared, batches):
            graph = prepared.graph(path)
            groups = [group for group in prepared.groups if group.network is graph]
            coded = _Run(graph, _inputs(prepared, path, batches))
            beside = None
            if clean is not None and refit is not None:
                beside = _Run(clean.graph(path), _inputs(clean, path, batches))
                if len(beside.batches) != len(coded.batches):
                    beside = None  # what is decoded took another way
            fitted = _calibrate(groups, coded, fit, advance, beside, refit)
            codecs |= fitted
            if path:  # the parts after it shall see what it decodes
                simulated = _Simulated(graph, groups, fitted)
                stack.enter_context(running(graph, simulated))
            tidy(graph)
    return codecs


def _order(prepared: Prepared, batches: list[torch.Tensor]) -> list[str]:
    """The paths of the parts that are called, in the order of their first calls."""
    if prepared.parts == [""]:
        return [""]
    graphs = {path: prepared.graph(path) for path in prepared.parts}
    return list(calls_of(prepared.network, dict(graphs), batches))


def _inputs(prepared: Prepared, path: str, batches: list[torch.Tensor]) -> list[tuple[Any, ...]]:
    """What a part is called with, for each micro-batch and call."""
    if not path:
        return [(batch,) for batch in batches]
    graph = prepared.graph(path)
    calls = calls_of(prepared.network, {path: graph}, batches)[path]
    signature = inspect.signature(graph.forward)
    return [signature.bind(*args, **kwargs).args for args, kwargs in calls]


def _calibrate(
    groups: list[Group],
    coded: _Run,
    fit: FitLayer,
    advance: Callable[[int], None],
    beside: _Run | None = None,
    refit: Refit | None = None,
) -> dict[str, Codec]:
    """Execute one graph, beside the uncompressed one where its convolutions are refitted."""
    at = {group.output: group for group in groups if not group.uncoded}
    makers = {group.maker: group for group in groups}
    codecs: dict[str, Codec] = {}
    nodes = list(coded.network.graph.nodes)
    twins = list(beside.network.graph.nodes) if beside else nodes
    twin_of = dict(zip(nodes, twins, strict=True))
    for node, twin in twin_of.items():
        if node.op == "output":
            break
        if beside is not None and refit is not None:
            beside.values[twin] = beside.execute(twin)
            if node in makers:
                group = makers[node]
                _refit(group, coded, _targets(group, coded, beside, twin_of), refit)
        coded.values[node] = coded.execute(node)
        if node in at:
            group = at[node]
            planes = [group.layout.planes(x) for x in coded.values[node]]
            codec = codecs[group.name] = fit(group, planes)
            coded.values[node] = [_decoded(group, codec, x) for x in coded.values[node]]
            advance(1)
        coded.free(node)
        if beside is not None:
            beside.free(twin)
    return codecs


class _Simulated(fx.Interpreter):
    """A graph whose groups' tensors are what their codecs decode."""

    def __init__(self, network: fx.GraphModule, groups: list[Group], codecs: dict[str, Codec]):
        super().__init__(network)
        coded = [group for group in groups if group.name in codecs]
        self.at = {group.output: (group, codecs[group.name]) for group in coded}
        self.signature = inspect.signature(network.forward)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*self.signature.bind(*args, **kwargs).args)

    def run_node(self, node: fx.Node) -> Any:
        value = super().run_node(node)
        return _decoded(*self.at[node], value) if node in self.at else value


def _decoded(group: Group, codec: Codec, x: torch.Tensor) -> torch.Tensor:
    return group.layout.restored(codec.simulate(group.layout.planes(x)), x.shape)


def _refit(group: Group, coded: _Run, targets: list[torch.Tensor], refit: Refit) -> None:
    conv = plain_convolution(group)
    if conv is None or group.reads is None:
        return
    [source, *_] = group.maker.all_input_nodes
    inputs = [group.reads.planes(x) for x in coded.values[source]]
    changed = refit(group, conv, inputs, targets)
    if changed is not conv:  # else it stays on the model's own tensors
        set_convolution(group, changed)


def _targets(
    group: Group, coded: _Run, beside: _Run, twin_of: dict[fx.Node, fx.Node]
) -> list[torch.Tensor]:
    """What a group's layer should give: the uncompressed network's output there, as planes.

    What is added to it later is off by a known error, too, which it can make good.
    """
    targets = [group.made.planes(x) for x in beside.values[twin_of[group.maker]]]
    planes = group.layout.planes  # of the sums
    for add in group.adds:
        here = coded.values[group.residual(add)]
        there = beside.values[twin_of[group.residual(add)]]
        targets = [y + planes(r - x) for y, r, x in zip(targets, there, here, strict=True)]
    return targets


class _Run:
    """The values of a graph that is executed node by node on all micro-batches."""

    def __init__(self, network: fx.GraphModule, batches: list[tuple[Any, ...]]):
        self.network, self.batches = network, batches
        self.places = {node: i for i, node in enumerate(network.graph.find_nodes(op="placeholder"))}
        self.values: dict[fx.Node, list] = {}
        self._last_uses = _last_uses(network.graph)

    def execute(self, node: fx.Node) -> list:
        """The node's value for every micro-batch."""
        if node.op == "placeholder":
            return [args[self.places[node]] for args in self.batches]
        if node.op == "get_attr":
            return [_attribute(self.network, str(node.target))] * len(self.batches)
        return [self._call(node, i) for i in range(len(self.batches))]

    def free(self, node: fx.Node) -> None:
        """Drop the values that nothing reads after this node."""
        for done in self._last_uses.get(node, ()):
            del self.values[done]

    def _call(self, node: fx.Node, i: int):
        args = fx.node.map_arg(node.args, lambda n: self.values[n][i])
        kwargs = fx.node.map_arg(node.kwargs, lambda n: self.values[n][i])
        if node.op == "call_module":
            return self.network.get_submodule(str(node.target))(*args, **kwargs)
        if callable(node.target):
            return node.target(*args, **kwargs)
        return getattr(args[0], node.target)(*args[1:], **kwargs)


def _last_uses(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    """For each node, the values that nothing reads after it."""
    last: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        last[node] = node
        for source in node.all_input_nodes:
            last[source] = node
    uses: dict[fx.Node, list[fx.Node]] = {}
    for source, user in last.items():
        uses.setdefault(user, []).append(source)
    return uses


def _attribute(network: nn.Module, target: str):
    value: Any = network
    for name in target.split("."):
        value = getattr(value, name)
    return value
