"""What a compression costs: seconds, and memory beside the model and its images.

Takes the options of `fmtc eval` that say what is compressed and for which targets. Each target is
measured in a process of its own, from the images in memory to the compressed model, so that
tracing, sensitivities and every calibration of a search are in it.

    python -m experiments.bench.compress --model mobilenet_v2 --weights FILE --data FOLDER \
        --calib-images 64 --target step=0.0005 snr_db=15
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

import torch

import fmtc
from fmtc.cli.command import Parser, main_with_errors
from fmtc.cli.options import EvalOptions, add_eval_options
from fmtc.data.datasets import open_dataset, split
from fmtc.data.models import load_model


def main(arguments: list[str] | None = None) -> None:
    """Measure each target and print a line for it."""
    parser = add_eval_options(
        Parser("python -m experiments.bench.compress", description=__doc__.splitlines()[0])
    )
    parser.add_argument("--only", type=int, metavar="N", help="the Nth target, in this process")
    words = sys.argv[1:] if arguments is None else arguments
    args = parser.parse_args(words)
    options = EvalOptions.of(args)
    if args.only is not None:
        print(json.dumps(measure(options, args.only)))
        return
    print(f"{'target':16} {'seconds':>8} {'CPU s':>8} {'MB more':>8}")
    for number, target in enumerate(options.targets()):
        command = [sys.executable, "-m", __spec__.name, *words, "--only", str(number)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        row = json.loads(done.stdout)
        print(f"{target!s:16} {row['seconds']:8.1f} {row['cpu']:8.1f} {row['more']:8.0f}")


def measure(options: EvalOptions, number: int) -> dict[str, float]:
    """Seconds, those of all cores together, and megabytes over the plain network's forward."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    model = load_model(options.model, options.weights, options.num_classes, options.seed)
    dataset = open_dataset(options.data, options.labels, options.class_index, options.preprocess)
    chosen, _ = split(dataset, options.calib_images, options.images, options.seed)
    images, _ = dataset.subset(chosen).tensor()
    with torch.no_grad():
        model(images[: options.config().micro_batch])
    before, began, cpu = _peak(), time.perf_counter(), time.process_time()
    fmtc.compress(model, images, options.config(), options.targets()[number])
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - cpu,
        "more": _peak() - before,
    }


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main_with_errors("experiments.bench.compress", main))
