"""Energy of the memory accesses of an inference, as the paper reckons it.

docs/method.md, "Energy".

The memory is Micron's MT41J256M16, a DDR3-1066 of 16 bits width at 1.5 V. Current, voltage and
time of a transfer give the energy; the currents are those of the data sheet that reproduce the
paper's Table III (225.93 uJ to write and read 64 x 56 x 56 values of 8 bits).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

VOLTS = 1.5
WRITE_AMPERES, READ_AMPERES = 0.180, 0.220
BITS_A_TRANSFER = 16
SECONDS_A_TRANSFER = 4 / 1066e6
VALUES_A_SECOND = 160e6  # the paper's accelerator makes one value a clock


def write_joules(bits: float) -> float:
    """Energy in joules of writing this many bits."""
    return WRITE_AMPERES * VOLTS * (bits / BITS_A_TRANSFER) * SECONDS_A_TRANSFER


def read_joules(bits: float) -> float:
    """Energy in joules of reading this many bits once."""
    return READ_AMPERES * VOLTS * (bits / BITS_A_TRANSFER) * SECONDS_A_TRANSFER


def access_joules(bits: float, reads: int) -> float:
    """Energy in joules of writing a tensor of this many bits once and reading it so often."""
    return write_joules(bits) + reads * read_joules(bits)


def image_joules(layers: Iterable[Mapping[str, Any]], rate: str | float) -> float | None:
    """Energy in joules of all feature maps' writes and reads for one image.

    layers: of a report or a point. rate: which of their ``bits_per_value`` was moved, or that many
    bits for every value. None where a layer has no such rate, or its size or its readers are not
    known.
    """
    total = 0.0
    for layer in layers:
        bits = rate if isinstance(rate, (int, float)) else layer["bits_per_value"][rate]
        if bits is None or layer["reads"] is None or len(layer["shape"]) != 3:
            return None
        total += access_joules(bits * math.prod(layer["shape"]), layer["reads"])
    return total


def bits_a_second(bits_per_value: float) -> float:
    """Bandwidth in bits a second that the paper's accelerator needs for the tensor it writes."""
    return VALUES_A_SECOND * bits_per_value
