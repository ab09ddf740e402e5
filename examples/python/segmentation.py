"""A network with several outputs that are maps, judged by the worst of them.

    python examples/python/segmentation.py

torchvision's networks of segmentation return a dictionary; its outputs are measured by name, at any
size of image. Weights are random here.
"""

import torch
from torch import nn
from torchvision.models.segmentation import lraspp_mobilenet_v3_large

import fmtc


class TwoHeads(nn.Module):
    """A segmentation network, and how much of the image is foreground."""

    def __init__(self):
        super().__init__()
        self.network = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4)

    def forward(self, x):
        masks = self.network(x)["out"]
        return {"masks": masks, "share": masks.softmax(1)[:, 1:].sum(1).mean((1, 2))}


torch.manual_seed(0)
model = TwoHeads().eval()
images = nn.functional.interpolate(torch.randn(16, 3, 8, 8), size=(64, 64), mode="bicubic")

# A step needs no search, unlike fmtc.SNR(15); more images would say which components are empty.
compressed = fmtc.compress(model, images, target=fmtc.Step(0.005), outputs=["masks"])
outputs = compressed(images[:2])
print({name: tuple(tensor.shape) for name, tensor in outputs.items()})
point = fmtc.evaluate(compressed, images[:8])
print(f"masks: {point['snr_db']:.1f} dB at {point['bits_per_value']['stream']:.2f} bits a value")
larger = compressed(torch.randn(1, 3, 96, 128))
print("another size:", tuple(larger["masks"].shape))
