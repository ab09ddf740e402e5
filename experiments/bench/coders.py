"""Entropy coders beside others: MB/s of one core, bits a value, ratios to zstd -1.

    python -m experiments.bench.coders --quick
    python -m experiments.bench.coders --out results/coders
    python -m experiments.bench.coders --model mobilenet_v2 --weights FILE --data FOLDER \
        --preprocess crop=224,mean=0.5,std=0.5 --out results/coders

Data: 64 channels of discretised Laplacians, their scales falling geometrically from 8 to 0.2; with
--model, also the levels that preset fmtc codes in that network. Every coder gets the same values
and the same 8 classes of tables. A symbol counts as a byte: MB/s are millions of values a second.

All coders take turns within each repeat, so that what else the machine does meets all alike; the
table shows the median over repeats, ratios are medians of the ratios within a repeat. Everything
runs on one thread, and its CPU time counts: waiting for others on the machine is not in it. Peers
come from PyPI (zstandard, constriction, torch-ans, compressai); those that are not installed are
left out, and it says so. Slow ones are run on 2^18 values.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import platform
import statistics
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from rich import box
from rich.table import Table

import fmtc
from fmtc import ops
from fmtc.codec.coders import Rans
from fmtc.files import write_atomically
from fmtc.results.console import console

from .contestants import Contestant, Item, channel_entropy, contestants, make_item
from .loops import measure_loops

CHANNELS = 64
SCALES = (8.0, 0.2)  # of the first and the last channel
SLOW_VALUES = 1 << 18  # what slow contestants are run on
REFERENCE = "zstd -1"


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the tables, write CSV, JSON and a figure."""
    args = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    coders, skipped = contestants(fmtc.__version__)
    for reason in skipped:
        print(f"left out: {reason}", file=sys.stderr)
    result = {"machine": machine(), "command": " ".join(sys.argv[1:]), "data": {}, "loops": []}
    datasets = {"Laplacians": laplacian_items(args)}
    if args.model:
        datasets[f"levels of {args.model}"] = network_items(args)
    for name, items in datasets.items():
        result["data"][name] = measure(items, coders, args.repeats)
        print_coders(name, result["data"][name])
    result["loops"] = measure_loops(args.repeats, quick=args.quick)
    print_loops(result["loops"])
    print(machine_line(result["machine"]))
    if args.out:
        write(result, Path(args.out))


def laplacian_items(args: argparse.Namespace) -> list[Item]:
    """Images [1, 64, S, S] of rounded Laplacians, 8 classes of tables for all of them."""
    generator = torch.Generator().manual_seed(args.seed)
    scales = torch.logspace(*(float(np.log10(s)) for s in SCALES), CHANNELS)
    images = []
    for _ in range(args.images):
        u = torch.rand(1, CHANNELS, args.size, args.size, generator=generator) - 0.5
        magnitude = -scales[:, None, None] * (1 - 2 * u.abs()).clamp(min=1e-12).log()
        images.append((u.sign() * magnitude).round().clamp(-127, 127).to(torch.int16))
    tables = make_item(images[0], 8, of=torch.cat(images))
    return [Item(levels, tables.rans, tables.huffman) for levels in images]


def network_items(args: argparse.Namespace) -> list[Item]:
    """What preset fmtc codes of two images, layer by layer, at --step."""
    from fmtc.data.datasets import open_dataset, split
    from fmtc.data.models import load_model

    model = load_model(args.model, args.weights, args.num_classes, args.seed)
    dataset = open_dataset(args.data, args.labels, None, args.preprocess)
    calibration, test = (dataset.subset(i) for i in split(dataset, args.calib_images, 2, args.seed))
    compressed = fmtc.compress(model, calibration.tensor()[0], target=fmtc.Step(args.step))
    with _recorded_levels() as levels, torch.no_grad():
        for image in test.tensor()[0].split(1):
            compressed(image)
    items = [make_item(symbols, 8) for symbols in levels if symbols.numel() > 0]
    if not items:
        raise RuntimeError(f"{args.model}: nothing is coded with rANS")
    return items


@contextmanager
def _recorded_levels():
    """The levels that are coded while the context is open.

    In stages, as the operator that does all of a coding point shows none.
    """
    recorded, encode = [], Rans.encode

    def record(self, levels, *args):
        recorded.append(levels.contiguous().clone())
        return encode(self, levels, *args)

    stages = mock.patch("fmtc.codec.fused.fuses", return_value=False)
    with stages, mock.patch.object(Rans, "encode", record):
        yield recorded


