"""Loads the compiled parts: the torch operators (libfmtc_ops.so) and the module fmtc._C."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import torch

OPERATORS = Path(__file__).parents[1] / "libfmtc_ops.so"

_HOW_TO_BUILD = (
    "Build it in the source tree with `make build`, or in an environment of your own with "
    "`pip install -e . --no-build-isolation` (torch >= 2.11, cmake, ninja, pybind11 and "
    "cmeel-eigen must be installed there)."
)


def load() -> ModuleType:
    """Register the operators ``torch.ops.fmtc.*`` and return fmtc._C, which links them.

    Raises ImportError that names the file, the cause and how to build it.
    """
    if not OPERATORS.exists():
        raise ImportError(f"fmtc: the compiled operators {OPERATORS} are missing. {_HOW_TO_BUILD}")
    try:
        torch.ops.load_library(OPERATORS)
    except (OSError, RuntimeError) as error:
        raise ImportError(
            f"fmtc: the compiled operators {OPERATORS} cannot be loaded with torch "
            f"{torch.__version__}: {error}. {_HOW_TO_BUILD}"
        ) from error
    try:
        return importlib.import_module("fmtc._C")
    except ImportError as error:
        raise ImportError(
            f"fmtc: the compiled module {OPERATORS.with_name('_C')} cannot be imported: {error}. "
            f"{_HOW_TO_BUILD}"
        ) from error
