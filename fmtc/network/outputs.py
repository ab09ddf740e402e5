"""The tensors in what a network returns: one, or a nesting of tuples, lists and dictionaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_flatten


def tensors(output: Any) -> list[Tensor]:
    """All tensors of an output, in order; what is none is left out."""
    return [leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)]


def first_tensor(output: Any) -> Tensor:
    """The output itself, or what stands first in a tuple, list or dictionary of outputs.

    ValueError: that is no tensor.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping) and output:
        return first_tensor(next(iter(output.values())))
    if isinstance(output, Sequence) and output and not isinstance(output, str):
        return first_tensor(output[0])
    raise ValueError(f"the model's output has no tensor to measure: {type(output).__name__}")
