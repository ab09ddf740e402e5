"""Coding points as modules of the compressed network; they also count what passes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn

from .. import ops
from ..codec import fused
from ..codec.codec import Codec, TensorCodec
from ..codec.coders import rows_of
from ..codec.counted import Counted, Statistics
from ..codec.plain import PlainCodec
from ..codec.transform import limited
from ..ops import UNLIMITED, Bytes, Limits
from ..planes import Layout


class CodingPoint(nn.Module):
    """Common part: mode and statistics.

    layout: of the tensor; the codec works on its planes. counting: whether what passes is counted.
    reads: how often the tensor is read after it was written (for the energy of the accesses).
    """

    codec: Codec

    def __init__(self, codec: Codec, statistics: Statistics):
        super().__init__()
        self.codec, self.statistics = codec, statistics
        self.layout = Layout()
        self.mode, self.counting, self.reads = "stream", True, 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layout.restored(self.pass_planes(self.layout.planes(x)), x.shape)

    def pass_planes(self, x: torch.Tensor) -> torch.Tensor:
        """What planes [N, C, H, W] are after they were coded."""
        raise NotImplementedError

    @property
    def counted(self) -> Counted | None:
        """What has been counted; None until something has passed."""
        counted = self.counts()
        return counted if counted.values else None

    def counts(self) -> Counted:
        """What has been counted, of nothing at first."""
        return self.statistics.counted()

    def reset(self) -> None:
        """Forget what has been counted."""
        self.statistics.reset()


class Streamed(NamedTuple):
    """What became of a tensor: y as it leaves the point, and what was measured on the way.

    data: u8 [N, bytes], of which used i64 [N] each are a stream. status: i32 [N], what decoding it
    said. clamped: i64 [], how many values were. histogram: of the symbols, None if nobody asked.
    """

    y: torch.Tensor
    data: torch.Tensor
    used: torch.Tensor
    status: torch.Tensor
    clamped: torch.Tensor
    histogram: torch.Tensor | None


class CodedPoint(CodingPoint):
    """quantise -> [encode -> decode] -> dequantise, with the transforms that are not folded.

    forward_folded: the input is transformed already, [N, K, H, W], by the convolution before it.
    inverse_folded: the output stays transformed; the convolutions that read it hold the inverse.
    limits: of the output's values: the activation that follows, which the point then applies.
    """

    codec: TensorCodec

    def __init__(
        self, codec: TensorCodec, forward_folded: bool = False, inverse_folded: bool = False
    ):
        super().__init__(codec, Statistics(codec.channels, *codec.histogram.shape))
        self.forward_folded = forward_folded
        self.inverse_folded = inverse_folded
        self.limits: Limits = UNLIMITED

    def pass_planes(self, x: torch.Tensor) -> torch.Tensor:
        if self.mode == "float":
            return self._transformed(x, self.codec.tile.crop(*x.shape[2:]))
        if self.mode == "stream":
            coded = self.stream(x, self.counting)
            ops.check_status(coded.status)
            y, clamped, histogram, used = coded.y, coded.clamped, coded.histogram, coded.used
        else:
            y, clamped, histogram = self._simulated(x, self.counting)
            used = None
        if histogram is not None:
            self._count(x, histogram, clamped, used)
        return y

    def stream(self, x: torch.Tensor, counting: bool) -> Streamed:
        """What becomes of planes [N, C, H, W], really made streams and decoded; nothing raises.

        By one operator each way where they know the codec and the tensor.
        """
        codec, crop = self.codec, self.codec.tile.crop(*x.shape[2:])
        size = codec.tile.cover(*x.shape[2:])
        if self._fuses(x):
            made = fused.encode(codec, x, crop, self.forward_folded, counting)
            data, used, clamped, histogram = made
            y, status = fused.decode(
                codec, data, used, size, crop, self.inverse_folded, self.limits, x.dtype
            )
            return Streamed(y, data, used, status, clamped, histogram if counting else None)
        levels, clamped = self.quantize(x)
        symbols = codec.symbols(levels)
        data, used = codec.encode_symbols(symbols, crop)
        counted = codec.count(symbols) if counting else None
        decoded, status = codec.coder.decode_unchecked(data, used, *levels.shape[2:])
        y = self.dequantize(codec.symbol_map.levels(decoded), crop, x.dtype)
        return Streamed(y, data, used, status, clamped, counted)

    def _simulated(
        self, x: torch.Tensor, counting: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """The same y without streams, how many values were clamped, and a histogram if counting."""
        codec, crop = self.codec, self.codec.tile.crop(*x.shape[2:])
        if self._fuses(x):
            folded = self.forward_folded, self.inverse_folded
            y, clamped, counts = fused.simulate(codec, x, crop, *folded, self.limits, counting)
            return y, clamped, counts if counting else None
        levels, clamped = self.quantize(x)
        counted = codec.count(codec.symbols(levels)) if counting else None
        return self.dequantize(levels, crop, x.dtype), clamped, counted

    def _fuses(self, x: torch.Tensor) -> bool:
        return fused.fuses(self.codec, x, self.forward_folded or self.inverse_folded)

    def encode(self, x: torch.Tensor) -> list[bytes]:
        """The stream of each image of what comes to the point."""
        planes = self.layout.planes(x)
        crop = self.codec.tile.crop(*planes.shape[2:])
        histogram: torch.Tensor | None
        if self._fuses(planes):
            made = fused.encode(self.codec, planes, crop, self.forward_folded, self.counting)
            data, used, clamped, histogram = made
        else:
            levels, clamped = self.quantize(planes)
            symbols = self.codec.symbols(levels)
            data, used = self.codec.encode_symbols(symbols, crop)
            histogram = self.codec.count(symbols) if self.counting else None
        if self.counting:
            self._count(planes, histogram, clamped, used)
        return rows_of(data, used)

    def decode(self, streams: Sequence[Bytes], like: torch.Tensor, max_values: int) -> torch.Tensor:
        """What leaves the point for such streams; like: what came to it, but for images and H, W.

        Raises StreamError unless they are its codec's, and of at most max_values values.
        """
        if not streams:
            return torch.empty(0, *like.shape[1:], dtype=like.dtype, device=self.codec.device)
        levels, crop = self.codec.levels_of(streams, max_values)
        planes = self.dequantize(levels, crop, like.dtype)
        return self.layout.restored(planes, self._shape(planes, like.shape))

    def decoded_shape(
        self, streams: Sequence[Bytes], like: torch.Tensor, max_values: int
    ) -> torch.Size:
        """Of what ``decode`` would give, but for images, by the streams' headers alone.

        That of the planes where a tensor like this cannot have such positions.
        """
        if not streams:
            return like.shape[1:]
        positions = self.codec.positions_of(streams, max_values)
        layout = self.layout
        planes = torch.empty(1, like.shape[layout.channels], *positions, device="meta")
        shape = self._shape(planes, like.shape)
        places = [n for d, n in enumerate(shape) if d not in (layout.batch, layout.channels)]
        if layout.windows * math.prod(places) != math.prod(positions):
            return planes.shape[1:]
        return layout.restored(planes, shape).shape[1:]

    def simulate(self, x: torch.Tensor) -> torch.Tensor:
        """What leaves the point for the streams of what comes to it, without making them."""
        made, *_ = self._simulated(self.layout.planes(x), False)
        return self.layout.restored(made, x.shape)

    def shape_of(self, x: torch.Tensor) -> list[int]:
        """Channels, rows and columns of an image's tensor, of what comes to the point."""
        return [self.codec.channels, *self.layout.planes(x).shape[2:]]

    def _shape(self, planes: torch.Tensor, like: torch.Size) -> torch.Size:
        """Of a tensor of these planes, whose positions have as many dimensions as another's."""
        expected = self.layout.planes(torch.empty(like, device="meta")).shape[2:]
        if len(like) > 4 or self.layout.windows > 1 or planes.shape[2:] == expected:
            return like
        positions = list(planes.shape[2:])[4 - len(like) :]
        return torch.Size(
            0 if d in (self.layout.batch, self.layout.channels) else positions.pop(0)
            for d in range(len(like))
        )

    def quantize(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Levels of the point's input, and how many were clamped."""
        codec = self.codec
        return codec.quantizer.quantize(x) if self.forward_folded else codec.quantize(x)

    def dequantize(
        self, levels: torch.Tensor, crop: tuple[int, int], dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """The point's output of levels."""
        if self.inverse_folded:
            return self.codec.quantizer.dequantize(levels, dtype, crop)
        return self.codec.dequantize(levels, crop, self.limits, dtype)

    def _transformed(self, x: torch.Tensor, crop: tuple[int, int]) -> torch.Tensor:
        """What comes out without a quantiser."""
        y = x if self.forward_folded else self.codec.forward(x)
        if not self.inverse_folded:
            y = limited(self.codec.inverse(y.float(), crop), self.limits)
        return y.to(x.dtype)

    def _count(
        self,
        x: torch.Tensor,
        histogram: torch.Tensor | None,
        clamped: torch.Tensor,
        used: torch.Tensor | None,
    ) -> None:
        stream_bytes = None if used is None else used.sum()
        self.statistics.add(x.shape, clamped, nans_of(x, clamped), histogram, stream_bytes)


class ReusingPoint(CodedPoint):
    """A point behind a 1x1 convolution of levels, which are its levels, too: they stay as they are.

    Its input is what leaves ``source``, still transformed, and the convolution is part of its own
    transform (docs/method.md, "Levels used again"). So its streams are those of ``source``, byte
    for byte: they are counted here as often as there, and made and decoded there alone.
    """

    source: CodedPoint

    def __init__(self, codec: TensorCodec, source: CodedPoint, inverse_folded: bool = False):
        super().__init__(codec, forward_folded=True, inverse_folded=inverse_folded)
        vars(self)["source"] = source  # no part of this point

    def pass_planes(self, x: torch.Tensor) -> torch.Tensor:
        if self.inverse_folded:
            return x
        return self.codec.transform.back(x, self.limits, x.dtype)

    def counts(self) -> Counted:
        of = self.source.counts()
        channels, of_source = self.codec.channels, self.source.codec.channels
        return replace(
            of,
            values=of.values // of_source * channels,
            streamed=of.streamed // of_source * channels,
            shape=(channels, *of.shape[1:]) if of.shape else (),
            clamped=0,  # what was, was within the levels when it came here
            nans=0,
        )

    def _count(self, *_: object) -> None:
        """The source does."""


class PlainPoint(CodingPoint):
    """A layer that the user left out: really quantised, counted at its plain width."""

    codec: PlainCodec

    def __init__(self, codec: PlainCodec):
        super().__init__(codec, Statistics(codec.channels))

    def pass_planes(self, x: torch.Tensor) -> torch.Tensor:
        if self.mode == "float":
            return x
        levels, clamped = self.codec.quantizer.quantize(x)
        if self.counting:
            streamed = None
            if self.mode == "stream":
                streamed = clamped.new_full((), x.numel() * self.codec.bits // 8)
            nans = nans_of(x, clamped)
            self.statistics.add(x.shape, clamped, nans, stream_bytes=streamed)
        return self.codec.quantizer.dequantize(levels, x.dtype)


def nans_of(x: torch.Tensor, clamped: torch.Tensor) -> torch.Tensor:
    """How many values are NaN, i64 []; clamped: how many were clamped, which all these are."""
    if not torch.compiler.is_compiling() and clamped.device.type == "cpu" and not clamped:
        return clamped  # the usual case, without a look at the tensor
    return x.isnan().sum()


def make_point(codec: Codec, forward_folded: bool = False, inverse_folded: bool = False):
    """The coding point of a codec, for which nothing is folded by default."""
    if isinstance(codec, PlainCodec):
        return PlainPoint(codec)
    return CodedPoint(codec, forward_folded, inverse_folded)
