"""A model as its captured parts: the whole, or its largest modules that can be captured.

docs/method.md, "The graph": where Python decides by the values of tensors, the Python around the
parts runs as it is, in a copy of the model.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import fx, nn
from torch.fx.graph_module import _USER_PRESERVED_ATTRIBUTES_KEY
from torch.utils import _pytree as pytree

from ..errors import TraceError
from ..progress import warn
from .capture import capture
from .view import eval_view

CODED = nn.Conv2d, nn.ConvTranspose2d  # one of which a part must have
LONGEST = 60.0  # seconds that a capture with free sizes may take
# What a module was called with: its arguments and those with names.
Call = tuple[tuple[Any, ...], dict[str, Any]]


def captured(
    model: nn.Module, images: torch.Tensor, free_sizes: bool = False
) -> tuple[nn.Module, list[str]]:
    """The model on captured parts, in eval mode and float32 on the CPU, and the parts' paths.

    images: an example of its input, at least two. A model that is captured whole is one part with
    the path "". A warning says why it is not. free_sizes: images of other sizes will follow; where
    that is not possible within LONGEST seconds, they cannot, and another graph is needed for them.
    """
    name = type(model).__name__
    try:
        return _capture_whole(model, free_sizes, images), [""]
    except Exception as error:  # the user's code, under torch.export: anything can be raised
        reason = next((line for line in str(error).splitlines() if line.strip()), "")
        whole = f"torch.export cannot capture the model ({type(error).__name__}: {reason})"
    network = eval_view(model, torch.float32).cpu()
    calls = calls_of(network, dict(network.named_modules()), [images])
    parts = _take_parts(network, "", calls, free_sizes)
    if not parts:
        raise TraceError(f"{name}: {whole}, nor any module of it that has a convolution")
    warn(
        f"{name}: {whole}. These parts of it are compressed, each on its own: {', '.join(parts)}. "
        "Free its forward of control flow that depends on tensor values to do better."
    )
    return network, parts


def _capture_whole(model: nn.Module, free_sizes: bool, images: torch.Tensor) -> fx.GraphModule:
    """As `_capture`; once more with another number of images where that of these meets another.

    A model may compare it with one that it remembers from its last call, or that it has by itself.
    """
    try:
        return _capture(model, free_sizes, images)
    except Exception as error:
        from torch._dynamo.exc import UserError  # capturing has loaded it, importing fmtc shall not

        if not isinstance(error, UserError):
            raise
        return _capture(model, free_sizes, torch.cat([images, images[:1]]))


def _capture(model: nn.Module, free_sizes: bool, *args: Any, **kwargs: Any) -> fx.GraphModule:
    if free_sizes:
        try:
            with limited(LONGEST):
                return capture(model, *args, free_sizes=True, **kwargs)
        except Exception:  # sizes that the model has in numbers, or that torch cannot compare
            pass
    return capture(model, *args, **kwargs)


def _take_parts(
    parent: nn.Module, path: str, calls: dict[str, list[Call]], free_sizes: bool
) -> list[str]:
    """Put captured modules in the place of children; the paths of those."""
    parts = []
    for name, child in parent.named_children():
        inner = f"{path}.{name}".strip(".")
        if not any(isinstance(module, CODED) for module in child.modules()):
            continue
        part = _captured_alone(child, calls.get(inner, []), free_sizes)
        if part is not None:
            _keep_attributes(part, child)
            parent._modules[name] = part
            parts.append(inner)
        else:
            parts += _take_parts(child, inner, calls, free_sizes)
    return parts


def _keep_attributes(part: fx.GraphModule, module: nn.Module) -> None:
    """Those that the Python around it may read, in a copy of the part too."""
    kept = {key: value for key, value in vars(module).items() if not hasattr(part, key)}
    vars(part).update(kept)
    part.meta[_USER_PRESERVED_ATTRIBUTES_KEY] = kept


def _captured_alone(
    module: nn.Module, calls: list[Call], free_sizes: bool
) -> fx.GraphModule | None:
    """The module's graph; None where it has none, or is not always called in the same way."""
    if not calls or len({_kind(call) for call in calls}) > 1:
        return None
    args, kwargs = calls[0]
    try:
        return _capture(module, free_sizes, *args, **kwargs)
    except Exception:  # as for the whole
        return None


def _kind(call: Call) -> str:
    """What two calls of one graph must have in common."""
    leaves, spec = pytree.tree_flatten(call)
    plain = [x.dim() if isinstance(x, torch.Tensor) else repr(x) for x in leaves]
    return f"{spec} {plain}"


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """TimeoutError in this thread where what is inside takes longer, as far as it is Python."""
    thread = ctypes.c_ulong(threading.get_ident())
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    timer = threading.Timer(seconds, raise_in, (thread, ctypes.py_object(TimeoutError)))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        raise_in(thread, None)  # what was raised too late for that


@torch.no_grad()
def calls_of(
    network: nn.Module, modules: dict[str, nn.Module], batches: list[torch.Tensor]
) -> dict[str, list[Call]]:
    """What modules are called with while the network runs, in the order of their first calls."""
    calls: dict[str, list[Call]] = {}

    def note(name: str):
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            # Copies, because the module may change its inputs.
            copied = pytree.tree_map_only(torch.Tensor, torch.clone, (args, kwargs))
            calls.setdefault(name, []).append(copied)

        return hook

    hooks = [
        module.register_forward_pre_hook(note(name), with_kwargs=True)
        for name, module in modules.items()
    ]
    try:
        for batch in batches:
            network(batch)
    finally:
        for handle in hooks:
            handle.remove()
    return calls


@contextmanager
def running(module: nn.Module, forward: Any) -> Iterator[None]:
    """While it is entered, calls of the module run ``forward``."""
    module.forward = forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        del module.forward
