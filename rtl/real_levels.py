"""Levels of real networks for the testbenches: MobileNetV2 and ResNet-18 with preset ``paper``.

    python rtl/real_levels.py --data ../shared/data --out build/rtl/levels

writes a file for each of some coding points, as rtl/tests/real.h reads them: magic "fmtl", u32 K,
H, W, i32 lo, u32 symbols and tables, K bytes table_of, tables * symbols i64 counts of calibration,
and the i16 levels of one image; all little-endian.
"""

from __future__ import annotations

import argparse
import struct
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import torch

import fmtc
from fmtc.codec.codec import TensorCodec
from fmtc.data.datasets import open_dataset, split
from fmtc.data.models import load_model

# Model, weights, data, preprocessing, options of both, bits, and how many tables a layer may have.
NETWORKS = (
    (
        "mobilenet_v2", "mobilenet_v2_imagenet_w8.safetensors", "imagenet_sample",
        "crop=224,mean=0.5,std=0.5,hflip,vflip", None, 8, 16,
    ),
    (
        "resnet18", "resnet18_cifar10.safetensors", "cifar10_test.npz",
        "resize=112,mean=.485/.456/.406,std=.229/.224/.225", 10, 6, 4,
    ),
)  # fmt: skip
CALIBRATION_IMAGES = 16
LAYERS = 6  # of a network, evenly spaced


def levels_of(network: tuple, folder: Path) -> dict[str, tuple[TensorCodec, torch.Tensor]]:
    """Codec and symbols i16 [K, H, W] of one image at each coding point."""
    model, weights, data, preprocess, classes, bits, tables = network
    net = load_model(model, folder / weights, classes)
    options = {"labels": folder / data / "labels.csv"} if (folder / data).is_dir() else {}
    dataset = open_dataset(folder / data, preprocess=preprocess, **options)
    calibration, test = split(dataset, CALIBRATION_IMAGES, 1, seed=0)
    images = dataset.subset(calibration).tensor()[0]
    compressed = fmtc.compress(net, images, "paper", bits=bits, table_classes=tables)
    names = {id(codec): name for name, codec in compressed.codecs.items()}
    found = {}
    encode = TensorCodec.encode_symbols

    def watched(self, symbols, crop=(0, 0)):
        found[names[id(self)]] = (self, symbols.planes[0].clone())
        return encode(self, symbols, crop)

    # In stages, as the operator that does all at once shows no symbols.
    stages = mock.patch("fmtc.codec.fused.fuses", return_value=False)
    with stages, mock.patch.object(TensorCodec, "encode_symbols", watched), torch.no_grad():
        compressed(dataset.subset(test).tensor()[0])
    if found.keys() != compressed.codecs.keys():
        raise RuntimeError(f"{model}: no levels of {set(names.values()) - found.keys()}")
    return found


def write(path: Path, codec: TensorCodec, levels: torch.Tensor) -> None:
    counts = codec.coder.smoothed_counts().numpy()
    with path.open("wb") as file:
        file.write(b"fmtl" + struct.pack("<3I", *levels.shape))
        file.write(struct.pack("<i2I", codec.coder.lo, counts.shape[1], counts.shape[0]))
        file.write(codec.coder.table_of.numpy().astype(np.uint8).tobytes())
        file.write(counts.astype("<i8").tobytes())
        file.write(levels.numpy().astype("<i2").tobytes())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="the folder of ../shared/data")
    parser.add_argument("--out", type=Path, required=True, help="the folder to write to")
    options = parser.parse_args()
    if not options.data.is_dir():
        print(f"No folder {options.data}: the tests of real levels will be skipped")
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    for network in NETWORKS:
        found = levels_of(network, options.data)
        for name in list(found)[:: max(1, len(found) // LAYERS)]:
            codec, levels = found[name]
            path = options.out / f"{network[0]}-{name}.levels"
            write(path, codec, levels)
            print(f"{path.name}: {tuple(levels.shape)}, {len(codec.coder.counts)} tables, "
                  f"levels from {codec.coder.lo} to {codec.coder.hi}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
