"""What streams say of themselves, and how the compiled part was built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from mmap import mmap
from typing import Any

import torch
from torch import Tensor

from .._C import build_info as compiled_build_info
from .._C import status_message as status_message
from .._C import stream_info as compiled_stream_info
from ..errors import StreamError
from .recording import recording

Bytes = bytes | bytearray | memoryview | mmap
BAD_CODER, WRONG_TABLES, WRONG_SHAPE = 4, 10, 11  # as in csrc/core/status.h


def check_status(status: Tensor, first_image: int = 0) -> None:
    """Raise StreamError for the first stream that a decoder could not decode.

    first_image: the number of the first one, for the sentence.
    Compiled code and CUDA graphs do not wait for the values: there the device raises RuntimeError.
    """
    if recording():
        torch._assert_async((status == 0).all(), "a stream is damaged")
        return
    damaged = status.nonzero()
    if len(damaged) > 0:
        image = int(damaged[0])
        message = status_message(int(status[image]))
        raise StreamError(f"stream of image {first_image + image}: {message}")


def stream_info(data: Bytes) -> dict[str, Any]:
    """Header fields of the stream that ``data`` begins with; more bytes may follow it.

    Keys: version, coder ("huffman", "rans", "ebpc" or "dct-cm"), channels, height, width, table_id,
    chunks, lanes (sub-streams or states of a chunk), classes (of positions), crop_h, crop_w, size
    (bytes of the whole stream). Checked is what the stream's first checksum covers: header and
    directory, or all of a stream of one chunk.
    Raises StreamError where data does not begin with a stream.
    """
    with stream_errors():
        return compiled_stream_info(data)


def check_expected(
    info: dict[str, Any], coder: str, channels: int, classes: int, table_id: int
) -> None:
    """Raise StreamError unless the stream of this ``stream_info`` is of such a codec."""
    if info["coder"] != coder:
        raise StreamError(status_message(BAD_CODER))
    if (info["channels"], info["classes"]) != (channels, classes):
        raise StreamError(status_message(WRONG_SHAPE))
    if info["table_id"] != table_id:
        raise StreamError(status_message(WRONG_TABLES))


@contextmanager
def stream_errors() -> Iterator[None]:
    """StreamError in place of the compiled part's ValueError."""
    try:
        yield
    except ValueError as error:
        raise StreamError(str(error)) from None


def build_info() -> dict[str, Any]:
    """How the compiled part was built: version, compiler, build_type, flags, torch_built_with,
    cuda (bool), cuda_architectures, the GPUs that it has code for ("8.0, 9.0+PTX") or None, simd,
    the instruction set its loops use on this CPU, and coder_simd, that of the rANS coder: scalar,
    neon, avx2 or avx512. FMTC_SIMD in the environment names a lower one."""
    return compiled_build_info()
