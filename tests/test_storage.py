"""Saved codecs: the same streams in another process, and a clear refusal of everything else."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from networks import TinyDepthwise, TinyOdd, TinyResidual, images, tiny
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_codec import correlated

import fmtc
from fmtc import ops
from fmtc.codec.coders import CODERS
from fmtc.evaluation.evaluate import first_tensor
from fmtc.model.storage import _checksum

KINDS = {kind.__name__: kind for kind in (TinyResidual, TinyDepthwise, TinyOdd)}

STREAMS = """
import hashlib, sys
import torch
sys.path.insert(0, {tests!r})
import networks
import fmtc
from fmtc import ops
torch.set_num_threads({threads})
digest = hashlib.sha256()
encode = ops.huffman_encode
def spy(*args):
    data, used = encode(*args)
    for row, size in zip(data, used.tolist()):
        digest.update(row[:size].numpy().tobytes())
    return data, used
ops.huffman_encode = spy
compressed = fmtc.load({path!r}, networks.tiny(getattr(networks, {kind!r})))
compressed(networks.images(3, seed=1))
print(digest.hexdigest())
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", ["1,1,C", "2,2,3"])
def test_streams_are_the_same_in_a_fresh_process(kind, block, tmp_path, monkeypatch, request):
    model = tiny(KINDS[kind])
    compressed = fmtc.compress(
        model, images(), "paper", bits=6, block=block, exclude=[_second(model)]
    )
    path = tmp_path / "codec.safetensors"
    compressed.save(path)
    loaded = fmtc.load(path, model)
    x = images(3, seed=1)
    expected = first_tensor(compressed(x))
    assert torch.equal(first_tensor(loaded(x)), expected)
    assert loaded.report().to_dict() == compressed.report().to_dict()
    assert loaded.settings == compressed.settings
    code = STREAMS.format(
        tests=str(request.path.parent), threads=torch.get_num_threads(), path=str(path), kind=kind
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == _digest(compressed, x, monkeypatch)


def _second(model):
    """A layer to leave out."""
    return {"TinyResidual": "shortcut", "TinyDepthwise": "stem", "TinyOdd": "twice"}[
        type(model).__name__
    ]


def _digest(compressed, x, monkeypatch):
    import hashlib

    digest = hashlib.sha256()
    encode = ops.huffman_encode

    def spy(*args):
        data, used = encode(*args)
        for row, size in zip(data, used.tolist(), strict=True):
            digest.update(row[:size].numpy().tobytes())
        return data, used

    monkeypatch.setattr(ops, "huffman_encode", spy)
    compressed(x)
    return digest.hexdigest()


def test_tensor_codec_round_trip(tmp_path):
    x = correlated()
    codec = fmtc.calibrate_tensor(x, bits=7, block="2,2,C", keep_moments=True)
    codec.save(tmp_path / "codec.safetensors")
    loaded = fmtc.TensorCodec.load(tmp_path / "codec.safetensors")
    assert loaded.encode(x) == codec.encode(x)
    assert torch.equal(loaded.decode(codec.encode(x)), codec.decode(codec.encode(x)))
    more = fmtc.calibrate_tensor(correlated(seed=1), bits=7, block="2,2,C", start=loaded)
    assert more.encode(x) != codec.encode(x)


@pytest.mark.parametrize("coder", CODERS)
def test_lane_values_are_kept_and_may_be_missing(coder, tmp_path):
    x, options = correlated(1, 9, 50, 31), {"bits": 6, "coder": coder}
    own = fmtc.calibrate_tensor(x, **options)
    codec = fmtc.calibrate_tensor(x, **options, lane_values=512)
    own.save(tmp_path / "own.safetensors")
    codec.save(tmp_path / "codec.safetensors")
    # As before there was such a setting.
    assert "lane_values" not in _header(tmp_path / "own.safetensors")["layers"][0]
    assert _header(tmp_path / "codec.safetensors")["layers"][0]["lane_values"] == 512
    loaded = fmtc.TensorCodec.load(tmp_path / "codec.safetensors")
    assert loaded.tables.lane_values == 512
    assert loaded.encode(x) == codec.encode(x) != own.encode(x)
    assert fmtc.TensorCodec.load(tmp_path / "own.safetensors").encode(x) == own.encode(x)
    # It is the encoder's choice alone: either reads what the other made.
    assert own.tables.table_id == codec.tables.table_id
    assert torch.equal(own.decode(codec.encode(x)), codec.decode(own.encode(x)))


@pytest.mark.parametrize("wrong", [3, -256, 131072, True, 256.0, "256", None])
def test_wrong_lane_values_are_refused(wrong, tmp_path):
    path = tmp_path / "codec.safetensors"
    fmtc.calibrate_tensor(correlated(), lane_values=256).save(path)

    def change(header, tensors):
        header["layers"][0]["lane_values"] = wrong
        header["checksum"] = _checksum(tensors, header["layers"])

    rewrite(path, change)
    with pytest.raises(fmtc.StorageError, match="damaged"):
        fmtc.TensorCodec.load(path)


def test_lane_values_of_a_model_are_kept(tmp_path):
    compressed = fmtc.compress(tiny(), images(), target=fmtc.Step(0.01), lane_values=1024)
    compressed.save(tmp_path / "codec.safetensors")
    loaded = fmtc.load(tmp_path / "codec.safetensors", tiny())
    assert {codec.tables.lane_values for codec in loaded.codecs.values()} == {1024}
    assert loaded.settings["preset"]["lane_values"] == 1024


def test_another_model_is_refused(tmp_path):
    fmtc.compress(tiny(), images(), "paper").save(tmp_path / "codec.safetensors")
    with pytest.raises(fmtc.StorageError, match="another model"):
        fmtc.load(tmp_path / "codec.safetensors", tiny(seed=1))
    with pytest.raises(fmtc.StorageError, match="another model"):
        fmtc.load(tmp_path / "codec.safetensors", tiny(TinyOdd))


def test_the_same_weights_in_another_network_are_refused(tmp_path):
    model = tiny()
    fmtc.compress(model, images(), "paper").save(tmp_path / "codec.safetensors")
    other = tiny()
    other.relu = torch.nn.Sigmoid()
    with pytest.raises(fmtc.StorageError, match="another model"):
        fmtc.load(tmp_path / "codec.safetensors", other)


def test_a_flipped_byte_in_the_tensors_is_noticed(tmp_path):
    path = tmp_path / "codec.safetensors"
    fmtc.compress(tiny(), images(), "paper").save(path)
    whole = bytearray(path.read_bytes())
    whole[-100] ^= 1
    path.write_bytes(whole)
    with pytest.raises(fmtc.StorageError, match="checksum"):
        fmtc.load(path, tiny())


def test_kinds_are_not_mixed_up(tmp_path):
    fmtc.compress(tiny(), images(), "paper").save(tmp_path / "model.safetensors")
    fmtc.calibrate_tensor(correlated()).save(tmp_path / "tensor.safetensors")
    with pytest.raises(fmtc.StorageError, match="fmtc.load"):
        fmtc.TensorCodec.load(tmp_path / "model.safetensors")
    with pytest.raises(fmtc.StorageError, match="TensorCodec.load"):
        fmtc.load(tmp_path / "tensor.safetensors", tiny())


def test_unreadable_files_are_refused(tmp_path):
    path = tmp_path / "codec.safetensors"
    with pytest.raises(fmtc.StorageError, match="does not exist"):
        fmtc.load(path, tiny())
    path.write_bytes(b"not a codec")
    with pytest.raises(fmtc.StorageError, match="not a readable safetensors"):
        fmtc.load(path, tiny())
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(fmtc.StorageError, match="not one that fmtc saved"):
        fmtc.load(path, tiny())
    fmtc.compress(tiny(), images(), "paper").save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(fmtc.StorageError):
        fmtc.load(path, tiny())


def rewrite(path, change):
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["fmtc"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    change(header, tensors)
    save_file(tensors, path, metadata={"fmtc": json.dumps(header)})


@pytest.mark.parametrize(
    "change,message",
    [
        (lambda h, t: h.update(schema="fmtc.codec/99"), "fmtc.codec/99"),
        (lambda h, t: t.pop("0.matrix.0"), "damaged"),
        (lambda h, t: h.pop("layers"), "damaged"),
        (lambda h, t: h["layers"].pop(), "damaged"),
        (lambda h, t: h["layers"][0].pop("step"), "damaged"),
    ],
)
def test_damaged_headers_are_refused(change, message, tmp_path):
    path = tmp_path / "codec.safetensors"
    fmtc.compress(tiny(), images(), "paper").save(path)
    rewrite(path, change)
    with pytest.raises(fmtc.StorageError, match=message):
        fmtc.load(path, tiny())


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "codec.safetensors"
    compressed = fmtc.compress(tiny(), images(), "paper")
    compressed.save(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        compressed.save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# Written at commit 5f574ca: correlated(2) at 5 bits, and tiny() calibrated on images(4) at 3 bits
# without conv1 and conv2; and the levels that they gave for the tensors beside them.
OLD = Path(__file__).parent / "data"


def assert_same_levels(codec, x, expected):
    """A level or two may tip over where the arithmetic rounds otherwise."""
    levels, _ = codec.quantizer.quantize(codec.forward(x))
    assert levels.shape == expected.shape
    assert (levels != expected).sum() <= 2 and (levels - expected).abs().max() <= 1
    assert torch.equal(codec.decode(codec.encode(x)), codec.simulate(x))


def test_a_tensor_codec_of_schema_1_still_codes_the_same_levels(tmp_path):
    codec = fmtc.TensorCodec.load(OLD / "schema1_tensor.safetensors")
    known = load_file(OLD / "schema1_levels.safetensors")
    assert_same_levels(codec, known["tensor.x"], known["tensor.levels"])
    assert codec.tables.coder == "huffman" and not codec.symbol_map.predicts
    codec.save(tmp_path / "codec.safetensors")
    again = fmtc.TensorCodec.load(tmp_path / "codec.safetensors")
    assert again.encode(known["tensor.x"]) == codec.encode(known["tensor.x"])


def test_a_model_of_schema_1_still_loads(monkeypatch):
    path, model = OLD / "schema1_model.safetensors", tiny()
    header = _header(path)
    assert header["schema"] == "fmtc.codec/1"
    # A fingerprint holds repr(model), which other versions of torch may write otherwise.
    monkeypatch.setattr("fmtc.model.storage.fingerprint", lambda _: header["fingerprint"])
    compressed = fmtc.load(path, model)
    known = load_file(OLD / "schema1_levels.safetensors")
    assert_same_levels(compressed.codecs["stem"], known["model.x"], known["model.levels"])
    assert compressed.codecs["conv1"].bits == 8 and compressed.preset == "paper"
    compressed.mode = "stream"
    got = compressed(images(2, seed=1))
    assert float((got - known["output"]).norm() / known["output"].norm()) < 1e-2
    point = fmtc.evaluate(compressed, images(2, seed=1))
    assert point["setting"] == {"kind": "b", "value": 3}


# Written at commit 96b895e, before classes of positions: correlated(2) with channel 0 times 30 at
# step 1.2, and tiny() calibrated on images(4) at step 0.01 without conv1, both with preset fmtc;
# what they made of the tensor beside them, and the network's output for images(2, seed=1).
def test_a_tensor_codec_of_schema_2_still_makes_the_same_streams(tmp_path):
    path = OLD / "schema2_tensor.safetensors"
    assert _header(path)["schema"] == "fmtc.codec/2"
    codec = fmtc.TensorCodec.load(path)
    known = load_file(OLD / "schema2_known.safetensors")
    assert codec.tables.coder == "rans" and codec.position_classes is None
    assert codec.symbol_map.predicts and len(codec.symbol_map.split) == 1
    stream = known["tensor.stream"].numpy().tobytes()
    levels = known["tensor.levels"]
    made, used = codec.encode_levels(levels)
    assert b"".join(row[:n].numpy().tobytes() for row, n in zip(made, used, strict=True)) == stream
    assert torch.equal(codec.decode_levels(made, used, *levels.shape[2:]), levels)
    decoded = codec.dequantize(levels)
    assert torch.equal(codec.decode(stream), decoded)
    torch.testing.assert_close(decoded, codec.inverse(codec.quantizer.dequantize(levels)))
    assert_same_levels(codec, known["tensor.x"], levels)
    codec.save(tmp_path / "codec.safetensors")
    assert _header(tmp_path / "codec.safetensors")["schema"] == "fmtc.codec/3"
    again = fmtc.TensorCodec.load(tmp_path / "codec.safetensors")
    assert torch.equal(again.decode(stream), decoded)
    assert again.encode(known["tensor.x"]) == codec.encode(known["tensor.x"])


def test_a_model_of_schema_2_still_loads(monkeypatch):
    path = OLD / "schema2_model.safetensors"
    header = _header(path)
    assert header["schema"] == "fmtc.codec/2"
    monkeypatch.setattr("fmtc.model.storage.fingerprint", lambda _: header["fingerprint"])
    compressed = fmtc.load(path, tiny())
    assert compressed.preset == "fmtc" and compressed.mode == "stream"
    assert compressed.codecs["conv1"].bits == 8
    coded = [compressed.codecs[name] for name in ("stem", "conv2", "shortcut")]
    assert all(codec.position_classes is None for codec in coded)
    known = load_file(OLD / "schema2_known.safetensors")["output"]
    x = images(2, seed=1)
    got = compressed(x)
    assert float((got - known).norm() / known.norm()) < 1e-2
    compressed.mode = "simulate"
    assert torch.equal(compressed(x), got)


def _header(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["fmtc"])
