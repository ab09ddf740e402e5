"""The features of a data set in a Zarr array, coded, and read again image by image.

    pip install 'fmtc[zarr]'
    python examples/python/features_in_zarr.py

Whoever has fmtc installed reads the array as any other: the codec stands in its metadata. The
step bounds the error: no component that is kept is more than half a step off, and one is dropped
only where the samples have less than that of it.
"""

import tempfile

import torch
import zarr
from torch import nn

import fmtc
from fmtc.data.zarr import Serializer

torch.manual_seed(0)
backbone = nn.Sequential(nn.Conv2d(3, 24, 5, stride=4), nn.ReLU(), nn.Conv2d(24, 24, 3)).eval()
images = nn.functional.interpolate(torch.randn(80, 3, 8, 8), size=(64, 64), mode="bicubic")
with torch.no_grad():
    features = backbone(images)

codec = fmtc.calibrate_tensor(features[:32], "fmtc", step=0.02)
with tempfile.TemporaryDirectory() as folder:
    array = zarr.create_array(
        f"{folder}/features.zarr",
        shape=features.shape,
        chunks=(20, *features.shape[1:]),  # whole images
        dtype="float32",
        serializer=Serializer(codec),
        compressors=None,
    )
    array[:] = features.numpy()
    opened = zarr.open_array(f"{folder}/features.zarr", mode="r")
    read = torch.from_numpy(opened[33:36])
    stored = opened.nbytes_stored()
error = (read - features[33:36]).square().mean().sqrt()
print(f"{features.numel() * 4 / stored:.1f} times smaller than float32, codec included")
print(f"error {error:.4f} of values with deviation {features.std():.2f}")
