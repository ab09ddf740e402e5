"""Activations: one table of the operators that count as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from ..ops import Limits
from .layers import arguments


def _none(_: dict[str, Any]) -> None:
    return None


def _between(low: str, high: str) -> Callable[[dict[str, Any]], Limits | None]:
    """Limits that are arguments; no limits where one of them is a tensor."""

    def limits(args: dict[str, Any]) -> Limits | None:
        least, most = args.get(low), args.get(high)
        if isinstance(least, fx.Node) or isinstance(most, fx.Node):
            return None
        return (
            None if least is None else float(least),
            None if most is None else float(most),
        )

    return limits


# By the operator's name: what limits its arguments set, (least, most), where it limits values to
# these and does no more. A coding point can then apply it while it decodes.
ACTIVATIONS: dict[str, Callable[[dict[str, Any]], Limits | None]] = {
    "relu": lambda _: (0.0, None),
    "relu6": lambda _: (0.0, 6.0),
    "hardtanh": _between("min_val", "max_val"),
    "clamp": _between("min", "max"),
    "clamp_min": _between("min", "max"),
    "clamp_max": _between("min", "max"),
    "leaky_relu": _none,
    "prelu": _none,
    "_prelu_kernel": _none,
    "elu": _none,
    "celu": _none,
    "selu": _none,
    "gelu": _none,
    "silu": _none,
    "mish": _none,
    "hardswish": _none,
    "hardsigmoid": _none,
    "sigmoid": _none,
    "tanh": _none,
    "softplus": _none,
    "softsign": _none,
}


def is_activation(node: fx.Node) -> bool:
    """True where a node is one of the table's."""
    return operator_name(node) in ACTIVATIONS


def activation_limits(node: fx.Node) -> Limits | None:
    """(least, most) where a node is an activation that limits values to these and does no more."""
    known = ACTIVATIONS.get(operator_name(node))
    return known(arguments(node)) if known else None


def in_place(node: fx.Node) -> Any:
    """The operator of an activation that limits values, as it writes over what it reads."""
    assert isinstance(node.target, torch._ops.OpOverload)
    packet, overload = operator_name(node) + "_", node.target._overloadname
    return getattr(getattr(torch.ops.aten, packet), overload)


def operator_name(node: fx.Node) -> str:
    """The name of a node's ATen operator, as "relu" of aten::relu; "" for other nodes."""
    schema = getattr(node.target, "_schema", None)
    return schema.name.removeprefix("aten::") if schema is not None else ""
