"""From a decoded image to a network's input: a short, readable description and what it does.

A description is a comma-separated list of steps, for example
``resize=256,crop=224,mean=0.5,std=0.5,hflip,vflip``:

========================  ============================================================
``resize=S``              short side to S pixels (bilinear, antialias), shape kept
``resize=HxW``            to exactly H x W pixels (bilinear, antialias)
``crop=S``, ``crop=HxW``  centre crop
``hflip``, ``vflip``      mirror left-right, upside down
``grey``                  one channel of three, as Pillow's mode L
``mean=``, ``std=``       (x - mean) / std with x in [0, 1]; one value, or one a channel
                          separated by slashes: ``mean=.485/.456/.406``
========================  ============================================================

Geometry is applied to the 8-bit image in the order given; ``mean`` and ``std`` act together, last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..extras import require
from ..limits import MAX_PIXELS

DEFAULT = "resize=256,crop=224,mean=0.485/0.456/0.406,std=0.229/0.224/0.225"

KNOWN = "resize=S, resize=HxW, crop=S, crop=HxW, mean=M, std=S, hflip, vflip, grey"

Geometry = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Preprocess:
    """What is done to an image before it enters the network; made by `parse_preprocess`."""

    text: str
    geometry: tuple[Geometry, ...] = field(repr=False)
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __call__(self, image: Tensor) -> Tensor:
        """uint8 [C,H,W] -> float32 [C,H',W'].

        ValueError: too small to crop, MAX_PIXELS exceeded by resizing, or mean/std for another
        number of channels.
        """
        for step in self.geometry:
            image = step(image)
        return self.normalized(image)

    def check_channels(self, channels: int) -> None:
        """ValueError where it does not make inputs of so many channels."""
        if channels != 1 and _grey in self.geometry:
            raise ValueError(
                f"preprocess: grey makes one channel, the network takes {channels}: {self.text!r}"
            )
        try:
            self.normalized(torch.zeros(channels, 1, 1, dtype=torch.uint8))
        except ValueError as error:
            raise ValueError(f"preprocess: {error}: {self.text!r}") from error

    def normalized(self, image: Tensor) -> Tensor:
        """The end of it alone: uint8 [C,H,W] -> float32. ValueError: mean/std do not fit."""
        channels = image.shape[0]
        mean = _per_channel("mean", self.mean, channels)
        std = _per_channel("std", self.std, channels)
        return (image.float() / 255 - mean) / std


def parse_preprocess(text: str | None = None) -> Preprocess:
    """Read a description (see the top of this file); None is torchvision's usual one for ImageNet.

    ValueError names the step that is not understood and lists the known ones.
    """
    text = DEFAULT if text is None else text
    geometry: list[Geometry] = []
    statistics: dict[str, tuple[float, ...]] = {}
    for token in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = token.partition("=")
        if token == "hflip":
            geometry.append(lambda image: image.flip(-1))
        elif token == "vflip":
            geometry.append(lambda image: image.flip(-2))
        elif token == "grey":
            geometry.append(_grey)
        elif name == "resize":
            geometry.append(_resize(_sizes(token, value)))
        elif name == "crop":
            geometry.append(_crop(_sizes(token, value)))
        elif name in ("mean", "std"):
            if name in statistics:
                raise ValueError(f"preprocess: {name} is given twice in {text!r}")
            statistics[name] = _numbers(token, value)
        else:
            raise ValueError(f"preprocess: unknown step {token!r}; known steps: {KNOWN}")
    if 0.0 in statistics.get("std", ()):
        raise ValueError(f"preprocess: std must not be 0 in {text!r}")
    return Preprocess(text, tuple(geometry), **statistics)


def _sizes(token: str, value: str) -> list[int]:
    """'224' -> [224]; '240x320' -> [240, 320]."""
    parts = value.split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(
            f"preprocess: {token!r} needs a size in pixels, like 224 or 240x320 (height x width)"
        )
    return [int(part) for part in parts]


def _numbers(token: str, value: str) -> tuple[float, ...]:
    try:
        numbers = tuple(float(part) for part in value.split("/"))
    except ValueError:
        numbers = ()
    if not numbers or not all(abs(number) < float("inf") for number in numbers):
        raise ValueError(
            f"preprocess: {token!r} needs one number, or one a channel like .485/.456/.406"
        )
    return numbers


def _grey(image: Tensor) -> Tensor:
    """Luma of ITU-R BT.601 in the fixed point of Pillow."""
    if image.shape[0] == 1:
        return image
    if image.shape[0] != 3:
        raise ValueError(f"grey is made of 3 channels, the image has {image.shape[0]}")
    red, green, blue = image.int()
    return ((19595 * red + 38470 * green + 7471 * blue + 32768) >> 16).to(torch.uint8)[None]


def _resize(size: list[int]) -> Geometry:
    def resize(image: Tensor) -> Tensor:
        # Imported when the first image comes: it takes seconds, and a description needs none.
        functional = require("torchvision.transforms.v2.functional", "eval")
        sides = size if len(size) == 2 else _resized(size[0], *image.shape[1:])
        if sides[0] * sides[1] > MAX_PIXELS:
            raise ValueError(f"resizing would make it larger than {MAX_PIXELS} pixels")
        return functional.resize(image, size, antialias=True)

    return resize


def _resized(short: int, height: int, width: int) -> tuple[int, int]:
    """About the sides of an image whose short one becomes so long."""
    least = min(height, width)
    return short * height // least, short * width // least


def _crop(size: list[int]) -> Geometry:
    height, width = size * 2 if len(size) == 1 else size

    def crop(image: Tensor) -> Tensor:
        # torchvision would pad with black here, and the accuracy would suffer without a word.
        if image.shape[1] < height or image.shape[2] < width:
            raise ValueError(
                f"a crop of {height}x{width} does not fit into {image.shape[1]}x{image.shape[2]} "
                "pixels; put a resize= before it"
            )
        # Rounded as torchvision does, for the same pixels.
        top, left = round((image.shape[1] - height) / 2), round((image.shape[2] - width) / 2)
        return image[:, top : top + height, left : left + width]

    return crop


def _per_channel(name: str, values: tuple[float, ...], channels: int) -> Tensor:
    if len(values) not in (1, channels):
        raise ValueError(f"{name} has {len(values)} values, the image has {channels} channel(s)")
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
