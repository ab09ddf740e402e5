"""Bundles: the class, the operators' functions, the document's decoder and the golden bundles."""

import copy
import mmap
import pickle
import tracemalloc

import golden_bundles
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_decoder import Damaged, read_bundle
from streams import container
from test_codec import correlated

import fmtc
from fmtc import Bundle, ops
from fmtc.errors import UnknownNameError

VALID, MALFORMED = golden_bundles.load()
TWO = {"a": [b"\1", b""], "é": [b"\2\3", b"\4"]}
EXAMPLE = (  # of docs/stream_format.md
    "66 62 01 02 02 01 61 02 C3 A9 01 00 00 00 1B DF 05 A5 02 00 00 00 C7 21 E6 EA"
    "00 00 00 00 00 00 00 00 01 00 00 00 94 2B 6F D5 8A 29 D7 65 01 02 03 04"
)


def read_all(data):
    return dict(Bundle.of(data))


# -- The class ------------------------------------------------------------------------------------


def test_a_bundle_is_a_mapping_of_streams():
    bundle = Bundle(TWO)
    assert bytes(bundle) == bytes.fromhex(EXAMPLE)
    assert bundle.images == 2 and bundle.names == ("a", "é") and len(bundle) == 2
    assert (
        dict(bundle) == TWO and list(bundle) == ["a", "é"] and "a" in bundle and "b" not in bundle
    )
    assert bundle[0, "é"] == b"\2\3" and bundle[-1, "é"] == b"\4" and bundle[1, "a"] == b""
    again = Bundle.of(bytes(bundle))
    assert again == bundle and hash(again) == hash(bundle) and again != Bundle({"a": [b"\1", b""]})
    assert bundle != TWO and dict(bundle) == TWO
    assert repr(bundle) == "Bundle(2 images of 'a', 'é': 50 bytes)"
    assert Bundle({**bundle, "c": [b"", b""]}).names == ("a", "é", "c")
    for other in (copy.deepcopy(bundle), pickle.loads(pickle.dumps(bundle))):
        assert other == bundle and dict(other) == TWO


@pytest.mark.parametrize("as_buffer", [bytes, bytearray, memoryview])
def test_any_buffer_is_a_bundle(as_buffer):
    assert read_all(as_buffer(bytes.fromhex(EXAMPLE))) == TWO


def test_a_file_in_memory_is_a_bundle(tmp_path):
    path = tmp_path / "x.fmtc"
    path.write_bytes(bytes(Bundle(TWO)))
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        bundle = Bundle.of(data)
        assert dict(bundle) == TWO and bytes(bundle) == path.read_bytes()
        assert Bundle({"x": [b"1"], "y": bytes(Bundle({"": [data]}))})[0, "y"] == data[:]
        del bundle


def test_one_stream_is_read_without_the_others():
    data = bytearray(bytes(Bundle({"x": [b"first", b"second"], "y": [b"third", b"fourth"]})))
    data[data.index(b"third")] ^= 1
    bundle = Bundle.of(data)
    assert bundle[0, "x"] == b"first" and bundle[1, "y"] == b"fourth"
    with pytest.raises(fmtc.StreamError, match="image 0 of tensor 'y': the stream is damaged, or"):
        bundle[0, "y"]
    with pytest.raises(fmtc.StreamError):
        bundle["y"]


def test_what_is_not_there():
    bundle = Bundle(TWO)
    for image in (2, -3, 2**32):
        with pytest.raises(IndexError, match=f"image {image} of a bundle of 2"):
            bundle[image, "a"]
    for key in ("b", (0, "b")):
        with pytest.raises(UnknownNameError, match="unknown tensor 'b': known are a, é"):
            bundle[key]
    assert bundle.get("b") is None
    for key in (0, ("a", 0), slice(0, 2)):
        with pytest.raises(UnknownNameError, match=r"bundle\[image, name\] .* names are 'a', 'é'"):
            bundle[key]
    with pytest.raises(UnknownNameError, match="unknown tensor 'a': known are ''"):
        Bundle({"": TWO["a"]})["a"]
    with pytest.raises(TypeError):
        bundle[0.5, "a"]


