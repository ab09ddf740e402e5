"""What the uncompressed network makes of images, remembered by what is in them."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..network.outputs import first_tensor
from ..progress import Progress, stage
from . import distributed
from .batches import InputFn, batches, count
from .measures import Measures


class Reference:
    """The outputs of the uncompressed network, each computed once: a memory by image content.

    An image is known by its values, type and shape, so that `evaluate` compares each image with
    its own output whatever the order in which it comes, and the points of a curve share one run of
    the network. Only outputs are kept, never images or feature maps. Threads can share it.

    With ``data`` (anything that `evaluate` takes) the network runs over it at once; without, when
    images are first asked for.

    Attributes: ``outputs``, one CPU tensor for each different image in the order first seen;
    ``seconds`` in the network's forward passes. Of ``data``: ``images``, how many it has;
    ``measures`` of the network compared with itself; ``top1``, ``top5`` as shares, None without
    labels.

    batch: images at a time, where the data does not bring its own batches. progress, input_fn: as
    for `evaluate`. sharded: ``data`` is this process's share of the images
    (`fmtc.evaluation.distributed`); all figures, also of what is evaluated against this reference,
    are those of all processes, which must take part.
    ValueError: no images, outputs with NaN or Inf, a label out of range, and what `batches` says.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any = None,
        *,
        batch: int = 25,
        progress: Progress = False,
        sharded: bool = False,
        input_fn: InputFn | None = None,
    ) -> None:
        self.model, self.sharded = model, sharded
        self.seconds = 0.0
        self.measures = Measures()
        self._outputs: dict[bytes, Tensor] = {}
        self._lock = threading.Lock()
        if data is not None:
            self._run_over(data, batch, progress, input_fn)
        summary = self.measures.summary()
        self.top1: float | None = summary["top1"]
        self.top5: float | None = summary["top5"]

    @property
    def images(self) -> int:
        return self.measures.images

    @property
    def outputs(self) -> list[Tensor]:
        with self._lock:
            return list(self._outputs.values())

    def outputs_of(self, images: Tensor, first: int = 0) -> Tensor:
        """The network's outputs [n, ...] of images [n, C, H, W], on the CPU.

        It runs on those images alone that have not been seen. first: number of the first, for
        errors. ValueError: an output with NaN or Inf.
        """
        keys = [_content(image) for image in images.cpu()]
        with self._lock:
            known = {key: self._outputs[key] for key in keys if key in self._outputs}
        new = [index for index, key in enumerate(keys) if key not in known]
        if new:
            unseen = images if len(new) == len(keys) else images[new]
            made, seconds = run(self.model, unseen, [first + index for index in new])
            with self._lock:
                self.seconds += seconds
                for index, output in zip(new, made.unbind(), strict=True):
                    # Another thread may have been first: all compare with the same output.
                    known[keys[index]] = self._outputs.setdefault(keys[index], output)
        return torch.stack([known[key] for key in keys])

    def _run_over(
        self, data: Any, batch: int, progress: Progress, input_fn: InputFn | None
    ) -> None:
        with stage(progress, "uncompressed", count(data), "img") as advance:
            for images, labels in batches(data, batch, input_fn):
                outputs = self.outputs_of(images, self.measures.images)
                self.measures.add(outputs, outputs, labels)
                advance(len(images))
        if self.sharded:
            self.measures, self.seconds = of_all_processes(self.measures, self.seconds)


@torch.no_grad()
def run(model: nn.Module, images: Tensor, numbers: Sequence[int]) -> tuple[Tensor, float]:
    """A model's output [n, ...] of images [n, C, H, W], on the CPU, and the seconds that took.

    The first tensor, where there are several. The model runs in evaluation mode, on its own device.
    numbers: of the images, for errors. ValueError: an output that has no tensor, no [n, ...], or
    NaN or Inf.
    """
    tensors = chain(model.parameters(), model.buffers())
    device = next((tensor.device for tensor in tensors), torch.device("cpu"))
    images = images.to(device, copy=True)  # many a model changes them
    with evaluating(model):
        start = time.perf_counter()
        output = first_tensor(model(images)).cpu()
        seconds = time.perf_counter() - start
    if output.dim() == 0 or len(output) != len(images):
        raise ValueError(
            f"the model's output is {list(output.shape)} for {len(images)} images; its first "
            "dimension must be the batch"
        )
    if not output.isfinite().all():
        finite = output.flatten(1).isfinite().all(dim=1) if output.dim() > 1 else output.isfinite()
        broken = numbers[int(finite.logical_not().nonzero()[0])]
        raise ValueError(f"the output of {type(model).__name__} for image {broken} has NaN or Inf")
    return output, seconds


def of_all_processes(measures: Measures, seconds: float) -> tuple[Measures, float]:
    """Measures of all shares of the images together, and the time of the slowest process."""
    total, slowest = Measures(), 0.0
    for part, took in distributed.gathered((measures, seconds)):
        total, slowest = total.merge(part), max(slowest, took)
    return total, slowest


_entered: dict[nn.Module, tuple[int, list[nn.Module]]] = {}
_entering = threading.Lock()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """In evaluation mode while entered, and afterwards as it was; several threads may enter."""
    with _entering:
        times, training = _entered.get(model) or (0, [m for m in model.modules() if m.training])
        if not times:
            model.eval()
        _entered[model] = times + 1, training
    try:
        yield
    finally:
        with _entering:
            times, training = _entered.pop(model)
            if times > 1:
                _entered[model] = times - 1, training
            else:
                for module in training:
                    module.training = True


def _content(image: Tensor) -> bytes:
    """A key of an image's values, type and shape."""
    digest = hashlib.blake2b(f"{image.dtype} {list(image.shape)}".encode(), digest_size=16)
    digest.update(image.detach().contiguous().view(torch.uint8).numpy().data)
    return digest.digest()
