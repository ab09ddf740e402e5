"""The result document "fmtc.result/3": made, checked, written whole or not at all, read again.

It is an evaluation (one network, the points of a sweep) or an experiment (several networks' points
with the figure and the tables made of them). The JSON Schema in ``schemas/result-3.json`` says what
each field means and in which unit. Documents of versions 1 and 2 are still read.
"""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..errors import ResultError
from ..files import write_atomically

SCHEMA = "fmtc.result/3"
OLDER = SCHEMA_1, SCHEMA_2 = "fmtc.result/1", "fmtc.result/2"
# Kinds of rate, in bits per value (docs/method.md, "How bits are counted").
RATES = ("entropy", "entropy_classes", "cross_entropy", "huffman", "stream")
PLAIN_BITS = 8  # of a value that is not coded: left out, or what savings are counted against


def new_result(
    command: str,
    model: str,
    dataset: dict[str, Any],
    seed: int,
    reference: dict[str, float | None],
) -> dict[str, Any]:
    """An evaluation without points.

    command: what was run; model: its name; dataset: ``path``, ``calibration_images``,
    ``evaluated_images`` and, where there are any, the names ``skipped``; reference: ``top1`` and
    ``top5`` of the uncompressed network as fractions or None.
    """
    return {
        "schema": SCHEMA,
        "command": command,
        "model": model,
        "dataset": dataset,
        "environment": environment(seed),
        "reference": reference,
        "points": [],
    }


def new_experiment(
    name: str,
    command: str,
    environment: dict[str, Any],
    results: list[dict[str, Any]],
    figure: dict[str, Any],
    tables: list[dict[str, Any]],
    conclusion: str,
) -> dict[str, Any]:
    """An experiment made of evaluations; their points' layers are left out to save space."""
    keys = ("model", "dataset", "reference", "points", "spectrum")
    networks = [{key: result[key] for key in keys if key in result} for result in results]
    for network in networks:
        network["points"] = [{**point, "layers": []} for point in network["points"]]
    return {
        "schema": SCHEMA,
        "command": command,
        "experiment": name,
        "environment": environment,
        "results": networks,
        "figure": figure,
        "tables": tables,
        "conclusion": conclusion,
    }


def is_experiment(result: Mapping[str, Any]) -> bool:
    """True for a document of `new_experiment`."""
    return "experiment" in result


def environment(seed: int | None = None) -> dict[str, Any]:
    """Versions, machine and seed that a result was measured with."""
    return {
        "fmtc": package_version("fmtc"),
        "commit": commit(),
        "torch": torch.__version__,
        "torchvision": package_version("torchvision"),
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "seed": seed,
    }


def package_version(name: str) -> str | None:
    """Of an installed package, which is not imported for that; None where it is not there."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def commit() -> str | None:
    """Commit of the source tree this package runs from (with "-dirty" where files were changed).

    None for an installed package.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def cpu_name() -> str:
    """The processor as Linux calls it, or what Python knows of it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def setting_label(setting: dict[str, Any]) -> str:
    """A point's setting for people: "b = 8", "1.5 bits", "15 dB", "drop 0.1 %"."""
    value = setting["value"]
    return {
        "b": f"b = {value:g}",
        "step": f"step {value:.4g}",
        "rate": f"{float(f'{value:g}')} bits",
        "snr_db": f"{value:g} dB",
        "kl": f"KL {value:g}",
        "agreement": f"{100 * value:g} % agree",
        "drop": f"drop {100 * value:g} %",
    }[setting["kind"]]


def write_result(result: dict[str, Any], path: str | os.PathLike[str]) -> None:
    """Check the document and put it in the place of `path` in one step.

    A crash or an interruption leaves the earlier file whole. ResultError: not valid; OSError.
    """
    validate(result)
    text = json.dumps(result, indent=1, allow_nan=False) + "\n"
    write_atomically(path, text.encode())


def load_result(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read and check a result file. FileNotFoundError; ResultError names what is wrong.

    Older versions are given as version 3. Version 2 knew one output and one SNR, which is
    both ``snr_db`` and ``snr_db_image`` now; version 1 had no blocks, energies and readers, which
    are None.
    """
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ResultError(f"{path} is not JSON: {error}") from error
    try:
        validate(result)
    except ResultError as error:
        raise ResultError(f"{path}: {error}") from error
    return _upgraded(result) if result["schema"] in OLDER else result


def _upgraded(result: dict[str, Any]) -> dict[str, Any]:
    networks = result["results"] if is_experiment(result) else [result]
    for point in [point for network in networks for point in network["points"]]:
        point |= {"snr_db_image": point["snr_db"], "outputs": [], "written": None}
        point["bits_per_written_value"] = dict.fromkeys(point["bits_per_value"])
        if result["schema"] == SCHEMA_1:
            point |= {"block": None, "joules_per_image": dict.fromkeys(point["bits_per_value"])}
            for layer in point["layers"]:
                layer["reads"] = None
    return {**result, "schema": SCHEMA}


def schema(version: str = SCHEMA) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a result document."""
    from importlib import resources

    name = version.removeprefix("fmtc.").replace("/", "-")
    file = resources.files(__package__) / "schemas" / f"{name}.json"
    return json.loads(file.read_text(encoding="utf-8"))


def validate(result: Any) -> None:
    """ResultError where the document has another schema, a NaN/Inf, or does not fit the schema.

    The last is checked where the package `jsonschema` is installed.
    """
    found = result.get("schema") if isinstance(result, dict) else None
    if found not in (SCHEMA, *OLDER):
        raise ResultError(f"not a result of schema {SCHEMA!r} (its schema is {found!r})")
    _require_finite(result, "")
    try:
        import jsonschema
    except ImportError:
        return
    error = jsonschema.exceptions.best_match(
        jsonschema.Draft202012Validator(schema(found)).iter_errors(result)
    )
    if error is not None:
        where = error.json_path.removeprefix("$").lstrip(".") or "the document"
        raise ResultError(f"not a valid result: {where}: {error.message}")


def _require_finite(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _require_finite(item, f"{where}.{key}" if where else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _require_finite(item, f"{where}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ResultError(f"{where} is {value}; only finite numbers can be written")