@pytest.mark.parametrize(
    "tensors, message",
    [
        ({}, "different numbers of images, or there are none"),
        ({"a": [b""], "b": []}, r"different numbers of images: \{'a': 1, 'b': 0\}"),
        ({"a": b"fm and more"}, "tensor 'a': give its streams in a list"),
        ({"n" * 256: []}, "at most 255 bytes of UTF-8"),
        ({"é" * 128: []}, "at most 255 bytes of UTF-8"),
        ({"a\n": []}, "without control characters"),
        ({"\x9b": []}, "without control characters"),
        ({"\ud800": []}, "cannot be written as UTF-8"),
        ({1: []}, "the name of a tensor is a str, not 1"),
        ({str(i): [] for i in range(1025)}, "at most 1024 tensors"),
        ({"a": [torch.zeros(2, 2).numpy()]}, "not contiguous bytes"),
    ],
)
def test_what_makes_no_bundle(tensors, message):
    with pytest.raises(ValueError, match=message):
        Bundle(tensors)


def test_functions_of_the_operators():
    data = ops.make_bundle(["a", "b"], [b"1", b"2", memoryview(b"3"), bytearray(b"4")])
    reader = ops.BundleReader(data)
    assert (reader.images, reader.names) == (2, ("a", "b"))
    assert [reader.stream(i, t) for i in range(2) for t in range(2)] == [b"1", b"2", b"3", b"4"]
    for place in ((2, 0), (0, 2)):
        with pytest.raises(IndexError):
            reader.stream(*place)
    with pytest.raises(ValueError, match="different numbers of images"):
        ops.make_bundle(["a", "b"], [b"1", b"2", b"3"])
    with pytest.raises(ValueError, match="must be unique"):
        ops.make_bundle(["a", "a"], [b"1", b"2"])


# -- Codecs ---------------------------------------------------------------------------------------


def test_a_batch_is_a_bundle_of_its_images():
    x = correlated(3)
    codec = fmtc.calibrate_tensor(x)
    data, streams = codec.encode(x), codec.streams(x)
    bundle = Bundle.of(data)
    assert dict(bundle) == {"": streams} and len(data) == sum(map(len, streams)) + 10 + 8 * 3
    decoded = codec.decode(data)
    assert torch.equal(decoded, codec.simulate(x))
    in_memory = mmap.mmap(-1, len(data))
    in_memory[:] = data
    for same in (bundle, streams, tuple(streams), memoryview(data), bytearray(data), in_memory):
        assert torch.equal(codec.decode(same), decoded)
    assert torch.equal(codec.decode([bundle[1, ""]]), decoded[1:2])


def test_what_was_written_before_still_decodes():
    x = correlated(3)
    codec = fmtc.calibrate_tensor(x)
    streams, decoded = codec.streams(x), codec.simulate(x)
    assert torch.equal(codec.decode(b"".join(streams)), decoded)
    assert torch.equal(codec.decode(streams[2]), decoded[2:])
    # Such bytes do not say how many images there are.
    assert torch.equal(codec.decode(b"".join(streams[:2])), decoded[:2])
    for data in (b"", bytearray()):
        with pytest.raises(fmtc.StreamError, match="there are no bytes"):
            codec.decode(data)


