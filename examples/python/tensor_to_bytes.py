"""A tensor to bytes and back, without a network: in memory, in a file, image by image.

    python examples/python/tensor_to_bytes.py

The step bounds the error: no component of the transform that is kept is more than half a step off,
and one is dropped only where the samples have less than that of it.
"""

import tempfile
from pathlib import Path

import torch
from torch import nn

import fmtc

STEP = 0.05

torch.manual_seed(0)
maps = nn.functional.avg_pool2d(torch.randn(48, 12, 40, 40), 5, 1)
maps = torch.einsum("dc,nchw->ndhw", torch.randn(12, 12) / 3, maps)  # channels that are alike
samples, x = maps[:32], maps[32:]

codec = fmtc.calibrate_tensor(samples, "fmtc", step=STEP)
data = codec.encode(x)
decoded = codec.decode(data)
error = (decoded - x).square().mean().sqrt()
print(f"{8 * len(data) / x.numel():.2f} bits a value, error {error:.4f} (step {STEP})")
assert (decoded - x).abs().max() <= STEP / 2 * codec.components**0.5 + 1e-4

with tempfile.TemporaryDirectory() as folder:
    codec.save(Path(folder) / "codec.safetensors")
    (Path(folder) / "maps.fmtc").write_bytes(data)
    read = fmtc.TensorCodec.load(Path(folder) / "codec.safetensors")
    bundle = fmtc.Bundle.of((Path(folder) / "maps.fmtc").read_bytes())
print(f"{bundle.images} images in the file")
print(
    "one of them, the same:", torch.equal(read.decode([bundle[3, bundle.names[0]]]), decoded[3:4])
)

try:
    codec.decode(data[:-1])
except fmtc.StreamError as error:
    print("cut off:", error)
