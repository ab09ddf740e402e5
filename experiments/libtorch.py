"""Points of a network measured by fmtc_eval, the C++ program: compressed and exported here."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import fmtc
from fmtc.errors import UsageError
from fmtc.results.result import load_result
from fmtc.targets import Target

from .store import Store

ROOT = Path(__file__).resolve().parents[1]


def points(
    store: Store,
    preset: str,
    targets: Sequence[Target],
    weight_bits: int,
    program: str | None = None,
) -> list[dict[str, Any]]:
    """The point of each target, in their order, from the store or measured now, all in one run.

    Packages stay in a temporary folder while they are needed. UsageError: images that are in no
    files, points without streams, no program.
    """
    missing = [t for t in targets if store.known(preset, t, weight_bits) is None]
    if missing:
        _check(store)
        with tempfile.TemporaryDirectory(prefix="fmtc-packages-") as folder:
            packages = [
                _exported(store, Path(folder), preset, target, weight_bits) for target in missing
            ]
            measured = _measured(store, packages, program or _found(), Path(folder))
        for key in ("evaluated_images", "calibration_images"):
            if measured["dataset"][key] != store.result["dataset"][key]:
                raise RuntimeError(f"fmtc_eval has other images: {key} {measured['dataset'][key]}")
        for point in measured["points"]:
            store.add(point)
    return [store.point(preset, target, weight_bits) for target in targets]


def _check(store: Store) -> None:
    if store.network.data is None:
        raise UsageError(f"{store.network.name}: --engine libtorch needs --data, images in files")
    if store.mode != "stream":
        raise UsageError("--engine libtorch makes streams: leave out --mode simulate")


def _exported(store: Store, folder: Path, preset: str, target: Target, weight_bits: int) -> Path:
    compressed, loaded = store.compressed(preset, target, weight_bits), store.loaded
    plain, path = folder / "plain.pt2", folder / f"{preset}-{target}.pt2"
    example = loaded.calibration[:2]
    if not plain.exists():
        fmtc.export_plain(compressed, plain, example)
    fmtc.export(
        compressed,
        path,
        example,
        preprocess=loaded.test.preprocess.text,
        statistics=True,
        plain=plain,
        name=store.network.name,
        calibration=loaded.calibrated_with,
        seed=store.network.seed,
    )
    return path


def _measured(store: Store, packages: Sequence[Path], program: str, folder: Path) -> dict[str, Any]:
    network, result = store.network, folder / "result.json"
    command = [program, *map(str, packages), "--data", network.data, "--json", str(result)]
    given = {"labels": network.labels, "class-index": network.class_index, "images": network.images}
    given |= {"batch": network.batch, "threads": torch.get_num_threads(), "seed": network.seed}
    for name, value in given.items():
        command += [] if value is None else [f"--{name}", str(value)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError((done.stderr.splitlines() or ["fmtc_eval failed"])[-1])
    return load_result(result)


def _found() -> str:
    """The program of the build tree, or on the PATH. UsageError."""
    built = sorted(ROOT.glob("build/cmake-*/csrc/infer/fmtc_eval"))
    found = str(built[-1]) if built else shutil.which("fmtc_eval")
    if found is None:
        raise UsageError("there is no fmtc_eval: `make build-programs`, or name it by --program")
    return found
