"""How much memory a compression takes over what the plain network's forward takes.

In units of the weights of a network whose tensors are small beside them. A process of its own is
measured, after a compression of a small network, which loads what is loaded once, and with large
blocks given back to the system as soon as they are free: that is what is in use, and no allocator.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import json, re, sys, warnings
from pathlib import Path
import torch
from torch import nn
import fmtc

warnings.simplefilter("ignore")
torch.set_num_threads(1)
torch.manual_seed(0)

def network(layers, channels):
    parts = [nn.Conv2d(3, channels, 1)]
    for _ in range(layers):
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        parts += [conv, nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))

def compressed(model):
    return fmtc.compress(model, images, target=target)

target, images = json.loads(sys.argv[1]), torch.randn(4, 3, 8, 8)
compressed(network(2, 16).eval())
model = network(16, 384).eval()
with torch.no_grad():
    model(images)

def peak():  # of this process alone: getrusage's begins with that of the one which started it
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1])

before = peak()
made = compressed(model)
weights = sum(p.numel() * p.element_size() for p in model.parameters())
print(json.dumps({"weights": weights, "over": peak() - before}))
"""
# Calibration's own: codecs hold two matrices [C, C] a layer, 0.22 of these weights.
MOST = {"step=0.01": 1.5, "snr_db=15": 2.0}


@pytest.mark.slow
@pytest.mark.parametrize("target,most", MOST.items())
def test_a_compression_holds_little_more_than_its_network(target, most):
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, json.dumps(target)]
    root = Path(__file__).resolve().parents[1]
    run = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    measured = json.loads(run.stdout)
    assert measured["weights"] > 80e6
    share = measured["over"] / measured["weights"]
    assert 0.9 < share <= most, share
