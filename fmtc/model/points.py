"""Coding points as modules of the compressed network; they also count what passes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from ..codec.codec import Quantizer, Symbols, TensorCodec
from ..codec.transform import UNLIMITED, limited
from ..errors import CalibrationError
from ..ops.devices import move_tensors


@dataclass
class Counted:
    """What has passed a coding point. ``values`` are those of the original tensors (N*C*H*W).

    histogram: i64 [classes, L] of the coded symbols, None for a plain (uncoded) layer.
    streamed, stream_bytes: values that went through streams, and the bytes of those.
    shape: [C, H, W] of the last tensor.
    What the operators count stays a tensor on their device, so that nothing waits for it.
    """

    histogram: torch.Tensor | None
    values: int = 0
    clamped: int | torch.Tensor = 0
    streamed: int = 0
    stream_bytes: int | torch.Tensor = 0
    shape: tuple[int, ...] = ()

    @classmethod
    def sum(cls, parts: Iterable[Counted | None]) -> Counted | None:
        """What was counted in several processes; None where nothing has passed in any."""
        total: Counted | None = None
        for part in parts:
            if part is None:
                continue
            if total is None:
                total = cls(None, shape=part.shape)
            if part.histogram is not None:
                before = 0 if total.histogram is None else total.histogram
                total.histogram = before + part.histogram
            total.values += part.values
            total.clamped += int(part.clamped)
            total.streamed += part.streamed
            total.stream_bytes += int(part.stream_bytes)
        return total


class CodingPoint(nn.Module):
    """Common part: mode, counters. ``counted`` is None until something has passed.

    reads: how often the tensor is read after it was written (for the energy of the accesses).
    """

    def __init__(self):
        super().__init__()
        self.mode = "stream"
        self.counted: Counted | None = None
        self.reads = 1

    def reset(self) -> None:
        self.counted = None

    def _apply(self, fn, recurse=True):
        """Takes the codec, which is no module, along to another device."""
        device = fn(torch.empty(0)).device
        move_tensors(self.codec, device)
        if self.counted is not None:
            move_tensors(self.counted, device)
        return super()._apply(fn, recurse)


class CodedPoint(CodingPoint):
    """quantise -> [encode -> decode] -> dequantise, with the transforms that are not folded.

    forward_folded: the input is transformed already, [N, K, H, W], by the convolution before it.
    inverse_folded: the output stays transformed; the convolutions that read it hold the inverse.
    limits: of the output's values: the activation that follows, which the point then applies.
    """

    def __init__(
        self, codec: TensorCodec, forward_folded: bool = False, inverse_folded: bool = False
    ):
        super().__init__()
        self.codec = codec
        self.forward_folded = forward_folded
        self.inverse_folded = inverse_folded
        self.limits = UNLIMITED

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        crop = self.codec.block.crop(*x.shape[2:])
        if self.mode == "float":
            return self._transformed(x, crop)
        levels, clamped = self.quantize(x)
        symbols = self.codec.symbols(levels)
        self._count(x, symbols, clamped)
        if self.mode == "stream":
            levels = self._through_stream(symbols, crop)
        return self.dequantize(levels, crop)

    def quantize(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Levels of the point's input, and how many were clamped."""
        codec = self.codec
        return codec.quantizer.quantize(x) if self.forward_folded else codec.quantize(x)

    def dequantize(self, levels: torch.Tensor, crop: tuple[int, int]) -> torch.Tensor:
        """The point's output of levels."""
        if self.inverse_folded:
            return self.codec.quantizer.dequantize(levels)
        return self.codec.dequantize(levels, crop, self.limits)

    def _transformed(self, x: torch.Tensor, crop: tuple[int, int]) -> torch.Tensor:
        """What comes out without a quantiser."""
        y = x if self.forward_folded else self.codec.forward(x)
        return y if self.inverse_folded else limited(self.codec.inverse(y, crop), self.limits)

    def _through_stream(self, symbols: Symbols, crop: tuple[int, int]) -> torch.Tensor:
        data, used = self.codec.encode_symbols(symbols, crop)
        self.counted.stream_bytes = self.counted.stream_bytes + used.sum()
        return self.codec.decode_levels(data, used, *symbols.planes.shape[2:])

    def _count(self, x: torch.Tensor, symbols: Symbols, clamped: torch.Tensor) -> None:
        codec = self.codec
        if self.counted is None:
            self.counted = Counted(torch.zeros_like(codec.histogram))
        counted = self.counted
        counted.histogram += codec.count(symbols)
        values = x.shape[0] * codec.channels * x.shape[2] * x.shape[3]
        counted.values += values
        counted.streamed += values if self.mode == "stream" else 0
        counted.clamped = counted.clamped + clamped
        counted.shape = (codec.channels, *x.shape[2:])


@dataclass(frozen=True)
class PlainCodec:
    """Uniform quantisation of an excluded layer at ``bits`` bits, without transform or coder."""

    quantizer: Quantizer
    bits: int
    channels: int
    mse: float
    values: int

    @classmethod
    def fit(cls, tensors: list[torch.Tensor], bits: int, name: str = "tensor") -> PlainCodec:
        """Range of the calibration values, with 0 a level, as 2^bits levels."""
        if not all(x.isfinite().all() for x in tensors):
            raise CalibrationError(f"{name}: calibration values contain NaN or Inf")
        low = min(0.0, *(float(x.min()) for x in tensors))
        high = max(0.0, *(float(x.max()) for x in tensors))
        step = (high - low) / (2**bits - 1)
        step = float(torch.tensor(step, dtype=torch.float32)) or 1.0
        lo = round(low / step)
        quantizer = Quantizer(step, lo, lo + 2**bits - 1)
        squared = 0.0
        for x in tensors:
            decoded = quantizer.dequantize(quantizer.quantize(x)[0])
            squared += float((decoded - x).double().square().sum())
        values = sum(x.numel() for x in tensors)
        return cls(quantizer, bits, tensors[0].shape[1], squared / values, values)

    def simulate(self, x: torch.Tensor) -> torch.Tensor:
        return self.quantizer.dequantize(self.quantizer.quantize(x)[0])


class PlainPoint(CodingPoint):
    """A layer that the user left out: really quantised, counted at its plain width."""

    def __init__(self, codec: PlainCodec):
        super().__init__()
        self.codec = codec

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.mode == "float":
            return x
        levels, clamped = self.codec.quantizer.quantize(x)
        if self.counted is None:
            self.counted = Counted(None)
        self.counted.values += x.numel()
        self.counted.clamped = self.counted.clamped + clamped
        self.counted.shape = tuple(x.shape[1:])
        if self.mode == "stream":
            self.counted.streamed += x.numel()
            self.counted.stream_bytes += x.numel() * self.codec.bits // 8
        return self.codec.quantizer.dequantize(levels)


def make_point(codec: TensorCodec | PlainCodec, **folded: bool) -> CodingPoint:
    """The coding point of a codec; ``folded`` as for CodedPoint, nothing by default."""
    if isinstance(codec, PlainCodec):
        return PlainPoint(codec)
    return CodedPoint(codec, **folded)
