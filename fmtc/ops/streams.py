"""What streams and bundles say of themselves, and how the compiled part was built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .._C import BundleReader as CompiledBundleReader
from .._C import build_info as compiled_build_info
from .._C import make_bundle as compiled_make_bundle
from .._C import status_message
from .._C import stream_info as compiled_stream_info
from ..errors import StreamError

Bytes = bytes | bytearray | memoryview
BAD_CODER, WRONG_TABLES, WRONG_SHAPE = 4, 10, 11  # as in csrc/core/status.h
BUNDLE_MAGIC = b"fb"  # how a bundle begins, and no stream of fmtc does


def check_status(status: Tensor, first_image: int = 0) -> None:
    """Raise StreamError for the first stream that a decoder could not decode.

    first_image: the number of the first one, for the sentence.
    Compiled code does not wait for the values: there the device raises RuntimeError.
    """
    if torch.compiler.is_compiling():
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
    with _stream_errors():
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
def _stream_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise StreamError(str(error)) from None


def make_bundle(names: Sequence[str], streams: Sequence[Bytes]) -> bytes:
    """The bundle (docs/stream_format.md, "Bundle") of N images and T tensors.

    names: of the tensors, T. streams: N*T, image after image and for each its tensors. Raises
    ValueError for a wrong number of streams, names that are not valid or there twice, and more than
    a bundle holds.
    """
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"the name of a tensor is a str, not {name!r}")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"the name {name!r} cannot be written as UTF-8") from None
    return compiled_make_bundle(names, streams)


class BundleReader:
    """What is in a bundle, without reading a stream that is not asked for.

    data: any buffer of bytes, such as a file in memory (mmap); it is not copied, and must not be
    changed. images: N. names: of the T tensors. Raises StreamError where head or size are not those
    of a bundle.
    """

    def __init__(self, data: Bytes):
        with _stream_errors():
            self._compiled = CompiledBundleReader(data)
        self.images: int = self._compiled.images
        self.names: tuple[str, ...] = tuple(self._compiled.names)

    def stream(self, image: int, tensor: int) -> bytes:
        """The stream of an image and a tensor, both counted from 0.

        Raises StreamError where it is not what was put there, IndexError where there is none.
        """
        try:
            return self._compiled.stream(image, tensor)
        except ValueError as error:
            name = self.names[tensor]
            raise StreamError(f"image {image} of tensor {name!r}: {error}") from None


def build_info() -> dict[str, Any]:
    """How the compiled part was built: version, compiler, build_type, flags, torch_built_with,
    cuda (bool), simd, the instruction set its loops use on this CPU, and coder_simd, that of the
    rANS coder: scalar, avx2 or avx512. FMTC_SIMD in the environment names a lower one."""
    return compiled_build_info()
