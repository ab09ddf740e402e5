"""Signal and noise of a network's output: what of it depends on the image, and what is wrong in it.

docs/method.md, "Measures". The signal of an image is the squared deviation of the uncompressed
network's output f from its mean m over other images, those of the calibration: constants, such as
the biases of classes or a grid of anchors, are none. m is for each element of f or, where f has
positions (maps, tokens), for each channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

SNR_CAP_DB = 200.0
# Of an output's norm: what deviates by less is constant, but for float32's rounding.
ROUNDING = 1e-6
# Channels are the usual dimension, unless means along the other one leave less than this share of
# the squared deviation.
MUCH_LESS = 0.5
AT_A_TIME = 2**22  # elements that are taken to float64 at a time, of one image or more
ELEMENTS = 0  # in place of a dimension of channels: there are no positions


@dataclass
class Sums:
    """What an output's mean is made of, one row an image, f64.

    elements, squares: [n], their number and the sum of their squares. channels: by the dimension
    that they may be in, the usual one first, [n, C] sums over all others; ELEMENTS alone where the
    output has no positions. shape: of one image's output.
    """

    elements: Tensor
    squares: Tensor
    channels: dict[int, Tensor]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, output: Tensor) -> Sums:
        """Of an output [n, ...]."""
        if len(parts := _parts(output)) > 1:
            return cls.joined(map(cls.of, parts))
        x = output.detach().double()
        flat = _rows(x)
        channels = {
            dim: flat if dim == ELEMENTS else x.sum([d for d in range(1, x.dim()) if d != dim])
            for dim in _dimensions(x.dim())
        }
        elements = x.new_full((len(x),), float(flat.shape[1]))
        return cls(elements, flat.square().sum(1), channels, tuple(x.shape[1:]))

    @classmethod
    def joined(cls, parts: Iterable[Sums]) -> Sums:
        """Those of several batches. A dimension whose size differs between them has positions."""
        first, *more = parts
        channels = {
            dim: torch.cat([sums, *(part.channels[dim] for part in more)])
            for dim, sums in first.channels.items()
            if all(part.channels.get(dim, sums[:, :0]).shape[1] == sums.shape[1] for part in more)
        }
        elements = torch.cat([first.elements, *(part.elements for part in more)])
        squares = torch.cat([first.squares, *(part.squares for part in more)])
        return cls(elements, squares, channels, first.shape)

    def total(self) -> Sums:
        """One row, the sums over the images."""
        channels = {dim: sums.sum(0, keepdim=True) for dim, sums in self.channels.items()}
        elements, squares = self.elements.sum(0, keepdim=True), self.squares.sum(0, keepdim=True)
        return replace(self, elements=elements, squares=squares, channels=channels)


def mean_of(sums: Sums) -> Tensor | None:
    """m of an output over the images of these sums, f64, to be subtracted from [n, ...].

    An output that is the same for all images, as of one image alone, has one mean for all of its
    elements; where these are all the same, too, it is 0. None where an output's sizes differ in
    every dimension that could be that of channels.
    """
    if not sums.channels:
        return None
    dim, means, _ = _mean(sums)
    if len(means) == 1:
        return means[0]
    if dim == ELEMENTS:
        return means.reshape(sums.shape)
    return means.reshape([len(means) if d == dim else 1 for d in range(1, len(sums.shape) + 1)])


def deviations(sums: Sums) -> Tensor:
    """Squared deviation of each image's output from the mean of these images', f64 [n]."""
    _, means, by_channel = _mean(sums)
    return _left(sums, means, by_channel)


def _rows(x: Tensor) -> Tensor:
    """The elements of each image of [n, ...], [n, elements]; of a tensor without any, too."""
    return x.reshape(len(x), math.prod(x.shape[1:]))


def _parts(x: Tensor) -> Sequence[Tensor]:
    """Of large outputs [n, ...] a few images at a time."""
    return x.split(max(1, AT_A_TIME // max(1, math.prod(x.shape[1:]))))


def _dimensions(rank: int) -> tuple[int, ...]:
    """The dimensions of [n, ...] that may be those of channels, the usual one first."""
    if rank < 3:
        return (ELEMENTS,)
    return (2, 1) if rank == 3 else (1, rank - 1)


def _mean(sums: Sums) -> tuple[int, Tensor, Tensor]:
    """The dimension of channels, their means [C], and the sums [n, C] that they are made of."""
    squares = float(sums.squares.sum())
    tried = {}
    for dim, of in sums.channels.items():
        means = of.sum(0) * of.shape[1] / sums.elements.sum().clamp(min=1)
        tried[dim] = means, of, float(_left(sums, means, of).sum())
    usual = next(iter(tried))
    dim = next((d for d in tried if tried[d][2] < MUCH_LESS * tried[usual][2]), usual)
    means, of, left = tried[dim]
    if left > ROUNDING**2 * squares:
        return dim, means, of
    of = of.sum(1, keepdim=True)
    means = of.sum(0) / sums.elements.sum().clamp(min=1)
    if not float(_left(sums, means, of).sum()) > ROUNDING**2 * squares:
        means = torch.zeros_like(means)
    return ELEMENTS, means, of


def _left(sums: Sums, means: Tensor, of: Tensor) -> Tensor:
    """Squared deviation of each image's output from these means [C], of its sums [n, C]."""
    constant = sums.elements / len(means) * means.square().sum()
    return (sums.squares - 2 * (of @ means) + constant).clamp(min=0)


