"""A network of one's own: compress it for a target, measure it, save it, load it again.

    python examples/python/own_network.py

The weights are random, so that nothing has to be downloaded; take yours, and images that are
preprocessed as they were for training. No labels are needed to compress.
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import fmtc


class Network(nn.Module):
    """Two stages with a shortcut, and a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(16, 16, 3, 1, 1), nn.BatchNorm2d(16), nn.SiLU())
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = self.stem(x)
        x = x + self.body(x)
        return self.head(x.mean((2, 3)))


torch.manual_seed(0)
model = Network().eval()
images = nn.functional.interpolate(torch.randn(96, 3, 8, 8), size=(48, 48), mode="bicubic")
calibration, test = images[:64], images[64:]

compressed = fmtc.compress(model, calibration, target=fmtc.SNR(20))
point = fmtc.evaluate(compressed, test)
print(f"{point['bits_per_value']['stream']:.2f} bits a value at {point['snr_db']:.1f} dB")
print(compressed.report())

with tempfile.TemporaryDirectory() as folder:
    compressed.save(Path(folder) / "codec.safetensors")
    loaded = fmtc.load(Path(folder) / "codec.safetensors", model)
print("loaded, and the same:", torch.equal(loaded(test), compressed(test)))
