"""`fmtc serve` under thousands of requests, 5 % of them damaged: experiments/bench/serve.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from networks import SERVED_NET, images

for package in ("fastapi", "uvicorn", "prometheus_client"):
    pytest.importorskip(package, reason="of the extra fmtc[serve]")


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_thousands_of_requests(tmp_path, monkeypatch, workers):
    """Every damaged one is refused, none is lost or mixed up, and memory stays as it is."""
    from experiments.bench.serve import main

    (tmp_path / "net.py").write_text(SERVED_NET)
    pixels = (images(64, size=16) * 40 + 128).clamp(0, 255).to(torch.uint8)
    np.savez(tmp_path / "data.npz", images=pixels.numpy(), labels=np.arange(64) % 10)
    monkeypatch.chdir(tmp_path)
    words = [
        "--model", "net.py:make", "--data", "data.npz", "--preprocess", "mean=0.5,std=0.25",
        "--at", "a", "--requests", "10000", "--damaged", "0.05", "--loop", "200", "--clients", "8",
        "--workers", str(workers), "--out", "result.json",
    ]  # fmt: skip
    assert main(words) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    outcomes = result["outcomes"]
    assert outcomes["right"] + outcomes["refused"] == 10_000 and outcomes["refused"] > 400
    assert result["growth"] < 24 * 2**20
