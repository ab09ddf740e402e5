"""What all experiments share: options, the choice of networks, and what is written.

An experiment measures points (`experiments.store`), makes a figure and tables of them, and draws
its conclusion from the tables. OUT/NAME.json holds all of it; the CSV files, PNG and SVG beside it
are made from that file alone.
"""

from __future__ import annotations

import argparse
import csv
import io
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fmtc.cli.command import Parser, main_with_errors, out_folder
from fmtc.errors import UsageError
from fmtc.files import write_atomically
from fmtc.network.weights import WEIGHT_BITS
from fmtc.presets import PRESETS
from fmtc.results import plot
from fmtc.results.result import (
    environment,
    load_result,
    new_experiment,
    write_result,
)
from fmtc.targets import Bits, Step, Target

from .networks import DIGITS, Network, parse_models, read_networks
from .store import Store

FIGURES = (".png", ".svg")
Result = dict[str, Any]
Point = dict[str, Any]

QUICK = Network(name=DIGITS, model=DIGITS, calib_images=64, images=200, batch=100)
QUICK_BITS, QUICK_STEPS = (4, 5, 6, 7), (0.004, 0.0025, 0.0015, 0.0008)
BITS, STEPS = (6, 7, 8, 9, 10), (0.003, 0.002, 0.0014, 0.001, 0.0007, 0.0005, 0.00035)
# The presets that are compared in curves: the paper's scheme, the same with a step that does not
# hang on the farthest calibration value, and ours.
OURS = ("paper", "paper-robust", "fmtc")


