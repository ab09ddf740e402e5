"""Levels used again: behind a 1x1 convolution the levels that went into it are coded once more.

docs/method.md, "Levels used again".
"""

from __future__ import annotations

import torch

from ..codec.codec import TensorCodec
from ..codec.frequencies import FrequencyQuantizer
from ..codec.transform import Transform
from ..network.fold import bias_of, plain_convolution
from ..network.groups import BEFORE, Group
from ..network.prepared import Prepared

# Levels are found again behind a convolution where its smallest singular value is not below this
# share of the largest: float32 is exact enough there.
WORST_CONDITION = 1e-3
SAFE_CONDITION = 1e-2  # of a convolution alone: with the transform before it, still good enough


def certainly_reuses(prepared: Prepared, group: Group) -> bool:
    """True where levels are used again whatever the step, so that no sensitivity is needed."""
    if not reads_linearly(group):
        return False
    groups = prepared.groups
    sources = [g for g in groups if group.maker.args[0] is g.output and len(g.sides) == 1]
    sources = [g for g in sources if g.layout == group.reads]
    conv = plain_convolution(group)
    assert conv is not None
    if conv.stride != (1, 1):  # blocks of positions would be lost
        return False
    weight = conv.weight.detach().double().flatten(1)
    return bool(sources) and not sources[0].excluded and is_invertible(weight, SAFE_CONDITION)


def reused(group: Group, source: object) -> Transform | None:
    """The transform that finds the levels which went into a 1x1 convolution in what it writes.

    source: the codec of what it reads. The convolution is linear in the levels that it reads,
    x = V y + mean: from W x + b they come back exactly, and nothing new is lost by coding them
    again. None where they do not come back.
    """
    if not isinstance(source, TensorCodec) or group.side != BEFORE:
        return None
    if not reads_linearly(group):
        return None
    conv = plain_convolution(group)
    assert conv is not None
    if isinstance(source.quantizer, FrequencyQuantizer) and conv.stride != (1, 1):
        return None
    weight = conv.weight.detach().double().flatten(1)
    inverse = weight @ source.transform.inverses[0].double()
    if not is_invertible(inverse, WORST_CONDITION):
        return None
    mean = weight @ source.transform.means[0].double() + bias_of(conv)
    return Transform([torch.linalg.pinv(inverse).float()], [inverse.float()], [mean])


def times_written(prepared: Prepared, group: Group) -> int:
    """How often a group's levels are coded: once, and again by each group that finds them again.

    As far as its convolutions tell before there is a transform, on the sides chosen so far.
    """
    again = [other for other in prepared.groups if _finds_again(other, group)]
    return 1 + sum(times_written(prepared, other) for other in again)


def _finds_again(group: Group, source: Group) -> bool:
    if group.maker.args[0] is not source.output or group.reads != source.layout:
        return False
    if group.excluded or group.side != BEFORE or not reads_linearly(group):
        return False
    conv = plain_convolution(group)
    assert conv is not None
    if conv.stride != (1, 1):
        return False
    weight = conv.weight.detach().double().flatten(1)
    if weight.shape[0] >= weight.shape[1]:
        return is_invertible(weight, SAFE_CONDITION)
    # What only such a convolution reads has no more components than the convolution tells apart.
    alone = list(source.output.users) == [group.maker]
    return alone and is_invertible(weight.T, SAFE_CONDITION)


def reads_linearly(group: Group) -> bool:
    """True for a group that is one 1x1 convolution and nothing else before its coding point."""
    first = group.sides[BEFORE]
    if not first.foldable or first.output is not group.maker:
        return False
    conv = plain_convolution(group)
    return conv is not None and conv.kernel_size == (1, 1) and conv.padding in ((0, 0), "valid")


def is_invertible(matrix: torch.Tensor, condition: float) -> bool:
    """Whether y can be told from matrix @ y: its singular values differ by 1/condition at most."""
    if matrix.shape[0] < matrix.shape[1]:
        return False
    singular = torch.linalg.svdvals(matrix)
    return bool(singular[-1] >= condition * singular[0] > 0)
