"""The line on a GPU: GB/s of tensor bytes for encoding and decoding, and whole networks.

    python -m experiments.bench.gpu --out results/gpu
    python -m experiments.bench.gpu --networks none --channels 64 --values 0.8 --out results/gpu

Encoding is from a float16 tensor to streams (quantise, rANS), decoding from streams to the float16
tensor; GB/s count the bytes of that tensor. A device-to-device copy of it takes turns with them, as
does the transform over all channels with the quantiser and back (ops.transform_quantize and
dequantize_transform), which a layer needs besides where it is not folded into a convolution.
Streams are made twice: as the coder chooses, and with --lane-values, which gives a GPU more lanes
to decode at the same time; what their side bytes cost is shown in bits a value.
Data: discretised Laplacians, the channels' scales falling geometrically from 8 to 0.2, with 8
classes of tables, images of 0.8 million values. The networks have random weights and images, and
run plain, simulated and with real streams, at batch 1 and 64. Times are medians over the repeats.

It runs on the CPU, too (--device cpu), to see that it works; those figures are not a GPU's.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import fmtc
from fmtc import ops
from fmtc.codec.coders import LANE_VALUES, Coder
from fmtc.data.models import load_model
from fmtc.files import write_atomically
from fmtc.ops.devices import copied_to, usable
from fmtc.results.console import console

from .coders import SCALES, machine, table_of
from .contestants import make_item

STEP = 0.05  # of the quantiser, in units of the tensor
CALIBRATION_VALUES = 1 << 18
IMAGE_VALUES = 800_000
CODING = ("copy", "transform", "encode", "decode", "inverse")
NETWORKS = ("resnet18", "resnet50", "mobilenet_v2")
MODES = ("plain", "simulate", "stream", "lanes")  # the last: streams with --lane-values


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the tables, write gpu.json, gpu.png and gpu.svg."""
    args = _parser().parse_args(arguments)
    try:
        device = usable(args.device)
    except ValueError as error:
        sys.exit(f"python -m experiments.bench.gpu: {error}")
    result: dict[str, Any] = {
        "machine": machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "command": " ".join(sys.argv[1:]),
        "lane_values": args.lane_values,
        "coding": [],
        "networks": [],
    }
    for channels in args.channels:
        for millions in args.values:
            values = round(millions * 1e6)
            result["coding"] += coding(channels, values, device, args.lane_values, args.repeats)
    print_coding(result["coding"], result["device"])
    for name in args.networks:
        if name != "none":
            result["networks"] += networks(name, device, args)
    print_networks(result["networks"], result["device"])
    if args.out:
        write(result, Path(args.out))


# -- Coding ---------------------------------------------------------------------------------------


def laplacian(images: int, channels: int, pixels: int, device: torch.device) -> torch.Tensor:
    """float16 [images, channels, 1, pixels] of Laplacians, in units of STEP."""
    scales = torch.logspace(*(torch.tensor(SCALES).log10().tolist()), channels, device=device)
    generator = torch.Generator(device).manual_seed(channels)
    x = torch.empty(images, channels, 1, pixels, dtype=torch.float16, device=device)
    for image in x:  # one by one: the random numbers take more room than the tensor
        u = torch.rand(image.shape, generator=generator, device=device) - 0.5
        magnitude = -scales[:, None, None] * (1 - 2 * u.abs()).clamp(min=1e-12).log()
        image.copy_(u.sign() * magnitude * STEP)
    return x


