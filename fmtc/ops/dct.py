"""Operators of the DCT over positions, with the quantiser."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops


def dct_quantize(
    y: Tensor, places: Tensor, planes: int, steps: Tensor, lo: int, hi: int
) -> tuple[Tensor, Tensor]:
    """``quantize`` of the frequencies of each component, with a step for each frequency.

    y: [N, K, H, W] float16, bfloat16, float32 or float64, any strides; computed in float32. Each
    component is cut into blocks of size x size positions, size 2 or 4, of which the last ones are
    completed by mirroring their rows and columns. Of a block, frequency fy * size + fx is the
    coefficient of the orthonormal DCT-II.
    places: i32 [K, size * size], the plane of levels of each frequency, -1 for none; each of the
    planes 0 .. planes - 1 is there once. steps: f32 [size * size], > 0. lo <= hi: int16 levels.
    Returns levels int16 [N, planes, ceil(H / size), ceil(W / size)], contiguous, and the number of
    clamped values, i64 [].
    """
    return ops._ops.dct_quantize(y, places, planes, steps, lo, hi)


def dequantize_dct(
    levels: Tensor,
    places: Tensor,
    height: int,
    width: int,
    steps: Tensor,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The way back: y [N, K, height, width] of this dtype, contiguous.

    levels: int16 [N, planes, ceil(height / size), ceil(width / size)], any strides. What has no
    plane is 0, and what completed the last blocks is cut off. places and steps: as for
    ``dct_quantize``.
    """
    return ops._ops.dequantize_dct(levels, places, height, width, steps, ops._name(dtype))
