"""Fig. 6: the shape of the transform's blocks.

Blocks of equal size h*w*c, spread differently over rows, columns and channels: top-1 accuracy and
mean squared error of the decoded feature maps against bits a value (entropy).

    python -m experiments.fig6_block_shape --models resnet18 --data imagenet/val
"""

from __future__ import annotations

import argparse
import math
import sys

from fmtc.codec.transform import Block

from .common import (
    POINT_COLUMNS,
    Experiment,
    Point,
    Result,
    accuracy,
    accuracy_panel,
    curve,
    near,
    panel,
    percent,
    point_rows,
    points_of,
    records,
    rounded,
    table,
    targets_of,
)
from .criteria import Criterion, rate_at
from .store import Store

# One channel block and ever larger spatial ones, for each size.
BLOCKS = (
    "1,1,64", "2,2,16", "4,4,4", "8,8,1",
    "1,1,256", "2,2,64", "4,4,16",
)  # fmt: skip
BITS = (6, 8, 10)
QUICK_BLOCKS = ("1,1,64", "2,2,16", "8,8,1")


def measure(store: Store, options: argparse.Namespace) -> Result:
    targets = targets_of("paper", options, BITS)
    weight_bits = options.weight_bits[0]
    points = [store.baseline(weight_bits)]
    for block in _blocks(options):
        points += store.points("paper", targets, weight_bits, block)
    return store.part(points)


def _blocks(options: argparse.Namespace) -> list[str]:
    chosen = options.blocks or (QUICK_BLOCKS if options.quick else BLOCKS)
    return [str(Block.parse(block)) for block in chosen]


def _size(block: str) -> int:
    return math.prod(int(part) for part in block.split(","))


def mean_squared_error(point: Point) -> float | None:
    """Of the decoded calibration tensors, over all values of all layers."""
    if not point["layers"]:
        return None
    values = sum(layer["values"] for layer in point["layers"])
    return sum(layer["mse"] * layer["values"] for layer in point["layers"]) / values


def present(results: list[Result], options: argparse.Namespace):
    blocks = _blocks(options)
    panels, rows = [], []
    for result in results:
        for size in dict.fromkeys(map(_size, blocks)):
            panels += _panels(result, size, [b for b in blocks if _size(b) == size], options)
        criterion = Criterion.chosen(result, options, options.weight_bits[0])
        for block in blocks:
            bits = rate_at(points_of(result, "paper", options.weight_bits[0], block), criterion)
            rows.append([result["model"], _size(block), block, rounded(bits), str(criterion)])
    errors = [mean_squared_error(p) for result in results for p in result["points"]]
    points = [
        [*row, None if error is None else float(f"{error:.4g}")]
        for row, error in zip(point_rows(results), errors, strict=True)
    ]
    return panels, [
        table("Points", (*POINT_COLUMNS, "MSE"), points),
        table("Rates", ["network", "size", "block", "bits", "where"], rows),
    ]


def _panels(result: Result, size: int, blocks: list[str], options: argparse.Namespace):
    accuracies, errors = [], []
    for color, block in enumerate(blocks):
        label = "×".join(block.split(","))
        points = points_of(result, "paper", options.weight_bits[0], block)
        rates = [point["bits_per_value"]["entropy"] for point in points]
        shown = near(points)
        y = [percent(accuracy(point), 3) for point in shown]
        x = [point["bits_per_value"]["entropy"] for point in shown]
        accuracies.append(curve(label, color, x, y))
        errors.append(curve(label, color, rates, [mean_squared_error(p) for p in points]))
    title = f"{result['model']}, blocks of {size}"
    return [
        accuracy_panel(title, "bits per value", result, accuracies),
        panel(title, "bits per value", "mean squared error", errors, yscale="log"),
    ]


def conclude(tables: list[dict]) -> str:
    """For each size, what the channel block takes and what the best spatial one."""
    rows = records(tables[1])
    parts = []
    for network, size in dict.fromkeys((row["network"], row["size"]) for row in rows):
        own = [row for row in rows if (row["network"], row["size"]) == (network, size)]
        known = sorted((r for r in own if r["bits"] is not None), key=lambda row: row["bits"])
        shown = ", ".join(f"{row['block'].replace(',', '×')} {row['bits']:.2f}" for row in known)
        parts.append(f"{network}, blocks of {size}, bits at {own[0]['where']}: {shown or 'none'}")
    return "; ".join(parts)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument_group("blocks").add_argument(
        "--blocks", nargs="+", metavar="h,w,c", help=f"(default: {' '.join(BLOCKS)})"
    )


EXPERIMENT = Experiment(
    name="fig6_block_shape",
    title="Block shapes of equal size",
    description=__doc__,
    networks=("resnet18",),
    measure=measure,
    present=present,
    conclude=conclude,
    add_options=add_options,
)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