def coding(
    channels: int, values: int, device: torch.device, lane_values: int, repeats: int
) -> list[dict[str, Any]]:
    """A row for each of CODING; none, with a message, where memory runs out.

    Encoding and decoding have two, their own choice ("lane_values": 0) and ``lane_values``.
    """
    images = max(1, values // IMAGE_VALUES)
    pixels = values // images // channels
    try:
        x = laplacian(images, channels, pixels, device)
        rows = _coding(x, lane_values, repeats)
        return [{"channels": channels, "values": x.numel(), **row} for row in rows]
    except torch.OutOfMemoryError as error:
        print(f"{channels} channels, {values:,} values: {error}", file=sys.stderr)
        return []


def levels_of(x: torch.Tensor) -> torch.Tensor:
    return ops.quantize(x, STEP, -127, 127)[0]


def _coding(x: torch.Tensor, lane_values: int, repeats: int) -> list[dict[str, Any]]:
    some = x[:1, ..., : max(1, CALIBRATION_VALUES // x.shape[1])]
    own = make_item(levels_of(some.cpu()), 8).rans
    target = torch.empty_like(x)
    stages: dict[tuple[str, int], Callable] = {("copy", 0): lambda: target.copy_(x)}
    transform, inverse = _transforms(x)
    stages |= {("transform", 0): transform, ("inverse", 0): inverse}
    bits: dict[int, float] = {}
    for lanes in (0, lane_values):
        coder = copy.deepcopy(own).to(x.device)
        coder.lane_values = lanes
        encode, decode, bits[lanes] = _coded(x, coder)
        stages |= {("encode", lanes): encode, ("decode", lanes): decode}
    seconds = timed(stages, repeats, x.device)
    return [
        {
            "stage": stage,
            "lane_values": lanes,
            "seconds": seconds[stage, lanes],
            "gb_per_s": x.numel() * x.element_size() / seconds[stage, lanes] / 1e9,
            "bits_per_value": bits[lanes],
            "more_bits_per_value": bits[lanes] - bits[0],
        }
        for stage, lanes in stages
    ]


def _transforms(x: torch.Tensor) -> tuple[Callable, Callable]:
    """The fused transform of x to levels and back, by an orthonormal basis."""
    basis, _ = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1]))
    matrix, inverse = basis.T.contiguous().to(x.device), basis.contiguous().to(x.device)
    offset = torch.zeros(x.shape[1], device=x.device)
    levels, _ = ops.transform_quantize(x, matrix, offset, STEP, -1000, 1000)
    return (
        lambda: ops.transform_quantize(x, matrix, offset, STEP, -1000, 1000),
        lambda: ops.dequantize_transform(levels, inverse, offset, STEP, dtype=x.dtype),
    )


def _coded(x: torch.Tensor, coder: Coder) -> tuple[Callable, Callable, float]:
    """Encoder and decoder of x with this coder, which are checked, and bits a value."""

    def encode() -> tuple[torch.Tensor, torch.Tensor]:
        return coder.encode(levels_of(x))

    data, used = encode()

    def decode() -> torch.Tensor:
        planes, _ = coder.decode_unchecked(data, used, *x.shape[2:])
        return ops.dequantize(planes, STEP, x.dtype)

    ops.check_status(coder.decode_unchecked(data, used, *x.shape[2:])[1])
    if not torch.equal(decode(), ops.dequantize(levels_of(x), STEP, x.dtype)):
        sys.exit("decoding does not give back what was encoded")
    return encode, decode, 8 * float(used.sum()) / x.numel()


def timed(stages: dict[Any, Callable], repeats: int, device: torch.device) -> dict[Any, float]:
    """Median seconds of each stage; all take turns, after two turns that are not counted."""
    seconds: dict[Any, list[float]] = {stage: [] for stage in stages}
    for turn in range(repeats + 2):
        for stage, run in stages.items():
            elapsed = _seconds(run, device)
            if turn > 1:
                seconds[stage].append(elapsed)
    return {stage: statistics.median(values) for stage, values in seconds.items()}


def _seconds(run: Callable, device: torch.device) -> float:
    """Of one call; on a GPU by its own clock, so that launching does not count where it hides."""
    if device.type != "cuda":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start.record()
    run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def print_coding(rows: list[dict[str, Any]], device: str) -> None:
    columns = ("channels", "values", "stage", "values a lane", "ms", "GB/s", "bits", "more bits")
    table = table_of(f"Coding on {device}, GB/s of float16", *columns)
    for row in rows:
        table.add_row(
            str(row["channels"]),
            f"{row['values']:,}",
            row["stage"],
            lane_text(row["lane_values"]) if is_coder(row) else "",
            f"{1e3 * row['seconds']:.3f}",
            f"{row['gb_per_s']:.1f}",
            f"{row['bits_per_value']:.3f}" if is_coder(row) else "",
            f"{row['more_bits_per_value']:.4f}" if row["lane_values"] else "",
        )
    console().print(table)


def is_coder(row: dict[str, Any]) -> bool:
    return row["stage"] in ("encode", "decode")


def lane_text(lane_values: int) -> str:
    return str(lane_values) if lane_values else "its own"


# -- Networks -------------------------------------------------------------------------------------


