"""The result document: its schema, writing whole or not at all, reading, and its figures."""

from __future__ import annotations

import copy
import json
import math

import jsonschema
import matplotlib.image
import pytest

from fmtc.results import plot
from fmtc.results.console import console, result_table, saving
from fmtc.results.result import (
    RATES,
    ResultError,
    environment,
    load_result,
    new_experiment,
    new_result,
    schema,
    setting_label,
    validate,
    write_result,
)

NEW_IN_3 = ("snr_db_image", "outputs", "written", "bits_per_written_value")


def make_rates(entropy: float, stream: bool = True) -> dict:
    return {
        "entropy": entropy,
        "entropy_classes": 0.9 * entropy,
        "cross_entropy": 1.01 * entropy,
        "huffman": 1.05 * entropy,
        "stream": 1.1 * entropy if stream else None,
    }


def make_point(b: int = 8, labels: bool = True, weight_bits: int = 32, stream: bool = True) -> dict:
    entropy = b / 3
    return {
        "preset": "paper",
        "weight_bits": weight_bits,
        "setting": {"kind": "b", "value": b},
        "block": "1,1,C",
        "coder": "huffman",
        "mode": "stream" if stream else "simulate",
        "top1": 0.08 * b if labels else None,
        "top1_interval": [0.07 * b, 0.09 * b] if labels else None,
        "top5": 0.1 * b if labels else None,
        "agreement": 0.9,
        "kl": 0.01,
        "snr_db": 6.0 * b - 36,
        "snr_db_image": 6.0 * b - 35,
        "outputs": [{"name": "output", "snr_db": 6.0 * b - 36}],
        "values": 1000,
        "clamped_fraction": 1e-4,
        "bits_per_value": make_rates(entropy, stream),
        "written": {
            "values": 200,
            "coded": 150,
            "uncoded_bits": 8,
            "kinds": {"convolution": {"values": 200, "coded": 150}},
        },
        "bits_per_written_value": make_rates((3 * entropy + 8) / 4, stream),
        "joules_per_image": make_rates(1e-4 * entropy, stream),
        "multiply_adds": {"plain": 100, "compressed": 150},
        "seconds": {"calibrate": 1.0, "evaluate": 2.0},
        "layers": [
            {
                "name": f"layer{i}.conv",
                "shape": [16, 8, 8],
                "components": 16 - i,
                "values": 500,
                "reads": 2,
                "step": 0.1,
                "mse": 1e-3,
                "bits_per_value": make_rates(entropy / (i + 1), stream),
            }
            for i in range(3)
        ],
    }


def make_result(*points: dict, top1: float | None = 0.88) -> dict:
    result = new_result(
        command="fmtc eval --model resnet18 --data images",
        model="resnet18",
        dataset={"path": "images", "calibration_images": 64, "evaluated_images": 200},
        seed=0,
        reference={"top1": top1, "top5": None},
    )
    return {**result, "points": list(points)}


def test_schema_is_itself_valid_and_strict():
    jsonschema.Draft202012Validator.check_schema(schema())

    def objects(node):
        if isinstance(node, dict):
            if "properties" in node:
                yield node
            for child in node.values():
                yield from objects(child)

    found = list(objects(schema()))
    assert len(found) >= 9
    for node in found:
        assert node["additionalProperties"] is False
        optional = {"skipped", "spectrum", "seconds_per_image", "kl_interval", "histogram"}
        optional |= {"fingerprint"}
        assert set(node["required"]) >= set(node["properties"]) - optional


def test_environment_says_what_ran():
    described = environment(seed=3)
    assert described["seed"] == 3 and described["threads"] >= 1
    assert described["torch"].startswith("2.") and described["cpu"]


