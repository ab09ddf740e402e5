"""Operators of whole coding points: all stages of some images at a time, in a cache.

Each gives what the single operators give one after the other. They are for tensors on the CPU.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .. import ops
from ..limits import MAX_VALUES


class PointLevels(NamedTuple):
    """What lies between values and levels.

    matrix, offset: f32 [rows, columns] and [rows] as for ``transform_quantize``, where that is done
    here. places, steps: as for ``dct_quantize``, where levels are of frequencies; a matrix is not
    taken then. step: > 0 in float32.
    """

    matrix: Tensor | None
    offset: Tensor | None
    places: Tensor | None
    steps: Tensor | None
    step: float


class PointSymbols(NamedTuple):
    """What lies between levels of P planes and the planes of symbols that are coded.

    coefficients: i16 [P, 3 + 9 * sources] as for ``predict``. shifts: i64 [P], 0..15: of a
    difference, the low bits that become a plane of their own behind those of all components.
    planes: P and those of low bits.
    """

    coefficients: Tensor
    shifts: Tensor
    planes: int


class PointClasses(NamedTuple):
    """weights: i32 [planes] as for ``position_activity``; thresholds: i64 [classes - 1], sorted.

    A cell's class is how many thresholds its activity reaches. Both None without classes.
    """

    weights: Tensor | None
    thresholds: Tensor | None


class PointCounts(NamedTuple):
    """Which group of 0 .. num_groups - 1 each segment counts in, i64 [segments]; None: no counting.

    num_symbols: of a histogram, from the coder's first on; symbols beyond count as the nearest.
    """

    groups: Tensor | None = None
    num_groups: int = 0
    num_symbols: int = 0


class PointTables(NamedTuple):
    """A coder's tables for one direction, as ``rans_encode`` or ``huffman_encode`` take them.

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
    levels: PointLevels,
    lo: int,
    hi: int,
    symbols: PointSymbols,
    classes: PointClasses,
    tables: PointTables,
    crop: tuple[int, int] = (0, 0),
    lane_values: int = 0,
    counts: PointCounts = PointCounts(),  # noqa: B008  # it cannot be changed
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Values to streams.

    x: [N, C, H, W] float16, bfloat16, float32 or float64, any strides; computed in float32. lo, hi:
    of the levels. crop: kept in the headers.
    Returns bytes u8 [N, bound] with zeros behind each stream, used i64 [N], how many values were
    clamped, i64 [], and the histogram of the symbols, i64 [num_groups, num_symbols] ([0, 0] where
    nothing is counted). Raises RuntimeError for a symbol without a Huffman code.
    """
    coder, symbols_from, table_of, table, _, table_id = tables
    of_coder = coder, symbols_from, table_of, table, table_id, *crop, lane_values
    return ops._ops.encode_point(x, *levels, lo, hi, *symbols, *classes, *of_coder, *counts)


def decode_point(
    data: Tensor,
    used: Tensor,
    size: tuple[int, int],
    tables: PointTables,
    symbols: PointSymbols,
    levels: PointLevels,
    crop: tuple[int, int] = (0, 0),
    limits: ops.Limits = (None, None),
    dtype: torch.dtype = torch.float32,
    max_values: int = MAX_VALUES,
) -> tuple[Tensor, Tensor]:
    """The way back: x [N, C, H, W] of this dtype, contiguous, and a status i32 [N].

    size: rows and columns of the levels. levels: with the matrix of the way back. crop: of blocks
    of frequencies. limits: of x, where there is a matrix. A damaged stream has a status that is not
    0, and counts as levels of 0. Raises RuntimeError where there would be more than max_values
    levels.
    """
    of_point = *tables, *symbols, *levels, *crop, *limits, ops._name(dtype), max_values
    return ops._ops.decode_point(data, used, *size, *of_point)


def simulate_point(
    x: Tensor,
    levels: PointLevels,
    lo: int,
    hi: int,
    back: tuple[Tensor | None, Tensor | None],
    symbols: PointSymbols,
    classes: PointClasses,
    limits: ops.Limits = (None, None),
    symbols_from: int = 0,
    counts: PointCounts = PointCounts(),  # noqa: B008  # it cannot be changed
) -> tuple[Tensor, Tensor, Tensor]:
    """What ``decode_point`` gives for the streams of ``encode_point``, without making them.

    back: matrix and offset of the way back. Returns y [N, C, H, W] of x's dtype, the number of
    clamped values, i64 [], and the histogram of ``encode_point``.
    """
    matrix, offset, *quantizer = levels
    of_levels = matrix, offset, *back, *quantizer, lo, hi
    of_point = *of_levels, *symbols, *classes, *limits, symbols_from, *counts
    return ops._ops.simulate_point(x, *of_point)
