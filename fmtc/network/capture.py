"""From a model to its graph of ATen operators, captured by torch.export.

docs/method.md, "The graph". Whatever a model's Python does, what comes out has one form: no
operator changes its input, convolutions, linear layers and BN are modules on the model's tensors,
what does not depend on the input is a constant, and what does nothing is gone.
"""

from __future__ import annotations

import inspect
import io
import logging
import operator
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from .layers import BATCH_NORM, arguments, held, layer_of
from .view import eval_view

aten = torch.ops.aten
CONSTANT = "fmtc_constant"  # submodule of what was calculated at capture

# Operators that give what they take; where several tensors, the first.
IDENTITIES = {
    aten.clone.default,
    aten.alias.default,
    aten.detach.default,
    aten.lift_fresh_copy.default,
    aten.contiguous.default,
}
# Their values depend on no tensor where their sizes are known.
FILLED = {aten.new_zeros.default, aten.new_ones.default, aten.new_full.default}
# These need contiguous tensors, which an identity that was left out may have made.
RESHAPES = {aten.view.default, aten._unsafe_view.default}


class Rebuilt(nn.Module):
    """An output of a kind that a graph cannot hold, made of its tensors."""

    def __init__(self, spec: pytree.TreeSpec):
        super().__init__()
        self.spec = spec

    def forward(self, *leaves: Any) -> Any:
        return pytree.tree_unflatten(leaves, self.spec)


@torch.no_grad()
def capture(
    model: nn.Module, *args: Any, free_sizes: bool = False, **kwargs: Any
) -> fx.GraphModule:
    """The graph of ``model`` in eval mode and float32, for any number of images.

    args, kwargs: an example of its inputs, at least two images each; what is no tensor, and what is
    not given, is the same in every call. free_sizes: of images too, where the model allows that;
    takes a few times as long. The graph is on the CPU and shares the tensors of the model, which is
    left as it is. What torch.export raises where Python decides by the values of tensors is passed
    on.
    """
    view = eval_view(model, torch.float32).cpu()
    given = inspect.signature(view.forward).bind(*args, **kwargs)
    tensors = [x for x in pytree.tree_leaves(given.arguments) if isinstance(x, torch.Tensor)]
    free = pytree.tree_map(
        lambda x: _free(x, len(tensors[0]), free_sizes), (given.args, given.kwargs)
    )
    shapes = {**dict(zip(given.arguments, free[0], strict=False)), **free[1]}
    with _quiet():
        program = torch.export.export(
            view, given.args, given.kwargs, dynamic_shapes=shapes, strict=False
        )
        program = program.run_decompositions({})
    network = _unlifted(program, type(model).__name__)
    _take_arguments(network, given)
    _give_output(network, program)
    _fold_constants(network)
    _leave_out(network)
    _keep_images_apart(network)
    network = _with_what_it_uses(network)
    _take_layers(network)
    _take_activations(network)
    _forget(network)
    network = _with_what_it_uses(network)
    network.meta["guards"] = list(program._guards_code)
    tidy(network)
    return network.eval()


def fits(network: fx.GraphModule, *args: Any) -> bool:
    """Whether a captured graph is right for inputs of these sizes; one that was pickled forgot."""
    known: dict[int | str, int] = {}
    inputs = network.graph.find_nodes(op="placeholder")
    for node, x in zip(inputs, args, strict=True):
        shape = node.meta.get("shape", ())
        if isinstance(x, torch.Tensor) and len(shape) != x.dim():
            return False
        for size, found in zip(shape, getattr(x, "shape", ()), strict=True):
            if known.setdefault(size, size if isinstance(size, int) else found) != found:
                return False
    values = {node.name: x for node, x in zip(inputs, args, strict=True)}
    # Conditions that torch wrote, as "L['x'].size()[2] % 8 == 0".
    return all(eval(guard, {}, {"L": values}) for guard in network.meta["guards"])


def _with_what_it_uses(network: fx.GraphModule) -> fx.GraphModule:
    """The same graph without parameters and modules that nothing in it reads."""
    return fx.GraphModule(network, network.graph, type(network).__name__)


def tidy(network: fx.GraphModule) -> None:
    """Check the graph, drop modules that nothing calls, and regenerate the code."""
    network.graph.lint()
    network.delete_all_unused_submodules()
    network.recompile()


