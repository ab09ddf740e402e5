"""The two halves of a split network as AOTInductor packages, to run without Python.

``head.pt2`` holds the model ``head``: of x [N, ...] it gives for each tensor that crosses ``bytes``
u8 [N, bound], of which the first ``used`` i64 [N] are each image's stream. ``tail.pt2`` holds
``tail``: it takes the same, in rows of ``bounds`` bytes, and gives the network's outputs in order
and ``status`` i32 [N, tensors], what decoding each stream said. The bundle between them is made and
read by who runs them. Both carry a JSON text of schema "fmtc.split-package/1" under the key "fmtc".
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data.preprocess import parse_preprocess
from ..files import check_writable
from ..model.points import CodedPoint
from ..network.fingerprint import fingerprint
from ..network.outputs import named_outputs
from .packages import METADATA_KEY, check_example, exported, with_batch, write_package
from .split import Split

SCHEMA = "fmtc.split-package/1"
HEAD, TAIL = "head", "tail"


def export_split(
    parts: Split,
    folder: str | os.PathLike,
    example: Tensor,
    *,
    dynamic_batch: bool = True,
    preprocess: str | None = None,
    classes: Sequence[str] | None = None,
) -> None:
    """Write FOLDER/head.pt2 and FOLDER/tail.pt2; arguments and errors as for ``fmtc.export``."""
    check_example(parts.compressed.reference, example)
    if preprocess is not None:
        parse_preprocess(preprocess).check_channels(example.shape[1])
    Path(folder).mkdir(parents=True, exist_ok=True)
    check_writable(folder)
    example = with_batch(example, dynamic_batch)
    size = example.shape[2:]
    head, tail = HeadStreams(parts, size), TailStreams(parts, size)
    with torch.no_grad():
        streams = head(example)
        output = parts.compressed.reference(example[:1])
    batch = None if dynamic_batch else len(example)
    common = {
        "schema": SCHEMA,
        "network": fingerprint(parts.compressed.reference),
        "device": example.device.type,
        "torch": torch.__version__,
        "input_shape": list(example.shape[1:]),
        "batch": batch,
        "tensors": [
            {"name": name, "bound": bound.shape[1]}
            for name, bound in zip(parts.at, streams[::2], strict=True)
        ],
        "outputs": [
            {"name": name, "shape": list(of.shape[1:])}
            for name, of in named_outputs(output).items()
        ],
        "preprocess": preprocess,
        "classes": None if classes is None else list(classes),
    }
    for name, model, inputs in ((HEAD, head, (example,)), (TAIL, tail, streams)):
        metadata = {METADATA_KEY: json.dumps({**common, "part": name})}
        program = exported(model, inputs, dynamic_batch)
        write_package(Path(folder) / f"{name}.pt2", {name: program}, metadata)


class HeadStreams(nn.Module):
    """What ``parts.head`` puts into a bundle, as a function of tensors alone."""

    def __init__(self, parts: Split, size: Sequence[int]):
        super().__init__()
        made = parts.graphs(size)
        self.head, self.points = made.head, list(made.points.values())
        self.held = nn.ModuleList(self.points)  # so that their tables are known as constants

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        streams: list[Tensor] = []
        for point, tensor in zip(self.points, self.head(x), strict=True):
            planes = point.layout.planes(tensor)
            levels, _ = point.quantize(planes)
            crop = point.codec.tile.crop(*planes.shape[2:])
            streams += point.codec.encode_symbols(point.codec.symbols(levels), crop)
        return tuple(streams)


class TailStreams(nn.Module):
    """What ``parts.tail`` makes of the streams in a bundle, as a function of tensors alone."""

    def __init__(self, parts: Split, size: Sequence[int]):
        super().__init__()
        made = parts.graphs(size)
        self.tail, self.points = made.tail, list(made.points.values())
        self.held = nn.ModuleList(self.points)
        self.like = [(of.dtype, of.shape) for of in made.like]
        self.input_shape = made.input_shape
        self.positions = list(map(_positions, self.points, made.shapes.values()))

    def forward(self, *streams: Tensor) -> tuple[Tensor, ...]:
        tensors, statuses = [], []
        of_points = zip(self.points, self.positions, self.like, strict=True)
        for i, (point, (height, width, crop), (dtype, shape)) in enumerate(of_points):
            codec = point.codec
            data, used = streams[2 * i : 2 * i + 2]
            symbols, status = codec.coder.decode_unchecked(data, used, height, width)
            planes = point.dequantize(codec.symbol_map.levels(symbols), crop, dtype)
            tensors.append(point.layout.restored(planes, shape))
            statuses.append(status)
        made = self.tail(*tensors, (streams[0].shape[0], *self.input_shape))
        return *named_outputs(made).values(), torch.stack(statuses, 1)


def _positions(point: CodedPoint, shape: Sequence[int]) -> tuple[int, int, tuple[int, int]]:
    """Height and width of a point's levels, and the block padding in them."""
    tile, (height, width) = point.codec.tile, shape[1:]
    crop = tile.crop(height, width)
    return (height + crop[0]) // tile.h, (width + crop[1]) // tile.w, crop
