"""Data of networks of several inputs, with these in one tensor (`fmtc.network.inputs`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ..network.inputs import Packing, inputs_of, packed_view, packing_of
from .batches import LABEL_KEYS, InputFn


class PackedData:
    """What `fmtc.evaluation.batches` takes, of data whose batches have several inputs.

    Such a batch is a tuple of the inputs, or of these and labels; (inputs, labels); or a dictionary
    by the inputs' names. A tuple of tensors alone is all there is, and is split as images are.
    ValueError where the first batch is none of these.
    """

    def __init__(self, data: Any, names: Sequence[str], input_fn: InputFn | None = None):
        self.names, self.input_fn = list(names), input_fn
        tensors = isinstance(data, (tuple, list)) and all(isinstance(x, Tensor) for x in data)
        if (tensors and len(data)) or isinstance(data, Mapping):
            data = [data]
        iterator = iter(data)
        first = next(iterator, None)
        if first is None:
            raise ValueError("there are no inputs")
        self.data = chain([first], iterator) if iterator is data else data
        self.packing = Packing.of(self._inputs(first)[0])

    def batches(self, size: int) -> Iterator[Any]:
        """Packed inputs of up to ``size``, or (packed, labels)."""
        for batch in self.data:
            inputs, labels = self._inputs(batch)
            parts = self.packing.packed(inputs).split(size)
            if labels is None:
                yield from parts
            else:
                yield from zip(parts, torch.as_tensor(labels).split(size), strict=True)

    def _inputs(self, batch: Any) -> tuple[list[Tensor], Any]:
        """The inputs of a batch, and its labels or None."""
        batch = batch if self.input_fn is None else self.input_fn(batch)
        if isinstance(batch, Mapping) and all(name in batch for name in self.names):
            label_key = next((key for key in LABEL_KEYS if key in batch), None)
            labels = None if label_key is None else batch[label_key]
            return [batch[name] for name in self.names], labels
        given = list(batch) if isinstance(batch, (tuple, list)) else [batch]
        if given and isinstance(given[0], (tuple, list)):
            given = [*given[0], *given[1:]]
        count = len(self.names)
        inputs, rest = given[:count], given[count:]
        if len(inputs) < count or len(rest) > 1 or not all(isinstance(x, Tensor) for x in inputs):
            raise ValueError(
                f"the network takes {count} inputs ({', '.join(self.names)}): expected tuples of "
                f"{count} tensors, or of these and labels; got {type(batch).__name__} of "
                f"{', '.join(type(x).__name__ for x in given)}"
            )
        return inputs, rest[0] if rest else None


def for_model(
    model: nn.Module, data: Any, input_fn: InputFn | None = None
) -> tuple[nn.Module, Any, InputFn | None]:
    """The same, but with inputs in one tensor where the model takes several.

    Of a packed view, data may be such a tensor already.
    """
    packing, names = packing_of(model), inputs_of(model)
    if len(names) < 2 or (packing is not None and isinstance(data, Tensor)):
        return model, data, input_fn
    if not isinstance(data, PackedData):
        data = PackedData(data, names, input_fn)
    return packed_view(model, data.packing) if packing is None else model, data, None
