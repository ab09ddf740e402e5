"""The codec of one coding point: transform, quantiser and tables, with real streams.

The stages follow the way of a tensor and can be called alone:
``transform -> quantize -> encode -> [bytes] -> decode -> dequantize -> inverse``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch

from .. import ops
from ..calibration import ranges as baselines
from ..errors import CalibrationError
from ..ops.devices import move_tensors
from ..presets import MAX_LEVELS, Preset, get_preset
from .coders import WITH_TABLES, Tables, plane_classes
from .positions import PositionClasses
from .prediction import SymbolMap
from .transform import (
    UNLIMITED,
    Block,
    Identity,
    Limits,
    Moments,
    Transform,
    dct,
    weighted_klt,
)

# A covariance says nothing of directions that its samples cannot span: with fewer samples a channel
# than this, no component is taken for empty.
SAMPLES_PER_COMPONENT = 2
# What classes of positions add to a stream's header: their number, and how many positions each has.
POSITION_HEADER_BITS = 8 * 8
DCT_CM_BLOCK = Block(1, 1, 8)
PLAIN_BITS = 8  # width of an uncoded value: excluded layers, and what savings are counted against


@dataclass(frozen=True)
class Quantizer:
    """level = clamp(round(y / step), lo, hi); ``step`` is exactly representable in float32.

    each: (step, lo, hi) of each component, where they differ; ``step`` is then the largest of them,
    and ``lo`` and ``hi`` are the outermost.
    """

    step: float
    lo: int
    hi: int
    each: tuple[tuple[float, int, int], ...] | None = None

    @classmethod
    def fit(cls, span: float, low: float, high: float, bits: int, margin: float) -> Quantizer:
        """Paper preset: step = span / (2^b - 2), span = max - min of the transformed values."""
        return cls.between(span / (2**bits - 2), low, high, margin)

    @classmethod
    def between(cls, step: float, low: float, high: float, margin: float) -> Quantizer:
        """Levels from ``low`` to ``high`` and a share ``margin`` beyond, MAX_LEVELS at most."""
        step = float(np.float32(step)) if step > np.finfo(np.float32).tiny else 1.0
        lo, hi = round(low / step), round(high / step)
        lo = max(lo, min(hi, MAX_LEVELS // 2) + 1 - MAX_LEVELS)
        hi = min(hi, lo + MAX_LEVELS - 1)
        room = min(round(margin * (hi - lo + 1)), (MAX_LEVELS - (hi - lo + 1)) // 2)
        return cls(step, lo - room, hi + room)

    @classmethod
    def of_step(cls, step: float) -> Quantizer:
        """Any int16 level: for coders that can escape what has no place in their tables."""
        limits = np.iinfo(np.int16)
        return cls(float(np.float32(step)), int(limits.min), int(limits.max))

    @classmethod
    def of_ranges(cls, low: torch.Tensor, high: torch.Tensor, bits: torch.Tensor) -> Quantizer:
        """2^bits levels for [low, high] as GEMMLOWP has them; all [] or, for components, [K]."""
        if not low.dim():
            return cls(*baselines.grid(float(low), float(high), int(bits)))
        ranges = zip(low.tolist(), high.tolist(), bits.tolist(), strict=True)
        return cls.of_each(baselines.grid(*one) for one in ranges)

    @classmethod
    def of_each(cls, each: Iterable[Iterable]) -> Quantizer:
        """From (step, lo, hi) of each component."""
        each = tuple(map(tuple, each))
        steps, los, his = zip(*each, strict=True)
        return cls(max(steps), min(los), max(his), each)

    def keep(self, mask: torch.Tensor) -> Quantizer:
        """The quantiser of the components of ``mask`` (bool [components])."""
        if self.each is None:
            return self
        return self.of_each(one for one, kept in zip(self.each, mask.tolist(), strict=True) if kept)

    def quantize(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Levels int16 of y [N, K, ...] and the number of values that were clamped, i64 []."""
        if self.each is None:
            return ops.quantize(y, self.step, self.lo, self.hi)
        step, lo, hi = self._columns(y)
        nearest = (y / step).round()
        levels = nearest.nan_to_num().clamp(lo, hi)
        return levels.to(torch.int16), (levels != nearest).sum()

    def dequantize(self, levels: torch.Tensor) -> torch.Tensor:
        if self.each is None:
            return ops.dequantize(levels, self.step)
        return levels * self._columns(levels)[0]

    @cached_property
    def _by_component(self) -> torch.Tensor:
        return torch.tensor(self.each, dtype=torch.float32).T

    def _columns(self, like: torch.Tensor) -> torch.Tensor:
        """step, lo and hi, f32 [3, K, 1...], such that they broadcast over [N, K, ...]."""
        return self._by_component.view(3, -1, *[1] * (like.dim() - 2))


