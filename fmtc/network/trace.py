"""From a model to its graph: traced in eval mode, without no-ops and in-place operations."""

from __future__ import annotations

import operator
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import fx, nn

from ..errors import TraceError
from ..progress import warn
from .activations import ACTIVATION_MODULES
from .untraced import Untraced
from .view import eval_view

# In-place forms and what they become in our copy: a decoded tensor may have several readers.
OUT_OF_PLACE_FUNCTIONS = {operator.iadd: operator.add, operator.imul: operator.mul}
OUT_OF_PLACE_METHODS = {"add_": "add", "mul_": "mul", "relu_": "relu", "sigmoid_": "sigmoid"}


class _Tracer(fx.Tracer):
    """fx tracer that keeps ``leaf_modules`` whole and knows in which module it is."""

    def __init__(self, leaf_modules: set[str]):
        super().__init__()
        self.leaf_modules = leaf_modules
        self.inside = [""]  # paths from the model down to where tracing is, or failed

    def is_leaf_module(self, module: nn.Module, path: str) -> bool:
        known = isinstance(module, (*ACTIVATION_MODULES, nn.Conv2d, nn.BatchNorm2d))
        return path in self.leaf_modules or known or super().is_leaf_module(module, path)

    def call_module(self, module, forward, args, kwargs):
        self.inside.append(self.path_of_module(module))
        result = super().call_module(module, forward, args, kwargs)
        self.inside.pop()  # not after an exception: the failing module stays on top
        return result


class _Whole(nn.Module):
    """A model as the only node of a graph, where its own forward cannot be traced."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x)


def trace(model: nn.Module, leaf_modules: Iterable[str] = ()) -> fx.GraphModule:
    """Graph of ``model`` in eval mode and float32, without no-ops and in-place operations.

    It is on the CPU and shares the tensors of the model, which is left as it is.

    A module that torch.fx cannot trace, or whose path is in ``leaf_modules`` ("" is the model
    itself), becomes one node that holds an ``Untraced`` module; a warning names the former.
    """
    name = type(model).__name__
    model = eval_view(model, torch.float32).cpu()
    leaves = set(leaf_modules)
    unknown = leaves - {path for path, _ in model.named_modules()}
    if unknown:
        raise TraceError(f"leaf_modules: {name} has no module '{min(unknown)}'")
    tracer, graph = (
        (_Tracer({"model"}), None) if "" in leaves else _trace_around(model, leaves, name)
    )
    if graph is None:
        model, leaves = _Whole(model), {"model"}
        tracer = _Tracer(leaves)
        graph = tracer.trace(model)
    graph._tracer_cls = None  # a pickled network is traced again, by the usual tracer
    network = fx.GraphModule(tracer.root, graph, name)
    _simplify(network, leaves)
    _hook_leaves(network, leaves, whole=isinstance(model, _Whole))
    return network


def _hook_leaves(network: fx.GraphModule, leaves: set[str], whole: bool) -> None:
    """Give each call of a leaf module an Untraced copy of its own, which is calibrated there."""
    calls: dict[str, int] = {}
    for node in network.graph.nodes:
        if node.op == "call_module" and node.target in leaves:
            path = node.target
            calls[path] = calls.get(path, 0) + 1
            label = path if calls[path] == 1 else f"{path}@{calls[path]}"
            module = eval_view(network.get_submodule(path))
            node.target = f"fmtc_untraced.{label}"
            network.add_submodule(node.target, Untraced(module, "" if whole else label))
    network.delete_all_unused_submodules()
    network.recompile()


def _trace_around(model: nn.Module, leaves: set[str], name: str):
    """Trace, adding what fails to ``leaves``; the graph is None where the model itself fails."""
    while True:
        tracer = _Tracer(leaves)
        try:
            return tracer, tracer.trace(model)
        except Exception as error:  # the user's code, under a tracer: anything can be raised
            where = tracer.inside[-1]
            reason = (str(error).splitlines() or [""])[0]
            warn(
                f"{name}: torch.fx cannot trace {f'module {where!r}' if where else 'the model'} "
                f"({type(error).__name__}: {reason}). Its "
                "convolutions are coded one by one, nothing is folded or fused there, and "
                "calibration runs it once for each. Free its forward of Python control flow on "
                "tensor values to do better, or name it in leaf_modules to silence this."
            )
            if not where:
                return tracer, None
            leaves.add(where)


def _simplify(network: fx.GraphModule, leaves: set[str]) -> None:
    """Drop what does nothing in eval mode and make in-place operations functional."""
    modules = dict(network.named_modules())
    for node in list(network.graph.nodes):
        if node.op == "call_module" and node.target in leaves:
            continue
        if _is_identity(node, modules):
            node.replace_all_uses_with(node.all_input_nodes[0])
            network.graph.erase_node(node)
            continue
        if _changes_its_input(node, modules):
            _redirect_later_readers(node)
        if node.op == "call_function":
            node.target = OUT_OF_PLACE_FUNCTIONS.get(node.target, node.target)
            if node.kwargs.get("inplace"):
                node.kwargs = {**node.kwargs, "inplace": False}
        elif node.op == "call_method":
            node.target = OUT_OF_PLACE_METHODS.get(node.target, node.target)
    for node in network.graph.nodes:
        if node.op == "call_module" and node.target not in leaves:
            if getattr(modules[node.target], "inplace", False) is True:
                setattr(modules[node.target], "inplace", False)  # noqa: B010
    network.graph.lint()
    network.recompile()


def _changes_its_input(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    """True for in-place activations and methods; ``+=`` makes no difference in a static graph."""
    if node.op == "call_module":
        return getattr(modules[str(node.target)], "inplace", False) is True
    if node.op == "call_function":
        return bool(node.kwargs.get("inplace"))
    return node.op == "call_method" and node.target in OUT_OF_PLACE_METHODS


def _redirect_later_readers(node: fx.Node) -> None:
    """Whoever reads the changed tensor after ``node`` reads the result of ``node``."""
    source = node.args[0] if node.args else None
    if isinstance(source, fx.Node):
        order = {n: i for i, n in enumerate(node.graph.nodes)}
        for user in list(source.users):
            if order[user] > order[node]:
                user.replace_input_with(source, node)


def _is_identity(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        dropout = nn.modules.dropout._DropoutNd
        return isinstance(modules[str(node.target)], (nn.Identity, dropout))
    if node.op != "call_function":
        return False
    if getattr(node.target, "__name__", "") == "stochastic_depth":  # torchvision's
        return not (node.kwargs.get("training", node.args[3] if len(node.args) > 3 else True))
    if node.target in (F.dropout, F.dropout2d):
        training = node.kwargs.get("training", node.args[2] if len(node.args) > 2 else True)
        return training is False
    return False
