"""The transform: channel PCA on 1x1xC blocks, or on h x w x c blocks (METHOD section 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .. import ops


@dataclass(frozen=True)
class Block:
    """Shape h x w x c of the blocks that are transformed together; ``c`` None means all channels.

    A tensor [N, C, H, W] is rearranged to [N, G*n, ceil(H/h), ceil(W/w)] with n = h*w*c and
    G = ceil(C/c) channel groups, each with a basis of its own. Edges are padded by replication.
    """

    h: int = 1
    w: int = 1
    c: int | None = None

    @classmethod
    def parse(cls, value: Block | str | tuple) -> Block:
        """From a Block, (h, w, c) or "h,w,c" with c a number, ``C`` or None for all channels."""
        if isinstance(value, Block):
            return value
        parts = value.split(",") if isinstance(value, str) else list(value)
        try:
            h, w = int(parts[0]), int(parts[1])
            c = None if parts[2] in ("C", "c", None) else int(parts[2])
            if len(parts) != 3 or min(h, w, 1 if c is None else c) < 1 or max(h, w) > 255:
                raise ValueError
        except (ValueError, IndexError, TypeError):
            raise ValueError(
                f"block {value!r}: expected h,w,c with h, w of 1 to 255 and c >= 1 or C (all)"
            ) from None
        return cls(h, w, c)

    def __str__(self) -> str:
        return f"{self.h},{self.w},{'C' if self.c is None else self.c}"

    @property
    def is_pixel(self) -> bool:
        """True for 1x1xC, which needs no rearrangement and folds into convolutions."""
        return self.h == self.w == 1 and self.c is None

    def depth(self, channels: int) -> int:
        return channels if self.c is None else min(self.c, channels)

    def groups(self, channels: int) -> int:
        return -(-channels // self.depth(channels))

    def size(self, channels: int) -> int:
        """Values n in one block."""
        return self.h * self.w * self.depth(channels)

    def crop(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of padding that complete the last blocks."""
        return -height % self.h, -width % self.w

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] -> [N, G*n, H', W']."""
        if self.is_pixel:
            return x
        n, c, height, width = x.shape
        depth, groups = self.depth(c), self.groups(c)
        if depth * groups != c:
            x = torch.cat([x, x[:, -1:].expand(-1, depth * groups - c, -1, -1)], 1)
        rows, columns = self.crop(height, width)
        if rows or columns:
            x = F.pad(x, (0, columns, 0, rows), mode="replicate")
        x = x.unflatten(3, (-1, self.w)).unflatten(2, (-1, self.h))  # N, C, H', h, W', w
        return x.permute(0, 1, 3, 5, 2, 4).flatten(1, 3).contiguous()

    def join(self, blocks: torch.Tensor, channels: int, crop: tuple[int, int]) -> torch.Tensor:
        """The inverse of ``split`` for a tensor of ``channels`` channels and this much padding."""
        if self.is_pixel:
            return blocks
        x = blocks.unflatten(1, (-1, self.h, self.w))  # N, C', h, w, H', W'
        x = x.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)
        return x[:, :channels, : x.shape[2] - crop[0], : x.shape[3] - crop[1]].contiguous()


class Moments:
    """Count, mean and centred second moments of the blocks of a layer, in double, mergeable.

    One set for each channel group: lists of (count i64 [], mean f64 [n], m2 f64 [n, n]).
    """

    def __init__(self, parts: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] | None = None):
        self.parts = parts

    def update(self, blocks: torch.Tensor, groups: int) -> Moments:
        """Take in a batch of blocks [N, G*n, H', W']."""
        new = [ops.channel_moments(part) for part in blocks.chunk(groups, 1)]
        return self.merge(Moments(new))

    def merge(self, other: Moments) -> Moments:
        """Take in moments of other data, as if all had been seen together (Chan et al.)."""
        if self.parts is None:
            self.parts = other.parts
        else:
            pairs = zip(self.parts, other.parts, strict=True)
            self.parts = [ops.merge_moments(*a, *b) for a, b in pairs]
        return self

    def is_finite(self) -> bool:
        return all(m.isfinite().all() and m2.isfinite().all() for _, m, m2 in self.parts)

    def fit(self) -> Transform:
        """PCA of each channel group, components by falling variance."""
        bases = [ops.pca(m2 / count.clamp(min=1))[1].float() for count, _, m2 in self.parts]
        matrices = [basis.T.contiguous() for basis in bases]
        return Transform(matrices, bases, [mean for _, mean, _ in self.parts])


# Eigenvalues of a metric below this share of the largest are no directions, but rounding.
RANK_TOLERANCE = 1e-9


def metric_root(metric: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A [R, C] with A^T A = metric, and its pseudo-inverse [C, R]; f64, R the metric's rank."""
    eigenvalues, basis = torch.linalg.eigh(metric)
    kept = eigenvalues > RANK_TOLERANCE * eigenvalues[-1].clamp(min=torch.finfo(metric.dtype).tiny)
    root, basis = eigenvalues[kept].sqrt(), basis[:, kept]
    return (basis * root).T, basis / root


def weighted_klt(moments: Moments, metric: torch.Tensor) -> Transform:
    """The KLT of A x, where an error e of x costs e^T metric e = |A e|^2 (METHOD section 9).

    y = U^T A (x - mean) with U the eigenbasis of A covariance A^T, and back with A^+ U: an error of
    y costs its square, whatever the component, and components outside the metric's rank are not
    there at all. moments: of 1x1xC blocks. metric: f64 [C, C], positive semidefinite.
    """
    [(count, mean, m2)] = moments.parts
    root, inverse = metric_root(metric)
    if not len(root):  # nothing depends on this tensor
        channels = len(mean)
        return Transform([torch.zeros(1, channels)], [torch.zeros(channels, 1)], [mean])
    _, basis = ops.pca(root @ (m2 / count.clamp(min=1)) @ root.T)
    return Transform([(basis.T @ root).float()], [(inverse @ basis).float()], [mean])