def test_valid_documents():
    validate(make_result())
    validate(make_result(make_point(7), make_point(8, labels=False, stream=False), top1=None))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["schema"], "fmtc.result/4", "not a result of schema 'fmtc.result/3'"),
        (["extra"], 1, "'extra' was unexpected"),
        (["dataset", "evaluated_images"], 0, "dataset.evaluated_images: 0 is less than"),
        (["points", 0, "top1"], 1.5, "points[0].top1: 1.5 is greater than"),
        (["points", 0, "mode"], "fast", "points[0].mode"),
        (["points", 0, "setting", "kind"], "bits", "points[0].setting.kind"),
        (["points", 0, "bits_per_value", "stream"], "1", "points[0].bits_per_value.stream"),
        (["points", 0, "layers", 1, "step"], 0, "points[0].layers[1].step"),
        (["points", 0, "snr_db"], math.nan, "points[0].snr_db is nan; only finite numbers"),
        (["points", 0, "layers", 2, "mse"], math.inf, "points[0].layers[2].mse is inf"),
    ],
)
def test_invalid_documents_are_refused_by_place(tmp_path, path, value, message):
    result = make_result(make_point())
    validate(result)
    node = result
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(ResultError) as caught:
        write_result(result, tmp_path / "result.json")
    assert message in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_missing_fields_are_refused():
    for key in make_point():
        point = make_point()
        del point[key]
        with pytest.raises(ResultError, match=f"'{key}' is a required property"):
            validate(make_result(point))


def test_write_and_load_round_trip(tmp_path):
    result = make_result(make_point())
    write_result(result, tmp_path / "new" / "folder" / "result.json")
    assert load_result(tmp_path / "new" / "folder" / "result.json") == result
    assert [p.name for p in (tmp_path / "new" / "folder").iterdir()] == ["result.json"]


