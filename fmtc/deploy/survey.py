"""Where to split a network: what each cut sends at an equal agreement, and what the input takes.

docs/method.md, "Split networks".
"""

from __future__ import annotations

import io
import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..calibration.compressor import Compressor
from ..data.preprocess import Preprocess
from ..evaluation.evaluate import evaluate
from ..evaluation.measures import classifier
from ..evaluation.reference import Reference, run
from ..extras import require
from ..limits import MAX_VALUES
from ..network.cut import crossing, head_of, tail_of
from ..network.groups import Group
from ..network.outputs import chosen_outputs
from ..network.written import values
from ..targets import Step
from .split import Split

FIRST_STEP, FINEST, COARSEST = 2.0**-9, 2.0**-15, 2.0**-3
WIDER = 2  # a cut has at most so many times the values of the least one before it
TIMED = 10  # images, one at a time
RANGE_BYTES, ZSTD_LEVEL = 8, 9
FORMATS = {"JPEG": 95, "WEBP": 100, "AVIF": 100}  # of input images, and the highest quality tried


@dataclass
class Cut:
    """What crosses one cut at the coarsest step that reaches the agreement.

    shape: of an image's tensor. share: of the multiply-adds in the head. kib: an image, bundle and
    all; seconds: of head, tail and, within them, the codec, of one image, medians. kl in nats, None
    where the network is no classifier. int8, int4: the tensor in so many bits with zstd, KiB an
    image and agreement.
    """

    layer: str
    shape: list[int]
    share: float
    step: float
    kib: float
    agreement: float
    kl: float | None
    snr_db: float
    seconds: dict[str, float]
    int8: dict[str, float]
    int4: dict[str, float]


@dataclass
class Input:
    """What the input takes as an image of this format, at the lowest quality that agrees enough."""

    format: str
    quality: int
    kib: float
    agreement: float


def cuts_of(compressor: Compressor) -> list[Group]:
    """The cuts of one tensor that are not much wider than one before them, in execution order."""
    prepared, found, least = compressor.prepared, [], math.inf
    for group in prepared.groups:
        size = values(group.output.meta["shape"][1:])
        if size <= WIDER * least and not crossing(prepared.graph(""), [group.output]):
            found.append(group)
            least = min(least, size)
    return found


