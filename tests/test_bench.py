"""Benchmarks run where they are not meant to: what they write down is complete, never how fast."""

from __future__ import annotations

import json

import numpy as np
import pytest

from experiments.bench import compress, gpu

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


def test_compress_benchmark_has_a_line_for_each_target(tmp_path, capsys):
    net, data = tmp_path / "net.py", tmp_path / "images.npz"
    net.write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))\n"
    )
    np.savez(data, images=np.random.default_rng(0).integers(0, 256, (9, 3, 12, 12), np.uint8))
    options = ["--model", f"{net}:make", "--data", str(data), "--preprocess", "mean=.5,std=.5"]
    compress.main([*options, "--calib-images", "8", "--target", "step=0.05", "rate=1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["target", "step=0.05", "rate=1"]
    for line in lines[1:]:
        seconds, cpu, more = map(float, line.split()[1:])
        assert seconds > 0 and cpu > 0 and more >= 0
