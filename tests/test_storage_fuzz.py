"""Saved codecs with any damage, also behind their checksums: refused, or a codec that works."""

import json
import random
import struct

import pytest
import torch
from codec_files import description_of, tensors_of, write
from networks import images, tiny
from test_codec import correlated

import fmtc
from fmtc.codec.coders import coders
from fmtc.errors import StreamError

X = correlated()
SETTINGS = {
    "paper": {"bits": 6, "block": "2,2,C", "keep_moments": True},
    "fmtc": {"step": 0.3},
    "ebpc": {"bits": 8, "lane_values": 512},
    "nvfp4-vlc": {},
    "int4-token": {},
    "apack": {},
}


@pytest.fixture(scope="module", params=SETTINGS)
def saved(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "codec.safetensors"
    preset = request.param
    fmtc.calibrate_tensor(X, preset=preset, **SETTINGS[preset]).save(path)
    return path


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "model.safetensors"
    fmtc.compress(tiny(), images(), "paper").save(path)
    return path


# -- Damage ---------------------------------------------------------------------------------------

NUMBERS = [0, 1, -1, 2, 3, 7, 255, 4096, -32769, 2**15, 2**31, 2**62, 2**64, 10**30]
SCALARS = [None, True, "", "C", "0,0,0", "2,2,C", [], {}, 0.5, -1.0, float("nan"), float("inf")]
DTYPES = [torch.uint8, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64]


def damage_bytes(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    kind = rng.randrange(4)
    # Half of the damage hits what says where everything is.
    end = len(changed) if rng.random() < 0.5 else 8 + struct.unpack_from("<Q", data)[0]
    for _ in range(rng.choice([1, 1, 2, 8])):
        at = rng.randrange(min(end, len(changed)))
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at] = rng.randrange(256)
        elif kind == 2:
            changed[at : at + rng.randrange(1, 9)] = rng.randbytes(rng.randrange(9))
        else:
            del changed[at:]
            break
        if not changed:
            break
    return bytes(changed)


def damage_json(value, rng: random.Random):
    """The value with one of its parts, at any depth, replaced, missing, or there twice."""
    if isinstance(value, dict | list) and value and rng.random() < 0.9:
        copy = value.copy()
        key = rng.choice(list(copy)) if isinstance(copy, dict) else rng.randrange(len(copy))
        if rng.random() < 0.1:
            del copy[key]
        elif isinstance(copy, list) and rng.random() < 0.1:
            copy.append(copy[key])
        else:
            copy[key] = damage_json(copy[key], rng)
        return copy
    if type(value) in (int, float) and rng.random() < 0.3:
        return value + rng.choice([-1, 1])
    return rng.choice(NUMBERS + SCALARS + list(coders))


def damage_tensor(tensor: torch.Tensor, rng: random.Random) -> torch.Tensor:
    kind = rng.randrange(5)
    if kind == 0:
        return tensor.to(rng.choice(DTYPES))
    if kind == 1:
        return tensor[None] if rng.random() < 0.5 else tensor.flatten()
    if kind == 2 and tensor.dim():
        dim = rng.randrange(tensor.dim())
        return tensor.narrow(dim, 0, min(tensor.shape[dim], rng.randrange(2))).clone()
    if kind == 3 and tensor.dim():
        return torch.cat([tensor, tensor])
    changed = tensor.clone().flatten()
    if len(changed):
        special = [0, 1, -1, 255]
        if tensor.is_floating_point():
            special += [float("nan"), float("inf"), 1e30]
        else:
            special += [torch.iinfo(tensor.dtype).max, torch.iinfo(tensor.dtype).min]
        changed[rng.randrange(len(changed))] = rng.choice(special)
    return changed.view(tensor.shape)


def damage_contents(path, rng: random.Random, to) -> None:
    """Description or tensors changed, and a checksum that fits."""
    description, tensors = description_of(path), tensors_of(path)
    for _ in range(rng.choice([1, 1, 1, 2])):
        kind = rng.randrange(4)
        if kind == 0:
            description = damage_json(description, rng)
        elif kind == 1 and isinstance(description, dict) and "layers" in description:
            description["layers"] = damage_json(description["layers"], rng)
        elif kind == 2:
            tensors.pop(rng.choice(list(tensors)), None)
        else:
            name = rng.choice(list(tensors))
            tensors[name] = damage_tensor(tensors[name], rng)
    write(to, json.dumps(description), {k: v.contiguous() for k, v in tensors.items()})


# -- What comes of it -----------------------------------------------------------------------------


def load(path):
    """The codec, None where it is refused. Nothing else may be raised."""
    try:
        return fmtc.TensorCodec.load(path)
    except fmtc.StorageError:
        return None


def expect_works(codec):
    """It codes tensors of its channels and rank; but for levels that have no code in its tables."""
    x = X[:1, :1].repeat(1, codec.channels, 1, 1)
    if codec.rank != 4 or codec.layout.channels != 1:
        shape = [1, *range(2, codec.rank + 1)]
        shape[codec.layout.channels] = codec.channels
        x = torch.zeros(shape)
    try:
        data = codec.encode(x)
    except RuntimeError as error:
        assert codec.coder.name != "rans" and "level" in str(error)
        return
    assert codec.decode(data, x.shape).shape == x.shape
    with pytest.raises(StreamError):
        codec.decode(data[:-1], x.shape)


def loads_of_damage(path, damaged, count, seed):
    """How many of so many damaged files still load."""
    rng, loaded = random.Random(seed), 0
    for _ in range(count):
        damaged(rng, path)
        codec = load(path)
        if codec is not None:
            expect_works(codec)
            loaded += 1
    return loaded


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_any_bytes(saved, tmp_path, seed):
    data = saved.read_bytes()
    path = tmp_path / "codec.safetensors"
    # What no checksum covers is the order of the tensors and the spelling of the header.
    damaged = lambda rng, to: to.write_bytes(damage_bytes(data, rng))  # noqa: E731
    assert loads_of_damage(path, damaged, 1000, seed) < 100


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_any_contents_with_a_right_checksum(saved, tmp_path, seed):
    path = tmp_path / "codec.safetensors"
    loaded = loads_of_damage(path, lambda rng, to: damage_contents(saved, rng, to), 500, seed)
    assert 0 < loaded < 250


@pytest.mark.slow
def test_any_contents_of_a_model(saved_model, tmp_path):
    path, rng, loaded = tmp_path / "model.safetensors", random.Random(0), 0
    data = saved_model.read_bytes()
    for i in range(150):
        if i % 3 == 0:
            path.write_bytes(damage_bytes(data, rng))
        else:
            damage_contents(saved_model, rng, path)
        try:
            fmtc.load(path, tiny())
            loaded += 1
        except fmtc.StorageError:
            pass
    assert 0 < loaded < 100
