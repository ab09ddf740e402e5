"""The torch operators of fmtc, one function each, and their fakes.

All but ``accumulate_`` are functional: no argument is changed. They are batched, take empty tensors
and run on the CPU, where results do not depend on the number of threads, and, where they were built
for it, on CUDA tensors, on the current stream and without waiting for it; a docstring says where
wrong values, for which the CPU raises, give something else there. Shapes: N images, C channels, K
coded components, T tables, L = hi - lo + 1 levels. A wrong dtype, shape or parameter raises
RuntimeError that names the operator and the argument. In each table, symbol = level - lo.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..limits import MAX_VALUES
from . import loading

loading.load()
_ops = torch.ops.fmtc

# What needs the operators to be there.
from . import fakes as fakes  # noqa: E402
from .bundles import BUNDLE_MAGIC, BundleReader, make_bundle  # noqa: E402, F401
from .dct import dct_quantize, dequantize_dct  # noqa: E402, F401
from .points import (  # noqa: E402, F401
    PointTables,
    decode_point,
    encode_point,
    simulate_point,
)
from .scaled import dequantize_scaled, quantize_scaled  # noqa: E402, F401
from .streams import Bytes, build_info, check_expected, check_status, stream_info  # noqa: E402, F401
from .words import dct_cm_decode, dct_cm_encode, ebpc_decode, ebpc_encode  # noqa: E402, F401

# What an activation limits values to, None where it does not: ReLU (0, None), ReLU6 (0, 6).
Limits = tuple[float | None, float | None]
UNLIMITED: Limits = (None, None)


# -- Moments and transform ------------------------------------------------------------------------


def channel_moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First and second moments over channels, in float64.

    x: [N, C, H, W] float16, bfloat16, float32 or float64, any strides.
    Returns count i64 [] = N*H*W, mean f64 [C], m2 f64 [C, C]: the sum over all pixels of
    (x_i - mean_i)(x_j - mean_j), not divided. Non-finite input gives non-finite moments.
    """
    return _ops.channel_moments(x)


