"""The demo's network and data, and the whole command."""

from __future__ import annotations

import os
import time

import pytest
import torch
from torch import fx

from fmtc.cli import demo
from fmtc.cli.main import main
from fmtc.results.result import load_result
from fmtc.targets import SNR, Bits


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A fresh cache with the network trained into it; gives the folder and the seconds it took."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("FMTC_CACHE")
    os.environ["FMTC_CACHE"] = str(folder)
    start = time.perf_counter()
    demo.digits_model()
    yield folder, time.perf_counter() - start
    if before is None:
        del os.environ["FMTC_CACHE"]
    else:
        os.environ["FMTC_CACHE"] = before


def same_weights(a, b) -> bool:
    pairs = zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    return all(torch.equal(x, y) for x, y in pairs)


def test_digits_are_held_out_and_balanced():
    data = demo.digits_data()
    assert data.train_images.shape == (1297, 1, 32, 32) and len(data.test_labels) == 500
    assert data.train_images.min() == -1 and data.train_images.max() == 1
    assert data.test_labels.bincount().min() >= 48
    seen = {image.numpy().tobytes() for image in data.train_images}
    assert not any(image.numpy().tobytes() in seen for image in data.test_images)
    again = demo.digits_data()
    assert all(torch.equal(a, b) for a, b in zip(data, again, strict=True))


def test_network_reaches_its_accuracy(cache):
    data = demo.digits_data()
    with torch.no_grad():
        guess = demo.digits_model()(data.test_images).argmax(dim=1)
    assert (guess == data.test_labels).float().mean() >= 0.97


def test_network_is_trained_once_and_then_cached(cache):
    folder, _ = cache
    (file,) = folder.iterdir()
    written = file.stat().st_mtime_ns
    assert same_weights(demo.digits_model(), demo.digits_model())
    assert file.stat().st_mtime_ns == written
    assert not demo.digits_model().training


def test_damaged_cache_is_trained_anew(cache, tmp_path, monkeypatch):
    monkeypatch.setenv("FMTC_CACHE", str(tmp_path))
    (tmp_path / demo.CACHE_NAME.format(seed=0)).write_bytes(b"damaged")
    monkeypatch.setattr(demo, "train", lambda data, seed, progress: demo.DigitsResNet())
    trained = demo.digits_model()
    assert same_weights(demo.digits_model(), trained)


def test_training_is_reproducible_and_leaves_the_generator_alone():
    data = demo.digits_data()
    few = demo.Digits(*(part[:128] for part in data))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = demo.train(few, seed=1, epochs=(1, 1))
    assert torch.equal(torch.rand(3), expected)
    assert same_weights(first, demo.train(few, seed=1, epochs=(1, 1)))
    assert not same_weights(first, demo.train(few, seed=2, epochs=(1, 1)))


def test_network_can_be_traced():
    graph = fx.symbolic_trace(demo.DigitsResNet().eval()).graph
    adds = [
        node for node in graph.nodes if node.op == "call_function" and "add" in str(node.target)
    ]
    assert len(adds) == 3


WRITTEN = {"result.json", "rate_distortion.png", "report.html"}


def test_demo_writes_a_result_and_a_figure(cache, tmp_path, capsys, monkeypatch):
    curves = {"paper": (Bits(5), Bits(8)), "fmtc": (SNR(12), SNR(25))}
    monkeypatch.setattr(demo, "CURVES", curves)
    assert main(["demo", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    printed = capsys.readouterr()
    # A curve of few images jumps, and on which side a search ends depends on a machine's rounding.
    assert all("images held back" in line for line in printed.err.splitlines())
    for shown in ("stream", "paper", "b = 8", "fmtc", "25 dB"):
        assert shown in printed.out
    result = load_result(tmp_path / "out" / "result.json")
    assert {p.name for p in (tmp_path / "out").iterdir()} == WRITTEN
    assert result["dataset"]["evaluated_images"] == 500 and result["reference"]["top1"] >= 0.97
    for preset, targets in curves.items():
        points = [point for point in result["points"] if point["preset"] == preset]
        assert [point["setting"] for point in points] == [target.setting for target in targets]
        coarse, fine = (point["bits_per_value"] for point in points)
        assert coarse["entropy"] < fine["entropy"]
        for rates in (coarse, fine):
            assert rates["entropy_classes"] <= rates["cross_entropy"] < rates["stream"] < 8
        assert points[1]["top1"] >= result["reference"]["top1"] - 0.01
    for layer in (layer for point in result["points"] for layer in point["layers"]):
        needed = layer["spectrum"]["eigenvalues"]
        assert needed == sorted(needed) and 0 < needed[0] and needed[-1] <= 1
        assert layer["histogram"]["counts"]
    assert result["points"][1]["snr_db"] > 25
    assert result["points"][3]["snr_db"] == pytest.approx(25, abs=2)
