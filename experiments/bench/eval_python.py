"""The process of Python that experiments/bench/eval.py compares fmtc_eval with.

Does what `fmtc eval` does after its calibration, with a saved codec: the plain network over all
images, then the compressed one. Prints a line when the first batch is there, then images a second.
"""

from __future__ import annotations

import argparse
import time

import torch

import fmtc
from experiments.networks import model_and_images

from .eval import add_data_options


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_data_options(parser)
    parser.add_argument("--codec", required=True)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, _, test = model_and_images(args)
    compressed = fmtc.load(args.codec, model)
    next(test.batches(args.batch))
    print("first batch", flush=True)
    began = time.perf_counter()
    reference = fmtc.Reference(model, test, batch=args.batch)
    fmtc.evaluate(compressed, test, reference=reference, batch=args.batch, mode="stream")
    print(reference.images / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
