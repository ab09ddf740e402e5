"""A network of timm, in the paper's way and in fmtc's, and what of it is coded.

    pip install timm
    python examples/python/timm_network.py

Weights are random here; `pretrained=True` downloads them. Any of timm's names may stand in the
place of its smallest: `python -m experiments.zoo` has tried many (docs/networks.md).
"""

import timm
import torch
from torch import nn

import fmtc

torch.manual_seed(0)
model = timm.create_model("test_efficientnet", pretrained=False).eval()
images = nn.functional.interpolate(torch.randn(64, 3, 8, 8), size=(128, 128), mode="bicubic")

for name, compressed in {
    "paper, b = 8": fmtc.compress(model, images, "paper", bits=8),
    "fmtc": fmtc.compress(model, images, target=fmtc.Step(0.005)),
}.items():
    point = fmtc.evaluate(compressed, images[:8])
    bits = point["bits_per_value"]["stream"]
    print(f"{name}: {bits:.2f} bits a value at {point['snr_db']:.1f} dB")

written = compressed.report().written
print(f"{len(compressed.points)} tensors are coded: {written}")