@torch.no_grad()
def networks(name: str, device: torch.device, args: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each batch size: seconds of one batch in each mode."""
    model = load_model(name, "none", None, args.seed)
    generator = torch.Generator().manual_seed(args.seed)
    images = torch.randn(max(args.batches), 3, args.size, args.size, generator=generator)
    print(f"compressing {name} with {args.calib_images} random images", file=sys.stderr)
    compressed = fmtc.compress(model, images[: args.calib_images], target=fmtc.Step(args.step))
    model, compressed = copied_to(model, device), compressed.to(device)
    rows = []
    for batch in args.batches:
        x = images[:batch].to(device)

        def run(mode: str, x: torch.Tensor = x) -> torch.Tensor:
            if mode == "plain":
                return model(x)
            for codec in compressed.codecs.values():
                codec.coder.lane_values = args.lane_values if mode == "lanes" else 0
            compressed.mode = "stream" if mode == "lanes" else mode
            return compressed(x)

        compressed.reset_statistics()
        stages = {mode: lambda mode=mode, run=run: run(mode) for mode in MODES}
        seconds = timed(stages, args.repeats, device)
        bits = {}
        for mode in MODES[2:]:
            compressed.reset_statistics()
            run(mode)
            bits[mode] = compressed.report().bits_per_value["stream"]
        row = {"network": name, "batch": batch, "seconds": seconds, "bits_per_value": bits}
        rows.append({**row, "multiply_adds": compressed.multiply_adds})
    return rows


def print_networks(rows: list[dict[str, Any]], device: str) -> None:
    if not rows:
        return
    title = f"Networks with random weights on {device}, ms and times the plain network"
    table = table_of(title, "network", "batch", *MODES, "bits", "more bits")
    for row in rows:
        seconds = row["seconds"]
        table.add_row(
            row["network"],
            str(row["batch"]),
            *(f"{1e3 * s:.1f} {s / seconds['plain']:.2f}x" for s in seconds.values()),
            f"{row['bits_per_value']['stream']:.3f}",
            f"{row['bits_per_value']['lanes'] - row['bits_per_value']['stream']:.4f}",
        )
    console().print(table)


# -- Output ---------------------------------------------------------------------------------------


def write(result: dict[str, Any], out: Path) -> None:
    """gpu.json, gpu.png and gpu.svg."""
    out.mkdir(parents=True, exist_ok=True)
    write_atomically(out / "gpu.json", json.dumps(result, indent=1).encode())
    plot(result, out)
    print(f"written: {out}/gpu.json, gpu.png, gpu.svg")


def plot(result: dict[str, Any], out: Path) -> None:
    """GB/s against the number of values, of CODING; a panel for each of --channels.

    Dashed: with --lane-values.
    """
    import matplotlib
    from matplotlib.figure import Figure

    from fmtc.results.plot import COLORS, STYLE, save_figure

    rows = result["coding"]
    panels = sorted({row["channels"] for row in rows}) or [0]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.6 + 2.6 * len(panels), 4.2), layout="constrained", dpi=150)
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, channels in zip(axes, panels, strict=True):
            lines = dict.fromkeys((row["stage"], row["lane_values"]) for row in rows)
            colors = dict(zip(CODING, COLORS, strict=False))
            for stage, lanes in lines:
                of_line = {"channels": channels, "stage": stage, "lane_values": lanes}
                line = [row for row in rows if of_line.items() <= row.items()]
                x, y = [r["values"] for r in line], [r["gb_per_s"] for r in line]
                label = f"{stage}, {lanes} values a lane" if lanes else stage
                axis.plot(x, y, "o--" if lanes else "o-", color=colors[stage], label=label)
            axis.set(xscale="log", yscale="log", xlabel="values", title=f"{channels} channels")
        axes[0].set_ylabel("GB/s of float16")
        axes[0].legend()
        figure.suptitle(result["device"])
        for suffix in ("png", "svg"):
            save_figure(figure, out / f"gpu.{suffix}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="(cuda)")
    coder = parser.add_argument_group("coding")
    coder.add_argument("--channels", type=int, nargs="+", default=[64, 128, 256, 512], metavar="C",
                       help="(64 128 256 512)")  # fmt: skip
    coder.add_argument("--values", type=float, nargs="+", default=[0.8, 8, 64, 512], metavar="M",
                       help="millions of values (0.8 8 64 512)")  # fmt: skip
    coder.add_argument("--lane-values", type=int, default=1024, choices=LANE_VALUES, metavar="N",
                       help="values of a lane of the second streams, also of networks: a power of "
                       "two from 256 to 65536 (1024)")  # fmt: skip
    network = parser.add_argument_group("networks")
    network.add_argument("--networks", nargs="+", default=list(NETWORKS), metavar="NAME",
                         help=f"({' '.join(NETWORKS)}; none)")  # fmt: skip
    network.add_argument("--batches", type=int, nargs="+", default=[1, 64], metavar="N",
                         help="(1 64)")  # fmt: skip
    network.add_argument("--size", type=int, default=224, metavar="N", help="of images (224)")
    network.add_argument("--calib-images", type=int, default=4, metavar="N", help="(4)")
    network.add_argument("--step", type=float, default=0.001, help="of preset fmtc (0.001)")
    network.add_argument("--seed", type=int, default=0, help="of weights and images (0)")
    run = parser.add_argument_group("run")
    run.add_argument("--repeats", type=int, default=20, metavar="N", help="turns (20)")
    run.add_argument("--out", metavar="DIR", help="where to write JSON, PNG and SVG")
    return parser


if __name__ == "__main__":
    main()
