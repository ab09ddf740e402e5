"""What the CUDA kernels cost as far as it shows without a GPU: docs/results/cuda.

    python -m experiments.bench.cuda_report [--only rans.cu ...] [--out docs/results/cuda]

Kernels are compiled by nvcc and taken apart by cuobjdump and nvdisasm (of the triton package, or
on the PATH). Occupancy is the share of a multiprocessor's warps that registers, shared memory and
thread blocks leave room for. Of a kernel's loops, loops inside them left out,
the one is shown that has the fewest instructions for each of its MARKERS, and its instructions for
32 values are those over how many times 32 values the markers stand for. Detours are blocks that a
branch can skip and that hold no marker: a new segment of the tables, new digits, escaped levels;
they are counted apart.

Launches, memsets and allocations are those of small batches that the executor (cuda/executor.h)
codes with the preset, stage by stage, as those of a network on a GPU are; those of torch's own
operators are not counted. `make build-emulated` comes first.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import importlib.util
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "cuda"
EMULATED = ROOT / "build/emulated/tests/cuda/libfmtc_emulated.so"
FLAGS = ("-std=c++20", "-O3", "-DNDEBUG", "--expt-relaxed-constexpr", f"-I{ROOT}", f"-I{ROOT}/csrc")


@dataclass(frozen=True)
class Architecture:
    """Limits of a multiprocessor (CUDA C++ Programming Guide, "Compute Capabilities")."""

    name: str
    shared_bytes: int
    warps: int = 64
    thread_blocks: int = 32
    registers: int = 65536


ARCHITECTURES = (Architecture("8.0", 164 << 10), Architecture("9.0", 228 << 10))
SHARED_OF_A_BLOCK = 1024  # that the system takes of each thread block
REGISTERS_AT_ONCE = 256  # of a warp


@dataclass(frozen=True)
class Marker:
    """An instruction of a kernel's loop in SASS, and how many of them there are for 32 values."""

    instruction: str
    for_32: int = 1
    usual: str = "^$"  # another instruction that blocks have which are no detours


MARKERS = {
    "DecodeRans": Marker(r"\bLDS\.U16", usual=r"\bSHFL"),
    "WriteStreams": Marker(r"\bLDS\b.*\+0xc00\]"),  # the last table of a checksum, for 32 words
    "EncodeRans": Marker(r"\bVOTE\.ANY", 2, usual=r"STG\.E\.U16"),
}


SHAPE = (2, 64, 28, 28)  # of the batch that is coded
BATCHES = ("rans", "rans, classes of positions", "huffman")
# Instances of a kernel that the printed table leaves out: for other types than float.
OTHER_TYPES = re.compile(r"<(d|m|Half|BFloat16)")


@dataclass(frozen=True)
class Loop:
    instructions: list[str]
    usual: list[str]  # those that are no detours


def count(pattern: str, instructions: list[str]) -> int:
    return sum(re.search(pattern, each) is not None for each in instructions)


@dataclass(frozen=True)
class KernelReport:
    kernel: str
    architecture: str
    threads: int
    registers: int
    shared_bytes: int  # as the executor saw it asked for
    local_bytes: int
    occupancy: float
    instructions: int
    loop_instructions: float | None  # for 32 values, without detours
    with_detours: float | None
    loop_loads: float | None  # of global memory, for 32 values, without detours
    divisions: int  # calls of the code that divides 64 bits, in all of the kernel


def find_tool(name: str) -> str:
    """A program of the CUDA toolkit on the PATH, in CUDA_HOME or in the triton package."""
    folders = [Path(os.environ.get("CUDA_HOME", "/usr/local/cuda")) / "bin"]
    triton = importlib.util.find_spec("triton")
    if triton is not None and triton.origin is not None:
        folders.append(Path(triton.origin).parent / "backends/nvidia/bin")
    path = os.pathsep.join([os.environ.get("PATH", ""), *map(str, folders)])
    found = shutil.which(name, path=path)
    if found is None:
        raise FileNotFoundError(f"{name} was found neither on the PATH nor in the triton package")
    return found


