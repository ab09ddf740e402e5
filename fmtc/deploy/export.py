"""A compressed network as an AOTInductor package, to run without Python.

The file (.pt2) holds two compiled models with the same input x [N, ...]:

``compressed``  really makes and decodes the streams. Its outputs are the tensors of the network's
                output in order, then ``used`` i64 [N, points], the bytes of each image's stream
                at each coding point, and ``status`` i32 [N, points], what decoding it said (0, or
                a number of csrc/core/status.h; its levels are then 0). With statistics they are
                followed by ``clamped`` i64 [points], how many values were, and for each point that
                is coded the histogram of its symbols, i64 [classes, L], both of all images.
``plain``       the uncompressed network; the tensors of its output alone. It can also be in a file
                of its own (`export_plain`), which packages of several points share.

Both carry the same metadata (``fmtc.deploy.metadata``), a JSON text under the key "fmtc". Where the
package runs, the library of the operators (libfmtc_ops.so) must have been loaded.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..data.datasets import Dataset
from ..data.preprocess import parse_preprocess
from ..files import check_writable, write_atomically
from ..model.model import CompressedModel
from ..network.outputs import tensors
from .export_split import export_split
from .metadata import SCHEMA, measured_outputs, package_metadata, plain_metadata, shown_output
from .packages import METADATA_KEY, check_example, exported, with_batch, write_package
from .split import Split
from .streaming import Flat, Streaming

REFERENCE_SCHEMA = "fmtc.reference/1"
COMPRESSED, PLAIN = "compressed", "plain"


def export(
    compressed: CompressedModel | Split,
    path: str | os.PathLike,
    example: Tensor,
    *,
    dynamic_batch: bool = True,
    preprocess: str | None = None,
    classes: Sequence[str] | None = None,
    statistics: bool = False,
    plain: str | os.PathLike | None = None,
    name: str | None = None,
    calibration: Dataset | None = None,
    seed: int = 0,
) -> None:
    """Write a compressed network as an AOTInductor package; compiling takes minutes.

    Args:
        compressed: What `fmtc.compress` gave; or `fmtc.split`, of which head.pt2 and tail.pt2 are
            written, for ``fmtc_infer --head`` and ``--tail`` (``fmtc.deploy.export_split``), and
            what is for fmtc_eval is refused.
        path: Ends in .pt2. Of a split network, a folder.
        example: float32 [N, ...], an input of the size that the package shall take, on the device
            that it is for and that the networks are on.
        dynamic_batch: The package takes any N; without, that of ``example`` is fixed, too.
        preprocess: How an image becomes an input (``fmtc.data.preprocess``); kept for who runs the
            package.
        classes: Names of the outputs; kept for who runs the package.
        statistics: For fmtc_eval: the compressed network counts its levels, which needs a
            dynamic_batch.
        plain: For fmtc_eval: a package by `export_plain` in the same folder, with the plain network
            that this one then leaves out.
        name: For fmtc_eval: of the network in results; None for its class's.
        calibration: For fmtc_eval: the images that it was calibrated with, which are known again by
            what their files hold and never evaluated.
        seed: For fmtc_eval: by which they were drawn (``fmtc.data.datasets.split``).

    Raises:
        ExportError: The network cannot be exported; it names what cannot.
        ValueError: Bad arguments.
        OSError: The file cannot be written; before anything is compiled if its folder is the
            reason.

    Example:
        >>> fmtc.export(compressed, "m.pt2", x, preprocess="resize=32")  # doctest: +SKIP
    """
    if isinstance(compressed, Split):
        if statistics or any(given is not None for given in (plain, name, calibration)):
            raise ValueError("export: a split network takes nothing that is for fmtc_eval")
        options: dict[str, Any] = {"preprocess": preprocess, "classes": classes}
        export_split(compressed, path, example, dynamic_batch=dynamic_batch, **options)
        return
    path = _package_path(path)
    if not isinstance(compressed, CompressedModel):
        raise ValueError(f"export: expected a compressed model, got {type(compressed).__name__}")
    check_example(compressed.reference, example)
    if preprocess is not None:
        parse_preprocess(preprocess).check_channels(example.shape[1])  # says what is wrong with it
    if statistics and not dynamic_batch:
        raise ValueError("export: statistics are for packages that take any batch")
    if plain is not None and Path(plain).resolve().parent != path.resolve().parent:
        raise ValueError(f"export: {plain} must be in the folder of {path}")
    check_writable(path.parent)
    example = with_batch(example, dynamic_batch)
    streaming = Streaming(compressed, statistics)
    programs = {COMPRESSED: exported(streaming, (example,), dynamic_batch)}
    if plain is None:
        programs[PLAIN] = exported(Flat(compressed.reference), (example,), dynamic_batch)
    metadata = package_metadata(
        compressed,
        streaming,
        example,
        batch=None if dynamic_batch else len(example),
        preprocess=preprocess,
        classes=classes,
        plain=None if plain is None else Path(plain).name,
        name=name,
        calibration=calibration,
        seed=seed,
    )
    write_package(path, programs, {METADATA_KEY: json.dumps(metadata)})


def export_plain(
    model: nn.Module,
    path: str | os.PathLike,
    example: Tensor,
    *,
    dynamic_batch: bool = True,
) -> None:
    """Write an uncompressed network as a package, once for those of several of its points.

    Args:
        model: The network, or one compressed from it.
        path: As for `export`, whose ``plain`` names it then.
        example: As for `export`.
        dynamic_batch: As for `export`.

    Raises:
        ExportError: As for `export`.
        ValueError: As for `export`.
        OSError: As for `export`.

    Example:
        >>> fmtc.export_plain(model, "plain.pt2", x)  # doctest: +SKIP
        >>> fmtc.export(compressed, "m.pt2", x, plain="plain.pt2")  # doctest: +SKIP
    """
    path = _package_path(path)
    model = model.reference if isinstance(model, CompressedModel) else model
    check_example(model, example)
    example = with_batch(example, dynamic_batch)
    metadata = plain_metadata(model, example, None if dynamic_batch else len(example))
    program = exported(Flat(model), (example,), dynamic_batch)
    write_package(path, {PLAIN: program}, {METADATA_KEY: json.dumps(metadata)})


def network_in(path: str | os.PathLike) -> tuple[str, str] | None:
    """The fingerprint of a package's uncompressed network and the device that it is for.

    None where there is no package of this version and of this torch.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(n for n in archive.namelist() if n.endswith("_metadata.json"))
            metadata = json.loads(json.loads(archive.read(name))[METADATA_KEY])
        if (metadata["schema"], metadata["torch"]) == (SCHEMA, torch.__version__):
            return metadata["network"], metadata["device"]
    except (OSError, ValueError, KeyError, StopIteration, zipfile.BadZipFile):
        pass
    return None


