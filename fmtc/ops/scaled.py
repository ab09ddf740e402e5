"""Operators of quantisers with a scale for each position and block of channels."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import ops


def quantize_scaled(
    y: Tensor, format: str, block: int, layer_scale: float, lo: int, hi: int
) -> tuple[Tensor, Tensor]:
    """Levels with a scale for each position and block of channels, made of the values there.

    y: [N, C, H, W] float16, bfloat16, float32 or float64, any strides; computed in float32. block:
    channels with one scale, of which the last may have fewer, or 0 for all. format:
    "integers": level = clamp(round(y / scale), lo, hi), lo 0 or -hi, hi 1..2047; scale is an E5M3
    (E4M3 whose sign is one more bit of the exponent) in units of layer_scale: the least that is not
    below the block's largest magnitude / hi.
    "mxfp4": lo, hi = -7, 7 count the numbers of E2M1, 0, 0.5, 1, 1.5, 2, 3, 4, 6; scale is a power
    of two (E8M0): 2**(floor(log2(largest magnitude)) - 2); layer_scale is 1 (OCP MX 1.0, 6.3).
    "nvfp4": the same with the E4M3 in units of layer_scale nearest to largest magnitude / 6
    (NVIDIA, arXiv:2509.25149, appendix C).
    Ties go to the even code, levels saturate. A block of zeros has code 0 and levels 0.
    Returns levels int16 [N, C + S, H, W], contiguous, with the codes of the S = ceil(C / block)
    scales (0..255, the bits of the format) behind the channels, and the number of clamped values,
    i64 []. NaN becomes 0 and infinity saturates; neither counts for a scale, both as clamped.
    """
    return ops._ops.quantize_scaled(y, format, block, layer_scale, lo, hi)


def dequantize_scaled(
    levels: Tensor,
    format: str,
    block: int,
    layer_scale: float,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """The values of ``quantize_scaled``'s levels, contiguous: [N, C, H, W] of [N, C + S, H, W].

    Computed in float32, then rounded to dtype. Levels and codes beyond those of the format count as
    the nearest. Raises RuntimeError where no C has so many planes.
    """
    return ops._ops.dequantize_scaled(levels, format, block, layer_scale, ops._name(dtype))
