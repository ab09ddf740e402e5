"""The paper's figures and tables: each script end to end, resuming, redrawing, and its rules."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fmtc
from experiments import fig4_ablation, run_all, store, table2_quantizers, table3_hardware
from experiments.common import beside, coded, records
from experiments.criteria import Criterion, rate_at, rate_interval, smallest
from experiments.networks import Loaded, Network, parse_models, read_networks
from experiments.run_all import EXPERIMENTS
from experiments.store import Store, spectrum_of
from fmtc.calibration.compressor import Compressor
from fmtc.cli import main as cli
from fmtc.errors import UsageError
from fmtc.results import energy
from fmtc.results.result import load_result, write_result

OPTIONS = [
    "--quick", "--quiet", "--images", "40", "--calib-images", "24", "--weight-bits", "8",
    "--presets", "paper", "fmtc", "--bits", "4", "6", "--steps", "0.004", "0.002",
]  # fmt: skip
SPECIAL = {
    "fig4_ablation": ["--shares", "1", "0.5"],
    "fig6_block_shape": ["--blocks", "1,1,16", "4,4,1"],
    "table2_quantizers": ["--quantizers", "gemmlowp"],
}
BY_NAME = {experiment.name: experiment for experiment in EXPERIMENTS}


def run(name: str, out: Path, *more: str) -> int:
    return BY_NAME[name].main([*OPTIONS, *SPECIAL.get(name, []), "--out", str(out), *more])


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    """A folder in which every experiment has run once."""
    folder = tmp_path_factory.mktemp("results")
    for name in BY_NAME:
        assert run(name, folder) == 0
    return folder


@pytest.fixture
def nothing_measured(monkeypatch):
    def refuse(*_):
        raise AssertionError("a point is measured that was there")

    monkeypatch.setattr(Compressor, "compress", refuse)
    monkeypatch.setattr(Network, "load", refuse)


# -- Every experiment -----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*too few calibration samples")
@pytest.mark.parametrize("name", BY_NAME)
def test_files_and_conclusion(out, name, nothing_measured, capsys):
    """All files are there; the conclusion printed is what the JSON's tables say."""
    assert run(name, out) == 0
    document = load_result(out / f"{name}.json")
    assert document["experiment"] == name and document["tables"][0]["rows"]
    assert capsys.readouterr().out == f"{name}: {document['conclusion']}\n"
    assert BY_NAME[name].conclude(document["tables"]) == document["conclusion"]
    assert any(character.isdigit() for character in document["conclusion"])
    [result] = document["results"]
    assert result["model"] == "digits" and result["dataset"]["evaluated_images"] == 40
    for series in (s for p in document["figure"]["panels"] for s in p["series"]):
        assert len(series["x"]) == len(series["y"]) > 0
    header, *rows = (out / f"{name}.csv").read_text().splitlines()
    assert len(rows) == len(document["tables"][0]["rows"])
    assert header.startswith("network,")
    assert f"--out {out}" in document["command"] and f"experiments.{name}" in document["command"]


