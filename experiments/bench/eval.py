"""fmtc_eval beside Python: images a second, start to the first batch, peak memory.

    python -m experiments.bench.eval --program build/cmake-cpython-311/csrc/infer/fmtc_eval \
        --model mobilenet_v2 --weights FILE --data FOLDER --labels labels.csv \
        --preprocess resize=256,crop=224,mean=0.5,std=0.5 --images 200 --work build/eval-mobilenet

The network is compressed with preset fmtc (at 15 dB by default) and exported into --work, where a
later call finds it again. Both evaluate the same images in stream mode, the plain network and the
compressed one on each batch, each in a process of its own, in turns. Python's is what `fmtc eval`
does after its calibration, with a saved codec. Images a second are those of the evaluation, without
the start. Start is from exec to when the first batch is there, beside that of `fmtc_eval --help`;
memory is the largest resident set. Of each the median over the turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import fmtc
from experiments.networks import model_and_images
from fmtc.files import write_atomically
from fmtc.results.console import console
from fmtc.targets import parse_targets

from .coders import machine, machine_line, table_of
from .infer import run

FIGURES = ("images_a_second", "start", "peak_bytes")


def main(arguments: list[str] | None = None) -> None:
    """Prepare what is not there yet, measure, print a table, write JSON."""
    args = _parser().parse_args(arguments)
    work = Path(args.work)
    if not (work / "point.pt2").exists():
        prepare(args, work)
    runs = [measure(args, work, threads) for threads in args.threads]
    result = {"machine": machine(), "command": " ".join(sys.argv[1:]), "runs": runs}
    print_result(args, result)
    if args.out:
        write_atomically(args.out, json.dumps(result, indent=1).encode())


def prepare(args: argparse.Namespace, work: Path) -> None:
    """The packages and the codec."""
    work.mkdir(parents=True, exist_ok=True)
    model, calibration, _ = model_and_images(args)
    images = calibration.tensor()[0]
    print(f"compressing at {args.target} with {len(images)} images", file=sys.stderr)
    compressed = fmtc.compress(model, images, target=parse_targets(args.target)[0])
    compressed.save(work / "codec.safetensors")
    print("exporting, which takes minutes", file=sys.stderr)
    fmtc.export_plain(compressed, work / "plain.pt2", images[:2])
    fmtc.export(
        compressed,
        work / "point.pt2",
        images[:2],
        preprocess=calibration.preprocess.text,
        statistics=True,
        plain=work / "plain.pt2",
        name=args.model,
        calibration=calibration,
        seed=args.seed,
    )


def measure(args: argparse.Namespace, work: Path, threads: int) -> dict[str, Any]:
    """The figures of both programs, in turns."""
    turns: dict[str, list[dict[str, float]]] = {"fmtc_eval": [], "python": []}
    helps = []
    for turn in range(args.turns):
        print(f"{threads} threads, turn {turn + 1}", file=sys.stderr)
        helps.append(run([args.program, "--help"])["first_line"])
        turns["fmtc_eval"].append(run_program(args, work, threads))
        turns["python"].append(run_python(args, work, threads))
    figures = {
        name: {figure: statistics.median(one[figure] for one in of) for figure in FIGURES}
        for name, of in turns.items()
    }
    return {"threads": threads, "help": statistics.median(helps), **figures}


def run_program(args: argparse.Namespace, work: Path, threads: int) -> dict[str, float]:
    command = [args.program, str(work / "point.pt2"), "--data", args.data, "--seed", str(args.seed)]
    command += ["--images", str(args.images), "--batch", str(args.batch)]
    command += ["--threads", str(threads), "--json", str(work / "result.json")]
    for option in ("labels", "class_index"):
        if (value := getattr(args, option)) is not None:
            command += [f"--{option.replace('_', '-')}", str(value)]
    # What it says on standard error begins with the first batch and ends with its speed.
    done = run(["sh", "-c", 'exec "$@" 2>&1 >/dev/null', "sh", *command])
    speed = float(done["last_line"].split()[0])
    return {
        "images_a_second": speed, "start": done["first_line"], "peak_bytes": done["peak_bytes"]
    }  # fmt: skip


def run_python(args: argparse.Namespace, work: Path, threads: int) -> dict[str, float]:
    command = [sys.executable, "-m", "experiments.bench.eval_python"]
    command += ["--codec", str(work / "codec.safetensors"), "--threads", str(threads)]
    for option, value in vars(args).items():
        if option in PYTHON_OPTIONS and value is not None:
            command += [f"--{option.replace('_', '-')}", str(value)]
    done = run(command)
    return {
        "images_a_second": float(done["last_line"]),
        "start": done["first_line"],
        "peak_bytes": done["peak_bytes"],
    }


def print_result(args: argparse.Namespace, result: dict[str, Any]) -> None:
    columns = ("threads", "images/s", "start", "of --help", "peak MB")
    table = table_of(f"{args.model}, stream mode, batch {args.batch}", "program", *columns)
    for measured in result["runs"]:
        for name in ("fmtc_eval", "python"):
            of = measured[name]
            table.add_row(
                name,
                str(measured["threads"]),
                f"{of['images_a_second']:.2f}",
                f"{of['start']:.2f} s",
                f"{measured['help']:.2f} s" if name == "fmtc_eval" else "-",
                f"{of['peak_bytes'] / 1e6:.0f}",
            )
    console().print(table)
    print(machine_line(result["machine"]))


def add_data_options(parser: argparse.ArgumentParser) -> None:
    """The network and its images, as for `fmtc eval`."""
    network = parser.add_argument_group("network and images, as for `fmtc eval`")
    network.add_argument("--model", required=True, metavar="NAME", help="e.g. mobilenet_v2")
    network.add_argument("--weights", metavar="FILE|DEFAULT|none")
    network.add_argument("--num-classes", type=int, metavar="N")
    network.add_argument("--data", required=True, metavar="PATH")
    network.add_argument("--labels", metavar="FILE")
    network.add_argument("--class-index", metavar="FILE")
    network.add_argument("--preprocess", metavar="STEPS")
    network.add_argument("--calib-images", type=int, default=32, metavar="N", help="(32)")
    network.add_argument("--images", type=int, default=200, metavar="N", help="(200)")
    network.add_argument("--seed", type=int, default=0, help="of the split (0)")
    network.add_argument("--batch", type=int, default=8, metavar="N", help="(8)")


PYTHON_OPTIONS = (
    *("model", "weights", "num_classes", "data", "labels", "class_index", "preprocess"),
    *("calib_images", "images", "seed", "batch"),
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench.eval",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--program", required=True, metavar="FILE", help="fmtc_eval")
    parser.add_argument("--work", required=True, metavar="DIR", help="packages and codec")
    add_data_options(parser)
    parser.add_argument("--target", default="snr_db=15", metavar="KIND=VALUE", help="(snr_db=15)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], metavar="N", help="(1 2)")
    parser.add_argument("--turns", type=int, default=3, metavar="N", help="of both programs (3)")
    parser.add_argument("--out", metavar="FILE", help="where to write JSON")
    return parser


if __name__ == "__main__":
    main()
