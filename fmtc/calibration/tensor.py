"""The codec of bare tensors, without a model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import torch

from ..codec.block import Block
from ..codec.codec import TensorCodec
from ..codec.coders import check_lane_values
from ..errors import CalibrationError
from ..presets import BitsPreset, Preset, StepPreset, get_preset
from ..targets import Bits
from .fit import Fit, Knob


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

    samples: float [N, C, H, W], or an iterable of such batches, of which some may be empty. bits: b
    of presets that have it. step: of the quantiser instead, in units of the tensor; preset "fmtc"
    needs it (a bare tensor has no network to be sensitive for: every error counts by its square).
    coder, lane_values: as for ``CompressConfig``; the preset's by default.
    keep_moments: keep (and save) count, mean and covariance, so that they can be continued;
    start: such a codec; the basis then comes from all samples, step, ranges and tables from the new
    ones. Raises CalibrationError for empty, NaN or Inf data, ValueError for wrong options.

    >>> codec = fmtc.calibrate_tensor(samples); data = codec.encode(t); t2 = codec.decode(data)
    """
    batches = [samples] if isinstance(samples, torch.Tensor) else list(samples)
    for x in batches:
        if not isinstance(x, torch.Tensor) or x.dim() != 4 or not x.is_floating_point():
            kind = f"{x.dtype} {list(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__
            raise CalibrationError(
                f"calibrate_tensor: expected floating-point tensors [N, C, H, W], got {kind}"
            )
        if x.shape[1] != batches[0].shape[1]:
            raise CalibrationError("calibrate_tensor: the batches differ in their channels")
    batches = [x.float() for x in batches if x.numel()]
    if not batches:
        raise CalibrationError("calibrate_tensor: the calibration set is empty")
    preset = get_preset(preset) if coder is None else get_preset(preset, coder=coder)
    if lane_values is not None:
        check_lane_values(lane_values)
        preset = replace(preset, lane_values=lane_values)
    if isinstance(preset, StepPreset) and step is None:
        raise ValueError(f"calibrate_tensor: preset '{preset.name}' needs a step")
    continued = keep_moments or start is not None
    if continued and isinstance(preset, BitsPreset) and preset.transform != "pca":
        raise ValueError(f"preset '{preset.name}' has no moments to keep or continue")
    if step is not None and not (math.isfinite(step) and step > 0):
        raise ValueError(f"calibrate_tensor: step must be positive, got {step}")
    knob = Knob(bits=Bits(bits).value) if step is None else Knob(step=step)
    fit = Fit(preset, Block.parse(block), knob, "calibrate_tensor", keep_moments)
    return fit(batches, start)
