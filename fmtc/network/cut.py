"""Cutting a network's graph in two: what computes some tensors, and what computes with them."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import torch
from torch import fx

from .activations import operator_name
from .groups import Group


def groups_at(groups: Sequence[Group], names: Iterable[str]) -> list[Group]:
    """The groups that write these tensors, in execution order.

    names: of groups, or paths of modules, whose output it then is. Raises ValueError for others.
    """
    found = {_group_at(groups, name).name for name in names}
    if not found:
        raise ValueError("a cut needs at least one layer")
    return [group for group in groups if group.name in found]


def _group_at(groups: Sequence[Group], name: str) -> Group:
    for group in groups:
        if group.name == name:
            return group
    made_by = {group.maker: group.name for group in groups}
    nodes = [node for graph in _graphs(groups) for node in graph.graph.nodes]
    inside = {node for node in nodes if _is_in(made_by.get(node) or _path(node), name)}
    leaving = [n for n in nodes if n in inside and any(user not in inside for user in n.users)]
    if not leaving:
        known = ", ".join(group.name for group in groups)
        raise ValueError(f"no layer or module is called '{name}'; the layers are: {known}")
    if len(leaving) > 1:
        names = ", ".join(node.name for node in leaving)
        raise ValueError(f"module '{name}' gives several tensors ({names}): name their layers")
    [output] = leaving
    for group in groups:
        if any(side.output is output for side in group.sides.values()):
            return group
    own = [group.name for group in groups if group.maker in inside]
    near = f"; the layers in it are: {', '.join(own)}" if own else ""
    raise ValueError(
        f"what module '{name}' gives, by {operator_name(output) or output.name}, has no coding "
        f"point{near}"
    )


def _graphs(groups: Sequence[Group]) -> list[fx.GraphModule]:
    return list({id(group.network): group.network for group in groups}.values())


def _path(node: fx.Node) -> str:
    """Of the module that made a node."""
    return str(node.target) if node.op == "call_module" else node.meta.get("path", "")


def _is_in(path: str, module: str) -> bool:
    return path == module or path.startswith(f"{module}.")


def crossing(network: fx.GraphModule, cut: Iterable[fx.Node]) -> list[fx.Node]:
    """What the output needs of the input besides the cut: where it is not computed behind it.

    None of them: the tensors of ``cut`` are all that has to be sent.
    """
    cut = set(cut)
    [output] = network.graph.find_nodes(op="output")
    needed = _needed([output], cut | _sizes(network).keys())
    of_input: set[fx.Node] = set()  # depends on an input, on no tensor of the cut
    behind: set[fx.Node] = set()  # depends on one
    found: dict[fx.Node, None] = {}
    for node in network.graph.nodes:
        if node not in needed:
            continue
        sources = node.all_input_nodes
        ahead = [source for source in sources if source in of_input]
        if node is output or any(source in cut or source in behind for source in sources):
            behind.add(node)
            found |= dict.fromkeys(ahead)
        elif node.op == "placeholder" or ahead:
            of_input.add(node)
    return list(found)


def written_by(node: fx.Node, groups: Iterable[Group]) -> str:
    """The layer whose tensor a node is a view of; the node's name where there is none."""
    names = {node: group.name for group in groups for node in (group.maker, group.output)}
    source, sources = node, [node]
    while source not in names and len(sources) == 1:
        [source] = sources
        sources = [n for n in source.all_input_nodes if n.meta.get("floating")]
    return names.get(source, node.name)


def head_of(network: fx.GraphModule, outputs: Sequence[fx.Node]) -> fx.GraphModule:
    """What computes these nodes, of which it gives a tuple. Modules are shared with the network."""
    graph = fx.Graph()
    needed = _needed(outputs)
    copies: dict[fx.Node, fx.Node] = {}
    for node in network.graph.nodes:
        if node in needed or node.op == "placeholder":
            copies[node] = graph.node_copy(node, copies.__getitem__)
    graph.output(tuple(copies[node] for node in outputs))
    return fx.GraphModule(network, graph, "Head")


def tail_of(network: fx.GraphModule, cut: Sequence[fx.Node]) -> fx.GraphModule:
    """What computes the network's output of what these nodes give, which it takes in their order.

    Behind them it takes the shape of the network's first input, of which it may read sizes.
    Modules are shared with the network. ValueError names what the output needs besides.
    """
    others = crossing(network, cut)
    if others:
        names = ", ".join(node.name for node in others)
        raise ValueError(f"this is no cut: behind it the network also reads {names}")
    graph = fx.Graph()
    copies = {node: graph.placeholder(f"x{i}") for i, node in enumerate(cut)}
    shape = graph.placeholder("shape")
    for node, dim in _sizes(network).items():
        copies[node] = graph.call_function(operator.getitem, (shape, dim))
    [output] = network.graph.find_nodes(op="output")
    needed = _needed([output], copies)
    for node in network.graph.nodes:
        if node in needed:
            copies[node] = graph.node_copy(node, copies.__getitem__)
    for node in reversed(graph.nodes):
        if node.target is operator.getitem and not node.users:
            graph.erase_node(node)
    return fx.GraphModule(network, graph, "Tail")


def _sizes(network: fx.GraphModule) -> dict[fx.Node, int]:
    """The nodes that read a size of the first input, and of which dimension."""
    first = network.graph.find_nodes(op="placeholder")[0]
    sizes = (user for user in first.users if user.target is torch.ops.aten.sym_size.int)
    return {node: int(node.args[1]) for node in sizes}  # type: ignore[arg-type]


def _needed(ends: Iterable[fx.Node], given: Iterable[fx.Node] = ()) -> set[fx.Node]:
    """What these nodes depend on and themselves, but for what is given."""
    given, needed, front = set(given), set[fx.Node](), list(ends)
    while front:
        node = front.pop()
        if node not in needed and node not in given:
            needed.add(node)
            front.extend(node.all_input_nodes)
    return needed
