"""A head here, a tail there: what crosses are bytes, and nothing has to be trained.

python examples/python/split_inference.py
"""

import torch
from torch import nn

import fmtc


def stage(channels, out):
    convolution = nn.Conv2d(channels, out, 3, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())


torch.manual_seed(0)
body = nn.Sequential(stage(3, 16), stage(16, 32), stage(32, 64))
model = nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)).eval()
images = nn.functional.interpolate(torch.randn(72, 3, 8, 8), size=(64, 64), mode="bicubic")
calibration, x = images[:64], images[64:]

parts = fmtc.split(model, at="0.1", images=calibration, target=fmtc.SNR(20))
data = parts.head(x)  # where the camera is
y = parts.tail(data)  # where the server is
print(f"{len(data) / len(x) / 1024:.2f} KiB an image; as floats {32 * 16 * 16 * 4 / 1024:.0f} KiB")
error = (y - model(x)).square().sum() / (model(x) - model(x).mean(0)).square().sum()
print(f"{-10 * error.log10():.1f} dB")
print(parts.report())
