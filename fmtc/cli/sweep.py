"""A curve: one network compressed for several targets, each evaluated and saved when it is done."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from ..evaluation.distributed import is_first
from ..evaluation.evaluate import Reference, evaluate
from ..model.model import Compressor
from ..ops.devices import copied_to
from ..results.result import write_result
from ..targets import Target, TargetError


def sweep(
    compressor: Compressor,
    targets: Iterable[Target],
    data: Any,
    result: dict[str, Any],
    path: str | Path,
    *,
    reference: Reference,
    device: torch.device | str = "cpu",
    batch: int = 25,
    progress: bool = False,
    on_point: Callable[[dict[str, Any]], None] = lambda point: None,
) -> dict[str, Any]:
    """Measure a point for each target and add it to `result`, which is written to `path`.

    The file is written after every point, so that an interruption loses only the point in work. A
    target that cannot be met is left out with a warning that names the nearest.
    data: what `evaluate` takes, not the calibration images; reference: the uncompressed network on
    `data`; device: where the compressed networks run, which are calibrated where the compressor's
    model is; on_point: called with each finished point.
    """
    for target in targets:
        try:
            compressed = compressor.compress(target)
        except TargetError as error:
            warnings.warn(str(error), stacklevel=2)
            continue
        compressed = copied_to(compressed, device)
        point = evaluate(compressed, data, reference=reference, batch=batch, progress=progress)
        result["points"].append(point)
        if is_first():
            write_result(result, path)
        on_point(point)
    return result
