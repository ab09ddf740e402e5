"""A model to work with that leaves the user's as it is."""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

M = TypeVar("M", bound=nn.Module)


def unwrapped(model: Any) -> nn.Module:
    """The module inside of what torch.compile, DataParallel and torch.export make of one.

    TypeError for what is no module, and for TorchScript, which nothing can look into.
    """
    wrappers = nn.DataParallel, nn.parallel.DistributedDataParallel
    while isinstance(model, (*wrappers, torch._dynamo.OptimizedModule)):
        model = model.module if isinstance(model, wrappers) else model._orig_mod
    if isinstance(model, torch.export.ExportedProgram):
        model = model.module()
    if isinstance(model, torch.jit.ScriptModule):
        raise TypeError(
            "the model is TorchScript, which cannot be captured: give the nn.Module that it was "
            "made from"
        )
    if not isinstance(model, nn.Module):
        raise TypeError(f"expected a model, a torch.nn.Module; got {type(model).__name__}")
    return model


def eval_view(model: M, dtype: torch.dtype | None = None) -> M:
    """A copy of the modules in eval mode whose tensors share the model's memory.

    Flags, hooks and attributes are its own, gradients are off, and it works on copies of its
    inputs, which many a model changes. dtype: floating-point tensors of another type are copies of
    this one. Tensors of inference mode are copies, too, outside of it.
    """

    def shared(tensor: torch.Tensor) -> torch.Tensor:
        tensor = tensor.data  # unlike detach() it does not count changes together with the model's
        if tensor.is_inference() and not torch.is_inference_mode_enabled():
            tensor = tensor.clone()  # gradients cannot flow through it
        return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor

    memo: dict[int, object] = {}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if id(parameter) not in memo:
                view = nn.Parameter(shared(parameter), requires_grad=False)
                memo[id(parameter)] = view
        # Buffers, and what old forms of weight_norm and the like keep as plain attributes.
        for tensor in (*module.buffers(recurse=False), *vars(module).values()):
            if isinstance(tensor, torch.Tensor) and id(tensor) not in memo:
                memo[id(tensor)] = shared(tensor)
    made = copy.deepcopy(model, memo).eval()
    if not isinstance(made, fx.GraphModule) and _copied not in made._forward_pre_hooks.values():
        made.register_forward_pre_hook(_copied, with_kwargs=True)
    return made


def _copied(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    return pytree.tree_map_only(torch.Tensor, torch.clone, (args, kwargs))


def float_type(model: nn.Module) -> torch.dtype:
    """The type that a model computes in: of its first floating-point parameter or buffer."""
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.float32


def device_of(model: nn.Module) -> torch.device:
    """Where a model is: its first parameter or buffer."""
    for tensor in (*model.parameters(), *model.buffers()):
        return tensor.device
    return torch.device("cpu")
