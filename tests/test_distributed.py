"""Evaluation by several processes gives what one process gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fmtc.codec.counted import Counted
from fmtc.evaluation import distributed
from fmtc.evaluation.measures import Measures
from fmtc.results.result import load_result

ROOT = Path(__file__).resolve().parents[1]
NETWORK = """
import torch
from torch import nn

def make():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10))
"""


def run(here: Path, processes: int, *more: str) -> subprocess.CompletedProcess:
    """`fmtc eval`, by torchrun where there are several processes."""
    launcher = ["-m"]
    if processes > 1:
        launcher += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    command = [sys.executable, *launcher, "fmtc", "eval", "--model", "net.py:make"]
    command += ["--data", "images", "--labels", "labels.csv", "--preprocess", "mean=0.5,std=0.25"]
    command += ["--calib-images", "8", "--batch", "3", "--out", f"by{processes}", *more]
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def here(tmp_path_factory) -> Path:
    """30 labelled images of 12x12, of which two cannot be read."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("distributed")
    (folder / "net.py").write_text(NETWORK)
    (folder / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 12, 12, 3), dtype=np.uint8)
    for index, image in enumerate(pixels):
        Image.fromarray(image).save(folder / "images" / f"{index:02}.png")
    for damaged in ("03.png", "20.png"):
        (folder / "images" / damaged).write_bytes(b"damaged")
    rows = [f"{index:02}.png,{index % 10}" for index in range(30)]
    (folder / "images" / "labels.csv").write_text("\n".join(["file,label", *rows]) + "\n")
    return folder


def assert_close(first, second, where="result") -> None:
    """Equal but for the rounding of floats."""
    assert type(first) is type(second), where
    if isinstance(first, dict):
        assert first.keys() == second.keys(), where
        for key in first:
            assert_close(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, list):
        assert len(first) == len(second), where
        for index, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_close(a, b, f"{where}[{index}]")
    elif isinstance(first, float):
        assert first == pytest.approx(second, rel=1e-5), where
    else:
        assert first == second, where


def test_two_processes_measure_what_one_does(here):
    options = ["--preset", "paper", "--bits", "5", "7"]
    results = []
    for processes in (1, 2):
        done = run(here, processes, *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("uncompressed top-1") == 1  # one table
        assert "skipped 2 unreadable images: 03.png, 20.png" in done.stderr
        results.append(load_result(here / f"by{processes}" / "result.json"))
    for result in results:
        assert result["dataset"]["evaluated_images"] + result["dataset"]["calibration_images"] == 28
        del result["command"]  # --out
        for point in result["points"]:
            assert point["seconds"].pop("evaluate") > 0 and point["seconds"].pop("calibrate") > 0
    assert len(results[0]["points"]) == 2
    assert_close(*results)
    # What is there is kept by all processes.
    before = (here / "by2" / "result.json").read_bytes()
    done = run(here, 2, *options)
    assert done.returncode == 0 and "b = 5, b = 7 already: kept" in done.stderr
    assert json.loads(before)["points"] == load_result(here / "by2" / "result.json")["points"]


def test_too_few_images_end_all_processes(here):
    done = run(here, 2, "--preset", "paper", "--images", "1", "--fresh")
    assert done.returncode != 0
    assert "1 images are too few for 2 processes" in done.stderr


def test_counts_are_summed():
    nothing = Counted(None)
    assert Counted.sum([nothing, nothing]) == nothing
    one = Counted(torch.tensor([[1, 2]]), 3, 2, 1, 3, 10, (1, 1, 3))
    two = Counted(torch.tensor([[0, 5]]), 5, 1, 1, 5, 12, (1, 1, 3))
    total = Counted.sum([one, nothing, two])
    assert total.histogram.tolist() == [[1, 7]]
    counts = total.values, total.clamped, total.nans, total.streamed, total.stream_bytes
    assert counts == (8, 3, 2, 8, 22)
    assert total.shape == (1, 1, 3)
    plain = Counted.sum([Counted(None, 4, shape=(4,)), Counted(None, 6, shape=(4,))])
    assert plain.histogram is None and plain.values == 10


def test_measures_are_those_of_all_images():
    torch.manual_seed(0)
    output, reference = torch.randn(7, 6), torch.randn(7, 6)
    labels = torch.arange(7) % 6
    whole = Measures()
    whole.add({"a": output, "b": output[:, :1]}, {"a": reference, "b": reference[:, :1]}, labels)
    parts = [Measures(), Measures()]
    for index, part in enumerate(parts):
        some = [{"a": x[index::2], "b": x[index::2, :1]} for x in (output, reference)]
        part.add(*some, labels[index::2])
    merged = Measures().merge(parts[0]).merge(parts[1])
    one, other = merged.summary(), whole.summary()
    for mine, his in zip(one.pop("outputs"), other.pop("outputs"), strict=True):
        assert mine == pytest.approx(his)
    for name in ("top1_interval", "kl_interval"):
        assert one.pop(name) == pytest.approx(other.pop(name))
    assert merged.images == 7 and one == pytest.approx(other)


def test_one_process_is_left_alone():
    with distributed.process_group():
        assert distributed.processes() == 1 and distributed.is_first()
        assert distributed.share([1, 2, 3]) == [1, 2, 3]
        assert distributed.gathered("x") == ["x"]
