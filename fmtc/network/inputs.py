"""Networks of several inputs as networks of one: their inputs in a row, [N, values].

All that goes through a calibration is then one tensor a batch, whatever a network takes.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from .view import eval_view

Shape = tuple[int, ...]
PACKING, FORWARD = "fmtc_packing", "fmtc_forward"  # attributes of a packed view


def inputs_of(model: nn.Module) -> list[str]:
    """The names of the inputs that a model cannot be called without."""
    forward = vars(model).get(FORWARD, model.forward)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(forward).parameters.values()
    return [p.name for p in parameters if p.kind in positional and p.default is p.empty]


def in_order(model: nn.Module, args: Sequence[Any], named: Mapping[str, Any]) -> tuple[Any, ...]:
    """Inputs as a model is given them, in the order of its parameters. TypeError as of a call."""
    forward = vars(model).get(FORWARD, model.forward)
    return inspect.signature(forward).bind(*args, **named).args


@dataclass(frozen=True)
class Packing:
    """The inputs of a network, with the shape of each without its batch."""

    shapes: tuple[Shape, ...]

    @classmethod
    def of(cls, inputs: Sequence[Tensor]) -> Packing:
        """Of a batch of inputs, each [N, ...]."""
        return cls(tuple(tuple(x.shape[1:]) for x in inputs))

    def packed(self, inputs: Sequence[Any]) -> Tensor:
        """Inputs [N, ...] as one tensor [N, values], in the type of the first.

        ValueError: not these inputs, of these shapes; integers, in which no noise could be probed.
        """
        shapes = ", ".join(str([None, *shape]).replace("None", "N") for shape in self.shapes)
        given = [list(x.shape) if isinstance(x, Tensor) else type(x).__name__ for x in inputs]
        tensors = [x for x in inputs if isinstance(x, Tensor)]
        fits = len(tensors) == len(inputs) and Packing.of(tensors) == self
        if not fits or len({len(x) for x in tensors}) > 1:
            raise ValueError(f"the network takes inputs of shapes {shapes}; got {given}")
        if not all(x.is_floating_point() for x in tensors):
            kinds = ", ".join(str(x.dtype) for x in tensors)
            raise ValueError(f"the network's inputs must be floating point; got {kinds}")
        return torch.cat([x.flatten(1).to(tensors[0].dtype) for x in tensors], 1)

    def is_packed(self, x: Any) -> bool:
        """Whether this is a tensor of `packed`."""
        values = sum(math.prod(shape) for shape in self.shapes)
        return isinstance(x, Tensor) and x.dim() == 2 and x.shape[1] == values

    def apart(self, packed: Tensor) -> list[Tensor]:
        """The inputs of ``packed``."""
        parts = packed.split([math.prod(shape) for shape in self.shapes], 1)
        return [part.reshape(-1, *shape) for part, shape in zip(parts, self.shapes, strict=True)]


def packed_view(model: nn.Module, packing: Packing) -> nn.Module:
    """A view of the model, in eval mode, that takes packed inputs, too."""
    view = eval_view(model)
    vars(view).update({PACKING: packing, FORWARD: view.forward})
    view.forward = MethodType(_forward, view)  # type: ignore[method-assign]
    return view


def packing_of(model: nn.Module) -> Packing | None:
    """How inputs of a packed view are packed; None for other models."""
    return vars(model).get(PACKING)


def _forward(self: nn.Module, packed: Tensor, *inputs: Tensor) -> Any:
    """What a packed view does with its inputs, or with these packed."""
    if inputs:
        return vars(self)[FORWARD](packed, *inputs)
    return vars(self)[FORWARD](*vars(self)[PACKING].apart(packed))
