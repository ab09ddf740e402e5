"""Table III: memory energy and bandwidth of layers of various widths.

For the layers with C channels: the energy of writing a feature map and reading it once
(`fmtc.results.energy`), and the bandwidth of an accelerator that makes 160 million values a second,
for 8-bit quantisation (Q), Q + VLC, Q + VLC + PCA and preset fmtc. The last two run at their
smallest rate within --kl (or --drop) of the uncompressed network. Beside the paper's energy stands
that of a DRAM (`fmtc.results.dram`). A second table has the logic of a layer: ours of `rtl/`, as
docs/results/hardware has it, the published LUTs and DSPs, and what the paper's repository reports.

    python -m experiments.table3_hardware --models resnet18 --data imagenet/val
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

from fmtc.results.dram import tensor_joules
from fmtc.results.energy import access_joules, bits_a_second
from fmtc.targets import Bits

from .common import (
    Experiment,
    Point,
    Result,
    bars,
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

WEIGHT_BITS = PLAIN_BITS = 8
CHANNEL_ROWS = 3584  # channels x rows (or columns) of the paper's layers: 64 x 56, ..., 512 x 7
METHODS = {"Q": "Q", "Q+VLC": "Q → VLC", "Q+VLC+PCA": "paper", "fmtc": "fmtc"}  # colours by
# LUTs, DSPs, uJ, saving of energy %, Gbit/s, saving of bandwidth %, as published. The uJ of Q+VLC
# at C = 128 and of Q+VLC+PCA from C = 128 on contradict the savings beside them, which agree with
# the bandwidths: the savings are what to compare with.
PAPER = {
    (64, "Q"): ("19K", 960, 225.93, 0.0, 1.28, 0.0),
    (64, "Q+VLC"): ("19K", 960, 173.44, 23.0, 0.96, 25.0),
    (64, "Q+VLC+PCA"): ("19.5K", 1056, 100.6, 44.0, 0.68, 46.8),
    (128, "Q"): ("43K", 2240, 112.96, 0.0, 1.28, 0.0),
    (128, "Q+VLC"): ("43K", 2240, 148.0, 17.0, 1.04, 18.7),
    (128, "Q+VLC+PCA"): ("45K", 2366, 117.0, 35.0, 0.83, 35.1),
    (256, "Q"): ("91K", 4800, 56.5, 0.0, 1.28, 0.0),
    (256, "Q+VLC"): ("91K", 4800, 46.8, 17.2, 1.03, 19.5),
    (256, "Q+VLC+PCA"): ("93K", 5059, 103.0, 42.8, 0.73, 42.9),
    (512, "Q"): ("182K", 9600, 28.2, 0.0, 1.28, 0.0),
    (512, "Q+VLC"): ("182K", 9600, 23.9, 15.6, 1.05, 17.9),
    (512, "Q+VLC+PCA"): ("186K", 10051, 91.0, 49.5, 0.66, 48.4),
}
# ALMs and DSPs of the reports in the paper's repository: of a whole layer with its convolution
# core, synthesised with PCA and VLC switched off. The paper's table has 43K at C = 128.
REPOSITORY = {64: (19301, 960), 128: (33122, 2240), 256: (91524, 4800)}
# Designs of rtl/ that do what a method does to the output of a layer; none has a convolution core.
OWN_LOGIC = {
    "Q": ("quantizer",),
    "Q+VLC": ("quantizer", "huffman_encoder"),
    "Q+VLC+PCA": ("layer_encoder_{channels}",),
}
HARDWARE = (
    Path(__file__).resolve().parent.parent / "docs" / "results" / "hardware" / "hardware.json"
)
LOGIC_COLUMNS = [
    "channels", "method", "LUTs", "LUTs as memory", "FFs", "DSPs", "36-kbit blocks",
    "MHz on an ECP5", "paper's LUTs with convolution", "paper's DSPs",
    "ALMs of its repository, without PCA and VLC", "DSPs of its repository",
]  # fmt: skip
COLUMNS = [
    "network", "channels", "method", "setting", "bits", "uJ a layer", "uJ at the paper's size",
    "Gbit/s", "saved %", "DRAM saved %", "DRAM with power-down saved %",
    "paper's uJ", "paper's energy saved %", "paper's Gbit/s",
    "paper's bandwidth saved %", "paper's LUTs", "paper's DSPs", "where",
]  # fmt: skip


def measure(store: Store, options: argparse.Namespace) -> Result:
    points = [store.baseline(WEIGHT_BITS), store.point("q-vlc", Bits(PLAIN_BITS), WEIGHT_BITS)]
    for preset in (options.pca, "fmtc"):
        points += store.points(preset, targets_of(preset, options), WEIGHT_BITS)
    return store.part(points)


def _chosen(result: Result, options: argparse.Namespace) -> dict[str, Point | None]:
    """The point of each method; where none is good enough, the nearest."""
    criterion = Criterion.chosen(result, options, WEIGHT_BITS)
    chosen = {"Q+VLC": points_of(result, "q-vlc", WEIGHT_BITS)[0]}
    chosen["Q"] = chosen["Q+VLC"]
    for method, preset in (("Q+VLC+PCA", options.pca), ("fmtc", "fmtc")):
        points = points_of(result, preset, WEIGHT_BITS)
        chosen[method] = smallest(points, criterion, coded(points[0]))
    return chosen


def width_bits(point: Point, channels: int, rate: str) -> float:
    """Bits a value over all layers of this width."""
    layers = [layer for layer in point["layers"] if layer["shape"][0] == channels]
    values = sum(layer["values"] for layer in layers)
    return sum(layer["bits_per_value"][rate] * layer["values"] for layer in layers) / values


def layer_values(point: Point, channels: int) -> float:
    """Values of a feature map of this width, mean over the layers."""
    sizes = [math.prod(la["shape"]) for la in point["layers"] if la["shape"][0] == channels]
    return sum(sizes) / len(sizes)


def present(results: list[Result], options: argparse.Namespace):
    rows, panels = [], []
    for result in results:
        chosen = _chosen(result, options)
        widths = sorted({layer["shape"][0] for layer in chosen["Q"]["layers"]})
        where = str(Criterion.chosen(result, options, WEIGHT_BITS))
        own = [_row(result, chosen[m], c, m, where) for c in widths for m in METHODS]
        panels += _panels(result["model"], own, widths)
        rows += own
    logic = table("Logic of a layer on UltraScale+", LOGIC_COLUMNS, _logic_rows())
    return panels, [table("Energy and bandwidth by width", COLUMNS, rows), logic]


def _logic_rows() -> list[list]:
    """Ours, as far as it was measured, beside the published. Units of different families differ."""
    measured = json.loads(HARDWARE.read_text())["area"] if HARDWARE.exists() else {}
    rows = []
    for (channels, method), (luts, dsps, *_) in PAPER.items():
        names = [name.format(channels=channels) for name in OWN_LOGIC[method]]
        areas = [measured.get(f"{name} ultrascale+", {}).get("area") for name in names]
        clocks = [(measured.get(f"{name} ecp5", {}).get("area") or {}).get("mhz") for name in names]
        own = [
            None if None in areas else sum(area[kind] for area in areas)
            for kind in ("lut", "memory_lut", "ff", "dsp", "block")
        ]
        slowest = None if None in clocks else rounded(min(clocks), 0)
        alms, repository_dsps = REPOSITORY.get(channels, (None, None))
        rows.append([channels, method, *own, slowest, luts, dsps, alms, repository_dsps])
    return rows


def _row(result: Result, point: Point | None, channels: int, method: str, where: str) -> list:
    paper = PAPER.get((channels, method), (None,) * 6)
    luts, dsps, joules, energy_saved, gigabits, bandwidth_saved = paper
    published = [joules, energy_saved, gigabits, bandwidth_saved, luts, dsps]
    head = [result["model"], channels, method]
    where = "8 bits" if method in ("Q", "Q+VLC") else where
    if point is None:
        return [*head, *[None] * 8, *published, where]
    bits = PLAIN_BITS if method == "Q" else width_bits(point, channels, coded(point))
    layer = 1e6 * access_joules(bits * layer_values(point, channels), reads=1)
    paper_layer = 1e6 * access_joules(bits * CHANNEL_ROWS**2 / channels, reads=1)
    dram = [_dram_saved(bits, layer_values(point, channels), down) for down in (False, True)]
    return [
        *head, setting_of(point), rounded(bits), rounded(layer),
        rounded(paper_layer, 2), rounded(bits_a_second(bits) / 1e9), percent(1 - bits / PLAIN_BITS),
        *dram, *published, where,
    ]  # fmt: skip


def _dram_saved(bits: float, values: float, power_down: bool) -> float:
    """Of the energy of a DRAM, that of 8 bits a value, in per cent."""
    coded_joules, plain = (
        tensor_joules(each * values, values, 1, power_down) for each in (bits, PLAIN_BITS)
    )
    return percent(1 - coded_joules / plain)


def _panels(name: str, rows: list[list], widths: list[int]) -> list[dict]:
    """Savings of energy and bandwidths; the paper's own energies contradict its savings."""
    groups = [f"C = {channels}" for channels in widths]
    energy, bandwidth = [], []
    for method, scheme in METHODS.items():
        color = color_of(scheme)
        own = [dict(zip(COLUMNS, row, strict=True)) for row in rows if row[2] == method]
        if method != "Q":
            energy.append(bars(method, color, [row["saved %"] for row in own]))
        bandwidth.append(bars(method, color, [row["Gbit/s"] for row in own]))
        if any(row["paper's uJ"] is not None for row in own):
            saved = [row["paper's energy saved %"] for row in own]
            if method != "Q":
                energy.append(bars("published", color, saved, "D"))
            bandwidth.append(bars("published", color, [r["paper's Gbit/s"] for r in own], "D"))
    return [
        panel(name, "", "memory energy saved (%)", energy, groups=groups),
        panel(name, "", "bandwidth (Gbit/s)", bandwidth, groups=groups),
    ]


def conclude(tables: list[dict]) -> str:
    rows = records(tables[0])
    parts = []
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        shown = []
        for method in list(METHODS)[1:]:
            saved = [
                r["saved %"] for r in own if r["method"] == method and r["saved %"] is not None
            ]
            shown.append(
                f"{method} {min(saved):.0f}–{max(saved):.0f} %" if saved else f"{method} –"
            )
        widths = f"C = {own[0]['channels']}…{own[-1]['channels']}"
        parts.append(
            f"{network}, {widths}, energy and bandwidth saved against 8 bits: {', '.join(shown)} "
            f"(PCA and fmtc at {own[-1]['where']})"
        )
    return "; ".join(parts)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument_group("hardware").add_argument(
        "--pca", default="paper", choices=["paper", "paper-robust"],
        help="the preset of Q+VLC+PCA (default: %(default)s)",
    )  # fmt: skip


EXPERIMENT = Experiment(
    name="table3_hardware",
    title="Memory energy and bandwidth of layers of various widths",
    description=__doc__,
    networks=("resnet18",),
    measure=measure,
    present=present,
    conclude=conclude,
    add_options=add_options,
)

if __name__ == "__main__":
    sys.exit(EXPERIMENT.main())
