"""What tests of fmtc_eval share: running it, and its results beside Python's."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from fmtc.results.result import load_result

# Figures of times, and what says how and where a result was made.
# What differs from run to run, and what is only drawn, which Python alone writes.
OF_A_RUN = (
    "seconds",
    "seconds_per_image",
    "environment",
    "command",
    "histogram",
    "spectrum",
    "fingerprint",  # of the network in torch, which a package does not have
)
DIVERGENCES = ("kl", "kl_interval")


class Program:
    """fmtc_eval, on one thread."""

    def __init__(self, path: Path):
        self.path = path

    def start(self, *arguments, **options) -> subprocess.Popen:
        command = [str(self.path), *map(str, arguments)]
        if "--threads" not in command:
            command += ["--threads", "1"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, env=environment, **pipes, **options)

    def __call__(self, *arguments, error: str | None = None, **options):
        """Its output and what it says; it must succeed, or end with this error."""
        running = self.start(*arguments, **options)
        out, said = running.communicate()
        if error is None:
            assert running.returncode == 0, said
        else:
            last = said.splitlines()[-1]
            assert running.returncode == 2 and last.startswith("fmtc_eval: "), said
            assert re.search(error, last), last
        return out, said


def program_in(build_tree: Path) -> Program:
    path = build_tree / "csrc" / "infer" / "fmtc_eval"
    if not path.exists():
        pytest.skip(
            "fmtc_eval was not built: `make build-programs`, with nlohmann-json3-dev, "
            "libcli11-dev, libjpeg-dev and libpng-dev"
        )
    return Program(path)


def results(first: Path, second: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two results, checked against the schema, without what belongs to a run."""
    return tuple(_without_run(load_result(path)) for path in (first, second))


def _without_run(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_run(of) for key, of in value.items() if key not in OF_A_RUN}
    return list(map(_without_run, value)) if isinstance(value, list) else value


def check_alike(found: Any, expected: Any, where: str = "") -> None:
    """Counts, names and shares equal, rates and decibels to 1e-6, divergences to 1e-5."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key, value in expected.items():
            check_alike(found[key], value, f"{where}.{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for index, value in enumerate(expected):
            check_alike(found[index], value, f"{where}[{index}]")
    elif isinstance(expected, float) and isinstance(found, (int, float)):
        relative = 1e-5 if any(f".{name}" in where for name in DIVERGENCES) else 1e-6
        assert found == pytest.approx(expected, rel=relative, abs=1e-12), where
    else:
        assert found == expected, where


def check_exact(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """The figures that are counts, or shares of them, bit for bit; and bytes of streams."""
    assert found["reference"] == expected["reference"]
    assert found["dataset"] == expected["dataset"]
    for point, other in zip(found["points"], expected["points"], strict=True):
        for key in ("top1", "top5", "agreement", "values", "clamped_fraction"):
            assert point[key] == other[key], key
        for layer, of in zip(point["layers"], other["layers"], strict=True):
            assert layer["values"] == of["values"]
            assert _bytes(layer) == _bytes(of), layer["name"]


def _bytes(layer: dict[str, Any]) -> int:
    return round(layer["bits_per_value"]["stream"] * layer["values"] / 8)


def part_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())
