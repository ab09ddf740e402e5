"""Operators of the DCT over positions, with the quantiser."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops


def dct_quantize(
    y: Tensor, size: int, planes: Tensor, steps: Tensor, lo: int, hi: int
) -> tuple[Tensor, Tensor]:
    """``quantize`` of the frequencies of each component, with a step for each frequency.

    Each component is cut into blocks of size x size positions (2 or 4), the last ones completed by
    mirroring their rows and columns; of a block, frequency fy * size + fx is the coefficient of
    the orthonormal DCT-II. y: [N, K, H, W] float16, bfloat16, float32 or float64, any strides.
    planes: i32 [P], component * size * size + frequency of each plane of levels, all different.
    steps: f32 [size * size], > 0. lo <= hi: int16 levels.
    Returns levels int16 [N, P, ceil(H / size), ceil(W / size)], contiguous, and the number of
    clamped values, i64 [].
    """
    return ops._ops.dct_quantize(y, size, planes, steps, lo, hi)


def dequantize_dct(
    levels: Tensor,
    components: int,
    height: int,
    width: int,
    size: int,
    planes: Tensor,
    steps: Tensor,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The way back: y [N, components, height, width] of this dtype, contiguous.

    levels: int16 [N, P, rows, columns], any strides. What has no plane is 0, and what completed the
    last blocks is cut off. planes and steps: as for ``dct_quantize``.
    """
    size_of = components, height, width
    return ops._ops.dequantize_dct(levels, *size_of, size, planes, steps, ops._name(dtype))
