"""Readers of files from outside: Python and C++ judge alike, and what they refuse costs nothing.

Not more than 32 MB and 50 ms, that is. What the files are: conformance.py.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conformance import FOLDER, KINDS
from conformance_codecs import too_many_tables
from safetensors import SafetensorError
from safetensors.torch import load

import fmtc
from fmtc.codec.archive import TYPES
from fmtc.data.datasets import DECODE_ERRORS, _read_image

MOST_BYTES = 32 << 20
MOST_SECONDS = 0.05
FILES = {kind: sorted(path.name for path in (FOLDER / kind).iterdir()) for kind in KINDS}


# -- Python ---------------------------------------------------------------------------------------
# Each gives types, shapes and bytes as tests/readers/read.cpp prints them, or None.


def printed(arrays: dict[str, tuple[str, list[int], bytes]]) -> bytes:
    return b"".join(
        f"{name} {dtype} {shape}\n".encode() + data
        for name, (dtype, shape, data) in sorted(arrays.items(), key=lambda item: item[0].encode())
    )


def python_npy(path: Path) -> bytes | None:
    """NumPy's reader, and nothing may follow the array."""
    with path.open("rb") as file:
        try:
            array = np.lib.format.read_array(file, allow_pickle=False)
        except Exception:  # NumPy says in many ways what is wrong
            return None
        if file.read(1):
            return None
    kind = {"f": "F", "i": "I", "u": "U", "b": "BOOL"}.get(array.dtype.kind, "other")
    dtype = kind if kind == "BOOL" else f"{kind}{8 * array.dtype.itemsize}"
    return printed({"array": (dtype, list(array.shape), array.tobytes())})


def python_safetensors(path: Path) -> bytes | None:
    try:
        tensors = load(path.read_bytes())
    except SafetensorError:
        return None
    return printed(
        {
            name: (
                TYPES.get(tensor.dtype, "F8_E4M3"),
                list(tensor.shape),
                tensor.reshape(-1).view(torch.uint8).numpy().tobytes(),
            )
            for name, tensor in tensors.items()
        }
    )


def python_codec(path: Path) -> bytes | None:
    try:
        fmtc.TensorCodec.load(path)
    except fmtc.StorageError:
        return None
    return b""


def python_image(path: Path) -> bytes | None:
    try:
        pixels = _read_image(path)
    except DECODE_ERRORS:
        return None
    height, width = pixels.shape[1:]
    data = pixels.permute(1, 2, 0).contiguous().numpy().tobytes()
    return printed({"image": ("U8", [height, width, 3], data)})


PYTHON = {
    "npy": python_npy,
    "safetensors": python_safetensors,
    "codec": python_codec,
    "image": python_image,
}

# -- C++ ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def commands(build_tree, tmp_path_factory):
    """The command that reads a file of a kind."""
    read = build_tree / "csrc" / "infer" / "fmtc_read"
    program = build_tree / "csrc" / "codec" / "fmtc_codec"
    if not read.exists() or not program.exists():
        pytest.skip("the programs were not built: `make build-programs`")
    folder = tmp_path_factory.mktemp("read")
    (folder / "none.fmtc").write_bytes(bytes(fmtc.Bundle({"": []})))

    def command(kind: str, path: Path) -> list[str]:
        if kind == "codec":
            return [*map(str, (program, "decode", path, folder / "none.fmtc", folder / "out.npy"))]
        return [str(read), kind, str(path)]

    return command


