"""Compensation: convolutions refitted to what they really read (docs/method.md, "Compensation").

Behind coding points a convolution reads decoded tensors. Ridge regression changes its weights so
that, on the calibration images, it comes closest to what the uncompressed network computes there:
no labels, no back-propagation, no cost at inference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from ..network.fold import bias_of, conv_like
from .symmetric import Symmetric

# Tried on held-out images; infinite: the convolution stays as it is.
RIDGES = (0.1, 0.4, 1.6, math.inf)
# Output positions a regression uses for each of its unknowns, at most.
POSITIONS_PER_WEIGHT = 64
ROUNDING = 1e-5  # relative error of an output below which nothing was coded before it
HELD_OUT = 4  # every 4th batch is held out where the ridge is chosen
# Makes the samples of a batch: inputs f32 [G, I, P] and what is missing, f32 [G, O/G, P].
Samples = Callable[[], tuple[torch.Tensor, torch.Tensor]]


class _Moments:
    """Regression on the second moments of the inputs, f32 [G, I, I], for many samples.

    A ridge of a tenth of their mean keeps the condition far below what float32 loses.
    """

    def __init__(self, groups: int, inputs: int, outputs: int, device: torch.device) -> None:
        self.gram = Symmetric(groups, inputs, torch.float32, device)
        self.cross = torch.zeros(groups, inputs, outputs, device=device)
        self.sums = [
            torch.zeros(groups, n, dtype=torch.float64, device=device) for n in (inputs, outputs)
        ]
        self.count = 0

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        self.gram.add_products(x)
        self.cross.baddbmm_(x, y.mT)
        for total, part in zip(self.sums, (x, y), strict=True):
            total += part.sum(2, dtype=torch.float64)
        self.count += x.shape[2]

    def solve(self, ridge: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Changes of the weights f32 [G, I, O] and of the bias [G, O]."""
        x, y = ((total / self.count).float() for total in self.sums)
        loaded = self.gram.whole()
        loaded.baddbmm_(x[:, :, None], x[:, None], alpha=-self.count)
        cross = torch.baddbmm(self.cross, x[:, :, None], y[:, None], alpha=-self.count)
        _load(loaded, ridge, x.shape[1])
        change = _solve(loaded, cross)
        return change, y - (x[:, None] @ change)[:, 0]