def quantize_rows(matrix: torch.Tensor, bits: int) -> torch.Tensor:
    """Symmetric uniform quantisation of each row to ``bits`` bits; float32, any shape [rows, n]."""
    top = 2 ** (bits - 1) - 1
    largest = matrix.abs().amax(1, keepdim=True) if matrix.shape[1] else matrix.new_zeros(0)
    scale = largest.clamp(min=torch.finfo(torch.float32).tiny) / top
    return (matrix / scale).round() * scale


# What an activation limits values to, None where it does not: ReLU (0, None), ReLU6 (0, 6).
Limits = tuple[float | None, float | None]
UNLIMITED: Limits = (None, None)


def limited(x: torch.Tensor, limits: Limits) -> torch.Tensor:
    """x within the limits."""
    return x if limits == UNLIMITED else x.clamp(*limits)


class Transform:
    """y = T (x - mean) and back x = V y + mean, a matrix pair for each channel group.

    matrices: [k, n] each, inverses: [n, k], means: [n] double; k <= n components are kept.
    """

    def __init__(self, matrices, inverses, means):
        self.matrices: list[torch.Tensor] = matrices
        self.inverses: list[torch.Tensor] = inverses
        self.means: list[torch.Tensor] = means
        self.offsets = [-(m.double() @ u) for m, u in zip(matrices, means, strict=True)]
        self._offsets = [offset.float() for offset in self.offsets]
        self._means = [mean.float() for mean in means]

    @property
    def components(self) -> int:
        return sum(m.shape[0] for m in self.matrices)

    def keep(self, mask: torch.Tensor) -> Transform:
        """The transform with only the components of ``mask`` (bool [components])."""
        masks = mask.split([m.shape[0] for m in self.matrices])
        return Transform(
            [m[k] for m, k in zip(self.matrices, masks, strict=True)],
            [v[:, k] for v, k in zip(self.inverses, masks, strict=True)],
            self.means,
        )

    def strongest(self, share: float) -> Transform:
        """The transform with this share of the components of each channel group, at least one."""
        if share >= 1:
            return self
        sizes = [m.shape[0] for m in self.matrices]
        return self.keep(torch.cat([torch.arange(k) < max(1, round(share * k)) for k in sizes]))

    def quantize(self, bits: int) -> Transform:
        """The transform with both matrices quantised row by row (paper preset: 8 bits)."""
        return Transform(
            [quantize_rows(matrix, bits) for matrix in self.matrices],
            [quantize_rows(inverse, bits) for inverse in self.inverses],
            self.means,
        )

    def to(self, device) -> Transform:
        return Transform(*([t.to(device) for t in part] for part in self.tensors()))

    def tensors(self) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
        return self.matrices, self.inverses, self.means

    def forward(self, blocks: torch.Tensor) -> torch.Tensor:
        """[N, G*n, H, W] -> [N, components, H, W]."""
        parts = blocks.chunk(len(self.matrices), 1)
        made = [
            F.conv2d(x, m[:, :, None, None], offset.to(x.dtype))
            for x, m, offset in zip(parts, self.matrices, self.offsets, strict=True)
        ]
        return made[0] if len(made) == 1 else torch.cat(made, 1)

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        """[N, components, H, W] -> [N, G*n, H, W]."""
        parts = y.split([m.shape[0] for m in self.matrices], 1)
        made = [
            F.conv2d(part, v[:, :, None, None], mean.to(part.dtype))
            for part, v, mean in zip(parts, self.inverses, self.means, strict=True)
        ]
        return made[0] if len(made) == 1 else torch.cat(made, 1)

    def to_levels(self, blocks: torch.Tensor, quantizer) -> tuple[torch.Tensor, torch.Tensor]:
        """``quantizer.quantize(self.forward(blocks))``, in one pass where one operator does it."""
        if not self._in_one_pass(quantizer):
            return quantizer.quantize(self.forward(blocks))
        product = self.matrices[0], self._offsets[0]
        return ops.transform_quantize(blocks, *product, quantizer.step, quantizer.lo, quantizer.hi)

    def from_levels(
        self, levels: torch.Tensor, quantizer, limits: Limits = UNLIMITED
    ) -> torch.Tensor:
        """``self.inverse(quantizer.dequantize(levels))`` within limits, in one pass likewise."""
        if not self._in_one_pass(quantizer):
            return limited(self.inverse(quantizer.dequantize(levels)), limits)
        product = self.inverses[0], self._means[0]
        return ops.dequantize_transform(levels, *product, quantizer.step, *limits)

    def _in_one_pass(self, quantizer) -> bool:
        return len(self.matrices) == 1 and quantizer.each is None


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

    def inverse(self, y: torch.Tensor) -> torch.Tensor:
        return y


def dct(channels: int, block: Block) -> Transform:
    """The orthonormal DCT-II over the channels of each 1x1xc block."""
    if block.h * block.w != 1:
        raise ValueError(f"the DCT is over channels, in blocks 1,1,c, not {block}")
    size = block.depth(channels)
    n = torch.arange(size, dtype=torch.float64)
    basis = (2 / size) ** 0.5 * torch.cos(torch.pi / size * (n + 0.5) * n[:, None])
    basis[0] /= 2**0.5
    groups, basis = block.groups(channels), basis.float()
    zero = torch.zeros(size, dtype=torch.float64)
    return Transform([basis] * groups, [basis.T.contiguous()] * groups, [zero] * groups)