MEASURE = """
import resource, subprocess, sys, time
begin = time.perf_counter()
done = subprocess.run(sys.argv[1:], capture_output=True)
seconds = time.perf_counter() - begin
print(done.returncode, seconds, 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def measured(command: list[str]) -> tuple[int, float, int]:
    """Exit status, seconds and peak memory of a program; of up to three runs, the shortest."""
    runs = []
    while len(runs) < 3 and not (runs and min(runs)[0] <= MOST_SECONDS):
        run = [sys.executable, "-S", "-c", MEASURE, *command]
        status, seconds, peak = subprocess.run(run, capture_output=True, check=True).stdout.split()
        runs.append((float(seconds), int(status), int(peak)))
    seconds, status, peak = min(runs)
    return status, seconds, peak


def expected(name: str) -> bool:
    assert re.match("good|bad|strict", name)
    return name.startswith("good")


CASES = [(kind, name) for kind, names in FILES.items() for name in names]


@pytest.mark.parametrize("kind, name", CASES)
def test_python_and_the_programs_judge_alike(kind, name, commands):
    path = FOLDER / kind / name
    of_python = PYTHON[kind](path)
    assert (of_python is not None) == (not name.startswith("bad"))
    done = subprocess.run(commands(kind, path), capture_output=True)
    assert done.returncode == (0 if expected(name) else 2), done.stderr
    if not expected(name):
        assert re.fullmatch(rb"(read|fmtc_codec): .+\n", done.stderr, re.DOTALL)
    elif kind != "codec":
        assert done.stdout == of_python


@pytest.mark.parametrize("name", ["good-rgb.png", "good-interlaced.png", "good-bits.png"])
def test_images_whose_last_chunk_is_cut(name, commands, tmp_path):
    """IEND, of 12 bytes: a PNG may also have none."""
    data = (FOLDER / "image" / name).read_bytes()
    for cut in range(1, 13):
        (tmp_path / name).write_bytes(data[:-cut])
        done = subprocess.run(commands("image", tmp_path / name), capture_output=True)
        assert done.returncode == 0, (cut, done.stderr)
        assert done.stdout == python_image(tmp_path / name)


def test_there_are_files_of_every_kind_and_verdict():
    for names in FILES.values():
        assert sum(expected(name) for name in names) > 8 and len(names) > 25


REFUSED = [(kind, name) for kind, name in CASES if not expected(name)]


@pytest.mark.parametrize("kind, name", REFUSED)
def test_a_refused_file_costs_a_program_next_to_nothing(kind, name, commands):
    _, _, idle = measured([commands("codec", FOLDER / kind / name)[0], "--help"])
    status, seconds, peak = measured(commands(kind, FOLDER / kind / name))
    assert status == 2
    assert peak - idle <= MOST_BYTES
    assert seconds <= MOST_SECONDS


def test_codecs_with_too_many_tables(commands, tmp_path):
    path = tmp_path / "codec.safetensors"
    path.write_bytes(too_many_tables())
    with pytest.raises(fmtc.StorageError, match="tables of 67112960 entries"):
        fmtc.TensorCodec.load(path)
    command = commands("codec", path)
    status, _, peak = measured(command)
    assert status == 2 and peak - measured([command[0], "--help"])[2] <= MOST_BYTES
    assert b"too many tables" in subprocess.run(command, capture_output=True).stderr


IN_PYTHON = """
import resource, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_conformance import FILES, FOLDER, PYTHON
for kind in {kinds!r}:
    for name in sorted(FILES[kind]):  # a good one before, so that all is imported
        if name.startswith("good"):
            PYTHON[kind](FOLDER / kind / name)
    for name in FILES[kind]:
        if name.startswith("bad"):
            before, seconds = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, []
            for _ in range(3):
                begin = time.perf_counter()
                assert PYTHON[kind](FOLDER / kind / name) is None
                seconds.append(time.perf_counter() - begin)
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(kind, name, min(seconds), 1024 * (after - before))
"""


def test_a_refused_file_costs_python_next_to_nothing():
    code = IN_PYTHON.format(tests=str(Path(__file__).parent), kinds=["codec", "image"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) > 60
    for kind, name, seconds, peak in lines:
        assert float(seconds) <= MOST_SECONDS and int(peak) <= MOST_BYTES, (kind, name)


def test_files_are_those_of_the_generator():
    """Where they do not depend on how Pillow, zlib or safetensors write them."""
    for kind in ("npy", "safetensors"):
        made = dict(KINDS[kind]())
        assert set(FILES[kind]) == {f"{name}.{kind}" for name in made}
        for name, data in made.items():
            if not re.match("good-(f|i|u|bool)", name):
                assert (FOLDER / kind / f"{name}.{kind}").read_bytes() == data, name
    for kind, suffix in (("codec", ".safetensors"), ("image", "")):
        assert set(FILES[kind]) == {name + suffix for name, _ in KINDS[kind]()}


def test_error_messages_have_no_control_characters(commands, tmp_path):
    path = tmp_path / "x.safetensors"
    header = b'{"a\\u001b[31m\\u009b":5}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    done = subprocess.run(commands("safetensors", path), capture_output=True)
    assert done.returncode == 2 and b"\x1b" not in done.stderr
    assert io.TextIOWrapper(io.BytesIO(done.stderr), "utf-8").read()
