"""Builds the compiled parts of fmtc with CMake; everything else is in pyproject.toml.

MAX_JOBS limits the compile jobs (2 by default, memory is what runs out first). The CUDA operators
are built where there is an nvcc (CUDA_HOME, or on the PATH) of torch's CUDA version; USE_CUDA=0
leaves them out, USE_CUDA=1 makes it an error where they cannot be built. TORCH_CUDA_ARCH_LIST names
the architectures; without it they are those of the GPUs that torch finds, or 8.0 and 9.0 and, by
PTX, all later ones.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
INSTALL_HINT = "pip install cmake ninja pybind11 cmeel-eigen 'torch>=2.11'"


def find_tool(name: str) -> str:
    """The program beside this Python (as pip installs it) or on the PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise SystemExit(f"fmtc: {name} is needed to build the extension; install: {INSTALL_HINT}")
    return found


def package_dir(name: str) -> Path:
    """Where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise SystemExit(
            f"fmtc: the Python package {name} is needed to build the extension; install: "
            f"{INSTALL_HINT}, then: pip install --no-build-isolation -e ."
        )
    return Path(spec.origin).parent


def check_python_headers() -> None:
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").exists():
        raise SystemExit(
            f"fmtc: Python.h was not found in {include}; install Python's headers "
            "(Debian and Ubuntu: apt-get install python3-dev)"
        )


class CMakeBuild(build_ext):
    """Lets CMake build libfmtc_ops.so and _C and installs both into the package."""

    def run(self) -> None:
        in_place = self.inplace or self.editable_mode
        destination = ROOT / "fmtc" if in_place else Path(self.build_lib).resolve() / "fmtc"
        tree = ROOT / "build" / f"cmake-{sys.implementation.cache_tag}"
        cmake = find_tool("cmake")
        self._cmake(cmake, "-S", str(ROOT), "-B", str(tree), *self._settings())
        jobs = os.environ.get("MAX_JOBS", "2")
        self._cmake(cmake, "--build", str(tree), "--target", "fmtc_python", "--parallel", jobs)
        prefix = ("--prefix", str(destination))
        self._cmake(cmake, "--install", str(tree), "--component", "python", *prefix)

    def _settings(self) -> list[str]:
        check_python_headers()
        settings = {
            "CMAKE_MAKE_PROGRAM": find_tool("ninja"),
            "CMAKE_BUILD_TYPE": "Debug" if self.debug else "Release",
            "Python_EXECUTABLE": sys.executable,
            "pybind11_DIR": package_dir("pybind11") / "share" / "cmake" / "pybind11",
            "FMTC_TORCH_DIR": package_dir("torch"),
            "FMTC_CUDA": {"0": "OFF", "1": "ON"}.get(os.environ.get("USE_CUDA", ""), "AUTO"),
        }
        return ["-G", "Ninja", *(f"-D{key}={value}" for key, value in settings.items())]

    def _cmake(self, *command: str) -> None:
        result = subprocess.run(command)
        if result.returncode != 0:
            raise SystemExit(f"fmtc: building the extension failed: {' '.join(command)}")

    def get_outputs(self) -> list[str]:
        package = Path(self.build_lib) / "fmtc"
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        return [str(package / "libfmtc_ops.so"), str(package / f"_C{suffix}")]

    def get_output_mapping(self) -> dict[str, str]:
        return {}


setup(ext_modules=[Extension("fmtc._C", sources=[])], cmdclass={"build_ext": CMakeBuild})
