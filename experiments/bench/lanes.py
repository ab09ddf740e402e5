"""What shorter lanes cost in bytes and gain in time, on the levels of a real network.

    python -m experiments.bench.lanes --model mobilenet_v2 --weights FILE --data FOLDER --codec FILE

The levels of a batch at each coding point of saved codecs are coded with 4096 to 256 values a lane
(``lane_values``); bytes of all streams, and CPU time of all encoders and decoders, in turns, as
ratios to the coder's own choice. On one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

import fmtc
from fmtc import ops
from fmtc.codec.coders import Rans
from fmtc.data.datasets import open_dataset
from fmtc.data.models import load_model
from fmtc.model.points import CodedPoint, ReusingPoint

LANE_VALUES = (0, 4096, 2048, 1024, 512, 256)


@torch.no_grad()
def levels_of(compressed: fmtc.CompressedModel, x: torch.Tensor) -> list[tuple[Rans, Any]]:
    """The coder and the symbols of each point that codes with rANS."""
    found: list[tuple[Rans, Any]] = []

    def take(point: CodedPoint, args: tuple[torch.Tensor]) -> None:
        levels, _ = point.quantize(point.layout.planes(args[0]))
        if isinstance(point.codec.coder, Rans):
            found.append((point.codec.coder, point.codec.symbols(levels)))

    points = [
        point
        for point in compressed.points.values()
        if isinstance(point, CodedPoint) and not isinstance(point, ReusingPoint)
    ]
    hooks = [point.register_forward_pre_hook(take) for point in points]
    compressed(x)
    for hook in hooks:
        hook.remove()
    return found


def run(found: list[tuple[Rans, Any]], lane_values: int) -> tuple[int, float, float]:
    """Bytes of all streams, seconds of all encoders and of all decoders."""
    size, encoding, decoding = 0, 0.0, 0.0
    for coder, symbols in found:
        tables = coder.lo, coder.table_of, coder.encode_table, coder.table_id, 0, 0
        start = time.process_time()
        data, used = ops.rans_encode(symbols.planes, *tables, symbols.classes, lane_values)
        middle = time.process_time()
        coder.decode(data, used, *symbols.planes.shape[2:])
        decoding += time.process_time() - middle
        encoding += middle - start
        size += int(used.sum())
    return size, encoding, decoding


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--num-classes", type=int)
    parser.add_argument("--data", required=True)
    parser.add_argument("--labels")
    parser.add_argument("--preprocess")
    parser.add_argument("--codec", required=True)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(args.model, args.weights, args.num_classes, 0)
    compressed = fmtc.load(args.codec, model)
    compressed.mode = "simulate"
    dataset = open_dataset(args.data, args.labels, None, args.preprocess)
    images = dataset.subset(torch.arange(max(args.batches))).tensor()[0]
    print("batch  lane_values   bytes  encode ms  decode ms   bytes x  encode x  decode x")
    for batch in args.batches:
        found = levels_of(compressed, images[:batch])
        turns = [[run(found, n) for n in LANE_VALUES] for _ in range(args.repeats + 1)][1:]
        for i, lane_values in enumerate(LANE_VALUES):
            size, encode, decode = (
                statistics.median(turn[i][j] for turn in turns) for j in range(3)
            )
            ratios = [statistics.median(t[i][j] / t[0][j] for t in turns) for j in range(3)]
            times = f"{1e3 * encode:10.1f} {1e3 * decode:10.1f}"
            shown = "".join(f"{ratio:10.3f}" for ratio in ratios)
            print(f"{batch:5} {lane_values or 'own':>12} {size:>8.0f}{times}{shown}")


if __name__ == "__main__":
    main()