@pytest.mark.parametrize("name", BY_NAME)
def test_figure_is_redrawn_from_the_json_alone(out, name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # without experiments, without points
    (tmp_path / f"{name}.json").write_bytes((out / f"{name}.json").read_bytes())
    assert cli.main(["plot", f"{name}.json"]) == 0
    assert (tmp_path / f"{name}.png").read_bytes() == (out / f"{name}.png").read_bytes()
    assert "<svg" in (tmp_path / f"{name}.svg").read_text()
    assert cli.main(["plot", f"{name}.json", "--layers", "b=4"]) == 2
    assert "is an experiment; it has no layers" in capsys.readouterr().err


def test_points_are_shared_and_are_a_result_of_their_own(out, tmp_path, capsys):
    points = load_result(out / "points" / "digits.json")["points"]
    keys = [(p["preset"], p["weight_bits"], p["block"], str(p["setting"])) for p in points]
    assert len(set(keys)) == len(keys)  # none was measured twice
    assert {"paper", "fmtc", "q-vlc", "gemmlowp", "ebpc"} <= {p["preset"] for p in points}
    [baseline] = [p for p in points if p["preset"] is None]  # 8-bit weights alone
    assert baseline["weight_bits"] == 8 and 20 < baseline["snr_db"] < 200
    assert all(p["joules_per_image"][coded(p)] > 0 for p in points if p is not baseline)
    figure = tmp_path / "all.png"
    assert cli.main(["plot", str(out / "points" / "digits.json"), "--out", str(figure)]) == 0
    assert figure.stat().st_size > 10_000


def test_interrupted_runs_go_on(tmp_path, monkeypatch, capsys):
    """What was finished before an interruption is neither lost nor measured again."""
    asked, real = [], Compressor.compress

    def recorded(self, target=None):
        asked.append((self.preset.name, str(target)))
        if len(asked) == 3:
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Compressor, "compress", recorded)
    assert run("fig3_rate_distortion", tmp_path) == 130
    assert "interrupted; what was finished is saved" in capsys.readouterr().err
    assert not (tmp_path / "fig3_rate_distortion.json").exists()
    assert run("fig3_rate_distortion", tmp_path) == 0
    assert asked[:2] == [("paper", "b=4"), ("paper", "b=6")]
    assert asked[2:] == [("fmtc", "step=0.004"), ("fmtc", "step=0.004"), ("fmtc", "step=0.002")]
    capsys.readouterr()
    assert run("fig3_rate_distortion", tmp_path, "--images", "30") == 2
    message = capsys.readouterr().err
    assert "digits.json was measured otherwise" in message and "--images 40" in message
    assert (
        run("fig3_rate_distortion", tmp_path, "--bits", "4", "--presets", "paper", "--fresh") == 0
    )
    baseline, only = load_result(tmp_path / "points" / "digits.json")["points"]
    assert baseline["preset"] is None and only["setting"] == {"kind": "b", "value": 4}


def test_module_command_and_bad_options(tmp_path, capsys):
    command = [sys.executable, "-m", "experiments.table3_hardware", "--help"]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0 and "--networks" in done.stdout and "Table III" in done.stdout
    for options, message in [
        (["--bits", "13"], "bits must be 2 to 12, got 13"),
        (["--bits", "1"], "bits must be 2 to 12, got 1"),
        (["--steps", "0"], "a step must be positive"),
        (["--data", "images"], "--quick has its own network and images"),
        (["--networks", "gone.json"], "--quick has its own network and images"),
        (["--presets", "fancy"], "invalid choice: 'fancy'"),
    ]:
        assert run("fig3_rate_distortion", tmp_path, *options) == 2
        text = capsys.readouterr().err
        assert message in text and text.count("\n") == 1, text
    experiment = BY_NAME["fig4_ablation"]
    assert experiment.main(["--models", "resnet18", "--out", str(tmp_path)]) == 2
    assert "resnet18: give --data, the images" in capsys.readouterr().err
    assert experiment.main(["--models", "a", "--networks", "b", "--out", str(tmp_path)]) == 2
    assert "give --models or --networks, not both" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# -- Networks -------------------------------------------------------------------------------------


