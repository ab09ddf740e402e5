"""What C++ users get: installed libraries, find_package(fmtc), and the example that uses both."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import find_tool

ROOT = Path(__file__).resolve().parents[1]
TORCH = Path(torch.__file__).parent


# What a program may include: the coders, what is around them, and the types of their arguments.
HEADERS = {
    *(
        "apack.h",
        "bundle.h",
        "coding.h",
        "dct_cm.h",
        "device.h",
        "ebpc.h",
        "entropy.h",
        "frequencies.h",
        "histogram.h",
        "huffman.h",
    ),
    *(
        "moments.h",
        "pca.h",
        "positions.h",
        "predict.h",
        "predict_sources.h",
        "prediction.h",
        "quantize.h",
        "rans.h",
        "simd.h",
    ),
    *("scaled.h", "status.h", "stream.h", "transform.h", "words.h"),
}

# What a program that measures packages includes, where fmtc_eval was built.
INFER_HEADERS = {
    *("choice.h", "comparison.h", "dataset.h", "description.h", "evaluated_point.h"),
    *("evaluation.h", "image.h", "labels.h", "loader.h", "measures.h", "package.h"),
    *("preprocess.h", "rates.h", "runner.h", "split_package.h", "table.h", "timing.h"),
}


def run(*command, **options) -> subprocess.CompletedProcess:
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, **options)


@pytest.fixture(scope="module")
def prefix(build_tree, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    made = run(
        *(find_tool("cmake"), "--install", build_tree, "--component", "development"),
        *("--prefix", folder),
    )
    assert made.returncode == 0, made.stderr
    return folder


def configure(source, build, prefix, *settings) -> subprocess.CompletedProcess:
    ninja = find_tool("ninja")
    return run(
        *(find_tool("cmake"), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}"),
        *("-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", *settings),
    )


def test_example_builds_against_the_installed_package(prefix, tmp_path):
    # Nothing of the source tree may be needed: not even its path may be named.
    for file in (prefix / "lib").glob("cmake/fmtc/*"):
        assert str(ROOT) not in file.read_text()
    made = configure(ROOT / "examples" / "cpp", tmp_path, prefix, f"-DTORCH_DIR={TORCH}")
    assert made.returncode == 0, made.stderr
    made = run(find_tool("cmake"), "--build", tmp_path, "--parallel", "1")
    assert made.returncode == 0, made.stdout
    stream = run(tmp_path / "stream")
    assert stream.returncode == 0, stream.stderr
    assert stream.stdout.endswith("decoded exactly\n")
    operators = run(tmp_path / "operators", env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert operators.stdout == "-3 -2 0 2 3 clamped 2\n", operators.stderr


def test_headers_are_the_public_ones_and_compile_alone(prefix, tmp_path):
    installed = {file.relative_to(prefix / "include") for file in prefix.glob("include/**/*.h")}
    core = {Path("fmtc/core") / name for name in HEADERS}
    infer = {Path("fmtc/infer") / name for name in INFER_HEADERS}
    assert installed in (core, core | infer)
    for header in core:
        source = f"#include <{header}>\n#include <{header}>\n"  # twice: the second is nothing
        (tmp_path / f"{header.stem}.cpp").write_text(source)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.24)\nproject(user LANGUAGES CXX)\n"
        "find_package(fmtc REQUIRED COMPONENTS core)\n"
        "file(GLOB sources ${CMAKE_SOURCE_DIR}/*.cpp)\nadd_library(headers OBJECT ${sources})\n"
        "target_compile_options(headers PRIVATE -Wall -Wextra -Werror)\n"
        "target_link_libraries(headers PRIVATE fmtc::core)\n"
    )
    made = configure(tmp_path, tmp_path / "build", prefix)
    assert made.returncode == 0, made.stderr
    made = run(find_tool("cmake"), "--build", tmp_path / "build", "--parallel", "1")
    assert made.returncode == 0, made.stdout


@pytest.mark.parametrize(
    "request_, why",
    [("9", "version"), ("0.1 COMPONENTS core cuda", "built without .cuda.")],
)
def test_package_refuses_what_it_does_not_have(prefix, tmp_path, request_, why):
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.24)\nproject(user LANGUAGES NONE)\n"
        f"find_package(fmtc {request_} REQUIRED)\n"
    )
    made = configure(tmp_path, tmp_path / "build", prefix)
    assert made.returncode != 0 and re.search(why, made.stderr)


# -- Machines -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pointer, order, refused",
    [
        (8, "LITTLE_ENDIAN", None),
        (8, "", None),  # CMake does not always know
        (4, "LITTLE_ENDIAN", "32-bit LITTLE_ENDIAN"),
        (8, "BIG_ENDIAN", "64-bit BIG_ENDIAN"),
        (4, "BIG_ENDIAN", "32-bit BIG_ENDIAN"),
    ],
)
def test_other_machines_are_refused_in_a_sentence(pointer, order, refused):
    settings = f"-DCMAKE_SIZEOF_VOID_P={pointer}", f"-DCMAKE_CXX_BYTE_ORDER={order}"
    done = run(find_tool("cmake"), *settings, "-P", ROOT / "cmake" / "FmtcMachine.cmake")
    said = " ".join(done.stderr.split())
    assert (done.returncode != 0) == (refused is not None), said
    assert refused is None or (
        "fmtc is for 64-bit little-endian machines" in said and refused in said
    )