def output_of(*command: str) -> str:
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{result.stderr}")
    return result.stdout


# -- Kernels --------------------------------------------------------------------------------------


def names_in(source: Path) -> list[str]:
    """The structures of a source that are kernels (cuda/kernel.h)."""
    return re.findall(
        r"^struct (\w+) \{\n  static constexpr uint32_t kThreads", source.read_text(), re.M
    )


def name_of(function: str, names: list[str]) -> str | None:
    """The kernel of a mangled function, with its template's arguments as they are mangled."""
    for name in names:
        found = re.search(rf"{len(name)}{name}(?:I(?:NS0_\d+)?(\w+?))?E+vT_", function)
        if found:
            of = re.sub(r"(?:E)?Lj(\d+)", r", \1", found[1] or "")
            return name + (f"<{of}>" if of else "")
    return None


def reports_of(
    source: Path, architecture: Architecture, shared: dict[str, int]
) -> list[KernelReport]:
    """shared: dynamic shared memory of kernels, bytes, by name."""
    with tempfile.TemporaryDirectory() as folder:
        cubin = str(Path(folder) / "kernels.cubin")
        arch = f"-arch=sm_{architecture.name.replace('.', '')}"
        output_of(find_tool("nvcc"), *FLAGS, "-cubin", arch, str(source), "-o", cubin)
        usage = output_of(find_tool("cuobjdump"), "-res-usage", cubin)
        elf = output_of(find_tool("cuobjdump"), "-elf", cubin)
        sass = output_of(find_tool("nvdisasm"), "-c", cubin)
    names = names_in(source)
    reports = []
    for function, registers, stack, local in re.findall(
        r"Function (\w+):\s+REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage
    ):
        name = name_of(function, names)
        if name is None:
            continue
        threads = threads_of(function, elf)
        dynamic = shared.get(name.split("<")[0], 0)
        code = code_of(function, sass)
        loop = [None, None, None]
        if marker := MARKERS.get(name.split("<")[0]):
            loop = of_loop(hot_loop(code, marker), marker)
        reports.append(
            KernelReport(
                name,
                architecture.name,
                threads,
                int(registers),
                dynamic,
                int(stack) + int(local),
                occupancy(architecture, threads, int(registers), dynamic),
                sum(not line.startswith(".") for line in code),
                *loop,
                count(r"CALL.*__cuda_sm20_(div|rem)", code),
            )
        )
    return reports


def threads_of(function: str, elf: str) -> int:
    section = elf.split(f".nv.info.{function}\n")[-1]
    found = re.search(r"EIATTR_MAX_THREADS\n.*\n\s*Value:\s+(0x\w+)", section)
    assert found is not None, f"no EIATTR_MAX_THREADS of {function}"
    return int(found[1], 16)