def test_networks_of_a_command_and_of_a_file(tmp_path):
    first, second = parse_models(["resnet18=w.pth", "net.py:make"], data="val", weights="DEFAULT")
    assert (first.name, first.model, first.weights) == ("resnet18", "resnet18", "w.pth")
    assert (second.name, second.model, second.weights) == ("make", "net.py:make", "DEFAULT")
    assert first.options == "--model resnet18 --weights w.pth --data val --calib-images 64 --seed 0"
    with pytest.raises(ValueError, match="two networks are called 'resnet18'"):
        parse_models(["resnet18", "resnet18=w.pth"])
    (tmp_path / "w.pth").touch()
    file = tmp_path / "networks.json"
    entries = [{"model": "resnet18", "weights": "w.pth", "data": "/x", "calib_images": 256}]
    file.write_text(json.dumps([*entries, {"model": "resnet18", "name": "other"}]))
    first, second = read_networks(str(file), images=7, weights="DEFAULT")
    assert first.weights == str(tmp_path / "w.pth") and first.data == "/x"
    assert (first.calib_images, first.images) == (256, 7)
    assert (second.name, second.weights, second.calib_images) == ("other", "DEFAULT", 64)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("{}", "must be a list of objects"),
        ("[]", "there is no network"),
        ('[{"weights": "w"}]', "network 0: no 'model'; known: batch, calib_images"),
        ('[{"model": "a"}, {"model": "b", "colour": 1}]', "network 1: unknown 'colour'"),
    ],
)
def test_network_file_errors(tmp_path, text, message):
    (tmp_path / "networks.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_networks(str(tmp_path / "networks.json"))


def test_experiments_of_one_network_keep_to_it(tmp_path):
    stores = [
        Store(Network(name=model, model=model), tmp_path, mode="stream")
        for model in ("resnet18", "vgg16")
    ]
    fig3, fig4 = BY_NAME["fig3_rate_distortion"], BY_NAME["fig4_ablation"]
    assert run_all.networks_of(fig3, stores, given=True) == stores
    assert run_all.networks_of(fig3, stores, given=False) == stores[:1]
    assert run_all.networks_of(fig4, stores, given=True) == stores[:1]
    assert run_all.networks_of(fig4, stores[1:], given=True) == stores[1:]


def test_points_of_other_weights_or_images_are_refused(tmp_path, monkeypatch):
    def measured() -> Store:
        network = Network(name="digits", model="digits", images=20, calib_images=8)
        return Store(network, tmp_path, mode="float")

    first = measured()
    first.baseline(32)
    own = Network.load

    def changed(network: Network) -> Loaded:
        loaded = own(network)
        loaded.calibration = loaded.calibration + 1
        return loaded

    with monkeypatch.context() as patched:
        patched.setattr(Network, "load", changed)
        with pytest.raises(UsageError, match=r"changed since .*digits.json .* \(fingerprint was"):
            measured().spectrum()
    again = measured()
    again.spectrum()
    assert again.result["fingerprint"] == first.result["fingerprint"]
    again.result.pop("fingerprint")  # as older results
    write_result(again.result, again.path)
    measured().baseline(8)


# -- Rules, by hand -------------------------------------------------------------------------------


def make_point(bits: float, top1: float, kl: float | None, **more) -> dict:
    rates = {"entropy": bits, "huffman": bits + 0.1, "cross_entropy": bits, "stream": None}
    rates["entropy_classes"] = bits / 2
    return {
        "top1": top1, "agreement": 0.98, "kl": kl, "bits_per_value": rates, "coder": "huffman",
        **more,
    }  # fmt: skip


def make_result(images: int, top1: float | None = 0.75, points=()) -> dict:
    dataset = {"evaluated_images": images}
    return {"model": "net", "dataset": dataset, "reference": {"top1": top1}, "points": points}


CURVE = [
    make_point(4.0, 0.752, 0.001),
    make_point(3.0, 0.7495, 0.01),
    make_point(2.0, 0.7485, 0.04),
    make_point(1.0, 0.5, 0.5),
]


def test_smallest_rate_within_the_drop():
    """Of 75 %, 0.1 may be lost: 74.95 is good enough, 74.85 not."""
    criterion = Criterion.of(make_result(50_000), 0.02, 0.1)
    assert str(criterion) == "top-1 within 0.1 %"
    assert smallest(CURVE, criterion) is CURVE[1]
    assert smallest(CURVE[3:], criterion) is None
    # From 74.85 at 2 bits to 74.95 at 3, 74.9 is half way.
    assert rate_at(CURVE, criterion) == pytest.approx(2.5)
    assert rate_at(CURVE, criterion, "huffman") == pytest.approx(2.6)
    assert rate_at(CURVE[:1], criterion) == 4.0 and rate_at(CURVE[3:], criterion) is None


@pytest.mark.parametrize("images, top1", [(200, 0.75), (50_000, None)])
def test_a_drop_that_cannot_show_is_refused(images, top1):
    """0.1 % of 200 images are less than one; 5 % are ten and show."""
    with pytest.raises(UsageError, match="leave --drop out"):
        Criterion.of(make_result(images, top1), 0.02, 0.1)
    assert Criterion.of(make_result(200), 0.02, 5).figure == "top1"


def test_smallest_rate_within_the_divergence():
    """From 0.04 nats at 2 bits to 0.01 at 3, 0.02 is half way: the logarithm is linear."""
    criterion = Criterion.of(make_result(200), 0.02, None)
    assert str(criterion) == "KL ≤ 0.02"
    assert smallest(CURVE, criterion) is CURVE[1] and not criterion.met_by(CURVE[2])
    assert rate_at(CURVE, criterion) == pytest.approx(2.5)
    unknown = make_point(1.5, 0.7, None)  # of a network that is no classifier
    assert not criterion.met_by(unknown) and rate_at([unknown], criterion) is None
    assert rate_at([*CURVE, unknown], criterion) == pytest.approx(2.5)
    exact = make_point(5.0, 0.75, 0.0)
    assert criterion.met_by(exact) and rate_at([exact, *CURVE], criterion) == pytest.approx(2.5)


def test_intervals_of_a_rate_are_those_of_the_points():
    """The better ends meet 0.02 nats half way from 1 bit to 2, the worse ones at 3."""
    points = [
        make_point(3.0, 0.7, 0.01, kl_interval=[0.005, 0.02]),
        make_point(2.0, 0.7, 0.02, kl_interval=[0.01, 0.08]),
        make_point(1.0, 0.7, 0.08, kl_interval=[0.04, 0.16]),
    ]
    criterion = Criterion.of(make_result(200), 0.02, None)
    assert rate_at(points, criterion) == 2.0
    assert rate_interval(points, criterion) == pytest.approx((1.5, 3.0))
    accuracies = [
        make_point(2.0, 0.75, 0.01, top1_interval=[0.749, 0.76]),
        make_point(1.0, 0.74, 0.02, top1_interval=[0.73, 0.751]),
    ]
    by_accuracy = Criterion.of(make_result(50_000), 0.02, 0.1)
    assert rate_interval(accuracies, by_accuracy) == (1.0, 2.0)
    assert rate_interval(CURVE, criterion) == (None, None)  # no intervals were measured


def test_what_weights_lose_is_not_asked_back():
    """4-bit weights at 74 % and 0.1 nats: 73.9 % are within 0.1 %, or 0.12 nats."""
    weights = make_point(0, 0.74, 0.1, preset=None, weight_bits=4)
    result = make_result(50_000, points=[weights])
    of_4, of_8 = (Criterion.of(result, 0.02, 0.1, bits) for bits in (4, 8))
    assert of_4.limit == pytest.approx(0.739) and of_8.limit == pytest.approx(0.749)
    by_kl = Criterion.of(result, 0.02, None, 4)
    assert str(by_kl) == "KL ≤ 0.12"
    assert by_kl.met_by(make_point(1, 0.5, 0.12)) and not by_kl.met_by(make_point(1, 0.5, 0.121))


def table_2_options(**more) -> argparse.Namespace:
    return argparse.Namespace(kl=0.02, drop=None, weight_bits=[8], **more)


def test_table_2_takes_the_rate_at_the_divergence():
    points = [
        {**point, "preset": preset, "weight_bits": 8, "block": "1,1,C",
         "setting": {"kind": "b", "value": b}}
        for preset, curve in
        (("aciq", CURVE[:1]), ("paper", CURVE), ("kld", CURVE[3:]), ("fmtc", CURVE[1:3]))
        for b, point in enumerate(curve)
    ]  # fmt: skip
    options = table_2_options(presets=["paper", "fmtc"], quantizers=["aciq", "kld"])
    panels, tables = table2_quantizers.present([make_result(200, 0.75, points)], options)
    aciq, kld, paper, _ = records(tables[0])
    assert aciq["entropy, one table"] == 4.0 and aciq["entropy, classes"] == 2.0
    assert kld["entropy, one table"] is None and kld["setting"] is None
    assert paper["entropy, one table"] == 2.5 and paper["coded bits"] == 2.6
    assert paper["setting"] == "b=1" and paper["agreement %"] == 98.0
    assert table2_quantizers.conclude(tables) == (
        "net w8: KL ≤ 0.02: aciq 4.00 bits, paper 2.50 (38% below), fmtc 2.50 (38% below)"
    )
    # fmtc was measured from 0.01 to 0.04 nats: 3 bits are enough for less, of more nothing is known
    at_aciq, at_kld = records(tables[1])
    assert at_aciq["KL"] == 0.001 and at_aciq["fmtc's coded bits"] is None
    assert at_kld["KL"] == 0.5 and at_kld["fmtc's coded bits"] is None
    bar_panel, divergences = panels
    labels = [series["label"] for series in bar_panel["series"]]
    assert labels == ["aciq", "paper", "fmtc"]  # nothing published of such a network, no kld
    assert [series["label"] for series in divergences["series"]] == ["aciq", "kld", "paper", "fmtc"]
    assert beside(5, 4) == "25% above"


def test_table_2_has_what_ours_takes_beside_the_others():
    of = {"weight_bits": 8, "block": "1,1,C", "setting": {"kind": "b", "value": 8}}
    points = [
        make_point(5.0, 0.75, 0.02, preset="kld", kl_interval=[0.01, 0.03], **of),
        *({**point, "preset": "fmtc", **of} for point in CURVE),
    ]
    options = table_2_options(presets=["fmtc"], quantizers=["kld"])
    _, tables = table2_quantizers.present([make_result(200, 0.75, points)], options)
    (row,) = records(tables[1])
    assert row["fmtc's coded bits"] == pytest.approx(2.6)
    assert row["fmtc's share %"] == pytest.approx(51.0)  # of 5.1
    assert (row["KL from"], row["KL to"]) == (0.01, 0.03)


def test_the_search_ends_after_two_misses():
    class Recorder:
        def __init__(self):
            self.asked, self.result = [], make_result(200)

        def point(self, method, target, weight_bits):
            self.asked.append(target.value)
            return make_point(target.value, 0.7, 0.01 if target.value in (10, 9, 7) else 0.1)

    recorder = Recorder()
    table2_quantizers._searched(recorder, "gemmlowp", 8, table_2_options())
    assert recorder.asked == [10, 9, 8, 7, 6, 5]


def make_layer(shape, bits, components=None, images=2) -> dict:
    values = images * shape[0] * shape[1] * shape[2]
    return {
        "shape": shape, "values": values, "components": components or shape[0],
        "reads": 1, "bits_per_value": {"huffman": bits},
    }  # fmt: skip


def test_width_and_fixed_width_rates():
    layers = [
        make_layer([64, 4, 4], 3.0),
        make_layer([64, 2, 2], 1.0, 32),
        make_layer([8, 1, 1], 9),
    ]
    point = {"layers": layers, "setting": {"kind": "b", "value": 6}}
    assert table3_hardware.width_bits(point, 64, "huffman") == (3 * 16 + 1 * 4) / 20
    assert table3_hardware.layer_values(point, 64) == 64 * (16 + 4) / 2
    everything = 64 * 16 + 64 * 4 + 8
    assert fig4_ablation.fixed_width(point) == pytest.approx(6 * (everything - 32 * 4) / everything)


def test_table_3_of_8_bits_is_the_papers(out):
    """Q takes 8 bits whatever the data: the paper's 225.93 uJ and 1.28 Gbit/s at C = 64."""
    rows = records(load_result(out / "table3_hardware.json")["tables"][0])
    quantized = {row["channels"]: row for row in rows if row["method"] == "Q"}
    assert quantized.keys() == {16, 32, 64}
    assert quantized[64]["uJ at the paper's size"] == quantized[64]["paper's uJ"] == 225.93
    assert quantized[64]["Gbit/s"] == quantized[64]["paper's Gbit/s"] == 1.28
    expected = 1e6 * energy.access_joules(8 * 64 * 8 * 8, 1)
    assert quantized[64]["uJ a layer"] == pytest.approx(expected, abs=1e-3)
    coded_row = next(r for r in rows if (r["channels"], r["method"]) == (64, "Q+VLC"))
    assert coded_row["Gbit/s"] == pytest.approx(0.16 * coded_row["bits"], abs=1e-3)
    assert coded_row["saved %"] == pytest.approx(100 * (1 - coded_row["bits"] / 8), abs=0.06)
    # Of a DRAM's energy less is saved, and more of it where it powers down meanwhile.
    assert quantized[64]["DRAM saved %"] == 0
    standby, power_down = coded_row["DRAM saved %"], coded_row["DRAM with power-down saved %"]
    assert 0 < standby < power_down < coded_row["saved %"]


def test_table_3_has_the_logic_of_a_layer(out):
    """Ours adds up the designs of docs/results/hardware; the published figures stand beside it."""
    rows = records(load_result(out / "table3_hardware.json")["tables"][1])
    area = json.loads(table3_hardware.HARDWARE.read_text())["area"]
    by = {(row["channels"], row["method"]): row for row in rows}
    assert len(by) == 12
    expected = sum(
        area[f"{n} ultrascale+"]["area"]["lut"] for n in ("quantizer", "huffman_encoder")
    )
    assert by[256, "Q+VLC"]["LUTs"] == expected
    assert by[128, "Q"]["ALMs of its repository, without PCA and VLC"] == 33122
    assert by[64, "Q+VLC+PCA"]["paper's LUTs with convolution"] == "19.5K"


def test_eigenvalues_needed_by_hand():
    """Eigenvalues 6, 3, 1 of 10: 60 % need the first of three, 75 % half of the second too."""
    basis = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    covariance = basis @ torch.diag(torch.tensor([3.0, 6.0, 1.0]).double()) @ basis.T
    spectrum = spectrum_of([covariance])
    needed = dict(zip(spectrum["energy"], spectrum["eigenvalues"], strict=True))
    assert needed[0.6] == pytest.approx(1 / 3) and needed[0.75] == pytest.approx(0.5)
    assert needed[0.9] == pytest.approx(2 / 3) and needed[1.0] == pytest.approx(1)
    flat = spectrum_of([torch.eye(4, dtype=torch.float64)])
    assert flat["eigenvalues"] == pytest.approx(list(store.ENERGIES))
    both = spectrum_of([covariance, torch.eye(4, dtype=torch.float64)])
    assert both["eigenvalues"][20] == pytest.approx((1 / 3 + 0.6) / 2)


def test_truncated_pca_keeps_the_strongest_components():
    torch.manual_seed(0)
    samples = torch.randn(4, 8, 6, 6) * torch.arange(1, 9)[:, None, None] ** 2
    full, half = (
        fmtc.calibrate_tensor(samples, fmtc.BitsPreset(name="x", kept=kept), bits=10)
        for kept in (1.0, 0.5)
    )
    assert full.components == 8 and half.components == 4
    assert torch.equal(half.transform.matrices[0], full.transform.matrices[0][:4])
    assert half.mse > full.mse
