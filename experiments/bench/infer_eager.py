"""The process of Python that experiments/bench/infer.py compares fmtc_infer with.

Loads a network and its saved codec, runs a folder of images through it in stream mode, and prints
a line after the first batch, then the seconds an image of each batch as JSON.
"""

from __future__ import annotations

import argparse
import json
import time

import torch

import fmtc
from fmtc.data.datasets import open_dataset
from fmtc.data.models import load_model


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images")
    parser.add_argument("--codec", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights")
    parser.add_argument("--num-classes", type=int)
    parser.add_argument("--preprocess")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model = load_model(args.model, args.weights, args.num_classes)
    compressed = fmtc.load(args.codec, model)
    seconds = []
    for x, _ in open_dataset(args.images, preprocess=args.preprocess).batches(args.batch):
        for _ in range(args.repeats):
            began = time.perf_counter()
            output = compressed(x)
            seconds.append((time.perf_counter() - began) / len(x))
            if len(seconds) == 1:
                print(output.argmax(1).tolist(), flush=True)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
