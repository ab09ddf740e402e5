"""Fig. 3: rate-distortion curves, with 8- and 4-bit weights.

A panel a network: top-1 accuracy against bits a value, what is really written (solid: Huffman
codes of the paper's presets, rANS streams of preset fmtc) and the entropy (dashed). Colours are the
weights' bits as in the paper, markers the presets.

    python -m experiments.fig3_rate_distortion --models resnet18 resnet50 --data imagenet/val
    python -m experiments.fig3_rate_distortion --networks networks.json --out results
    python -m experiments.fig3_rate_distortion --engine libtorch ...

With --engine libtorch each point is exported (minutes each) and measured by fmtc_eval, without
Python; the weights alone, which no stream is made of, still in Python.
"""

from __future__ import annotations

import argparse
import sys

from . import libtorch
from .common import (
    POINT_COLUMNS,
    Experiment,
    Result,
    accuracy,
    accuracy_panel,
    beside,
    coded,
    curve,
    near,
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

NETWORKS = ("resnet18", "resnet50", "resnet101", "inception_v3", "mobilenet_v2")
MARKERS = ("o", "s", "^", "D", "v", "P")
COLORS = {8: 0, 4: 1, 32: 2}  # by bits of the weights: blue and red, as in the paper


def measure(store: Store, options: argparse.Namespace) -> Result:
    points = [store.baseline(weight_bits) for weight_bits in options.weight_bits]
    for preset in options.presets:
        for weight_bits in options.weight_bits:
            targets = targets_of(preset, options)
            if options.engine == "libtorch":
                points += libtorch.points(store, preset, targets, weight_bits, options.program)
            else:
                points += store.points(preset, targets, weight_bits)
    return store.part(points)


def present(results: list[Result], options: argparse.Namespace):
    panels = [
        accuracy_panel(
            result["model"],
            "bits per value (solid: coded, dashed: entropy)",
            result,
            [
                series
                for marker, preset in zip(MARKERS, options.presets, strict=False)
                for weight_bits in options.weight_bits
                for series in _curves(result, preset, weight_bits, marker)
            ],
        )
        for result in results
    ]
    rows = [row for result in results for row in _summary(result, options)]
    columns = ["network", "preset", "weights", "bits", "coded bits", "where"]
    return panels, [
        table("Points", POINT_COLUMNS, point_rows(results)),
        table("Rates on the curves", columns, rows),
    ]


def _curves(result: Result, preset: str, weight_bits: int, marker: str) -> list[dict]:
    points = near(points_of(result, preset, weight_bits))
    if not points:
        return []
    y = [percent(accuracy(point), 3) for point in points]
    color = COLORS[weight_bits]
    label = f"{preset}, {weight_bits}-bit weights"
    coded_bits = [point["bits_per_value"][coded(point)] for point in points]
    return [
        curve(label, color, coded_bits, y, "solid", marker),
        curve("", color, [p["bits_per_value"]["entropy"] for p in points], y, "dashed", None),
    ]


def _summary(result: Result, options: argparse.Namespace) -> list[list]:
    """Where each curve reaches the tolerance, interpolated."""
    rows = []
    for preset in options.presets:
        for weight_bits in options.weight_bits:
            criterion = Criterion.chosen(result, options, weight_bits)
            points = points_of(result, preset, weight_bits)
            bits = rate_at(points, criterion)
            coded_bits = rate_at(points, criterion, coded(points[0]))
            rows.append(
                [result["model"], preset, weight_bits, rounded(bits), rounded(coded_bits),
                 str(criterion)]
            )  # fmt: skip
    return rows


def conclude(tables: list[dict]) -> str:
    """Preset fmtc beside the better of the paper's, for each network with the first weights."""
    rows = records(tables[1])
    return "; ".join(
        _concluded([r for r in rows if (r["network"], r["weights"]) == (name, rows[0]["weights"])])
        for name in dict.fromkeys(row["network"] for row in rows)
    )


def _concluded(rows: list[dict]) -> str:
    known = [row for row in rows if row["bits"] is not None]
    ours = next((r for r in known if r["preset"] == "fmtc"), None)
    paper = min((r for r in known if r["preset"] != "fmtc"), key=lambda r: r["bits"], default=None)
    where = f"{rows[0]['network']}, {rows[0]['weights']}-bit weights, {rows[0]['where']}"
    if ours is None or paper is None:
        return f"{where}: reached by {', '.join(row['preset'] for row in known) or 'none'}"
    return (
        f"{where}: fmtc {ours['bits']:.2f} bits of entropy, {paper['preset']} "
        f"{paper['bits']:.2f}: {beside(ours['bits'], paper['bits'])}"
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine", choices=["python", "libtorch"], default="python",
        help="what measures the points (default: python)",
    )  # fmt: skip
    parser.add_argument(
        "--program", metavar="FILE", help="fmtc_eval (default: of build/, or on the PATH)"
    )


EXPERIMENT = Experiment(
    name="fig3_rate_distortion",
    title="Rate-distortion curves",
    description=__doc__,
    networks=NETWORKS,
    measure=measure,
    present=present,
    conclude=conclude,
    add_options=add_options,
)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
