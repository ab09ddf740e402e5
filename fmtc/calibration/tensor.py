"""The codec of bare tensors, without a model."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from dataclasses import replace

import torch

from ..codec.block import Block
from ..codec.codec import MOST_DIMENSIONS, TensorCodec
from ..codec.coders import check_lane_values
from ..errors import CalibrationError
from ..planes import Layout
from ..presets import BitsPreset, Preset, StepPreset, get_preset
from ..targets import Bits
from .fit import Fit, Knob


def calibrate_tensor(
    samples: torch.Tensor | Iterable[torch.Tensor],
    preset: str | Preset = "paper",
    bits: int | None = None,
    block: Block | str | tuple = (1, 1, None),
    keep_moments: bool = False,
    start: TensorCodec | None = None,
    step: float | None = None,
    coder: str | None = None,
    lane_values: int | None = None,
    channel_dim: int = 1,
) -> TensorCodec:
    """Codec for bare tensors, without a model.

    Args:
        samples: Float [N, C, H, W], or an iterable of such batches, of which some may be empty; or
            tensors of 2 to 8 dimensions with images in the first.
        preset: The name of a preset, or a `Preset`.
        bits: b of presets that have it. Default: 8 or what comes nearest.
        block: h,w,c of blocks that are transformed together; see `Block`.
        keep_moments: Keep (and save) count, mean and covariance, so that they can be continued.
        start: A codec with moments that were kept. The basis then comes from all samples; step,
            ranges and tables from the new ones.
        step: Of the quantiser instead of bits, in units of the tensor; preset "fmtc" needs it (a
            bare tensor has no network to be sensitive for: every error counts by its square).
        coder: As for `CompressConfig`; the preset's by default.
        lane_values: As for `CompressConfig`; the preset's by default.
        channel_dim: Where the channels of the samples are, -1 for tokens [N, L, C].

    Returns:
        The codec.

    Raises:
        CalibrationError: Empty, NaN or Inf data.
        ValueError: Wrong options.

    Example:
        >>> tensor = torch.relu(torch.randn(4, 8, 16, 16))
        >>> codec = fmtc.calibrate_tensor(tensor, bits=6)
        >>> data = codec.encode(tensor)
        >>> type(data), codec.decode(data).shape
        (<class 'bytes'>, torch.Size([4, 8, 16, 16]))
    """
    batches = [samples] if isinstance(samples, torch.Tensor) else list(samples)
    for x in batches:
        usable = isinstance(x, torch.Tensor) and x.is_floating_point()
        if not usable or not 2 <= x.dim() <= MOST_DIMENSIONS:
            kind = f"{x.dtype} {list(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__
            raise CalibrationError(
                "calibrate_tensor: expected floating-point tensors [N, C, H, W], or others of 2 to "
                f"{MOST_DIMENSIONS} dimensions, got {kind}"
            )
        if not -x.dim() < channel_dim < x.dim() or channel_dim == 0:
            raise ValueError(
                f"calibrate_tensor: channel_dim {channel_dim} is no dimension of channels in "
                f"{list(x.shape)}"
            )
        if x.dim() != batches[0].dim() or x.shape[channel_dim] != batches[0].shape[channel_dim]:
            raise CalibrationError("calibrate_tensor: the batches differ in their channels")
    batches = [x.float() for x in batches if x.numel()]
    if not batches:
        raise CalibrationError("calibrate_tensor: the calibration set is empty")
    rank = batches[0].dim()
    layout = Layout(channels=channel_dim % rank)
    preset = get_preset(preset) if coder is None else get_preset(preset, coder=coder)
    if lane_values is not None:
        check_lane_values(lane_values)
        preset = replace(preset, lane_values=lane_values)
    if bits is not None and step is not None:
        raise ValueError(f"calibrate_tensor: give bits or a step, not both ({bits} bits, {step})")
    if isinstance(start, TensorCodec) and start.layout != layout:
        raise CalibrationError(
            "calibrate_tensor: the calibration to continue has its channels in dimension "
            f"{start.layout.channels}, these samples have them in {layout.channels}"
        )
    if isinstance(preset, StepPreset) and step is None:
        raise ValueError(f"calibrate_tensor: preset '{preset.name}' needs a step")
    continued = keep_moments or start is not None
    if continued and isinstance(preset, BitsPreset) and preset.transform != "pca":
        raise ValueError(f"preset '{preset.name}' has no moments to keep or continue")
    if step is not None and not (math.isfinite(step) and step > 0):
        raise ValueError(f"calibrate_tensor: step must be positive, got {step}")
    if step is not None:
        knob = Knob(step=step)
    else:
        assert isinstance(preset, BitsPreset)
        knob = Knob(bits=Bits(preset.default_bits if bits is None else bits).value)
    fit = Fit(preset, Block.parse(block), knob, "calibrate_tensor", keep_moments)
    codec = fit([layout.planes(x) for x in batches], start)
    codec.rank, codec.layout = rank, layout
    if step is not None and codec.clamped:
        warnings.warn(
            f"step {step:g} is too fine: {codec.clamped} of {codec.values} values lie beyond the "
            "16-bit levels and are clamped, so that they are off by more than half a step; take a "
            "coarser step",
            stacklevel=2,
        )
    return codec
