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

from .codec import CalibrationError
from .graph import Group
from .untraced import HookedConv, Untraced

# (layer, its output for each micro-batch) -> its codec; ``codec.simulate`` gives what is decoded.
Fit = Callable[[Group | HookedConv, list[torch.Tensor]], Any]


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
) -> dict[str, Any]:
    """Execute the graph once, fitting each layer's codec; what it decodes goes on downstream.

    Returns the codecs by layer name, in execution order.
    """
    at = {group.output: group for group in groups}
    last_use = _last_uses(network.graph)
    values: dict[fx.Node, list] = {}
    codecs: dict[str, Any] = {}
    bar = tqdm(
        total=len(groups),
        desc="calibrate",
        unit="layer",
        disable=not progress,
        leave=False,
        delay=2,
    )
    for node in network.graph.nodes:
        if node.op == "output":
            break
        untraced = _untraced(network, node)
        if untraced is not None:
            inner, values[node] = untraced.calibrate(
                partial(_execute, network, node, values, batches), fit
            )
            codecs |= inner
        else:
            values[node] = _execute(network, node, values, batches)
        if node in at:
            group = at[node]
            codec = codecs[group.name] = fit(group, values[node])
            values[node] = [codec.simulate(x) for x in values[node]]
            bar.update()
        for done in last_use.get(node, ()):
            del values[done]
    bar.close()
    return codecs


def _untraced(network: fx.GraphModule, node: fx.Node) -> Untraced | None:
    """The untraced module that this node calls for the first time."""
    module = network.get_submodule(node.target) if node.op == "call_module" else None
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


def _execute(network: fx.GraphModule, node: fx.Node, values, batches: list[torch.Tensor]) -> list:
    """The node's value for every micro-batch."""
    if node.op == "placeholder":
        return list(batches) if not node.args else [node.args[0]] * len(batches)
    if node.op == "get_attr":
        return [_attribute(network, node.target)] * len(batches)
    return [_call(network, node, values, i) for i in range(len(batches))]


def _call(network: fx.GraphModule, node: fx.Node, values, i: int):
    args = fx.node.map_arg(node.args, lambda n: values[n][i])
    kwargs = fx.node.map_arg(node.kwargs, lambda n: values[n][i])
    if node.op == "call_module":
        return network.get_submodule(node.target)(*args, **kwargs)
    if node.op == "call_function":
        return node.target(*args, **kwargs)
    return getattr(args[0], node.target)(*args[1:], **kwargs)


def _attribute(network: nn.Module, target: str):
    value: Any = network
    for name in target.split("."):
        value = getattr(value, name)
    return value
