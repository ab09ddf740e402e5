"""What has passed a coding point, counted for the report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from .. import ops
from .exact import Exact


@dataclass
class Counted:
    """What has passed. ``values`` are those of the original tensors (N*C*H*W).

    histogram: i64 [classes, L] of the coded symbols, None for a plain (uncoded) layer. clamped:
    values beyond the levels, NaN among them; nans: these alone.
    streamed, stream_bytes: values that went through streams, and the bytes of those.
    shape: [C, H, W] of an image's tensor; of images of several sizes, their mean.
    """

    histogram: torch.Tensor | None
    values: int = 0
    clamped: int = 0
    nans: int = 0
    streamed: int = 0
    stream_bytes: int = 0
    shape: tuple[int, ...] = ()

    @classmethod
    def sum(cls, parts: Iterable[Counted]) -> Counted:
        """What was counted in several processes."""
        total = cls(None)
        for part in parts:
            if part.histogram is not None:
                before = 0 if total.histogram is None else total.histogram
                total.histogram = before + part.histogram
            total.values += part.values
            total.clamped += part.clamped
            total.nans += part.nans
            total.streamed += part.streamed
            total.stream_bytes += part.stream_bytes
            total.shape = total.shape or part.shape
        return total


# What Statistics.totals holds, in this order.
IMAGES, ROWS, VALUES, CLAMPED, NANS, STREAMED, STREAM_BYTES = range(7)


class Statistics(Exact):
    """Sums on the device where things are counted, so that nothing waits for it.

    Several threads may add at the same time. channels: of the original tensors. classes, levels:
    size of the histogram; classes None where there is none.
    """

    histogram: torch.Tensor
    totals: torch.Tensor

    def __init__(self, channels: int, classes: int | None = None, levels: int = 0):
        super().__init__()
        self.channels, self.has_histogram = channels, classes is not None
        self.hold("histogram", torch.zeros(classes or 0, levels, dtype=torch.int64))
        self.hold("totals", torch.zeros(7, dtype=torch.int64))

    def add(
        self,
        shape: Iterable[int],
        clamped: torch.Tensor,
        nans: torch.Tensor,
        histogram: torch.Tensor | None = None,
        stream_bytes: torch.Tensor | None = None,
    ) -> None:
        """Count a tensor [N, C, H, W] of this shape.

        clamped, nans: i64 [], how many of its values were. histogram: of its symbols. stream_bytes:
        i64 [], None where no streams were made.
        """
        images, _, rows, columns = shape
        values = images * self.channels * rows * columns
        streamed = values if stream_bytes is not None else 0
        if torch.compiler.is_compiling() or clamped.device.type != "cpu":
            numbers = [images, images * rows, values, 0, 0, streamed, 0]
            part = torch.stack([clamped.new_full((), number) for number in numbers])
            part[CLAMPED], part[NANS] = clamped, nans
            if stream_bytes is not None:
                part[STREAM_BYTES] = stream_bytes
        else:  # what needs no waiting, in one tensor
            size = 0 if stream_bytes is None else int(stream_bytes)
            found = [images, images * rows, values, int(clamped), int(nans), streamed, size]
            part = torch.tensor(found)
        ops.accumulate_(self.totals, part)
        if histogram is not None:
            ops.accumulate_(self.histogram, histogram)

    def reset(self) -> None:
        """Forget everything."""
        self.histogram.zero_()
        self.totals.zero_()

    def counted(self) -> Counted:
        """What has been counted so far; waits for the device."""
        images, rows, values, clamped, nans, streamed, stream_bytes = self.totals.tolist()
        shape: tuple[int, ...] = ()
        if values:
            height = round(rows / images)
            shape = self.channels, height, round(values / (self.channels * rows))
        histogram = self.histogram.cpu().clone() if self.has_histogram else None
        return Counted(histogram, values, clamped, nans, streamed, stream_bytes, shape)
