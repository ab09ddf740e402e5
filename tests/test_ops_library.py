"""The compiled library as a whole: what it registers, says of itself, and when it is missing."""

import ctypes
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils._pytree import tree_leaves

from fmtc import ops

PACKAGE = Path(ops.__file__).parents[1]
OPERATORS = {
    "accumulate_",
    "channel_moments",
    "merge_moments",
    "pca",
    "quantize",
    "dequantize",
    "dct_quantize",
    "dequantize_dct",
    "quantize_scaled",
    "dequantize_scaled",
    "transform_channels",
    "transform_quantize",
    "dequantize_transform",
    "predict",
    "unpredict",
    "position_activity",
    "arrange",
    "position_histogram",
    "histogram",
    "entropy",
    "huffman_lengths",
    "huffman_tables",
    "huffman_encode",
    "huffman_decode",
    "rans_frequencies",
    "apack_frequencies",
    "rans_tables",
    "rans_encode",
    "rans_decode",
    "ebpc_encode",
    "ebpc_decode",
    "dct_cm_encode",
    "dct_cm_decode",
    "encode_point",
    "decode_point",
    "simulate_point",
}
# The arguments that operators change; all others are functional.
CHANGED = {"accumulate_": ["total"]}


def registered(name):
    return getattr(torch.ops.fmtc, name).default


def outcome(name, args, operator=None):
    """All tensors that an operator makes, and those that it changes, in copies of its arguments.

    operator: the one to call, ``fmtc.ops``'s by default.
    """
    names = [argument.name for argument in registered(name)._schema.arguments]
    changed = [names.index(argument) for argument in CHANGED.get(name, [])]
    args = [x.clone() if i in changed else x for i, x in enumerate(args)]
    made = (operator or getattr(ops, name))(*args)
    return [*(x for x in tree_leaves(made) if x is not None), *(args[i] for i in changed)]


def test_all_operators_are_registered_and_no_others():
    names = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("fmtc::")}
    assert names == {f"fmtc::{name}" for name in OPERATORS}


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_wrappers_follow_the_schema(name):
    wrapper, schema = getattr(ops, name), registered(name)._schema
    assert wrapper.__doc__
    assert list(inspect.signature(wrapper).parameters) == [a.name for a in schema.arguments]
    changed = [a.name for a in schema.arguments if a.alias_info]
    assert changed == CHANGED.get(name, []) and not any(a.alias_info for a in schema.returns)
    assert all(a.alias_info.is_write for a in schema.arguments if a.alias_info)


def test_build_info():
    info = ops.build_info()
    assert set(info) >= {"version", "compiler", "torch_built_with", "cuda", "simd", "flags"}
    architecture = r"\d+\.\da?(\+PTX)?"
    if info["cuda"]:
        assert re.fullmatch(rf"{architecture}(, {architecture})*", info["cuda_architectures"])
    else:
        assert info["cuda_architectures"] is None
    assert isinstance(info["cuda"], bool)
    assert info["simd"] in {"avx512", "avx2", "neon", "scalar"}
    texts = {name: value for name, value in info.items() if not name.startswith("cuda")}
    assert all(isinstance(value, str) for value in texts.values())


def test_library_holds_no_path_of_the_build_machine():
    with pytest.raises(RuntimeError) as error:
        ops.entropy(torch.ones(2))
    assert re.search(r"\bcsrc/ops/", str(error.value)) and "/csrc" not in str(error.value)


# An editable installation would stand in for the missing module.
IMPORT = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "__editable__" not in f.__module__]
import fmtc.ops
print(fmtc.ops.__file__)
"""


def import_copy(folder):
    """Imports the copy of the package in `folder` in a fresh process; returns what it prints."""
    result = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env={**os.environ, "PYTHONPATH": str(folder)},
        cwd=folder,
        capture_output=True,
        text=True,
    )
    return result.stdout + result.stderr


@pytest.mark.parametrize(
    "pattern, cause",
    [("libfmtc_ops.so", "libfmtc_ops.so are missing"), ("_C.*.so", "_C cannot be imported")],
)
@pytest.mark.parametrize("broken", [False, True])
def test_a_missing_or_broken_library_says_how_to_build(tmp_path, pattern, cause, broken):
    copy = tmp_path / "fmtc"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert str(copy) in import_copy(tmp_path)
    (library,) = copy.glob(pattern)
    library.unlink()
    if broken:
        library.write_bytes(b"not a library")
        cause = cause.replace("are missing", "cannot be loaded with torch")
    printed = import_copy(tmp_path)
    assert "ImportError: fmtc: the compiled " in printed and cause in printed
    assert "pip install -e . --no-build-isolation" in printed


# Stages of these are operators for CUDA, too.
OF_THE_CPU = {"encode_point", "decode_point", "simulate_point"}


@pytest.mark.skipif(not ops.build_info()["cuda"], reason="fmtc was built without CUDA")
def test_every_operator_is_there_for_cuda():
    for name in OPERATORS - OF_THE_CPU:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"fmtc::{name}", "CUDA"), name


@pytest.mark.skipif(torch.version.cuda is None, reason="torch was built without CUDA")
def test_torch_has_the_current_stream_where_cuda_operators_look():
    library = ctypes.CDLL("libtorch_cuda.so", mode=os.RTLD_NOLOAD | os.RTLD_LAZY)
    assert library.aoti_torch_get_current_cuda_stream