def decibels(signal: Tensor, noise: Tensor) -> Tensor:
    """10 log10(signal / noise), at most 200 dB, f64 [n]; NaN where there is noise alone."""
    found = (10 * (signal.log10() - noise.log10())).clamp(max=SNR_CAP_DB)
    found[signal == 0] = math.nan
    found[noise == 0] = SNR_CAP_DB
    return found


def image_snr_db(reference: Tensor, output: Tensor) -> Tensor:
    """10 log10(||ref - mean(ref)||^2 / ||out - ref||^2) with the mean of each image's own elements.

    [n, ...] -> float64 [n], at most 200 dB; NaN where it is not defined, the reference being
    constant and the output another. (What results of schema 2 and older have as their SNR.)
    """
    reference = _rows(reference.double())
    noise = (_rows(output.double()) - reference).square().sum(dim=1)
    signal = (reference - reference.mean(dim=1, keepdim=True)).square().sum(dim=1)
    return decibels(signal, noise)


@dataclass
class OutputNoise:
    """Collects signal and noise of each image's output.

    mean: m, as `mean_of` gives it; None: of the images that are collected. single: whether the
    output is one number an image, whose signal and noise are sums over all images.
    """

    mean: Tensor | None = None
    single: bool = True
    noise: list[Tensor] = field(default_factory=list)
    signal: list[Tensor] = field(default_factory=list)  # where there is a mean
    sums: list[Sums] = field(default_factory=list)  # where there is none

    def add(self, reference: Tensor, output: Tensor) -> None:
        """One batch, [n, ...] each."""
        if len(parts := _parts(reference)) > 1:
            for part, other in zip(parts, _parts(output), strict=True):
                self.add(part, other)
            return
        expected = reference.double()
        self.single = self.single and math.prod(expected.shape[1:]) == 1
        self.noise.append(_rows((output.double() - expected).square()).sum(1))
        if self.mean is None:
            self.sums.append(Sums.of(expected))
            return
        signal = _rows((expected - self.mean).square()).sum(1)
        squares = _rows(expected.square()).sum(1)
        self.signal.append(signal * (signal > ROUNDING**2 * squares))

    def merge(self, other: OutputNoise) -> OutputNoise:
        """Take in what was collected of other images; gives itself."""
        self.single = self.single and other.single
        for name in ("noise", "signal", "sums"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def snr_db(self) -> float | None:
        """The SNR in dB, a mean over images; None where it is not defined for any."""
        noise = torch.cat(self.noise)
        signal = torch.cat(self.signal) if self.mean is not None else self._own_signal()
        if self.single:
            noise, signal = noise.sum(0, keepdim=True), signal.sum(0, keepdim=True)
        found = [value for value in decibels(signal, noise).tolist() if not math.isnan(value)]
        return math.fsum(found) / len(found) if found else None

    def _own_signal(self) -> Tensor:
        sums = Sums.joined(self.sums)
        if not sums.channels:
            raise ValueError("an output has other sizes for other images, and no channels")
        signal = deviations(sums)
        return signal * (signal > ROUNDING**2 * sums.squares)


def fits(mean: Tensor, output: Tensor) -> bool:
    """Whether this mean can be subtracted from an output [n, ...]."""
    sizes = output.shape[1:]
    try:
        return torch.broadcast_shapes(mean.shape, sizes) == sizes
    except RuntimeError:
        return False
