"""A coding point in one operator each way, for codecs and tensors that these operators take.

They are for the CPU; for all else there are the stages one by one, which give the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .. import ops
from ..limits import NO_LIMIT
from ..ops import UNLIMITED, Limits, PointClasses, PointCounts, PointLevels, PointSymbols

if TYPE_CHECKING:
    from .codec import TensorCodec


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
    return not in_double or (not folded and _in_one_pass(codec))


def encode(
    codec: TensorCodec,
    x: torch.Tensor,
    crop: tuple[int, int],
    forward_folded: bool = False,
    counting: bool = False,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Streams of planes x [N, C, H, W]: bytes, used, the number of clamped values and a histogram.

    As ``ops.encode_point`` returns them. crop: as for ``TensorCodec.encode_levels``. forward_folded:
    x is transformed already. counting: whether the histogram of ``TensorCodec.count`` is made.
    """
    tables = codec.coder.point_tables(True)
    assert tables is not None
    x, levels = _before(codec, x, forward_folded)
    of_levels = levels, codec.quantizer.lo, codec.quantizer.hi, _symbols(codec), _classes(codec)
    lanes = codec.coder.lane_values
    return ops.encode_point(x, *of_levels, tables, crop, lanes, _counts(codec, counting))


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
    inverse, mean = _back(codec, inverse_folded)
    fused = inverse is not None
    levels = PointLevels(inverse, mean, *codec.quantizer.frequencies, codec.quantizer.step)
    x, status = ops.decode_point(
        data,
        used,
        size,
        tables,
        _symbols(codec),
        levels,
        _crop_of_quantizer(codec, crop),
        limits if fused else UNLIMITED,
        dtype if fused or inverse_folded else torch.float32,
        NO_LIMIT,
    )
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
    x, levels = _before(codec, x, forward_folded)
    inverse, mean = _back(codec, inverse_folded)
    fused = inverse is not None
    if not fused and not inverse_folded:
        x = x.float()  # what is transformed afterwards
    y, clamped, counts = ops.simulate_point(
        x,
        levels,
        codec.quantizer.lo,
        codec.quantizer.hi,
        (inverse, mean),
        _symbols(codec),
        _classes(codec),
        limits if fused else UNLIMITED,
        codec.coder.lo,
        _counts(codec, counting),
    )
    if y.dtype != dtype and (fused or inverse_folded):
        y = y.to(dtype)
    return _after(codec, y, crop, inverse_folded, fused, limits, dtype), clamped, counts


def _in_one_pass(codec: TensorCodec) -> bool:
    return codec.transform.in_one_pass(codec.quantizer)


def _before(
    codec: TensorCodec, x: torch.Tensor, folded: bool
) -> tuple[torch.Tensor, PointLevels]:
    """What goes into the operator for planes x, and how it makes levels of it."""
    transform, quantizer = codec.transform, codec.quantizer
    matrix = offset = None
    if not folded:
        x = codec.block.split(x)
        if _in_one_pass(codec):
            matrix, offset = transform.product
        else:
            x = transform.forward(x)
    return x, PointLevels(matrix, offset, *quantizer.frequencies, quantizer.step)


def _back(codec: TensorCodec, folded: bool) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The matrix and offset that the operator applies on the way back."""
    if folded or not _in_one_pass(codec):
        return None, None
    return codec.transform.product_back


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


def _symbols(codec: TensorCodec) -> PointSymbols:
    of = codec.symbol_map
    return PointSymbols(of.coefficients, of.shifts, of.planes)


def _classes(codec: TensorCodec) -> PointClasses:
    of = codec.position_classes
    return PointClasses(None, None) if of is None else PointClasses(of.weights, of.thresholds)


def _counts(codec: TensorCodec, counting: bool) -> PointCounts:
    if not counting:
        return PointCounts()
    return PointCounts(codec.class_of, *codec.histogram.shape)
