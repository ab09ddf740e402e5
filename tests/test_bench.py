"""Benchmarks run where they are not meant to: what they write down is complete, never how fast."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch

import fmtc
from experiments.bench import coders, compress, gpu, lanes, loops, stages
from fmtc.data.models import load_model

STAGES = [("copy", 0), ("transform", 0), ("inverse", 0)]
STAGES += [(stage, lanes) for lanes in (0, 256) for stage in ("encode", "decode")]


def test_gpu_benchmark_has_streams_of_both_lane_values(tmp_path, capsys):
    options = "--device cpu --channels 8 --values 0.02 0.04 --networks none --repeats 1"
    gpu.main([*options.split(), "--lane-values", "256", "--out", str(tmp_path)])
    result = json.loads((tmp_path / "gpu.json").read_text())
    assert result["lane_values"] == 256 and not result["networks"]
    rows = result["coding"]
    assert [(row["stage"], row["lane_values"]) for row in rows] == 2 * STAGES
    for row in rows:
        own = next(r for r in rows if r["values"] == row["values"] and not r["lane_values"])
        assert row["more_bits_per_value"] == row["bits_per_value"] - own["bits_per_value"]
        assert (row["more_bits_per_value"] > 0) == (row["lane_values"] > 0)
        assert row["seconds"] > 0 and row["gb_per_s"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"gpu.json", "gpu.png", "gpu.svg"}
    assert f"{rows[-1]['more_bits_per_value']:.4f}" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", ["0", "1000", "131072"])
def test_gpu_benchmark_refuses_wrong_lane_values(wrong, capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--lane-values", wrong])
    assert "argument --lane-values: invalid choice" in capsys.readouterr().err


@pytest.fixture
def network(tmp_path):
    """Options that name a network and ten images."""
    net, data = tmp_path / "net.py", tmp_path / "images.npz"
    net.write_text(
        "import torch\n"
        "from torch import nn\n"
        "def make():\n"
        "    torch.manual_seed(0)\n"
        "    again = nn.init.orthogonal_(nn.Conv2d(4, 5, 1).weight)\n"
        "    net = nn.Sequential(\n"
        "        nn.Conv2d(3, 4, 3), nn.Conv2d(4, 5, 1), nn.ReLU(), nn.Conv2d(5, 5, 3))\n"
        "    net[1].weight.data = again\n"
        "    return net\n"
    )
    np.savez(data, images=np.random.default_rng(0).integers(0, 256, (10, 3, 12, 12), np.uint8))
    return ["--model", f"{net}:make", "--data", str(data), "--preprocess", "mean=.5,std=.5"]


def test_coders_get_what_a_network_codes(network):
    args = coders._parser().parse_args([*network, "--calib-images", "8", "--step", "0.05"])
    items = coders.network_items(args)
    # Of two images; layer 1 uses the levels of layer 0 again.
    assert [item.levels.shape[2:] for item in items] == 2 * [(10, 10), (8, 8)]
    assert all(item.levels.any() for item in items)


def test_stages_and_lanes_are_of_the_points_that_code(network):
    args = coders._parser().parse_args(network)
    model = load_model(args.model)
    x = torch.randn(9, 3, 12, 12, generator=torch.Generator().manual_seed(0))
    compressed = fmtc.compress(model, x, target=fmtc.Step(0.05))
    assert compressed.calibrated().reused == {"1": "0"}
    assert len(lanes.levels_of(compressed, x)) == 2
    seconds = stages.by_stage(compressed, x, 1, time.perf_counter)
    assert seconds.keys() == set(stages.STAGES)
    assert all(took > 0 for stage, took in seconds.items() if stage != "classes")  # has none


def test_compress_benchmark_has_a_line_for_each_target(network, capsys):
    compress.main([*network, "--calib-images", "8", "--target", "step=0.05", "rate=1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["target", "step=0.05", "rate=1"]
    for line in lines[1:]:
        seconds, cpu, more = map(float, line.split()[1:])
        assert seconds > 0 and cpu > 0 and more >= 0


def test_loops_are_beside_what_bounds_them():
    rows = loops.measure_loops(1, quick=True)
    of = {row["loop"]: row["yardstick"] for row in rows}
    assert len(of) == len(rows) and set(of.values()) <= of.keys()
    assert of["product, 160 to 960, 7x7"] == "conv., 160 to 960, 7x7"
    for row in rows:
        assert row["rate"] > 0 and row["times"] > 0
        assert row["loop"] != row["yardstick"] or row["times"] == 1