@dataclass
class Experiment:
    """One figure or table of the paper.

    name: of the script and its files. networks: torchvision names, the paper's.
    measure: (store, options) -> what it needs of a network, as a result.
    present: (results, options) -> a figure (without its title) and tables of the result schema.
    conclude: tables -> a line. add_options: what only this experiment has.
    """

    name: str
    title: str
    description: str
    networks: tuple[str, ...]
    measure: Callable[[Store, argparse.Namespace], Result]
    present: Callable[[list[Result], argparse.Namespace], tuple[list[dict], list[dict]]]
    conclude: Callable[[list[dict]], str]
    add_options: Callable[[argparse.ArgumentParser], None] = field(default=lambda parser: None)

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """The command; returns the exit code like `fmtc`: 0, 2 for an error of use, 130."""
        return main_with_errors(self.name, lambda: self._run_command(arguments))

    def parser(self) -> Parser:
        parser = Parser(
            f"python -m experiments.{self.name}",
            description=self.description,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_options(parser)
        self.add_options(parser)
        return parser

    def run(self, stores: list[Store], options: argparse.Namespace, command: str) -> Result:
        """Measure what is missing, write all files, print the conclusion."""
        results = [self.measure(store, options) for store in stores]
        panels, tables = self.present(results, options)
        measured_with = environment(options.seed)
        commits = {r["environment"]["commit"] for r in results if r["environment"]["commit"]}
        measured_with["commit"] = ", ".join(sorted(commits)) or None
        document = new_experiment(
            self.name,
            command,
            measured_with,
            results,
            {"title": self.title, "panels": panels},
            tables,
            self.conclude(tables),
        )
        path = Path(options.out) / f"{self.name}.json"
        write_result(document, path)
        for number, table in enumerate(tables):
            name = self.name if number == 0 else f"{self.name}-{number + 1}"
            write_atomically(path.with_name(f"{name}.csv"), csv_of(table).encode())
        for suffix in FIGURES:
            plot.experiment(load_result(path), path.with_suffix(suffix))
        print(f"{self.name}: {document['conclusion']}")
        return document

    def _run_command(self, arguments: Sequence[str] | None) -> None:
        options = self.parser().parse_args(arguments)
        words = sys.argv[1:] if arguments is None else arguments
        command = shlex.join(["python", "-m", f"experiments.{self.name}", *words])
        with out_folder(options.out):
            self.run(stores_of(options, self.networks), options, command)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every experiment."""
    network = parser.add_argument_group("networks and images")
    network.add_argument(
        "--models",
        nargs="+",
        metavar="NAME[=FILE]",
        help="torchvision models or path/to/file.py:function, each with its own weights after '=' "
        "or those of --weights (default: the paper's)",
    )
    network.add_argument(
        "--networks",
        metavar="FILE.json",
        help="instead, a list of objects with model, and name, weights, num_classes, data, labels, "
        "class_index, preprocess, calib_images or images of its own",
    )
    network.add_argument("--data", metavar="PATH", help="images, as for fmtc eval")
    network.add_argument("--labels", metavar="FILE", help="as for fmtc eval")
    network.add_argument("--class-index", metavar="FILE", help="as for fmtc eval")
    network.add_argument("--preprocess", metavar="STEPS", help="as for fmtc eval")
    network.add_argument("--num-classes", type=int, metavar="N", help="as for fmtc eval")
    network.add_argument(
        "--weights", metavar="FILE|DEFAULT|none", help="as for fmtc eval (default: DEFAULT)"
    )
    network.add_argument(
        "--images", type=int, metavar="N", help="images to evaluate (default: all the others)"
    )
    network.add_argument(
        "--calib-images", type=int, metavar="N", help="images to calibrate with (default: 64)"
    )
    network.add_argument(
        "--quick", action="store_true", help="the network and images of fmtc demo, few points"
    )
    points = parser.add_argument_group("points")
    points.add_argument(
        "--weight-bits", type=int, nargs="+", choices=WEIGHT_BITS, default=[8, 4], metavar="BITS",
        help="of the curves (default: 8 4)",
    )  # fmt: skip
    points.add_argument(
        "--presets", nargs="+", choices=sorted(PRESETS), default=list(OURS), metavar="PRESET",
        help=f"of the curves (default: {' '.join(OURS)})",
    )  # fmt: skip
    points.add_argument(
        "--bits", type=int, nargs="+", metavar="B",
        help=f"points of presets with a b (default: {' '.join(map(str, BITS))})",
    )  # fmt: skip
    points.add_argument(
        "--steps", type=float, nargs="+", metavar="STEP",
        help=f"points of preset fmtc (default: {' '.join(map(str, STEPS))})",
    )  # fmt: skip
    points.add_argument(
        "--kl", type=float, default=0.02, metavar="NATS",
        help="where a rate is chosen: the largest mean divergence of the outputs from the "
        "uncompressed network's (default: %(default)s)",
    )  # fmt: skip
    points.add_argument(
        "--drop", type=float, metavar="PERCENT",
        help="instead, of accuracy that may be lost, with images enough that this shows (the "
        "paper's: 0.1)",
    )  # fmt: skip
    run = parser.add_argument_group("run")
    run.add_argument(
        "--mode", default="stream", choices=["stream", "simulate"],
        help="real streams between the layers (default), or the same numbers without them",
    )  # fmt: skip
    run.add_argument("--batch", type=int, metavar="N", help="images at a time")
    run.add_argument("--seed", type=int, default=0, help="of the split and of all random (0)")
    run.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: torch's)")
    run.add_argument(
        "--out", default="results", metavar="DIR",
        help="where to write; experiments with the same one share their points in OUT/points "
        "(default: %(default)s)",
    )  # fmt: skip
    run.add_argument("--fresh", action="store_true", help="measure all points again")
    run.add_argument("--quiet", action="store_true", help="only the conclusion")


def stores_of(options: argparse.Namespace, paper: Sequence[str]) -> list[Store]:
    """The networks that the options choose, the paper's by default. UsageError."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    for b in options.bits or []:
        Bits(b)  # out of range is said before anything is loaded
    for step in options.steps or []:
        Step(step)
    folder = Path(options.out) / "points"
    return [
        Store(network, folder, mode=options.mode, fresh=options.fresh, quiet=options.quiet)
        for network in _networks(options, paper)
    ]


def _networks(options: argparse.Namespace, paper: Sequence[str]) -> list[Network]:
    sizes = {"images": options.images, "calib_images": options.calib_images, "batch": options.batch}
    given = {key: value for key, value in sizes.items() if value is not None}
    given["seed"] = options.seed
    if options.quick:
        if options.models or options.networks or options.data:
            raise UsageError("--quick has its own network and images; leave out the others")
        return [Network(**{**vars(QUICK), **given})]
    files = ("data", "labels", "class_index", "preprocess", "num_classes", "weights")
    given |= {key: getattr(options, key) for key in files if getattr(options, key) is not None}
    if options.networks is None:
        return parse_models(options.models or list(paper), **given)
    if options.models:
        raise UsageError("give --models or --networks, not both")
    return read_networks(options.networks, **given)


def targets_of(
    preset: str, options: argparse.Namespace, bits: Sequence[int] = BITS
) -> list[Target]:
    """The points of a preset's curve: those of --bits that it can have, otherwise of ``bits``."""
    if PRESETS[preset].knob == "b":
        bits = options.bits or (QUICK_BITS if options.quick else bits)
        return [Bits(b) for b in sorted(bits) if PRESETS[preset].allows(b)]
    steps = options.steps or (QUICK_STEPS if options.quick else STEPS)
    return [Step(step) for step in sorted(steps, reverse=True)]


# -- What is read from points ----------------------------------------------------------------------


def coded(point: Point) -> str:
    """The rate of what the point's own coder writes: the paper's Huffman codes, or streams.

    Where rANS streams were not made, the cross-entropy that they are within some percent of.
    """
    if point["coder"] == "huffman":
        return "huffman"
    return "cross_entropy" if point["bits_per_value"]["stream"] is None else "stream"


def points_of(result: Result, preset: str, weight_bits: int, block: str = "1,1,C") -> list[Point]:
    """The points of one curve by rising rate."""
    found = [
        p
        for p in result["points"]
        if (p["preset"], p["weight_bits"], p["block"]) == (preset, weight_bits, block)
    ]
    return sorted(found, key=lambda point: point["bits_per_value"]["entropy"])


# -- Figures and tables ----------------------------------------------------------------------------

# A scheme's place in the palette, the same in all figures.
COLOR_OF = {
    "Q": 0, "PCA → Q": 1, "Q → VLC": 2, "PCA → Q → VLC": 3, "paper": 3, "fmtc": 4,
    "paper-robust": 5, "gemmlowp": 0, "aciq": 1, "kld": 2, "ebpc": 0,
    "int8-vlc": 7, "int6-token-vlc": 8, "int4-token-vlc": 9, "mxfp4-vlc": 10, "nvfp4-vlc": 11,
    "apack": 12,
}  # fmt: skip
FAR = 0.2  # points that lose more than this are left out of figures of the accuracy


def accuracy(point: Point) -> float | None:
    """What stands for a point's accuracy in figures: without labels the agreement."""
    return point["agreement"] if point["top1"] is None else point["top1"]


def accuracy_panel(title: str, xlabel: str, result: Result, series: list[dict]) -> dict:
    """A panel of accuracy in percent, with a line at the uncompressed network's."""
    reference = result["reference"]["top1"]
    if reference is None:
        return panel(title, xlabel, "agreement (%)", series)
    title += f" (uncompressed: {100 * reference:.1f} %)"
    levels = [{"label": "", "y": 100 * reference}]
    return panel(title, xlabel, "top-1 accuracy (%)", series, levels=levels)


def color_of(scheme: str) -> int:
    """Other schemes have black."""
    return COLOR_OF.get(scheme, 6)


def near(points: Sequence[Point]) -> list[Point]:
    """The points of a curve that figures of the accuracy show: not those far below its best."""
    known = [point for point in points if accuracy(point) is not None]
    best = max(map(accuracy, known), default=None)
    return [point for point in known if accuracy(point) >= best - FAR]


def panel(
    title: str,
    xlabel: str,
    ylabel: str,
    series: list[dict],
    groups: list[str] | None = None,
    levels: Sequence[dict] = (),
    yscale: str = "linear",
) -> dict[str, Any]:
    """A panel of a figure of the result schema; with ``groups`` one of bars."""
    return {
        "title": title,
        "xlabel": xlabel,
        "ylabel": ylabel,
        "yscale": yscale,
        "groups": groups,
        "series": series,
        "levels": list(levels),
    }


def curve(
    label: str, color: int, x: Sequence, y: Sequence, line: str = "solid", marker: str | None = "o"
) -> dict[str, Any]:
    """A series of a panel; without a label it is not in the legend."""
    return {
        "label": label, "color": color, "line": line, "marker": marker, "x": list(x), "y": list(y)
    }  # fmt: skip


def bars(label: str, color: int, heights: Sequence, marker: str | None = None) -> dict[str, Any]:
    """A bar in each group, or a marker over the bars of that colour."""
    return curve(label, color, range(len(heights)), heights, "none", marker)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence]) -> dict[str, Any]:
    return {"title": title, "columns": list(columns), "rows": [list(row) for row in rows]}


