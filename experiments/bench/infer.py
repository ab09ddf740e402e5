"""fmtc_infer beside Python and the plain network: first result, time an image, peak memory.

    python -m experiments.bench.infer --program build/cmake-cpython-311/csrc/infer/fmtc_infer \
        --model resnet18 --weights FILE --num-classes 10 --data cifar10_test.npz \
        --preprocess resize=224,mean=.485/.456/.406,std=.229/.224/.225 --work build/infer-resnet18

The network is compressed with preset fmtc (at 15 dB by default) and exported into --work, where a
later call finds it again. Both run the same images in stream mode (PNG files in --work), each in a
process of its own, in turns. Start to the first result is from the start of a process to its first
line, with one image: for Python with the imports, the network and a saved codec to load. Times of
an image are medians and 95 % quantiles over batches, memory is the largest resident set; of each
the median over the turns. Times plain is the median beside that of the uncompressed network, which
fmtc_infer runs on the same batches (--plain), in a process that is not the others'.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torchvision.io import write_png

import fmtc
from fmtc.data.datasets import open_dataset, split
from fmtc.data.models import load_model
from fmtc.files import write_atomically
from fmtc.results.console import console
from fmtc.results.result import load_result
from fmtc.targets import parse_targets

from .coders import machine, machine_line, table_of

FIGURES = ("first_result", "median", "p95", "peak_bytes")


def main(arguments: list[str] | None = None) -> None:
    """Prepare what is not there yet, measure, print a table, write JSON."""
    args = _parser().parse_args(arguments)
    work = Path(args.work)
    if not (work / "m.pt2").exists():
        prepare(args, work)
    runs = []
    for threads in args.threads:
        for batch in args.batches:
            print(f"batch {batch}, {threads} threads", file=sys.stderr)
            runs.append(measure(args, work, batch, threads))
    result = {
        "machine": machine(),
        "command": " ".join(sys.argv[1:]),
        "model": args.model,
        "runs": runs,
    }
    print_result(result)
    if args.out:
        write_atomically(args.out, json.dumps(result, indent=1).encode())


def prepare(args: argparse.Namespace, work: Path) -> None:
    """The package, the codec and the images that both programs read."""
    model = load_model(args.model, args.weights, args.num_classes, args.seed)
    dataset = open_dataset(args.data, args.labels, None, args.preprocess)
    calibration, test = split(dataset, args.calib_images, args.images, args.seed)
    folder = work / "images"
    folder.mkdir(parents=True, exist_ok=True)
    pixels = open_dataset(args.data, args.labels, None, "").subset(test)
    for i, (image, _) in enumerate(pixels.batches(1)):
        write_png((image[0] * 255).round().to(torch.uint8), str(folder / f"{i:05}.png"))
    images = dataset.subset(calibration).tensor()[0]
    print(f"compressing at {args.target} with {len(images)} images", file=sys.stderr)
    compressed = fmtc.compress(model, images, target=parse_targets(args.target)[0])
    compressed.save(work / "codec.safetensors")
    print("exporting, which takes minutes", file=sys.stderr)
    fmtc.export(compressed, work / "m.pt2", images[:2], preprocess=args.preprocess)


def measure(args: argparse.Namespace, work: Path, batch: int, threads: int) -> dict[str, Any]:
    """The figures of both programs, in turns."""
    turns: dict[str, list[dict[str, float]]] = {"fmtc_infer": [], "python": []}
    times_plain: list[float] = []
    for _ in range(args.turns):
        turns["fmtc_infer"].append(run_program(args, work, batch, threads))
        times_plain.append(run_plain(args, work, batch, threads))
        turns["python"].append(run_python(args, work, batch, threads))
    figures = {
        name: {figure: statistics.median(one[figure] for one in of) for figure in FIGURES}
        for name, of in turns.items()
    }
    figures["fmtc_infer"]["times_plain"] = statistics.median(times_plain)
    return {"batch": batch, "threads": threads, **figures}


def run_program(args: argparse.Namespace, work: Path, batch: int, threads: int) -> dict[str, float]:
    command = [args.program, str(work / "m.pt2"), "--threads", str(threads)]
    first = run([*command, str(work / "images" / "00000.png")])["first_line"]
    seconds, peak = run_folder(args, command, work, batch)
    return {"first_result": first, **seconds["total"], "peak_bytes": peak}


def run_plain(args: argparse.Namespace, work: Path, batch: int, threads: int) -> float:
    """How many times the plain network's time an image takes."""
    command = [args.program, str(work / "m.pt2"), "--threads", str(threads), "--plain"]
    seconds, _ = run_folder(args, command, work, batch)
    return seconds["total"]["median"] / seconds["plain"]["median"]


