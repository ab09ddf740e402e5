"""The examples in Python run as they are, from any folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "examples" / "python"
PRINTED = {
    "own_coder": [r"zlib: \d\.\d+ bits", r"rans: \d\.\d+ bits", "saved and loaded with coder zlib"],
    "sc2bench_codec": [r"\d\.\d\d bits a value", r"(9\d|100)% of the images keep their class"],
    "own_preset": [", percentile\n", r"4 bits, percentile: \d+\.\d dB", "bits per value over"],
}


def test_all_examples_are_run():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_example(name, tmp_path):
    path = FOLDER / f"{name}.py"
    # As a user's would: on public names alone, without files of its own.
    assert not re.findall(r"from fmtc|import fmtc\.|fmtc\.\w*\._|fmtc\._", path.read_text())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, path],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for pattern in PRINTED[name]:
        assert re.search(pattern, done.stdout), (pattern, done.stdout)
    assert not list(tmp_path.iterdir()) and "Warning" not in done.stderr