def records(table: dict[str, Any]) -> list[dict[str, Any]]:
    """A table's rows by their columns' names."""
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def csv_of(table: dict[str, Any]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([table["columns"], *table["rows"]])
    return text.getvalue()


def rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)


def beside(value: float, other: float) -> str:
    """ "58% below": how a rate stands to another."""
    return f"{abs(1 - value / other):.0%} {'below' if value <= other else 'above'}"


def percent(share: float | None, digits: int = 1) -> float | None:
    return None if share is None else round(100 * share, digits)


RATE_COLUMNS = ("entropy, one table", "entropy, classes", "Huffman", "stream")


def rate_cells(point: Point) -> list[float | None]:
    rates = point["bits_per_value"]
    return [rounded(rates[r]) for r in ("entropy", "entropy_classes", "huffman", "stream")]


POINT_COLUMNS = (
    "network", "preset", "weights", "block", "setting", *RATE_COLUMNS,
    "top-1 %", "agreement %", "KL", "SNR dB", "mJ an image",
)  # fmt: skip


def point_rows(results: Sequence[Result]) -> list[list]:
    """A row for every point, with POINT_COLUMNS."""
    return [
        [
            result["model"], point["preset"] or "weights alone", point["weight_bits"],
            point["block"],
            setting_of(point), *rate_cells(point),
            percent(point["top1"]), percent(point["agreement"]), rounded(point["kl"], 4),
            rounded(point["snr_db"], 2),
            rounded(millijoules(point), 4),
        ]
        for result in results
        for point in result["points"]
    ]  # fmt: skip


def setting_of(point: Point) -> str | None:
    """ "b=8", "step=0.001", as on the command line."""
    setting = point["setting"]
    return None if setting is None else f"{setting['kind']}={setting['value']:g}"


def millijoules(point: Point) -> float | None:
    """Energy of all accesses for one image at the rate that the point's coder writes."""
    joules = point["joules_per_image"][coded(point)]
    return None if joules is None else 1e3 * joules
