"""Sequential calibration (METHOD section 5): one pass over the graph, every point coding at once.

The graph is executed node by node on all micro-batches; at a coding point the codec is fitted to
what its group really produces from quantised inputs, and what it decodes replaces the tensor.
Values are freed as soon as nothing reads them any more.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import fx, nn
from tqdm import tqdm

from ..errors import CalibrationError
from ..network.graph import Group, is_plain_conv
from ..network.untraced import HookedConv, Untraced

# (layer, its output for each micro-batch) -> its codec; ``codec.simulate`` gives what is decoded.
Fit = Callable[[Group | HookedConv, list[torch.Tensor]], Any]
# (layer, its convolution, decoded inputs, outputs of the uncompressed network) -> a convolution.
Refit = Callable[[Group, nn.Conv2d, list[torch.Tensor], list[torch.Tensor]], nn.Conv2d]


def check_images(batches: list[torch.Tensor]) -> None:
    """Refuse calibration images that cannot be used. Raises CalibrationError naming the batch."""
    if not batches:
        raise CalibrationError("there are no calibration images")
    for i, batch in enumerate(batches):
        if not isinstance(batch, torch.Tensor) or batch.dim() != 4 or not len(batch):
            shape = list(batch.shape) if isinstance(batch, torch.Tensor) else type(batch).__name__
            raise CalibrationError(
                f"calibration batch {i}: expected images [N, C, H, W], got {shape}"
            )
        if not batch.is_floating_point():
            raise CalibrationError(
                f"calibration batch {i}: expected preprocessed floating-point images, "
                f"got {batch.dtype}"
            )
        if not batch.isfinite().all():
            raise CalibrationError(f"calibration batch {i} contains NaN or Inf")


@torch.no_grad()
def run_sequentially(
    network: fx.GraphModule,
    groups: list[Group],
    batches: list[torch.Tensor],
    fit: Fit,
    progress: bool = False,
    reference: fx.GraphModule | None = None,
    refit: Refit | None = None,
) -> dict[str, Any]:
    """Execute the graph once, fitting each layer's codec; what it decodes goes on downstream.

    refit: changes a group's convolution before its output is calibrated; ``reference`` is then a
    network with the same graph, uncompressed, which is executed beside it.
    Returns the codecs by layer name, in execution order.
    """
    coded = _Run(network, batches)
    clean = _Run(reference, batches) if refit is not None else None
    at = {group.output: group for group in groups}
    convolutions = {group.conv: group for group in groups} if clean else {}
    codecs: dict[str, Any] = {}
    bar = tqdm(
        total=len(groups),
        desc="calibrate",
        unit="layer",
        disable=not progress,
        leave=False,
        delay=2,
    )
    twins = clean.network.graph.nodes if clean else network.graph.nodes
    twin_of = dict(zip(network.graph.nodes, twins, strict=True))
    for node, twin in twin_of.items():
        if node.op == "output":
            break
        if clean is not None:
            clean.values[twin] = clean.execute(twin)
        if node in convolutions and is_plain_conv(_module(network, node)):
            group, conv = convolutions[node], _module(network, node)
            targets = clean.values[twin]
            for add in group.adds:  # what is added to its output is off by a known error, too
                here = coded.values[group.residual(add)]
                there = clean.values[twin_of[group.residual(add)]]
                targets = [y + r - x for y, r, x in zip(targets, there, here, strict=True)]
            network.add_submodule(
                node.target, refit(group, conv, coded.values[node.args[0]], targets)
            )
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
            bar.update()
        coded.free(node)
        if clean is not None:
            clean.free(twin)
    bar.close()
    return codecs


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
            return [_attribute(self.network, node.target)] * len(self.batches)
        return [self._call(node, i) for i in range(len(self.batches))]

    def free(self, node: fx.Node) -> None:
        """Drop the values that nothing reads after this node."""
        for done in self._last_uses.get(node, ()):
            del self.values[done]

    def _call(self, node: fx.Node, i: int):
        args = fx.node.map_arg(node.args, lambda n: self.values[n][i])
        kwargs = fx.node.map_arg(node.kwargs, lambda n: self.values[n][i])
        if node.op == "call_module":
            return self.network.get_submodule(node.target)(*args, **kwargs)
        if node.op == "call_function":
            return node.target(*args, **kwargs)
        return getattr(args[0], node.target)(*args[1:], **kwargs)


def _module(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return network.get_submodule(node.target) if node.op == "call_module" else None


def _untraced(network: fx.GraphModule, node: fx.Node) -> Untraced | None:
    """The untraced module that this node calls for the first time."""
    module = _module(network, node)
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