def merge_moments(
    count_a: Tensor, mean_a: Tensor, m2_a: Tensor, count_b: Tensor, mean_b: Tensor, m2_b: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Moments of two sets of samples together (Chan et al.), as ``channel_moments`` gives them.

    count i64 [], mean f64 [C], m2 f64 [C, C] of both sets. Returns the same three. Raises
    RuntimeError for a negative count or too large a sum; on CUDA the count is then -1 and the rest
    NaN.
    """
    return _ops.merge_moments(count_a, mean_a, m2_a, count_b, mean_b, m2_b)


def pca(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues and eigenbasis of symmetric matrices.

    covariance: f64 [C, C] or [B, C, C]; the lower triangle is used.
    Returns eigenvalues [C] or [B, C], descending, and the basis of the input's shape: column k is
    the unit eigenvector of eigenvalue k, its largest |entry| (the first such) positive, so that
    the same matrix always gives the same basis. Raises RuntimeError for NaN or infinity.
    """
    return _ops.pca(covariance)


# -- Quantiser ------------------------------------------------------------------------------------


def quantize(y: Tensor, step: float, lo: int, hi: int) -> tuple[Tensor, Tensor]:
    """level = clamp(round(y / step), lo, hi), ties to the even level.

    y: any shape and strides, float16, bfloat16, float32 (divided in float32) or float64.
    step > 0, in the units of y. lo <= hi: int16 levels.
    Returns levels int16, contiguous, of y's shape, and the number of clamped values, i64 []. NaN
    becomes the level nearest to 0 and counts as clamped.
    """
    return _ops.quantize(y, step, lo, hi)


def dequantize(levels: Tensor, step: float, dtype: torch.dtype = torch.float32) -> Tensor:
    """level * step, contiguous, of the shape of levels (int16, any shape and strides).

    Computed in float32, or in float64 where dtype is float64, then rounded to dtype.
    """
    return _ops.dequantize(levels, step, _name(dtype))


def _name(dtype: torch.dtype | str) -> str:
    """As the operators take a dtype: AOTInductor cannot write a ScalarType."""
    return str(dtype).removeprefix("torch.")


# -- Transform, alone and with the quantiser in one ------------------------------------------------


def transform_channels(
    x: Tensor,
    matrix: Tensor,
    offset: Tensor,
    least: float | None = None,
    most: float | None = None,
) -> Tensor:
    """matrix @ x + offset for the channels of each pixel, limited to [least, most].

    x: [N, C, H, W] float16, bfloat16, float32 or float64, any strides. matrix: f32 [K, C], offset:
    f32 [K]. least <= most, None for no limit. The sums are those of ``transform_quantize``. Returns
    f32 [N, K, H, W], contiguous.
    """
    return _ops.transform_channels(x, matrix, offset, least, most)


def transform_quantize(
    x: Tensor, matrix: Tensor, offset: Tensor, step: float, lo: int, hi: int
) -> tuple[Tensor, Tensor]:
    """``quantize`` of matrix @ x + offset for the channels of each pixel.

    x: [N, C, H, W] float16, bfloat16, float32 or float64, any strides. matrix: f32 [K, C], offset:
    f32 [K]. step > 0, lo <= hi as for ``quantize``. Computed in float32: the sum over the channels
    in their order, then the offset, for each pixel alone, so that a level depends on nothing else.
    Returns levels int16 [N, K, H, W], contiguous, and the number of clamped values, i64 [].
    """
    return _ops.transform_quantize(x, matrix, offset, step, lo, hi)


def dequantize_transform(
    levels: Tensor,
    matrix: Tensor,
    offset: Tensor,
    step: float,
    least: float | None = None,
    most: float | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """matrix @ (levels * step) + offset for the channels of each pixel, limited to [least, most].

    levels: int16 [N, K, H, W], any strides. matrix: f32 [C, K], offset: f32 [C]. least <= most,
    None for no limit: 0 and None are a ReLU, 0 and 6 a ReLU6. dtype: float16, bfloat16, float32 or
    float64, to which the sums are converted; they are made as those of ``transform_quantize``.
    Returns x of this dtype [N, C, H, W], contiguous.
    """
    return _ops.dequantize_transform(levels, matrix, offset, step, least, most, _name(dtype))


# -- Prediction of levels -------------------------------------------------------------------------


def predict(levels: Tensor, coefficients: Tensor) -> Tensor:
    """What a linear prediction leaves of each level; lossless.

    levels: int16 [N, K, H, W], any strides. coefficients: int16 [K, 3 + 9*M] in units of 1/4096,
    for M <= 16: of the neighbours left, above and above-left, -16384..16384; then of the 3 x 3
    levels around the same position, row by row, in each of the first M components (the sources).
    Only sources before the component itself count, and levels outside the image are 0.
    Returns residuals int16, contiguous, of the shape of levels: level - prediction modulo 2**16,
    prediction = (sum of coefficient * level + 2048) >> 12, the sum modulo 2**32 as an int32. With
    all coefficients 0 these are the levels. Raises RuntimeError for coefficients beyond the limit;
    on CUDA these count as the limit.
    """
    return _ops.predict(levels, coefficients)


def unpredict(residuals: Tensor, coefficients: Tensor) -> Tensor:
    """The levels that ``predict`` made residuals of, exactly, for every int16 [N, K, H, W]."""
    return _ops.unpredict(residuals, coefficients)


# -- Classes of positions -------------------------------------------------------------------------


def position_activity(levels: Tensor, weights: Tensor) -> Tensor:
    """How much goes on in each cell of 2 x 2 positions.

    levels: int16 [N, K, H, W]. weights: i32 [K], 0..2**15, K <= 2**14. Returns i64
    [N, ceil(H/2), ceil(W/2)]: the mean over the cell's positions, rounded down, of
    sum_k min(abs(level_k) * weights_k, 2**14). Blocks at the right and lower border may be cut.
    Raises RuntimeError for other weights; on CUDA these count as the nearest in the range.
    """
    return _ops.position_activity(levels, weights)


def arrange(levels: Tensor, classes: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Images in the order in which ``rans_encode`` codes them with these classes of cells.

    levels: int16 [N, K, H, W]. classes: u8 [N, ceil(H/2), ceil(W/2)], below num_classes (2..8).
    Returns values int16 [N, B + K*H*W]: the B classes of the cells as ``predict`` leaves them with
    coefficients 32, 32, 0; then of each component the levels of the cells of class 0, of class 1,
    ..., cells of a class row by row, and a cell's levels row by row. And positions i64
    [N, num_classes], the number of positions of each class. Raises RuntimeError for other classes;
    on CUDA these count as the last.
    """
    return _ops.arrange(levels, classes, num_classes)


def position_histogram(
    levels: Tensor,
    classes: Tensor,
    num_classes: int,
    lo: int,
    hi: int,
    groups: Tensor,
    num_groups: int,
) -> Tensor:
    """How often each value occurs in each group of segments of what ``arrange`` gives.

    levels, classes, num_classes: as for ``arrange``. groups: i64 [1 + K * num_classes], the group
    of the map and of each class of each component. Values beyond lo..hi count as the nearest one.
    Returns counts i64 [num_groups, hi - lo + 1]. Raises RuntimeError for other classes or groups;
    on CUDA classes count as the last, and what has no group is left out.
    """
    return _ops.position_histogram(levels, classes, num_classes, lo, hi, groups, num_groups)


# -- Statistics of levels -------------------------------------------------------------------------


def histogram(levels: Tensor, lo: int, hi: int, groups: Tensor, num_groups: int) -> Tensor:
    """How often each level occurs in each group of components.

    levels: int16 [N, K, ...]; groups: i64 [K], the group (0 .. num_groups-1) of each component.
    Returns counts i64 [num_groups, hi - lo + 1]. Raises RuntimeError for a level outside [lo, hi]
    or another group; on CUDA these are left out.
    """
    return _ops.histogram(levels, lo, hi, groups, num_groups)


def entropy(counts: Tensor) -> Tensor:
    """Empirical entropy of histograms in bits/symbol: i64 [..., L] -> f64 [...].

    0 for a histogram without counts. Raises RuntimeError for a negative count; on CUDA its
    histogram gives NaN.
    """
    return _ops.entropy(counts)


def accumulate_(total: Tensor, part: Tensor) -> None:
    """total += part, both i64 and contiguous, of one shape.

    Right where several threads add to one total, and without waiting for a device.
    """
    _ops.accumulate_(total, part)


# -- Huffman coding -------------------------------------------------------------------------------


def huffman_lengths(counts: Tensor, max_length: int) -> Tensor:
    """Optimal code lengths of at most max_length (1..15) bits, by package-merge.

    counts: i64 [T, L], L <= 4096. Returns u8 [T, L]: 0 (no code) for a symbol without counts, 1 for
    the only symbol of a table. Raises RuntimeError where 2**max_length codes are too few.
    """
    return _ops.huffman_lengths(counts, max_length)


def huffman_tables(lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Packed look-up tables of the canonical codes with these lengths (u8 [T, L]).

    Returns encode_table i32 [T, L]: length << 16 | bit-reversed code, 0 where there is no code, and
    decode_table i32 [T, 2**longest], indexed by the next bits of the stream: first symbol | second
    length << 12 | second symbol << 16 | length of both << 28, the second one 0 where it does not
    lie within the first min(longest, 11) bits, 0 where there is no code; longest is the greatest
    length of all tables. Raises RuntimeError where lengths make no complete prefix code.
    """
    return _ops.huffman_tables(lengths)


def huffman_encode(
    levels: Tensor,
    lo: int,
    table_of: Tensor,
    encode_table: Tensor,
    table_id: int,
    crop_h: int = 0,
    crop_w: int = 0,
    lane_values: int = 0,
) -> tuple[Tensor, Tensor]:
    """One stream (docs/stream_format.md) for each image.

    levels: int16 [N, K, H, W]. lo: the level of symbol 0. table_of: i64 [K], the row of
    encode_table (of ``huffman_tables``) for each component. table_id: 0..65535, tells table sets
    apart. crop_h, crop_w: 0..255, rows and columns of block padding, kept in the header.
    lane_values: 0 for the coder's own choice, or how many values one lane codes, a power of two
    from 256 to 65536: fewer make more lanes, one GPU thread each, and more side bytes; decoders
    read it from the header. With rANS chunks are for 32 lanes, with Huffman codes for 16.
    Returns bytes u8 [N, bound] and used i64 [N]: stream n is bytes[n, :used[n]], zeros follow.
    Raises RuntimeError for a level without a code; on CUDA the size of such an image is minus the
    status (``check_status``) that decoders give other damage.

    On CUDA neither this operator nor the other three of Huffman codes and rANS look whether tables
    are right, as these were checked where they were made: entries by ``huffman_tables`` and
    ``rans_tables``, table_of by whoever made it, as codecs do when they are made or loaded. What
    names no table counts as the last one. With entries that contradict themselves it is undefined
    what is coded, but no other memory is read or written.
    """
    return _ops.huffman_encode(
        levels, lo, table_of, encode_table, table_id, crop_h, crop_w, lane_values
    )


def huffman_decode(
    bytes: Tensor,
    used: Tensor,
    lo: int,
    table_of: Tensor,
    decode_table: Tensor,
    table_id: int,
    channels: int,
    height: int,
    width: int,
    max_values: int = MAX_VALUES,
) -> tuple[Tensor, Tensor]:
    """Levels of streams that hold images of [channels, height, width].

    bytes u8 [N, any], used i64 [N]: as ``huffman_encode`` returns them; lo, table_of, decode_table,
    table_id as there. Returns levels int16 [N, channels, height, width] and status i32 [N]: 0, or
    what is wrong with that stream (see ``check_status``), whose levels are then 0. RuntimeError,
    before anything is allocated, for more than max_values levels; never for damaged bytes.
    """
    tables = lo, table_of, decode_table, table_id
    return _ops.huffman_decode(bytes, used, *tables, channels, height, width, max_values)


# -- rANS coding ----------------------------------------------------------------------------------


def rans_frequencies(counts: Tensor, log2_total: int) -> Tensor:
    """Frequencies that sum to 2**log2_total (8..12) and make the counts' expected length short.

    counts: i64 [T, L], L <= 4096; a table without counts is taken as one of equal counts.
    Returns i32 [T, L + 1]: of each level, 0 where it is escaped, which costs the escape symbol and
    16 bits; last of the escape, at least 1. At most 255 levels are not escaped, all of them within
    255 consecutive ones.
    """
    return _ops.rans_frequencies(counts, log2_total)


def apack_frequencies(counts: Tensor, log2_total: int) -> Tensor:
    """As ``rans_frequencies``, but the same in each of at most 16 ranges of 2**k levels (the last
    may be cut off): a level takes the bits of its range and k more (APack, 2022)."""
    return _ops.apack_frequencies(counts, log2_total)


def rans_tables(frequencies: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Packed look-up tables of such frequencies (i32 [T, L + 1]).

    Returns encode_table i32 [T, L + 1]: frequency << 16 | start, 0 where a level is escaped, the
    escape last; decode_table i32 [T, 2**log2_total]: (slot - start) << 20 | (frequency - 1) << 8 |
    level - lo - base, or 255 for the escape; base i64 [T]: the first symbol that is not escaped.
    Raises RuntimeError where frequencies are not as ``rans_frequencies`` makes them.
    """
    return _ops.rans_tables(frequencies)


def rans_encode(
    levels: Tensor,
    lo: int,
    table_of: Tensor,
    encode_table: Tensor,
    table_id: int,
    crop_h: int = 0,
    crop_w: int = 0,
    classes: Tensor | None = None,
    lane_values: int = 0,
) -> tuple[Tensor, Tensor]:
    """One stream (docs/stream_format.md) for each image; as ``huffman_encode``, with rANS.

    encode_table: of ``rans_tables``. Any level can be encoded, also outside the table's.
    classes: u8 [N, ceil(H/2), ceil(W/2)], the class (below C, 2..8) of each cell of 2 x 2
    positions. table_of is then [1 + K*C]: the table of the map of classes, and of each class of
    each component; see ``arrange``.
    Returns bytes u8 [N, bound] and used i64 [N]: stream n is bytes[n, :used[n]], zeros follow.
    """
    return _ops.rans_encode(
        levels, lo, table_of, encode_table, table_id, crop_h, crop_w, classes, lane_values
    )


def rans_decode(
    bytes: Tensor,
    used: Tensor,
    lo: int,
    table_of: Tensor,
    decode_table: Tensor,
    base: Tensor,
    table_id: int,
    channels: int,
    height: int,
    width: int,
    max_values: int = MAX_VALUES,
) -> tuple[Tensor, Tensor]:
    """Levels of streams of ``rans_encode``; as ``huffman_decode``, with rANS.

    decode_table, base: of ``rans_tables``; table_of may be one for classes of positions. Returns
    levels int16 [N, channels, height, width] and status i32 [N] (see ``check_status``). Never
    raises for damaged bytes.
    """
    return _ops.rans_decode(
        bytes, used, lo, table_of, decode_table, base, table_id, channels, height, width, max_values
    )