class _Products:
    """The same regression on the inner products of the samples, f32 [G, P, P], for few samples.

    X (XᵀX + λ)⁻¹ Yᵀ = (X Xᵀ + λ)⁻¹ X Yᵀ: the left side is smaller with fewer samples than inputs.
    """

    def __init__(
        self, groups: int, inputs: int, outputs: int, device: torch.device, samples: int
    ) -> None:
        self.inputs = torch.empty(groups, inputs, samples, device=device)
        self.missing = torch.empty(groups, outputs, samples, device=device)
        self.count = 0

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        place = slice(self.count, self.count + x.shape[2])
        self.inputs[:, :, place], self.missing[:, :, place] = x, y
        self.count = place.stop

    def solve(self, ridge: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Changes of the weights f32 [G, I, O] and of the bias [G, O]."""
        inputs, missing = (t[:, :, : self.count] for t in (self.inputs, self.missing))
        x, y = inputs.mean(2), missing.mean(2)
        products = inputs.mT @ inputs
        # Of deviations from the mean. Those of ``missing`` sum to zero, and so do the columns of
        # the solution: the inputs themselves need not be centred.
        row = products.mean(2)
        products -= row[:, :, None]
        products += (row.mean(1, keepdim=True) - row)[:, None]
        _load(products, ridge, inputs.shape[1])
        change = inputs @ _solve(products, (missing - y[:, :, None]).mT)
        return change, y - (x[:, None] @ change)[:, 0]


def _load(matrices: torch.Tensor, ridge: float, inputs: int) -> None:
    """Add the ridge times an input's mean second moment to the diagonals, in place."""
    diagonals = matrices.diagonal(dim1=1, dim2=2)
    size = diagonals.sum(1, keepdim=True) / inputs
    diagonals += ridge * torch.where(size > 0, size, 1)


def _solve(matrix: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """matrix⁻¹ right for positive definite matrices [G, n, n], which are overwritten."""
    torch.linalg.cholesky(matrix.mT, out=matrix.mT)
    half = torch.linalg.solve_triangular(matrix.mT, right, upper=False)
    return torch.linalg.solve_triangular(matrix, half, upper=True)


def refit(
    conv: nn.Conv2d, inputs: list[torch.Tensor], targets: list[torch.Tensor], seed: int = 0
) -> nn.Conv2d:
    """The convolution that comes closest to ``targets`` [N, O, H, W] on ``inputs`` [N, C, H', W'].

    The ridge is the one with the least error on held-out batches, after fitting to the others; the
    same convolution comes back where none lessens it, or where there are too few batches to tell.
    """
    if len(inputs) < 2 or _is_rounding(targets[0] - conv(inputs[0]), targets[0]):
        return conv
    kept = _positions(conv, targets, torch.Generator().manual_seed(seed))
    batches = list(zip(inputs, targets, kept, strict=True))
    # Deviations from what is nearly the mean: float32 does for their products.
    shift = _samples(conv, *batches[0])[0].mean(2, keepdim=True)
    # Made anew where they are needed: together they are much larger than the tensors.
    samples: list[Samples] = [partial(_samples, conv, *batch, shift) for batch in batches]
    held_out = samples[HELD_OUT - 1 : -1 : HELD_OUT] + samples[-1:]
    regression = _regression(conv, targets, kept)
    for sample in samples:
        if sample not in held_out:
            regression.add(*sample())
    ridge = _best_ridge(regression, held_out)
    if math.isinf(ridge):
        return conv
    for sample in held_out:
        regression.add(*sample())
    change, bias = regression.solve(ridge)
    return _changed(conv, change, bias - (shift.mT @ change)[:, 0])


def _regression(
    conv: nn.Conv2d, targets: list[torch.Tensor], kept: list[torch.Tensor | None]
) -> _Products | _Moments:
    """The one whose matrices are smaller."""
    groups, inputs = conv.groups, conv.weight[0].numel()
    size = groups, inputs, conv.out_channels // groups, conv.weight.device
    samples = sum(
        len(y) * (y[0, 0].numel() if k is None else len(k))
        for y, k in zip(targets, kept, strict=True)
    )
    return _Products(*size, samples) if samples <= inputs else _Moments(*size)


def _best_ridge(regression: _Products | _Moments, held_out: list[Samples]) -> float:
    """That whose solution misses least of the held-out samples; infinite: nothing is changed."""
    errors = {}
    for ridge in RIDGES:
        change, bias = (None, None) if math.isinf(ridge) else regression.solve(ridge)
        errors[ridge] = sum(_error(*sample(), change, bias) for sample in held_out)
    return min(errors, key=errors.__getitem__)


def _error(
    inputs: torch.Tensor,
    missing: torch.Tensor,
    change: torch.Tensor | None,
    bias: torch.Tensor | None,
) -> float:
    """Summed squares of what is missing after a change; None: as it is."""
    if change is not None and bias is not None:
        missing = torch.baddbmm(missing - bias[:, :, None], change.mT, inputs, alpha=-1)
    return float(missing.square().sum(dtype=torch.float64))


def _is_rounding(missing: torch.Tensor, target: torch.Tensor) -> bool:
    """True where an output is off by no more than another order of the same sums explains."""
    return bool(missing.norm() <= ROUNDING * target.norm())


def _positions(
    conv: nn.Conv2d, targets: list[torch.Tensor], generator: torch.Generator
) -> list[torch.Tensor | None]:
    """The output positions of each batch that are used, i64 [k], drawn; None: all."""
    weights = conv.weight[0].numel()
    positions = sum(y[:, 0].numel() for y in targets)
    share = POSITIONS_PER_WEIGHT * max(weights, 64) / max(positions, 1)
    if share >= 1:
        return [None] * len(targets)
    sizes = [y[0, 0].numel() for y in targets]
    device = conv.weight.device
    return [
        torch.randperm(n, generator=generator)[: math.ceil(share * n)].to(device) for n in sizes
    ]


def _samples(
    conv: nn.Conv2d,
    x: torch.Tensor,
    y: torch.Tensor,
    kept: torch.Tensor | None,
    shift: torch.Tensor | float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Input patches of one batch less ``shift``, f32 [G, I, P], and what is missing, [G, O/G, P].

    Where not all positions are used, only their patches are made, and only there the convolution
    is calculated.
    """
    if kept is None:
        patches, missing = _patches(conv, x), (y - conv(x)).flatten(2)
    else:
        patches = _patches_at(conv, x, kept)
        missing = y.flatten(2)[:, :, kept] - _output(conv, patches)
    by_group = (part.unflatten(1, (conv.groups, -1)) for part in (patches, missing))
    inputs, outputs = (part.permute(1, 2, 0, 3).flatten(2) for part in by_group)
    return inputs - shift, outputs


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
    rows, columns_of = (torch.arange(n, device=x.device) for n in conv.kernel_size)
    taps = rows[:, None] * conv.dilation[0] * width + columns_of * conv.dilation[1]
    taps = taps.flatten()
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
