"""Compensation: convolutions refitted to what they really read (docs/method.md, "Compensation").

Behind coding points a convolution reads decoded tensors. Ridge regression changes its weights so
that, on the calibration images, it comes closest to what the uncompressed network computes there:
no labels, no back-propagation, no cost at inference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from .. import ops
from ..network.fold import bias_of, conv_like

# Tried on held-out images; infinite: the convolution stays as it is.
RIDGES = (0.1, 0.4, 1.6, math.inf)
# Output positions a regression uses for each of its unknowns, at most.
POSITIONS_PER_WEIGHT = 64
ROUNDING = 1e-5  # relative error of an output below which nothing was coded before it
HELD_OUT = 4  # every 4th batch is held out where the ridge is chosen


@dataclass
class _Sums:
    """Joint second moments of inputs (first ``inputs``) and missing outputs, for every group."""

    inputs: int
    count: torch.Tensor
    mean: torch.Tensor  # f64 [G, D]
    m2: torch.Tensor  # f64 [G, D, D]

    @classmethod
    def of(cls, samples: list[torch.Tensor], inputs: int) -> _Sums:
        """Of samples [G, D, P] each."""
        joint = torch.cat(samples, 2)
        if len(joint) == 1:
            count, mean, m2 = ops.channel_moments(joint[..., None])
            return cls(inputs, count.double(), mean[None], m2[None])
        joint = joint.double()
        mean = joint.mean(2)
        centred = joint - mean[:, :, None]
        count = torch.tensor(float(joint.shape[2]), dtype=torch.float64)
        return cls(inputs, count, mean, centred @ centred.transpose(1, 2))

    def __iadd__(self, other: _Sums) -> _Sums:
        """In place: for a wide convolution each of the sums is larger than the network."""
        count = self.count + other.count
        shift = other.mean - self.mean
        weight = self.count * other.count / count
        self.m2 += other.m2
        self.m2.baddbmm_(shift[:, :, None] * weight, shift[:, None, :])
        self.mean += shift * (other.count / count)
        self.count = count
        return self

    @property
    def gram(self) -> torch.Tensor:
        """Of the inputs, a view f64 [G, I, I]; over ``count`` their covariances."""
        return self.m2[:, : self.inputs, : self.inputs]

    @property
    def cross(self) -> torch.Tensor:
        """Covariances of the inputs with the missing outputs, f64 [G, I, O]."""
        return self.m2[:, : self.inputs, self.inputs :] / self.count

    def solve(self, ridge: float) -> torch.Tensor:
        """Change of the weights, f64 [G, I, O]."""
        cross = self.cross
        if math.isinf(ridge):
            return torch.zeros_like(cross)
        size = self.gram.diagonal(dim1=1, dim2=2).mean(1) / self.count
        load = ridge * size + torch.finfo(torch.float32).tiny
        # float32 does: with a ridge of a tenth of the mean the condition is that of its inverse.
        loaded = self.gram.float()
        loaded /= self.count.float()
        loaded.diagonal(dim1=1, dim2=2).add_(load.float()[:, None])
        factor = torch.linalg.cholesky(loaded)
        del loaded
        return torch.cholesky_solve(cross.float(), factor).double()

    def bias(self, change: torch.Tensor) -> torch.Tensor:
        """What is missing on average after the change, f64 [G, O]."""
        inputs, outputs = self.mean[:, : self.inputs], self.mean[:, self.inputs :]
        return outputs - (inputs[:, None] @ change)[:, 0]

    def error(self, change: torch.Tensor, bias: torch.Tensor) -> float:
        """Mean squared missing output of these samples after such a change."""
        missing = self.m2.diagonal(dim1=1, dim2=2)[:, self.inputs :].sum() / self.count
        left = missing - 2 * (self.cross * change).sum()
        left = left + ((self.gram @ change) * change).sum() / self.count
        return float(left + (self.bias(change) - bias).square().sum())


def refit(
    conv: nn.Conv2d, inputs: list[torch.Tensor], targets: list[torch.Tensor], seed: int = 0
) -> nn.Conv2d:
    """The convolution that comes closest to ``targets`` [N, O, H, W] on ``inputs`` [N, C, H', W'].

    The ridge is the one with the least error on held-out batches, after fitting to the others; the
    same convolution comes back where none lessens it, or where there are too few batches to tell.
    """
    if len(inputs) < 2 or _is_rounding(targets[0] - conv(inputs[0]), targets[0]):
        return conv
    generator = torch.Generator().manual_seed(seed)
    share = _share(conv, targets)
    samples = [_samples(conv, x, y, share, generator) for x, y in zip(inputs, targets, strict=True)]
    last = len(samples) - 1
    out = {i for i in range(len(samples)) if i % HELD_OUT == HELD_OUT - 1 or i == last}
    unknowns = conv.weight[0].numel()
    fitted = _Sums.of([s for i, s in enumerate(samples) if i not in out], unknowns)
    held = _Sums.of([s for i, s in enumerate(samples) if i in out], unknowns)
    del samples
    ridge = min(RIDGES, key=lambda r: _held_out_error(fitted, held, r))
    if math.isinf(ridge):
        return conv
    fitted += held
    change = fitted.solve(ridge)
    return _changed(conv, change, fitted.bias(change))


def _is_rounding(missing: torch.Tensor, target: torch.Tensor) -> bool:
    """True where an output is off by no more than another order of the same sums explains."""
    return bool(missing.norm() <= ROUNDING * target.norm())


def _held_out_error(fitted: _Sums, held: _Sums, ridge: float) -> float:
    change = fitted.solve(ridge)
    bias = torch.zeros_like(fitted.bias(change)) if math.isinf(ridge) else fitted.bias(change)
    return held.error(change, bias)


def _share(conv: nn.Conv2d, targets: list[torch.Tensor]) -> float:
    """Share of the output positions that are used."""
    weights = conv.weight[0].numel()
    positions = sum(y[:, 0].numel() for y in targets)
    return min(1.0, POSITIONS_PER_WEIGHT * max(weights, 64) / max(positions, 1))


def _samples(
    conv: nn.Conv2d, x: torch.Tensor, y: torch.Tensor, share: float, generator: torch.Generator
) -> torch.Tensor:
    """Input patches of one batch and what the convolution misses there, f32 [G, I + O/G, P].

    Where not all positions are used, only their patches are made, and only there the convolution
    is calculated.
    """
    if share < 1.0:
        positions = y[0, 0].numel()
        kept = torch.randperm(positions, generator=generator)[: math.ceil(share * positions)]
        patches = _patches_at(conv, x, kept)
        missing = y.flatten(2)[:, :, kept] - _output(conv, patches)
    else:
        patches, missing = _patches(conv, x), (y - conv(x)).flatten(2)
    by_group = (part.unflatten(1, (conv.groups, -1)) for part in (patches, missing))
    return torch.cat(list(by_group), 2).permute(1, 2, 0, 3).flatten(2)


def _patches(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """What each output position reads, [N, C*kh*kw, positions]."""
    if conv.kernel_size == (1, 1) and conv.padding in ((0, 0), "valid"):
        return x[:, :, :: conv.stride[0], :: conv.stride[1]].flatten(2)
    x = _padded(conv, x)
    return F.unfold(x, conv.kernel_size, dilation=conv.dilation, stride=conv.stride)


def _patches_at(conv: nn.Conv2d, x: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    """``_patches`` at some output positions, i64 [k], counted row by row: [N, C*kh*kw, k]."""
    x = _padded(conv, x)
    width = x.shape[3]
    reach = conv.dilation[1] * (conv.kernel_size[1] - 1)
    columns = (width - reach - 1) // conv.stride[1] + 1
    corner = positions // columns * conv.stride[0] * width + positions % columns * conv.stride[1]
    rows = torch.arange(conv.kernel_size[0]) * conv.dilation[0] * width
    taps = (rows[:, None] + torch.arange(conv.kernel_size[1]) * conv.dilation[1]).flatten()
    read = (taps[:, None] + corner).flatten()
    return x.flatten(2)[:, :, read].unflatten(2, (len(taps), -1)).flatten(1, 2)


def _padded(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    before = conv._reversed_padding_repeated_twice
    if not any(before):
        return x
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    return F.pad(x, before, mode=mode)


def _output(conv: nn.Conv2d, patches: torch.Tensor) -> torch.Tensor:
    """What the convolution makes of patches [N, C*kh*kw, k], [N, O, k]."""
    weight = conv.weight.detach().flatten(1).unflatten(0, (conv.groups, -1))  # [G, O/G, I]
    made = (weight @ patches.unflatten(1, (conv.groups, -1))).flatten(1, 2)
    return made if conv.bias is None else made + conv.bias.detach()[:, None]


def _changed(conv: nn.Conv2d, change: torch.Tensor, bias: torch.Tensor) -> nn.Conv2d:
    """The convolution with ``change`` [G, I, O/G] added to its weights and ``bias`` to its own."""
    weight = change.transpose(1, 2).reshape(conv.weight.shape) + conv.weight.detach()
    return conv_like(conv, weight, bias_of(conv) + bias.flatten())
