"""What streams say of themselves, and how the compiled part was built."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._C import build_info as compiled_build_info
from .._C import status_message as status_message
from .._C import stream_info as compiled_stream_info
from ..errors import StreamError


def check_status(status: Tensor) -> None:
    """Raise StreamError for the first stream that a decoder could not decode.

    Compiled code does not wait for the values: there the device raises RuntimeError.
    """
    if torch.compiler.is_compiling():
        torch._assert_async((status == 0).all(), "a stream is damaged")
        return
    damaged = status.nonzero()
    if len(damaged) > 0:
        image = int(damaged[0])
        raise StreamError(f"stream of image {image}: {status_message(int(status[image]))}")


def stream_info(data: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Header fields of the stream that ``data`` begins with; more bytes may follow it.

    Keys: version, coder ("huffman", "rans", "ebpc" or "dct-cm"), channels, height, width, table_id,
    chunks, lanes (sub-streams or states of a chunk), classes (of positions), crop_h, crop_w, size
    (bytes of the whole stream). Checked is what the stream's first checksum covers: header and
    directory, or all of a stream of one chunk.
    Raises StreamError where data does not begin with a stream.
    """
    try:
        return compiled_stream_info(data)
    except ValueError as error:
        raise StreamError(str(error)) from None


def build_info() -> dict[str, Any]:
    """How the compiled part was built: version, compiler, build_type, flags, torch_built_with,
    cuda (bool), simd, the instruction set its loops use on this CPU, and coder_simd, that of the
    rANS coder: scalar, avx2 or avx512. FMTC_SIMD in the environment names a lower one."""
    return compiled_build_info()
