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
    "own_network": [r"bits a value at 2\d\.\d dB", "loaded, and the same: True"],
    "timm_network": [
        r"paper, b = 8: \d\.\d\d bits",
        r"fmtc: \d\.\d\d bits",
        r"\d\d tensors are coded",
    ],
    "segmentation": [r"'masks': \(2, 4, 64, 64\)", r"masks: \d+\.\d dB", r"\(1, 4, 96, 128\)"],
    "tensor_to_bytes": [r"error 0\.0\d+ \(step 0\.05\)", "the same: True", "cut off: the bundle"],
    "split_inference": [r"\d\.\d\d KiB an image; as floats 32 KiB", r"\n2\d\.\d dB"],
    "features_in_zarr": [r"\d\.\d times smaller", r"error 0\.00\d+ of values"],
    "sc2bench_codec": [r"\d\.\d\d bits a value", r"(9\d|100)% of the images keep their class"],
    "own_preset": [", percentile\n", r"4 bits, percentile: \d+\.\d dB", "bits per value over"],
}


PRIVATE = r"from fmtc(?!\.data\.zarr import)|import fmtc\.|fmtc\.\w*\._|fmtc\._"
NEEDS = {"timm_network": "timm", "features_in_zarr": "zarr"}


def test_all_examples_are_run():
    assert {path.stem for path in FOLDER.glob("*.py")} == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_example(name, tmp_path):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    path = FOLDER / f"{name}.py"
    # As a user's would: on public names alone, without files of its own.
    assert not re.findall(PRIVATE, path.read_text())
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, path],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for pattern in PRINTED[name]:
        assert re.search(pattern, done.stdout), (pattern, done.stdout)
    assert not list(tmp_path.iterdir())
    assert "Warning" not in done.stderr
