"""The same codecs and images in two checkouts, in turns: what a change of the code is worth."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

import fmtc

# What runs in each checkout: it loads the network, and for each line with a mode, a batch and a
# number of threads says how many seconds one run took.
WORKER = """
import json, sys, time
import torch, fmtc
from fmtc.data.models import load_model
folder, network, clock = sys.argv[1], json.loads(sys.argv[2]), getattr(time, sys.argv[3])
model = load_model(*network)
compressed = fmtc.load(folder + "/codec.safetensors", model)
images = torch.load(folder + "/images.pt")
print("ready", fmtc.__file__, flush=True)
for line in sys.stdin:
    mode, batch, threads = line.split()
    torch.set_num_threads(int(threads))
    run = model
    if mode != "plain":
        compressed.mode, run = mode, compressed
    with torch.no_grad():
        start = clock()
        run(images[: int(batch)])
        print(clock() - start, flush=True)
"""


class Worker:
    """A process with the code of one checkout."""

    def __init__(self, checkout: Path, folder: str, network: list[Any], clock: str):
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, folder, json.dumps(network), clock],
            env={**os.environ, "PYTHONPATH": str(checkout)},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        answer = self._answer().split()
        if answer[:1] != ["ready"] or checkout not in Path(answer[1]).parents:
            raise RuntimeError(f"{checkout}: its fmtc does not start, or is not built")

    def seconds(self, mode: str, batch: int, threads: int) -> float:
        """Of one run."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{mode} {batch} {threads}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(
    other: Path,
    compressed: fmtc.CompressedModel,
    network: list[Any],
    images: torch.Tensor,
    settings: list[tuple[int, int]],
    repeats: int,
    clock: str,
) -> list[dict[str, Any]]:
    """Medians of seconds here and there, and of their ratios within a turn, by mode and setting.

    network: what ``load_model`` takes. settings: batch and threads. clock: of module ``time``.
    """
    here = Path(fmtc.__file__).parents[1]
    rows = []
    with tempfile.TemporaryDirectory(prefix="fmtc-compare-") as folder:
        compressed.save(Path(folder) / "codec.safetensors")
        torch.save(images, Path(folder) / "images.pt")
        checkouts = (here, other.resolve())
        workers = [Worker(checkout, folder, network, clock) for checkout in checkouts]
        try:
            for batch, threads in settings:
                for mode in ("plain", "simulate", "stream"):
                    turns = [
                        [worker.seconds(mode, batch, threads) for worker in workers]
                        for _ in range(repeats + 1)
                    ][1:]
                    rows.append(
                        {
                            "mode": mode,
                            "batch": batch,
                            "threads": threads,
                            "here": statistics.median(turn[0] for turn in turns),
                            "other": statistics.median(turn[1] for turn in turns),
                            "ratio": statistics.median(turn[0] / turn[1] for turn in turns),
                        }
                    )
        finally:
            for worker in workers:
                worker.close()
    return rows
