"""Operators of the coders that have no tables, but words of so many bits."""

from __future__ import annotations

from torch import Tensor

from .. import ops
from ..limits import MAX_VALUES


def ebpc_encode(
    levels: Tensor,
    lo: int,
    word_bits: int,
    table_id: int,
    crop_h: int = 0,
    crop_w: int = 0,
    lane_values: int = 0,
) -> tuple[Tensor, Tensor]:
    """One stream for each image by extended bit-plane compression (Cavigelli et al., 2019).

    levels: int16 [N, K, H, W], from lo to lo + 2**word_bits - 1; word_bits: 1..15. Zeros are coded
    in runs, all others in octuples of 8 words, level - lo. The rest is as for ``huffman_encode``; a
    chunk is one lane.
    Returns bytes u8 [N, bound] and used i64 [N]: stream n is bytes[n, :used[n]], zeros follow.
    Raises RuntimeError for a level outside that range; on CUDA the size is then minus the status.
    """
    return ops._ops.ebpc_encode(levels, lo, word_bits, table_id, crop_h, crop_w, lane_values)


def ebpc_decode(
    bytes: Tensor,
    used: Tensor,
    lo: int,
    word_bits: int,
    table_id: int,
    channels: int,
    height: int,
    width: int,
    max_values: int = MAX_VALUES,
) -> tuple[Tensor, Tensor]:
    """Levels of streams of ``ebpc_encode``; as ``huffman_decode``.

    Returns levels int16 [N, channels, height, width] and status i32 [N] (see ``check_status``).
    Never raises for damaged bytes.
    """
    return ops._ops.ebpc_decode(
        bytes, used, lo, word_bits, table_id, channels, height, width, max_values
    )


def dct_cm_encode(
    levels: Tensor,
    lo: int,
    word_bits: int,
    table_id: int,
    crop_h: int = 0,
    crop_w: int = 0,
    lane_values: int = 0,
) -> tuple[Tensor, Tensor]:
    """One stream for each image: a mask with a bit for each level, and the words of the others.

    That is the coding format of DCT-CM (2021), as far as its abstract tells. Arguments and results
    are those of ``ebpc_encode``.
    """
    return ops._ops.dct_cm_encode(levels, lo, word_bits, table_id, crop_h, crop_w, lane_values)


def dct_cm_decode(
    bytes: Tensor,
    used: Tensor,
    lo: int,
    word_bits: int,
    table_id: int,
    channels: int,
    height: int,
    width: int,
    max_values: int = MAX_VALUES,
) -> tuple[Tensor, Tensor]:
    """Levels of streams of ``dct_cm_encode``; as ``ebpc_decode``."""
    return ops._ops.dct_cm_decode(
        bytes, used, lo, word_bits, table_id, channels, height, width, max_values
    )
