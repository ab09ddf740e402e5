"""Some of a layer's calibration images, where all of them would tell hardly more."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def sampled(tensors: Sequence[torch.Tensor], values: int) -> list[torch.Tensor]:
    """Images evenly apart of batches [N, ...]: as many as have ``values`` values, at least one.

    All of them where they have no more, but batches without values. Evenly apart, because images
    are often sorted by class.
    """
    tensors = [x for x in tensors if x.numel()]
    total = sum(x.numel() for x in tensors)
    if total <= values:
        return tensors
    images = sum(map(len, tensors))
    wanted = max(1, images * values // total)
    chosen = torch.arange(wanted) * images // wanted
    taken, begin = [], 0
    for x in tensors:
        here = chosen[(chosen >= begin) & (chosen < begin + len(x))] - begin
        if len(here):
            taken.append(x[here.to(x.device)])
        begin += len(x)
    return taken
