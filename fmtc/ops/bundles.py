"""Bundles: the streams of several images and tensors in one piece of bytes."""

from __future__ import annotations

from collections.abc import Sequence

from .._C import BundleReader as CompiledBundleReader
from .._C import make_bundle as compiled_make_bundle
from ..errors import StreamError
from .streams import Bytes, stream_errors

BUNDLE_MAGIC = b"fb"  # how a bundle begins, and no stream of fmtc does


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
        with stream_errors():
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