def place(network: fx.GraphModule, device: torch.device) -> None:
    """Let the graph make its new tensors on a device: it says where, as it was captured."""
    elsewhere = [
        node for node in network.graph.nodes if node.kwargs.get("device") not in (None, device)
    ]
    for node in elsewhere:
        node.kwargs = {**node.kwargs, "device": device}
    if elsewhere:
        network.recompile()


def _free(x: Any, images: int, sizes: bool) -> dict[int, Any] | None:
    """The dimensions of an input that may be another in another call."""
    if not isinstance(x, torch.Tensor) or x.dim() == 0 or len(x) != images:
        return None
    free: dict[int, Any] = {0: torch.export.Dim.DYNAMIC}
    return free | {d: torch.export.Dim.AUTO for d in range(2, x.dim()) if sizes}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says of itself while it captures."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.fx", "torch._dynamo")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        # Of a graph that cannot be captured torch prints on stderr what it has of it.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _unlifted(program: torch.export.ExportedProgram, name: str) -> fx.GraphModule:
    """The program's graph with its parameters as attributes, without what it writes back."""
    graph, root = program.graph_module.graph, nn.Module()
    signature = program.graph_signature
    values = {**program.state_dict, **program.constants}
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    for node, spec in zip(placeholders, signature.input_specs, strict=True):
        if spec.kind.name == "USER_INPUT":
            continue
        if spec.target is None or not isinstance(values.get(spec.target), torch.Tensor):
            raise TypeError(f"the graph reads {spec.target}, which is no tensor")
        _hold(root, spec.target, values[spec.target])
        with graph.inserting_before(node):
            read = graph.create_node("get_attr", spec.target)
        read.meta = node.meta
        node.replace_all_uses_with(read)
        graph.erase_node(node)
    graph._tracer_cls = None  # a pickled network is traced again, by the usual tracer
    return fx.GraphModule(root, graph, name)


def _take_arguments(network: fx.GraphModule, given: inspect.BoundArguments) -> None:
    """One placeholder for each argument, as it is named; tensors inside of one are its items."""
    graph = network.graph
    leaves = graph.find_nodes(op="placeholder")
    paths = [path for path, _ in pytree.tree_leaves_with_path((given.args, given.kwargs))]
    names = [*_positional_names(given), *given.kwargs]
    keys = [*range(len(given.args)), *given.kwargs]
    arguments: dict[Any, fx.Node] = {}
    with graph.inserting_before(leaves[0]):
        for key, name in zip(keys, names, strict=True):
            arguments[key] = graph.placeholder(name)
    for leaf, (_, first, *inside) in zip(leaves, paths, strict=True):
        item = arguments[_key(first)]
        with graph.inserting_before(leaf):
            for key in inside:
                item = graph.call_function(operator.getitem, (item, _key(key)))
        item.meta = leaf.meta
        leaf.replace_all_uses_with(item)
        graph.erase_node(leaf)


def _positional_names(given: inspect.BoundArguments) -> Iterator[str]:
    for name, parameter in given.signature.parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            yield from (f"{name}_{i}" for i in range(len(given.arguments.get(name, ()))))
        elif name in given.arguments and parameter.kind is not parameter.KEYWORD_ONLY:
            if parameter.kind is not parameter.VAR_KEYWORD:
                yield name


def _key(key: Any) -> Any:
    """What a step of a path looks for: a place, or a name."""
    return key.idx if isinstance(key, pytree.SequenceKey) else key.key


def _give_output(network: fx.GraphModule, program: torch.export.ExportedProgram) -> None:
    """Return what the model returns, and nothing that torch.export has added."""
    graph, out = network.graph, program.call_spec.out_spec
    [output] = graph.find_nodes(op="output")
    kinds = [spec.kind.name for spec in program.graph_signature.output_specs]
    returned = [x for x, kind in zip(output.args[0], kinds, strict=True) if kind == "USER_OUTPUT"]
    assert out is not None
    if _is_plain(out):
        output.args = (pytree.tree_unflatten(returned, out),)
        return
    network.add_submodule("fmtc_output", Rebuilt(out))
    with graph.inserting_before(output):
        output.args = (graph.call_module("fmtc_output", tuple(returned)),)


