"""Where to code, and what to expect: choices of preset fmtc before calibration.

docs/method.md, "Sides of an activation".

With a step d for everything, in units of what an error does to the output, a component of variance
s > d^2/12 costs log2(s / (d^2/12)) / 2 bits and leaves the error d^2/12, any other one nothing and
leaves its variance: reverse water-filling.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch

from ..codec.transform import metric_root
from ..network.groups import Group
from .sensitivity import Sensitivity

LEAST_RHO = 0.003


def consumer_metric(weights: Iterable[torch.Tensor]) -> torch.Tensor | None:
    """Sum of W^T W over the weights [O, C, kh, kw] of convolutions that take the inverse transform.

    What they do not see cannot matter. f64 [C, C]; None where there are no such convolutions.
    """
    total = None
    for weight in weights:
        weight = weight.detach().double()
        seen = torch.einsum("oihw,ojhw->ij", weight, weight)
        total = seen if total is None else total + seen
    return total


def regularized(
    metric: torch.Tensor, background: torch.Tensor | None, share: float, probes: int
) -> torch.Tensor:
    """metric + rho of its trace in the shape of ``background`` (f64 [C, C], None: identity).

    A metric of few probes says little of many directions: rho = share R / probes with R the rank of
    the background and ``probes`` the gradients of which the metric is the mean.
    """
    rank = len(metric)
    if background is None or not background.trace() > 0:
        background = torch.eye(rank, dtype=metric.dtype, device=metric.device)
    else:
        rank = int(torch.linalg.matrix_rank(background, hermitian=True))
    rho = min(max(share * rank / probes, LEAST_RHO), 1.0)
    return metric + rho * metric.trace() / background.trace() * background


@dataclass
class Spectrum:
    """A tensor as its weighted transform sees it.

    variances: f64 [R] of its components, in squared units of what they do to the output.
    positions: pixels of one image; channels: C.
    """

    variances: torch.Tensor
    positions: float
    channels: int

    @classmethod
    def of(cls, sensitivity: Sensitivity, metric: torch.Tensor) -> Spectrum:
        root, _ = metric_root(metric)
        variances = torch.linalg.eigvalsh(root @ sensitivity.covariance @ root.T)
        return cls(variances.clamp(min=0), sensitivity.positions, len(metric))

    def bits(self, step: float) -> float:
        """Expected bits of an image."""
        noise = step**2 / 12
        return self.positions * float((0.5 * (self.variances / noise).clamp(min=1).log2()).sum())

    def error(self, step: float) -> float:
        """Expected squared error of the outputs, in units of their deviations."""
        return self.positions * float(self.variances.clamp(max=step**2 / 12).sum())

    def cost(self, step: float) -> float:
        """Bits, and the error in bits at the exchange rate of the step."""
        noise = step**2 / 12
        return self.bits(step) + self.error(step) / (2 * math.log(2) * noise)


def choose_sides(
    groups: list[Group], spectra: dict[tuple[str, str], Spectrum], step: float
) -> None:
    """Code each group on the side of its activation that is expected to cost less."""
    for group in groups:
        known = [side for side in group.sides if (group.name, side) in spectra]
        if known and not group.excluded:
            group.side = min(known, key=lambda side: spectra[group.name, side].cost(step))


def expected(spectra: list[Spectrum], step: float) -> tuple[float, float]:
    """Rate in bits/value and SNR in dB of a network coded at ``step``, roughly.

    Noise and signal are those of `fmtc.evaluation.snr`: errors of the outputs relative to their
    deviations from the calibration images' means. Of several outputs it is the mean of these with
    their shares, which is each one's where they are balanced (`fmtc.calibration.balance`).
    """
    values = sum(s.positions * s.channels for s in spectra)
    if not values:  # all layers are left out
        return 0.0, math.inf
    error = sum(s.error(step) for s in spectra)
    return sum(s.bits(step) for s in spectra) / values, -10 * math.log10(max(error, 1e-20))
