"""How much could a component be predicted from, and what would it be worth?

For coding points of a compressed network: bits a value and component that Gaussian errors of least
squares would take, 0.5 log2(variance + 1/12), of the components that are not almost always 0. Half
of the images are what coefficients are made of, the other half is what they are tried on. A
component's own neighbours are the three that are decoded before it; sources are the components
before it, and of them a window around the position.

    python -m experiments.prediction_windows --model mobilenet_v2 --weights FILE --data FOLDER \
        --images 8 --step 0.0009 --layers 0 1 4
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

import fmtc
from fmtc.cli.command import Parser
from fmtc.cli.options import add_eval_options

from .networks import model_and_images
from .other_quantizers import layers_of

LEAST_VARIANCE = 0.3  # of levels that are not almost always 0
OWN = ((0, -1), (-1, 0), (-1, -1))
REACH = 2
PLACES = [(y, x) for y in range(-REACH, REACH + 1) for x in range(-REACH, REACH + 1)]


class Products:
    """Inner products of what components have at all places, of some images [N, K, H, W]."""

    def __init__(self, levels: torch.Tensor, components: list[int]):
        padded = F.pad(levels[:, components].double(), (REACH,) * 4)
        height, width = levels.shape[2:]
        around = [
            padded[:, :, REACH + y : REACH + y + height, REACH + x : REACH + x + width]
            for y, x in PLACES
        ]
        inputs = torch.stack(around).permute(2, 0, 1, 3, 4).flatten(2)
        inputs = inputs.flatten(0, 1)  # [components * places, positions]
        self.gram, self.count = inputs @ inputs.T, inputs.shape[1]

    def error(self, coefficients: torch.Tensor, inputs: list[int], target: int) -> float:
        """Mean square of the target less its prediction."""
        cross = self.gram[inputs, target]
        inner = coefficients @ self.gram[inputs][:, inputs] @ coefficients
        return float(self.gram[target, target] - 2 * coefficients @ cross + inner) / self.count

    def solved(self, inputs: list[int], target: int) -> torch.Tensor:
        """Coefficients of least squares."""
        room = 1 + 1e-4 * self.gram[target, target]
        gram = self.gram[inputs][:, inputs] + room * torch.eye(len(inputs), dtype=torch.float64)
        return torch.linalg.solve(gram, self.gram[inputs, target])

    def pursued(self, inputs: list[int], target: int, number: int) -> list[int]:
        """So many of the inputs by orthogonal matching pursuit, the first three among them."""
        chosen = inputs[: len(OWN)]
        rest = inputs[len(OWN) :]
        while len(chosen) < number and rest:
            left = self.gram[rest, target] - self.gram[rest][:, chosen] @ self.solved(
                chosen, target
            )
            best = int((left.square() / self.gram.diagonal()[rest].clamp(min=1)).argmax())
            chosen = [*chosen, rest.pop(best)]
        return chosen


def place(component: int, offset: tuple[int, int]) -> int:
    return component * len(PLACES) + PLACES.index(offset)


def inputs_of(component: int, sources: int, reach: int) -> list[int]:
    own = [place(component, offset) for offset in OWN]
    window = [p for p in PLACES if max(map(abs, p)) <= reach]
    return own + [place(j, p) for j in range(min(component, sources)) for p in window]


def row(levels: torch.Tensor) -> list[float]:
    """Bits of the mean component, for each of the columns of `COLUMNS`."""
    used = (levels.double().var((0, 2, 3)) >= LEAST_VARIANCE).nonzero()[:, 0].tolist()
    half = len(levels) // 2
    known, tried = Products(levels[:half], used), Products(levels[half:], used)
    totals = [0.0] * len(COLUMNS)
    for k in range(len(used)):
        target = place(k, (0, 0))
        for i, (sources, reach, taps) in enumerate(COLUMNS.values()):
            inputs = inputs_of(k, sources, reach)
            if taps:
                inputs = known.pursued(inputs, target, taps)
            error = tried.error(known.solved(inputs, target), inputs, target)
            totals[i] += 0.5 * math.log2(max(error, 0.0) + 1 / 12)
    return [total / len(used) for total in totals]


# Sources, the reach of their windows, and how many single inputs are taken (all: 0).
COLUMNS = {
    "own": (0, 1, 0),
    "4 sources": (4, 1, 0),
    "8 sources": (8, 1, 0),
    "16 sources": (16, 1, 0),
    "16 sources, 5 x 5": (16, 2, 0),
    "16 inputs": (16, 1, 16),
}


def main(arguments: list[str] | None = None) -> None:
    args = _parser().parse_args(arguments)
    model, calibration, test = model_and_images(args)
    compressed = fmtc.compress(model, calibration.tensor()[0], target=fmtc.Step(args.step))
    compressed.mode = "simulate"
    layers = layers_of(compressed, test.tensor()[0])
    print("| layer | levels | " + " | ".join(COLUMNS) + " |")
    print("|--:|---" + "|--:" * len(COLUMNS) + "|")
    for i in args.layers:
        levels = layers[i].values.round()
        cells = " | ".join(f"{bits:.3f}" for bits in row(levels))
        print(f"| {i} | {' x '.join(map(str, levels.shape[1:]))} | {cells} |", flush=True)


def _parser() -> Parser:
    parser = add_eval_options(Parser("experiments.prediction_windows", description=__doc__))
    parser.add_argument("--step", type=float, default=0.0009, help="of the preset (%(default)s)")
    parser.add_argument("--layers", type=int, nargs="+", default=[0, 1, 4], metavar="N")
    return parser


if __name__ == "__main__":
    main()