def _is_plain(spec: pytree.TreeSpec) -> bool:
    """True for tuples, lists and dictionaries, which a graph returns as they are."""
    if spec.is_leaf():
        return True
    return spec.type in (tuple, list, dict) and all(map(_is_plain, spec.children()))


def _hold(root: nn.Module, path: str, tensor: torch.Tensor) -> None:
    """Let the module have the tensor at a path, and the modules on the way."""
    *parents, name = path.split(".")
    for parent in parents:
        if parent not in root._modules:
            root._modules[parent] = nn.Module()
        root = root._modules[parent]  # type: ignore[assignment]
    if isinstance(tensor, nn.Parameter):
        root._parameters[name] = tensor
    else:
        root._buffers[name] = tensor


def _fold_constants(network: fx.GraphModule) -> None:
    """Calculate once what depends on parameters alone, as a weight that is normalised."""
    values: dict[fx.Node, Any] = {}
    for node in network.graph.nodes:
        if node.op == "get_attr":
            values[node] = held(network, node)
        elif node.op == "call_function" and _is_constant(node, values):
            values[node] = _value(node, values)
    for node, value in values.items():
        read = any(user not in values for user in node.users)
        if node.op == "get_attr" or not read or not isinstance(value, torch.Tensor):
            continue
        path = f"{CONSTANT}.{node.name}"
        _hold(network, path, value.contiguous())
        with network.graph.inserting_before(node):
            constant = network.graph.create_node("get_attr", path)
        constant.meta = node.meta
        node.replace_all_uses_with(constant, delete_user_cb=lambda user: user not in values)
    network.graph.eliminate_dead_code()


def _value(node: fx.Node, values: dict[fx.Node, Any]) -> Any:
    if node.target in FILLED:  # as new tensors of what they are filled from
        like = torch.empty(0, dtype=node.meta["val"].dtype)
        return node.target(like, *node.args[1:])  # type: ignore[operator]
    args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def _is_constant(node: fx.Node, values: dict[fx.Node, Any]) -> bool:
    if node.target in FILLED:
        return all(isinstance(size, int) for size in node.args[1])  # type: ignore[union-attr]
    if any(source not in values for source in node.all_input_nodes):
        return False
    tags = getattr(node.target, "tags", ())
    return torch.Tag.nondeterministic_seeded not in tags


def _leave_out(network: fx.GraphModule) -> None:
    """Identities, checks, and the difference between view and reshape."""
    graph = network.graph
    for node in list(graph.nodes):
        if node.op != "call_function":
            continue
        if node.target in RESHAPES:
            node.target = aten.reshape.default
        if _is_identity(node):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)
        elif not node.users and "assert" in str(node.target):
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _keep_images_apart(network: fx.GraphModule) -> None:
    """linear(reshape(x)) is reshape(linear(x)), where channels stay the last dimension.

    So that a linear layer works on [N, L, C], of whatever it was made [N L, C].
    """
    graph = network.graph
    for node in graph.find_nodes(op="call_function", target=aten.linear.default):
        flat, shape = node.args[0], node.meta["val"].shape
        x = flat.args[0] if flat.target is aten.reshape.default else None
        if x is not None and x.meta["val"].dim() > 2 and _same_channels(x, flat):
            made = _call(node, aten.linear.default, x, *node.args[1:])
            made.meta["val"] = x.meta["val"].new_empty([*x.meta["val"].shape[:-1], shape[-1]])
            back = _call(node, aten.reshape.default, made, [*flat.args[1][:-1], shape[-1]])
            node.replace_all_uses_with(back)
        elif len(shape) == 2 and len(node.users) == 1:
            [after] = node.users
            if after.target is aten.reshape.default and _same_channels(node, after):
                value = flat.meta["val"]
                x = _call(after, aten.reshape.default, flat, [*after.args[1][:-1], value.shape[-1]])
                x.meta["val"] = value.new_empty([*after.meta["val"].shape[:-1], value.shape[-1]])
                made = _call(after, aten.linear.default, x, *node.args[1:])
                after.replace_all_uses_with(made)
    graph.eliminate_dead_code()


def _call(before: fx.Node, target: Any, *args: Any) -> fx.Node:
    """A new call in the place of a node, with what is known of that."""
    with before.graph.inserting_before(before):
        made = before.graph.call_function(target, args)
    made.meta = dict(before.meta)
    return made


