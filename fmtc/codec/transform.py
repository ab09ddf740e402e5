"""The transform: PCA or the weighted KLT of 1x1xC blocks, or of h x w x c blocks, or a DCT.

docs/method.md, "Transform".
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat

import torch
import torch.nn.functional as F

from .. import ops
from ..ops import UNLIMITED, Limits
from .archive import Tensors, require, typed
from .block import Block
from .exact import Exact
from .moments import Moments
from .quantizer import Quantizer

# Eigenvalues of a metric below this share of the largest are no directions, but rounding.
RANK_TOLERANCE = 1e-9


def metric_root(metric: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A [R, C] with A^T A = metric, and its pseudo-inverse [C, R]; f64, R the metric's rank.

    By Cholesky where the metric has full rank, which takes a tenth of the time.
    """
    factor, failed = torch.linalg.cholesky_ex(metric)
    pivots = factor.diagonal() ** 2
    if len(metric) and not failed and pivots.min() > RANK_TOLERANCE * metric.trace():
        one = torch.eye(len(metric), dtype=metric.dtype, device=metric.device)
        return factor.T, torch.linalg.solve_triangular(factor.T, one, upper=True)
    eigenvalues, basis = torch.linalg.eigh(metric)
    kept = eigenvalues > RANK_TOLERANCE * eigenvalues[-1].clamp(min=torch.finfo(metric.dtype).tiny)
    root, basis = eigenvalues[kept].sqrt(), basis[:, kept]
    return (basis * root).T, basis / root


def quantize_rows(matrix: torch.Tensor, bits: int) -> torch.Tensor:
    """Symmetric uniform quantisation of each row to ``bits`` bits; float32, any shape [rows, n]."""
    top = 2 ** (bits - 1) - 1
    largest = matrix.abs().amax(1, keepdim=True) if matrix.shape[1] else matrix.new_zeros(0)
    scale = largest.clamp(min=torch.finfo(torch.float32).tiny) / top
    return (matrix / scale).round() * scale


def limited(x: torch.Tensor, limits: Limits) -> torch.Tensor:
    """x within the limits."""
    return x if limits == UNLIMITED else x.clamp(*limits)


def multiply(
    x: torch.Tensor, matrix: torch.Tensor, offset: torch.Tensor, limits: Limits = UNLIMITED
) -> torch.Tensor:
    """matrix @ x + offset for the channels of each position, within the limits.

    x: f32 [N, C, H, W]. matrix: f32 [K, C], offset: f32 [K].
    """
    if not x.requires_grad:
        return ops.transform_channels(x, matrix, offset, *limits)
    return limited(F.conv2d(x, matrix[:, :, None, None], offset), limits)


def joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """The channels of all parts [N, c, H, W], one after the other."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)


class Transform(Exact):
    """y = T (x - mean) and back x = V y + mean, a matrix pair for each channel group.

    matrices: f32 [k, n] each, inverses: f32 [n, k], means: f64 [n]; k <= n components are kept.
    energies: f64 [G*n], the variances of all components that there were, of those left out, too;
    None where they are not known, as in a codec that was saved.
    """

    energies: torch.Tensor | None
    matrix0: torch.Tensor
    offset32_0: torch.Tensor
    inverse0: torch.Tensor
    mean32_0: torch.Tensor

    def __init__(
        self,
        matrices: Sequence[torch.Tensor],
        inverses: Sequence[torch.Tensor],
        means: Sequence[torch.Tensor],
        energies: torch.Tensor | None = None,
    ):
        super().__init__()
        self.groups = len(matrices)
        self.energies = energies
        for g, (matrix, inverse, mean) in enumerate(zip(matrices, inverses, means, strict=True)):
            self.hold(f"matrix{g}", matrix)
            self.hold(f"inverse{g}", inverse)
            self.hold(f"mean{g}", mean)
            offset = -(matrix.double() @ mean)
            self.hold(f"offset{g}", offset)
            self.hold(f"offset32_{g}", offset.float())  # as the operators take them
            self.hold(f"mean32_{g}", mean.float())

    def _all(self, name: str) -> list[torch.Tensor]:
        return [getattr(self, f"{name}{g}") for g in range(self.groups)]

    @property
    def matrices(self) -> list[torch.Tensor]:
        return self._all("matrix")

    @property
    def inverses(self) -> list[torch.Tensor]:
        return self._all("inverse")

    @property
    def means(self) -> list[torch.Tensor]:
        return self._all("mean")

    @property
    def offsets(self) -> list[torch.Tensor]:
        """-T mean of each channel group, f64 [k]."""
        return self._all("offset")

    @property
    def components(self) -> int:
        return sum(m.shape[0] for m in self.matrices)

    @classmethod
    def pca(cls, moments: Moments) -> Transform:
        """The eigenbasis of each channel group's covariance, components by falling variance."""
        found = [ops.pca(m2 / count.clamp(min=1)) for count, _, m2 in moments.parts]
        bases = [basis.float() for _, basis in found]
        matrices = [basis.T.contiguous() for basis in bases]
        means = [mean for _, mean, _ in moments.parts]
        return cls(matrices, bases, means, torch.cat([energies for energies, _ in found]))

    @classmethod
    def weighted_klt(cls, moments: Moments, metric: torch.Tensor) -> Transform:
        """The KLT of A x, where an error e of x costs e^T metric e = |A e|^2.

        docs/method.md, "Transform": y = U^T A (x - mean) with U the eigenbasis of A covariance A^T,
        and back with A^+ U: an error of y costs its square, whatever the component, and components
        outside the metric's rank are not there at all. moments: of 1x1xC blocks. metric: f64
        [C, C], positive semidefinite.
        """
        [(count, mean, m2)] = moments.parts
        root, inverse = metric_root(metric)
        if not len(root):  # nothing depends on this tensor
            none = mean.new_zeros(1, len(mean), dtype=torch.float32)
            return cls([none], [none.T.contiguous()], [mean])
        energies, basis = ops.pca(root @ (m2 / count.clamp(min=1)) @ root.T)
        energies = F.pad(energies, (0, len(mean) - len(energies)))
        return cls([(basis.T @ root).float()], [(inverse @ basis).float()], [mean], energies)

    @classmethod
    def dct(cls, channels: int, block: Block) -> Transform:
        """The orthonormal DCT-II over the channels of each 1x1xc block."""
        if block.h * block.w != 1:
            raise ValueError(f"the DCT is over channels, in blocks 1,1,c, not {block}")
        size = block.depth(channels)
        n = torch.arange(size, dtype=torch.float64)
        basis = (2 / size) ** 0.5 * torch.cos(torch.pi / size * (n + 0.5) * n[:, None])
        basis[0] /= 2**0.5
        groups, basis = block.groups(channels), basis.float()
        zero = torch.zeros(size, dtype=torch.float64)
        return cls([basis] * groups, [basis.T.contiguous()] * groups, [zero] * groups)

    def keep(self, mask: torch.Tensor) -> Transform:
        """The transform with only the components of ``mask`` (bool [components])."""
        masks = mask.split([m.shape[0] for m in self.matrices])
        return Transform(
            [m[k] for m, k in zip(self.matrices, masks, strict=True)],
            [v[:, k] for v, k in zip(self.inverses, masks, strict=True)],
            self.means,
            self.energies,
        )

    def strongest(self, share: float) -> Transform:
        """The transform with this share of the components of each channel group, at least one."""
        if share >= 1:
            return self
        sizes = [(m.shape[0], m.device) for m in self.matrices]
        return self.keep(
            torch.cat([torch.arange(k, device=at) < max(1, round(share * k)) for k, at in sizes])
        )

    def quantize(self, bits: int) -> Transform:
        """The transform with both matrices quantised row by row (preset paper: 8 bits)."""
        return Transform(
            [quantize_rows(matrix, bits) for matrix in self.matrices],
            [quantize_rows(inverse, bits) for inverse in self.inverses],
            self.means,
            self.energies,
        )

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """[N, G*n, H, W] of any float type -> float32 [N, components, H, W]."""
        parts = blocks.float().chunk(self.groups, 1)
        made = map(multiply, parts, self.matrices, self._all("offset32_"))
        return joined(list(made))

    def inverse(self, y: torch.Tensor, limits: Limits = UNLIMITED) -> torch.Tensor:
        """float32 [N, components, H, W] -> float32 [N, G*n, H, W], within the limits."""
        parts = y.split([m.shape[0] for m in self.matrices], 1)
        within = repeat(limits)
        return joined(list(map(multiply, parts, self.inverses, self._all("mean32_"), within)))

    def to_levels(
        self, blocks: torch.Tensor, quantizer: Quantizer
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """``quantizer.quantize(self.forward(blocks))``, in one pass where one operator does it."""
        if not self.in_one_pass(quantizer):
            return quantizer.quantize(self.forward(blocks))
        return ops.transform_quantize(
            blocks, *self.product, quantizer.step, quantizer.lo, quantizer.hi
        )

    def from_levels(
        self,
        levels: torch.Tensor,
        quantizer: Quantizer,
        limits: Limits = UNLIMITED,
        dtype: torch.dtype = torch.float32,
        crop: tuple[int, int] = (0, 0),
    ) -> torch.Tensor:
        """``self.inverse(quantizer.dequantize(levels))`` within limits, in one pass likewise.

        crop: of the quantiser's blocks.
        """
        if not self.in_one_pass(quantizer):
            return self.back(quantizer.dequantize(levels, crop=crop), limits, dtype)
        product = self.product_back
        return ops.dequantize_transform(levels, *product, quantizer.step, *limits, dtype)

    def back(self, y: torch.Tensor, limits: Limits, dtype: torch.dtype) -> torch.Tensor:
        """``self.inverse(y)`` within limits, of this dtype."""
        return self.inverse(y, limits).to(dtype)

    def in_one_pass(self, quantizer: Quantizer) -> bool:
        """Whether one operator transforms and quantises, with ``product`` and ``product_back``."""
        return self.one_product and quantizer.one_step

    @property
    def one_product(self) -> bool:
        """Whether all channels are one group, of which ``product`` and ``product_back`` are."""
        return self.groups == 1

    @property
    def product(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Matrix and offset of the one group, f32, as operators take them."""
        return self.matrix0, self.offset32_0

    @property
    def product_back(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Those of the way back."""
        return self.inverse0, self.mean32_0

    def packed(self) -> Tensors:
        """The tensors of an archive's layer."""
        tensors = {}
        for g in range(self.groups):
            for name in ("matrix", "inverse", "mean"):
                tensors[f"{name}.{g}"] = getattr(self, f"{name}{g}")
        return tensors

    @classmethod
    def unpacked(cls, tensors: Tensors, groups: int, size: int) -> Transform:
        """From such tensors, for blocks of ``size`` values. ValueError where they do not fit."""
        matrices, inverses, means = [], [], []
        for g in range(groups):
            matrices.append(typed(tensors, f"matrix.{g}", torch.float32, 2))
            inverses.append(typed(tensors, f"inverse.{g}", torch.float32, 2))
            means.append(typed(tensors, f"mean.{g}", torch.float64, 1))
            shape = matrices[g].shape
            require(shape[1] == size and inverses[g].T.shape == shape, "its matrices")
            require(means[g].shape == (size,), "its means")
            finite = all(of[g].isfinite().all() for of in (matrices, inverses, means))
            require(finite, "NaN in its transform")
        return cls(matrices, inverses, means)


class Identity(Transform):
    """No transform: the components are the channels."""

    def __init__(self, channels: int):
        super().__init__([], [], [])
        self.channels = channels

    @property
    def components(self) -> int:
        return self.channels

    def quantize(self, bits: int) -> Transform:
        return self

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        return blocks

    def inverse(self, y: torch.Tensor, limits: Limits = UNLIMITED) -> torch.Tensor:
        return limited(y, limits)
