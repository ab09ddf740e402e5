"""Quantisers of other post-training methods: each takes a layer's values to the ranges it keeps.

All of them quantise a range [low, high] as GEMMLOWP does, to 2^b levels of which one is 0
(``grid``); they differ in the range. They were made for what an activation writes, and there they
are used: the presets of their names code each activation's output, not its input as the paper
does. Behind PCA (presets pca+aciq, pca+kld) they are given the strongest component alone, whose
range sets the one step of the layer, as in the paper.

``values`` below are calibration values, as a function that yields tensors [N, K, ...] each time it
is called, of which there may be too many to keep. Sources:

GEMMLOWP: B. Jacob et al., "Quantization and training of neural networks for efficient
    integer-arithmetic-only inference", CVPR 2018, section 2.1.
ACIQ: R. Banner et al., "Post training 4-bit quantization of convolutional networks for
    rapid-deployment", NeurIPS 2019, sections 3 and 4.
KLD: S. Migacz, "8-bit inference with TensorRT", GTC 2017, the entropy calibration.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from ..errors import CalibrationError
from ..registry import Registry

Values = Callable[[], Iterable[torch.Tensor]]
Ranges = tuple[torch.Tensor, torch.Tensor, torch.Tensor]
# (values, b, whether components may have ranges of their own) -> low and high ends, f64, and bits,
# i64, of the range, all [], or of those of components, all [K].
Rule = Callable[[Values, int, bool], Ranges]

ranges: Registry[Rule] = Registry("range")
PAPER_RANGE = "range"  # what presets call the paper's own, which is no rule
MOST_BITS = 12  # of a range: those of Quantizer's MAX_LEVELS


def register_range(name: str, rule: Rule) -> Rule:
    """Make a rule known that takes a layer's calibration values to the range it quantises.

    A preset names it as its ``rule``.

    Args:
        name: Of the rule.
        rule: (values, bits, each) -> low, high, bits: ``values()`` yields tensors [N, K, ...] each
            time it is called; the range is quantised in 2^bits levels, of which one is 0
            (``grid``). All three results are [] or, where ``each`` is true, may be [K], a range for
            each component.

    Returns:
        The rule.

    Raises:
        ValueError: The rule is no function; the name of another, or "range".

    Example:
        >>> def symmetric(values, bits, each=False):
        ...     largest = torch.stack([y.abs().max() for y in values()]).max().double()
        ...     return -largest, largest, torch.tensor(bits)
        >>> rule = fmtc.register_range("symmetric", symmetric)
        >>> preset = fmtc.BitsPreset(name="symmetric", transform="none", rule="symmetric")
        >>> codec = fmtc.calibrate_tensor(tensor, preset, bits=6)
    """
    if not callable(rule):
        raise ValueError(f"a range is a function (values, bits, each), not {rule!r}")
    if name == PAPER_RANGE:
        raise ValueError(f"'{PAPER_RANGE}' is what presets call the paper's range")
    return ranges.register(name, rule)


def found(name: str, values: Values, bits: int, each: bool) -> Ranges:
    """What the rule of this name finds. CalibrationError where that is no range."""
    made = ranges[name](values, bits, each)
    wanted = f"range '{name}' must give tensors low, high and bits, all [] or"
    try:
        low, high, width = made
        shapes = {low.shape, high.shape, width.shape}
        components = {(), (next(iter(values())).shape[1],)} if each else {()}
    except (TypeError, ValueError, AttributeError):
        raise CalibrationError(f"{wanted} of each component [K]; got {made!r}") from None
    if len(shapes) > 1 or tuple(low.shape) not in components:
        given = ", ".join(str(list(x.shape)) for x in made)
        raise CalibrationError(f"{wanted} of each component [K]; got {given}")
    if not (low <= high).all() or not (high - low).isfinite().all():
        raise CalibrationError(f"range '{name}' gives no range: low {low}, high {high}")
    if width.is_floating_point() or not 0 <= width.min() <= width.max() <= MOST_BITS:
        raise CalibrationError(f"range '{name}' gives {width} bits, not 0 to {MOST_BITS} in whole")
    return low, high, width


def grid(low: float, high: float, bits: int) -> tuple[float, int, int]:
    """GEMMLOWP: step, first and last of 2^bits levels for [low, high], extended to contain 0.

    S = (high - low) / (2^b - 1), Z = round(-low / S), and the levels are those of q - Z for q in
    0 .. 2^b - 1: level = clamp(round(x / S), -Z, 2^b - 1 - Z).
    """
    low, high = min(low, 0.0), max(high, 0.0)
    last = 2**bits - 1
    step = float(np.float32((high - low) / max(last, 1)))
    if not step > np.finfo(np.float32).tiny:
        return 1.0, 0, 0
    zero = min(max(math.floor(-low / step + 0.5), 0), last)
    return step, -zero, last - zero


def gemmlowp(values: Values, bits: int, each: bool = False) -> Ranges:
    """All values: [min, max]; one range, whatever ``each`` allows."""
    low, high = _extremes(values)
    return low, high, torch.tensor(bits)


# -- ACIQ -----------------------------------------------------------------------------------------

LAPLACE_KURTOSIS, GAUSS_KURTOSIS = 6.0, 3.0
MAX_ALLOCATED = 8  # bits of a channel
ALLOCATED_UP_TO = 4  # the largest b that is dealt out to channels


@lru_cache
def laplace_clip(bits: int) -> float:
    """alpha / b that minimises 2 b^2 e^(-alpha / b) + alpha^2 / (3 4^bits): W(3 4^bits)."""
    return _root(lambda a: a * math.exp(a) - 3 * 4.0**bits)


@lru_cache
def gauss_clip(bits: int) -> float:
    """alpha / sigma that minimises the squared error of clipping a Gaussian, and of rounding.

    The error is (alpha^2 + 1)(1 - erf(alpha / sqrt 2)) - sqrt(2 / pi) alpha e^(-alpha^2 / 2)
    + alpha^2 / (3 4^bits); here is the zero of half its derivative.
    """
    return _root(
        lambda a: (
            a * math.erfc(a / math.sqrt(2))
            - math.sqrt(2 / math.pi) * math.exp(-(a**2) / 2)
            + a / (3 * 4.0**bits)
        )
    )


def _root(increasing: Callable[[float], float]) -> float:
    """Where a function that goes from below 0 at 0 to above 0 at 64 crosses it."""
    low, high = 0.0, 64.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if increasing(middle) < 0 else (low, middle)
    return low


@dataclass(frozen=True)
class Statistics:
    """Of a layer (f64 []) or of each of its components (f64 [K]).

    deviation: mean of |x - mean|; sigma: standard deviation; kurtosis: of the values about their
    mean, 3 for a Gaussian. low: the smallest value.
    """

    mean: torch.Tensor
    deviation: torch.Tensor
    sigma: torch.Tensor
    kurtosis: torch.Tensor
    low: torch.Tensor

    @classmethod
    def of(cls, values: Values, each: bool) -> Statistics:
        zero = torch.zeros((), dtype=torch.float64)
        count, total, lows = 0, zero, []
        for y in _rows(values, each):
            count += y.shape[-1]
            total = total + y.sum(-1)
            lows.append(y.amin(-1))
        mean, sums = total / count, [zero] * 3
        for y in _rows(values, each):
            error = (y - mean[..., None]).abs()
            sums = [s + (error**power).sum(-1) for s, power in zip(sums, (1, 2, 4), strict=True)]
        deviation, variance, fourth = (s / count for s in sums)
        kurtosis = fourth / variance.square().clamp(min=torch.finfo(torch.float64).tiny)
        return cls(mean, deviation, variance.sqrt(), kurtosis, torch.stack(lows).amin(0))


def aciq(values: Values, bits: int, each: bool = True) -> Ranges:
    """mean +- alpha, or [0, max(mean, 0) + alpha] where no value is negative.

    alpha is that of the distribution, Laplace or Gauss, whose kurtosis is nearer; without negative
    values, as after a ReLU, that of one bit more, as all levels go to one half of it.
    each: components may have their own; as published, they do up to 4 bits, which are then dealt
    out to them by ``allocate``.
    """
    each = each and bits <= ALLOCATED_UP_TO
    found = Statistics.of(values, each)
    positive = bool((found.low >= 0).all())
    width = allocate(found.deviation, bits) if each else torch.tensor(bits)
    alpha = clip(found, width + positive)
    if positive:
        return torch.zeros_like(alpha), found.mean.clamp(min=0) + alpha, width
    return found.mean - alpha, found.mean + alpha, width


def clip(found: Statistics, bits: torch.Tensor) -> torch.Tensor:
    """alpha of each mean (section 3): its best distance for this many bits (i64, of that shape)."""
    laplace, gauss = (
        torch.tensor([of(m) for m in range(int(bits.max()) + 1)], dtype=torch.float64).to(
            found.sigma.device
        )[bits]
        for of in (laplace_clip, gauss_clip)
    )
    is_gauss = found.kurtosis < (LAPLACE_KURTOSIS + GAUSS_KURTOSIS) / 2
    return torch.where(is_gauss, gauss * found.sigma, laplace * found.deviation)


def allocate(scales: torch.Tensor, bits: int) -> torch.Tensor:
    """Bits of each channel, i64 [K]: levels in proportion to scale^(2/3) (section 4).

    round(log2(that share of all levels)), 0 to 8; the number of levels is chosen such that the mean
    is ``bits``, or as little below it as can be.
    """
    if not scales.amax() > 0:
        return torch.full_like(scales, bits, dtype=torch.int64)
    logs = (2 / 3) * (scales / scales.amax()).log2()

    def given(top: float) -> torch.Tensor:
        return (logs + top).round().clamp(0, MAX_ALLOCATED)

    low, high = 0.0, 64.0  # of log2 of the largest scale's levels
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if given(middle).mean() <= bits else (low, middle)
    return given(low).to(torch.int64)


# -- KLD ------------------------------------------------------------------------------------------

BINS, FEW_BINS = 8001, 2001  # of the histogram, for 7 bits and more and for less
SMOOTHING = 1e-4  # counts given to empty bins, so that the divergence is finite


def kld(values: Values, bits: int, each: bool = False) -> Ranges:
    """[min, max] cut off at the threshold of ``kld_bins`` to either side; one range.

    The threshold is sought for the levels that there are: 2^b - 1 about 0, or 2^b from 0 on where
    no value is negative (counted with 2^b - 1 on both sides, of which half are unused, the
    threshold for 4 or 5 bits would be far too low).
    """
    low, high = _extremes(values)
    limit = float(max(-low, high))
    bins = BINS if bits >= 7 else FEW_BINS
    levels = 2**bits - 1 if low < 0 else 2 ** (bits + 1) - 1
    if limit > 0:
        counts = torch.zeros(bins, dtype=torch.float64)
        for y in values():
            counts += torch.histc(y.double(), bins, -limit, limit).cpu()
        limit *= (2 * kld_bins(counts.numpy(), levels) + 1) / bins
    return low.clamp(min=-limit), high.clamp(max=limit), torch.tensor(bits)


def kld_bins(counts: np.ndarray, levels: int) -> int:
    """How many bins to keep on either side of the middle one, so that ``levels`` tell most.

    counts: [an odd number], a histogram that is symmetric about 0. For each number of bins from
    levels / 2 on: P is the histogram, what is outside added to its end bins; Q what is left of the
    part inside where it is merged to ``levels`` bins, each spread evenly over those of its bins
    that are not empty. The one with the least divergence KL(P || Q) is taken.
    """
    middle = len(counts) // 2
    total = np.concatenate([[0], np.cumsum(counts)])
    filled = np.flatnonzero(counts)
    best, fewest = math.inf, middle
    for half in range(levels // 2, middle + 1):
        first, last = middle - half, middle + half
        # The end bins, and between them those that are not empty: the others add up in one term.
        inner = filled[slice(*np.searchsorted(filled, (first + 1, last)))]
        bins = np.concatenate([[first], inner, [last]])
        inside = counts[bins]
        if not inside.any():
            continue
        level = np.minimum((bins - first) // ((2 * half + 1) // levels), levels - 1)
        share = np.bincount(level, inside) / np.maximum(np.bincount(level, inside > 0), 1)
        p, q = inside.copy(), share[level] * (inside > 0)
        p[0] += total[first]
        p[-1] += total[-1] - total[last + 1]
        divergence = _divergence(p, q, 2 * half + 1 - len(bins))
        if divergence < best:
            best, fewest = divergence, half
    return fewest


def _divergence(p: np.ndarray, q: np.ndarray, empty: int) -> float:
    """KL(P || Q) of these counts and so many more bins that are empty in both, smoothed."""
    p, q = _smoothed(p, empty), _smoothed(q, empty)
    of_p, of_q = p.sum() + empty * SMOOTHING, q.sum() + empty * SMOOTHING
    in_empty = empty * SMOOTHING / of_p * math.log(of_q / of_p)
    return in_empty + float((p / of_p * np.log((p / of_p) / (q / of_q))).sum())


def _smoothed(counts: np.ndarray, empty: int) -> np.ndarray:
    """SMOOTHING for each empty bin, taken from the others in equal parts."""
    zero = counts == 0
    taken = SMOOTHING * (zero.sum() + empty) / max((~zero).sum(), 1)
    return np.where(zero, SMOOTHING, np.maximum(counts - taken, SMOOTHING))


# -------------------------------------------------------------------------------------------------

ranges.register("gemmlowp", gemmlowp)
ranges.register("aciq", aciq)
ranges.register("kld", kld)


def _extremes(values: Values) -> tuple[torch.Tensor, torch.Tensor]:
    ends = [torch.stack(torch.aminmax(y)).double() for y in values() if y.numel()]
    low, high = torch.stack(ends).unbind(1)
    return low.amin(), high.amax()


def _rows(values: Values, each: bool) -> Iterable[torch.Tensor]:
    """f64 [values], or [K, values] of each component."""
    for y in values():
        if y.numel():
            yield (y.transpose(0, 1).flatten(1) if each else y.flatten()).double()
