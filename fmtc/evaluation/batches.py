"""Images as users have them: the one place that understands what is given as data.

That is one of

- a `fmtc.data.datasets.Dataset`, or whatever has ``batches(n)`` as it does;
- a tensor of images [N, C, H, W], or images with their labels: (images, labels), or a dictionary;
  vectors [N, C], sequences [N, C, L] or [N, L, C] and films [N, C, T, H, W] are images here, too;
- an iterable of batches, such as a DataLoader, a list or a generator: each a tensor, (images,
  labels) or a dictionary. What of them is images is known by the keys in IMAGE_KEYS, labels by
  those in LABEL_KEYS.

Any other shape of batch is made one of these by ``input_fn``. Images are floating point,
preprocessed as for the network; labels are class indices [N], in a tensor, an array or a list.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

IMAGE_KEYS = ("images", "image", "pixel_values", "input", "x")
LABEL_KEYS = ("labels", "label", "target", "y")

RANKS = (2, 3, 4, 5)  # of batches: vectors, sequences, images, volumes and films

Batch: TypeAlias = tuple[Tensor, "Tensor | None"]
InputFn = Callable[[Any], Any]

_INPUT_FN = "input_fn=lambda batch: (batch[...], batch[...])"


@runtime_checkable
class Batched(Protocol):
    """What brings its own batches, of a size to be chosen."""

    def batches(self, batch: int, /) -> Iterable[Any]: ...


def batches(data: Any, size: int, input_fn: InputFn | None = None) -> Iterator[Batch]:
    """Go through data once: (images [n, C, H, W], labels int64 [n] on the CPU, or None) each time.

    size: images of a batch, where the data does not bring batches of its own.
    input_fn: batch -> images or (images, labels), applied to each batch first.
    ValueError, when it is come to: no images at all; something that is no batch; images and labels
    of different lengths; labels that are no class indices; a dictionary in which images or labels
    are not found.
    """
    for part, labels, where in _read(data, size, input_fn, with_labels=True):
        yield part, None if labels is None else _labels(labels, len(part), where)


def images(data: Any, size: int, input_fn: InputFn | None = None) -> Iterator[Tensor]:
    """The images [n, C, H, W] of `batches`, whatever stands beside them."""
    for part, _, _ in _read(data, size, input_fn, with_labels=False):
        yield part


def count(data: Any) -> int | None:
    """How many images there are, for a progress bar; None where that is not known before."""
    if isinstance(data, (Batched, Tensor, np.ndarray)):
        return len(data) if isinstance(data, Sized) else None
    if _is_pair(data):
        return len(data[0])
    if isinstance(data, DataLoader) and data.batch_size is not None and not data.drop_last:
        return len(data.sampler) if isinstance(data.sampler, Sized) else None
    return None


def _read(
    data: Any, size: int, input_fn: InputFn | None, *, with_labels: bool
) -> Iterator[tuple[Tensor, Any, str]]:
    """Images, labels as they are given, and what to call the batch in an error."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f"a batch must hold at least 1 image, not {size!r}")
    some = False
    for index, batch in enumerate(_given(data, size, with_labels, checked=input_fn is None)):
        where = f"batch {index}"
        if input_fn is not None:
            batch, where = input_fn(batch), f"what input_fn made of batch {index}"
        part, labels = _parts(batch, where, with_labels)
        if len(part):
            some = True
            yield part, labels, where
    if not some:
        once = ", or they have been read already: a generator can be only once"
        raise ValueError(f"there are no images{once if isinstance(data, Iterator) else ''}")


def _given(data: Any, size: int, with_labels: bool, checked: bool) -> Iterator[Any]:
    """Batches, as the data brings them or split off it.

    checked: what is split are images, which is only known where no input_fn comes in between.
    """
    if isinstance(data, Batched):
        return iter(data.batches(size))
    if isinstance(data, (Tensor, np.ndarray)):
        return iter((_images(data, "data") if checked else torch.as_tensor(data)).split(size))
    if _is_pair(data) or isinstance(data, Mapping):
        whole, labels = _parts(data, "data", with_labels)
        if labels is None or not with_labels or not len(whole):
            return iter(whole.split(size))
        split = _labels(labels, len(whole), "data").split(size)
        return zip(whole.split(size), split, strict=True)
    if isinstance(data, (str, os.PathLike)):
        raise ValueError(
            f"data: expected images, got the path {str(data)!r}; "
            "fmtc.data.datasets.open_dataset opens it"
        )
    try:
        return iter(data)
    except TypeError:
        raise ValueError(
            "data: expected images [N, C, H, W], (images, labels), or an iterable of batches "
            f"such as a DataLoader; got {_kind(data)}"
        ) from None


