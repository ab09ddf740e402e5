"""Proves the assertions of handshakes.sv by induction, with yosys: python rtl/formal/prove.py.

Needs pyosys; seconds. Fails with yosys' counterexample where an assertion does not hold.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pyosys import libyosys

HERE = Path(__file__).resolve().parent
MODULES = {
    "fifo_handshake": ("fmtc_fifo",),
    "reserved_fifo_handshake": ("fmtc_reserved_fifo",),
    "packer_handshake": ("fmtc_packer",),
}
PREPARE = ("proc", "flatten", "memory", "async2sync", "chformal -lower", "opt")
PROVE = "sat -verify -prove-asserts -set-assumes -set-at 1 rst 1 -seq 1 -tempinduct -maxsteps 8"


def prove(top: str, modules: tuple[str, ...], sources: Path) -> None:
    design = libyosys.Design()
    files = [HERE / "handshakes.sv", *(sources / f"{module}.sv" for module in modules)]
    libyosys.run_pass(f"read_slang --top {top} {' '.join(map(str, files))}", design)
    for step in (f"hierarchy -top {top}", *PREPARE, f"{PROVE} {top}"):
        libyosys.run_pass(step, design)


def main() -> int:
    for top, modules in MODULES.items():
        prove(top, modules, HERE.parent / "src")
    print(f"proven: {', '.join(MODULES)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