def _same_channels(a: fx.Node, b: fx.Node) -> bool:
    last = a.meta["val"].shape[-1]
    return isinstance(last, int) and last == b.meta["val"].shape[-1]


def _is_identity(node: fx.Node) -> bool:
    if node.target in IDENTITIES:
        return True
    if node.target is aten.slice.Tensor:
        args = arguments(node)
        whole = isinstance(args["end"], int) and args["end"] >= 2**62
        return whole and args["start"] in (0, None) and args["step"] == 1
    if node.target in (aten._to_copy.default, aten.to.dtype):
        source = node.all_input_nodes[0].meta["val"]
        return source.dtype == node.meta["val"].dtype
    return False


def _take_layers(network: fx.GraphModule) -> None:
    """Convolutions, linear layers and BN become modules, at the paths of the model's own.

    A layer that is called twice is one module; others may share its weight, but not its bias.
    """
    paths: dict[tuple[Any, ...], str] = {}
    nodes = [node for node in network.graph.nodes if node.op == "call_function"]
    # All are made before the first is put where others may have their tensors.
    layers = [(node, made) for node in nodes if (made := layer_of(network, node)) is not None]
    for node, (module, weight) in layers:
        tensors = [str(x.target) for x in node.all_input_nodes if x.op == "get_attr"]
        key = weight, *tensors, repr(module)
        if key not in paths:
            paths[key] = _path(network, weight, tensors, node)
            network.add_submodule(paths[key], module)
        with network.graph.inserting_before(node):
            call = network.graph.call_module(paths[key], (node.args[0],))
        result = node
        if node.target is BATCH_NORM:  # it gives statistics, too, which nothing reads in eval mode
            [result] = node.users
            assert result.target is operator.getitem and result.args[1] == 0
        call.meta = result.meta | {"own": "." not in weight}
        result.replace_all_uses_with(call)
        network.graph.erase_node(result)
        if result is not node:
            network.graph.erase_node(node)
    network.graph.eliminate_dead_code()


def _take_activations(network: fx.GraphModule) -> None:
    """x * sigmoid(x) is SiLU, however it is written."""
    for node in list(network.graph.nodes):
        if node.target is not aten.mul.Tensor:
            continue
        for x, gate in (node.args, node.args[::-1]):
            if getattr(gate, "target", None) is aten.sigmoid.default and gate.args[0] is x:
                with network.graph.inserting_before(node):
                    made = network.graph.call_function(aten.silu.default, (x,))
                made.meta = node.meta
                node.replace_all_uses_with(made)
                network.graph.erase_node(node)
                break
    network.graph.eliminate_dead_code()


def _path(network: fx.GraphModule, weight: str, tensors: list[str], node: fx.Node) -> str:
    """Where a layer belongs: where its weight is, if nothing else is there.

    Where modules share the weight, the one that has another of the layer's tensors.
    """
    owner, _, _ = weight.rpartition(".")
    running = "".join([path for path, _ in node.meta.get("nn_module_stack", {}).values()][-1:])
    owns = any(tensor.rpartition(".")[0] == running for tensor in tensors)
    if owns or weight.startswith(CONSTANT):  # calculated: in the module that was running
        owner = running
    try:
        taken = network.get_submodule(owner)
    except AttributeError:
        return owner
    if owner and type(taken) is nn.Module and not taken._modules:
        return owner
    if taken is network:
        return node.name
    # Not within a layer, as another one may be put in its place.
    within = "." if type(taken) is nn.Module else "_"
    return f"{owner}{within}{node.name}"


def _forget(network: fx.GraphModule) -> None:
    """Keep of what torch knows of a value its shape, an int or a symbol's name for each dimension.

    own: whether it is made with the model's own weight, and with none of a module inside. path: of
    the module whose forward it is in.
    """
    for node in network.graph.nodes:
        value, own = node.meta.get("val"), node.meta.get("own", False)
        *_, path = ["", *(path for path, _ in node.meta.get("nn_module_stack", {}).values())]
        node.meta = {}
        if isinstance(value, torch.Tensor):
            shape = tuple(d if isinstance(d, int) else str(d) for d in value.shape)
            floating = value.is_floating_point()
            node.meta = {"shape": shape, "floating": floating, "own": own, "path": path}
