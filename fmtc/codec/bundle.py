"""Streams of several images and tensors in one piece of bytes (docs/stream_format.md, "Bundle")."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import index
from typing import overload

from .. import ops
from ..errors import StreamError, UnknownNameError
from ..ops import Bytes
from ..registry import unknown


class Bundle(Mapping[str, list[bytes]]):
    """The streams of N images and T named tensors: a mapping from names to N streams each.

    Args:
        tensors: Of each name the streams of its images, in their order (`TensorCodec.streams`), or
            what `TensorCodec.encode` made of them.

    Attributes:
        images: How many images it holds, N.
        names: Of the tensors, in their order.

    Raises:
        ValueError: Tensors have different numbers of images, or there are none; a name has more
            than 255 bytes of UTF-8 or control characters.

    Example:
        >>> bundle = fmtc.Bundle({"a": codec.encode(tensor), "b": codec.streams(tensor)})
        >>> data = bytes(bundle)                      # to a file, over a wire
        >>> bundle = fmtc.Bundle.of(data)
        >>> bundle.images, list(bundle.names)
        (4, ['a', 'b'])
        >>> codec.decode(bundle["b"]).shape           # all images
        torch.Size([4, 8, 16, 16])
        >>> codec.decode([bundle[2, "b"]]).shape      # one: no other stream is read
        torch.Size([1, 8, 16, 16])
    """

    def __init__(self, tensors: Mapping[str, Bytes | Sequence[Bytes]]):
        streams = {name: _streams_of(name, given) for name, given in tensors.items()}
        counts = {name: len(each) for name, each in streams.items()}
        if len(set(counts.values())) > 1:
            raise ValueError(f"the tensors have different numbers of images: {counts}")
        rows = zip(*streams.values(), strict=True)
        self._open(ops.make_bundle(list(streams), [stream for row in rows for stream in row]))

    @classmethod
    def of(cls, data: Bytes) -> Bundle:
        """The bundle that these bytes are; of a large file its ``mmap`` is enough.

        They are not copied. Checked are its head and its size; a stream is checked when it is asked
        for.

        Args:
            data: The bytes.

        Raises:
            StreamError: Anything but a whole bundle.
        """
        bundle = cls.__new__(cls)
        bundle._open(data)
        return bundle

    def _open(self, data: Bytes) -> None:
        self._data = data
        self._reader = ops.BundleReader(data)
        self.images, self.names = self._reader.images, self._reader.names
        self._tensors = {name: t for t, name in enumerate(self.names)}

    @overload
    def __getitem__(self, key: str) -> list[bytes]: ...
    @overload
    def __getitem__(self, key: tuple[int, str]) -> bytes: ...
    def __getitem__(self, key: str | tuple[int, str]) -> list[bytes] | bytes:
        """``bundle[name]``: the streams of a tensor; ``bundle[image, name]``: one of them.

        Raises:
            StreamError: A stream is damaged.
            KeyError: Another name (UnknownNameError).
            IndexError: An image that is not there.
        """
        if not isinstance(key, tuple):
            tensor = self._tensor(key)
            return [self._reader.stream(image, tensor) for image in range(self.images)]
        image, name = key
        tensor = self._tensor(name)
        if not -self.images <= index(image) < self.images:
            raise IndexError(f"image {image} of a bundle of {self.images}")
        return self._reader.stream(index(image) % self.images, tensor)

    def _tensor(self, name: str) -> int:
        if not isinstance(name, str):
            raise UnknownNameError(
                f"a tensor of a bundle has a name, {name!r} is none: bundle[name], or "
                f"bundle[image, name] for one image; the names are {self._named()}"
            )
        try:
            return self._tensors[name]
        except KeyError:
            # A codec alone names its tensor "", which a list of names would not show.
            known = dict.fromkeys(name or "''" for name in self.names)
            raise UnknownNameError(unknown("tensor", name, known)) from None

    def _named(self) -> str:
        return ", ".join(map(repr, self.names))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        """T, the number of tensors."""
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors

    def __bytes__(self) -> bytes:
        return bytes(self._data)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bundle):
            return NotImplemented
        return bytes(self) == bytes(other)

    def __hash__(self) -> int:
        return hash(bytes(self))

    def __reduce__(self):
        return Bundle.of, (bytes(self),)

    def __repr__(self) -> str:
        return f"Bundle({self.images} images of {self._named()}: {len(self._data):,} bytes)"


def is_bundle(data: Bytes) -> bool:
    """Whether bytes begin as a bundle does, whole or not."""
    return bytes(data[:2]) == ops.BUNDLE_MAGIC


def only_tensor(bundle: Bundle) -> Iterator[bytes]:
    """The streams of a bundle of one tensor, one by one.

    Raises StreamError where it has several, and at a damaged one.
    """
    if len(bundle) > 1:
        names = ", ".join(map(repr, bundle.names))
        raise StreamError(f"the bundle holds several tensors, {names}: decode bundle[name]")
    name = bundle.names[0]
    return (bundle[image, name] for image in range(bundle.images))


def streams_in(
    data: Bytes | Bundle | Sequence[Bytes], size_of: Callable[[memoryview, int], int]
) -> Iterator[Bytes]:
    """Those of a bundle of one tensor; of a list; or of bytes that hold them back to back.

    One after the other: what is wrong with one is found before the next is read. size_of: bytes of
    the stream that these begin with, of the image of this number.
    """
    if isinstance(data, Bytes) and is_bundle(data):
        data = Bundle.of(data)
    if isinstance(data, Bundle):
        yield from only_tensor(data)
    elif not isinstance(data, Bytes):
        several = isinstance(data, Sequence) and not isinstance(data, str)
        if not several:
            raise TypeError(
                "expected bytes, a Bundle or a list of streams, not "
                f"{type(data).__name__}; of an array of bytes, data.tobytes()"
            )
        yield from data
    elif not data:
        raise StreamError("there are no bytes: not even a bundle of no images is so short")
    else:
        yield from _back_to_back(memoryview(data), size_of)


def _back_to_back(
    left: memoryview, size_of: Callable[[memoryview, int], int]
) -> Iterator[memoryview]:
    image = 0
    while left:
        size = size_of(left, image)
        yield left[:size]
        left = left[max(1, size) :]
        image += 1


def _streams_of(name: str, given: Bytes | Sequence[Bytes]) -> Sequence[Bytes]:
    if not isinstance(given, Bytes):
        return given
    if not is_bundle(given):
        raise ValueError(f"tensor {name!r}: give its streams in a list, or what codec.encode made")
    return list(only_tensor(Bundle.of(given)))