def test_several_tensors_of_several_codecs():
    x, y = correlated(4), correlated(4, c=3, seed=1)
    codecs = {"x": fmtc.calibrate_tensor(x), "y": fmtc.calibrate_tensor(y, "fmtc", step=0.5)}
    bundle = Bundle({"x": codecs["x"].encode(x), "y": codecs["y"].streams(y)})
    data = bytes(bundle)
    bundle = Bundle.of(data)
    assert torch.equal(codecs["x"].decode(bundle["x"]), codecs["x"].simulate(x))
    assert torch.equal(codecs["y"].decode(bundle["y"]), codecs["y"].simulate(y))
    assert torch.equal(codecs["y"].decode([bundle[2, "y"]]), codecs["y"].simulate(y)[2:3])
    for several in (data, bundle):
        with pytest.raises(fmtc.StreamError, match=r"several tensors, 'x', 'y': decode bundle"):
            codecs["x"].decode(several)
    with pytest.raises(fmtc.StreamError, match="stream of image 0: the stream was"):
        codecs["x"].decode(bundle["y"])


def test_no_images():
    codec = fmtc.calibrate_tensor(correlated())
    data = codec.encode(correlated()[:0])
    assert Bundle.of(data).images == 0 and len(data) == 10
    assert codec.decode(data).shape == codec.decode([]).shape == (0, 6, 0, 0)


def test_a_bundle_cut_between_images_is_refused():
    codec = fmtc.calibrate_tensor(correlated())
    streams = codec.streams(correlated(3))
    data = codec.encode(correlated(3))
    for left in range(3):
        cut = data[: len(data) - sum(map(len, streams[left:]))]
        with pytest.raises(fmtc.StreamError, match="the bundle is cut off"):
            codec.decode(cut)
    with pytest.raises(fmtc.StreamError, match="bytes after the end of the bundle"):
        codec.decode(data + streams[0])


def test_streams_in_a_bundle_end_where_their_entries_do():
    codec = fmtc.calibrate_tensor(correlated())
    one, two = codec.streams(correlated(2))
    for streams in ([one + two], [one + b"\0"], [one[:-1]], [b"", one]):
        with pytest.raises(fmtc.StreamError, match="stream of image 0"):
            codec.decode(Bundle({"": streams}))


def test_damage_is_said_of_its_image():
    codec = fmtc.calibrate_tensor(correlated())
    streams = codec.streams(correlated(3))
    streams[2] = streams[2][:-1] + bytes([streams[2][-1] ^ 1])
    with pytest.raises(fmtc.StreamError, match="stream of image 2: "):
        codec.decode(streams)


# -- Hostile bytes --------------------------------------------------------------------------------


