"""Fig. 4: what each part of the encoder is worth, and how few components do.

Left: top-1 accuracy against bits a value for quantisation alone (Q), PCA -> Q, Q -> VLC and PCA ->
Q -> VLC, with preset fmtc beside them; a rate is the entropy with VLC and b bits for each value or
component kept without. Right: the rate that is needed for the accuracy of the uncompressed network
(to --kl, and to --lower-kl) where only a share of each layer's components is kept.

    python -m experiments.fig4_ablation --models resnet18 --data imagenet/val
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from fmtc.presets import PRESETS, Preset
from fmtc.targets import Target

from .common import (
    POINT_COLUMNS,
    Experiment,
    Point,
    Result,
    accuracy,
    accuracy_panel,
    color_of,
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
from .criteria import Criterion, add_lower_options, rate_at
from .store import Store

SHARES = (1.0, 0.75, 0.5, 0.35, 0.2)
PLAIN_BITS = range(4, 11)


def measure(store: Store, options: argparse.Namespace) -> Result:
    weight_bits = options.weight_bits[0]
    points = [store.baseline(weight_bits)]
    points += store.points("q-vlc", plain_targets(options), weight_bits)
    for preset in (*_truncated(options), PRESETS["fmtc"]):
        name = "fmtc" if preset.name == "fmtc" else options.pca
        points += store.points(preset, targets_of(name, options), weight_bits)
    return store.part(points)


def plain_targets(options: argparse.Namespace) -> list[Target]:
    """The points of plain quantisation, which needs more bits to begin with."""
    return targets_of("q-vlc", options, PLAIN_BITS)


def _truncated(options: argparse.Namespace) -> list[Preset]:
    """The PCA preset with each share of its components."""
    return [_keeping(options.pca, share) for share in options.shares]


def _keeping(name: str, share: float) -> Preset:
    if share >= 1:
        return PRESETS[name]
    return replace(PRESETS[name], name=f"{name}, {share:.0%} of components", kept=share)


def fixed_width(point: Point) -> float:
    """Bits a value without VLC: b for each component that is kept."""
    layers = point["layers"]
    bits = point["setting"]["value"]
    kept = sum(layer["values"] * layer["components"] / layer["shape"][0] for layer in layers)
    return bits * kept / sum(layer["values"] for layer in layers)


def present(results: list[Result], options: argparse.Namespace):
    panels, rate_rows = [], []
    for result in results:
        panels += [_left(result, options), _right(result, options, rate_rows)]
    columns = ["network", "share of components %", "bits at the baseline", "bits below it"]
    columns += ["baseline", "below"]
    return panels, [
        table("Points", (*POINT_COLUMNS, "bits without VLC"), _rows(results)),
        table("Rates with truncated PCA", columns, rate_rows),
        table("Encoders", ["network", "encoder", "bits", "where"], _encoder_rows(results, options)),
    ]


def _rows(results: list[Result]) -> list[list]:
    points = [point for result in results for point in result["points"]]
    plain = [rounded(fixed_width(p)) if p["preset"] not in (None, "fmtc") else None for p in points]
    return [[*row, bits] for row, bits in zip(point_rows(results), plain, strict=True)]


def _encoders(result: Result, options: argparse.Namespace) -> list[tuple[str, list[Point], str]]:
    """Name, points and rate ("fixed" or a kind) of the paper's four encoders and ours."""
    weight_bits = options.weight_bits[0]
    plain, pca, ours = (
        points_of(result, name, weight_bits) for name in ("q-vlc", options.pca, "fmtc")
    )
    return [
        ("Q", plain, "fixed"),
        ("PCA → Q", pca, "fixed"),
        ("Q → VLC", plain, "entropy"),
        ("PCA → Q → VLC", pca, "entropy"),
        ("fmtc", ours, "entropy"),
    ]


def _rate(point: Point, kind: str) -> float:
    return fixed_width(point) if kind == "fixed" else point["bits_per_value"][kind]


def _left(result: Result, options: argparse.Namespace) -> dict:
    series = []
    for label, points, kind in _encoders(result, options):
        shown = near(points)
        y = [percent(accuracy(point), 3) for point in shown]
        series.append(curve(label, color_of(label), [_rate(point, kind) for point in shown], y))
    return accuracy_panel(result["model"], "bits per value", result, series)


def _right(result: Result, options: argparse.Namespace, rows: list[list]) -> dict:
    criteria = [
        Criterion.chosen(result, options, options.weight_bits[0]),
        Criterion.lower(result, options, options.weight_bits[0]),
    ]
    needed = []
    for share in options.shares:
        points = points_of(result, _keeping(options.pca, share).name, options.weight_bits[0])
        needed.append([rounded(rate_at(points, criterion)) for criterion in criteria])
        rows.append([result["model"], percent(share), *needed[-1], *map(str, criteria)])
    shares = [percent(share) for share in options.shares]
    series = [
        curve(str(criterion), color, shares, rates)
        for color, criterion, rates in zip((0, 1), criteria, zip(*needed, strict=True), strict=True)
    ]
    return panel("truncated PCA", "components kept (%)", "bits per value", series)


def _encoder_rows(results: list[Result], options: argparse.Namespace) -> list[list]:
    """The rate at which each encoder's curve reaches the tolerance."""
    rows = []
    for result in results:
        criterion = Criterion.chosen(result, options, options.weight_bits[0])
        for label, points, kind in _encoders(result, options):
            moved = [{**point, "bits_per_value": {"rate": _rate(point, kind)}} for point in points]
            bits = rounded(rate_at(moved, criterion, "rate"))
            rows.append([result["model"], label, bits, str(criterion)])
    return rows


def conclude(tables: list[dict]) -> str:
    rows = records(tables[2])
    lines = []
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        shown = ", ".join(
            f"{row['encoder']} {'–' if row['bits'] is None else format(row['bits'], '.2f')}"
            for row in own
        )
        lines.append(f"{network}, bits at {own[0]['where']}: {shown}")
    return "; ".join(lines)


def add_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("ablation")
    group.add_argument(
        "--pca", default="paper", choices=["paper", "paper-robust"],
        help="the preset whose parts are taken away (default: %(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--shares", type=float, nargs="+", default=list(SHARES), metavar="SHARE",
        help="of components kept (default: %(default)s)",
    )  # fmt: skip
    add_lower_options(parser, "the second curve")


EXPERIMENT = Experiment(
    name="fig4_ablation",
    title="Ablation of the encoder",
    description=__doc__,
    networks=("resnet18",),
    measure=measure,
    present=present,
    conclude=conclude,
    add_options=add_options,
)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
