"""Table II: the smallest rate at which a method keeps the accuracy, against other quantisers.

Every method runs over b = 10, 9, ... 3, preset fmtc over its steps, and the smallest entropy among
the points within --drop of the uncompressed accuracy counts; where so small a drop is too few
images to show, those with --agreement count instead (the table says which). Each method has its
rate with one table a layer, as in the paper, and with the table classes of preset fmtc.

    python -m experiments.table2_quantizers --models resnet50 --data imagenet/val
"""

from __future__ import annotations

import argparse
import sys

from fmtc.presets import PRESETS
from fmtc.targets import Bits

from .common import (
    OURS,
    Experiment,
    Point,
    Result,
    bars,
    beside,
    coded,
    color_of,
    panel,
    percent,
    points_of,
    records,
    rounded,
    setting_of,
    table,
    targets_of,
)
from .criteria import Criterion, smallest
from .store import Store

QUANTIZERS = ("gemmlowp", "aciq", "kld")
BITS = range(10, 2, -1)
MISSES = 2  # so many settings in a row that miss end the search for smaller ones
# Bits a value on ImageNet, as published in the paper: by network and weights' bits.
PAPER = {
    ("resnet50", 8): {"gemmlowp": 6.88, "aciq": 6.0, "kld": 6.3, "paper": 4.15},
    ("resnet50", 4): {"gemmlowp": 6.93, "aciq": 6.2, "kld": 6.52, "paper": 4.25},
    ("inception_v3", 8): {"gemmlowp": 6.93, "aciq": 6.2, "kld": 6.43, "paper": 4.3},
    ("inception_v3", 4): {"gemmlowp": 6.97, "aciq": 6.3, "kld": 6.35, "paper": 4.6},
    ("mobilenet_v2", 8): {"gemmlowp": 8.6, "aciq": 7.5, "kld": 7.8, "paper": 3.8},
    ("mobilenet_v2", 4): {"gemmlowp": 8.8, "aciq": 7.85, "kld": 8.1, "paper": 4.0},
}
COLUMNS = [
    "network", "weights", "method", "criterion", "setting", "entropy, one table",
    "entropy, classes", "coded bits", "top-1 %", "agreement %", "paper's entropy",
]  # fmt: skip


def methods(options: argparse.Namespace) -> list[str]:
    return [*options.quantizers, *options.presets]


def measure(store: Store, options: argparse.Namespace) -> Result:
    points = []
    for weight_bits in options.weight_bits:
        points.append(store.baseline(weight_bits))
        for method in methods(options):
            points += _searched(store, method, weight_bits, options)
    return store.part(points)


def _searched(
    store: Store, method: str, weight_bits: int, options: argparse.Namespace
) -> list[Point]:
    """Points of falling rate, until the criterion is missed MISSES times in a row."""
    if PRESETS[method].knob == "step":
        return store.points(method, targets_of(method, options), weight_bits)
    points, missed = [], 0
    for b in BITS:
        points.append(store.point(method, Bits(b), weight_bits))
        criterion = Criterion.of(store.result, options.drop, options.agreement, weight_bits)
        missed = 0 if criterion.met_by(points[-1]) else missed + 1
        if missed == MISSES:
            break
    return points


def present(results: list[Result], options: argparse.Namespace):
    rows = [
        _row(result, weight_bits, method, options)
        for result in results
        for weight_bits in options.weight_bits
        for method in methods(options)
    ]
    groups = list(dict.fromkeys((row[0], row[1]) for row in rows))
    series = []
    for method in methods(options):
        own = {(row[0], row[1]): row for row in rows if row[2] == method}
        series.append(bars(method, color_of(method), [own[group][5] for group in groups]))
        published = [own[group][10] for group in groups]
        if any(value is not None for value in published):
            series.append(bars("published", color_of(method), published, "D"))
    names = [f"{network}\n{weight_bits}-bit weights" for network, weight_bits in groups]
    shown = panel("", "", "bits per value (entropy, one table a layer)", series, groups=names)
    return [shown], [table("Smallest rate that keeps the accuracy", COLUMNS, rows)]


def _row(result: Result, weight_bits: int, method: str, options: argparse.Namespace) -> list:
    criterion = Criterion.of(result, options.drop, options.agreement, weight_bits)
    published = PAPER.get((result["model"], weight_bits), {}).get(method)
    point = smallest(points_of(result, method, weight_bits), criterion)
    head = [result["model"], weight_bits, method, str(criterion)]
    if point is None:
        return [*head, *[None] * 6, published]
    rates = point["bits_per_value"]
    return [
        *head, setting_of(point), rounded(rates["entropy"]),
        rounded(rates["entropy_classes"]), rounded(rates[coded(point)]), percent(point["top1"]),
        percent(point["agreement"]), published,
    ]  # fmt: skip


def conclude(tables: list[dict]) -> str:
    rows = records(tables[0])
    parts = []
    for network, weight_bits in dict.fromkeys((row["network"], row["weights"]) for row in rows):
        own = [row for row in rows if (row["network"], row["weights"]) == (network, weight_bits)]
        parts.append(f"{network} w{weight_bits}: {_concluded(own)}")
    return "; ".join(parts)


def _concluded(rows: list[dict]) -> str:
    """Ours beside the best of the other quantisers."""
    bits = "entropy, one table"
    known = [row for row in rows if row[bits] is not None]
    others = [row for row in known if row["method"] not in OURS]
    ours = [row for row in known if row["method"] in OURS]
    where = rows[0]["criterion"]
    if not others or not ours:
        return f"{where}: {'no other method' if ours else 'none of ours'} reaches it"
    best = min(others, key=lambda row: row[bits])
    shown = ", ".join(
        f"{row['method']} {row[bits]:.2f} ({beside(row[bits], best[bits])})" for row in ours
    )
    return f"{where}: {best['method']} {best[bits]:.2f} bits, {shown}"


def add_options(parser: argparse.ArgumentParser) -> None:
    others = [name for name in PRESETS if name not in OURS and PRESETS[name].knob == "b"]
    parser.add_argument_group("quantisers").add_argument(
        "--quantizers", nargs="+", choices=others, default=list(QUANTIZERS), metavar="PRESET",
        help=f"to compare with, of {', '.join(others)} (default: {' '.join(QUANTIZERS)})",
    )  # fmt: skip


EXPERIMENT = Experiment(
    name="table2_quantizers",
    title="Smallest rate that keeps the accuracy",
    description=__doc__,
    networks=("resnet50", "inception_v3", "mobilenet_v2"),
    measure=measure,
    present=present,
    conclude=conclude,
    add_options=add_options,
)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
