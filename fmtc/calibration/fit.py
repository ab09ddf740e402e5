"""The codec of one coding point, fitted to its calibration tensors stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch

from ..codec import ranges
from ..codec.block import Block
from ..codec.codec import TensorCodec
from ..codec.coders import coders
from ..codec.moments import Moments
from ..codec.quantizer import Quantizer
from ..codec.ranges import PAPER_RANGE, Values
from ..codec.scaled import PER_LAYER, SCALINGS, ScaledQuantizer
from ..codec.transform import Identity, Transform
from ..errors import CalibrationError
from ..planes import all_finite
from ..presets import BitsPreset, Preset
from .frequencies import TRIED_VALUES, block_sizes, by_frequency, loss
from .prediction import FEWEST_SOURCES
from .sample import sampled
from .tables import Coded, fit_coder

# A covariance says nothing of directions that its samples cannot span: with fewer samples a channel
# than this, no component is taken for empty.
SAMPLES_PER_COMPONENT = 2
LOOKED_AT = 4  # images in which positions that are the same are counted
MOSTLY_REPEATED = 0.25  # share of positions that differ below which they are no samples
DCT_CM_BLOCK = Block(1, 1, 8)


@dataclass(frozen=True)
class Knob:
    """What sets the quantiser: ``bits``, the b of a preset that has one, or ``step``.

    step: in units of the tensor or, with a metric, of what an error does to the output. metric: f64
    [C, C], the cost e^T metric e of an error e; None counts every error by its square. frequencies:
    what an error of each frequency costs, f64 [size * size] by the size of the blocks of positions.
    again: the transform that finds the levels of a codec again, and that codec, whose later stages
    are the tensor's, too.
    """

    bits: int | None = None
    step: float | None = None
    metric: torch.Tensor | None = None
    frequencies: Mapping[int, torch.Tensor] = field(default_factory=dict)
    again: tuple[Transform, TensorCodec] | None = None


def distinct_share(tensors: list[torch.Tensor]) -> float:
    """Of the positions of some images [N, C, H, W], the share that differ from the others there."""
    some = next(x for x in tensors if x.numel())[:LOOKED_AT]
    # Equal vectors have equal products, but for what rounding could do differently.
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(some.shape[1], 1, 1, generator=generator, dtype=torch.float64)
    weights = weights.to(some.device)
    products = sum(x.double() * weight for x, weight in zip(some.unbind(1), weights, strict=True))
    distinct = sum(len(image.unique()) for image in products)
    return distinct / products.numel()


@dataclass
class Fit:
    """Fits the codec of one coding point to a list of tensors [N, C, H, W].

    repeats: whether positions may be the same by what makes the tensor, and not because its inputs
    were coarsely quantised. few: after a call, (samples, values in a block) where they are too few
    to know the basis by.
    """

    preset: Preset
    block: Block
    knob: Knob
    name: str = "tensor"
    keep_moments: bool = False
    repeats: bool = True
    few: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        preset = self.preset
        self.transform = preset.transform if isinstance(preset, BitsPreset) else "pca"
        if self.transform in ("none", "dct-cm") and not self.block.is_pixel:
            raise ValueError(
                f"preset '{preset.name}' does not transform blocks such as {self.block}"
            )
        if self.knob.step is None:
            if not isinstance(preset, BitsPreset) or self.knob.bits is None:
                raise ValueError(f"preset '{preset.name}' needs a step")
            preset.check_bits(self.knob.bits)
        elif self.knob.metric is not None and not self.block.is_pixel:
            raise ValueError(f"sensitivities are for blocks 1,1,C, not for {self.block}")

    @torch.no_grad()
    def __call__(
        self, tensors: list[torch.Tensor], start: TensorCodec | None = None
    ) -> TensorCodec:
        """The codec of these tensors; ``start``: a codec whose moments are continued."""
        if self.transform == "dct-cm":
            return self._fit_dct_cm(tensors)
        channels = tensors[0].shape[1]
        self._check(tensors)
        given, moments = self._given(channels), None
        if given is not None:
            given = given.to(tensors[0].device)
        if given is None:
            moments = self._moments(tensors, channels, start)
            given = self._basis(moments)
        transform = given

        def values(of: Sequence[torch.Tensor] = tensors) -> Iterable[torch.Tensor]:
            return (transform.forward(self.block.split(x)) for x in of if x.numel())

        if self.knob.again is not None:
            return self._codec(tensors, None, transform, *_stages(self.knob.again[1]))
        low, high, inner = self._extremes(values, sum(x.numel() for x in tensors))
        quantizer = self._quantizer(low, high, inner, values).to(low.device)
        # Ranges are those of the exact basis: rounding it first would leak variance of the strong
        # components into empty ones, which would then be coded, and add that leak to the output.
        enough = moments is not None and not self.undersampled(moments, tensors)
        drop = self.preset.drop_components and enough
        by_frequencies = self._by_frequencies(tensors, quantizer, values, drop)
        if by_frequencies is not None:
            used, quantizer = by_frequencies
            transform = transform.keep(used)
        elif drop:
            used = _used(low, high, quantizer, transform)
            transform, quantizer = transform.keep(used), quantizer.keep(used)
        if self.preset.transform_bits is not None:
            transform = transform.quantize(self.preset.transform_bits)
        return self._codec(tensors, moments, transform, quantizer)

    def _fit_dct_cm(self, tensors: list[torch.Tensor]) -> TensorCodec:
        """DCT of 8 channels, or none: what takes fewer bits for the mask and what is not masked."""

        def fitted(transform: str, block: Block) -> TensorCodec:
            preset = replace(self.preset, transform=transform)  # type: ignore[call-arg]
            return Fit(preset, block, self.knob, self.name)(tensors)

        def bits(codec: TensorCodec) -> int:
            zeros = codec.histogram[:, -codec.coder.lo].sum()
            counts = codec.histogram.sum()
            return int(counts + (counts - zeros) * codec.coder.word_bits)

        return min(fitted("dct", DCT_CM_BLOCK), fitted("none", Block()), key=bits)

    def _given(self, channels: int) -> Transform | None:
        """The transform, where it does not hang on the data."""
        if self.transform == "none":
            return Identity(channels)
        if self.transform == "dct":
            return Transform.dct(channels, self.block)
        return None if self.knob.again is None else self.knob.again[0]

    def _by_frequencies(
        self,
        tensors: list[torch.Tensor],
        quantizer: Quantizer,
        values: Callable[..., Iterable[torch.Tensor]],
        drop: bool,
    ) -> tuple[torch.Tensor, Quantizer] | None:
        """The components used and the quantiser of frequencies; None where none is worth it.

        Sizes of blocks are tried on some images, with few sources for predictions: one is taken for
        its bits and the cost of errors.
        """
        if not (self.block.is_pixel and self.escapes):
            return None
        costs = self.knob.frequencies
        heights, widths = ({x.shape[d] for x in tensors if x.numel()} for d in (2, 3))
        sizes = block_sizes(costs, min(heights), min(widths))
        if not sizes:
            return None
        tried = list(values(sampled(tensors, TRIED_VALUES)))
        components = tried[0].shape[1]
        finest = costs[max(sizes)]

        preset = replace(self.preset, sources=min(self.preset.sources, FEWEST_SOURCES))

        def bits(levels: list[torch.Tensor]) -> float:
            return fit_coder(levels, quantizer, preset).bits()

        every = torch.ones(components, dtype=torch.bool, device=finest.device)
        losses = {1: loss(quantizer, every, finest, tried, bits)}
        for size in sizes:
            used, made = by_frequency(quantizer, costs[size], tried, components, True)
            losses[size] = loss(made, used, finest, tried, bits)
        best = min(losses, key=losses.__getitem__)
        if best == 1:
            return None
        return by_frequency(quantizer, costs[best], values(), components, drop)

    def _basis(self, moments: Moments) -> Transform:
        if self.knob.metric is not None:
            return Transform.weighted_klt(moments, self.knob.metric)
        kept = self.preset.kept if isinstance(self.preset, BitsPreset) else 1.0
        return Transform.pca(moments).strongest(kept)

    def _check(self, tensors: list[torch.Tensor]) -> None:
        if not any(x.numel() for x in tensors):
            raise CalibrationError(f"{self.name}: the calibration set is empty")
        if not all(map(all_finite, tensors)):
            raise CalibrationError(f"{self.name}: calibration values contain NaN or Inf")

    def _quantizer(
        self, low: torch.Tensor, high: torch.Tensor, inner: tuple[float, float], values: Values
    ) -> Quantizer:
        step, bits, preset = self.knob.step, self.knob.bits, self.preset
        extremes = float(low.min()), float(high.max())
        if step is not None:
            if self.escapes:
                return Quantizer.of_step(step)
            return Quantizer.between(step, *extremes, preset.margin)
        assert isinstance(preset, BitsPreset) and bits is not None
        if preset.scaling != PER_LAYER:
            return ScaledQuantizer.for_layer(SCALINGS[preset.scaling], *extremes, bits)
        if preset.rule != PAPER_RANGE:
            if self.transform != "pca":
                return Quantizer.of_ranges(*ranges.found(preset.rule, values, bits, True))
            strongest = int((high - low).argmax())
            of_it = slice(strongest, strongest + 1)
            one = ranges.found(preset.rule, lambda: (y[:, of_it] for y in values()), bits, False)
            return Quantizer.of_ranges(*one)
        start, end = inner
        if self.transform != "pca":  # no mean was taken off: 0 is to be a level
            start, end = min(start, 0.0), max(end, 0.0)
        return Quantizer.fit(end - start, *extremes, bits, preset.margin)

    @property
    def escapes(self) -> bool:
        """True where the coder codes any level."""
        return coders[self.preset.coder].escapes

    def undersampled(self, moments: Moments, tensors: list[torch.Tensor]) -> bool:
        """True where there are too few samples for the size of the blocks; noted in ``few``.

        Where most positions are the same in all channels, as behind a pool over nearly all of them,
        they are one sample.
        """
        count, mean, _ = moments.parts[0]
        samples, share = int(count), 1.0
        if self.repeats and samples >= SAMPLES_PER_COMPONENT * len(mean):
            share = distinct_share(tensors)
        if share < MOSTLY_REPEATED:
            samples = round(samples * share)
        if samples >= SAMPLES_PER_COMPONENT * len(mean):
            return False
        self.few = (samples, len(mean))
        return True

    def _moments(
        self, tensors: list[torch.Tensor], channels: int, start: TensorCodec | None
    ) -> Moments:
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
            moments = start.moments.to(tensors[0].device).merge(moments)
        return moments

    def _extremes(
        self, values: Values, count: int
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[float, float]]:
        """Smallest and largest value of each component, f32 [K], and of all but outliers."""
        outliers = self.preset.outliers if isinstance(self.preset, BitsPreset) else 0.0
        tails = _Tails(1 + int(outliers * count))
        lows, highs = [], []
        for y in values():
            low, high = torch.aminmax(y.transpose(0, 1).flatten(1), dim=1)
            tails.update(y if outliers else torch.stack([low, high]))
            lows.append(low)
            highs.append(high)
        return torch.stack(lows).amin(0), torch.stack(highs).amax(0), tails.inner()

    def _codec(
        self,
        tensors: list[torch.Tensor],
        moments: Moments | None,
        transform: Transform,
        quantizer: Quantizer,
        coded: Coded | None = None,
    ) -> TensorCodec:
        """The codec of these stages, by default with a coder for what they make of the tensors."""
        levels, squared, clamped = [], 0.0, 0
        channels = tensors[0].shape[1]
        for x in tensors:
            part, over = transform.to_levels(self.block.split(x), quantizer)
            crop = self.block.tiled(quantizer.size).crop(*x.shape[2:])
            decoded = transform.from_levels(part, quantizer, crop=crop)
            decoded = self.block.join(decoded, channels, crop)
            squared += float((decoded - x).double().square().sum())
            clamped += int(over)
            if part.numel():
                levels.append(part)
        values = sum(x.numel() for x in tensors)
        coded = coded or fit_coder(levels, quantizer, self.preset)
        codec = TensorCodec(
            channels=channels,
            block=self.block,
            transform=transform,
            quantizer=quantizer,
            symbol_map=coded.symbol_map,
            coder=coded.coder,
            class_of=coded.class_of,
            histogram=coded.histogram,
            mse=squared / values,
            values=values,
            clamped=clamped,
            moments=moments if self.keep_moments else None,
            position_classes=coded.positions,
        ).to(tensors[0].device)
        if levels and codec.coder.stream_coder is None:  # one from outside, with streams of its own
            _try_coder(codec, levels[0][:2])
        return codec


def _try_coder(codec: TensorCodec, levels: torch.Tensor) -> None:
    """Raise CalibrationError where a codec's coder does not give back some levels [N, K, H, W]."""
    name = codec.coder.name
    try:
        decoded = codec.decode_levels(*codec.encode_levels(levels), *levels.shape[2:])
    except Exception as error:  # code from outside raises what it likes
        raise CalibrationError(
            f"coder '{name}' fails for levels {list(levels.shape)}: {type(error).__name__}: {error}"
        ) from error
    if decoded.dtype != levels.dtype or decoded.shape != levels.shape:
        raise CalibrationError(
            f"coder '{name}' decodes levels {levels.dtype} {list(levels.shape)} to {decoded.dtype} "
            f"{list(decoded.shape)}"
        )
    if not torch.equal(decoded, levels):
        raise CalibrationError(f"coder '{name}' decodes levels to others than it was given")


