"""Fig. 7: top-1 accuracy against the energy of the feature maps' memory accesses.

Energy of one inference: every coding point's tensor written once and read by each of its consumers
(`fmtc.results.energy`), at what each scheme writes. Quantisation alone moves b bits a value. The
table of the cheapest points also has what they save of a DRAM's energy (`fmtc.results.dram`), that
is in standby or in power-down while nothing moves.

    python -m experiments.fig7_energy --models resnet18 --data imagenet/val
"""

from __future__ import annotations

import argparse
import sys

from fmtc.results.dram import dram_image_joules
from fmtc.results.energy import image_joules

from .common import (
    POINT_COLUMNS,
    Experiment,
    Point,
    Result,
    accuracy,
    accuracy_panel,
    color_of,
    curve,
    millijoules,
    near,
    percent,
    point_rows,
    points_of,
    records,
    rounded,
    table,
    targets_of,
)
from .common import (
    coded as coded_rate,
)
from .criteria import Criterion
from .fig4_ablation import plain_targets
from .store import Store

PLAIN = "q-vlc"  # its levels are those of plain quantisation
BASELINE_BITS = 8  # what an accelerator without compression moves


def measure(store: Store, options: argparse.Namespace) -> Result:
    weight_bits = options.weight_bits[0]
    points = [store.baseline(weight_bits)]
    points += store.points(PLAIN, plain_targets(options), weight_bits)
    for preset in options.presets:
        points += store.points(preset, targets_of(preset, options), weight_bits)
    return store.part(points)


def _schemes(result: Result, options: argparse.Namespace) -> list[tuple[str, list[Point], list]]:
    """Name, points and their energies in mJ by the paper's reckoning."""
    weight_bits = options.weight_bits[0]
    plain = points_of(result, PLAIN, weight_bits)
    fixed = [1e3 * image_joules(p["layers"], float(p["setting"]["value"])) for p in plain]
    schemes = [("Q", plain, fixed), ("Q → VLC", plain, list(map(millijoules, plain)))]
    for preset in options.presets:
        points = points_of(result, preset, weight_bits)
        schemes.append((preset, points, list(map(millijoules, points))))
    return schemes


def present(results: list[Result], options: argparse.Namespace):
    panels, rows = [], []
    for result in results:
        criterion = Criterion.chosen(result, options, options.weight_bits[0])
        coded = points_of(result, PLAIN, options.weight_bits[0])[0]
        eight_bits = 1e3 * image_joules(coded["layers"], BASELINE_BITS)
        rows.append([result["model"], "8 bits", rounded(eight_bits, 4), 0.0, 0.0, 0.0, ""])
        series = []
        for label, points, energies in _schemes(result, options):
            shown = near(points)
            x = [energies[points.index(point)] for point in shown]
            y = [percent(accuracy(point), 3) for point in shown]
            series.append(curve(label, color_of(label), x, y))
            best = _least(points, energies, criterion)
            saved = None if best is None else percent(1 - best / eight_bits)
            dram = [None, None]
            if best is not None:
                point = points[energies.index(best)]
                fixed = float(point["setting"]["value"]) if label == "Q" else coded_rate(point)
                dram = [_dram_saved(point, fixed, down) for down in (False, True)]
            rows.append([result["model"], label, rounded(best, 4), saved, *dram, str(criterion)])
        panels.append(
            accuracy_panel(result["model"], "memory energy of an inference (mJ)", result, series)
        )
    columns = [
        "network", "scheme", "mJ an image", "saved against 8 bits %", "DRAM saved %",
        "DRAM with power-down saved %", "where",
    ]  # fmt: skip
    return panels, [
        table("Points", POINT_COLUMNS, point_rows(results)),
        table("Energy of the cheapest point", columns, rows),
    ]


def _dram_saved(point: Point, rate: str | float, power_down: bool) -> float | None:
    """Of the energy of a DRAM, that of 8 bits a value, in per cent."""
    coded = dram_image_joules(point["layers"], rate, power_down)
    plain = dram_image_joules(point["layers"], BASELINE_BITS, power_down)
    return None if coded is None or plain is None else percent(1 - coded / plain)


def _least(points: list[Point], energies: list[float], criterion: Criterion) -> float | None:
    pairs = zip(points, energies, strict=True)
    return min((joules for point, joules in pairs if criterion.met_by(point)), default=None)


def conclude(tables: list[dict]) -> str:
    rows = records(tables[1])
    parts = []
    for network in dict.fromkeys(row["network"] for row in rows):
        base, *schemes = [row for row in rows if row["network"] == network]
        shown = ", ".join(
            f"{row['scheme']} {-row['saved against 8 bits %']:+.0f} %"
            for row in schemes
            if row["mJ an image"] is not None
        )
        where = f"{base['mJ an image']:.3g} mJ at 8 bits; {schemes[0]['where']}"
        parts.append(f"{network}, {where}: {shown or 'none'}")
    return "; ".join(parts)


EXPERIMENT = Experiment(
    name="fig7_energy",
    title="Accuracy against the energy of memory accesses",
    description=__doc__,
    networks=("resnet18",),
    measure=measure,
    present=present,
    conclude=conclude,
)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
