"""A whole network: plain, simulated and with real streams; where the time goes, layer by layer.

    python -m experiments.bench.network --model resnet18 --weights FILE --num-classes 10 \
        --data cifar10_test.npz --preprocess resize=224,mean=.485/.456/.406,std=.229/.224/.225
    python -m experiments.bench.network --model mobilenet_v2 --data FOLDER --batches 1 8 --threads 1
    python -m experiments.bench.network ... --compare ../other --clock process_time

The network is compressed with preset fmtc (at 15 dB by default), or its codecs are loaded, and run
on batches of its images in turns: the user's own model, simulate mode (the same output without
streams) and stream mode (every tensor encoded and decoded). Times are medians over the turns,
ratios medians within a turn. The table of stages has each stage by its own operator; the coding
points run them as two. The table of layers is of stream mode with the last of --batches and the
first of --threads. How much a ratio says depends on the allocator, which is named: with glibc's
half of the plain network's time can be page faults.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

import fmtc
from fmtc import ops
from fmtc.data.datasets import open_dataset, split
from fmtc.data.models import load_model
from fmtc.files import write_atomically
from fmtc.results.console import console
from fmtc.targets import parse_targets

from .coders import machine, machine_line, table_of
from .compare import compare
from .stages import PARTS, STAGES, Clock, by_layer, by_stage

MODES = ("plain", "simulate", "stream")


def main(arguments: list[str] | None = None) -> None:
    """Compress, measure, print the tables, write JSON, CSV and a figure."""
    args = _parser().parse_args(arguments)
    model, calibration, images = _load(args)
    compressed = _compressed(args, model, calibration)
    clock = getattr(time, args.clock)
    runs = []
    for threads in args.threads:
        torch.set_num_threads(threads)
        for batch in args.batches:
            run = measure(model, compressed, images[:batch], args.repeats, clock)
            few = max(args.repeats // 3, 1)
            runs.append(run | {"stages": by_stage(compressed, images[:batch], few, clock)})
    torch.set_num_threads(args.threads[0])
    layers = by_layer(model, compressed, images[: args.batches[-1]], args.repeats, clock)
    compared = []
    if args.compare:
        settings = [(batch, threads) for threads in args.threads for batch in args.batches]
        network = [args.model, args.weights, args.num_classes, args.seed]
        by = network, images, settings, args.repeats, args.clock
        compared = compare(Path(args.compare), compressed, *by)
    result = {
        "machine": machine() | running_with(),
        "clock": args.clock,
        "compared": compared,
        "command": " ".join(sys.argv[1:]),
        "model": args.model,
        "setting": compressed.setting,
        "bits_per_value": compressed.report().bits_per_value["stream"],
        "multiply_adds": compressed.multiply_adds,
        "runs": runs,
        "layers": layers,
    }
    print_result(result)
    if args.out:
        write(result, Path(args.out))


def running_with() -> dict[str, str]:
    """The allocator, and the instruction sets that torch and fmtc use."""
    allocator = os.environ.get("LD_PRELOAD") or platform.libc_ver()[0] or "unknown"
    settings = [f"{k}={v}" for k, v in os.environ.items() if k.startswith(("MALLOC_", "GLIBC_TUN"))]
    info = ops.build_info()
    return {
        "allocator": " ".join([allocator, *settings]),
        "torch_simd": torch.backends.cpu.get_cpu_capability(),
        "fmtc_simd": f"{info['simd']}, coder {info['coder_simd']}",
    }


def _compressed(
    args: argparse.Namespace, model: nn.Module, calibration: torch.Tensor
) -> fmtc.CompressedModel:
    if args.codec:
        return fmtc.load(args.codec, model)
    preset = args.preset.split("=")
    if len(preset) == 2:
        return fmtc.compress(model, calibration, preset[0], bits=int(preset[1]))
    print(f"compressing at {args.target} with {len(calibration)} images", file=sys.stderr)
    return fmtc.compress(model, calibration, preset[0], target=parse_targets(args.target)[0])


def _load(args: argparse.Namespace) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """The network, images to calibrate with, and a batch of others to run it on."""
    model = load_model(args.model, args.weights, args.num_classes, args.seed)
    dataset = open_dataset(args.data, args.labels, None, args.preprocess)
    chosen = split(dataset, args.calib_images, max(args.batches), args.seed)
    calibration, test = (dataset.subset(i).tensor()[0] for i in chosen)
    if len(test) < max(args.batches):
        sys.exit(f"{args.data}: {len(test)} images are left for a batch of {max(args.batches)}")
    return model, calibration, test


@torch.no_grad()
def measure(
    model: nn.Module, compressed: fmtc.CompressedModel, x: torch.Tensor, repeats: int, clock: Clock
) -> dict[str, Any]:
    """Seconds of one batch in each mode, the modes in turns, after one turn that is not counted."""
    seconds: dict[str, list[float]] = {mode: [] for mode in MODES}
    for turn in range(repeats + 1):
        for mode in MODES:
            run: Callable = model
            if mode != "plain":
                compressed.mode, run = mode, compressed
            start = clock()
            run(x)
            elapsed = clock() - start
            if turn > 0:
                seconds[mode].append(elapsed)
    times = {mode: statistics.median(values) for mode, values in seconds.items()}
    ratios = {
        mode: statistics.median(
            one / plain for one, plain in zip(seconds[mode], seconds["plain"], strict=True)
        )
        for mode in MODES
    }
    threads = torch.get_num_threads()
    return {"batch": len(x), "threads": threads, "seconds": times, "times_plain": ratios}


def print_result(result: dict[str, Any]) -> None:
    adds = result["multiply_adds"]
    title = (
        f"{result['model']}, {result['bits_per_value']:.3f} bits a value; multiply-adds "
        f"{adds['plain'] / 1e6:.0f} M plain, {adds['compressed'] / 1e6:.0f} M compressed "
        f"({adds['compressed'] / adds['plain']:.2f} x)"
    )
    table = table_of(title, "batch", "threads", *(f"{mode} ms" for mode in MODES), *MODES[1:])
    for run in result["runs"]:
        times = (f"{1e3 * run['seconds'][mode]:.1f}" for mode in MODES)
        ratios = (f"{run['times_plain'][mode]:.2f} x" for mode in MODES[1:])
        table.add_row(str(run["batch"]), str(run["threads"]), *times, *ratios)
    console().print(table)
    stages = table_of("Stages by their own operators, ms", "batch", "threads", *STAGES)
    for run in result["runs"]:
        times = (f"{1e3 * run['stages'][stage]:.1f}" for stage in STAGES)
        stages.add_row(str(run["batch"]), str(run["threads"]), *times)
    console().print(stages)
    if result["compared"]:
        compared = table_of(
            "Two checkouts, ms", "mode", "batch", "threads", "here", "other", "ratio"
        )
        for row in result["compared"]:
            setting = row["mode"], str(row["batch"]), str(row["threads"])
            times = (f"{1e3 * row[of]:.1f}" for of in ("here", "other"))
            compared.add_row(*setting, *times, f"{row['ratio']:.2f}")
        console().print(compared)
    layers = table_of(
        "Stream mode, ms (plain: the model's own convolution)", "layer", "plain", *PARTS
    )
    rows = [*result["layers"], _sum(result["layers"])]
    for row in rows:
        times = (f"{1e3 * row[key]:.2f}" for key in ("plain", *PARTS))
        layers.add_row(row["layer"], *times)
    console().print(layers)
    names = "allocator", "torch_simd", "fmtc_simd"
    print(machine_line(result["machine"]))
    print(", ".join(f"{name} {result['machine'][name]}" for name in names), result["clock"])


def _sum(rows: list[dict[str, Any]]) -> dict[str, Any]:
    keys = ("values", "plain", *PARTS)
    return {"layer": "all", **{key: sum(row[key] for row in rows) for key in keys}}


def write(result: dict[str, Any], out: Path) -> None:
    """network.json, network.csv (the layers), network.png and network.svg."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "network.json", json.dumps(result, indent=1).encode())
    text = io.StringIO()
    writer = csv.DictWriter(text, ["layer", "values", "plain", *PARTS])
    writer.writeheader()
    writer.writerows(result["layers"])
    write_atomically(out / "network.csv", text.getvalue().encode())
    plot(result, out)
    print(f"written: {out}/network.json, network.csv, network.png, network.svg")


