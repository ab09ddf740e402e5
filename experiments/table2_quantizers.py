"""Table II: the smallest rate at which a method keeps the accuracy, against other quantisers.

Every method runs over b = 10, 9, ... 3, preset fmtc over its steps. Where a curve through these
points meets --kl (or --drop) counts, with the rates at which the ends of the points' 95 % intervals
meet it; accuracy and agreement are those of the cheapest point that meets it. Each method has its
rate with one table a layer, as in the paper, with the table classes of preset fmtc, and coded. A
second table has every point of the others beside what preset fmtc codes in at the same divergence.

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
    curve,
    panel,
    percent,
    points_of,
    records,
    rounded,
    setting_of,
    table,
    targets_of,
)
from .criteria import Criterion, rate_at, rate_interval, smallest
from .store import Store

QUANTIZERS = (
    "gemmlowp", "aciq", "kld", "int8-vlc", "int6-token-vlc", "int4-token-vlc", "mxfp4-vlc",
    "nvfp4-vlc", "apack",
)  # fmt: skip
BITS = range(10, 2, -1)
LEAST_SHOWN, MOST_SHOWN = 1e-4, 2.0  # nats, in the figure
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
    "network", "weights", "method", "criterion", "entropy, one table", "entropy, classes",
    "coded bits", "coded from", "coded to", "setting", "top-1 %", "agreement %", "paper's entropy",
]  # fmt: skip
BESIDE = [
    "network", "weights", "method", "setting", "coded bits", "top-1 %", "agreement %", "KL",
    "KL from", "KL to", "fmtc's coded bits", "fmtc's share %",
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
    for b in filter(PRESETS[method].allows, BITS):
        points.append(store.point(method, Bits(b), weight_bits))
        criterion = Criterion.chosen(store.result, options, weight_bits)
        missed = 0 if criterion.met_by(points[-1]) else missed + 1
        if missed == MISSES:
            break
    return points


def present(results: list[Result], options: argparse.Namespace):
    cases = [(result, bits) for result in results for bits in options.weight_bits]
    rows = [_row(*case, method, options) for case in cases for method in methods(options)]
    others = [row for case in cases for row in _beside(*case, options)]
    panels = [_bars(rows, options), *(_divergences(*case, options) for case in cases)]
    return panels, [
        table("Smallest rate that keeps the outputs", COLUMNS, rows),
        table("Others, and preset fmtc at the same divergence", BESIDE, others),
    ]


def _row(result: Result, weight_bits: int, method: str, options: argparse.Namespace) -> list:
    criterion = Criterion.chosen(result, options, weight_bits)
    published = PAPER.get((result["model"], weight_bits), {}).get(method)
    points = points_of(result, method, weight_bits)
    point = smallest(points, criterion)
    head = [result["model"], weight_bits, method, str(criterion)]
    if point is None:
        return [*head, *[None] * 8, published]
    kinds = ("entropy", "entropy_classes", coded(point))
    rates = [rounded(rate_at(points, criterion, kind)) for kind in kinds]
    interval = map(rounded, rate_interval(points, criterion, coded(point)))
    return [
        *head, *rates, *interval, setting_of(point), percent(point["top1"]),
        percent(point["agreement"]), published,
    ]  # fmt: skip


def _beside(result: Result, weight_bits: int, options: argparse.Namespace) -> list[list]:
    """Every point of the other methods, and what preset fmtc codes in at the point's divergence."""
    ours = points_of(result, "fmtc", weight_bits)
    rows = []
    for method in options.quantizers:
        for point in points_of(result, method, weight_bits):
            bits = point["bits_per_value"][coded(point)]
            same = None
            if ours and point["kl"] is not None:
                at = Criterion("kl", point["kl"], "")
                least = max(other["kl"] for other in ours)  # beyond it nothing was measured
                same = rate_at(ours, at, coded(ours[0])) if point["kl"] <= least else None
            rows.append(
                [
                    result["model"], weight_bits, method, setting_of(point), rounded(bits),
                    percent(point["top1"]), percent(point["agreement"]), rounded(point["kl"], 4),
                    *(rounded(end, 4) for end in point.get("kl_interval") or (None, None)),
                    rounded(same), None if same is None else percent(same / bits),
                ]
            )  # fmt: skip
    return rows


def _bars(rows: list[list], options: argparse.Namespace) -> dict:
    """The rates at the criterion, for each network and its weights."""
    cells = {(row[0], row[1], row[2]): dict(zip(COLUMNS, row, strict=True)) for row in rows}
    groups = list(dict.fromkeys((row[0], row[1]) for row in rows))
    series = []
    for method in methods(options):
        own = [cells[(*group, method)] for group in groups]
        heights = [cell["entropy, one table"] for cell in own]
        if all(height is None for height in heights):
            continue  # a format that reaches it nowhere: the other panels show where it is
        series.append(bars(method, color_of(method), heights))
        published = [cell["paper's entropy"] for cell in own]
        if any(value is not None for value in published):
            series.append(bars("published", color_of(method), published, "D"))
    names = [f"{network}\n{weight_bits}-bit weights" for network, weight_bits in groups]
    title = f"at {rows[0][3]}"
    return panel(title, "", "bits per value (entropy, one table a layer)", series, groups=names)


def _divergences(result: Result, weight_bits: int, options: argparse.Namespace) -> dict:
    """All points, by what they really take."""
    series = []
    for method in methods(options):
        shown = [p for p in points_of(result, method, weight_bits) if p["kl"] is not None]
        shown = [p for p in shown if LEAST_SHOWN <= p["kl"] <= MOST_SHOWN]
        x = [point["bits_per_value"][coded(point)] for point in shown]
        series.append(curve(method, color_of(method), x, [point["kl"] for point in shown]))
    title = f"{result['model']}, {weight_bits}-bit weights"
    return panel(title, "bits per value, coded", "KL (nats)", series, yscale="log")


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
