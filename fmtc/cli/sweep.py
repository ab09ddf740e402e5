"""A curve: one network compressed for several targets, each evaluated and saved when it is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ..calibration.compressor import Compressor
from ..codec.codec import TensorCodec
from ..evaluation.distributed import is_first
from ..evaluation.evaluate import evaluate
from ..evaluation.reference import Reference
from ..model.model import CompressedModel
from ..progress import Progress, warn
from ..results.result import write_result
from ..results.spectrum import eigenvalues_needed
from ..targets import Target, TargetError

ENERGIES = tuple(i / 20 for i in range(10, 20)) + (0.98, 0.99, 0.995, 0.999)  # of the spectra


def sweep(
    compressor: Compressor,
    targets: Iterable[Target],
    data: Any,
    result: dict[str, Any],
    path: str | Path,
    *,
    reference: Reference,
    batch: int = 25,
    progress: Progress = False,
    on_compressed: Callable[[CompressedModel, Target], object] = lambda compressed, target: None,
    on_point: Callable[[dict[str, Any]], object] = lambda point: None,
) -> dict[str, Any]:
    """Measure a point for each target and add it to `result`, which is written to `path`.

    The file is written after every point, so that an interruption loses only the point in work. A
    target that cannot be met is left out with a warning that names the nearest.
    data: what `evaluate` takes, not the calibration images; reference: the uncompressed network on
    `data`; batch: images at a time; on_compressed: called with each compressed network, in the
    first process, before it is evaluated; on_point: with each finished point. OSError: the file
    cannot be written; what `evaluate` and these two raise.
    """
    for target in targets:
        try:
            compressed = compressor.compress(target)
        except TargetError as error:
            if is_first():
                warn(str(error))
            continue
        if is_first():
            on_compressed(compressed, target)
        point = evaluate(compressed, data, reference=reference, batch=batch, progress=progress)
        _add_spectra(point, compressed)
        result["points"].append(point)
        if is_first():
            write_result(result, path)
        on_point(point)
    return result


def _add_spectra(point: dict[str, Any], compressed: CompressedModel) -> None:
    """How few eigenvalues hold each layer's energy, of which only a calibration knows."""
    for layer in point["layers"]:
        codec = compressed.codecs[layer["name"]]
        if isinstance(codec, TensorCodec) and codec.transform.energies is not None:
            needed = eigenvalues_needed(codec.transform.energies.cpu(), ENERGIES)
            shares = [round(share, 4) for share in needed]
            layer["spectrum"] = {"energy": list(ENERGIES), "eigenvalues": shares}
