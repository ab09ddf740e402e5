"""What outputs are worth beside the uncompressed network's: figures of tensors, and their means.

docs/method.md, "Measures".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..network.outputs import Named, told
from .snr import OutputNoise, fits, image_snr_db

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


RESAMPLES = 1000


def bootstrap_interval(figures: Sequence[float]) -> list[float]:
    """95 % percentile interval [low, high] of a mean over images, drawn anew (Efron 1979).

    The same whatever the order of the images is.
    """
    values = torch.tensor(sorted(figures), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    count = len(values)
    means = [
        values[torch.randint(count, (count,), generator=generator)].mean() for _ in range(RESAMPLES)
    ]
    return torch.quantile(torch.stack(means), torch.tensor([0.025, 0.975]).double()).tolist()


FIGURES = ("top1", "top5", "agreement", "kl", "snr_db_image")  # that each image has


@dataclass
class Measures:
    """Collects the figures of each image; `summary` averages them.

    means: m of outputs by name (`fmtc.evaluation.snr`); of those that are not there, or are of
    another size, it is that over the images collected.
    agreement, kl: of the first output that is a classifier's, [n, classes]; top1: where there are
    labels; top5: with more than five classes. snr_db_image: of the first output, where it is
    defined. outputs: signal and noise of each, by name.
    """

    means: Mapping[str, Tensor] = field(default_factory=dict)
    images: int = 0
    top1: list[bool] = field(default_factory=list)
    top5: list[bool] = field(default_factory=list)
    agreement: list[bool] = field(default_factory=list)
    kl: list[float] = field(default_factory=list)
    snr_db_image: list[float] = field(default_factory=list)
    outputs: dict[str, OutputNoise] = field(default_factory=dict)

    def add(self, outputs: Named, references: Named, labels: Tensor | None) -> None:
        """One batch: outputs and references [n, ...] by name, labels int64 [n] or None.

        ValueError: a label that the output has no class for, outputs of other names or shapes.
        """
        _check_alike(outputs, references)
        first = next(iter(outputs))
        self.images += len(outputs[first])
        name = classifier(outputs)
        if name is not None:
            output, reference = outputs[name], references[name]
            if labels is not None:
                self._add_accuracy(output, labels)
            self.agreement += (output.argmax(dim=1) == reference.argmax(dim=1)).tolist()
            self.kl += kl_divergence(reference, output).tolist()
        found = image_snr_db(references[first], outputs[first]).tolist()
        self.snr_db_image += [snr for snr in found if not math.isnan(snr)]
        for name, reference in references.items():
            if name not in self.outputs:
                mean = self.means.get(name)
                if outputs is references:  # there is no noise, and any signal will do
                    mean = reference.new_zeros(())
                fitting = mean is not None and fits(mean, reference)
                self.outputs[name] = OutputNoise(mean if fitting else None)
            self.outputs[name].add(reference, outputs[name])

    def merge(self, other: Measures) -> Measures:
        """Take in the figures of other images; gives itself."""
        self.images += other.images
        for figure in FIGURES:
            setattr(self, figure, getattr(self, figure) + getattr(other, figure))
        for name, noise in other.outputs.items():
            self.outputs[name] = self.outputs[name].merge(noise) if name in self.outputs else noise
        return self

    def summary(self) -> dict[str, Any]:
        """Means over the images; None for what could not be measured.

        top1, top5 and agreement are shares 0...1; kl in nats; top1_interval and kl_interval are
        [low, high]; snr_db is that of the worst output.
        """
        interval = wilson_interval(sum(self.top1), len(self.top1)) if self.top1 else None
        outputs = {name: noise.snr_db() for name, noise in self.outputs.items()}
        known = [snr for snr in outputs.values() if snr is not None]
        return {
            "top1": _mean(self.top1),
            "top1_interval": interval,
            "top5": _mean(self.top5),
            "agreement": _mean(self.agreement),
            "kl": _mean(self.kl),
            "kl_interval": bootstrap_interval(self.kl) if self.kl else None,
            "snr_db": min(known, default=None),
            "snr_db_image": _mean(self.snr_db_image),
            "outputs": [{"name": name, "snr_db": snr} for name, snr in outputs.items()],
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


def classifier(outputs: Named) -> str | None:
    """The first output that is a classifier's, [n, classes]; None where there is none."""
    return next((name for name, of in outputs.items() if of.dim() == 2 and of.shape[1] > 1), None)


def _check_alike(outputs: Named, references: Named) -> None:
    if outputs.keys() != references.keys():
        raise ValueError(
            f"the model's outputs are {', '.join(outputs)}, the reference's are "
            f"{', '.join(references)}: give both the same outputs="
        )
    for name, output in outputs.items():
        if references[name].shape != output.shape:
            raise ValueError(
                f"the model's {told(name)} is {list(output.shape)}, the reference's "
                f"{list(references[name].shape)}: they are not the same network on the same images"
            )


def _mean(figures: Sequence[float]) -> float | None:
    return math.fsum(figures) / len(figures) if figures else None
