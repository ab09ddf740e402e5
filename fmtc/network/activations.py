"""Activations: one table of what counts as one, whichever way it is written."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx, nn

from ..ops import Limits


@dataclass(frozen=True)
class Activation:
    """An element-wise function that a group applies after its coding point.

    module: its class. limits: (least, most) where it limits values to these and does no more, with
    its default arguments; a coding point can then apply it while it decodes.
    """

    module: type[nn.Module] | None
    limits: Limits | None = None


# By the name of the function and of the method.
ACTIVATIONS = {
    "relu": Activation(nn.ReLU, (0.0, None)),
    "relu6": Activation(nn.ReLU6, (0.0, 6.0)),
    "hardtanh": Activation(nn.Hardtanh),
    "leaky_relu": Activation(nn.LeakyReLU),
    "prelu": Activation(nn.PReLU),
    "elu": Activation(nn.ELU),
    "celu": Activation(nn.CELU),
    "selu": Activation(nn.SELU),
    "gelu": Activation(nn.GELU),
    "silu": Activation(nn.SiLU),
    "mish": Activation(nn.Mish),
    "hardswish": Activation(nn.Hardswish),
    "hardsigmoid": Activation(nn.Hardsigmoid),
    "sigmoid": Activation(nn.Sigmoid),
    "tanh": Activation(nn.Tanh),
    "softplus": Activation(nn.Softplus),
    "clamp": Activation(None),
}
ACTIVATION_MODULES = tuple(a.module for a in ACTIVATIONS.values() if a.module is not None)


def is_activation(network: fx.GraphModule, node: fx.Node) -> bool:
    """True where a node is one of the table's."""
    if node.op == "call_module":
        return isinstance(network.get_submodule(str(node.target)), ACTIVATION_MODULES)
    return node.op in ("call_function", "call_method") and _name(node) in ACTIVATIONS


def activation_limits(network: fx.GraphModule, node: fx.Node) -> Limits | None:
    """(least, most) where a node is an activation that limits values to these and does no more."""
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        if isinstance(module, nn.Hardtanh) and type(module) in (nn.ReLU6, nn.Hardtanh):
            return float(module.min_val), float(module.max_val)
        exact = (a.limits for a in ACTIVATIONS.values() if a.module is type(module))
        return next(exact, None)
    if node.op in ("call_function", "call_method") and len(node.args) == 1:
        known = ACTIVATIONS.get(_name(node))
        return known.limits if known else None
    return None


def _name(node: fx.Node) -> str:
    return str(node.target if node.op == "call_method" else getattr(node.target, "__name__", ""))
