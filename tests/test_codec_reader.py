"""The reader that was written from docs/codec_format.md agrees with Python's on any codec."""

from __future__ import annotations

import codec_reader
import numpy as np
import pytest
import torch
from conformance import FOLDER
from networks import images, tiny
from test_codec_program import CODECS, make

import fmtc
from fmtc import ops
from fmtc.codec.coders import Rans
from fmtc.codec.transform import Identity

NAMES = [name for name in CODECS if not name.startswith("many")]


def check(codec: fmtc.TensorCodec, layer: codec_reader.Layer, x: torch.Tensor) -> None:
    assert layer.codec.table_id == codec.coder.table_id
    if isinstance(codec.coder, Rans):
        assert np.array_equal(layer.codec.frequencies, codec.coder.frequencies)
    for image in x:
        [stream] = codec.streams(image[None])
        decoded = codec.decode([stream])[0].numpy()
        got = layer.decode(stream)
        assert got.dtype == np.float32 and got.shape == decoded.shape
        exact = isinstance(codec.transform, Identity) and "frequencies" not in layer.tensors
        tolerance = 0 if exact else 1e-5 * np.abs(decoded).max()
        np.testing.assert_allclose(got, decoded, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_streams_of_every_preset(name, tmp_path):
    preset, block, make_samples = CODECS[name]
    codec = make(preset, block, make_samples())
    codec.save(tmp_path / "codec.safetensors")
    read = codec_reader.layers((tmp_path / "codec.safetensors").read_bytes())
    check(codec, read["tensor"], make_samples(seed=3)[:2])


def test_a_coder_of_equal_lengths(tmp_path):
    codec = fmtc.calibrate_tensor(CODECS["paper"][2](), "paper", bits=5, coder="fixed")
    codec.save(tmp_path / "codec.safetensors")
    read = codec_reader.layers((tmp_path / "codec.safetensors").read_bytes())
    check(codec, read["tensor"], CODECS["paper"][2](seed=3)[:1])


def test_layers_of_a_network(tmp_path):
    compressed = fmtc.compress(tiny(), images(), target=fmtc.Step(0.01), exclude=["conv1"])
    compressed.save(tmp_path / "codec.safetensors")
    read = codec_reader.layers((tmp_path / "codec.safetensors").read_bytes())
    assert set(read) == set(compressed.codecs) - {"conv1"}
    torch.manual_seed(0)
    for name, layer in read.items():
        codec = compressed.codecs[name]
        check(codec, layer, torch.randn(1, codec.channels, 5, 6))


@pytest.mark.parametrize(
    "path", sorted((FOLDER / "codec").glob("good-*")), ids=lambda path: path.stem
)
def test_conformance_files(path):
    codec = fmtc.TensorCodec.load(path)
    torch.manual_seed(0)
    check(codec, codec_reader.layers(path.read_bytes())["tensor"], torch.randn(1, 4, 5, 6))


@pytest.mark.parametrize("levels", [1, 2, 3, 16, 100, 255, 256, 400])
def test_tables_of_any_counts(levels):
    generator = np.random.default_rng(levels)
    for steep in (0.0, 0.5, 3.0):
        counts = np.exp(steep * generator.standard_normal(levels)).round().astype(np.int64) * 64 + 1
        counts[generator.random(levels) < 0.2] *= 1000
        frequencies = ops.apack_frequencies(torch.from_numpy(counts)[None], 12)[0]
        assert codec_reader.apack_frequencies(counts.tolist()) == tuple(frequencies.tolist())
        outside = generator.random(levels) < 0.3
        counts[outside & (np.arange(levels) > 0)] = 0
        longest = min(15, int(np.ceil(np.log2(max(levels, 2)))) + 6)
        lengths = ops.huffman_lengths(torch.from_numpy(counts)[None], longest)[0]
        assert codec_reader.huffman_lengths(counts.tolist()) == tuple(lengths.tolist())


def test_wrong_checksums_are_noticed():
    for name in ("bad-checksum", "bad-flipped-tensor", "bad-flipped-type", "bad-other-shape"):
        with pytest.raises(ValueError, match="checksum is wrong"):
            codec_reader.layers((FOLDER / "codec" / f"{name}.safetensors").read_bytes())