class Survey:
    """Measures cuts of one network on images that it was not calibrated with.

    cuts: groups, each a cut; what the outputs depend on is measured for all of them at once.
    agreement: the share of images that must keep their class. test: images [N, C, H, W].
    """

    def __init__(
        self,
        compressor: Compressor,
        cuts: Sequence[Group],
        test: Tensor,
        agreement: float,
        batch: int = 25,
    ):
        self.compressor, self.test, self.agreement, self.batch = compressor, test, agreement, batch
        self.reference = Reference(compressor.model, test, batch=batch)
        name = classifier(self.reference.outputs_of(test[:1]))
        if name is None:
            raise ValueError("a survey compares classes, and the network is no classifier")
        self._output, self._step = name, FIRST_STEP
        compressor.only([group.name for group in cuts])
        _ = compressor.metrics.metrics  # measured now, of all cuts
        self._classes = self.reference.outputs_of(test)[name].argmax(1)

    def cut(self, group: Group) -> Cut:
        """One cut; the search starts at the step of the one before."""
        self.compressor.only([group.name])
        tried: dict[float, tuple[Split, dict[str, Any]]] = {}

        def agrees(step: float) -> bool:
            if step not in tried:
                tried.clear()  # one network is kept
                compressed = self.compressor.compress(Step(step))
                point = evaluate(compressed, self.test, reference=self.reference, batch=self.batch)
                tried[step] = Split(compressed), point
            return tried[step][1]["agreement"] >= self.agreement

        self._step = step = coarsest(agrees, self._step)
        agrees(step)
        parts, point = tried[step]
        return self._measured(group, parts, point, step)

    def _measured(self, group: Group, parts: Split, point: dict[str, Any], step: float) -> Cut:
        report = parts.report()
        [tensor] = report.tensors
        return Cut(
            layer=tensor["layer"],
            shape=tensor["shape"],
            share=report.multiply_adds["head"] / report.multiply_adds["all"],
            step=step,
            kib=tensor["kib"],
            agreement=point["agreement"],
            kl=point["kl"],
            snr_db=point["snr_db"],
            seconds=self._timed(parts),
            int8=self._plain(group, 8),
            int4=self._plain(group, 4),
        )

    def _timed(self, parts: Split) -> dict[str, float]:
        """Medians of one image, with the share of its codec."""
        made = parts.graphs(self.test.shape[2:])
        [point], [like] = made.points.values(), made.like
        seconds: dict[str, list[float]] = {"head": [], "tail": [], "codec": []}
        for image in self.test[:TIMED].split(1):
            start = time.perf_counter()
            data = parts.head(image)
            sent = time.perf_counter()
            parts.tail(data)
            received = time.perf_counter()
            with torch.no_grad():
                [x] = made.head(image)
            begun = time.perf_counter()
            with torch.no_grad():
                point.decode(point.encode(x), like, MAX_VALUES)
            coded = time.perf_counter()
            times = {"head": sent - start, "tail": received - sent, "codec": coded - begun}
            for name, taken in times.items():
                seconds[name].append(taken)
        return {name: statistics.median(times) for name, times in seconds.items()}

    @torch.no_grad()
    def _plain(self, group: Group, bits: int) -> dict[str, float]:
        """The tensor in uniform levels between each image's least and largest value, with zstd."""
        compress = require("zstandard", "split").ZstdCompressor(level=ZSTD_LEVEL).compress
        head, tail = (of(group.network, [group.output]) for of in (head_of, tail_of))
        sent = agreed = 0
        for number, images in enumerate(self.test.split(self.batch)):
            [x] = head(images)
            positions = tuple(range(1, x.dim()))
            low, high = x.amin(positions, keepdim=True), x.amax(positions, keepdim=True)
            step = ((high - low) / (2**bits - 1)).clamp(min=torch.finfo(x.dtype).tiny)
            levels = ((x - low) / step).round()
            sent += sum(RANGE_BYTES + len(compress(packed(one, bits))) for one in levels)
            output = chosen_outputs(tail(levels * step + low, images.shape))
            agreed += self._agreed(output[self._output], number)
        return {"kib": sent / len(self.test) / 1024, "agreement": agreed / len(self.test)}

    def _agreed(self, output: Tensor, number: int) -> int:
        known = self._classes[number * self.batch :][: len(output)]
        return int((output.argmax(1).cpu() == known).sum())

    def input(self, name: str, preprocess: Preprocess) -> Input:
        """The images themselves in a format, as far as the network sees them."""
        images = as_pictures(self.test, preprocess)
        kib: dict[int, tuple[float, float]] = {}

        def agrees(quality: int) -> bool:
            sent, agreed = 0, 0
            for number, part in enumerate(images.split(self.batch)):
                coded = [as_format(image, name, quality) for image in part]
                sent += sum(size for size, _ in coded)
                decoded = torch.stack([preprocess.normalized(image) for _, image in coded])
                numbers = range(number * self.batch, number * self.batch + len(part))
                output, _ = run(self.compressor.model, decoded, numbers)
                agreed += self._agreed(output[self._output], number)
            kib[quality] = sent / len(images) / 1024, agreed / len(images)
            return agreed >= self.agreement * len(images)

        lowest, highest = 0, FORMATS[name]  # the first fails, as far as anyone knows
        while highest - lowest > 1:
            middle = (lowest + highest) // 2
            lowest, highest = (lowest, middle) if agrees(middle) else (middle, highest)
        if highest not in kib:
            agrees(highest)
        return Input(name, highest, *kib[highest])


def coarsest(agrees: Callable[[float], bool], start: float) -> float:
    """The largest power of the square root of 2 that agrees, from such a start; FINEST if none."""
    half_octave = round(2 * math.log2(start))
    least, most = (round(2 * math.log2(step)) for step in (FINEST, COARSEST))
    if agrees(start):
        while half_octave < most and agrees(2.0 ** ((half_octave + 1) / 2)):
            half_octave += 1
        return 2.0 ** (half_octave / 2)
    while half_octave > least:
        half_octave -= 1
        if agrees(2.0 ** (half_octave / 2)):
            break
    return 2.0 ** (half_octave / 2)


def packed(levels: Tensor, bits: int) -> bytes:
    """Levels of one image as bytes, of 4 bits two in one."""
    flat = levels.flatten().to(torch.uint8)
    if bits == 4:
        flat = torch.cat([flat, flat.new_zeros(len(flat) % 2)])
        flat = flat[::2] | flat[1::2] << 4
    return flat.numpy().tobytes()


def as_pictures(images: Tensor, preprocess: Preprocess) -> Tensor:
    """Pixels u8 [N, C, H, W] of what a preprocessing has normalised."""
    mean, std = (torch.tensor(of).view(-1, 1, 1) for of in (preprocess.mean, preprocess.std))
    return ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)


def as_format(image: Tensor, name: str, quality: int) -> tuple[int, Tensor]:
    """Bytes of a picture u8 [C, H, W] in a format, and what they decode to."""
    pillow = require("PIL.Image", "eval")
    file = io.BytesIO()
    pillow.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(file, name, quality=quality)
    decoded = torch.from_numpy(np.array(pillow.open(file)))
    return len(file.getvalue()), decoded.view(*image.shape[1:], -1).permute(2, 0, 1)
