"""`fmtc info`: what a bug report needs to know."""

from __future__ import annotations

import platform
from typing import Any

import torch

from ..ops import build_info
from ..results.result import environment


def info() -> dict[str, Any]:
    """Versions, machine and build flags."""
    lines = {**environment(), "platform": platform.platform(), **_torch_cuda()}
    del lines["seed"]
    return lines | {f"build: {key}": value for key, value in build_info().items()}


def info_text() -> str:
    """The same, one in a line."""
    lines = info()
    width = max(map(len, lines))
    return "\n".join(f"{key:{width}}  {_text(value)}" for key, value in lines.items())


def _torch_cuda() -> dict[str, Any]:
    """torch's CUDA version, and whether it finds a GPU."""
    return {"torch cuda": torch.version.cuda, "cuda device": torch.cuda.is_available()}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)
