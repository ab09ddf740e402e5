"""A coding point in one operator each way, for codecs and tensors that these operators take.

They are for the CPU; for all else there are the stages one by one, which give the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from .. import ops
from ..limits import NO_LIMIT
from ..ops import UNLIMITED, Limits

if TYPE_CHECKING:
    from .codec import TensorCodec


Product = tuple[torch.Tensor | None, torch.Tensor | None]  # a matrix and an offset
Parameters = tuple[Any, ...]  # of an operator, in its order
NO_PRODUCT: Product = (None, None)


def fuses(codec: TensorCodec, x: torch.Tensor, folded: bool = False) -> bool:
    """Whether the operators take this codec and tensor, and give what its stages give.

    folded: a transform is part of what is around. Values of float64 that are not transformed are
    quantised and made as such, which these operators do not.
    """
    if x.device.type != "cpu" or not codec.quantizer.fuses:
        return False
    if codec.coder.point_tables(False) is None:
        return False
    in_double = x.dtype == torch.float64 and codec.quantizer.one_step
    return not in_double or (not folded and codec.transform.one_product)


def encode(
    codec: TensorCodec,
    x: torch.Tensor,
    crop: tuple[int, int],
    forward_folded: bool = False,
    counting: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Streams of planes x [N, C, H, W]: bytes, used, the number of clamped values and a histogram.

    As ``ops.encode_point`` returns them. crop: as for ``TensorCodec.encode_levels``.
    forward_folded: x is transformed already. counting: whether the histogram of
    ``TensorCodec.count`` is made.
    """
    tables = codec.coder.point_tables(True)
    assert tables is not None
    x, product = _before(codec, x, forward_folded)
    coder, symbols_from, table_of, table, _, table_id = tables
    of_levels = *product, *_quantizer(codec), codec.quantizer.lo, codec.quantizer.hi
    of_coder = coder, symbols_from, table_of, table, table_id, *crop, codec.coder.lane_values
    of_symbols = *_symbols(codec), *_classes(codec)
    parameters: Parameters = (*of_levels, *of_symbols, *of_coder, *_counts(codec, counting))
    return ops.encode_point(x, *parameters)


def decode(
    codec: TensorCodec,
    data: torch.Tensor,
    used: torch.Tensor,
    size: tuple[int, int],
    crop: tuple[int, int],
    inverse_folded: bool = False,
    limits: Limits = UNLIMITED,
    dtype: torch.dtype = torch.float32,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Planes [N, C, H, W] of such streams, and a status i32 [N] of each.

    size: rows and columns of the levels. inverse_folded: what leaves stays transformed, and without
    limits.
    """
    tables = codec.coder.point_tables(False)
    assert tables is not None
    product = _back(codec, inverse_folded)
    fused = product[0] is not None
    of_levels = *_symbols(codec), *product, *_quantizer(codec)
    within = limits if fused else UNLIMITED
    made = dtype if fused or inverse_folded else torch.float32
    of_values = *_crop_of_quantizer(codec, crop), *within, made, NO_LIMIT
    parameters: Parameters = (*size, *tables, *of_levels, *of_values)
    x, status = ops.decode_point(data, used, *parameters)
    return _after(codec, x, crop, inverse_folded, fused, limits, dtype), status


def simulate(
    codec: TensorCodec,
    x: torch.Tensor,
    crop: tuple[int, int],
    forward_folded: bool = False,
    inverse_folded: bool = False,
    limits: Limits = UNLIMITED,
    counting: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What ``decode`` gives of the streams of ``encode``, clamped values and histogram."""
    dtype = x.dtype
    x, product = _before(codec, x, forward_folded)
    back = _back(codec, inverse_folded)
    fused = back[0] is not None
    if not fused and not inverse_folded:
        x = x.float()  # what is transformed afterwards
    of_levels = *product, *back, *_quantizer(codec), codec.quantizer.lo, codec.quantizer.hi
    of_symbols = *_symbols(codec), *_classes(codec), *(limits if fused else UNLIMITED)
    counts = codec.coder.lo, *_counts(codec, counting)
    parameters: Parameters = (*of_levels, *of_symbols, *counts)
    y, clamped, counted = ops.simulate_point(x, *parameters)
    if y.dtype != dtype and (fused or inverse_folded):
        y = y.to(dtype)
    return _after(codec, y, crop, inverse_folded, fused, limits, dtype), clamped, counted


def _before(codec: TensorCodec, x: torch.Tensor, folded: bool) -> tuple[torch.Tensor, Product]:
    """What goes into the operator for planes x, and the matrix and offset that it applies."""
    if folded:
        return x, NO_PRODUCT
    x = codec.block.split(x)
    if codec.transform.one_product:
        return x, codec.transform.product
    return codec.transform.forward(x), NO_PRODUCT


def _back(codec: TensorCodec, folded: bool) -> Product:
    """The matrix and offset that the operator applies on the way back."""
    if folded or not codec.transform.one_product:
        return NO_PRODUCT
    return codec.transform.product_back


def _quantizer(codec: TensorCodec) -> tuple[torch.Tensor | None, torch.Tensor | None, float]:
    return *codec.quantizer.frequencies, codec.quantizer.step


def _crop_of_quantizer(codec: TensorCodec, crop: tuple[int, int]) -> tuple[int, int]:
    """Of blocks of frequencies; that of blocks of a transform is cut off behind it."""
    return crop if codec.quantizer.size > 1 else (0, 0)


def _after(
    codec: TensorCodec,
    x: torch.Tensor,
    crop: tuple[int, int],
    folded: bool,
    fused: bool,
    limits: Limits,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Planes of what the operator gives; fused: with the way back in it."""
    if folded:
        return x
    if not fused:
        x = codec.transform.back(x, limits, dtype)
    return codec.block.join(x, codec.channels, crop)


def _symbols(codec: TensorCodec) -> tuple[torch.Tensor, torch.Tensor, int]:
    of = codec.symbol_map
    return of.coefficients, of.shifts, of.planes


def _classes(codec: TensorCodec) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    of = codec.position_classes
    return (None, None) if of is None else (of.weights, of.thresholds)


def _counts(codec: TensorCodec, counting: bool) -> tuple[torch.Tensor | None, int, int]:
    return (codec.class_of, *codec.histogram.shape) if counting else (None, 0, 0)
