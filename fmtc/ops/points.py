"""Operators of whole coding points: all stages of some images at a time, in a cache.

Each gives what the single operators give one after the other. They are for tensors on the CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .. import ops
from ..limits import MAX_VALUES


class PointTables(NamedTuple):
    """A coder's tables for one direction, as ``rans_encode`` or ``huffman_decode`` take them.

    coder: "rans" or "huffman". base: of ``rans_tables``, for decoding alone.
    """

    coder: str
    symbols_from: int
    table_of: Tensor
    table: Tensor
    base: Tensor | None
    table_id: int


def encode_point(
    x: Tensor,
    matrix: Tensor | None,
    offset: Tensor | None,
    places: Tensor | None,
    steps: Tensor | None,
    step: float,
    lo: int,
    hi: int,
    coefficients: Tensor,
    shifts: Tensor,
    planes: int,
    weights: Tensor | None,
    thresholds: Tensor | None,
    coder: str,
    symbols_from: int,
    table_of: Tensor,
    encode_table: Tensor,
    table_id: int,
    crop_h: int = 0,
    crop_w: int = 0,
    lane_values: int = 0,
    groups: Tensor | None = None,
    num_groups: int = 0,
    num_symbols: int = 0,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values to streams.

    x: [N, C, H, W] float16, bfloat16, float32 or float64, any strides; computed in float32.
    To levels of P planes: matrix, offset: f32, as for ``transform_channels``, or None; then places,
    steps: as for ``dct_quantize``, or None. step: of all that has no steps; lo, hi: of the levels.
    To symbols: coefficients: i16 [P, 3 + 9 * sources] as for ``predict``. shifts: i64 [P], 0..15:
    of a difference, the low bits that become a plane of their own behind those of all components.
    planes: P and those of low bits.
    To classes of positions: weights: i32 [planes] as for ``position_activity``; thresholds: i64
    [classes - 1], sorted, of which a cell's class is how many its activity reaches; None without.
    To bytes: coder: "rans" or "huffman", whose encoder takes the rest; symbols_from is its lo.
    groups: i64 [segments], the group below num_groups that each counts in; num_symbols: of a
    histogram, from symbols_from on, symbols beyond being counted as the nearest.
    Returns bytes u8 [N, bound] with zeros behind each stream, used i64 [N], how many values were
    clamped, i64 [], and the histogram i64 [num_groups, num_symbols], [0, 0] without groups. Raises
    RuntimeError for a symbol without a Huffman code.
    """
    of_levels = matrix, offset, places, steps, step, lo, hi
    of_symbols = coefficients, shifts, planes, weights, thresholds
    of_coder = coder, symbols_from, table_of, encode_table, table_id, crop_h, crop_w, lane_values
    counts = groups, num_groups, num_symbols
    return ops._ops.encode_point(x, *of_levels, *of_symbols, *of_coder, *counts)


def decode_point(
    bytes: Tensor,
    used: Tensor,
    height: int,
    width: int,
    coder: str,
    symbols_from: int,
    table_of: Tensor,
    decode_table: Tensor,
    base: Tensor | None,
    table_id: int,
    coefficients: Tensor,
    shifts: Tensor,
    planes: int,
    matrix: Tensor | None,
    offset: Tensor | None,
    places: Tensor | None,
    steps: Tensor | None,
    step: float,
    crop_h: int = 0,
    crop_w: int = 0,
    least: float | None = None,
    most: float | None = None,
    dtype: torch.dtype | str = torch.float32,
    max_values: int = MAX_VALUES,
) -> tuple[Tensor, Tensor]:
    """The way back: x [N, C, H, W] of this dtype, contiguous, and a status i32 [N] of each stream.

    height, width: rows and columns of the levels. base: of ``rans_tables``, None with Huffman
    codes. matrix, offset: of the way back, as for ``transform_channels``; least, most: likewise,
    which have no meaning without. crop_h, crop_w: rows and columns of blocks of frequencies that
    are cut off. The rest: as for ``encode_point``. A damaged stream has a status that is not 0, and
    counts as levels of 0. Raises RuntimeError where there would be more than max_values levels.
    """
    of_coder = coder, symbols_from, table_of, decode_table, base, table_id
    of_levels = coefficients, shifts, planes, matrix, offset, places, steps, step
    of_values = crop_h, crop_w, least, most, ops._name(dtype), max_values
    return ops._ops.decode_point(bytes, used, height, width, *of_coder, *of_levels, *of_values)


def simulate_point(
    x: Tensor,
    matrix: Tensor | None,
    offset: Tensor | None,
    inverse: Tensor | None,
    mean: Tensor | None,
    places: Tensor | None,
    steps: Tensor | None,
    step: float,
    lo: int,
    hi: int,
    coefficients: Tensor,
    shifts: Tensor,
    planes: int,
    weights: Tensor | None,
    thresholds: Tensor | None,
    least: float | None = None,
    most: float | None = None,
    symbols_from: int = 0,
    groups: Tensor | None = None,
    num_groups: int = 0,
    num_symbols: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """What ``decode_point`` gives for the streams of ``encode_point``, without making them.

    inverse, mean: its matrix and offset. Returns y [N, C, H, W] of x's dtype, the number of clamped
    values, i64 [], and the histogram of ``encode_point``.
    """
    of_levels = matrix, offset, inverse, mean, places, steps, step, lo, hi
    of_symbols = coefficients, shifts, planes, weights, thresholds, least, most
    counts = symbols_from, groups, num_groups, num_symbols
    return ops._ops.simulate_point(x, *of_levels, *of_symbols, *counts)
