"""Saved codecs: the same streams in another process, and a clear refusal of everything else."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from codec_files import description_of, parts_of, rewrite, tensors_of, write
from networks import TinyDepthwise, TinyOdd, TinyResidual, first_tensor, images, tiny
from safetensors.torch import save_file
from test_codec import correlated
from test_positions import uneven

import fmtc
from fmtc import ops
from fmtc.codec.archive import SCHEMA, Archive, checksum
from fmtc.codec.coders import coders
from fmtc.codec.prediction import MOST, OWN, WINDOW

DATA = Path(__file__).parent / "data"
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
encode = ops.encode_point
def spy(*args):
    data, used, *others = encode(*args)
    for row, size in zip(data, used.tolist()):
        digest.update(row[:size].numpy().tobytes())
    return data, used, *others
ops.encode_point = spy
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
    for said in ("config", "setting", "sides", "calibration_images", "seconds_calibrate"):
        assert getattr(loaded, said) == getattr(compressed, said)
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
    digest = hashlib.sha256()
    encode = ops.encode_point

    def spy(*args):
        data, used, *others = encode(*args)
        for row, size in zip(data, used.tolist(), strict=True):
            digest.update(row[:size].numpy().tobytes())
        return data, used, *others

    monkeypatch.setattr(ops, "encode_point", spy)
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


def test_the_bytes_of_a_file_are_the_file(saved):
    whole = saved.read_bytes()
    read, of_bytes = Archive.read(saved), Archive.of_bytes(whole)
    assert read.to_bytes() == of_bytes.to_bytes() == whole
    assert read.header == of_bytes.header and list(read.layers) == list(of_bytes.layers)
    for damaged in (whole[:-1], whole[:100], whole[1:]):
        with pytest.raises(fmtc.StorageError, match="the codec is damaged"):
            Archive.of_bytes(damaged)


@pytest.mark.parametrize("coder", coders)
def test_lane_values_are_kept_and_may_be_missing(coder, tmp_path):
    x, options = correlated(1, 9, 50, 31), {"bits": 6, "coder": coder}
    own = fmtc.calibrate_tensor(x, **options)
    codec = fmtc.calibrate_tensor(x, **options, lane_values=512)
    own.save(tmp_path / "own.safetensors")
    codec.save(tmp_path / "codec.safetensors")
    # As before there was such a setting.
    assert "lane_values" not in description_of(tmp_path / "own.safetensors")["layers"][0]
    assert description_of(tmp_path / "codec.safetensors")["layers"][0]["lane_values"] == 512
    loaded = fmtc.TensorCodec.load(tmp_path / "codec.safetensors")
    assert loaded.coder.lane_values == 512
    assert loaded.encode(x) == codec.encode(x) != own.encode(x)
    assert fmtc.TensorCodec.load(tmp_path / "own.safetensors").encode(x) == own.encode(x)
    # It is the encoder's choice alone: either reads what the other made.
    assert own.coder.table_id == codec.coder.table_id
    assert torch.equal(own.decode(codec.encode(x)), codec.decode(own.encode(x)))


@pytest.mark.parametrize("wrong", [3, -256, 131072, True, 256.0, "256", None])
def test_wrong_lane_values_are_refused(wrong, tmp_path):
    path = tmp_path / "codec.safetensors"
    fmtc.calibrate_tensor(correlated(), lane_values=256).save(path)

    def change(header, tensors):
        header["layers"][0]["lane_values"] = wrong

    rewrite(path, change)
    with pytest.raises(fmtc.StorageError, match="damaged"):
        fmtc.TensorCodec.load(path)


def test_lane_values_of_a_model_are_kept(tmp_path):
    compressed = fmtc.compress(tiny(), images(), target=fmtc.Step(0.01), lane_values=1024)
    compressed.save(tmp_path / "codec.safetensors")
    loaded = fmtc.load(tmp_path / "codec.safetensors", tiny())
    assert {codec.coder.lane_values for codec in loaded.codecs.values()} == {1024}
    assert loaded.config.lane_values == loaded.config.scheme.lane_values == 1024


# -- The model that a file is for: one that computes what the file says ----------------------------


class Scaled(TinyResidual):
    """With something that no weight and no layer shows."""

    factor = 2.0

    def forward(self, x):
        return self.factor * super().forward(x)


def test_other_weights_are_refused(saved):
    with pytest.raises(fmtc.StorageError, match="another model.* TinyResidual computes something"):
        fmtc.load(saved, tiny(seed=1))
    model = tiny()
    with torch.no_grad():
        model.classifier.bias[0] += 0.1
    with pytest.raises(fmtc.StorageError, match="another model"):
        fmtc.load(saved, model)


def test_another_network_is_refused(saved):
    for model in (tiny(TinyOdd), tiny(TinyDepthwise), tiny(lambda: TinyResidual(classes=4))):
        with pytest.raises(fmtc.StorageError, match="another model"):
            fmtc.load(saved, model)
    narrow = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3)).eval()
    with pytest.raises(fmtc.StorageError, match=r"does not take an input of shape \[3, 12, 12\]"):
        fmtc.load(saved, narrow)


def test_the_same_weights_in_another_network_are_refused(saved):
    other = tiny()
    other.relu = torch.nn.Sigmoid()
    with pytest.raises(fmtc.StorageError, match="another model"):
        fmtc.load(saved, other)


def test_another_attribute_that_changes_the_output_is_refused(tmp_path):
    path, model = tmp_path / "codec.safetensors", tiny(Scaled)
    fmtc.compress(model, images(), "paper").save(path)
    fmtc.load(path, tiny(Scaled))
    model.factor = 2.01
    with pytest.raises(fmtc.StorageError, match="another model"):
        fmtc.load(path, model)
    model.factor, model.note = 2.0, "changes nothing"
    fmtc.load(path, model)


def test_a_class_of_another_name_with_the_same_weights_loads(saved):
    class Renamed(TinyResidual):
        pass

    x, expected = images(3, seed=1), fmtc.load(saved, tiny())
    assert torch.equal(fmtc.load(saved, tiny(Renamed))(x), expected(x))


def test_a_model_that_trains_or_computes_in_double_is_the_same(saved):
    x, expected = images(3, seed=1), fmtc.load(saved, tiny())(images(3, seed=1))
    model = tiny().train()
    assert torch.equal(fmtc.load(saved, model)(x), expected) and model.training
    loaded = fmtc.load(saved, tiny().double())
    torch.testing.assert_close(loaded(x.double()).float(), expected, rtol=1e-2, atol=1e-2)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "codec.safetensors"
    fmtc.compress(tiny(), images(), "paper").save(path)
    return path


# -- What is no file of a codec --------------------------------------------------------------------


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


def without(*keys):
    def change(header, tensors):
        for key in keys[:-1]:
            header = header[key]
        header.pop(keys[-1])

    return change


def put(value, *keys):
    def change(header, tensors):
        for key in keys[:-1]:
            header = header[key]
        header[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    "change,message",
    [
        (without("kind"), "bare tensor"),
        (lambda h, t: t.pop("0.matrix.0"), "damaged"),
        (lambda h, t: t.pop("probe.output"), "damaged"),
        (lambda h, t: h["layers"].pop(), "there is no codec for layer shortcut"),
        (lambda h, t: t.update(other=t.pop("probe.output")), "no outputs of its probe"),
        (without("layers", 0, "step"), "damaged"),
        *[
            (without(key), "damaged")
            for key in "layers config setting sides probe images seconds refitted".split()
        ],
        *[(without("probe", key), "damaged") for key in ("shape", "mean", "std")],
        (put([], "probe", "shape"), "damaged.*an input of shape"),
        (put([3, 0, 12], "probe", "shape"), "damaged.*an input of shape"),
        (put([3, 12.0, 12], "probe", "shape"), "damaged.*an input of shape"),
        (put([3, 2**19, 2**19], "probe", "shape"), "damaged.*an input of shape"),
        (put(None, "probe", "shape"), "damaged"),
        (put([1, 12, 12], "probe", "shape"), "another model"),
        (put([9.0] * 3, "probe", "mean"), "another model"),
        (put("fast", "config", "mode"), "damaged.*mode must be one of"),
        (put("2,2", "config", "block"), "damaged.*expected h,w,c"),
        (put(1, "config", "exclud"), "damaged.*did you mean 'exclude'"),
        (put(None, "config", "preset", "knob"), "damaged.*the knob b or step"),
        (put(1.5, "config", "preset", "margin"), "damaged.*margin must be a share"),
        (put("zip", "config", "preset", "coder"), "not registered here: unknown coder 'zip'"),
        (put("zip", "config", "preset", "rule"), "not registered here: unknown range 'zip'"),
    ],
)
def test_damaged_descriptions_are_refused(change, message, saved, tmp_path):
    path = tmp_path / "codec.safetensors"
    path.write_bytes(saved.read_bytes())
    rewrite(path, change)
    with pytest.raises(fmtc.StorageError, match=message):
        fmtc.load(path, tiny())


@pytest.fixture(scope="module")
def saved_tensor(tmp_path_factory):
    """With all that a codec of a tensor can have."""
    path = tmp_path_factory.mktemp("saved") / "tensor.safetensors"
    codec = fmtc.calibrate_tensor(uneven(), "fmtc", step=0.7, keep_moments=True)
    assert codec.position_classes is not None and codec.coder.lane_values == 0
    codec.save(path)
    return path


def scalar(value, key):
    return lambda layer, tensors: layer.__setitem__(key, value)


def item(value, key):
    """The last value of a tensor replaced."""
    return lambda layer, tensors: tensors[key].view(-1)[-1:].fill_(value)


def own_coefficient(value):
    return lambda layer, tensors: tensors["coefficients"][-1, :OWN].fill_(value)


def with_coefficients(count):
    """So many of each component."""
    zeros = torch.zeros(4, count, dtype=torch.int16)
    return lambda layer, tensors: tensors.__setitem__("coefficients", zeros)


def shorter(key):
    return lambda layer, tensors: tensors.__setitem__(key, tensors[key][:-1].clone())


def of_type(dtype, key):
    return lambda layer, tensors: tensors.__setitem__(key, tensors[key].to(dtype))


@pytest.mark.parametrize(
    "change",
    [
        *(scalar(value, "channels") for value in (0, -1, 3, 5, 4.0, "4", None, True)),
        *(scalar(value, "groups") for value in (-1, 2)),
        *(scalar(value, "block") for value in ("1,1,2", "2,2,C", "", None)),
        *(scalar(value, "step") for value in (0.0, -1.0, float("inf"), float("nan"), "1")),
        *(scalar(value, "lo") for value in (-(2**15) - 1, 2**15, 0.5)),
        *(scalar(value, "hi") for value in (2**15, -(2**15) - 1)),
        *(scalar([[0.5, -4, 4]] * count, "each") for count in (3, 5)),
        *(scalar(value, "symbols_from") for value in (-(2**15) - 1, 2**15, 1.0)),
        *(scalar(value, "coder") for value in ("huffman", "ebpc")),
        *(scalar(-1, key) for key in ("values", "clamped", "lane_values")),
        scalar("0", "mse"),
        *(item(float("nan"), f"{key}.0") for key in ("matrix", "inverse", "mean")),
        *(shorter(f"{key}.0") for key in ("matrix", "inverse", "mean", "moment1", "moment2")),
        *(item(value, key) for value in (-1, 999) for key in ("class_of", "table_of")),
        *(shorter(key) for key in ("class_of", "table_of", "shifts", "coefficients")),
        *(item(-1, key) for key in ("counts", "histogram", "shifts")),
        item(16, "shifts"),
        *(own_coefficient(value) for value in (-MOST - 1, MOST + 1)),
        *(with_coefficients(count) for count in (2, 4, 11, OWN + WINDOW * 4)),  # four components
        *(item(value, "position_weights") for value in (-1, 2**15 + 1)),
        item(-1, "position_thresholds"),
        *(shorter(f"position_{key}") for key in ("weights", "thresholds")),
        *(of_type(torch.int32, key) for key in ("class_of", "counts", "shifts", "count.0")),
        *(of_type(torch.float32, key) for key in ("mean.0", "moment1.0", "moment2.0")),
    ],
)
def test_parts_of_a_codec_that_do_not_fit_are_refused(change, saved_tensor, tmp_path):
    path = tmp_path / "tensor.safetensors"
    path.write_bytes(saved_tensor.read_bytes())

    def changed(header, tensors):
        parts = {key.removeprefix("0."): tensors.pop(key) for key in list(tensors)}
        change(header["layers"][0], parts)
        tensors |= {f"0.{key}": part for key, part in parts.items()}

    rewrite(path, changed)
    with pytest.raises(fmtc.StorageError, match="tensor.safetensors is damaged"):
        fmtc.TensorCodec.load(path)


def test_a_coder_that_is_not_known_is_named(tmp_path):
    path = tmp_path / "codec.safetensors"
    fmtc.calibrate_tensor(correlated()).save(path)

    def change(header, tensors):
        header["layers"][0]["coder"] = "zip"

    rewrite(path, change)
    with pytest.raises(fmtc.StorageError, match="not registered here: unknown coder 'zip': known"):
        fmtc.TensorCodec.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "codec.safetensors"
    compressed = fmtc.compress(tiny(), images(), "paper")
    compressed.save(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        compressed.save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "parts, message",
    [
        ({"schema": "fmtc.codec/99"}, "has schema 'fmtc.codec/99'.*make the codec anew"),
        ({"schema": "fmtc.codec/3"}, "make the codec anew"),
        ({"schema": None}, "has schema None"),
        ({"schema": "fmtc.codec/5"}, "damaged"),
        ({"checksum": 1}, "its checksum is wrong"),
        ({"checksum": None}, "its checksum is wrong"),
        ({"description": None}, "damaged"),
        ({"description": "{}"}, "its checksum is wrong"),
    ],
)
def test_what_stands_beside_the_description_is_checked(parts, message, saved, tmp_path):
    path = tmp_path / "codec.safetensors"
    path.write_bytes(saved.read_bytes())
    rewrite(path, lambda description, tensors: None, **parts)
    with pytest.raises(fmtc.StorageError, match=message):
        fmtc.load(path, tiny())


def test_the_checksum_is_compared_before_the_description_is_read(saved, tmp_path):
    path = tmp_path / "codec.safetensors"
    nested, tensors = "[" * 20_000 + "]" * 20_000, tensors_of(saved)
    write(path, nested, tensors, checksum=1)
    with pytest.raises(fmtc.StorageError, match="checksum is wrong"):
        fmtc.load(path, tiny())
    for text in (nested, "{", "[]", "null", '"text"', ""):
        write(path, text, tensors)
        with pytest.raises(fmtc.StorageError, match="codec.safetensors is damaged"):
            fmtc.load(path, tiny())


def test_the_checksum_is_of_names_types_shapes_and_bytes():
    x = torch.arange(6, dtype=torch.int32).view(2, 3)
    others = [{"y": x}, {"x": x.view(3, 2)}, {"x": x.float()}, {"x": x.view(torch.float32)}, {}]
    others += [{"x": x + 1}, {"x": x, "y": x[:0]}]
    found = [checksum("{}", tensors) for tensors in ({"x": x}, *others)]
    found += [checksum("[]", {"x": x}), checksum("{}", {"x": x[:1], "xx": x[1:]})]
    assert len(set(found)) == len(found)


def test_files_that_are_too_large_are_refused(tmp_path):
    path = tmp_path / "codec.safetensors"
    fmtc.calibrate_tensor(correlated()).save(path)
    size = path.stat().st_size
    assert fmtc.TensorCodec.load(path, max_bytes=size)
    with pytest.raises(fmtc.StorageError, match=f"more than max_bytes = {size - 1}"):
        fmtc.TensorCodec.load(path, max_bytes=size - 1)
    with pytest.raises(fmtc.StorageError, match="more than max_bytes = 9"):
        fmtc.load(path, tiny(), max_bytes=9)


# -- Files of other versions -----------------------------------------------------------------------


def test_older_files_are_refused_in_a_sentence():
    for load in (fmtc.TensorCodec.load, lambda path: fmtc.load(path, tiny())):
        with pytest.raises(fmtc.StorageError) as error:
            load(DATA / "schema1.safetensors")
        assert str(error.value) == (
            f"{DATA / 'schema1.safetensors'} has schema 'fmtc.codec/1', this version of fmtc reads "
            "'fmtc.codec/6' and 'fmtc.codec/5': make the codec anew, with fmtc.compress or "
            "fmtc.calibrate_tensor"
        )


def digest_of_levels(codec, least: int = -3) -> str:
    """Of the streams of some levels: what they are rounded to does not depend on the machine."""
    planes = codec.quantizer.planes(codec.transform.components)
    levels = torch.from_numpy(np.random.RandomState(0).randint(least, 4, (2, planes, 9, 11)))
    levels = levels.to(torch.int16)
    data, used = codec.encode_levels(levels)
    streams = [row[:size].numpy().tobytes() for row, size in zip(data, used, strict=True)]
    return hashlib.sha256(b"".join(streams)).hexdigest()[:16]


def test_the_version_before_is_read_and_written_anew(tmp_path):
    old, new = DATA / "schema5.safetensors", tmp_path / "new.safetensors"
    codec = fmtc.TensorCodec.load(old)
    assert codec.position_classes is not None and codec.moments is not None
    assert digest_of_levels(codec) == "7ecee5bde83135dd"
    codec.save(new)
    assert parts_of(new)["schema"] == SCHEMA
    again = fmtc.TensorCodec.load(new)
    x = uneven(seed=1)
    assert again.encode(x) == codec.encode(x)
    compressed = fmtc.load(DATA / "schema5-model.safetensors", tiny())
    assert [digest_of_levels(compressed.codecs[name]) for name in ("stem", "conv2")] == [
        "ffd4f605f6c08716", "c5a96758037d1455"
    ]  # fmt: skip
    compressed.save(new)
    x = images(3, seed=1)
    assert torch.equal(fmtc.load(new, tiny())(x), compressed(x))


@pytest.mark.parametrize(
    "name, digest", [("nvfp4", "9ef1525099e2e6f7"), ("apack", "757b41fff42221ab")]
)
def test_formats_of_the_version_before(name, digest, tmp_path):
    """Of a quantiser with scales, alphabets of tables, and APack's ranges."""
    codec = fmtc.TensorCodec.load(DATA / f"schema5-{name}.safetensors")
    assert (codec.coder.alphabet_of is not None) == (name == "nvfp4")
    assert digest_of_levels(codec, 0) == digest
    codec.save(tmp_path / "new.safetensors")
    again = fmtc.TensorCodec.load(tmp_path / "new.safetensors")
    x = correlated(seed=1)
    assert again.encode(x) == codec.encode(x)
    assert torch.equal(again.decode(codec.encode(x)), codec.simulate(x))


@pytest.mark.parametrize("name", ["schema5.safetensors", "schema5-model.safetensors"])
def test_damage_of_the_version_before_is_noticed(name, tmp_path):
    path, whole = tmp_path / name, bytearray((DATA / name).read_bytes())
    whole[-100] ^= 1
    path.write_bytes(whole)
    with pytest.raises(fmtc.StorageError, match="checksum is wrong"):
        Archive.read(path)


def test_files_have_the_schema_that_is_read(tmp_path):
    fmtc.calibrate_tensor(correlated()).save(tmp_path / "tensor.safetensors")
    fmtc.compress(tiny(), images(), "paper").save(tmp_path / "model.safetensors")
    for path in tmp_path.iterdir():
        assert parts_of(path)["schema"] == SCHEMA == "fmtc.codec/6"
