"""Table I: against EBPC, which codes 8-bit activations without loss.

EBPC has one rate and the accuracy of the 8-bit network. Of our curves two points are chosen: the
smallest rate at --kl (or --drop), and at --lower-kl (or --lower-drop).

    python -m experiments.table1_ebpc --models mobilenet_v2 resnet34 --data imagenet/val
"""

from __future__ import annotations

import argparse
import sys

from fmtc.targets import Bits

from .common import (
    Experiment,
    Result,
    bars,
    beside,
    coded,
    color_of,
    panel,
    percent,
    points_of,
    rate_cells,
    records,
    rounded,
    setting_of,
    table,
    targets_of,
)
from .criteria import Criterion, add_lower_options, smallest
from .store import Store

WEIGHT_BITS = 8
LOSSLESS = "lossless"
# (bits a value, top-1 %) on ImageNet, as published in the paper.
PAPER = {
    "resnet34": {"ebpc": [(3.33, 73.3)], "paper": [(3.9, 72.9), (3.11, 72.1)]},
    "mobilenet_v2": {"ebpc": [(3.64, 71.7)], "paper": [(3.8, 71.6), (3.25, 71.4)]},
}
COLUMNS = [
    "network", "method", "chosen by", "setting", "coded bits", "entropy, one table",
    "entropy, classes", "Huffman", "stream", "top-1 %", "agreement %", "KL",
    "paper's bits", "paper's top-1 %",
]  # fmt: skip


def measure(store: Store, options: argparse.Namespace) -> Result:
    points = [store.baseline(WEIGHT_BITS), store.point("ebpc", Bits(8), WEIGHT_BITS)]
    for preset in options.presets:
        points += store.points(preset, targets_of(preset, options), WEIGHT_BITS)
    return store.part(points)


def present(results: list[Result], options: argparse.Namespace):
    """Groups of bars: each network at each tolerance, EBPC's one rate beside both."""
    rows = [row for result in results for row in _rows(result, options)]
    cells = {(row[0], row[1], row[2]): dict(zip(COLUMNS, row, strict=True)) for row in rows}
    groups = list(dict.fromkeys((row[0], row[2]) for row in rows if row[2] != LOSSLESS))
    series = []
    for method in ("ebpc", *options.presets):
        own = [cells[n, method, LOSSLESS if method == "ebpc" else how] for n, how in groups]
        series.append(bars(method, color_of(method), [cell["coded bits"] for cell in own]))
        published = [cell["paper's bits"] for cell in own]
        if any(bits is not None for bits in published):
            series.append(bars("published", color_of(method), published, "D"))
    names = [f"{network}\n{how}" for network, how in groups]
    shown = panel("", "", "bits per value, coded", series, groups=names)
    return [shown], [table("Against EBPC", COLUMNS, rows)]


def _rows(result: Result, options: argparse.Namespace) -> list[list]:
    published = PAPER.get(result["model"], {})
    chosen = [("ebpc", LOSSLESS, points_of(result, "ebpc", WEIGHT_BITS)[0], 0)]
    criteria = [
        choose(result, options, WEIGHT_BITS) for choose in (Criterion.chosen, Criterion.lower)
    ]
    for preset in options.presets:
        points = points_of(result, preset, WEIGHT_BITS)
        rate = coded(points[0])
        for place, criterion in enumerate(criteria):
            chosen.append((preset, str(criterion), smallest(points, criterion, rate), place))
    rows = []
    for method, how, point, place in chosen:
        reference = published[method][place] if method in published else (None, None)
        if point is None:
            rows.append([result["model"], method, how, *[None] * 9, *reference])
            continue
        rows.append(
            [
                result["model"], method, how, setting_of(point),
                rounded(point["bits_per_value"][coded(point)]), *rate_cells(point),
                percent(point["top1"]), percent(point["agreement"]), rounded(point["kl"], 4),
                *reference,
            ]
        )  # fmt: skip
    return rows


def conclude(tables: list[dict]) -> str:
    rows = records(tables[0])
    parts = []
    for network in dict.fromkeys(row["network"] for row in rows):
        ebpc, *ours = [row for row in rows if row["network"] == network]
        shown = [
            f"{row['method']} {row['coded bits']:.2f} "
            f"({beside(row['coded bits'], ebpc['coded bits'])}, {row['chosen by']})"
            for row in ours
            if row["coded bits"] is not None
        ]
        parts.append(f"{network}: EBPC {ebpc['coded bits']:.2f} bits; {', '.join(shown) or 'none'}")
    return "; ".join(parts)


def add_options(parser: argparse.ArgumentParser) -> None:
    add_lower_options(parser, "the second point")


EXPERIMENT = Experiment(
    name="table1_ebpc",
    title="Coded bits per value, against EBPC",
    description=__doc__,
    networks=("resnet34", "mobilenet_v2"),
    measure=measure,
    present=present,
    conclude=conclude,
    add_options=add_options,
)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
