"""Convolutions, linear layers and BN of a captured graph as modules on the model's tensors."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, fx, nn

aten = torch.ops.aten

CONVOLUTIONS = {
    aten.conv1d.default,
    aten.conv1d.padding,
    aten.conv2d.default,
    aten.conv2d.padding,
    aten.conv3d.default,
    aten.conv3d.padding,
    aten.conv_transpose1d.default,
    aten.conv_transpose2d.input,
    aten.conv_transpose3d.input,
    aten.convolution.default,
}
BATCH_NORM = aten._native_batch_norm_legit_no_training.default
BATCH_NORMS: dict[int, type[nn.Module]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}


def layer_of(network: fx.GraphModule, node: fx.Node) -> tuple[nn.Module, str] | None:
    """The module that an operator is, and the path of its weight in ``network``.

    None for other operators, and where a weight is no parameter or constant: as calculated from the
    input, it cannot be rewritten.
    """
    if node.target in CONVOLUTIONS:
        made = _convolution(network, arguments(node))
    elif node.target is aten.linear.default:
        made = _linear(network, arguments(node))
    elif node.target is BATCH_NORM:
        made = _batch_norm(network, arguments(node), len(node.args[0].meta["val"].shape))  # type: ignore[union-attr]
    else:
        return None
    return made


def is_plain_layer(module: nn.Module | None) -> TypeGuard[nn.Conv2d | nn.Linear]:
    """A 2-d convolution, not a transposed one, or a linear layer: its weights can be rewritten."""
    return isinstance(module, (nn.Conv2d, nn.Linear))


def arguments(node: fx.Node) -> dict[str, Any]:
    """All arguments of an operator by name, those left out with their defaults."""
    schema = node.target._schema  # type: ignore[union-attr]
    given = {a.name: value for a, value in zip(schema.arguments, node.args, strict=False)}
    rest = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
    return rest | given | node.kwargs


def held(network: fx.GraphModule, value: Any) -> Tensor | None:
    """The tensor that a node reads from the network, if it does."""
    if not isinstance(value, fx.Node) or value.op != "get_attr":
        return None
    parent, _, name = str(value.target).rpartition(".")
    return getattr(network.get_submodule(parent), name)


def _parameter(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)


def _convolution(network: fx.GraphModule, args: dict[str, Any]) -> tuple[nn.Module, str] | None:
    weight, bias = held(network, args["weight"]), held(network, args["bias"])
    if weight is None or (args["bias"] is not None and bias is None):
        return None
    rank, transposed = weight.dim() - 2, "output_padding" in args and args.get("transposed", True)
    kind: Any = getattr(nn, f"Conv{'Transpose' if transposed else ''}{rank}d")
    groups = args["groups"]
    options = {"output_padding": _each(args["output_padding"], rank)} if transposed else {}
    padding = args["padding"]
    ins, outs = weight.shape[1] * groups, weight.shape[0]
    if transposed:
        ins, outs = weight.shape[0], weight.shape[1] * groups
    conv = kind(
        ins,
        outs,
        tuple(weight.shape[2:]),
        stride=_each(args["stride"], rank),
        padding=padding if isinstance(padding, str) else _each(padding, rank),
        dilation=_each(args["dilation"], rank),
        groups=groups,
        bias=bias is not None,
        device="meta",
        **options,
    )
    conv.weight = _parameter(weight)
    if bias is not None:
        conv.bias = _parameter(bias)
    return conv, str(args["weight"].target)


def _each(value: Any, rank: int) -> tuple[int, ...]:
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * rank if len(values) == 1 else values


def _linear(network: fx.GraphModule, args: dict[str, Any]) -> tuple[nn.Module, str] | None:
    weight, bias = held(network, args["weight"]), held(network, args["bias"])
    if weight is None or weight.dim() != 2 or (args["bias"] is not None and bias is None):
        return None
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
    linear.weight = _parameter(weight)
    if bias is not None:
        linear.bias = _parameter(bias)
    return linear, str(args["weight"].target)


def _batch_norm(
    network: fx.GraphModule, args: dict[str, Any], rank: int
) -> tuple[nn.Module, str] | None:
    mean, variance = held(network, args["running_mean"]), held(network, args["running_var"])
    weight, bias = held(network, args["weight"]), held(network, args["bias"])
    if mean is None or variance is None or rank not in BATCH_NORMS:
        return None
    if (weight is None) != (bias is None) or (args["weight"] is not None and weight is None):
        return None
    kind: Any = BATCH_NORMS[rank]
    norm = kind(len(mean), eps=args["eps"], affine=weight is not None, device="meta")
    norm.running_mean, norm.running_var = mean.detach(), variance.detach()
    norm.num_batches_tracked = None
    if weight is not None and bias is not None:
        norm.weight, norm.bias = _parameter(weight), _parameter(bias)
    return norm, str(args["running_mean"].target)
