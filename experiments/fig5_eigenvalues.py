"""Fig. 5: how few eigenvalues hold how much of the feature maps' energy.

The share of a covariance's eigenvalues, the largest first, against the share of their sum that they
hold, mean over the layers; a curve a network. A network whose curve lies low compresses well.

    python -m experiments.fig5_eigenvalues --models resnet18 mobilenet_v2 --data imagenet/val
"""

from __future__ import annotations

import argparse
import sys

from .common import Experiment, Result, curve, panel, percent, records, table
from .store import Store

NETWORKS = ("resnet18", "resnet50", "resnet101", "inception_v3", "mobilenet_v2")
SHOWN = (0.9, 0.95, 0.99)


def measure(store: Store, options: argparse.Namespace) -> Result:
    store.spectrum()
    return store.part()


def present(results: list[Result], options: argparse.Namespace):
    series = [
        curve(
            result["model"],
            color,
            [percent(share) for share in result["spectrum"]["energy"]],
            [percent(share, 2) for share in result["spectrum"]["eigenvalues"]],
            marker=None,
        )
        for color, result in enumerate(results)
    ]
    rows = [
        [result["model"], percent(energy), percent(share, 2)]
        for result in results
        for energy, share in zip(*result["spectrum"].values(), strict=True)
    ]
    columns = ["network", "energy %", "eigenvalues %"]
    shown = panel("", "energy ratio (%)", "eigenvalues needed (%), mean over layers", series)
    return [shown], [table("Eigenvalues needed", columns, rows)]


def conclude(tables: list[dict]) -> str:
    rows = records(tables[0])
    parts = []
    for network in dict.fromkeys(row["network"] for row in rows):
        needed = {r["energy %"]: r["eigenvalues %"] for r in rows if r["network"] == network}
        figures = ", ".join(f"{needed[percent(e)]:.0f} % for {percent(e):g} %" for e in SHOWN)
        parts.append(f"{network} {figures}")
    return f"eigenvalues needed for energy: {'; '.join(parts)}"


EXPERIMENT = Experiment(
    name="fig5_eigenvalues",
    title="Eigenvalues needed for a share of the energy",
    description=__doc__,
    networks=NETWORKS,
    measure=measure,
    present=present,
    conclude=conclude,
)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
