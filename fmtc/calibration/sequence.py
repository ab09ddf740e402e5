"""Sequential calibration: one pass over the graph, every point coding at once.

docs/method.md, "Sequential calibration": the graph is executed node by node on all micro-batches;
at a coding point the codec is fitted to what its group really produces from quantised inputs, and
what it decodes replaces the tensor. Values are freed as soon as nothing reads them any more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from ..codec.codec import Codec
from ..network.fold import set_convolution, tidy
from ..network.groups import Group
from ..network.prepared import Prepared
from ..network.untraced import HookedConv, Untraced
from ..progress import Progress, stage

# (layer, its output for each micro-batch) -> its codec; ``codec.simulate`` gives what is decoded.
FitLayer = Callable[[Group | HookedConv, list[torch.Tensor]], Codec]
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
    """Execute the graph once, fitting each layer's codec; what it decodes goes on downstream.

    refit: changes a group's convolution before its output is calibrated, in ``prepared``; ``clean``
    is then the same network, uncompressed, which is executed beside it.
    Returns the codecs by layer name, in execution order.
    """
    network, groups = prepared.network, prepared.groups
    coded = _Run(network, batches)
    beside = _Run(clean.network, batches) if clean is not None and refit is not None else None
    at = {group.output: group for group in groups}
    convolutions = {group.conv: group for group in groups}
    codecs: dict[str, Codec] = {}
    nodes = list(network.graph.nodes)
    twins = list(beside.network.graph.nodes) if beside else nodes
    twin_of = dict(zip(nodes, twins, strict=True))
    with stage(progress, "calibrate", len(groups), "layer") as advance:
        for node, twin in twin_of.items():
            if node.op == "output":
                break
            if beside is not None and refit is not None:
                beside.values[twin] = beside.execute(twin)
                if node in convolutions:
                    group = convolutions[node]
                    _refit(prepared, group, coded, _targets(group, coded, beside, twin_of), refit)
            untraced = _untraced(network, node)
            if untraced is not None:
                inner, coded.values[node] = untraced.calibrate(partial(coded.execute, node), fit)
                codecs |= inner
            else:
                coded.values[node] = coded.execute(node)
            if node in at:
                group = at[node]
                codec = codecs[group.name] = fit(group, coded.values[node])
                coded.values[node] = [codec.simulate(x) for x in coded.values[node]]
                advance(1)
            coded.free(node)
            if beside is not None:
                beside.free(twin)
    tidy(network)
    return codecs


def _refit(
    prepared: Prepared, group: Group, coded: _Run, targets: list[torch.Tensor], refit: Refit
) -> None:
    conv = prepared.convolution(group)
    if conv is None:
        return
    [source, *_] = group.conv.all_input_nodes
    changed = refit(group, conv, coded.values[source], targets)
    if changed is not conv:  # else it stays on the model's own tensors
        set_convolution(prepared.network, group, changed)


def _targets(
    group: Group, coded: _Run, beside: _Run, twin_of: dict[fx.Node, fx.Node]
) -> list[torch.Tensor]:
    """What a group's convolution should give: the uncompressed network's output there.

    What is added to it later is off by a known error, too, which it can make good.
    """
    targets = beside.values[twin_of[group.conv]]
    for add in group.adds:
        here = coded.values[group.residual(add)]
        there = beside.values[twin_of[group.residual(add)]]
        targets = [y + r - x for y, r, x in zip(targets, there, here, strict=True)]
    return targets


class _Run:
    """The values of a graph that is executed node by node on all micro-batches."""

    def __init__(self, network: fx.GraphModule, batches: list[torch.Tensor]):
        self.network, self.batches = network, batches
        self.values: dict[fx.Node, list] = {}
        self._last_uses = _last_uses(network.graph)

    def execute(self, node: fx.Node) -> list:
        """The node's value for every micro-batch."""
        if node.op == "placeholder":
            return list(self.batches) if not node.args else [node.args[0]] * len(self.batches)
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


def _untraced(network: fx.GraphModule, node: fx.Node) -> Untraced | None:
    """The untraced module that this node calls for the first time."""
    module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
    return module if isinstance(module, Untraced) and not module.calibrated else None


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
