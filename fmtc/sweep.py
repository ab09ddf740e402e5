"""A curve: one network compressed at several settings, each evaluated and saved when it is done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from .evaluate import Reference, evaluate
from .model import compress
from .result import write_result


def sweep(
    model: nn.Module,
    calibration: Tensor,
    data: Any,
    result: dict[str, Any],
    path: str | Path,
    *,
    bits: Sequence[int],
    reference: Reference,
    batch: int = 25,
    progress: bool = False,
    on_point: Callable[[dict[str, Any]], None] = lambda point: None,
    **options: Any,
) -> dict[str, Any]:
    """Measure a point for each b in `bits` and add it to `result`, which is written to `path`.

    The file is written after every point, so that an interruption loses only the point in work.
    calibration: images [N,C,H,W]; data: what `evaluate` takes; reference: the uncompressed network
    on `data`; options: of `fmtc.compress`; on_point: called with each finished point.
    """
    for b in bits:
        compressed = compress(model, calibration, bits=b, progress=progress, **options)
        point = evaluate(compressed, data, reference=reference, batch=batch, progress=progress)
        result["points"].append(point)
        write_result(result, path)
        on_point(point)
    return result
