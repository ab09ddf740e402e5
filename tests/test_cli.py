"""The command `fmtc`: evaluation end to end on a small network, resuming, figures and errors."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import fmtc
from fmtc.calibration.compressor import Compressor
from fmtc.cli import eval as evaluation
from fmtc.cli import main as cli
from fmtc.cli import sweep as sweeping
from fmtc.cli.options import EvalOptions
from fmtc.config import CompressConfig
from fmtc.data import models
from fmtc.files import kept_to_one
from fmtc.presets import PRESETS, BitsPreset, register_preset
from fmtc.results.result import load_result
from fmtc.targets import SNR, AccuracyDrop, Bits, Rate

NETWORK = '''
import torch
from torch import nn

def make():
    """Random weights, always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 12, 3, stride=2), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10))

def make_map():
    return nn.Conv2d(3, 4, 3)

class Heads(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 10)

    def forward(self, x):
        y = self.conv(x).relu()
        return {"maps": y, "classes": self.head(y.mean((2, 3)))}

def make_heads():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Heads()

def make_nothing():
    return 3

def make_of(classes):
    return nn.Linear(3, classes)

made = nn.Conv2d(3, 4, 3)
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with net.py and data.npz (30 images of 12x12, labels 0...9), worked in."""
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(NETWORK)
    images = np.random.default_rng(0).integers(0, 256, (30, 12, 12, 3), dtype=np.uint8)
    np.savez("data.npz", images=images, labels=np.arange(30) % 10)
    return tmp_path


def evaluate(*options: str, model: str = "net.py:make", data: str = "data.npz") -> int:
    """`fmtc eval` with preset paper, unless the options say otherwise."""
    arguments = ["eval", "--model", model, "--data", data, "--preprocess", "mean=0.5,std=0.25"]
    arguments += ["--calib-images", "8", "--quiet", "--preset", "paper"]
    return cli.main([*arguments, *options])


def settings_in(file: str = "fmtc-results/result.json") -> list[tuple[str, float]]:
    return [tuple(point["setting"].values()) for point in load_result(file)["points"]]


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """The targets that a Compressor is asked for; "interrupt" in it interrupts at b = 7."""
    asked, real = [], Compressor.compress

    def recorded(self, target=None):
        if "interrupt" in asked and str(target) == "b=7":
            raise KeyboardInterrupt
        asked.append(str(target))
        return real(self, target)

    monkeypatch.setattr(Compressor, "compress", recorded)
    return asked


def error_of(capsys, code: int) -> str:
    """The one line that a failed command printed."""
    assert code == 2
    text = capsys.readouterr().err
    assert text.startswith("fmtc: error: ") and text.count("\n") == 1 and "Traceback" not in text
    return text


def test_eval_writes_result_figure_and_table(here, capsys):
    assert evaluate("--bits", "6", "9", "--images", "20", "--batch", "7") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "b = 6" in printed.out and "b = 9" in printed.out
    result = load_result("fmtc-results/result.json")
    assert result["model"] == "net.py:make"
    assert result["dataset"] == {
        "path": "data.npz",
        "calibration_images": 8,
        "evaluated_images": 20,
    }
    assert result["reference"]["top1"] is not None
    low, high = result["points"]
    assert low["setting"] == {"kind": "b", "value": 6} and high["setting"]["value"] == 9
    assert high["bits_per_value"]["entropy"] > low["bits_per_value"]["entropy"]
    assert high["snr_db"] > low["snr_db"] + 10
    assert low["mode"] == "stream" and low["bits_per_value"]["stream"] is not None
    assert [layer["name"] for layer in low["layers"]] == ["0", "2"]
    assert {p.name for p in Path("fmtc-results").iterdir()} == {
        "result.json",
        "rate_distortion.png",
    }


def test_command_in_the_result_makes_it_again(here):
    evaluate("--bits", "5", "--images", "10", "--seed", "3", "--exclude", "0", "--mode", "simulate")
    first = load_result("fmtc-results/result.json")
    command = first["command"].split()
    assert command[:2] == ["fmtc", "eval"]
    assert cli.main([*command[1:], "--quiet", "--out", "again"]) == 0
    second = load_result("again/result.json")
    for result in (first, second):
        for point in result["points"]:
            point["seconds"] = None
    assert first["points"] == second["points"] and first["dataset"] == second["dataset"]
    plain = {layer["name"]: layer for layer in first["points"][0]["layers"]}["0"]
    assert plain["bits_per_value"]["entropy"] == 8 and plain["components"] is None


def test_resume_keeps_finished_points_and_measures_the_others(here, capsys, asked):
    evaluate("--bits", "6", "--images", "10")
    before = load_result("fmtc-results/result.json")["points"]
    asked.clear()
    arguments = ["--bits", "7", "6", "--images", "10"]
    assert evaluate(*arguments) == 0
    assert asked == ["b=7"]
    result = load_result("fmtc-results/result.json")
    assert result["points"][0] == before[0]
    assert settings_in() == [("b", 6), ("b", 7)]
    assert "--bits 6 7" in result["command"]
    # Once more, with messages: nothing is left to do.
    command = ["eval", "--model", "net.py:make", "--data", "data.npz", "--preset", "paper"]
    command += ["--preprocess", "mean=0.5,std=0.25", "--calib-images", "8", *arguments]
    capsys.readouterr()
    assert cli.main(command) == 0
    assert "has b = 6, b = 7 already: kept" in capsys.readouterr().err
    assert asked == ["b=7"]
    assert evaluate(*arguments, "--fresh") == 0
    assert asked == ["b=7", "b=7", "b=6"]


def test_what_changes_no_figure_does_not_hinder_resuming(here, capsys, asked):
    evaluate("--bits", "6", "--images", "10", "--batch", "4")
    options = ["--images", "10", "--batch", "5", "--threads", "1", "--device", "cpu"]
    assert evaluate("--bits", "6", "7", *options) == 0
    assert asked == ["b=6", "b=7"] and settings_in() == [("b", 6), ("b", 7)]
    message = error_of(capsys, evaluate("--bits", "6", *options, "--mode", "simulate"))
    assert "holds another evaluation (--mode stream)" in message


def test_options_are_read_from_the_command_that_they_make():
    least = EvalOptions("net.py:make", "data.npz")
    assert least.command_line([SNR(15)]) == (
        "fmtc eval --model net.py:make --data data.npz --preset fmtc --target snr_db=15"
    )
    many = EvalOptions(
        "a network", "data", num_classes=10, calib_images=3, preset="paper", bits=(6, 8),
        include=("layer1.*", "fc"), exclude=("conv1",), compensate=False, weight_bits=8,
        batch=7, seed=2**32 - 1, threads=3, device="cuda", out="out here", table_classes=4,
    )  # fmt: skip
    words = shlex.split(many.command_line(many.targets()))
    assert EvalOptions.parse(words[2:]) == many
    targets = EvalOptions("m", "d", target=("rate=1,2", "drop=0.1", "rate=1.0")).targets()
    assert targets == [Rate(1), Rate(2), AccuracyDrop(0.1)]
    assert EvalOptions("m", "d", preset="paper").targets() == [Bits(8)]
    assert many.differences(many.command_line([Bits(2)])) == []
    assert many.differences("fmtc eval --model m --gone 3") == [
        "made by 'fmtc eval --model m --gone 3'"
    ]
    assert least.differences(many.command_line([]))[:2] == ["--model a network", "--data data"]


def test_a_registered_preset_can_be_chosen(here):
    register_preset(BitsPreset(name="mine", transform="none"))
    try:
        assert evaluate("--preset", "mine", "--bits", "6", "--images", "10") == 0
    finally:
        PRESETS.unregister("mine")
    (point,) = load_result("fmtc-results/result.json")["points"]
    assert point["preset"] == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "/proc/nope"], "--out /proc/nope: no file can be written there"),
        (["--out", "net.py"], "--out net.py: no file can be written there"),
        (["--include", "nosuch.*"], "nosuch.*"),
        (["--exclude", "nosuch"], "nosuch"),
        (["--table-classes", "4", "--coder", "fixed"], "coder 'fixed' has no tables"),
        (["--preset", "fmtc", "--block", "2,2,C"], "preset 'fmtc' is for block"),
        (["--preset", "fmtc", "--target", "drop=1", "--data", "bare.npz"], "needs labels"),
    ],
)
def test_what_can_be_checked_is_before_the_plain_network_runs(
    here, capsys, monkeypatch, options, message
):
    np.savez("bare.npz", images=np.load("data.npz")["images"])

    def run(*args, **more):
        raise AssertionError("the plain network ran")

    monkeypatch.setattr(evaluation, "Reference", run)
    assert message in error_of(capsys, evaluate(*options))
    assert not Path("fmtc-results").exists()


def test_seconds_of_calibration_are_those_of_calibration(here, monkeypatch):
    """Neither the plain network's run nor a point's evaluation is in them."""

    passed, clock = [0.0], time.perf_counter
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + passed[0])

    def after_a_while(real, *args, **options):
        passed[0] += 1000
        return real(*args, **options)

    for module, name in ((evaluation, "Reference"), (sweeping, "evaluate")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, partial(after_a_while, real))
    assert evaluate("--bits", "5", "6") == 0
    for point in load_result("fmtc-results/result.json")["points"]:
        assert 0 < point["seconds"]["calibrate"] < 1000


@pytest.mark.parametrize(
    "words, meant",
    [
        (["evl"], "eval"),
        (["eval", "--model", "x", "--data", "y", "--presset", "fmtc"], "--preset"),
        (["eval", "--model", "x", "--data", "y", "--preset", "papr"], "paper"),
    ],
)
def test_what_was_probably_meant_is_named(words, meant, capsys):
    assert cli.main(words) == 2
    assert f"; did you mean {meant}? (see '" in capsys.readouterr().err


def test_nothing_is_guessed_where_nothing_is_near(capsys):
    assert cli.main(["--zzzzqq"]) == 2
    assert "did you mean" not in capsys.readouterr().err


def test_shell_completion(tmp_path):
    """As bash asks for it: what may stand behind `fmtc ev`."""
    pytest.importorskip("argcomplete")
    line, answer = "fmtc ev", tmp_path / "answer"
    asked = {"_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9"}
    asked |= {"_ARGCOMPLETE_STDOUT_FILENAME": str(answer), "_ARGCOMPLETE_IFS": " "}
    path = os.pathsep.join(filter(None, sys.path))
    command = [sys.executable, "-m", "fmtc"]
    subprocess.run(
        command, env={**os.environ, **asked, "PYTHONPATH": path}, check=False, timeout=60
    )
    assert answer.read_text().split() == ["eval"]


def test_progress_is_lines_where_nobody_watches(here, capsys):
    """No bars in a log: what is not a terminal gets a line for each point."""
    command = ["eval", "--model", "net.py:make", "--data", "data.npz", "--preset", "paper"]
    command += ["--preprocess", "mean=0.5", "--calib-images", "8", "--bits", "5", "6"]
    assert cli.main(command) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == ["b = 5", "b = 6"]
    assert len(lines) == 4 and lines[2].startswith("wrote ") and "fmtc report" in lines[3]


def test_lines_of_json_for_machines(here, capsys):
    """A line a point, also of one that was there before; nothing else on stdout."""
    assert evaluate("--bits", "5", "--json") == 0
    assert evaluate("--bits", "5", "6", "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    points = load_result("fmtc-results/result.json")["points"]
    assert lines == [points[0], *points]


def test_info_as_json(capsys):
    assert cli.main(["info", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["torch"] == torch.__version__ and "build: simd" in said


def test_interruption_keeps_what_is_finished(here, capsys, asked):
    asked.append("interrupt")
    assert evaluate("--bits", "6", "7") == 130
    assert "interrupted" in capsys.readouterr().err
    assert settings_in() == [("b", 6)]
    asked.clear()
    assert evaluate("--bits", "6", "7") == 0
    assert settings_in() == [("b", 6), ("b", 7)] and asked == ["b=7"]


def test_two_processes_do_not_write_into_one_folder(here, capsys):
    with kept_to_one("fmtc-results"):
        told = error_of(capsys, evaluate("--bits", "6"))
    assert "--out fmtc-results: another process writes its results there; wait for it" in told
    assert not Path("fmtc-results").exists()
    assert evaluate("--bits", "6") == 0


def test_data_that_vanish_meanwhile_are_skipped_and_named(here, capsys, monkeypatch):
    folder = here / "images"
    folder.mkdir()
    for i in range(20):
        pixels = np.random.default_rng(i).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    real = evaluation.load_model

    def slow(*arguments):  # the folder has been listed by now
        (folder / "07.png").unlink()
        return real(*arguments)

    monkeypatch.setattr(evaluation, "load_model", slow)
    assert evaluate("--bits", "6", data="images") == 0
    assert "skipped 1 unreadable images: " in capsys.readouterr().err
    result = load_result("fmtc-results/result.json")
    assert [Path(name).name for name in result["dataset"]["skipped"]] == ["07.png"]


# Targets


def test_targets_are_met_one_point_a_value(here, capsys):
    """Met on the calibration images; the others, random as they are here, are not far from that."""
    targets = ["--preset", "fmtc", "--target", "snr_db=12,20", "rate=4"]
    assert evaluate(*targets, "--calib-images", "16", "--mode", "simulate") == 0
    printed = capsys.readouterr()
    assert "cannot be met" not in printed.err
    assert "12 dB" in printed.out and "4.0 bits" in printed.out
    assert settings_in() == [("snr_db", 12), ("snr_db", 20), ("rate", 4)]
    result = load_result("fmtc-results/result.json")
    low, high, rate = result["points"]
    assert low["preset"] == "fmtc"
    assert low["snr_db"] == pytest.approx(12, abs=4) and high["snr_db"] == pytest.approx(20, abs=4)
    assert rate["bits_per_value"]["cross_entropy"] == pytest.approx(4, rel=0.1)
    assert "--preset fmtc --target snr_db=12,20 rate=4 " in result["command"]


def test_preset_fmtc_and_four_snrs_are_the_default(here, asked):
    """Of which this network cannot have the lowest: without its feature maps it still has 10 dB."""
    command = ["eval", "--model", "net.py:make", "--data", "data.npz", "--calib-images", "8"]
    command += ["--preprocess", "mean=0.5,std=0.25", "--quiet", "--mode", "simulate"]
    assert cli.main(command) == 0
    assert asked == ["snr_db=10", "snr_db=15", "snr_db=20", "snr_db=25"]
    points = load_result("fmtc-results/result.json")["points"]
    assert points[-1]["preset"] == "fmtc" and points[-1]["setting"]["value"] == 25


def test_targets_resume_by_kind_and_value(here, asked):
    options = ["--preset", "fmtc", "--mode", "simulate", "--target"]
    assert evaluate(*options, "drop=30", "step=0.5") == 0
    assert settings_in() == [("drop", 0.3), ("step", 0.5)]
    asked.clear()
    assert evaluate(*options, "step=0.25,0.5", "drop=30,30.0", "agreement=0.5") == 0
    assert asked == ["step=0.25", "agreement=0.5"]
    assert settings_in()[2:] == [("step", 0.25), ("agreement", 0.5)]
    command = load_result("fmtc-results/result.json")["command"]
    assert "--target drop=30 step=0.5,0.25 agreement=0.5 " in command
    asked.clear()
    assert cli.main([*shlex.split(command)[1:], "--quiet"]) == 0
    assert asked == []
    assert cli.main([*shlex.split(command)[1:], "--quiet", "--out", "again"]) == 0
    assert asked == ["drop=30", "step=0.5", "step=0.25", "agreement=0.5"]
    assert settings_in("again/result.json") == settings_in()


def test_a_target_that_cannot_be_met_loses_no_other_point(here, capsys):
    options = ["--preset", "fmtc", "--mode", "simulate", "--target"]
    assert evaluate(*options, "snr_db=150,15") == 0
    warned = capsys.readouterr().err
    assert warned.count("cannot be met") == 1
    assert "fmtc: warning: the target snr_db=150 cannot be met: the nearest is " in warned
    assert settings_in() == [("snr_db", 15)]
    code = evaluate(*options, "snr_db=150", "--out", "none")
    assert code == 2 and "none of the targets can be met" in capsys.readouterr().err
    assert not Path("none").exists()


def test_a_drop_needs_labels(here, capsys):
    np.savez("bare.npz", images=np.load("data.npz")["images"])
    code = evaluate("--preset", "fmtc", "--target", "drop=1", data="bare.npz")
    assert "--target drop=1 needs labels" in error_of(capsys, code)


def test_plot_finds_points_by_setting(here, capsys):
    targets = ["--preset", "fmtc", "--target", "step=0.5,0.25", "rate=4"]
    evaluate(*targets, "--calib-images", "16", "--mode", "simulate")
    plot = ["plot", "fmtc-results/result.json", "--out", "l.png", "--layers"]
    for setting in ("0.5", "step=0.25", "rate=4", "4.0"):
        assert cli.main([*plot, setting]) == 0
    known = "it has step=0.5, step=0.25, rate=4"
    for setting in ("5", "rate=5", "snr_db=0.5"):
        message = error_of(capsys, cli.main([*plot, setting]))
        assert f"no point with setting {setting}; {known}" in message


def test_options_of_the_coding_reach_the_compressor(here, monkeypatch):
    given: list[CompressConfig] = []
    real = Compressor.__init__

    def recorded(self, model, images, config, **options):
        given.append(config)
        real(self, model, images, config, **options)

    monkeypatch.setattr(Compressor, "__init__", recorded)
    assert evaluate() == 0
    assert given == [CompressConfig("paper")]
    assert evaluate("--fresh", "--no-compensate", "--weight-bits", "8", "--coder", "huffman",
                    "--lane-values", "1024", "--exclude", "0", "--table-classes", "4",
                    "--block", "1,2,C", "--mode", "simulate", "--seed", "3") == 0  # fmt: skip
    assert given[1] == CompressConfig(
        "paper", block="1,2,C", coder="huffman", lane_values=1024, table_classes=4,
        compensate=False, exclude="0", weight_bits=8, mode="simulate", seed=3,
    )  # fmt: skip
    command = load_result("fmtc-results/result.json")["command"]
    for words in (" --no-compensate", "--weight-bits 8", "--coder huffman", "--preset paper",
                  "--lane-values 1024"):  # fmt: skip
        assert words in command


def test_another_evaluation_in_the_folder_is_not_overwritten(here, capsys):
    evaluate("--images", "10")
    before = Path("fmtc-results/result.json").read_bytes()
    message = error_of(capsys, evaluate("--images", "10", "--seed", "1"))
    assert "holds another evaluation (--seed 0)" in message and "--fresh" in message
    assert Path("fmtc-results/result.json").read_bytes() == before
    Path("fmtc-results/result.json").write_text("{}")
    assert "not a result of schema" in error_of(capsys, evaluate("--images", "10"))


def test_without_labels_or_classes_the_snr_remains(here, capsys):
    images = np.load("data.npz")["images"]
    np.savez("bare.npz", images=images)
    assert evaluate(data="bare.npz") == 0
    point = load_result("fmtc-results/result.json")["points"][0]
    assert point["top1"] is None and point["agreement"] is not None and point["snr_db"] > 0
    assert evaluate("--out", "map", model="net.py:make_map") == 0
    point = load_result("map/result.json")["points"][0]
    assert point["top1"] is None and point["agreement"] is None and point["snr_db"] > 0


def test_outputs_are_chosen_and_told_apart(here, capsys):
    assert evaluate("--bits", "6", model="net.py:make_heads") == 0
    table = capsys.readouterr().out
    result = load_result("fmtc-results/result.json")
    (point,) = result["points"]
    snrs = {output["name"]: output["snr_db"] for output in point["outputs"]}
    assert list(snrs) == ["maps", "classes"] and point["snr_db"] == min(snrs.values())
    assert point["agreement"] is not None and point["top1"] is not None
    assert "SNR: dB, of the worst output" in table
    assert f"b = 6: maps {snrs['maps']:.1f} dB, classes {snrs['classes']:.1f} dB" in table
    # Another choice is another evaluation.
    assert "outputs" in error_of(
        capsys, evaluate("--bits", "6", "--outputs", "maps", model="net.py:make_heads")
    )
    more = ["--bits", "6", "--outputs", "maps", "--out", "maps"]
    assert evaluate(*more, model="net.py:make_heads") == 0
    result = load_result("maps/result.json")
    assert result["points"][0]["outputs"] == [{"name": "maps", "snr_db": snrs["maps"]}]
    assert result["points"][0]["agreement"] is None and "--outputs maps" in result["command"]
    error = error_of(capsys, evaluate("--outputs", "boxes", "--fresh", model="net.py:make_heads"))
    assert "no output matches 'boxes'; the outputs are: maps, classes" in error


def test_torchvision_name_image_folder_and_half_precision_weights(here, capsys):
    for label in range(3):
        folder = Path("images") / f"class{label}"
        folder.mkdir(parents=True)
        for index in range(5):
            pixels = np.full((40, 32, 3), 80 * label + index, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
    (Path("images") / "class1" / "0.png").write_bytes(b"damaged")
    state = models.load_model("resnet18", "none", num_classes=3, seed=5).state_dict()
    half = {name: t.half() if t.is_floating_point() else t for name, t in state.items()}
    safetensors.torch.save_file(half, "half.safetensors")
    command = ["eval", "--model", "resnet18", "--num-classes", "3", "--weights", "half.safetensors"]
    command += ["--data", "images", "--preprocess", "resize=36,crop=32,mean=.5/.5/.5,std=.25"]
    command += ["--preset", "paper"]
    assert cli.main([*command, "--calib-images", "5", "--mode", "simulate"]) == 0
    message = capsys.readouterr().err
    assert "skipped 1 unreadable images: class1/0.png" in message
    assert "times the plain network" in message and "wrote" in message
    result = load_result("fmtc-results/result.json")
    assert result["dataset"]["skipped"] == ["class1/0.png"]
    images = result["dataset"]
    assert images["calibration_images"] + images["evaluated_images"] == 14
    assert result["points"][0]["bits_per_value"]["stream"] is None
    # Another class count is refused, until a class index maps the folders.
    command[command.index("3")] = "10"
    command[command.index("half.safetensors")] = "none"
    message = error_of(capsys, cli.main([*command, "--calib-images", "5", "--out", "ten"]))
    assert "has 3 class folders, the model has 10 classes" in message
    Path("index.json").write_text('{"class0": 4, "class1": 9, "class2": 10}')
    command += ["--class-index", "index.json", "--calib-images", "5", "--out", "ten"]
    assert "label 10, outside 0...9" in error_of(capsys, cli.main(command))
    assert not Path("ten").exists()


def test_a_folder_without_a_readable_image_is_said(here, capsys):
    Path("images").mkdir()
    assert "images: no image files (.jpg, " in error_of(capsys, evaluate(data="images"))
    for name in ("a.png", "b.jpg"):
        (Path("images") / name).write_bytes(b"damaged")
    message = error_of(capsys, evaluate(data="images"))
    assert "images: no readable image among 2 files" in message
    assert not Path("fmtc-results").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--calib-images", "40"], "has 30 images: too few for 40 to calibrate"),
        (["--images", "23"], "too few for 8 to calibrate and 23 other"),
        (["--preprocess", "blur=3"], "unknown step 'blur=3'; known steps"),
        (["--preprocess", "crop=99"], "a crop of 99x99 does not fit into 12x12"),
        (["--data", "nowhere"], "no such file or folder: nowhere"),
        (["--labels", "labels.csv"], "carries its own labels"),
        (["--model", "net.py:other"], "net.py has no function 'other'"),
        (["--model", "net.py:make_nothing"], "returned int, not a torch.nn.Module"),
        (
            ["--model", "net.py:made"],
            "no function 'made', but a Conv2d: it must return the network",
        ),
        (["--model", "net.py:make_of"], "called without arguments: missing a required argument"),
        (["--model", "gone.py:make"], "no such file: gone.py"),
        (["--model", "resnet19"], "unknown model 'resnet19'; give path/to/file.py:function or one"),
        (["--weights", "gone.pth"], "no such weights file: gone.pth"),
        (["--weights", "net.py"], "net.py cannot be read as weights"),
        (["--weights", "DEFAULT"], "DEFAULT is for torchvision's models, not for net.py:make"),
        (["--weights", "other.pth"], "does not fit the model: missing 0.weight, 0.bias, 2.weight"),
        (["--block", "0,1,C"], "block '0,1,C'"),
        (["--bits", "13"], "bits must be 2 to 12, got 13"),
        (["--target", "rate=1"], "preset paper has a b: give --bits 7 8, or --preset fmtc"),
        (["--preset", "fmtc", "--bits", "8"], "preset fmtc has no b: give --target rate=1.0,2.0"),
        (["--preset", "fmtc", "--target", "b=8"], "preset fmtc has no b: give --target"),
        (["--preset", "fmtc", "--target", "speed=8"], "unknown target 'speed=8'; known: b=7,8"),
        (["--preset", "fmtc", "--target", "rate=0"], "a rate must be positive and finite"),
        (["--weight-bits", "5"], "argument --weight-bits: invalid choice: 5"),
        (["--coder", "zip"], "argument --coder: invalid choice: 'zip'"),
        (["--lane-values", "1000"], "--lane-values: invalid choice: 1000 (choose from 0, 256, 512"),
        (["--lane-values", "some"], "argument --lane-values: invalid int value: 'some'"),
        (["--bits", "eight"], "argument --bits: invalid int value: 'eight'"),
        (["--mode", "quick"], "argument --mode: invalid choice: 'quick'"),
        (["--preset", "fancy"], "argument --preset: invalid choice: 'fancy'"),
        (["--wrong"], "unrecognized arguments: --wrong"),
        (["--batch", "0"], "argument --batch: must be a whole number, 1 or more; got '0'"),
        (["--batch", "2.5"], "argument --batch: must be a whole number, 1 or more; got '2.5'"),
        (["--calib-images", "0"], "--calib-images: must be a whole number, 1 or more; got '0'"),
        (["--images", "-3"], "argument --images: must be a whole number, 1 or more; got '-3'"),
        (["--threads", "0"], "argument --threads: must be a whole number, 1 or more; got '0'"),
        (["--num-classes", "0"], "--num-classes: must be a whole number, 1 or more; got '0'"),
        (["--table-classes", "17"], "--table-classes: must be a whole number, 1 to 16; got '17'"),
        (["--seed", "-1"], "--seed: must be a whole number, 0 to 4294967295; got '-1'"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(here, capsys, options, message):
    torch.save({"conv.weight": torch.zeros(2)}, "other.pth")
    assert message in error_of(capsys, evaluate(*options))
    assert not Path("fmtc-results").exists()


def test_debug_shows_the_traceback(here, monkeypatch):
    monkeypatch.setenv("FMTC_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        evaluate("--data", "nowhere")


def test_plot_draws_the_curve_and_the_layers(here, capsys):
    evaluate("--bits", "6", "8")
    Path("fmtc-results/rate_distortion.png").unlink()
    assert cli.main(["plot", "fmtc-results/result.json"]) == 0
    assert Path("fmtc-results/rate_distortion.png").stat().st_size > 5000
    assert cli.main(["plot", "fmtc-results/result.json", "--layers", "8", "--out", "l.png"]) == 0
    assert Path("l.png").stat().st_size > 5000
    code = cli.main(["plot", "fmtc-results/result.json", "--layers", "9"])
    assert "has no point with setting 9; it has b=6, b=8" in error_of(capsys, code)
    assert "no.json" in error_of(capsys, cli.main(["plot", "no.json"]))


def test_module_command_help_and_info(tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "COLUMNS": "100"}
        return subprocess.run(
            [sys.executable, "-m", "fmtc", *arguments],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
        )

    shown = run("info").stdout
    for name in ("fmtc", "torch", "torchvision", "python", "cpu", "threads", "build: simd"):
        assert re.search(rf"^{name} +\S", shown, re.MULTILINE), name
    helped = run("eval", "--help").stdout
    for option in (
        "--class-index",
        "--preprocess",
        "--calib-images",
        "--weight-bits",
        "--target",
        "--no-compensate",
        "examples:",
    ):
        assert option in helped
    for arguments in ((), ("--help",)):
        alone = run(*arguments)
        assert alone.returncode == 0 and alone.stderr == ""
        assert alone.stdout.startswith("usage: fmtc ") and "FMTC_DEBUG" in alone.stdout
    version = run("--version")
    assert version.returncode == 0 and version.stdout == f"fmtc {fmtc.__version__}\n"
    failed = run("eval", "--model", "resnet18")
    assert failed.returncode == 2 and failed.stdout == ""
    assert failed.stderr == (
        "fmtc: error: the following arguments are required: --data (see 'fmtc eval --help')\n"
    )


def test_output_that_nobody_reads_is_no_error():
    process = subprocess.Popen(
        [sys.executable, "-m", "fmtc", "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(timeout=120) == 141


# Networks by name


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
@pytest.mark.parametrize("auxiliary", [True, False])
def test_weights_with_and_without_auxiliary_heads_load(name, auxiliary, tmp_path):
    import torchvision

    builder = torchvision.models.get_model_builder(name)
    state = builder(
        weights=None, num_classes=7, aux_logits=auxiliary, init_weights=False
    ).state_dict()
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    model = models.load_model(name, tmp_path / "w.safetensors", num_classes=7)
    assert not model.training and model.transform_input
    assert set(model.state_dict()) == set(state)


def test_checkpoints_are_unwrapped(tmp_path):
    model = models.load_model("squeezenet1_1", "none", num_classes=4, seed=1)
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "checkpoint.pth")
    loaded = models.load_model("squeezenet1_1", tmp_path / "checkpoint.pth", num_classes=4)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)


def test_random_weights_follow_the_seed_alone():
    first = models.load_model("squeezenet1_1", "none", num_classes=4, seed=1).state_dict()
    torch.manual_seed(9)
    again = models.load_model("squeezenet1_1", "none", num_classes=4, seed=1).state_dict()
    other = models.load_model("squeezenet1_1", "none", num_classes=4, seed=2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_misfit_weights_name_some_keys_and_shapes(tmp_path):
    state = models.load_model("resnet18", "none", num_classes=4).state_dict()
    del state["conv1.weight"]
    state |= {"fc.weight": torch.zeros(5, 512), "head.bias": torch.zeros(2)}
    with pytest.raises(ValueError) as caught:
        models.load_weights(models.load_model("resnet18", "none", 4), state, "my.pth")
    assert str(caught.value) == (
        "my.pth does not fit the model: missing conv1.weight; unexpected head.bias; "
        "of another shape fc.weight (5x512 in the file, 4x512 in the model)"
    )


def test_classes_are_those_of_a_files_own_network(tmp_path):
    (tmp_path / "net.py").write_text("import torch\n\ndef make():\n    return torch.nn.ReLU()\n")
    name = f"{tmp_path / 'net.py'}:make"
    assert isinstance(models.load_model(name), torch.nn.ReLU)
    with pytest.raises(ValueError, match="net.py:make itself says .* leave out --num-classes"):
        models.load_model(name, num_classes=7)


def test_default_weights_are_imagenets():
    with pytest.raises(ValueError, match="resnet18 have 1000 classes, not 10"):
        models.load_model("resnet18", "DEFAULT", num_classes=10)


def test_shared_data_gives_the_published_accuracy(shared_data, tmp_path, capsys):
    """200 of the CIFAR images; all 3000 give 84.2 %."""
    code = cli.main(
        ["eval", "--model", "resnet18", "--num-classes", "10", "--quiet"]
        + ["--weights", str(shared_data / "resnet18_cifar10.safetensors")]
        + ["--data", str(shared_data / "cifar10_test.npz"), "--out", str(tmp_path)]
        + ["--preprocess", "resize=64,mean=.485/.456/.406,std=.229/.224/.225"]
        + ["--calib-images", "64", "--images", "200", "--preset", "paper"]
        + ["--bits", "7", "--mode", "simulate"]
    )
    assert code == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert 0.78 < result["reference"]["top1"] < 0.90
    (point,) = result["points"]
    assert point["top1"] > result["reference"]["top1"] - 0.04
    assert 1.5 < point["bits_per_value"]["entropy"] < 3.5 and point["snr_db"] > 15


def test_points_of_other_data_are_not_mixed(here, capsys):
    assert evaluate("--bits", "6") == 0
    before = Path("fmtc-results/result.json").read_bytes()
    images = np.random.default_rng(1).integers(0, 256, (44, 12, 12, 3), dtype=np.uint8)
    np.savez("data.npz", images=images, labels=np.arange(44) % 10)
    assert "data or weights have changed" in error_of(capsys, evaluate("--bits", "6", "7"))
    assert Path("fmtc-results/result.json").read_bytes() == before


def test_points_of_other_weights_are_not_mixed(here, capsys):
    """Without labels no top-1 tells networks apart, and another seed's images may give the same."""
    images = np.load("data.npz")["images"]
    np.savez("data.npz", images=images)
    assert evaluate("--bits", "6") == 0
    before = Path("fmtc-results/result.json").read_bytes()
    Path("net.py").write_text(NETWORK.replace("manual_seed(1)", "manual_seed(2)"))
    assert "(fingerprint was " in error_of(capsys, evaluate("--bits", "6", "7"))
    Path("net.py").write_text(NETWORK)
    np.savez("data.npz", images=255 - images)
    assert "(fingerprint was " in error_of(capsys, evaluate("--bits", "6", "7"))
    assert Path("fmtc-results/result.json").read_bytes() == before
    np.savez("data.npz", images=images)
    older = json.loads(before)
    del older["fingerprint"]
    Path("fmtc-results/result.json").write_text(json.dumps(older))
    assert evaluate("--bits", "6", "7") == 0


def test_warnings_are_one_line(here, capsys):
    """The second layer has 5x5 pixels: 6 blocks an image for the 96 values in each."""
    assert evaluate("--calib-images", "1", "--block", "2,4,C", "--images", "4") == 0
    error = capsys.readouterr().err
    assert error.startswith("fmtc: warning: ") and error.count("\n") == 1
    assert re.search(r"6 for 96.*Calibrate with 32 images or more instead of 1", error)
