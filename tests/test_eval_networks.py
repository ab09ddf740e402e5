"""fmtc_eval beside `fmtc eval` on networks of real size, and on one of several outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluations import check_alike, check_exact, program_in, results

from experiments import fig3_rate_distortion
from fmtc.cli import main as cli
from fmtc.cli.demo import digits_data
from fmtc.results.result import load_result


@dataclass
class Case:
    """A network, its images, and how both programs run it."""

    model: str
    weights: str
    data: str
    preprocess: str
    targets: str
    images: int
    batch: int
    options: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()


CASES = {
    "mobilenet_v2": Case(
        model="mobilenet_v2",
        weights="mobilenet_v2_imagenet_w8.safetensors",
        data="imagenet_sample",
        preprocess="resize=256,crop=224,mean=0.5,std=0.5,hflip,vflip",
        targets="step=0.0007,0.0003",
        images=200,
        batch=8,
        labels=("--labels", "labels.csv"),
    ),
    "resnet18": Case(
        model="resnet18",
        weights="resnet18_cifar10.safetensors",
        data="cifar10_test.npz",
        preprocess="resize=64,mean=.485/.456/.406,std=.229/.224/.225",
        targets="step=0.001",
        images=1000,
        batch=25,
        options=("--num-classes", "10"),
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("name", CASES)
def test_figures_of_real_networks_are_those_of_python(
    name, shared_data, build_tree, tmp_path, monkeypatch, threads
):
    """Equal batches on one thread: top-1 and top-5, bytes, clamped values; the rest to 1e-6."""
    program, case = program_in(build_tree), CASES[name]
    monkeypatch.chdir(tmp_path)
    data = str(shared_data / case.data)
    command = ["eval", "--model", case.model, "--weights", str(shared_data / case.weights)]
    command += ["--data", data, "--preprocess", case.preprocess, "--images", str(case.images)]
    command += ["--batch", str(case.batch), "--calib-images", "32", "--target", case.targets]
    with threads(1):
        ran = cli.main([*command, *case.options, *case.labels, "--export", "packages", "--quiet"])
        assert ran == 0
    packages = [f"packages/fmtc-step={step}.pt2" for step in case.targets[5:].split(",")]
    options = ["--data", data, *case.labels, "--images", case.images, "--batch", case.batch]
    program(*packages, *options, "--json", "result.json")
    found, expected = results(Path("result.json"), Path("fmtc-results/result.json"))
    check_exact(found, expected)
    check_alike(found, expected)


def save_digits(path: Path, count: int) -> None:
    data = digits_data()
    pixels = ((data.test_images[:count] + 1) * 127.5).round().to(torch.uint8)
    np.savez(path, images=pixels, labels=data.test_labels[:count])


def test_an_engine_needs_images_in_files(tmp_path, capsys):
    options = [
        "--quick",
        "--engine",
        "libtorch",
        "--out",
        str(tmp_path),
        "--images",
        "8",
        "--quiet",
    ]
    assert fig3_rate_distortion.EXPERIMENT.main(options) == 2
    assert "digits: --engine libtorch needs --data" in capsys.readouterr().err


@pytest.mark.long
def test_an_experiment_measures_with_either_engine(build_tree, tmp_path, monkeypatch, threads):
    program = program_in(build_tree)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("from fmtc.cli.demo import digits_model\n")
    save_digits(tmp_path / "digits.npz", 120)
    options = ["--models", "net.py:digits_model", "--data", "digits.npz", "--images", "50"]
    options += ["--preprocess", "mean=0.5,std=0.5", "--presets", "fmtc", "--weight-bits", "8"]
    options += ["--steps", "0.002", "0.001", "--batch", "20", "--quiet", "--threads", "1"]
    libtorch = ["--engine", "libtorch", "--program", str(program.path)]
    with threads(1):
        assert fig3_rate_distortion.EXPERIMENT.main([*options, "--out", "python"]) == 0
        assert fig3_rate_distortion.EXPERIMENT.main([*options, *libtorch, "--out", "cpp"]) == 0
    name = Path("points") / "digits_model.json"
    found, expected = results("cpp" / name, "python" / name)
    check_exact(found, expected)
    check_alike(found, expected)
    points = load_result("cpp" / name)["points"]
    assert ["seconds_per_image" in point for point in points] == [False, True, True]


HEADS = '''
import torch
from torch import nn

class Heads(nn.Module):
    """Maps, classes, a number, and what is no output to measure."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=4)
        self.maps, self.classes = nn.Conv2d(8, 4, 1), nn.Linear(8, 10)

    def forward(self, x):
        y = self.stem(x).relu()
        pooled = y.mean((2, 3))
        found = self.classes(pooled)
        return {"best": found.argmax(1), "maps": self.maps(y), "all": (found, pooled.mean(1))}

def make():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Heads()
'''


@pytest.mark.long
@pytest.mark.parametrize("outputs", [None, ("maps", "all.1")])
def test_every_output_that_counts_is_measured(outputs, build_tree, tmp_path, monkeypatch, threads):
    """Also with layers left out and quantised weights, and another preset's coder."""
    program = program_in(build_tree)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(HEADS)
    save_digits(tmp_path / "digits.npz", 80)
    command = ["eval", "--model", "net.py:make", "--data", "digits.npz", "--calib-images", "20"]
    command += ["--preprocess", "mean=0.5,std=0.5", "--batch", "9", "--weight-bits", "8"]
    command += ["--preset", "aciq", "--bits", "5", "--exclude", "maps"]
    command += [] if outputs is None else ["--outputs", *outputs]
    with threads(1):
        assert cli.main([*command, "--export", "packages", "--quiet"]) == 0
    options = ["--data", "digits.npz", "--batch", 9, "--json", "result.json"]
    program("packages/aciq-b=5.pt2", *options)
    found, expected = results(Path("result.json"), Path("fmtc-results/result.json"))
    check_exact(found, expected)
    check_alike(found, expected)
    (point,) = load_result("result.json")["points"]
    assert len(point["outputs"]) == (2 if outputs else 3)
    assert (point["top1"] is None) == (outputs is not None)
    assert any(layer["components"] is None for layer in point["layers"])