def measure(items: list[Item], coders: list[Contestant], repeats: int) -> dict:
    """Seconds and bytes of each coder over the items; all coders take turns in each repeat."""
    runs = [_Run(coder, _some(items) if coder.slow else items) for coder in coders]
    for run in runs:
        run.once(check=True)
    for _ in range(repeats):
        for run in runs:
            run.once()
    reference = next((run for run in runs if run.coder.name == REFERENCE), None)
    return {
        "values": sum(item.values for item in items),
        "tensors": len(items),
        "entropy_per_channel": channel_entropy(items),
        "coders": [run.row(reference) for run in runs],
    }


def _some(items: list[Item]) -> list[Item]:
    """Of the first items, or of the top rows of the first one, about SLOW_VALUES values."""
    if items[0].values > SLOW_VALUES:
        first = items[0]
        rows = max(1, first.levels.shape[2] * SLOW_VALUES // first.values)
        return [Item(first.levels[:, :, :rows].contiguous(), first.rans, first.huffman)]
    taken, values = [], 0
    for item in items:
        if values < SLOW_VALUES:
            taken.append(item)
            values += item.values
    return taken


class _Run:
    """One coder's turns."""

    def __init__(self, coder: Contestant, items: list[Item]):
        self.coder = coder
        self.values = sum(item.values for item in items)
        self.inputs = [coder.prepare(item) for item in items]
        self.seconds: list[tuple[float, float]] = []
        self.bytes = 0

    def once(self, check: bool = False) -> None:
        """Code all items once; the first time is for checking, and not counted."""
        encode_seconds = decode_seconds = 0.0
        size = 0
        for data in self.inputs:
            start = time.thread_time()
            coded = self.coder.encode(data)
            middle = time.thread_time()
            size += self.coder.size(coded)
            again = time.thread_time()
            decoded = self.coder.decode(data, coded)
            end = time.thread_time()
            encode_seconds += middle - start
            decode_seconds += end - again
            if check and not self.coder.check(data, decoded):
                raise RuntimeError(f"{self.coder.name} does not give back what it coded")
        self.bytes = size
        if not check:
            self.seconds.append((encode_seconds, decode_seconds))

    def speeds(self) -> list[tuple[float, float]]:
        return [(self.values / e / 1e6, self.values / d / 1e6) for e, d in self.seconds]

    def row(self, reference: _Run | None) -> dict:
        encode, decode = zip(*self.speeds(), strict=True)
        row = {
            "coder": self.coder.name,
            "version": self.coder.version,
            "values": self.values,
            "bits_per_value": 8 * self.bytes / self.values,
            "encode_mb_s": statistics.median(encode),
            "decode_mb_s": statistics.median(decode),
            "encode_all": encode,
            "decode_all": decode,
        }
        if reference is not None:
            ratios = [
                (mine[0] / its[0], mine[1] / its[1])
                for mine, its in zip(self.speeds(), reference.speeds(), strict=True)
            ]
            row["encode_ratio"] = statistics.median(ratio for ratio, _ in ratios)
            row["decode_ratio"] = statistics.median(ratio for _, ratio in ratios)
        return row


# -- Output ---------------------------------------------------------------------------------------


def machine() -> dict:
    """What the figures depend on besides the code."""
    build = ops.build_info()
    return {
        "cpu": _cpu_model(),
        "simd": build["simd"],
        "coder_simd": build["coder_simd"],
        "compiler": build["compiler"],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "fmtc": fmtc.__version__,
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def machine_line(info: dict) -> str:
    return (
        f"{info['cpu']}, one thread; loops {info['simd']}, rANS {info['coder_simd']}; "
        f"{info['compiler']}, torch {info['torch']}"
    )


def table_of(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", no_wrap=True)
    return table


def print_coders(name: str, data: dict) -> None:
    entropy = data["entropy_per_channel"]
    title = (
        f"{name}: {data['values']:,} values in {data['tensors']} tensors, "
        f"{entropy:.4f} bits of entropy a value, channel by channel"
    )
    table = table_of(
        title, "coder", "encode MB/s", "decode MB/s", "x zstd -1", "", "bits", "entropy"
    )
    for row in data["coders"]:
        table.add_row(
            row["coder"],
            f"{row['encode_mb_s']:.1f}",
            f"{row['decode_mb_s']:.1f}",
            *(f"{row[key]:.2f}" if key in row else "" for key in ("encode_ratio", "decode_ratio")),
            f"{row['bits_per_value']:.4f}",
            f"{row['bits_per_value'] / entropy - 1:+.1%}",
        )
    console().print(table)


def print_loops(rows: list[dict]) -> None:
    table = table_of("other loops", "loop", "GB/s or GFLOP/s", "of", "time x")
    for row in rows:
        table.add_row(row["loop"], f"{row['rate']:.2f}", row["yardstick"], f"{row['times']:.2f}")
    console().print(table)


def write(result: dict, out: Path) -> None:
    """coders.json with all repeats, coders.csv, coders.png and coders.svg."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "coders.json", json.dumps(result, indent=1).encode())
    columns = ("coder", "version", "values", "bits_per_value", "encode_mb_s", "decode_mb_s")
    ratios = ("encode_ratio", "decode_ratio")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["data", *columns, *ratios])
    for name, data in result["data"].items():
        for row in data["coders"]:
            writer.writerow([name, *(row[c] for c in columns), *(row.get(r) for r in ratios)])
    write_atomically(out / "coders.csv", text.getvalue().encode())
    plot(result, out)
    print(f"written: {out}/coders.json, coders.csv, coders.png, coders.svg")


def plot(result: dict, out: Path) -> None:
    """Speed each way against the rate, a panel for each set of data."""
    import matplotlib
    from matplotlib.figure import Figure

    from fmtc.results.plot import COLORS, STYLE, save_figure

    with matplotlib.rc_context(STYLE):
        panels = len(result["data"])
        figure = Figure(figsize=(6.4 * panels, 4.4), layout="constrained", dpi=150)
        axes = figure.subplots(1, panels, squeeze=False)[0]
        for axis, (name, data) in zip(axes, result["data"].items(), strict=True):
            for i, row in enumerate(data["coders"]):
                color = COLORS[i % len(COLORS)]
                speeds = row["encode_mb_s"], row["decode_mb_s"]
                rates = [row["bits_per_value"]] * 2
                axis.plot(speeds, rates, color=color, linewidth=1, zorder=2)
                axis.plot(speeds[:1], rates[:1], "o", color=color, label=row["coder"])
                axis.plot(speeds[1:], rates[1:], "s", color=color, markerfacecolor="white")
            entropy = data["entropy_per_channel"]
            axis.axhline(entropy, color="#6b6b6b", linewidth=1, linestyle="--", zorder=1)
            axis.set(xscale="log", xlabel="MB/s of one core: encode (filled), decode (open)")
            axis.set(ylabel="bits a value (dashed: entropy)", title=name)
            axis.legend(fontsize=8)
        for suffix in ("png", "svg"):
            save_figure(figure, out / f"coders.{suffix}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench.coders",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="1 small image, 3 repeats: seconds")
    parser.add_argument("--images", type=int, metavar="N", help="images of Laplacians (64)")
    parser.add_argument("--size", type=int, metavar="S", help="their height and width (128)")
    parser.add_argument("--repeats", type=int, metavar="N", help="turns of each coder (9)")
    parser.add_argument("--seed", type=int, default=0, help="of the data (default: 0)")
    parser.add_argument("--out", metavar="DIR", help="where to write JSON, CSV, PNG and SVG")
    network = parser.add_argument_group("levels of a network, as for `fmtc eval`")
    network.add_argument("--model", metavar="NAME", help="e.g. mobilenet_v2")
    network.add_argument("--weights", metavar="FILE|DEFAULT|none")
    network.add_argument("--num-classes", type=int, metavar="N")
    network.add_argument("--data", metavar="PATH", help="images to calibrate with and to code")
    network.add_argument("--labels", metavar="FILE")
    network.add_argument("--preprocess", metavar="STEPS")
    network.add_argument("--calib-images", type=int, default=16, metavar="N", help="(16)")
    network.add_argument("--step", type=float, default=0.0005, help="of the preset (0.0005)")
    parser.set_defaults(images=None, size=None, repeats=None)
    original = parser.parse_args

    def parse(arguments=None):
        args = original(arguments)
        if args.model and not args.data:
            parser.error("--model needs --data")
        defaults = (1, 128, 3) if args.quick else (64, 128, 9)
        for name, value in zip(("images", "size", "repeats"), defaults, strict=True):
            if getattr(args, name) is None:
                setattr(args, name, value)
        return args

    parser.parse_args = parse
    return parser


if __name__ == "__main__":
    main()
