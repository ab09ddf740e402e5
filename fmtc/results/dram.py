"""Energy of a DRAM that moves feature maps: what scales with the bits, and what does not.

docs/method.md, "Energy of a DRAM". The equations are those of Micron's technical note TN-41-01,
"Calculating Memory System Power for DDR3": activation, reading and writing, background, refresh and
termination.

The memory is the paper's: one chip of 4 Gbit and 16 bits, DDR3-1066, 1.5 V, with the currents of
reading and writing that `fmtc.results.energy` has. The currents that do not depend on a chip's
width much are those of the same maker's MT41J256M8, die revision M, of 2 Gbit, from the data sheet
of the module MT18JDF51272AZ (revision C, 4/13, table 11, 1066). It has nine chips in each of two
ranks: what its note 1 marks is (table - 9 * IDD2P0) / 9 for a chip, what its note 2 marks table /
18.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .energy import READ_AMPERES, VALUES_A_SECOND, VOLTS, WRITE_AMPERES


@dataclass(frozen=True)
class Dram:
    """Currents in amperes, times in seconds."""

    volts: float = VOLTS
    pins: int = 16  # for data
    clock: float = 2 / 1066e6
    idd0: float = 0.060  # activations and precharges without pause
    idd2p: float = 0.012  # precharged, power-down with slow exit
    idd2n: float = 0.033  # precharged, standby
    idd3n: float = 0.0456  # active, standby
    idd4r: float = READ_AMPERES  # reads without pause
    idd4w: float = WRITE_AMPERES  # writes without pause
    idd5: float = 0.185  # refreshes without pause
    row_active: float = 37.5e-9  # tRAS
    row_cycle: float = 50.625e-9  # tRC
    refresh_cycle: float = 260e-9  # tRFC of 4 Gbit
    refresh_interval: float = 7.8e-6  # tREFI
    row_bits: int = 16 * 1024
    burst: int = 8  # transfers
    driver_ohms: float = 34.0
    termination_ohms: float = 60.0

    @property
    def bits_a_burst(self) -> int:
        return self.burst * self.pins

    @property
    def burst_seconds(self) -> float:
        return self.burst / 2 * self.clock

    def termination_watts(self) -> float:
        """Of a pin that is driven, mean of high and low.

        The termination is two resistors of twice its value, to the supply and to ground.
        """
        up = down = 2 * self.termination_ohms
        watts = 0.0
        for driver_up, driver_down in ((self.driver_ohms, math.inf), (math.inf, self.driver_ohms)):
            to_supply, to_ground = 1 / up + 1 / driver_up, 1 / down + 1 / driver_down
            amperes = self.volts * to_supply * to_ground / (to_supply + to_ground)
            watts += self.volts * amperes / 2
        return watts


DDR3_1066 = Dram()


def dram_joules(
    written: float, read: float, seconds: float, power_down: bool, dram: Dram = DDR3_1066
) -> dict[str, float]:
    """Joules of writing and reading so many bits within a time, by part and ``total``.

    Bits follow each other in rows, so that a row is activated once. While none move, the memory is
    in standby or, with power_down, in power-down. Raises ValueError where the time is too short.
    """
    bursts = {"write": written / dram.bits_a_burst, "read": read / dram.bits_a_burst}
    rows = (written + read) / dram.row_bits
    busy = (bursts["write"] + bursts["read"]) * dram.burst_seconds
    if busy > seconds * (1 + 1e-9):
        raise ValueError(
            f"{written + read:.3g} bits take {busy:.3g} s at {dram.clock:.3g} s a clock, but the "
            f"time given is {seconds:.3g} s"
        )
    cycle, active = dram.row_cycle, dram.row_active
    idle = dram.idd2p if power_down else dram.idd2n
    # For each 8 pins of data a pair of strobes, and a mask when they are written.
    lines = {"write": dram.pins * 11 / 8, "read": dram.pins * 10 / 8}
    parts = {
        "write": dram.volts * (dram.idd4w - dram.idd3n) * bursts["write"] * dram.burst_seconds,
        "read": dram.volts * (dram.idd4r - dram.idd3n) * bursts["read"] * dram.burst_seconds,
        "activation": dram.volts * rows
        * (dram.idd0 * cycle - dram.idd3n * active - dram.idd2n * (cycle - active)),
        "background": dram.volts * (dram.idd3n * busy + idle * (seconds - busy)),
        "refresh": dram.volts * (dram.idd5 - dram.idd3n) * dram.refresh_cycle
        * seconds / dram.refresh_interval,
        "termination": dram.termination_watts() * dram.burst_seconds
        * sum(lines[way] * bursts[way] for way in bursts),
    }  # fmt: skip
    return {**parts, "total": sum(parts.values())}


def tensor_joules(bits: float, values: float, reads: int, power_down: bool) -> float:
    """Joules of a tensor that is written once and read so often.

    bits: of the tensor as it is coded; values: that the accelerator makes, one a clock of 160 MHz.
    Its share of the time is that in which it is made: others are read meanwhile, and it is read
    while others are made. Where moving the bits takes longer, it is that time.
    """
    moved = (1 + reads) * bits / DDR3_1066.bits_a_burst * DDR3_1066.burst_seconds
    seconds = max(values / VALUES_A_SECOND, moved)
    return dram_joules(bits, reads * bits, seconds, power_down)["total"]


def dram_image_joules(
    layers: Iterable[Mapping[str, Any]], rate: str | float, power_down: bool
) -> float | None:
    """As ``fmtc.results.energy.image_joules``, with this memory."""
    total = 0.0
    for layer in layers:
        bits = rate if isinstance(rate, (int, float)) else layer["bits_per_value"][rate]
        if bits is None or layer["reads"] is None or len(layer["shape"]) != 3:
            return None
        values = math.prod(layer["shape"])
        total += tensor_joules(bits * values, values, layer["reads"], power_down)
    return total