def test_failed_writing_leaves_the_earlier_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_result(make_result(make_point(7)), path)
    before = path.read_bytes()

    def full_disk(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_result(make_result(make_point(7), make_point(8)), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_load_errors_name_the_file(tmp_path):
    path = tmp_path / "result.json"
    with pytest.raises(FileNotFoundError):
        load_result(path)
    path.write_text('{"schema": ')
    with pytest.raises(ResultError, match=r"result\.json is not JSON"):
        load_result(path)
    path.write_text('{"schema": "other/1"}')
    with pytest.raises(ResultError, match=r"result\.json: not a result of schema"):
        load_result(path)
    path.write_text(json.dumps({**make_result(), "points": [{}]}))
    with pytest.raises(ResultError, match=r"points\[0\]"):
        load_result(path)


def test_version_1_is_still_read_and_drawn(tmp_path):
    """What it did not have is None; it is checked against its own schema."""
    old = make_result(make_point(7), make_point(8)) | {"schema": "fmtc.result/1"}
    for point in old["points"]:
        for key in ("block", "joules_per_image", *NEW_IN_3):
            del point[key]
        for layer in point["layers"]:
            del layer["reads"]
    path = tmp_path / "result.json"
    path.write_text(json.dumps(old))
    result = load_result(path)
    assert result["schema"] == "fmtc.result/3"
    assert result["points"][0]["block"] is None
    assert set(result["points"][0]["joules_per_image"].values()) == {None}
    assert result["points"][1]["layers"][0]["reads"] is None
    validate(result)
    plot.rate_distortion(result, tmp_path / "old.png")
    figure_size(tmp_path / "old.png")
    old["points"][0]["block"] = "1,1,C"
    path.write_text(json.dumps(old))
    with pytest.raises(ResultError, match="'block' was unexpected"):
        load_result(path)


def test_version_2_is_still_read_and_drawn(tmp_path):
    """Its one SNR is both of version 3, and it knew of no outputs; so in experiments."""
    old = make_result(make_point(7), make_point(8)) | {"schema": "fmtc.result/2"}
    for point in old["points"]:
        for key in NEW_IN_3:
            del point[key]
    path = tmp_path / "result.json"
    path.write_text(json.dumps(old))
    result = load_result(path)
    assert result["schema"] == "fmtc.result/3"
    for new, point in zip(result["points"], old["points"], strict=True):
        nothing = {"outputs": [], "written": None, "bits_per_written_value": dict.fromkeys(RATES)}
        assert new == point | {"snr_db_image": point["snr_db"], **nothing}
    validate(result)
    plot.rate_distortion(result, tmp_path / "old.png")
    figure_size(tmp_path / "old.png")
    with console().capture():
        console().print(result_table(result))
    panel = {"title": "", "xlabel": "", "ylabel": "", "yscale": "log", "groups": None,
             "series": [], "levels": []}  # fmt: skip
    figure = {"title": "", "panels": [panel]}
    table = {"title": "", "columns": ["a"], "rows": [[1]]}
    made = new_experiment("fig3", "run", environment(0), [old], figure, [table], "so it is")
    path.write_text(json.dumps(made | {"schema": "fmtc.result/2"}))
    experiment = load_result(path)
    validate(experiment)
    assert [p["outputs"] for p in experiment["results"][0]["points"]] == [[], []]


# Figures and table


def figure_size(path) -> tuple[int, int]:
    """Height and width in pixels; the figure must not be blank."""
    pixels = matplotlib.image.imread(path)
    assert pixels[:, :, :3].std() > 0.05
    return pixels.shape[:2]


def test_rate_distortion_figure_has_a_panel_of_accuracy_where_there_is_one(tmp_path):
    both = make_result(make_point(7), make_point(9), make_point(8))
    untouched = copy.deepcopy(both)
    plot.rate_distortion(both, tmp_path / "both.png")
    assert both == untouched
    snr = make_result(make_point(7, labels=False), make_point(9, labels=False), top1=None)
    plot.rate_distortion(snr, tmp_path / "snr.png")
    assert figure_size(tmp_path / "both.png")[1] == 2 * figure_size(tmp_path / "snr.png")[1]
    several = make_result(make_point(7), make_point(8, weight_bits=8), make_point(9, stream=False))
    plot.rate_distortion(several, tmp_path / "new" / "several.png")
    figure_size(tmp_path / "new" / "several.png")


def test_layers_figure_grows_with_the_layers(tmp_path):
    point = make_point()
    plot.layers(point, tmp_path / "three.png")
    point["layers"] *= 5
    plot.layers(point, tmp_path / "fifteen.png")
    assert figure_size(tmp_path / "fifteen.png")[0] > figure_size(tmp_path / "three.png")[0]


def test_nothing_to_draw_is_said(tmp_path):
    with pytest.raises(ValueError, match="no point"):
        plot.rate_distortion(make_result(), tmp_path / "x.png")
    with pytest.raises(ValueError, match="no layers"):
        plot.layers({"layers": [], "bits_per_value": make_rates(1.0)}, tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_table_shows_rates_accuracy_and_saving():
    result = make_result(make_point(7), make_point(8, labels=False, stream=False))
    terminal = console()
    with terminal.capture() as capture:
        terminal.print(result_table(result))
    text = capture.get()
    for shown in ("b = 7", "2.333", "2.450", "2.567", "68 %", "56.0 (49.0-63.0)", "1.50x"):
        assert shown in text
    assert "88.0 %" in text and "200 images" in text
    assert "preset" not in text
    assert saving(make_point(8, stream=False)) == pytest.approx(1 - 1.05 / 3)


def test_table_tells_several_outputs_apart():
    outputs = [("maps", 12.34), ("classes", None)]
    several = make_point(8) | {"outputs": [{"name": n, "snr_db": snr} for n, snr in outputs]}
    terminal = console()
    with terminal.capture() as capture:
        terminal.print(result_table(make_result(make_point(7), several)))
    text = capture.get()
    assert "b = 8: maps 12.3 dB, classes - dB" in text and "b = 7:" not in text
    assert "SNR: dB, of the worst output;" in text


def test_points_are_labelled_by_kind_and_preset(tmp_path):
    """Presets side by side, as wide as a file is printed."""
    settings = [("b", 8), ("rate", 1.0), ("rate", 1.25), ("snr_db", 15), ("step", 0.0123456)]
    settings += [("agreement", 0.97), ("drop", 0.001)]
    shown = ["b = 8", "1.0 bits", "1.25 bits", "15 dB", "step 0.01235", "97 % agree", "drop 0.1 %"]
    points = []
    for kind, value in settings:
        preset = "paper" if kind == "b" else "fmtc"
        points.append(make_point() | {"preset": preset, "setting": {"kind": kind, "value": value}})
    assert [setting_label(point["setting"]) for point in points] == shown
    terminal = console()
    with terminal.capture() as capture:
        terminal.print(result_table(make_result(*points)))
    text = capture.get()
    for label in ("preset", "paper", *shown):
        assert label in text
    assert max(map(len, text.splitlines())) <= 100 and "…" not in text
    plot.rate_distortion(make_result(*points), tmp_path / "two.png")
    plot.rate_distortion(make_result(*points[1:]), tmp_path / "one.png")
    figure_size(tmp_path / "two.png")