def _stages(codec: TensorCodec) -> tuple[Quantizer, Coded]:
    """Of a codec what follows its transform."""
    coder, positions = codec.coder, codec.position_classes
    coded = Coded(codec.symbol_map, coder, codec.class_of, codec.histogram, positions)
    return codec.quantizer, coded


def _used(
    low: torch.Tensor, high: torch.Tensor, quantizer: Quantizer, transform: Transform
) -> torch.Tensor:
    """Components with a non-zero level; the first of each channel group always stays."""
    levels, _ = quantizer.quantize(torch.stack([low, high]).contiguous())
    used = (levels != 0).any(0)
    start = 0
    for matrix in transform.matrices:
        used[start] = True
        start += matrix.shape[0]
    return used


class _Tails:
    """The ``size`` smallest and largest of many values, and the innermost two of them."""

    def __init__(self, size: int):
        self.size = size
        self.low: torch.Tensor | None = None
        self.high: torch.Tensor | None = None

    def update(self, values: torch.Tensor) -> None:
        values = values.flatten()
        self.low = self._with(self.low, values, False)
        self.high = self._with(self.high, values, True)

    def _with(self, known: torch.Tensor | None, values: torch.Tensor, largest: bool):
        more = self._extreme(values, largest)
        return more if known is None else self._extreme(torch.cat([known, more]), largest)

    def _extreme(self, values: torch.Tensor, largest: bool) -> torch.Tensor:
        return values.topk(min(self.size, len(values)), largest=largest, sorted=False).values

    def inner(self) -> tuple[float, float]:
        assert self.low is not None and self.high is not None
        low, high = float(self.low.max()), float(self.high.min())
        return min(low, high), high
