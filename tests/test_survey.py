"""`fmtc split`: cuts of a network beside what its input and its plain tensors take."""

import json
import math

import numpy as np
import pytest
import torch
from networks import images
from PIL import Image

import fmtc
from fmtc.cli.main import main
from fmtc.data.preprocess import parse_preprocess
from fmtc.deploy.survey import COARSEST, FINEST, as_format, as_pictures, coarsest, packed

NET = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride=2, padding=1), nn.ReLU(),
        nn.Conv2d(12, 6, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10),
    ).eval()
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A folder with net.py and data.npz (56 smooth images of 16x16), worked in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    pixels = (images(56, size=16) * 40 + 128).clamp(0, 255).to(torch.uint8)
    np.savez("data.npz", images=pixels.numpy(), labels=np.arange(56) % 10)
    return tmp_path


def command(*words: str) -> int:
    return main(
        ["split", "--model", "net.py:make", "--data", "data.npz", "--calib-images", "24", "--out",
         "out", "--preprocess", "mean=0.5,std=0.25", *words]
    )  # fmt: skip


def test_a_survey_goes_on_where_it_was(folder, capsys):
    survey = "--survey", "--target", "agreement=0.9", "--quiet"
    assert command(*survey, "--cuts", "2") == 0
    first = json.loads((folder / "out" / "survey.json").read_text())
    assert [cut["layer"] for cut in first["cuts"]] == ["2"]
    assert command(*survey) == 0
    result = json.loads((folder / "out" / "survey.json").read_text())
    assert result["inputs"] == first["inputs"] and result["cuts"][0] == first["cuts"][0]
    assert sorted(cut["layer"] for cut in result["cuts"]) == ["0", "2", "4"]
    assert result["images"] == 32 and result["agreement"] == 0.9
    for cut in result["cuts"]:
        assert cut["agreement"] >= 0.9 and 0 < cut["kib"] < cut["int8"]["kib"] + 1
        assert 0 < cut["share"] < 1 and min(cut["seconds"].values()) > 0
        assert cut["int4"]["kib"] < cut["int8"]["kib"]
    assert [one["format"] for one in result["inputs"]] == ["JPEG", "WEBP", "AVIF"]
    printed = capsys.readouterr().out
    assert "12x8x8" in printed and "the input as JPEG at quality" in printed
    with Image.open(folder / "out" / "survey.png") as picture:
        assert picture.width > 500
    assert command("--survey", "--target", "agreement=0.8", "--quiet") == 2
    assert "give another --out, or --fresh" in capsys.readouterr().err


def test_a_cut_is_saved(folder, capsys):
    assert command("--at", "2", "--target", "snr_db=15") == 0
    told = capsys.readouterr()
    assert "multiply-adds" in told.out and "agreement" in told.out and "fmtc.load_split" in told.err
    scope: dict = {}
    exec(NET, scope)
    parts = fmtc.load_split(folder / "out" / "split.safetensors", scope["make"]())
    assert parts.at == ("2",)


@pytest.mark.parametrize(
    "words, message",
    [
        ([], "give --at LAYER ..., or --survey"),
        (["--at", "2", "--survey"], "give --at LAYER ..., or --survey, not both"),
        (["--at", "2", "--target", "snr_db=10,20"], "split at one target, not at 2"),
        (["--at", "2", "--target", "rate=1", "snr_db=20"], "split at one target, not at 2"),
        (["--at", "2", "--bits", "8"], "preset fmtc has no b"),
        (["--at", "2", "--preset", "q", "--bits", "6", "8"], "split at one target, not at 2"),
        (["--at", "9"], "no layer or module is called '9'"),
        (["--survey", "--target", "snr_db=15"], "--target agreement=0.98"),
        (["--survey", "--preset", "paper"], "preset paper has none"),
    ],
)
def test_errors_of_use(words, message, capsys):
    assert command(*words, "--quiet") == 2
    assert message in capsys.readouterr().err


def test_presets_with_a_b_split_at_bits(folder):
    assert command("--at", "2", "--quiet", "--preset", "paper", "--bits", "6") == 0
    six = (folder / "out" / "split.safetensors").read_bytes()
    assert command("--at", "2", "--quiet", "--preset", "paper") == 0  # 8
    assert (folder / "out" / "split.safetensors").read_bytes() != six


def test_a_survey_of_other_weights_is_not_mixed(folder, capsys):
    survey = "--survey", "--target", "agreement=0.9", "--quiet", "--cuts", "2"
    assert command(*survey) == 0
    before = (folder / "out" / "survey.json").read_bytes()
    (folder / "net.py").write_text(NET.replace("manual_seed(0)", "manual_seed(1)"))
    assert command(*survey) == 2
    assert "data or weights have changed since" in capsys.readouterr().err
    assert (folder / "out" / "survey.json").read_bytes() == before


@pytest.mark.parametrize("limit", [2.0**-9, 0.003, 0.02, 1e-9, 1.0])
def test_coarsest_step(limit):
    tried = []

    def agrees(step: float) -> bool:
        tried.append(step)
        return step <= limit

    step = coarsest(agrees, 2.0**-8)
    expected = 2.0 ** (math.floor(2 * math.log2(limit) + 1e-9) / 2)
    assert step == pytest.approx(min(COARSEST, max(FINEST, expected)))
    assert len(set(tried)) == len(tried)


def test_levels_in_bytes():
    levels = torch.tensor([[1.0, 2, 3], [4, 5, 15]])
    assert packed(levels, 8) == bytes([1, 2, 3, 4, 5, 15])
    assert packed(levels[:, :2], 4) == bytes([0x21, 0x54])
    assert packed(levels[0], 4) == bytes([0x21, 0x03])  # completed by 0


def test_pictures_of_inputs():
    preprocess = parse_preprocess("mean=.485/.456/.406,std=.229/.224/.225")
    pixels = torch.randint(0, 256, (2, 3, 8, 9), dtype=torch.uint8)
    normalized = torch.stack([preprocess(image) for image in pixels])
    assert torch.equal(as_pictures(normalized, preprocess), pixels)
    size, decoded = as_format(pixels[0], "PNG", 90)
    assert size > 50 and torch.equal(decoded, pixels[0])
    grey = as_format(pixels[0, :1], "PNG", 90)[1]
    assert torch.equal(grey, pixels[0, :1])
