"""Arrays of feature maps in Zarr: both formats, found by entry point, refused where wrong."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import fmtc

zarr = pytest.importorskip("zarr")

from fmtc.data.zarr import Compressor, Serializer, packed, unpacked  # noqa: E402

SHAPE, CHUNKS, STEP = (11, 6, 9, 7), (4, 6, 9, 7), 0.05


@pytest.fixture(scope="module")
def maps() -> torch.Tensor:
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)).cumsum(3)
    return x + x[:, :1]


@pytest.fixture(scope="module")
def codec(maps: torch.Tensor) -> fmtc.TensorCodec:
    return fmtc.calibrate_tensor(maps, "fmtc", step=STEP)


def test_the_order_of_fortran_is_refused(tmp_path, codec, maps):
    array = stored(tmp_path / "a.zarr", codec, 2, order="F")
    with pytest.raises(ValueError, match="order='C'"):
        array[:] = maps.numpy()


def stored(path, codec, version: int, **options):
    options = {"shape": SHAPE, "chunks": CHUNKS, "dtype": "float32", **options}
    own = {"serializer": Serializer(codec), "compressors": None}
    how = own if version == 3 else {"compressors": Compressor(codec, options["dtype"])}
    return zarr.create_array(path, zarr_format=version, **how, **options)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_what_is_read_is_what_the_codec_decodes(tmp_path, maps, codec, version, dtype):
    """Chunk by chunk, the last one filled up; who opens the array knows nothing of the codec."""
    given = maps.numpy().astype(dtype)
    stored(tmp_path / "a.zarr", codec, version, dtype=dtype)[:] = given
    opened = zarr.open_array(tmp_path / "a.zarr", mode="r")
    expected = codec.decode(codec.encode(torch.from_numpy(given).float())).numpy().astype(dtype)
    np.testing.assert_array_equal(opened[:], expected)
    np.testing.assert_array_equal(opened[5:7, 2], expected[5:7, 2])
    assert opened.dtype == dtype


def test_arrays_of_more_dimensions(tmp_path, maps):
    volumes = maps.reshape(*maps.shape[:2], 3, 3, maps.shape[3])
    codec = fmtc.calibrate_tensor(volumes, "fmtc", step=0.05)
    array = zarr.create_array(
        tmp_path / "maps.zarr", shape=volumes.shape, chunks=(3, *volumes.shape[1:]),
        dtype="float32", serializer=Serializer(codec), compressors=None,
    )  # fmt: skip
    array[:] = volumes.numpy()
    np.testing.assert_array_equal(
        zarr.open_array(tmp_path / "maps.zarr")[:], codec.simulate(volumes)
    )
    with pytest.raises(ValueError, match="codec is one of 5 dimensions.* in format 3"):
        Compressor(codec)


def test_codec_as_text(codec, maps):
    again = unpacked(packed(codec))
    assert again.encode(maps) == codec.encode(maps)
    assert Serializer(codec) == Serializer(packed(codec))
    for text in ("", "not base64!", packed(codec)[:-8]):
        with pytest.raises(fmtc.StorageError, match="codec in the array's metadata"):
            unpacked(text)


def test_damaged_chunk_is_refused(tmp_path, maps, codec):
    stored(tmp_path / "a.zarr", codec, 3)[:] = maps.numpy()
    chunk = tmp_path / "a.zarr" / "c" / "1" / "0" / "0" / "0"
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 1
    chunk.write_bytes(data)
    opened = zarr.open_array(tmp_path / "a.zarr", mode="r")
    assert opened[:4].shape == CHUNKS
    with pytest.raises(fmtc.StreamError):
        opened[4:5]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"dtype": "int16"}, "arrays of floats, not of int16"),
        ({"shape": (9, 6, 9), "chunks": (3, 6, 9)}, "4 dimensions; the array has 3"),
    ],
)
def test_what_it_cannot_hold_is_refused(tmp_path, codec, options, message):
    with pytest.raises(ValueError, match=message):
        stored(tmp_path / "a.zarr", codec, 3, **options)


def test_compressor_of_another_dtype(codec, maps):
    with pytest.raises(ValueError, match="one of float16, the array of float32"):
        Compressor(codec, "float16").encode(maps.numpy())


def test_metadata_is_json(tmp_path, maps, codec):
    stored(tmp_path / "a.zarr", codec, 3)[:] = maps.numpy()
    [only] = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())["codecs"]
    assert only["name"] == "fmtc" and unpacked(only["configuration"]["codec"]).channels == SHAPE[1]
