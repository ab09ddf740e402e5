"""What outputs are worth beside the uncompressed network's: figures of tensors, and their means.

docs/method.md, "Measures".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from torch import Tensor

SNR_CAP_DB = 200.0
Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


def wilson_interval(successes: int, trials: int) -> list[float]:
    """95 % Wilson score interval [low, high] of a proportion (Wilson 1927)."""
    share = successes / trials
    scale = 1 / (1 + Z_95**2 / trials)
    centre = (share + Z_95**2 / (2 * trials)) * scale
    half = Z_95 * math.sqrt(share * (1 - share) / trials + Z_95**2 / (4 * trials**2)) * scale
    return [max(0.0, centre - half), min(1.0, centre + half)]


def kl_divergence(reference: Tensor, output: Tensor) -> Tensor:
    """KL(softmax reference || softmax output) in nats: logits [n, classes] -> float64 [n]."""
    p = reference.double().log_softmax(dim=1)
    q = output.double().log_softmax(dim=1)
    return (p.exp() * (p - q)).sum(dim=1).clamp(min=0.0)


def snr_db(reference: Tensor, output: Tensor) -> Tensor:
    """10 log10(||ref - mean(ref)||^2 / ||out - ref||^2) of each image, at most 200 dB.

    [n, ...] -> float64 [n]; NaN where it is not defined, the reference being constant and the
    output another.
    """
    reference = reference.double().flatten(1)
    noise = (output.double().flatten(1) - reference).square().sum(dim=1)
    signal = (reference - reference.mean(dim=1, keepdim=True)).square().sum(dim=1)
    decibels = (10 * (signal.log10() - noise.log10())).clamp(max=SNR_CAP_DB)
    decibels[signal == 0] = math.nan
    decibels[noise == 0] = SNR_CAP_DB
    return decibels


@dataclass
class Measures:
    """Collects the figures of each image; `summary` averages them.

    agreement, kl: of classifiers, whose output is [n, classes]; top1: of those with labels; top5:
    with more than five classes. snr_db: where it is defined.
    """

    images: int = 0
    top1: list[bool] = field(default_factory=list)
    top5: list[bool] = field(default_factory=list)
    agreement: list[bool] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    snr_db: list[float] = field(default_factory=list)

    def add(self, output: Tensor, reference: Tensor, labels: Tensor | None) -> None:
        """One batch: output and reference [n, ...], labels int64 [n] or None.

        ValueError: a label that the output has no class for, outputs of different shapes.
        """
        self.images += len(output)
        if reference.shape != output.shape:
            raise ValueError(
                f"the model's output is {list(output.shape)}, the reference's "
                f"{list(reference.shape)}: they are not the same network on the same images"
            )
        if _is_classifier(output):
            if labels is not None:
                self._add_accuracy(output, labels)
            self.agreement += (output.argmax(dim=1) == reference.argmax(dim=1)).tolist()
            self.kl += kl_divergence(reference, output).tolist()
        self.snr_db += [snr for snr in snr_db(reference, output).tolist() if not math.isnan(snr)]

    def merge(self, other: Measures) -> Measures:
        """Take in the figures of other images; gives itself."""
        for figure in fields(self):
            setattr(self, figure.name, getattr(self, figure.name) + getattr(other, figure.name))
        return self

    def summary(self) -> dict[str, Any]:
        """Means over the images; None for what could not be measured.

        top1, top5 and agreement are shares 0...1, top1_interval is [low, high]; kl in nats.
        """
        interval = wilson_interval(sum(self.top1), len(self.top1)) if self.top1 else None
        return {
            "top1": _mean(self.top1),
            "top1_interval": interval,
            "top5": _mean(self.top5),
            "agreement": _mean(self.agreement),
            "kl": _mean(self.kl),
            "snr_db": _mean(self.snr_db),
        }

    def _add_accuracy(self, output: Tensor, labels: Tensor) -> None:
        classes = output.shape[1]
        outside = labels[(labels < 0) | (labels >= classes)]
        if len(outside):
            raise ValueError(
                f"label {outside[0].item()} is outside 0...{classes - 1}: the model has "
                f"{classes} classes"
            )
        self.top1 += (output.argmax(dim=1) == labels).tolist()
        if classes > 5:  # among five classes the top five are always right
            best = output.topk(5, dim=1).indices
            self.top5 += (best == labels[:, None]).any(dim=1).tolist()


def _is_classifier(output: Tensor) -> bool:
    return output.dim() == 2 and output.shape[1] > 1


def _mean(figures: Sequence[float]) -> float | None:
    return math.fsum(figures) / len(figures) if figures else None