@dataclass(frozen=True)
class Symbols:
    """planes: int16 [N, planes, H, W] that the entropy coder codes. classes: of their positions.

    u8 [N, ceil(H/2), ceil(W/2)], or None where all positions are coded alike.
    """

    planes: torch.Tensor
    classes: torch.Tensor | None = None


@dataclass
class TensorCodec:
    """Everything that turns tensors [N, C, H, W] of one kind into streams and back.

    channels: C. symbol_map: levels to the planes of symbols that are coded. position_classes: None
    where all positions are coded alike. class_of: i64, the class of each plane, or segment with
    classes of positions (for the report; equal to ``tables.table_of`` where there is a table for
    each class). histogram: i64 [classes, L] of the calibration symbols. mse: mean squared error of
    the decoded calibration tensors. values: number of calibration values. moments: of the
    calibration data, where they were kept.
    """

    channels: int
    block: Block
    transform: Transform
    quantizer: Quantizer
    symbol_map: SymbolMap
    tables: Tables
    class_of: torch.Tensor
    histogram: torch.Tensor
    mse: float = 0.0
    values: int = 0
    clamped: int = 0
    moments: Moments | None = None
    position_classes: PositionClasses | None = None

    @property
    def components(self) -> int:
        return self.transform.components

    @property
    def foldable(self) -> bool:
        """True where the transform can be part of the convolutions around the tensor."""
        return self.block.is_pixel and not isinstance(self.transform, Identity)

    def symbols(self, levels: torch.Tensor) -> Symbols:
        """What is coded for levels int16 [N, K, H', W']."""
        planes = self.symbol_map.symbols(levels)
        return Symbols(planes, self.position_classes and self.position_classes.of(planes))

    def count(self, symbols: Symbols) -> torch.Tensor:
        """Histogram like ``histogram``.

        Symbols beyond the tables' range, which are escaped, count as the nearest one in it.
        """
        lo, hi = self.tables.lo, self.tables.hi
        by = lo, hi, self.class_of, len(self.histogram)
        if self.position_classes is not None:
            return self.position_classes.histogram(symbols.planes, symbols.classes, *by)
        return ops.histogram(symbols.planes.clamp(lo, hi), *by)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transformed values [N, K, H', W'] of x [N, C, H, W]."""
        return self.transform.forward(self.block.split(x))

    def inverse(self, y: torch.Tensor, crop: tuple[int, int] = (0, 0)) -> torch.Tensor:
        """Tensor [N, C, H, W] of transformed values; ``crop``: block padding to cut off."""
        return self.block.join(self.transform.inverse(y), self.channels, crop)

    def quantize(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Levels int16 [N, K, H', W'] of x [N, C, H, W], and how many were clamped, i64 []."""
        return self.transform.to_levels(self.block.split(x), self.quantizer)

    def dequantize(
        self,
        levels: torch.Tensor,
        crop: tuple[int, int] = (0, 0),
        limits: Limits = UNLIMITED,
    ) -> torch.Tensor:
        """Tensor [N, C, H, W] of levels; ``crop`` as for ``inverse``, ``limits`` of the values."""
        blocks = self.transform.from_levels(levels, self.quantizer, limits)
        return self.block.join(blocks, self.channels, crop)

    def simulate(self, x: torch.Tensor) -> torch.Tensor:
        """What decode(encode(x)) gives, without making the stream."""
        return self.dequantize(self.quantize(x)[0], self.block.crop(*x.shape[2:]))

    def encode_symbols(self, symbols: Symbols, crop: tuple[int, int] = (0, 0)):
        """Symbols of levels -> streams: bytes u8 [N, bound], used sizes i64 [N]."""
        return self.tables.encode(symbols.planes, crop, symbols.classes)

    def encode_levels(self, levels: torch.Tensor, crop: tuple[int, int] = (0, 0)):
        """levels int16 [N, K, H', W'] -> streams: bytes u8 [N, bound], used sizes i64 [N]."""
        return self.encode_symbols(self.symbols(levels), crop)

    def decode_levels(self, data: torch.Tensor, used: torch.Tensor, height: int, width: int):
        """Inverse of encode_levels. Raises StreamError for a damaged stream."""
        return self.symbol_map.levels(self.tables.decode(data, used, height, width))

    def to(self, device: torch.device | str) -> TensorCodec:
        """This codec, moved to a device, where it encodes tensors and decodes to."""
        move_tensors(self, torch.device(device))
        return self

    @property
    def device(self) -> torch.device:
        return self.class_of.device

    @torch.no_grad()
    def encode(self, x: torch.Tensor) -> bytes:
        """x [N, C, H, W] float -> one self-describing stream for each image, back to back.

        Raises ValueError for another shape or device than the codec's, or for NaN.
        """
        self._check(x)
        levels, _ = self.quantize(x.float())
        data, used = self.encode_levels(levels, self.block.crop(*x.shape[2:]))
        return b"".join(
            row[:size].cpu().numpy().tobytes()
            for row, size in zip(data, used.tolist(), strict=True)
        )

    @torch.no_grad()
    def decode(self, data: bytes) -> torch.Tensor:
        """Inverse of ``encode``: float32 [N, C, H, W]. Raises StreamError for damaged bytes."""
        levels, crops, start = [], set(), 0
        view = memoryview(data)
        while start < len(view):
            info = ops.stream_info(view[start:])
            piece = torch.frombuffer(
                bytearray(view[start : start + info["size"]]), dtype=torch.uint8
            )
            data_of_image = piece[None].to(self.device)
            used = torch.tensor([len(piece)], device=self.device)
            levels.append(self.decode_levels(data_of_image, used, info["height"], info["width"]))
            crops.add((info["crop_h"], info["crop_w"]))
            start += info["size"]
        if not levels:
            return torch.empty(0, self.channels, 0, 0)
        if len(crops) > 1 or len({part.shape for part in levels}) > 1:
            raise ops.StreamError(
                "the streams hold images of different sizes; decode them one by one"
            )
        return self.dequantize(torch.cat(levels), crops.pop())

    def save(self, path) -> None:
        """Write the codec to a safetensors file; see ``load``."""
        from ..model.storage import save_codec

        save_codec(self, path)

    @staticmethod
    def load(path) -> TensorCodec:
        """Read a codec written by ``save``."""
        from ..model.storage import load_codec

        return load_codec(path)

    def _check(self, x: torch.Tensor) -> None:
        if x.dim() != 4 or x.shape[1] != self.channels:
            raise ValueError(
                f"encode: expected a tensor [N, {self.channels}, H, W], got {list(x.shape)}"
            )
        if x.device != self.device:
            raise ValueError(f"encode: the codec is on {self.device}, the tensor on {x.device}")
        if not x.is_floating_point():
            raise ValueError(f"encode: expected a floating-point tensor, got {x.dtype}")
        if len(x) and not x.numel():
            raise ValueError(f"encode: images without pixels, {list(x.shape)}")
        if not x.isfinite().all():
            raise ValueError("encode: the tensor contains NaN or Inf")


