"""Where things run."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

from . import build_info

M = TypeVar("M", bound=nn.Module)


def usable(device: torch.device | str) -> torch.device:
    """That device. Raises ValueError that says why it cannot be used."""
    found = torch.device(device)
    if found.type == "cuda" and not torch.cuda.is_available():
        why = "finds no GPU" if torch.version.cuda else "was built without CUDA"
        raise ValueError(f"device {device}: this torch ({torch.__version__}) {why}")
    if found.type == "cuda" and not build_info()["cuda"]:
        raise ValueError(
            f"device {device}: fmtc was built without CUDA; build it again where nvcc of CUDA "
            f"{torch.version.cuda} is found (CUDA_HOME), with USE_CUDA=1 to see what is missing"
        )
    return found


def copied_to(model: M, device: torch.device | str) -> M:
    """A copy of the model on another device, or the model itself where all of it is there."""
    device = torch.device(device)
    if device.type == "cuda" and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    devices = {part.device for part in (*model.parameters(), *model.buffers())}
    return model if devices <= {device} else copy.deepcopy(model).to(device)
