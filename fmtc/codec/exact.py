"""Modules of numbers that must stay what they are."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Exact(nn.Module):
    """A module whose tensors move between devices, but keep their types.

    A codec computes in float32 and int64 whatever the network around it computes in. Its tensors
    are no parameters, and not in a ``state_dict`` one by one: a compressed model saves them as the
    description of its codecs.
    """

    def hold(self, name: str, tensor: torch.Tensor | None) -> None:
        """Keep a tensor as ``self.name``."""
        self.register_buffer(name, tensor, persistent=False)

    def _apply(self, fn: Any, recurse: bool = True) -> Exact:
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, tensor in before.items():
            moved = self._buffers[name]
            if tensor is not None and moved is not None and moved.dtype != tensor.dtype:
                self._buffers[name] = tensor.to(moved.device)
        return self