def _is_pair(data: Any) -> bool:
    """Whether this is (images, labels), and not two batches of images."""
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return False
    first, second = data
    if not isinstance(first, (Tensor, np.ndarray)) or isinstance(second, Mapping):
        return False
    return not isinstance(second, (Tensor, np.ndarray)) or second.ndim < first.ndim


def _parts(batch: Any, where: str, with_labels: bool) -> tuple[Tensor, Any]:
    """The images of a batch, and its labels as they are."""
    if isinstance(batch, Mapping):
        return _of_dictionary(batch, where, with_labels)
    if _is_pair(batch):
        return _images(batch[0], where), batch[1]
    if isinstance(batch, (tuple, list)) and len(batch) == 1:
        return _parts(batch[0], where, with_labels)
    return _images(batch, where), None


def _of_dictionary(batch: Mapping[Any, Any], where: str, with_labels: bool) -> tuple[Tensor, Any]:
    image_key = next((key for key in IMAGE_KEYS if key in batch), None)
    label_key = next((key for key in LABEL_KEYS if key in batch), None)
    missing = "images" if image_key is None else "labels"
    # Alone, or beside images alone, there is nothing that could have been meant.
    if image_key is None or (with_labels and label_key is None and len(batch) > 1):
        known = ", ".join(IMAGE_KEYS if image_key is None else LABEL_KEYS)
        found = ", ".join(map(repr, batch)) or "none"
        raise ValueError(
            f"{where}: a dictionary whose {missing} are not found: its keys are {found}, "
            f"known are {known}. Say what is what: {_INPUT_FN}, or the images alone"
        )
    return _images(batch[image_key], where), None if label_key is None else batch[label_key]


def _is_one_image(x: Tensor) -> bool:
    """Whether this is [C, H, W], and no batch of sequences."""
    if x.dim() != 3:
        return False
    return len(x) == 3 or (len(x) <= 4 and x.shape[1] == x.shape[2])


def _images(images: Any, where: str) -> Tensor:
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.ascontiguousarray(images))
        if images.is_floating_point():
            images = images.to(torch.get_default_dtype())
    if not isinstance(images, Tensor):
        raise ValueError(
            f"{where}: expected images [N, C, H, W] or (images, labels), got {_kind(images)}. "
            f"For batches of another shape: {_INPUT_FN}"
        )
    if _is_one_image(images):
        raise ValueError(
            f"{where}: expected a batch of images [N, C, H, W], got one image "
            f"{list(images.shape)}: give image[None], a stack of images, or a DataLoader"
        )
    if images.dim() not in RANKS:
        raise ValueError(
            f"{where}: expected a batch of images [N, C, H, W], or of vectors, sequences or "
            f"volumes, got {list(images.shape)}"
        )
    if not images.is_floating_point():
        raise ValueError(
            f"{where}: expected preprocessed floating-point images, got {images.dtype}"
        )
    return images


def _labels(labels: Any, images: int, where: str) -> Tensor:
    try:
        found = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError):
        found = None
    if found is not None and found.dim() == 1 and len(found) != images:
        raise ValueError(f"{where}: there are {images} images and {len(found)} labels")
    whole = found is not None and not found.is_floating_point() and not found.is_complex()
    if found is None or not whole or found.dtype == torch.bool or found.dim() != 1:
        got = _kind(labels) if found is None else f"{found.dtype} {list(found.shape)}"
        raise ValueError(
            f"{where}: labels must be class indices, whole numbers [{images}]; got {got}. Where "
            "they are of another kind, leave them out (input_fn=lambda batch: batch[0])"
        )
    return found.to("cpu", torch.int64)


def _kind(thing: Any) -> str:
    """What something is, in a few words."""
    if isinstance(thing, Tensor):
        return f"a tensor {list(thing.shape)}"
    if isinstance(thing, (tuple, list)):
        inside = ", ".join(type(item).__name__ for item in thing[:4])
        return f"a {type(thing).__name__} of {len(thing)} ({inside}{', ...' * (len(thing) > 4)})"
    if isinstance(thing, str):
        return f"the text {thing[:40]!r}"
    return f"{type(thing).__name__}"