def plot(result: dict[str, Any], out: Path) -> None:
    """Bars of the layers' stages on top of each other, the plain convolutions as marks."""
    import matplotlib
    from matplotlib.figure import Figure

    from fmtc.results.plot import COLORS, STYLE, save_figure

    layers = result["layers"]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(6.4, 0.22 * len(layers)), 4.8), layout="constrained", dpi=150)
        axis = figure.subplots()
        base = [0.0] * len(layers)
        for i, stage in enumerate(PARTS):
            heights = [1e3 * row[stage] for row in layers]
            axis.bar(range(len(layers)), heights, 0.8, base, color=COLORS[i % len(COLORS)],
                     label=stage)  # fmt: skip
            base = [a + b for a, b in zip(base, heights, strict=True)]
        plain = [1e3 * row["plain"] for row in layers]
        axis.plot(range(len(layers)), plain, "k_", label="plain convolution")
        axis.set_xticks(range(len(layers)), [row["layer"] for row in layers], rotation=90)
        axis.tick_params(axis="x", labelsize=6)
        axis.set(ylabel="ms a batch", title=f"{result['model']}, stream mode, layer by layer")
        axis.legend(fontsize=8)
        for suffix in ("png", "svg"):
            save_figure(figure, out / f"network.{suffix}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench.network",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    network = parser.add_argument_group("network and images, as for `fmtc eval`")
    network.add_argument("--model", required=True, metavar="NAME", help="e.g. resnet18")
    network.add_argument("--weights", metavar="FILE|DEFAULT|none")
    network.add_argument("--num-classes", type=int, metavar="N")
    network.add_argument("--data", required=True, metavar="PATH")
    network.add_argument("--labels", metavar="FILE")
    network.add_argument("--preprocess", metavar="STEPS")
    network.add_argument("--calib-images", type=int, default=32, metavar="N", help="(32)")
    network.add_argument("--target", default="snr_db=15", metavar="KIND=VALUE", help="(snr_db=15)")
    network.add_argument("--preset", default="fmtc", metavar="NAME[=BITS]", help="(fmtc)")
    network.add_argument("--codec", metavar="FILE", help="saved codecs instead of compressing")
    network.add_argument("--seed", type=int, default=0, help="of split and probes (0)")
    run = parser.add_argument_group("run")
    run.add_argument("--batches", type=int, nargs="+", default=[1, 8], metavar="N", help="(1 8)")
    run.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="(1 2)")
    run.add_argument("--repeats", type=int, default=9, metavar="N", help="turns (9)")
    clocks = ["perf_counter", "process_time"]
    run.add_argument("--clock", default=clocks[0], choices=clocks,
                     help="time, or CPU time where others run (perf_counter)")  # fmt: skip
    run.add_argument("--compare", metavar="CHECKOUT", help="another one, built, to run beside")
    run.add_argument("--out", metavar="DIR", help="where to write JSON, CSV, PNG and SVG")
    return parser


if __name__ == "__main__":
    main()