def check_bits(bits: int, preset: Preset | None = None) -> None:
    """Raise ValueError for a b that a preset (by default, any) cannot use."""
    most, of = (12, "") if preset is None else (preset.max_bits, f" with preset '{preset.name}'")
    if not 2 <= bits <= most:
        raise ValueError(f"bits must be 2 to {most}{of}, got {bits}")


@dataclass(frozen=True)
class Weighting:
    """What a preset with one step for all layers knows of a coding point.

    step: of the quantiser, in units of what an error does to the output. metric: f64 [C, C], the
    cost e^T metric e of an error e; None counts every error by its square. given: the transform,
    where it is known already, instead of one fitted to the data.
    """

    step: float
    metric: torch.Tensor | None = None
    given: Transform | None = None


class Calibration:
    """Fits the codec of one coding point to a list of tensors [N, C, H, W], stage by stage.

    bits: b of a preset that has it; weighting: of a preset with a step.
    few: after ``fit``, (samples, values in a block) where they are too few to know the basis by.
    """

    def __init__(
        self,
        preset: Preset,
        block: Block,
        bits: int | None = None,
        weighting: Weighting | None = None,
        coder: str | None = None,
        name: str = "tensor",
        keep_moments: bool = False,
    ):
        self.preset, self.block, self.bits, self.weighting = preset, block, bits, weighting
        self.coder = coder or preset.coder
        self.name, self.keep_moments = name, keep_moments
        self.few: tuple[int, int] | None = None
        if preset.transform in ("none", "dct-cm") and not block.is_pixel:
            raise ValueError(f"preset '{preset.name}' does not transform blocks such as {block}")
        if weighting is None:
            check_bits(bits, preset)
        elif weighting.metric is not None and not block.is_pixel:
            raise ValueError(f"sensitivities are for blocks 1,1,C, not for {block}")

    @torch.no_grad()
    def fit(self, tensors: list[torch.Tensor], start: TensorCodec | None = None) -> TensorCodec:
        """The codec of these tensors; ``start``: a codec whose moments are continued."""
        if self.preset.transform == "dct-cm":
            return self._fit_dct_cm(tensors)
        channels = tensors[0].shape[1]
        given, moments = self._given(channels), None
        self._check(tensors)
        if not given:
            moments = self._moments(tensors, channels, start)
        transform = given or self._transform(moments).strongest(self.preset.kept)

        def values() -> Iterable[torch.Tensor]:
            return (transform.forward(self.block.split(x)) for x in tensors if x.numel())

        low, high, inner = self._ranges(values, sum(x.numel() for x in tensors))
        quantizer = self._quantizer(low, high, inner, values)
        # Ranges are those of the exact basis: rounding it first would leak variance of the strong
        # components into empty ones, which would then be coded, and add that leak to the output.
        if self.preset.drop_components and not given and not self.undersampled(moments):
            used = self._used(low, high, quantizer, transform)
            transform, quantizer = transform.keep(used), quantizer.keep(used)
        if self.preset.transform_bits is not None:
            transform = transform.quantize(self.preset.transform_bits)
        return self._fit_tables(tensors, channels, moments, transform, quantizer)

    def _fit_dct_cm(self, tensors: list[torch.Tensor]) -> TensorCodec:
        """DCT of 8 channels, or none: what takes fewer bits for the mask and what is not masked."""

        def fitted(transform: str, block: Block) -> TensorCodec:
            preset = replace(self.preset, transform=transform)
            of_kind = Calibration(preset, block, self.bits, coder=self.coder, name=self.name)
            return of_kind.fit(tensors)

        def bits(codec: TensorCodec) -> int:
            zeros = codec.histogram[:, -codec.tables.lo].sum()
            counts = codec.histogram.sum()
            return int(counts + (counts - zeros) * codec.tables.word_bits)

        return min(fitted("dct", DCT_CM_BLOCK), fitted("none", Block()), key=bits)

    def _given(self, channels: int) -> Transform | None:
        """The transform, where it does not hang on the data."""
        if self.preset.transform == "none":
            return Identity(channels)
        if self.preset.transform == "dct":
            return dct(channels, self.block)
        return self.weighting.given if self.weighting else None

    def _check(self, tensors: list[torch.Tensor]) -> None:
        if not any(x.numel() for x in tensors):
            raise CalibrationError(f"{self.name}: the calibration set is empty")
        if not all(x.isfinite().all() for x in tensors):
            raise CalibrationError(f"{self.name}: calibration values contain NaN or Inf")

    def _transform(self, moments: Moments) -> Transform:
        metric = self.weighting.metric if self.weighting else None
        return moments.fit() if metric is None else weighted_klt(moments, metric)

    def _quantizer(
        self,
        low: torch.Tensor,
        high: torch.Tensor,
        inner: tuple[float, float],
        values: baselines.Values,
    ) -> Quantizer:
        if self.weighting is not None and self.coder == "rans":
            return Quantizer.of_step(self.weighting.step)
        extremes = float(low.min()), float(high.max())
        if self.weighting is not None:
            return Quantizer.between(self.weighting.step, *extremes, self.preset.margin)
        if self.preset.rule != "range":
            rule = baselines.RULES[self.preset.rule]
            if self.preset.transform != "pca":
                return Quantizer.of_ranges(*rule(values, self.bits, True))
            strongest = int((high - low).argmax())
            one = rule(lambda: (y[:, [strongest]] for y in values()), self.bits, False)
            return Quantizer.of_ranges(*one)
        start, end = inner
        if self.preset.transform != "pca":  # no mean was taken off: 0 is to be a level
            start, end = min(start, 0.0), max(end, 0.0)
        return Quantizer.fit(end - start, *extremes, self.bits, self.preset.margin)

    def undersampled(self, moments: Moments) -> bool:
        """True where there are too few samples for the size of the blocks; noted in ``few``."""
        count, mean, _ = moments.parts[0]
        if count >= SAMPLES_PER_COMPONENT * len(mean):
            return False
        self.few = (int(count), len(mean))
        return True

    def _moments(self, tensors, channels: int, start: TensorCodec | None) -> Moments:
        moments = Moments()
        for x in tensors:
            if x.numel():
                moments.update(self.block.split(x), self.block.groups(channels))
        if not moments.is_finite():  # of finite values, where their squares are too large
            raise CalibrationError(f"{self.name}: calibration values contain NaN or Inf")
        if start is not None:
            same = getattr(start, "block", None) == self.block and start.channels == channels
            if not same:
                raise CalibrationError(
                    f"{self.name}: the calibration to continue is not of the same layer and block"
                )
            if start.moments is None:
                raise CalibrationError(
                    f"{self.name}: the calibration to continue was made without its moments; "
                    "make it with keep_moments=True"
                )
            moments = Moments(list(start.moments.parts)).merge(moments)
        return moments

    def _ranges(
        self, values: baselines.Values, count: int
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[float, float]]:
        """Smallest and largest value of each component, f32 [K], and of all but outliers."""
        tails = _Tails(1 + int(self.preset.outliers * count))
        lows, highs = [], []
        for y in values():
            low, high = torch.aminmax(y.transpose(0, 1).flatten(1), dim=1)
            tails.update(y if self.preset.outliers else torch.stack([low, high]))
            lows.append(low)
            highs.append(high)
        return torch.stack(lows).amin(0), torch.stack(highs).amax(0), tails.inner()

    @staticmethod
    def _used(low, high, quantizer: Quantizer, transform: Transform) -> torch.Tensor:
        """Components with a non-zero level; the first of each channel group always stays."""
        levels, _ = quantizer.quantize(torch.stack([low, high]).contiguous())
        used = (levels != 0).any(0)
        start = 0
        for matrix in transform.matrices:
            used[start] = True
            start += matrix.shape[0]
        return used

    def _fit_tables(self, tensors, channels, moments, transform, quantizer) -> TensorCodec:
        levels, squared, clamped = [], 0.0, 0
        for x in tensors:
            part, over = transform.to_levels(self.block.split(x), quantizer)
            decoded = transform.from_levels(part, quantizer)
            decoded = self.block.join(decoded, channels, self.block.crop(*x.shape[2:]))
            squared += float((decoded - x).double().square().sum())
            clamped += int(over)
            levels.append(part)
        values = sum(x.numel() for x in tensors)
        symbol_map = self._symbol_map(levels)
        symbols = [symbol_map.symbols(part) for part in levels]
        found = self._tables(symbols, symbol_map, quantizer)
        tables, class_of, histogram, position_classes = found
        return TensorCodec(
            channels=channels,
            block=self.block,
            transform=transform,
            quantizer=quantizer,
            symbol_map=symbol_map,
            tables=tables,
            class_of=class_of,
            histogram=histogram,
            mse=squared / values,
            values=values,
            clamped=clamped,
            moments=moments if self.keep_moments else None,
            position_classes=position_classes,
        )

    def _symbol_map(self, levels: list[torch.Tensor]) -> SymbolMap:
        """Only rANS can escape differences that calibration has not seen."""
        predict = self.preset.predict and self.coder == "rans"
        return SymbolMap.fit(levels) if predict else SymbolMap.identity(levels[0].shape[1])

    def _tables(self, symbols: list[torch.Tensor], symbol_map: SymbolMap, quantizer: Quantizer):
        """Tables, the class of each segment, the histogram of each class, classes of positions."""
        lo, hi = quantizer.lo, quantizer.hi
        if self.coder == "rans":
            lo = max(lo, min(int(part.min()) for part in symbols), -MAX_LEVELS // 2)
            hi = min(hi, max(int(part.max()) for part in symbols), MAX_LEVELS // 2 - 1)
            lo, hi = min(lo, hi), max(lo, hi)
        shifts = symbol_map.plane_shifts()
        each = torch.arange(len(shifts))
        within = (part.clamp(lo, hi) for part in symbols)
        counts = sum(ops.histogram(part, lo, hi, each, len(shifts)) for part in within)
        class_of = plane_classes(counts, lo, shifts, self.preset.classes)
        coded = _Segments(lo, class_of, _sum_by(class_of, counts))
        if self.preset.position_classes > 1 and self.coder == "rans":
            by_position = self._by_position(symbols, counts, lo, hi, shifts)
            header = POSITION_HEADER_BITS * sum(len(part) for part in symbols)
            coded = min(coded, by_position, key=lambda c: c.bits(header))
        class_of, histogram, positions = coded.class_of, coded.histogram, coded.positions
        table_of, counts = class_of, histogram
        if not (self.preset.table_per_class and self.coder in WITH_TABLES):
            table_of, counts = torch.zeros_like(class_of), histogram.sum(0, keepdim=True)
        number = positions.count if positions else 1
        lane_values = self.preset.lane_values
        tables = Tables(coded.lo, counts, table_of, self.coder, number, lane_values)
        return tables, class_of, histogram, positions

    def _by_position(self, symbols, counts, lo: int, hi: int, shifts: torch.Tensor) -> _Segments:
        """With classes of positions; lo, hi, counts: of the planes."""
        magnitudes = torch.arange(lo, hi + 1).abs()
        scales = (counts * magnitudes).sum(1).double() / counts.sum(1).clamp(min=1)
        scales[shifts > 0] = torch.inf  # low bits
        classes = self.preset.position_classes
        found = PositionClasses.fit(symbols, scales, classes)
        lo, hi = min(lo, 1 - classes), max(hi, classes - 1)  # the map has its place in the tables
        each = torch.arange(found.segments)
        counts = sum(
            found.histogram(part, found.of(part), lo, hi, each, found.segments) for part in symbols
        )
        of_planes = plane_classes(
            counts[1:], lo, shifts.repeat_interleave(classes), self.preset.classes
        )
        class_of = torch.cat([of_planes.max()[None] + 1, of_planes])  # the map's is its own
        return _Segments(lo, class_of, _sum_by(class_of, counts), found)


@dataclass(frozen=True)
class _Segments:
    """The class of each segment of a stream, and the histograms of classes from level ``lo`` on."""

    lo: int
    class_of: torch.Tensor
    histogram: torch.Tensor
    positions: PositionClasses | None = None

    def bits(self, header: int) -> float:
        """Of all symbols at their entropy, and of a larger header with classes of positions."""
        bits = float((ops.entropy(self.histogram) * self.histogram.sum(1)).sum())
        return bits + (header if self.positions else 0)


def _sum_by(class_of: torch.Tensor, counts: torch.Tensor) -> torch.Tensor:
    """Histograms i64 [classes, L] of those [segments, L] whose classes are given."""
    histogram = torch.zeros(int(class_of.max()) + 1, counts.shape[1], dtype=torch.int64)
    return histogram.index_add_(0, class_of, counts)


class _Tails:
    """The ``size`` smallest and largest of many values, and the innermost two of them."""

    def __init__(self, size: int):
        self.size = size
        self.low = self.high = torch.empty(0)

    def update(self, values: torch.Tensor) -> None:
        values = values.flatten()
        self.low = self._extreme(torch.cat([self.low, self._extreme(values, False)]), False)
        self.high = self._extreme(torch.cat([self.high, self._extreme(values, True)]), True)

    def _extreme(self, values: torch.Tensor, largest: bool) -> torch.Tensor:
        return values.topk(min(self.size, len(values)), largest=largest, sorted=False).values

    def inner(self) -> tuple[float, float]:
        low, high = float(self.low.max()), float(self.high.min())
        return min(low, high), high


def calibrate_tensor(
    samples: torch.Tensor | Iterable[torch.Tensor],
    preset: str | Preset = "paper",
    bits: int = 8,
    block: Block | str | tuple = (1, 1, None),
    keep_moments: bool = False,
    start: TensorCodec | None = None,
    step: float | None = None,
    coder: str | None = None,
    lane_values: int | None = None,
) -> TensorCodec:
    """Codec for bare tensors, without a model.

    samples: float [N, C, H, W], or an iterable of such batches. bits: b of presets that have it.
    step: of the quantiser instead, in units of the tensor; preset "fmtc" needs it (a bare tensor
    has no network to be sensitive for: every error counts by its square). coder: one of
    ``entropy_coding.CODERS``; lane_values: that a lane of a stream codes (``Preset``); the preset's
    by default.
    keep_moments: keep (and save) count, mean and covariance, so that they can be continued;
    start: such a codec; the basis then comes from all samples, step, ranges and tables from the new
    ones. Raises CalibrationError for empty, NaN or Inf data.

    >>> codec = fmtc.calibrate_tensor(samples); data = codec.encode(t); t2 = codec.decode(data)
    """
    batches = [samples] if isinstance(samples, torch.Tensor) else list(samples)
    if not batches:
        raise CalibrationError("calibrate_tensor: the calibration set is empty")
    for x in batches:
        if x.dim() != 4 or not x.is_floating_point():
            raise CalibrationError(
                "calibrate_tensor: expected floating-point tensors [N, C, H, W], "
                f"got {x.dtype} {list(x.shape)}"
            )
        if x.shape[1] != batches[0].shape[1]:
            raise CalibrationError("calibrate_tensor: the batches differ in their channels")
    batches = [x.float() for x in batches]
    preset = get_preset(preset)
    if lane_values is not None:
        preset = replace(preset, lane_values=lane_values)
    if preset.knob == "step" and step is None:
        raise ValueError(f"calibrate_tensor: preset '{preset.name}' needs a step")
    if step is not None and not (math.isfinite(step) and step > 0):
        raise ValueError(f"calibrate_tensor: step must be positive, got {step}")
    calibration = Calibration(
        preset,
        Block.parse(block),
        bits,
        None if step is None else Weighting(step),
        coder,
        "calibrate_tensor",
        keep_moments,
    )
    return calibration.fit(batches, start)
