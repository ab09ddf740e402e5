"""Blocks of h x w x c values that are transformed together (docs/method.md, "Transform")."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Block:
    """Shape h x w x c of the blocks that are transformed together.

    A tensor [N, C, H, W] is rearranged to [N, G*n, ceil(H/h), ceil(W/w)] with n = h*w*c and
    G = ceil(C/c) channel groups, each with a basis of its own. Edges are padded by replication.

    Args:
        h: Rows.
        w: Columns.
        c: Channels; None means all.

    Example:
        >>> block = fmtc.Block.parse("2,2,8")
        >>> block
        Block(h=2, w=2, c=8)
        >>> block.split(torch.zeros(1, 16, 5, 5)).shape
        torch.Size([1, 64, 3, 3])
    """

    h: int = 1
    w: int = 1
    c: int | None = None

    @classmethod
    def parse(cls, value: Block | str | tuple) -> Block:
        """From a Block, (h, w, c) or "h,w,c" with c a number, ``C`` or None for all channels.

        Raises:
            ValueError: Anything else; h and w are 1 to 255.
        """
        if isinstance(value, Block):
            return value
        try:
            parts = value.split(",") if isinstance(value, str) else list(value)
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

    def tiled(self, size: int) -> Block:
        """Blocks of size x size of these."""
        return Block(self.h * size, self.w * size, self.c)

    def depth(self, channels: int) -> int:
        """Channels of one block, of a tensor with so many."""
        return channels if self.c is None else min(self.c, channels)

    def groups(self, channels: int) -> int:
        """G, the channel groups of a tensor with so many channels."""
        return -(-channels // self.depth(channels))

    def size(self, channels: int) -> int:
        """Values n in one block."""
        return self.h * self.w * self.depth(channels)

    def crop(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of padding that complete the last blocks."""
        return -height % self.h, -width % self.w

    def cover(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of blocks that cover so many positions."""
        return -(-height // self.h), -(-width // self.w)

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
        """The inverse of ``split``.

        Args:
            blocks: [N, G*n, H', W'].
            channels: Of the tensor.
            crop: Rows and columns of padding to cut off.
        """
        if self.is_pixel:
            return blocks
        x = blocks.unflatten(1, (-1, self.h, self.w))  # N, C', h, w, H', W'
        x = x.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)
        return x[:, :channels, : x.shape[2] - crop[0], : x.shape[3] - crop[1]].contiguous()
