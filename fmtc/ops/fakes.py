"""Fakes of the operators: shapes and dtypes without data, for torch.compile and torch.export."""

from __future__ import annotations

import torch
from torch import Tensor, library

# Bytes of a stream's header at most; and for each encoder the most lanes of a chunk, and the values
# of a lane where these are left to it (make_header of csrc/core/stream.h).
_HEADER_BYTES = 68
_HUFFMAN_LANES, _HUFFMAN_LANES_OF_ITS_OWN, _HUFFMAN_LANE_VALUES = 16, 4, 16384
_RANS_LANES, _RANS_LANE_VALUES = 32, 4096
_WORDS_CHUNK_VALUES = 65536


@library.register_fake("fmtc::channel_moments")
def _(x):
    channels = x.shape[1]
    return (
        x.new_empty((), dtype=torch.int64),
        x.new_empty(channels, dtype=torch.float64),
        x.new_empty(channels, channels, dtype=torch.float64),
    )


@library.register_fake("fmtc::merge_moments")
def _(count_a, mean_a, m2_a, count_b, mean_b, m2_b):
    return count_a.new_empty(()), mean_a.new_empty(mean_a.shape), m2_a.new_empty(m2_a.shape)


@library.register_fake("fmtc::pca")
def _(covariance):
    return covariance.new_empty(covariance.shape[:-1]), covariance.new_empty(covariance.shape)


@library.register_fake("fmtc::quantize")
def _(y, step, lo, hi):
    return y.new_empty(y.shape, dtype=torch.int16), y.new_empty((), dtype=torch.int64)


@library.register_fake("fmtc::transform_channels")
def _(x, matrix, offset, least=None, most=None):
    images, _, height, width = x.shape
    return x.new_empty(images, matrix.shape[0], height, width, dtype=torch.float32)


@library.register_fake("fmtc::transform_quantize")
def _(x, matrix, offset, step, lo, hi):
    images, _, height, width = x.shape
    return (
        x.new_empty(images, matrix.shape[0], height, width, dtype=torch.int16),
        x.new_empty((), dtype=torch.int64),
    )


@library.register_fake("fmtc::dequantize_transform")
def _(levels, matrix, offset, step, least=None, most=None, dtype="float32"):
    images, _, height, width = levels.shape
    return levels.new_empty(images, matrix.shape[0], height, width, dtype=getattr(torch, dtype))


@library.register_fake("fmtc::dequantize")
def _(levels, step, dtype="float32"):
    return levels.new_empty(levels.shape, dtype=getattr(torch, dtype))


