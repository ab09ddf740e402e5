"""Modules whose Python code cannot be traced: their convolutions are coded one by one, by hooks.

Without a graph nothing is known of what follows a convolution, so its own output is the coding
point: no folding, no fused residual adds, BN after decoding.
Calibration has to run such a module once for each of its convolutions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only


class HookedConv:
    """A convolution inside an untraced module, and ``code``, which its hook applies to the output.

    ``excluded``: the user left it out. ``seen``: a list that collects outputs, or None.
    """

    def __init__(self, name: str, conv: nn.Module, on_call: Callable[[HookedConv], None]):
        self.name = name
        self.excluded = False
        self.code: Callable[[torch.Tensor], torch.Tensor] | None = None
        self.seen: list[torch.Tensor] | None = None
        self._on_call = on_call
        conv.register_forward_hook(self._hook)

    def _hook(self, conv: nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        if output.shape[2:].numel() == 1:
            return output  # one pixel: a fully connected layer, not coded
        self._on_call(self)
        if self.seen is not None:
            self.seen.append(output)
        return output if self.code is None else self.code(output)


class Untraced(nn.Module):
    """A module that runs as it is, with hooks on its convolutions.

    layers: all its convolutions.
    """

    def __init__(self, module: nn.Module, path: str):
        super().__init__()
        self.module = module
        self.points = nn.ModuleList()
        self.layers: list[HookedConv] = []
        self._called: list[HookedConv] = []
        self.calibrated = False
        prefix = f"{path}." if path else ""
        for name, inner in module.named_modules():
            if isinstance(inner, (nn.Conv2d, nn.ConvTranspose2d)):
                self.layers.append(HookedConv((prefix + name).rstrip("."), inner, self._note))

    def forward(self, *args, **kwargs):
        # Copies, because the module may change its inputs, and calibration runs it several times.
        args, kwargs = tree_map_only(torch.Tensor, torch.clone, (args, kwargs))
        return self.module(*args, **kwargs)

    def attach(self, layer: HookedConv, point: nn.Module) -> None:
        """Let what the convolution produces pass this coding point."""
        layer.code = point
        self.points.append(point)

    def calibrate(self, run: Callable[[], list], fit: Callable[[HookedConv, list], Any]):
        """Fit the layers in the order of their first call, each with the earlier ones coding.

        run: executes the module on every micro-batch. fit: (layer, tensors) -> its codec.
        Returns the codecs by name, of the layers that were called, and the module's outputs.
        """
        self._called.clear()
        run()
        codecs, order = {}, list(self._called)
        for layer in order:
            layer.seen = []
            run()
            tensors, layer.seen = layer.seen, None
            if tensors:
                codec = codecs[layer.name] = fit(layer, tensors)
                layer.code = codec.simulate
        self.calibrated = True
        return codecs, run()

    def _note(self, layer: HookedConv) -> None:
        if not any(layer is known for known in self._called):
            self._called.append(layer)