def export_reference(
    compressed: CompressedModel, path: str | os.PathLike, images: Tensor, *, batch: int = 25
) -> None:
    """Write what a compressed network makes of images, for ``fmtc_infer --check`` to compare with.

    The file holds ``output`` [N, ...], the one whose classes are shown (the first that counts and
    has classes, or else the first that counts), ``plain``, that of the uncompressed network, and
    ``used`` i64 [N, points], the bytes of the streams.

    Args:
        compressed: The compressed network.
        path: A safetensors file.
        images: float32 [N, ...], preprocessed, in the order in which fmtc_infer takes the files: as
            they are named, those of a folder sorted by their paths.
        batch: That of fmtc_infer's ``--batch``, best also on as many threads: convolutions round
            otherwise in other batches, which can tip a decision between two classes.

    Raises:
        ValueError: Images of another kind or number, a stream that does not decode.

    Example:
        >>> fmtc.export_reference(compressed, "reference.safetensors", images)
    """
    check_example(compressed.reference, images)
    streaming, plain = Streaming(compressed), compressed.reference
    parts: dict[str, list[Tensor]] = {"output": [], "plain": [], "used": []}
    with torch.no_grad():
        first = plain(images[:1])
        shown = shown_output(measured_outputs(compressed, first), first)
        for x in images.split(batch):
            *outputs, used, status = streaming(x)
            if status.any():
                raise ValueError("export_reference: a stream does not decode")
            parts["output"].append(outputs[shown])
            parts["plain"].append(tensors(plain(x))[shown])
            parts["used"].append(used)
    made = {name: torch.cat(of).cpu() for name, of in parts.items()}
    write_atomically(path, save(made, {"schema": REFERENCE_SCHEMA}))


def _package_path(path: str | os.PathLike) -> Path:
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"export: the package must be named *.pt2, not {path.name!r}")
    return path