@library.register_fake("fmtc::quantize_scaled")
def _(y, format, block, layer_scale, lo, hi):
    images, channels, height, width = y.shape
    planes = channels + (-(-channels // block) if block else min(channels, 1))
    return (
        y.new_empty(images, planes, height, width, dtype=torch.int16),
        y.new_empty((), dtype=torch.int64),
    )


@library.register_fake("fmtc::dequantize_scaled")
def _(levels, format, block, layer_scale, dtype="float32"):
    images, planes, height, width = levels.shape
    channels = planes - (-(-planes // (block + 1)) if block else min(planes, 1))
    return levels.new_empty(images, channels, height, width, dtype=getattr(torch, dtype))


@library.register_fake("fmtc::dct_quantize")
def _(y, places, planes, steps, lo, hi):
    size = 2 if places.shape[1] == 4 else 4
    images, _, height, width = y.shape
    rows, columns = (height + size - 1) // size, (width + size - 1) // size
    levels = y.new_empty(images, planes, rows, columns, dtype=torch.int16)
    return levels, y.new_empty((), dtype=torch.int64)


@library.register_fake("fmtc::dequantize_dct")
def _(levels, places, height, width, steps, dtype="float32"):
    shape = levels.shape[0], places.shape[0], height, width
    return levels.new_empty(shape, dtype=getattr(torch, dtype))


@library.register_fake("fmtc::predict")
@library.register_fake("fmtc::unpredict")
def _(values, coefficients):
    return values.new_empty(values.shape)


def _blocks(size: int) -> int:
    return (size + 1) // 2


@library.register_fake("fmtc::position_activity")
def _(levels, weights):
    images, _, height, width = levels.shape
    return levels.new_empty(images, _blocks(height), _blocks(width), dtype=torch.int64)


@library.register_fake("fmtc::arrange")
def _(levels, classes, num_classes):
    images, components, height, width = levels.shape
    values = _blocks(height) * _blocks(width) + components * height * width
    return (
        levels.new_empty(images, values),
        levels.new_empty(images, num_classes, dtype=torch.int64),
    )


@library.register_fake("fmtc::position_histogram")
def _(levels, classes, num_classes, lo, hi, groups, num_groups):
    return levels.new_empty(num_groups, hi - lo + 1, dtype=torch.int64)


@library.register_fake("fmtc::histogram")
def _(levels, lo, hi, groups, num_groups):
    return levels.new_empty(num_groups, hi - lo + 1, dtype=torch.int64)


@library.register_fake("fmtc::entropy")
def _(counts):
    return counts.new_empty(counts.shape[:-1], dtype=torch.float64)


@library.register_fake("fmtc::accumulate_")
def _(total, part):
    return None


@library.register_fake("fmtc::huffman_lengths")
def _(counts, max_length):
    return counts.new_empty(counts.shape, dtype=torch.uint8)


@library.register_fake("fmtc::huffman_tables")
def _(lengths):
    tables, symbols = lengths.shape
    decode_entries = library.get_ctx().new_dynamic_size(min=2, max=2**15)
    return (
        lengths.new_empty(tables, symbols, dtype=torch.int32),
        lengths.new_empty(tables, decode_entries, dtype=torch.int32),
    )


def _buffer_bytes(
    levels: Tensor, of_value: int, chunk_values: int, of_chunk: int, classes: bool = False
) -> int:
    """The bound that an encoder allocates for an image: of values, chunks, and the header."""
    _, channels, height, width = levels.shape
    values = channels * height * width + (_blocks(height) * _blocks(width) if classes else 0)
    chunks = (values + chunk_values - 1) // chunk_values
    return of_value * values + of_chunk * chunks + _HEADER_BYTES


def _fake_streams(levels: Tensor, buffer_bytes: int) -> tuple[Tensor, Tensor]:
    images = levels.shape[0]
    return (
        levels.new_empty(images, buffer_bytes, dtype=torch.uint8),
        levels.new_empty(images, dtype=torch.int64),
    )


def _fake_levels(bytes: Tensor, *shape: int) -> tuple[Tensor, Tensor]:
    images = bytes.shape[0]
    return (
        bytes.new_empty(images, *shape, dtype=torch.int16),
        bytes.new_empty(images, dtype=torch.int32),
    )


@library.register_fake("fmtc::huffman_encode")
def _(levels, lo, table_of, encode_table, table_id, crop_h=0, crop_w=0, lane_values=0):
    lanes = _HUFFMAN_LANES if lane_values else _HUFFMAN_LANES_OF_ITS_OWN
    chunk_values = lanes * (lane_values or _HUFFMAN_LANE_VALUES)
    return _fake_streams(levels, _buffer_bytes(levels, 2, chunk_values, 8 + 4 * lanes))


@library.register_fake("fmtc::huffman_decode")
def _(bytes, used, lo, table_of, decode_table, table_id, channels, height, width, max_values=0):
    return _fake_levels(bytes, channels, height, width)


@library.register_fake("fmtc::rans_frequencies")
@library.register_fake("fmtc::apack_frequencies")
def _(counts, log2_total):
    tables, levels = counts.shape
    return counts.new_empty(tables, levels + 1, dtype=torch.int32)


@library.register_fake("fmtc::rans_tables")
def _(frequencies):
    tables, entries = frequencies.shape
    slots = library.get_ctx().new_dynamic_size(min=2**8, max=2**12)
    return (
        frequencies.new_empty(tables, entries),
        frequencies.new_empty(tables, slots),
        frequencies.new_empty(tables, dtype=torch.int64),
    )


@library.register_fake("fmtc::rans_encode")
def _(
    levels, lo, table_of, encode_table, table_id, crop_h=0, crop_w=0, classes=None, lane_values=0
):
    chunk_values = _RANS_LANES * (lane_values or _RANS_LANE_VALUES)
    of_chunk = 8 + 4 * _RANS_LANES
    bound = _buffer_bytes(levels, 4, chunk_values, of_chunk, classes is not None)
    return _fake_streams(levels, bound)


@library.register_fake("fmtc::rans_decode")
def _(
    bytes, used, lo, table_of, decode_table, base, table_id, channels, height, width, max_values=0
):
    return _fake_levels(bytes, channels, height, width)


@library.register_fake("fmtc::ebpc_encode")
def _(levels, lo, word_bits, table_id, crop_h=0, crop_w=0, lane_values=0):
    return _fake_streams(levels, _buffer_bytes(levels, 3, lane_values or _WORDS_CHUNK_VALUES, 24))


@library.register_fake("fmtc::dct_cm_encode")
def _(levels, lo, word_bits, table_id, crop_h=0, crop_w=0, lane_values=0):
    return _fake_streams(levels, _buffer_bytes(levels, 2, lane_values or _WORDS_CHUNK_VALUES, 8))


@library.register_fake("fmtc::ebpc_decode")
@library.register_fake("fmtc::dct_cm_decode")
def _(bytes, used, lo, word_bits, table_id, channels, height, width, max_values=0):
    return _fake_levels(bytes, channels, height, width)


def _fake_counts(like: Tensor, groups: Tensor | None, num_groups: int, num_symbols: int) -> Tensor:
    shape = (0, 0) if groups is None else (num_groups, num_symbols)
    return like.new_empty(shape, dtype=torch.int64)


def _size_of_blocks(places: Tensor | None) -> int:
    if places is None:
        return 1
    return 2 if places.shape[1] == 4 else 4


@library.register_fake("fmtc::encode_point")
def _(
    x, matrix, offset, places, steps, step, lo, hi, coefficients, shifts, planes, weights,
    thresholds, coder, symbols_from, table_of, encode_table, table_id, crop_h=0, crop_w=0,
    lane_values=0, groups=None, num_groups=0, num_symbols=0,
):  # fmt: skip
    images, _, height, width = x.shape
    size = _size_of_blocks(places)
    rows, columns = (height + size - 1) // size, (width + size - 1) // size
    levels = x.new_empty(images, planes, rows, columns, dtype=torch.int16)
    if coder == "rans":
        lanes, of_value, of_chunk = _RANS_LANES, 4, 8 + 4 * _RANS_LANES
        chunk_values = lanes * (lane_values or _RANS_LANE_VALUES)
    else:
        lanes = _HUFFMAN_LANES if lane_values else _HUFFMAN_LANES_OF_ITS_OWN
        of_value, of_chunk = 2, 8 + 4 * lanes
        chunk_values = lanes * (lane_values or _HUFFMAN_LANE_VALUES)
    bound = _buffer_bytes(levels, of_value, chunk_values, of_chunk, weights is not None)
    clamped = x.new_empty((), dtype=torch.int64)
    counts = _fake_counts(x, groups, num_groups, num_symbols)
    return *_fake_streams(levels, bound), clamped, counts


def _channels_of_point(matrix_back, places, shifts):
    outermost = next(of for of in (matrix_back, places, shifts) if of is not None)
    return outermost.shape[0]


@library.register_fake("fmtc::decode_point")
def _(
    bytes, used, height, width, coder, symbols_from, table_of, decode_table, base, table_id,
    coefficients, shifts, planes, matrix, offset, places, steps, step, crop_h=0, crop_w=0,
    least=None, most=None, dtype="float32", max_values=0,
):  # fmt: skip
    channels = _channels_of_point(matrix, places, shifts)
    size = _size_of_blocks(places)
    shape = bytes.shape[0], channels, height * size - crop_h, width * size - crop_w
    x = bytes.new_empty(shape, dtype=getattr(torch, dtype))
    return x, bytes.new_empty(bytes.shape[0], dtype=torch.int32)


@library.register_fake("fmtc::simulate_point")
def _(
    x, matrix, offset, inverse, mean, places, steps, step, lo, hi, coefficients, shifts, planes,
    weights, thresholds, least=None, most=None, symbols_from=0, groups=None, num_groups=0,
    num_symbols=0,
):  # fmt: skip
    images, _, height, width = x.shape
    channels = _channels_of_point(inverse, places, shifts)
    counts = _fake_counts(x, groups, num_groups, num_symbols)
    return x.new_empty(images, channels, height, width), x.new_empty((), dtype=torch.int64), counts
