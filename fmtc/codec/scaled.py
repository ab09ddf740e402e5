"""Quantisers with a scale for each position and block of channels, made of the values there.

docs/method.md, "Competitors". The scales are coded, too: their codes are planes behind those of the
channels, with tables of their own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .. import ops
from .archive import Scalars, integer, number, require
from .quantizer import Quantizer

SCALE_CODES = 256  # what a scale of 8 bits can be
MOST_LEVEL = 2047  # kMostScaledLevel of csrc/core/scaled.h
FP4_LEVELS = 7  # magnitudes of E2M1 above 0


@dataclass(frozen=True)
class Scaling:
    """format: as ``ops.quantize_scaled`` has it. block: channels with one scale, 0 for all."""

    format: str
    block: int


PER_LAYER = "layer"  # what presets call a step for the whole layer, which is no scaling
SCALINGS = {
    "token": Scaling("integers", 0),
    "mxfp4": Scaling("mxfp4", 32),
    "nvfp4": Scaling("nvfp4", 16),
}
# Of E5M3, what the largest calibration magnitude is given: five more powers of two lie above it,
# and 28 below.
TOKEN_SCALE = 2.0**20
NVFP4_SCALE = 448.0  # the largest E4M3


class ScaledQuantizer(Quantizer):
    """Levels int16 [N, C + S, ...] of [N, C, ...], with the codes of S scales at each position.

    step: the layer's scale, in units of which its E5M3 and E4M3 count. least, most: levels of the
    channels.
    """

    def __init__(self, scaling: Scaling, step: float, least: int, most: int):
        super().__init__(step, min(least, 0), max(most, SCALE_CODES - 1))
        self.scaling, self.least, self.most = scaling, least, most

    def extra_repr(self) -> str:
        block = self.scaling.block or "all"
        levels = f"levels={self.least}..{self.most}"
        return f"{self.scaling.format}, block={block}, scale={self.step:.6g}, {levels}"

    @classmethod
    def for_layer(cls, scaling: Scaling, low: float, high: float, bits: int) -> ScaledQuantizer:
        """For values from ``low`` to ``high``; the integers of b bits are unsigned from 0 on.

        The layer's scale is such that its largest magnitude has E4M3's largest scale (NVFP4), or
        one of E5M3 that others may exceed.
        """
        largest = max(-low, high)
        if scaling.format == "mxfp4":
            return cls(scaling, 1.0, -FP4_LEVELS, FP4_LEVELS)
        if scaling.format == "nvfp4":
            step = _positive(largest / (6 * NVFP4_SCALE))
            return cls(scaling, step, -FP4_LEVELS, FP4_LEVELS)
        most = 2**bits - 1 if low >= 0 else 2 ** (bits - 1) - 1
        step = _positive(largest / most / TOKEN_SCALE)
        return cls(scaling, step, 0 if low >= 0 else -most, most)

    @property
    def one_step(self) -> bool:
        return False

    def planes(self, components: int) -> int:
        """Those of the channels and of their scales."""
        return components + -(-components // (self.scaling.block or components))

    def kinds(self, planes: int) -> torch.Tensor:
        """For each plane 0, or 1 for one of scales, i64 [planes]."""
        block = self.scaling.block
        scales = -(-planes // (block + 1)) if block else 1
        kinds = torch.zeros(planes, dtype=torch.int64)
        kinds[planes - scales :] = 1
        return kinds

    def alphabets(self) -> torch.Tensor:
        """First and last level of each kind of plane, i64 [kinds, 2]."""
        return torch.tensor([[self.least, self.most], [0, SCALE_CODES - 1]])

    def quantize(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Levels and codes of y [N, C, H, W], and the number of values clamped, i64 []."""
        scaling = self.scaling
        arguments = scaling.format, scaling.block, self.step, self.least, self.most
        return ops.quantize_scaled(y, *arguments)

    def dequantize(
        self,
        levels: torch.Tensor,
        dtype: torch.dtype = torch.float32,
        crop: tuple[int, int] = (0, 0),
    ) -> torch.Tensor:
        """Values [N, C, H, W] of this type of levels int16 [N, C + S, H, W]."""
        scaling = self.scaling
        return ops.dequantize_scaled(levels, scaling.format, scaling.block, self.step, dtype)

    def packed(self) -> Scalars:
        """The scalars of an archive's layer."""
        scaling = {"format": self.scaling.format, "scale_block": self.scaling.block}
        return {"step": self.step, "lo": self.least, "hi": self.most, **scaling}

    @classmethod
    def unpacked(cls, layer: Scalars) -> ScaledQuantizer:
        """From such scalars. ValueError where they are no quantiser's."""
        scaling = Scaling(layer["format"], integer(layer["scale_block"], 0))
        step, least, most = number(layer["step"]), integer(layer["lo"]), integer(layer["hi"])
        rounded = float(torch.tensor(step, dtype=torch.float32))
        require(0 < rounded < np.inf, f"a scale of {step}")
        require(scaling.block < 2**31, f"scales of {scaling.block} channels")
        if scaling.format == "integers":
            require(1 <= most <= MOST_LEVEL and least in (0, -most), f"levels {least} to {most}")
        else:
            require(scaling.format in ("mxfp4", "nvfp4"), f"format {scaling.format!r}")
            require((least, most) == (-FP4_LEVELS, FP4_LEVELS), f"levels {least} to {most}")
            require(scaling.format == "nvfp4" or step == 1, f"a scale of {step} with mxfp4")
        return cls(scaling, step, least, most)


def _positive(step: float) -> float:
    """As a float32, or 1 where that is 0."""
    return float(np.float32(step)) if step > np.finfo(np.float32).tiny else 1.0
