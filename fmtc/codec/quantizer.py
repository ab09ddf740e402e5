"""The quantiser: uniform, mid-tread (docs/method.md, "Quantiser")."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch

from .. import ops
from .archive import Scalars, Tensors, integer, number, require
from .exact import Exact
from .ranges import grid

MAX_LEVELS = 4096  # symbols in a table


class Quantizer(Exact):
    """level = clamp(round(y / step), lo, hi); ``step`` is exactly representable in float32.

    each: (step, lo, hi) of each component, where they differ; ``step`` is then the largest of them,
    and ``lo`` and ``hi`` are the outermost.
    """

    size = 1  # rows and columns of positions that a position of the levels stands for
    columns: torch.Tensor | None  # f32 [3, K]: step, lo, hi of each component

    def __init__(
        self,
        step: float,
        lo: int,
        hi: int,
        each: tuple[tuple[float, int, int], ...] | None = None,
    ):
        super().__init__()
        self.step, self.lo, self.hi, self.each = step, lo, hi, each
        self.hold("columns", None if each is None else torch.tensor(each, dtype=torch.float32).T)

    def extra_repr(self) -> str:
        return f"step={self.step:.6g}, lo={self.lo}, hi={self.hi}"

    @classmethod
    def fit(cls, span: float, low: float, high: float, bits: int, margin: float) -> Quantizer:
        """Preset paper: step = span / (2^b - 2), span = max - min of the transformed values."""
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
            return cls(*grid(float(low), float(high), int(bits)))
        each = zip(low.tolist(), high.tolist(), bits.tolist(), strict=True)
        return cls.of_each(grid(*one) for one in each)

    @classmethod
    def of_each(cls, each: Iterable[Iterable]) -> Quantizer:
        """From (step, lo, hi) of each component."""
        found = tuple((float(step), int(lo), int(hi)) for step, lo, hi in each)
        steps, los, his = zip(*found, strict=True)
        return cls(max(steps), min(los), max(his), found)

    @property
    def any_level(self) -> bool:
        """Whether its range is that of 16 bits: no value was meant to be clamped."""
        return self.lo == np.iinfo(np.int16).min

    @property
    def one_step(self) -> bool:
        """True where a level of any component is a multiple of ``step``."""
        return self.each is None

    @property
    def fuses(self) -> bool:
        """Whether operators of whole coding points know it, by ``step`` and ``frequencies``."""
        return type(self) is Quantizer and self.each is None

    @property
    def frequencies(self) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Places and steps of frequencies, as ``ops.dct_quantize`` takes them, or None twice."""
        return None, None

    def planes(self, components: int) -> int:
        """How many planes of levels so many components have."""
        return components

    def kinds(self, planes: int) -> torch.Tensor:
        """What each plane holds, i64 [planes]: levels of components, 0, or something else."""
        return torch.zeros(planes, dtype=torch.int64)

    def alphabets(self) -> torch.Tensor | None:
        """First and last level of each kind of plane, i64 [kinds, 2]; None where there is one."""
        return None

    def keep(self, mask: torch.Tensor) -> Quantizer:
        """The quantiser of the components of ``mask`` (bool [components])."""
        if self.each is None:
            return self
        each = zip(self.each, mask.tolist(), strict=True)
        return self.of_each(one for one, kept in each if kept).to(mask.device)

    def quantize(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Levels int16 of y [N, K, ...] and the number of values that were clamped, i64 []."""
        if self.columns is None:
            return ops.quantize(y, self.step, self.lo, self.hi)
        step, lo, hi = self._columns_like(y)
        nearest = (y / step).round()
        levels = nearest.nan_to_num().clamp(lo, hi)
        return levels.to(torch.int16), (levels != nearest).sum()

    def dequantize(
        self,
        levels: torch.Tensor,
        dtype: torch.dtype = torch.float32,
        crop: tuple[int, int] = (0, 0),
    ) -> torch.Tensor:
        """Values of this type, level * step, of levels int16 [N, K, ...]; crop: ``Block.crop``."""
        if self.columns is None:
            return ops.dequantize(levels, self.step, dtype)
        return (levels * self._columns_like(levels)[0]).to(dtype)

    def _columns_like(self, values: torch.Tensor) -> torch.Tensor:
        """step, lo and hi, f32 [3, K, 1...], such that they broadcast over [N, K, ...]."""
        assert self.columns is not None
        return self.columns.view(3, -1, *[1] * (values.dim() - 2))

    def packed(self) -> Scalars:
        """The scalars of an archive's layer."""
        each = {} if self.each is None else {"each": self.each}
        return {"step": self.step, "lo": self.lo, "hi": self.hi, **each}

    def packed_tensors(self) -> Tensors:
        """The tensors of an archive's layer."""
        return {}

    @classmethod
    def unpacked(cls, layer: Scalars) -> Quantizer:
        """From such scalars. ValueError where they are no quantiser's."""
        one = layer["step"], layer["lo"], layer["hi"]
        for step, lo, hi in layer.get("each", [one]):
            rounded = float(torch.tensor(number(step), dtype=torch.float32))
            require(0 < rounded < math.inf, f"a step of {step}")
            require(-(2**15) <= integer(lo) <= integer(hi) < 2**15, f"levels from {lo} to {hi}")
        return cls.of_each(layer["each"]) if "each" in layer else cls(*one)