def run_folder(
    args: argparse.Namespace, command: list[str], work: Path, batch: int
) -> tuple[dict[str, dict[str, float]], int]:
    """Seconds an image of all images, and the most memory."""
    written = work / "result.json"
    options = ["--batch", str(batch), "--repeat", str(args.repeats), "--json", str(written)]
    done = run([*command, str(work / "images"), *options])
    return load_result(written)["points"][0]["seconds_per_image"], done["peak_bytes"]


def run_python(args: argparse.Namespace, work: Path, batch: int, threads: int) -> dict[str, float]:
    command = [sys.executable, "-m", "experiments.bench.infer_eager", str(work / "images")]
    command += ["--codec", str(work / "codec.safetensors"), "--threads", str(threads)]
    for option in ("model", "weights", "num_classes", "preprocess"):
        if (value := getattr(args, option)) is not None:
            command += [f"--{option.replace('_', '-')}", str(value)]
    done = run([*command, "--batch", str(batch), "--repeats", str(args.repeats)])
    sample = sorted(json.loads(done["last_line"]))
    return {
        "first_result": done["first_line"],
        "median": sample[math.ceil(0.5 * len(sample)) - 1],
        "p95": sample[math.ceil(0.95 * len(sample)) - 1],
        "peak_bytes": done["peak_bytes"],
    }


def run(command: list[str]) -> dict[str, Any]:
    """What launch.py says of a command."""
    launch = [sys.executable, str(Path(__file__).with_name("launch.py"))]
    done = subprocess.run([*launch, *command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(done.returncode)
    return json.loads(done.stdout)


def print_result(result: dict[str, Any]) -> None:
    columns = ("batch", "threads", "first result", "ms median", "ms p95", "peak MB", "times plain")
    table = table_of(f"{result['model']}, stream mode", "program", *columns)
    for measured in result["runs"]:
        for name in ("fmtc_infer", "python"):
            of = measured[name]
            table.add_row(
                name,
                str(measured["batch"]),
                str(measured["threads"]),
                f"{of['first_result']:.2f} s",
                f"{1e3 * of['median']:.1f}",
                f"{1e3 * of['p95']:.1f}",
                f"{of['peak_bytes'] / 1e6:.0f}",
                f"{of['times_plain']:.2f}" if "times_plain" in of else "",
            )
    console().print(table)
    print(machine_line(result["machine"]))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench.infer",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--program", required=True, metavar="FILE", help="fmtc_infer")
    parser.add_argument("--work", required=True, metavar="DIR", help="package, codec and images")
    network = parser.add_argument_group("network and images, as for `fmtc eval`")
    network.add_argument("--model", required=True, metavar="NAME", help="e.g. resnet18")
    network.add_argument("--weights", metavar="FILE|DEFAULT|none")
    network.add_argument("--num-classes", type=int, metavar="N")
    network.add_argument("--data", required=True, metavar="PATH")
    network.add_argument("--labels", metavar="FILE")
    network.add_argument("--preprocess", metavar="STEPS")
    network.add_argument("--calib-images", type=int, default=32, metavar="N", help="(32)")
    network.add_argument("--images", type=int, default=16, metavar="N", help="to run (16)")
    network.add_argument("--target", default="snr_db=15", metavar="KIND=VALUE", help="(snr_db=15)")
    network.add_argument("--seed", type=int, default=0, help="of split and probes (0)")
    runs = parser.add_argument_group("runs")
    runs.add_argument("--batches", type=int, nargs="+", default=[1, 8], metavar="N", help="(1 8)")
    runs.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="(1 2)")
    runs.add_argument("--repeats", type=int, default=3, metavar="N", help="runs of a batch (3)")
    runs.add_argument("--turns", type=int, default=3, metavar="N", help="of both programs (3)")
    runs.add_argument("--out", metavar="FILE", help="where to write JSON")
    return parser


if __name__ == "__main__":
    main()
