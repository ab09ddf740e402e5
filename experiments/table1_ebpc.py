"""Table I: against EBPC, which codes 8-bit activations without loss.

EBPC has one rate and the accuracy of the 8-bit network. Of our curves two points are chosen: the
smallest rate at --drop (or --agreement), and at --lower-drop (or --lower-agreement).

    python -m experiments.table1_ebpc --models mobilenet_v2 resnet34 --data imagenet/val
"""

from __future__ import annotations

import argparse
import sys

from fmtc.targets import Bits

from .common import (
    Criterion,
    Experiment,
    Result,
    bars,
    coded,
    panel,
    percent,
    points_of,
    rate_cells,
    records,
    rounded,
    smallest,
    table,
    targets_of,
)
from .store import Store

WEIGHT_BITS = 8
# (bits a value, top-1 %) on ImageNet, as published in the paper.
PAPER = {
    "resnet34": {"ebpc": [(3.33, 73.3)], "paper": [(3.9, 72.9), (3.11, 72.1)]},
    "mobilenet_v2": {"ebpc": [(3.64, 71.7)], "paper": [(3.8, 71.6), (3.25, 71.4)]},
}
COLUMNS = [
    "network", "method", "chosen by", "setting", "coded bits", "entropy, one table",
    "entropy, classes", "Huffman", "stream", "top-1 %", "agreement %", "paper's bits",
    "paper's top-1 %",
]  # fmt: skip


def measure(store: Store, options: argparse.Namespace) -> Result:
    points = [store.point("ebpc", Bits(8), WEIGHT_BITS)]
    for preset in options.presets:
        points += store.points(preset, targets_of(preset, options), WEIGHT_BITS)
    return store.part(points)


def present(results: list[Result], options: argparse.Namespace):
    rows = [row for result in results for row in _rows(result, options)]
    methods = list(dict.fromkeys((row[1], row[2]) for row in rows))
    names = [result["model"] for result in results]
    series = []
    for color, (method, chosen) in enumerate(methods):
        own = {row[0]: row for row in rows if (row[1], row[2]) == (method, chosen)}
        label = method if chosen == "lossless" else f"{method}, {chosen}"
        series.append(bars(label, color, [own.get(name, [None] * 5)[4] for name in names]))
        published = [own.get(name, [None] * 13)[11] for name in names]
        if any(value is not None for value in published):
            series.append(bars("published", color, published, "D"))
    shown = panel("", "", "bits per value, coded", series, groups=names)
    return [shown], [table("Against EBPC", COLUMNS, rows)]


def _rows(result: Result, options: argparse.Namespace) -> list[list]:
    published = PAPER.get(result["model"], {})
    chosen = [("ebpc", "lossless", points_of(result, "ebpc", WEIGHT_BITS)[0], 0)]
    tolerances = [
        (options.drop, options.agreement),
        (options.lower_drop, options.lower_agreement),
    ]
    for preset in options.presets:
        points = points_of(result, preset, WEIGHT_BITS)
        for place, tolerance in enumerate(tolerances):
            criterion = Criterion.of(result, *tolerance)
            rate = coded(points[0])
            chosen.append((preset, str(criterion), smallest(points, criterion, rate), place))
    rows = []
    for method, how, point, place in chosen:
        reference = published[method][place] if method in published else (None, None)
        if point is None:
            rows.append([result["model"], method, how, *[None] * 8, *reference])
            continue
        setting = point["setting"]
        rows.append(
            [
                result["model"], method, how, f"{setting['kind']}={setting['value']:g}",
                rounded(point["bits_per_value"][coded(point)]), *rate_cells(point),
                percent(point["top1"]), percent(point["agreement"]), *reference,
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
            f"({1 - row['coded bits'] / ebpc['coded bits']:.0%} below, {row['chosen by']})"
            for row in ours
            if row["coded bits"] is not None
        ]
        parts.append(f"{network}: EBPC {ebpc['coded bits']:.2f} bits; {', '.join(shown) or 'none'}")
    return "; ".join(parts)


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the second point")
    group.add_argument(
        "--lower-drop", type=float, default=0.5, metavar="PERCENT",
        help="in place of --drop (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--lower-agreement", type=float, default=95.0, metavar="PERCENT",
        help="in place of --agreement (default: %(default)s)",
    )  # fmt: skip


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
