"""A network whose outputs are maps, in a dictionary, judged by those that matter.

    python examples/python/segmentation.py

Outputs are named by their keys; the target holds for the worst of those that count. Images of any
size pass the compressed network. Weights are random here.
"""

import torch
from torch import nn

import fmtc


def stage(channels, out, stride=1):
    convolution = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU())


class UNet(nn.Module):
    """Two levels; masks of four classes, and how much of the image is none of the first."""

    def __init__(self):
        super().__init__()
        self.top, self.down = stage(3, 16), stage(16, 32, 2)
        self.bottom, self.up = stage(32, 32), nn.ConvTranspose2d(32, 16, 2, 2)
        self.join, self.head = stage(32, 16), nn.Conv2d(16, 4, 1)

    def forward(self, x):
        top = self.top(x)
        low = self.bottom(self.down(top))
        masks = self.head(self.join(torch.cat([top, self.up(low)], 1)))
        return {"masks": masks, "share": masks.softmax(1)[:, 1:].sum(1).mean((1, 2))}


torch.manual_seed(0)
model = UNet().eval()
images = nn.functional.interpolate(torch.randn(48, 3, 6, 6), size=(64, 64), mode="bicubic")

compressed = fmtc.compress(model, images, target=fmtc.SNR(20), outputs=["masks"])
outputs = compressed(images[:2])
print({name: tuple(tensor.shape) for name, tensor in outputs.items()})
point = fmtc.evaluate(compressed, images[:8])
print(f"masks: {point['snr_db']:.1f} dB at {point['bits_per_value']['stream']:.2f} bits a value")
larger = compressed(torch.randn(1, 3, 96, 128))
print("another size:", tuple(larger["masks"].shape))