def peak_memory(call):
    """Of Python's memory while it runs, in bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(data):
    with pytest.raises(fmtc.StreamError):
        read_all(data)


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_bundles_cost_nothing(name):
    assert peak_memory(lambda: refused(MALFORMED[name].bundle)) < 200_000


def test_many_names_cost_little():
    names = [b"%0255d" % i for i in range(1023)]
    good = golden_bundles.raw(0, [*names, b"x"], [])
    assert len(Bundle.of(good).names) == 1024
    bad = golden_bundles.raw(0, [*names, names[0]], [])
    assert peak_memory(lambda: refused(bad)) < 200_000


@pytest.mark.parametrize("preset, options", [("paper", {"bits": 6}), ("fmtc", {"step": 0.5})])
def test_streams_of_other_sizes_cost_no_memory(preset, options, monkeypatch):
    """Nothing is decoded before headers are compared: K, classes, tables, block padding, shape."""
    codec = fmtc.calibrate_tensor(correlated(), preset, **options)
    called = []
    monkeypatch.setattr(type(codec.coder), "decode_unchecked", lambda *a: called.append(a))
    kind = {"huffman": 1, "rans": 2}[codec.coder.name]
    good = codec.streams(correlated(1))[0]
    most = 2**32 - 1

    def made(components=0, height=most, width=most, table_id=codec.coder.table_id, crop=(0, 0)):
        fields = table_id, components, height, width, 16, 1, *crop
        return container(kind, fields, [])

    hostile = [
        [made()],
        [made(height=2**20, width=2**20)],
        [made(0, 7, 7)],
        [made(codec.coder.components, 0, most)],
        [made(codec.coder.components, most, 0)],
        [made(codec.coder.components, 0, 0, crop=(1, 0))],
        [made(codec.coder.components, 0, 0, table_id=codec.coder.table_id ^ 1)],
        [good, made()],
    ]
    for streams in hostile:
        for data in (streams, b"".join(streams), bytes(Bundle({"": streams}))):
            with pytest.raises(fmtc.StreamError, match="image"):
                codec.decode(data)
    assert not called
    with pytest.raises(ValueError, match="not of a tensor"):
        codec.decode([good], shape=(1, 6, 9, 8))
    assert not called


# -- The other reader, and golden bundles ---------------------------------------------------------


@pytest.mark.parametrize("name", VALID)
def test_valid_bundles_are_read_and_written_again(name):
    streams, data = VALID[name]
    assert read_all(data) == read_bundle(data) == streams
    assert bytes(Bundle(streams)) == golden_bundles.container(streams) == data


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_bundles_are_refused_in_a_sentence(name):
    data, status = MALFORMED[name].bundle, MALFORMED[name].status
    with pytest.raises(Damaged) as damaged:
        read_bundle(data)
    assert damaged.value.status == status
    with pytest.raises(fmtc.StreamError, match=SENTENCES[status]):
        read_all(data)


SENTENCES = {
    1: "the bundle is cut off",
    2: "this is no bundle",
    3: "version that this library does not know",
    5: "a number in the bundle's head",
    6: "no tensors, more than 1024, or more than 2\\^24 streams",
    7: "the bundle's head is damaged",
    13: "bytes after the end of the bundle",
    23: "a tensor's name must be unique",
    24: "the stream is damaged, or another one",
}


def test_each_status_of_a_bundle_is_there():
    assert {bad.status for bad in MALFORMED.values()} == set(SENTENCES)


def both(data):
    """What both readers find in the bytes, or None where both refuse them."""
    try:
        expected = read_bundle(data)
    except Damaged:
        with pytest.raises(fmtc.StreamError):
            read_all(data)
        return None
    assert read_all(data) == expected
    return expected


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=20)


@st.composite
def bundles(draw):
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    images = draw(st.integers(0, 4))
    stream = st.binary(max_size=draw(st.sampled_from([0, 3, 300])))
    return {name: draw(st.lists(stream, min_size=images, max_size=images)) for name in names}


@settings(max_examples=150)
@given(bundles())
def test_any_streams_survive(streams):
    data = bytes(Bundle(streams))
    assert both(data) == streams and data == golden_bundles.container(streams)
    overhead = len(data) - sum(len(s) for each in streams.values() for s in each)
    names = sum(1 + len(name.encode()) for name in streams)
    assert overhead == 3 + 1 + 1 + names + 8 * sum(map(len, streams.values())) + 4


@settings(max_examples=300)
@given(bundles(), st.data())
def test_readers_agree_on_damage(streams, data):
    """Also on damage behind the checksum of the head."""
    bundle = bytearray(bytes(Bundle(streams)))
    head = len(bundle) - sum(len(s) for each in streams.values() for s in each)
    for _ in range(data.draw(st.integers(0, 3))):
        bundle[data.draw(st.integers(0, len(bundle) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        bundle[head - 4 : head] = golden_bundles.checksum(bytes(bundle[: head - 4]))
    size = data.draw(st.integers(-2, 2))
    both(bytes(bundle[: len(bundle) + min(size, 0)]) + bytes(max(size, 0)))


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_readers_agree_on_any_bytes(data):
    both(data)
    both(b"fb\1" + data)


SMALL = [name for name in VALID if len(VALID[name][1]) < 1500]


@pytest.mark.parametrize("name", SMALL)
def test_every_flipped_bit_and_every_truncation_is_noticed(name):
    data = VALID[name][1]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(fmtc.StreamError):
            read_all(flipped)
    for size in range(len(data)):
        with pytest.raises(fmtc.StreamError):
            Bundle.of(data[:size])
