"""The one place that measures: accuracy, agreement, divergence and noise of a network's outputs.

`evaluate` runs a plain or a compressed model over a dataset and returns one point of the result
schema ("fmtc.result/2", see `fmtc.result`). The reference is always the uncompressed network; a
`Reference` holds its outputs, so that the points of a curve share one run of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..model.points import Counted
from . import distributed

SNR_CAP_DB = 200.0
Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution

RATES = ("entropy", "entropy_classes", "cross_entropy", "huffman", "stream")
LAYER_KEYS = ("name", "shape", "components", "values", "reads", "step", "mse", "bits_per_value")

Batch = tuple[Tensor, Tensor | None]


class Reference:
    """Outputs of the uncompressed network on one dataset, computed once.

    Attributes: `outputs` one CPU tensor an image (only outputs are kept, never images or feature
    maps); `measures` of the network compared with itself; `seconds` in its forward passes;
    `top1`, `top5` fractions or None; `images` how many there are.
    sharded: `data` is this process's share of the images (`fmtc.distributed`); all figures, also
    of what is evaluated against this reference, are those of all processes, which must take part.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        *,
        batch: int = 25,
        progress: bool = False,
        sharded: bool = False,
    ) -> None:
        self.sharded = sharded
        self.measures = Measures()
        self.outputs: list[Tensor] = []
        self.seconds = 0.0
        for output, labels, seconds in _run(model, data, batch, progress, "uncompressed"):
            self.measures.add(output, output, labels)
            self.outputs += output.unbind()
            self.seconds += seconds
        if sharded:
            self.measures, self.seconds = _of_all_processes(self.measures, self.seconds)
        self.images = self.measures.images
        summary = self.measures.summary()
        self.top1: float | None = summary["top1"]
        self.top5: float | None = summary["top5"]


class Measures:
    """Collects the figures of each image; `summary` averages them."""

    def __init__(self) -> None:
        self.images = 0
        self.top1: list[bool] = []
        self.top5: list[bool] = []
        self.agreement: list[bool] = []
        self.kl: list[float] = []
        self.snr_db: list[float] = []

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
        defined = (snr for snr in snr_db(reference, output).tolist() if not math.isnan(snr))
        self.snr_db += defined

    def merge(self, other: Measures) -> Measures:
        """Take in the figures of other images."""
        for name, figures in vars(other).items():
            setattr(self, name, getattr(self, name) + figures)
        return self

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

    def summary(self) -> dict[str, Any]:
        """Means over the images; None for what could not be measured."""
        interval = wilson_interval(sum(self.top1), len(self.top1)) if self.top1 else None
        return {
            "top1": _mean(self.top1),
            "top1_interval": interval,
            "top5": _mean(self.top5),
            "agreement": _mean(self.agreement),
            "kl": _mean(self.kl),
            "snr_db": _mean(self.snr_db),
        }


