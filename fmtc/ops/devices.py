"""Moving what is no module, such as codecs, between devices."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from .. import ops


def usable(device: str) -> torch.device:
    """The device of that name. Raises ValueError that says why it cannot be used."""
    found = torch.device(device)
    if found.type == "cuda" and not torch.cuda.is_available():
        why = "finds no GPU" if torch.version.cuda else "was built without CUDA"
        raise ValueError(f"device {device}: this torch ({torch.__version__}) {why}")
    if found.type == "cuda" and not ops.build_info()["cuda"]:
        raise ValueError(
            f"device {device}: fmtc was built without CUDA; build it again where nvcc of CUDA "
            f"{torch.version.cuda} is found (CUDA_HOME), with USE_CUDA=1 to see what is missing"
        )
    return found


def copied_to(model: nn.Module, device: torch.device | str) -> nn.Module:
    """A copy of the model on another device, or the model itself where it is there already."""
    device = torch.device(device)
    types = {part.device.type for part in (*model.parameters(), *model.buffers())}
    return model if types <= {device.type} else copy.deepcopy(model).to(device)


def move_tensors(part: Any, device: torch.device) -> None:
    """Move all tensors that an object of ours holds, in lists and in its parts, too.

    In place, so that whoever has the object sees it; dtypes stay. Tensors in tuples, as calibration
    moments are kept, stay where they are.
    """
    for name, value in vars(part).items():
        if isinstance(value, torch.Tensor):
            vars(part)[name] = value.to(device)
        elif isinstance(value, list):
            value[:] = [v.to(device) if isinstance(v, torch.Tensor) else v for v in value]
        elif type(value).__module__.partition(".")[0] == "fmtc" and hasattr(value, "__dict__"):
            move_tensors(value, device)
