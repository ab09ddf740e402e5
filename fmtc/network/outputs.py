"""The named float tensors of whatever a network returns, and which of them count."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from torch import Tensor
from torch.utils._pytree import KeyEntry, tree_flatten, tree_flatten_with_path

# Names or patterns of outputs; or what makes of the whole output a tensor, a tuple or a dictionary
# of tensors; or None for all outputs.
Choice: TypeAlias = "tuple[str, ...] | Callable[[Any], Any] | None"
Named: TypeAlias = Mapping[str, Tensor]

ALONE = "output"  # the name of a tensor that is the whole output


def tensors(output: Any) -> list[Tensor]:
    """All tensors of an output, in order; what is none is left out."""
    return [leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)]


def named_outputs(output: Any) -> dict[str, Tensor]:
    """The floating-point tensors of an output by name, in order; what else it has is left out.

    A tensor alone is "output"; those of tuples and lists are "0", "1", ..., those of dictionaries
    have their keys' names, and within each other these are joined: "boxes.0".
    """
    found: dict[str, Tensor] = {}
    for path, leaf in tree_flatten_with_path(output)[0]:
        if isinstance(leaf, Tensor) and leaf.is_floating_point():
            name = ".".join(map(_key, path)) or ALONE
            while name in found:  # of keys such as 0 and "0"
                name += "_"
            found[name] = leaf
    return found


def chosen_outputs(output: Any, choice: Choice = None) -> dict[str, Tensor]:
    """Those of the named outputs that count.

    ValueError: there is no float tensor, or a name or pattern that none has.
    """
    if callable(choice):
        output, choice = choice(output), None
    found = named_outputs(output)
    if not found:
        kind = type(output).__name__
        raise ValueError(f"the model's output has no float tensor to measure: {kind}")
    if choice is None:
        return found
    for pattern in choice:
        if not any(fnmatchcase(name, pattern) for name in found):
            raise ValueError(f"no output matches '{pattern}'; the outputs are: {', '.join(found)}")
    return {
        name: tensor
        for name, tensor in found.items()
        if any(fnmatchcase(name, pattern) for pattern in choice)
    }


def as_choice(outputs: str | Iterable[str] | Callable[[Any], Any] | None) -> Choice:
    """What a user gives as outputs=: one string is one pattern. ValueError for anything else."""
    if outputs is None or callable(outputs):
        return outputs
    try:
        names = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    except TypeError:
        names = ()
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"outputs must be names of outputs, or a function; got {outputs!r}")
    return names


def is_batch(output: Tensor, images: int) -> bool:
    """Whether an output has an entry for each of so many images."""
    return output.dim() > 0 and len(output) == images


def check_batch(outputs: Named, images: int) -> None:
    """ValueError that names an output whose first dimension is not the batch."""
    for name, output in outputs.items():
        if not is_batch(output, images):
            raise ValueError(
                f"the model's {told(name)} is {list(output.shape)} for {images} images; its first "
                "dimension must be the batch. Leave it out with outputs=, names of the others"
            )


def first_broken(output: Tensor) -> int | None:
    """The number of the first image of an output [n, ...] with NaN or Inf; None without one."""
    finite = output.isfinite()
    if finite.all():
        return None
    return int(finite.reshape(len(output), -1).all(1).logical_not().nonzero()[0])


def relative_difference(outputs: Named, expected: Named) -> float:
    """The largest difference of an output from what is expected, each relative to its own norm.

    Infinite where names or shapes differ. NaN counts as 0, Inf as 1.
    """
    if outputs.keys() != expected.keys():
        return math.inf
    return max((_difference(outputs[name], of) for name, of in expected.items()), default=0.0)


def _difference(got: Tensor, expected: Tensor) -> float:
    if got.shape != expected.shape:
        return math.inf
    wanted = expected.nan_to_num(0.0, 1.0, -1.0)
    error = float((got.nan_to_num(0.0, 1.0, -1.0) - wanted).norm())
    error /= max(float(wanted.norm()), 1e-12)
    return math.inf if math.isnan(error) else error


def told(name: str) -> str:
    """An output in a sentence."""
    return "output" if name == ALONE else f"output '{name}'"


def _key(entry: KeyEntry) -> str:
    """A key of a pytree's path as users know it: of a dictionary, a sequence or an object."""
    for attribute in ("key", "idx", "name"):
        if hasattr(entry, attribute):
            return str(getattr(entry, attribute))
    return str(entry)