def evaluate(
    model: nn.Module,
    data: Any,
    *,
    reference: Reference | nn.Module | None = None,
    batch: int = 25,
    mode: str | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Measure a model on a dataset: one point of the result schema, as a dictionary.

    model: a `CompressedModel`, whose statistics are reset first and then reported, or any module,
        whose rates are None.
    data: a `fmtc.data.Dataset`; images [N,...]; (images, labels int64 [N]); or batches of either
        that can be gone through more than once (a DataLoader, a list).
    reference: the uncompressed network or its `Reference` on the same data. Default: the
        compressed model's own; a plain model is its own reference.
    batch: images at a time, where `data` does not bring its own batches. No figure depends on it.
    mode: "stream" or "simulate" for this evaluation; None keeps the compressed model's mode.
    progress: show a progress bar where it takes longer than 2 s.

    Accuracies are fractions; they are None without labels or where the output is not [n, classes].
    Outputs that are tuples or dictionaries count by their first tensor. `seconds.evaluate` is the
    time in the forward passes, without reading images. ValueError: no images, outputs with
    NaN/Inf, a label out of range, data that can be read only once.
    """
    compressed = hasattr(model, "reset_statistics")
    if compressed and (mode or model.mode) == "float":
        raise ValueError("mode 'float' codes nothing to measure; use 'stream' or 'simulate'")
    if not isinstance(reference, Reference):
        uncompressed = reference or (model.reference if compressed else model)
        reference = Reference(uncompressed, data, batch=batch, progress=progress)
        if uncompressed is model:
            return _point(reference.measures, reference.seconds)
    if not compressed:
        return _point(*_measure(model, data, reference, batch, progress))
    with _mode(model, mode):
        model.reset_statistics()
        point = _point(*_measure(model, data, reference, batch, progress))
        if reference.sharded:
            for coded in model.points.values():
                coded.counted = Counted.sum(distributed.gathered(coded.counted))
        return _with_coding(point, model)


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


def first_tensor(output: Any) -> Tensor:
    """The output itself, or the first tensor in a tuple, list or dictionary of outputs."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and output:
        return first_tensor(next(iter(output.values())))
    if isinstance(output, Sequence) and output and not isinstance(output, str):
        return first_tensor(output[0])
    raise ValueError(f"the model's output has no tensor to measure: {type(output).__name__}")


def _is_classifier(output: Tensor) -> bool:
    return output.dim() == 2 and output.shape[1] >= 2


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def _measure(
    model: nn.Module, data: Any, reference: Reference, batch: int, progress: bool
) -> tuple[Measures, float]:
    """Run the model and compare it image by image; also the seconds in its forward passes."""
    measures, done, total = Measures(), 0, 0.0
    for output, labels, seconds in _run(model, data, batch, progress, "evaluate"):
        expected = reference.outputs[done : done + len(output)]
        if len(expected) < len(output):
            raise ValueError(f"the reference covers {len(reference.outputs)} images, the data more")
        measures.add(output, torch.stack(expected), labels)
        done += len(output)
        total += seconds
    if done != len(reference.outputs):
        raise ValueError(f"the reference covers {len(reference.outputs)} images, the data {done}")
    return _of_all_processes(measures, total) if reference.sharded else (measures, total)


def _of_all_processes(measures: Measures, seconds: float) -> tuple[Measures, float]:
    """Measures of all shares together, and the time of the slowest process."""
    everything = distributed.gathered((measures, seconds))
    return (
        reduce(Measures.merge, (part for part, _ in everything), Measures()),
        max(seconds for _, seconds in everything),
    )


@torch.no_grad()
def _run(
    model: nn.Module, data: Any, batch: int, progress: bool, what: str
) -> Iterator[tuple[Tensor, Tensor | None, float]]:
    """Yield (output on the CPU, labels, seconds in the model) for each batch."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    total = len(data) if hasattr(data, "batches") else None
    done = 0
    with (
        _eval_mode(model),
        tqdm(total=total, desc=what, unit="img", delay=2, leave=False, disable=not progress) as bar,
    ):
        for images, labels in _batches(data, batch):
            images = images.to(device)
            start = time.perf_counter()
            output = first_tensor(model(images)).cpu()
            seconds = time.perf_counter() - start
            if output.dim() == 0 or len(output) != len(images):
                raise ValueError(
                    f"the model's output is {list(output.shape)} for {len(images)} images; its "
                    "first dimension must be the batch"
                )
            if not output.isfinite().all():
                last = done + len(images) - 1
                raise ValueError(f"the model's output for images {done}...{last} has NaN or Inf")
            yield output, labels, seconds
            done += len(images)
            bar.update(len(images))
    if not done:
        raise ValueError("there are no images to evaluate")


def _batches(data: Any, batch: int) -> Iterable[Batch]:
    """(images, labels or None) batches of everything that `evaluate` takes as data."""
    if hasattr(data, "batches"):
        yield from data.batches(batch)
    elif isinstance(data, Tensor):
        yield from ((images, None) for images in data.split(batch))
    elif _is_pair(data):
        images, labels = data
        if len(images) != len(labels):
            raise ValueError(f"there are {len(images)} images and {len(labels)} labels")
        yield from zip(images.split(batch), labels.split(batch), strict=True)
    elif isinstance(data, Iterator):
        raise ValueError("data is read more than once; pass a list, a DataLoader or a Dataset")
    else:
        yield from (part if _is_pair(part) else (first_tensor(part), None) for part in data)


def _is_pair(data: Any) -> bool:
    return (
        isinstance(data, (tuple, list))
        and len(data) == 2
        and isinstance(data[0], Tensor)
        and isinstance(data[1], Tensor)
        and data[1].dim() == 1
        and not data[1].is_floating_point()
    )


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Evaluate as trained, and leave the user's model as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _mode(model: nn.Module, mode: str | None) -> Iterator[None]:
    before = model.mode
    model.mode = before if mode is None else mode
    try:
        yield
    finally:
        model.mode = before


def _point(measures: Measures, seconds: float | None) -> dict[str, Any]:
    """A point for an uncompressed model: None for all that it does not have."""
    return {
        "preset": None,
        "weight_bits": None,
        "setting": None,
        "block": None,
        "coder": None,
        "mode": None,
        **measures.summary(),
        "values": None,
        "clamped_fraction": None,
        "bits_per_value": _rates({}),
        "joules_per_image": _rates({}),
        "multiply_adds": {"plain": None, "compressed": None},
        "seconds": {"calibrate": None, "evaluate": seconds},
        "layers": [],
    }


def _with_coding(point: dict[str, Any], compressed: Any) -> dict[str, Any]:
    """The point of a `CompressedModel`: how it codes and what the report counted."""
    report = compressed.report()
    return point | {
        "preset": compressed.preset,
        "weight_bits": compressed.weight_bits,
        "setting": dict(compressed.setting),
        "block": compressed.block,
        "coder": compressed.coder,
        "mode": compressed.mode,
        "values": report.values,
        "clamped_fraction": report.clamped_fraction,
        "bits_per_value": _rates(report.bits_per_value),
        "joules_per_image": _rates(report.joules_per_image),
        "multiply_adds": dict(compressed.multiply_adds),
        "seconds": {
            "calibrate": compressed.seconds_calibrate,
            "evaluate": point["seconds"]["evaluate"],
        },
        "layers": [_layer(layer) for layer in report.layers],
    }


def blank_point(compressed: Any) -> dict[str, Any]:
    """A `CompressedModel`'s point in mode "stream", with None for all that a run would measure."""
    point = _with_coding(_point(Measures(), None), compressed)
    layers = [layer | {"values": 0, "bits_per_value": _rates({})} for layer in point["layers"]]
    return point | {
        "mode": "stream",
        "values": None,
        "clamped_fraction": None,
        "bits_per_value": _rates({}),
        "joules_per_image": _rates({}),
        "layers": layers,
    }


def _layer(layer: Mapping[str, Any]) -> dict[str, Any]:
    entry = {key: layer[key] for key in LAYER_KEYS}
    entry["shape"] = list(entry["shape"])
    entry["bits_per_value"] = _rates(entry["bits_per_value"])
    return entry


def _rates(bits_per_value: Mapping[str, float | None]) -> dict[str, float | None]:
    return {rate: bits_per_value.get(rate) for rate in RATES}
