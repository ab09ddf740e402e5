"""What the uncompressed network makes of images, remembered by what is in them."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..network.outputs import (
    Choice,
    Named,
    as_choice,
    check_batch,
    chosen_outputs,
    first_broken,
    told,
)
from ..network.view import float_type
from ..progress import Progress, stage
from . import distributed
from .batches import InputFn, batches, count
from .measures import Measures
from .packed import for_model


class Reference:
    """The outputs of the uncompressed network, each computed once: a memory by image content.

    An image is known by its values, type and shape, so that `evaluate` compares each image with
    its own output whatever the order in which it comes, and the points of a curve share one run of
    the network. Only outputs are kept, never images or feature maps. Threads can share it.

    Args:
        model: The uncompressed network.
        data: Anything that `evaluate` takes: the network runs over it at once. None: it runs when
            images are first asked for.
        batch: Images at a time, where the data does not bring its own batches.
        progress: As for `evaluate`.
        sharded: ``data`` is this process's share of the images (``fmtc.evaluation.distributed``);
            all figures, also of what is evaluated against this reference, are those of all
            processes, which must take part.
        input_fn: As for `evaluate`.
        outputs: Which of the network's outputs count: names or patterns of them, or a function that
            takes the whole output to a tensor, a tuple or a dictionary of tensors; None: all.

    Attributes:
        choice: What was given as outputs.
        seconds: In the network's forward passes.
        measures: Of the network compared with itself, over ``data``.
        top1: Of ``data``, as a share, None without labels.
        top5: Of ``data``, as a share, None without labels.

    Raises:
        ValueError: No images, outputs with NaN or Inf, a label out of range, and what ``batches``
            says.

    Example:
        >>> reference = fmtc.Reference(model, (images, labels))
        >>> reference.images
        8
        >>> point = fmtc.evaluate(compressed, (images, labels), reference=reference)
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
        outputs: str | Iterable[str] | Callable[[Any], Any] | None = None,
    ) -> None:
        if data is not None:
            model, data, input_fn = for_model(model, data, input_fn)
        self.model, self.sharded = model, sharded
        self.choice: Choice = as_choice(outputs)
        self.seconds = 0.0
        self.measures = Measures()
        self._outputs: dict[bytes, dict[str, Tensor]] = {}
        self._lock = threading.Lock()
        if data is not None:
            self._run_over(data, batch, progress, input_fn)
        summary = self.measures.summary()
        self.top1: float | None = summary["top1"]
        self.top5: float | None = summary["top5"]

    @property
    def images(self) -> int:
        """How many images ``data`` has."""
        return self.measures.images

    @property
    def outputs(self) -> list[dict[str, Tensor]]:
        """CPU tensors by name for each different image, in the order first seen."""
        with self._lock:
            return list(self._outputs.values())

    def outputs_of(self, images: Tensor, first: int = 0) -> dict[str, Tensor]:
        """The network's outputs for images; it runs on those alone that have not been seen.

        Args:
            images: [n, C, H, W].
            first: Number of the first, for errors.

        Returns:
            Outputs [n, ...] by name, on the CPU.

        Raises:
            ValueError: An output with NaN or Inf.
        """
        keys = [_content(image) for image in images.cpu()]
        with self._lock:
            known = {key: self._outputs[key] for key in keys if key in self._outputs}
        new = [index for index, key in enumerate(keys) if key not in known]
        if new:
            unseen = images if len(new) == len(keys) else images[new]
            numbers = [first + index for index in new]
            made, seconds = run(self.model, unseen, numbers, self.choice)
            with self._lock:
                self.seconds += seconds
                for place, index in enumerate(new):
                    output = {name: tensor[place] for name, tensor in made.items()}
                    # Another thread may have been first: all compare with the same output.
                    known[keys[index]] = self._outputs.setdefault(keys[index], output)
        names = known[keys[0]]
        return {name: torch.stack([known[key][name] for key in keys]) for name in names}

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
def run(
    model: nn.Module, images: Tensor, numbers: Sequence[int], choice: Choice = None
) -> tuple[dict[str, Tensor], float]:
    """A model's outputs [n, ...] by name of images [n, C, H, W], on the CPU, and the seconds.

    choice: which of them. The model runs in evaluation mode, on its own device, in its own type.
    numbers: of the images, for errors. ValueError: none that could be measured, or one that is no
    [n, ...] or has NaN or Inf, by its name.
    """
    tensors = chain(model.parameters(), model.buffers())
    device = next((tensor.device for tensor in tensors), torch.device("cpu"))
    images = images.to(device, float_type(model), copy=True)  # many a model changes them
    with evaluating(model):
        start = time.perf_counter()
        made = chosen_outputs(model(images), choice)
        outputs = {name: output.cpu() for name, output in made.items()}
        seconds = time.perf_counter() - start
    check_batch(outputs, len(images))
    check_finite(outputs, type(model).__name__, numbers)
    return outputs, seconds


def check_finite(outputs: Named, model: str, numbers: Sequence[int]) -> None:
    """ValueError that names an output and an image of which it has NaN or Inf."""
    for name, output in outputs.items():
        broken = first_broken(output)
        if broken is not None:
            raise ValueError(
                f"the {told(name)} of {model} for image {numbers[broken]} has NaN or Inf"
            )


def of_all_processes(measures: Measures, seconds: float) -> tuple[Measures, float]:
    """Measures of all shares of the images together, and the time of the slowest process."""
    total, slowest = Measures(measures.means), 0.0
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
