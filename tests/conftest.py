"""What all tests share: settings of hypothesis, backends, data, layouts and thread counts."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from torch.utils._pytree import tree_map_only

settings.register_profile("fmtc", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("fmtc")


# -- Backends of the operators --------------------------------------------------------------------


class _Emulated:
    """The CUDA operators with their kernels run on the CPU (cuda/executor.h)."""

    def __init__(self):
        default = (
            Path(__file__).resolve().parents[1] / "build/emulated/tests/cuda/libfmtc_emulated.so"
        )
        library = Path(os.environ.get("FMTC_EMULATED", default))
        if not library.exists():
            pytest.skip(
                f"no emulated CUDA operators at {library}: `make build-emulated` makes them"
            )
        torch.ops.load_library(library)

    def __getattr__(self, name):
        return getattr(torch.ops.fmtc_emulated, name)


def _to_cuda(x: torch.Tensor) -> torch.Tensor:
    """The same tensor on the GPU, with its strides and offset."""
    storage = x.untyped_storage().cuda()
    return torch.empty(0, dtype=x.dtype, device="cuda").set_(
        storage, x.storage_offset(), x.shape, x.stride()
    )


class _Cuda:
    """The CUDA operators, called with tensors of the CPU; so are their results.

    Of what they change of their arguments the caller's are told.
    """

    def __getattr__(self, name):
        operator = getattr(torch.ops.fmtc, name)

        def call(*args):
            there = tree_map_only(torch.Tensor, _to_cuda, args)
            results = operator(*there)
            for argument, here, moved in zip(
                operator.default._schema.arguments, args, there, strict=False
            ):
                if argument.alias_info and argument.alias_info.is_write:
                    here.copy_(moved)
            return tree_map_only(torch.Tensor, torch.Tensor.cpu, results)

        return call


def _why_no_cuda() -> str | None:
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    if not torch._C._dispatch_has_kernel_for_dispatch_key("fmtc::quantize", "CUDA"):
        return "fmtc was built without its CUDA operators"
    return None


def pytest_collection_modifyitems(config, items):
    """Leaves out what cannot run: CUDA's tests without CUDA, and other backends of `cpu_only`."""
    import fmtc  # noqa: F401  registers the operators

    config.why_no_cuda = _why_no_cuda()
    config.without_cuda = 0

    def dropped(item):
        if config.why_no_cuda and item.get_closest_marker("cuda"):
            config.without_cuda += 1
            return True
        backend = getattr(item, "callspec", None) and item.callspec.params.get("backend")
        return backend not in (None, "cpu") and item.get_closest_marker("cpu_only")

    out = {item for item in items if dropped(item)}
    config.hook.pytest_deselected(items=list(out))
    items[:] = [item for item in items if item not in out]


def pytest_terminal_summary(terminalreporter, config):
    """One line for all of CUDA's tests, not thousands."""
    if getattr(config, "without_cuda", 0):
        tests = f"{config.without_cuda} tests of CUDA"
        terminalreporter.write_line(f"left out: {tests}: {config.why_no_cuda}")


@pytest.fixture(
    scope="module",
    params=["cpu", "emulated", pytest.param("cuda", marks=pytest.mark.cuda)],
)
def backend(request):
    """What `fmtc.ops` calls. A module whose tests all use this fixture says nothing else of it."""
    from fmtc import ops

    make = {"cpu": lambda: ops._ops, "emulated": _Emulated, "cuda": _Cuda}[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ops, "_ops", make())
        yield request.param


# -- Data -----------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with real images and weights: $FMTC_DATA or ../shared/data beside the repository."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FMTC_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no data folder at {folder}; set FMTC_DATA to one")
    return folder


@pytest.fixture(scope="session")
def build_tree() -> Path:
    """The build tree of the extension, as setup.py and `make build` leave it."""
    tree = Path(__file__).resolve().parents[1] / "build" / f"cmake-{sys.implementation.cache_tag}"
    if not (tree / "CMakeCache.txt").exists():
        pytest.skip(f"no build tree at {tree}: `make build` makes it")
    return tree


@pytest.fixture(scope="session")
def package(tmp_path_factory):
    """The digits' network: its package and the compressed model in Python."""
    import fmtc
    from fmtc.cli.demo import digits_data, digits_model

    train = digits_data().train_images[:64]
    compressed = fmtc.compress(digits_model(), train, target=fmtc.Step(0.001))
    path = tmp_path_factory.mktemp("package") / "digits.pt2"
    preprocess, names = "resize=32,crop=32,mean=0.5,std=0.5", list("0123456789")
    fmtc.export(compressed, path, train[:2], preprocess=preprocess, classes=names)
    compressed.reset_statistics()
    compressed(train[:1])
    return path, compressed


def find_tool(name: str) -> str:
    """A program of the `dev` extra beside this Python, or on the PATH."""
    found = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    return found or pytest.skip(f"{name} is not installed")


# -- Layouts and threads --------------------------------------------------------------------------


def _channels_last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x.T.contiguous().T


def _sliced(x: torch.Tensor) -> torch.Tensor:
    """Every second element of the last dimension of a larger tensor, behind an offset."""
    larger = torch.zeros(*x.shape[:-1], 2 * x.shape[-1] + 1, dtype=x.dtype)
    larger[..., 1::2] = x
    return larger[..., 1::2]


def _transposed(x: torch.Tensor) -> torch.Tensor:
    return x.transpose(0, -1).contiguous().transpose(0, -1)


LAYOUTS = {
    "contiguous": torch.Tensor.contiguous,
    "channels_last": _channels_last,
    "sliced": _sliced,
    "transposed": _transposed,
}


@pytest.fixture(params=LAYOUTS)
def layout(request):
    """A function that gives a tensor (of two dimensions or four) other strides, the same values."""
    return LAYOUTS[request.param]


@pytest.fixture
def threads():
    """``with threads(n):`` runs torch on n threads."""

    @contextlib.contextmanager
    def limited(count: int):
        before = torch.get_num_threads()
        torch.set_num_threads(count)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    return limited
