"""Arrays of feature maps in Zarr, stored by fmtc: a codec for each of its formats.

Packages that read such arrays find them by entry point, so that a reader needs fmtc installed, and
nothing else: the fitted codec stands in the array's metadata.

>>> codec = fmtc.calibrate_tensor(features[:64], "fmtc", step=0.05)
>>> zarr.create_array("maps.zarr", shape=features.shape, chunks=(16, *features.shape[1:]),
...                   dtype="float32", serializer=Serializer(codec), compressors=None)   # format 3
>>> zarr.create_array("maps.zarr", ..., zarr_format=2, compressors=Compressor(codec))    # format 2

A chunk is a bundle of the streams of its images: chunks hold whole images, so that only their
first dimension is cut. What comes back is what the codec decodes: a component that is kept is at
most half a step off, one that was dropped is missing (on the calibration tensors it was less than
that), and the mean squared error over these is ``codec.mse``. The metadata has the codec in
base64: for C channels two matrices in 10.7 C^2 bytes, and tables in some tens of thousands.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..codec.archive import Archive, reading
from ..codec.codec import TensorCodec, unpacked_codecs
from ..errors import StorageError
from ..extras import require

require("zarr", "zarr")  # says what to install

from numcodecs.abc import Codec  # noqa: E402
from zarr.abc.codec import ArrayBytesCodec  # noqa: E402

NAME = "fmtc"


def packed(codec: TensorCodec) -> str:
    """A codec as text for an array's metadata."""
    archive = Archive({"kind": "tensor"}, {"tensor": codec.packed()})
    return base64.b64encode(archive.to_bytes()).decode("ascii")


def unpacked(text: str) -> TensorCodec:
    """The codec of such text. StorageError where it is none."""
    source = "the codec in the array's metadata"
    with reading(source):
        data = base64.b64decode(text, validate=True)
    codec = unpacked_codecs(Archive.of_bytes(data, source), source).get("tensor")
    if not isinstance(codec, TensorCodec):
        raise StorageError(f"{source} is not one of a tensor")
    return codec


def encoded(codec: TensorCodec, chunk: Any) -> bytes:
    """The bundle of an array [N, ...] of any float type."""
    return codec.encode(torch.from_numpy(np.ascontiguousarray(chunk, dtype=np.float32)))


def decoded(codec: TensorCodec, data: Any, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """float32 [N, ...] of a bundle. StreamError: damaged, or beyond the codec's own limits.

    shape: of the tensor, which streams do not tell where it has more than four dimensions.
    """
    return codec.decode(bytes(data), shape).numpy()


class Compressor(Codec):
    """Of Zarr format 2, and wherever else codecs of numcodecs are taken: compresses whole chunks.

    codec: a fitted `fmtc.TensorCodec`, or the text that stands for it in the metadata. dtype: the
    floats of the array, whose name such a codec is not told when it decodes.
    """

    codec_id = NAME

    def __init__(self, codec: TensorCodec | str, dtype: str = "float32"):
        """ValueError: a codec of more than four dimensions, whose shape format 2 does not tell."""
        self._codec, self._dtype = unpacked(codec) if isinstance(codec, str) else codec, dtype
        if self._codec.rank > 4:
            raise ValueError(
                f"the codec is one of {self._codec.rank} dimensions, and format 2 does not tell "
                "who decodes which: make the array in format 3, with fmtc.data.zarr.Serializer"
            )

    def encode(self, buf: Any) -> bytes:
        """ValueError: an array of another dtype, or in the order of Fortran.

        Who decodes is told neither shape nor order, and gives the values in that of C.
        """
        if buf.dtype != np.dtype(self._dtype):
            raise ValueError(f"the codec is one of {self._dtype}, the array of {buf.dtype}")
        if not np.asarray(buf).flags.c_contiguous:
            raise ValueError("the codec takes arrays in C order: make the array with order='C'")
        return encoded(self._codec, buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        made = decoded(self._codec, buf).astype(self._dtype, copy=False)
        if out is None:
            return made
        out[...] = made.reshape(out.shape)
        return out

    def get_config(self) -> dict[str, str]:
        return {"id": self.codec_id, "codec": packed(self._codec), "dtype": self._dtype}


class Serializer(ArrayBytesCodec):
    """Of Zarr format 3: what makes bytes of a chunk.

    codec: a fitted `fmtc.TensorCodec`, or the text that stands for it in the metadata.
    """

    is_fixed_size = False

    def __init__(self, codec: TensorCodec | str):
        self._codec = unpacked(codec) if isinstance(codec, str) else codec
        self._text = codec if isinstance(codec, str) else packed(codec)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Serializer:
        return cls(**data["configuration"])

    def to_dict(self) -> dict[str, Any]:
        return {"name": NAME, "configuration": {"codec": self._text}}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Serializer) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def validate(self, *, shape: tuple[int, ...], dtype: Any, chunk_grid: Any) -> None:
        """ValueError where the arrays are not of floats, or have another number of dimensions."""
        if dtype.to_native_dtype().kind != "f":
            raise ValueError(f"fmtc codes arrays of floats, not of {dtype.to_native_dtype()}")
        if len(shape) != self._codec.rank:
            raise ValueError(
                f"the codec is one of {self._codec.rank} dimensions; the array has {len(shape)}"
            )

    async def _encode_single(self, chunk_array: Any, chunk_spec: Any) -> Any:
        chunk = chunk_array.as_ndarray_like()
        data = await asyncio.to_thread(encoded, self._codec, chunk)
        return chunk_spec.prototype.buffer.from_bytes(data)

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        shape = chunk_spec.shape if self._codec.rank > 4 else None
        made = await asyncio.to_thread(decoded, self._codec, chunk_data.as_array_like(), shape)
        made = made.reshape(chunk_spec.shape).astype(chunk_spec.dtype.to_native_dtype(), copy=False)
        return chunk_spec.prototype.nd_buffer.from_ndarray_like(made)

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Zarr asks only codecs of a fixed size, and this is none."""
        raise ValueError("how long a stream is depends on what it holds: encode the chunk")