def occupancy(architecture: Architecture, threads: int, registers: int, shared_bytes: int) -> float:
    """The share of a multiprocessor's warps that can be on it at the same time."""
    warps = -(-threads // 32)
    of_warp = -(-registers * 32 // REGISTERS_AT_ONCE) * REGISTERS_AT_ONCE
    blocks = min(
        architecture.thread_blocks,
        architecture.warps // warps,
        architecture.registers // of_warp // warps,
        architecture.shared_bytes // (shared_bytes + SHARED_OF_A_BLOCK),
    )
    return blocks * warps / architecture.warps


# -- Loops ----------------------------------------------------------------------------------------


def code_of(function: str, sass: str) -> list[str]:
    """Labels and instructions of a function, without what nvdisasm says besides."""
    text = sass.split(f".text.{function}:\n")[1].split("\n//-----")[0]
    lines = []
    for line in text.splitlines():
        if label := re.match(r"(\.L_x_\d+):", line):
            lines.append(label[1])
        elif instruction := re.match(r"\s+/\*\w+\*/\s+(.+?) ;", line):
            if instruction[1] != "NOP":
                lines.append(instruction[1])
    return lines


def loops_of(code: list[str]) -> list[tuple[int, int]]:
    """First and last line of each loop: from the target of a backward branch to that branch."""
    at = {line: i for i, line in enumerate(code) if line.startswith(".L_x_")}
    loops: dict[int, int] = {}
    for i, line in enumerate(code):
        target = at.get(_target_of(line), i)
        if target < i - 1:  # one that leads to itself stands behind the end of each function
            loops[target] = i
    return sorted(loops.items())


def _target_of(line: str) -> str:
    found = re.search(r"\bBRA(?:\.\w+)* .*`\((\.L_x_\d+)\)", line)
    return found[1] if found else ""


def hot_loop(code: list[str], marker: Marker) -> Loop:
    """The loop with the fewest instructions for each of its markers."""
    loops = loops_of(code)
    found = [own_code(code, span, loops, marker) for span in loops]
    marked = [loop for loop in found if count(marker.instruction, loop.instructions) > 0]
    return min(marked, key=lambda x: len(x.usual) / count(marker.instruction, x.instructions))


def own_code(
    code: list[str], span: tuple[int, int], loops: list[tuple[int, int]], marker: Marker
) -> Loop:
    """A loop without the loops inside it, and also without its detours."""
    first, last = span
    left_out = [(a, b) for a, b in loops if first < a and b < last]
    own = _without(code, span, left_out)
    at = {line: i for i, line in enumerate(code) if line.startswith(".L_x_")}
    for i in range(first, last):
        target = at.get(_target_of(code[i]), 0)
        block = code[i + 1 : target]
        needed = f"{marker.instruction}|{marker.usual}"
        if i < target <= last and count(needed, block) == 0:
            left_out.append((i + 1, target - 1))
    return Loop(own, _without(code, span, left_out))


def _without(code: list[str], span: tuple[int, int], spans: list[tuple[int, int]]) -> list[str]:
    return [
        code[i]
        for i in range(span[0], span[1] + 1)
        if not code[i].startswith(".") and not any(a <= i <= b for a, b in spans)
    ]


def of_loop(loop: Loop, marker: Marker) -> list[float]:
    """Instructions for 32 values, those with detours, and loads of global memory."""
    values_32 = count(marker.instruction, loop.instructions) / marker.for_32
    loads = count(r"\bLDG\b|\bLD\.E\b", loop.usual)
    return [n / values_32 for n in (len(loop.usual), len(loop.instructions), loads)]


# -- What a layer takes ----------------------------------------------------------------------------


@contextmanager
def recording(library: Path = EMULATED) -> Iterator[list[str]]:
    """What the emulated operators record meanwhile (cuda/record.h); `fmtc.ops` calls them."""
    import torch

    from fmtc import ops

    torch.ops.load_library(library)
    calls = ctypes.CDLL(str(library))
    calls.fmtc_end_recording.restype = ctypes.c_char_p
    lines: list[str] = []
    before, ops._ops = ops._ops, torch.ops.fmtc_emulated
    calls.fmtc_start_recording()
    try:
        yield lines
    finally:
        ops._ops = before
        lines += calls.fmtc_end_recording().decode().splitlines()


def layer_reports(batch: str) -> dict[str, list[str]]:
    """What is recorded while one of BATCHES is encoded and decoded, by direction."""
    import torch

    import fmtc

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(SHAPE, generator=generator)
    coder, *classes = batch.split(", ")
    if classes:  # an image is busy in some places and quiet in others
        stripes = 1 + 9 * (torch.arange(SHAPE[-1]) // 7 % 2)
        x = x * stripes * stripes[:, None]
    else:
        x = x.cumsum(-1).relu()
    codec = fmtc.calibrate_tensor(x, "fmtc", step=0.5, coder=coder)
    assert bool(classes) == (codec.position_classes is not None)
    with recording() as encoding:
        data, used = codec.encode_levels(codec.quantize(x)[0])
    with recording() as decoding:
        codec.dequantize(codec.decode_levels(data, used, *SHAPE[2:]))
    return {"encode": encoding, "decode": decoding}


def kernel_of(line: str) -> tuple[str, int]:
    """Name, without a template's arguments, and shared bytes of a line of a launch."""
    _, mangled, _, _, shared = line.split()
    found = re.search(r"(?<=_GLOBAL__N_1)(\d+)(\w+)", mangled)
    assert found is not None, mangled
    return found[2][: int(found[1])], int(shared)


def shared_bytes_of(layers: dict[str, dict[str, list[str]]]) -> dict[str, int]:
    """Dynamic shared memory of the kernels at their first launch, by name."""
    shared: dict[str, int] = {}
    for recorded in layers.values():
        for lines in recorded.values():
            for name, bytes_of in map(kernel_of, (x for x in lines if x.startswith("launch"))):
                shared.setdefault(name, bytes_of)
    return shared


def summary(lines: list[str], values: int) -> dict[str, float]:
    bytes_of = {
        what: sum(int(line.split()[1]) for line in lines if line.startswith(what))
        for what in ("memset", "allocation")
    }
    return {
        "launches": sum(line.startswith("launch") for line in lines),
        "memsets": sum(line.startswith("memset") for line in lines),
        **{f"{what}_bytes_a_value": n / values for what, n in bytes_of.items()},
    }


# -- The command -----------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the tables, write kernels.csv and layers.json."""
    args = _parser().parse_args(arguments)
    layers = {batch: layer_reports(batch) for batch in BATCHES}
    shared = shared_bytes_of(layers)
    rows = [
        report
        for source in sorted(SOURCES.glob("*.cu"))
        if not args.only or source.name in args.only
        for architecture in ARCHITECTURES
        for report in reports_of(source, architecture, shared)
    ]
    values = math.prod(SHAPE)
    taken = {
        batch: {direction: summary(lines, values) for direction, lines in recorded.items()}
        for batch, recorded in layers.items()
    }
    print_tables(rows, taken)
    if args.out:
        write(rows, taken, Path(args.out))


def print_tables(rows: list[KernelReport], layers: dict) -> None:
    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.3g}"

    print(
        "| kernel | GPU | threads | registers | shared | local | occupancy | 64-bit divisions |"
        " SASS for 32 values | with detours | global loads for 32 values |\n|" + "---|" * 11
    )
    for r in sorted(rows, key=lambda r: (r.kernel, r.architecture)):
        if OTHER_TYPES.search(r.kernel):
            continue
        print(
            f"| {r.kernel} | {r.architecture} | {r.threads} | {r.registers} | {r.shared_bytes} | "
            f"{r.local_bytes} | {100 * r.occupancy:.0f} % | {r.divisions or ''} | "
            f"{number(r.loop_instructions)} | {number(r.with_detours)} | {number(r.loop_loads)} |"
        )
    print(
        "\n| batch | direction | launches | memsets | bytes set to 0 a value | bytes allocated a "
        "value |\n|" + "---|" * 6
    )
    for batch, directions in layers.items():
        for direction, t in directions.items():
            print(
                f"| {batch} | {direction} | {t['launches']} | {t['memsets']} | "
                f"{t['memset_bytes_a_value']:.2f} | {t['allocation_bytes_a_value']:.2f} |"
            )


def write(rows: list[KernelReport], layers: dict, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "kernels.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, asdict(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, sorted(rows, key=lambda r: (r.kernel, r.architecture))))
    (out / "layers.json").write_text(json.dumps(layers, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench.cuda_report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", metavar="SOURCE", help="sources, as rans.cu")
    parser.add_argument("--out", metavar="DIR", help="a folder for kernels.csv and layers.json")
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
