"""The outputs that count, and the units in which an error of each does: its deviation.

docs/method.md, "Sensitivities".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CalibrationError
from ..evaluation.reference import check_finite
from ..evaluation.snr import Sums, deviations, mean_of
from ..network.outputs import (
    Choice,
    Named,
    check_batch,
    chosen_outputs,
    first_broken,
    is_batch,
    named_outputs,
)
from ..progress import Progress, stage

# An image counts in units of its output's deviation, but of no less than this share of the root
# mean square over the images: one that is much like the mean must not decide alone.
LEAST_DEVIATION = 0.1


@dataclass(frozen=True)
class Unit:
    """Of an output over the calibration images.

    mean: m, as `fmtc.evaluation.snr.mean_of` has it; None where it has none. deviation: root mean
    square over the images of the norm of what an output deviates from it. single: one number an
    image, of which that is the unit for all images alike.
    """

    mean: Tensor | None
    deviation: float
    single: bool

    @classmethod
    def of(cls, sums: Sums, images: int) -> Unit:
        """sums: over so many images."""
        mean = mean_of(sums)
        squares = deviations(sums) if mean is not None else sums.squares
        return cls(mean, math.sqrt(float(squares.sum()) / images), math.prod(sums.shape) == 1)

    def deviations(self, output: Tensor) -> Tensor:
        """The unit of each image's output [n, ...], f32 [n]."""
        if self.single:
            return output.new_full((len(output),), self.deviation, dtype=torch.float32)
        deviation = output.double() if self.mean is None else output.double() - self.mean
        norms = deviation.flatten(1).norm(dim=1)
        return norms.clamp(min=LEAST_DEVIATION * self.deviation).float()


@dataclass(frozen=True)
class Units:
    """Of the outputs that count, by name, and their shares in what an error is worth.

    choice: which outputs these are. means, chosen_means: m of all outputs of the network, and of
    what a function makes of them. shares: of the outputs that are not constant, together 1.
    """

    choice: Choice
    outputs: dict[str, Unit]
    means: dict[str, Tensor]
    chosen_means: dict[str, Tensor] = field(default_factory=dict)
    shares: dict[str, float] = field(default_factory=dict)

    def directions(
        self, output: Any, probes: int, generator: torch.Generator
    ) -> list[tuple[Tensor, Tensor]]:
        """Outputs [n, ...] and directions [n, probes, ...] in which they are probed.

        These are independent normal entries in units of each output's deviation. Together, the
        squares of all outputs' errors are weighted with their shares. Drawn image by image, so that
        they do not depend on how the images are split into batches, and on the CPU, so that they do
        not depend on the device either.
        """
        chosen = chosen_outputs(output, self.choice)
        outputs = {name: of for name, of in chosen.items() if name in self.shares}
        scales = {
            name: math.sqrt(self.shares[name]) / self.outputs[name].deviations(of.detach())
            for name, of in outputs.items()
        }
        drawn: dict[str, list[Tensor]] = {name: [] for name in outputs}
        for image in range(len(next(iter(outputs.values()), ()))):
            for name, of in outputs.items():
                v = torch.randn(probes, *of.shape[1:], generator=generator).to(of.device)
                drawn[name].append(v * scales[name][image])
        return [(of, torch.stack(drawn[name])) for name, of in outputs.items()]

    def shared(self, shares: Mapping[str, float]) -> Units:
        """These with other shares."""
        return Units(self.choice, self.outputs, self.means, self.chosen_means, dict(shares))


@torch.no_grad()
def measure_units(
    model: nn.Module, batches: list[Tensor], choice: Choice = None, progress: Progress = False
) -> Units:
    """Run the model over the calibration images once, for the means and deviations of its outputs.

    model: in eval mode, on the images' device. CalibrationError names an output that counts and has
    NaN or Inf, or is no batch, and names that no output has.
    """
    counting: dict[str, Sums] = {}
    others: dict[str, Sums] = {}
    done = 0
    with stage(progress, "outputs", len(batches), "batch") as advance:
        for batch in batches:
            output = model(batch)
            try:
                chosen = chosen_outputs(output, choice)
                check_batch(chosen, len(batch))
                check_finite(chosen, type(model).__name__, range(done, done + len(batch)))
            except ValueError as error:
                raise CalibrationError(f"calibration images: {error}") from error
            _add(counting, chosen)
            if choice is not None:
                _add(others, _usable(named_outputs(output), len(batch)))
            done += len(batch)
            advance(1)
    units = {name: Unit.of(sums, done) for name, sums in counting.items()}
    means = {name: unit.mean for name, unit in units.items() if unit.mean is not None}
    probed = [name for name, unit in units.items() if unit.deviation > 0]
    shares = dict.fromkeys(probed, 1 / max(len(probed), 1))
    if choice is None:
        return Units(choice, units, means, {}, shares)
    known = {name: mean_of(sums) for name, sums in others.items()}
    every = {name: mean for name, mean in known.items() if mean is not None}
    return Units(choice, units, every, means if callable(choice) else {}, shares)


def _usable(outputs: Named, images: int) -> dict[str, Tensor]:
    """Those that could be measured, though they do not count."""
    return {
        name: of
        for name, of in outputs.items()
        if is_batch(of, images) and first_broken(of) is None
    }


def _add(sums: dict[str, Sums], outputs: Named) -> None:
    for name, output in outputs.items():
        part = Sums.of(output).total()
        sums[name] = Sums.joined([sums[name], part]).total() if name in sums else part
