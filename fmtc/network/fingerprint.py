"""Telling models apart."""

from __future__ import annotations

import hashlib
import re

import torch
from torch import nn


def fingerprint(model: nn.Module) -> str:
    """Tell models apart by their layers, parameters and buffers.

    Args:
        model: Any module.

    Returns:
        SHA-256 over the model's layers with their settings, and all parameters and buffers, as 64
        hexadecimal digits.

    Example:
        >>> import copy
        >>> fmtc.fingerprint(model) == fmtc.fingerprint(copy.deepcopy(model))
        True
        >>> len(fmtc.fingerprint(model))
        64
    """
    digest = hashlib.sha256(type(model).__name__.encode())
    # Without the addresses that some representations show.
    digest.update(re.sub(r" at 0x[0-9a-f]+", "", repr(model)).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def measured_with(model: nn.Module, images: torch.Tensor) -> str:
    """SHA-256 over a network, as of `fingerprint`, and images, as hexadecimal digits."""
    digest = hashlib.sha256(fingerprint(model).encode())
    digest.update(f"{images.dtype}|{list(images.shape)}|".encode())
    digest.update(
        images.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    )
    return digest.hexdigest()
