"""fmtc_codec, the C++ program, beside Python: each makes and reads what the other does."""

from __future__ import annotations

import re
import resource
import subprocess
from dataclasses import replace
from pathlib import Path

import golden_bundles
import numpy as np
import pytest
import streams
import torch
import torch.nn.functional as F
from codec_files import rewrite
from networks import images, tiny
from safetensors.torch import load_file, save_file
from streams import RANS, crc32c, split
from test_codec import correlated
from test_positions import uneven

import fmtc
from fmtc import ops
from fmtc.calibration.fit import Fit, Knob
from fmtc.codec.block import Block
from fmtc.codec.frequencies import FrequencyQuantizer
from fmtc.presets import PRESETS

DATA = Path(__file__).parent / "data"


@pytest.fixture(scope="module")
def program(build_tree) -> Path:
    path = build_tree / "csrc" / "codec" / "fmtc_codec"
    if not path.exists():
        pytest.skip(
            "fmtc_codec was not built: `make build-programs`, with nlohmann-json3-dev, "
            "libcli11-dev and zlib1g-dev"
        )
    return path


@pytest.fixture
def start(program, tmp_path):
    """Runs the program in a folder of its own."""

    def call(*arguments) -> subprocess.CompletedProcess:
        command = [program, *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    return call


@pytest.fixture
def run(start):
    """Runs the program, which must succeed or say what is wrong; returns what it prints."""

    def call(*arguments, error: str | None = None) -> str:
        done = start(*arguments)
        if error is None:
            assert done.returncode == 0, done.stderr
            return done.stdout
        assert done.returncode == 2 and re.search(error, done.stderr), done
        assert done.stderr.startswith("fmtc_codec: ")
        return done.stderr

    return call


def wide(n=2, seed=0):
    """One channel with levels that a table of 255 symbols does not hold."""
    x = correlated(n, seed=seed)
    x[:, 0] *= 30
    return x


def smooth(n=2, seed=0):
    """Of 9 channels, 13 x 11 positions that are like their neighbours."""
    return F.avg_pool2d(correlated(n, 9, 17, 15, seed=seed), 5, stride=1) * 5


def make_of_frequencies(size, samples, lane_values=None):
    """A codec of blocks of size x size positions, whose fine structure does not matter."""
    costs = torch.arange(1, size * size + 1, dtype=torch.float64) ** -3
    preset = replace(PRESETS["fmtc"], **({"lane_values": lane_values} if lane_values else {}))
    codec = Fit(preset, Block(), Knob(step=0.5, frequencies={size: costs}))([samples])
    assert isinstance(codec.quantizer, FrequencyQuantizer) and codec.quantizer.size == size
    return codec


def make(preset, block, samples, **options):
    if preset.startswith("frequencies"):
        return make_of_frequencies(int(preset[-1]), samples, **options)
    knob = {"step": 0.5} if PRESETS[preset].knob == "step" else {"bits": None}
    if knob == {"bits": None} and PRESETS[preset].allows(6):
        knob = {"bits": 6}
    return fmtc.calibrate_tensor(samples, preset, block=block, **knob, **options)


PIXEL = "1,1,C"
CODECS = {
    **{name: (name, PIXEL, correlated) for name in PRESETS},
    **{f"paper {block}": ("paper", block, correlated) for block in ("2,2,3", "3,5,2", "1,8,C")},
    **{f"frequencies {size}": (f"frequencies {size}", PIXEL, smooth) for size in (2, 4)},
    "split symbols": ("fmtc", PIXEL, wide),
    "classes of positions": ("fmtc", PIXEL, uneven),
    "many chunks": ("paper", PIXEL, lambda seed=0: correlated(1, 9, 150, 131, seed=seed)),
    "many rans chunks": ("fmtc", PIXEL, lambda seed=0: correlated(1, 9, 150, 131, seed=seed)),
}


LANE_VALUES = {"paper": 256, "ebpc": 1024, "many chunks": 1024, "many rans chunks": 512}


@pytest.fixture(params=[*CODECS, *(f"{name}, short lanes" for name in LANE_VALUES)])
def case(request):
    name, *short = request.param.split(", short")
    preset, block, make_samples = CODECS[name]
    codec = make(preset, block, make_samples(), lane_values=LANE_VALUES[name] if short else None)
    if request.param == "split symbols":
        assert len(codec.symbol_map.split)
    if request.param == "classes of positions":
        assert codec.position_classes is not None
    return codec, make_samples(seed=3)


def levels_of(codec, x):
    levels, _ = codec.quantizer.quantize(codec.forward(x))
    return levels, codec.tile.crop(*x.shape[2:])


def test_python_and_the_program_read_each_others_streams(case, run, tmp_path):
    codec, x = case
    codec.save(tmp_path / "codec.safetensors")
    np.save(tmp_path / "x.npy", x.numpy())
    levels, _ = levels_of(codec, x)
    bundle = codec.encode(x)

    # Python's bundle, decoded here: the same levels; the tensor up to the rounding of float32 sums.
    (tmp_path / "python.fmtc").write_bytes(bundle)
    run("decode", "codec.safetensors", "python.fmtc", "levels.npy", "--levels")
    assert np.array_equal(np.load(tmp_path / "levels.npy"), levels.numpy())
    run("decode", "codec.safetensors", "python.fmtc", "y.npy")
    decoded = codec.decode(bundle).numpy()
    got = np.load(tmp_path / "y.npy")
    assert got.dtype == np.float32 and got.shape == decoded.shape
    np.testing.assert_allclose(got, decoded, rtol=0, atol=1e-5 * np.abs(decoded).max())

    # A bundle made here, decoded by Python: levels differ by 1, and only where rounding decides.
    run("encode", "codec.safetensors", "x.npy", "x.fmtc")
    made = (tmp_path / "x.fmtc").read_bytes()
    again = codec.decode(made)
    assert again.shape == x.shape
    run("decode", "codec.safetensors", "x.fmtc", "again.npy", "--levels")
    difference = np.abs(np.load(tmp_path / "again.npy").astype(int) - levels.numpy())
    assert difference.max() <= 1 and (difference != 0).sum() <= 1 + levels.numel() // 10_000
    if not difference.any():
        assert made == bundle


def test_equal_levels_give_equal_bytes(case, run, tmp_path):
    codec, x = case
    codec.save(tmp_path / "codec.safetensors")
    levels, _ = levels_of(codec, x)
    np.save(tmp_path / "levels.npy", levels.numpy())
    run("encode", "codec.safetensors", "levels.npy", "levels.fmtc")
    rows = zip(*codec.encode_levels(levels), strict=True)
    expected = fmtc.Bundle({"": [row[:n].numpy().tobytes() for row, n in rows]})
    assert (tmp_path / "levels.fmtc").read_bytes() == bytes(expected)


def test_layers_of_a_network(run, tmp_path):
    compressed = fmtc.compress(tiny(), images(), target=fmtc.Step(0.01), exclude=["conv1"])
    compressed.save(tmp_path / "codec.safetensors")
    for name in ("stem", "conv2"):
        codec = compressed.codecs[name]
        x = torch.randn(2, codec.channels, 5, 6)
        (tmp_path / "x.fmtc").write_bytes(codec.encode(x))
        run("decode", "codec.safetensors", "x.fmtc", "x.npy", "--levels", "--layer", name)
        assert np.array_equal(np.load(tmp_path / "x.npy"), levels_of(codec, x)[0].numpy())
    decode = ("decode", "codec.safetensors", "x.fmtc", "x.npy")
    run(*decode, error=r"codecs of a network; name one with --layer:\n  stem\n")
    run(*decode, "--layer", "stm", error=r"no layer 'stm'; it has:\n  stem\n")
    run(*decode, "--layer", "conv1", error="'conv1' was left out")
    run(*decode, "--layer", "stem", error="another (shape|table set)")  # x.fmtc is of conv2


def test_older_files_are_refused_in_a_sentence(run, tmp_path):
    (tmp_path / "x.fmtc").write_bytes(bytes(fmtc.Bundle({"": []})))
    said = run("decode", DATA / "schema1.safetensors", "x.fmtc", "x.npy", error="schema1")
    reads = "this program reads 'fmtc.codec/6'"
    assert f"it has schema 'fmtc.codec/1', {reads}: make the codec anew" in said
    for name in ("schema5.safetensors", "schema5-model.safetensors"):
        said = run("decode", DATA / name, "x.fmtc", "x.npy", error=name)
        assert f"it has schema 'fmtc.codec/5', {reads}: load it in Python and save it again" in said
    fmtc.TensorCodec.load(DATA / "schema5.safetensors").save(tmp_path / "codec.safetensors")
    run("decode", "codec.safetensors", "x.fmtc", "x.npy")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_safetensors_in_and_out(dtype, run, tmp_path):
    codec, x = make("paper", PIXEL, correlated()), correlated(seed=3).to(dtype)
    codec.save(tmp_path / "codec.safetensors")
    save_file({"other": torch.zeros(3), "x": x.contiguous()}, tmp_path / "x.safetensors")
    run("encode", "codec.safetensors", "x.safetensors", "x.fmtc", "--tensor", "x")
    run("decode", "codec.safetensors", "x.fmtc", "y.safetensors", "--tensor", "y")
    got = load_file(tmp_path / "y.safetensors")
    assert set(got) == {"y"}
    torch.testing.assert_close(got["y"], codec.decode(codec.encode(x)), rtol=0, atol=1e-4)
    encode = ("encode", "codec.safetensors", "x.safetensors", "x.fmtc")
    run(*encode, error="2 tensors; name one with --tensor")
    run(*encode, "--tensor", "z", error="no tensor 'z'")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_versions(version, run, tmp_path):
    codec, x = make("paper", PIXEL, correlated()), correlated(seed=3).numpy()
    codec.save(tmp_path / "codec.safetensors")
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, x, version)
    run("encode", "codec.safetensors", "x.npy", "x.fmtc")
    decoded = codec.decode((tmp_path / "x.fmtc").read_bytes())
    assert decoded.shape == x.shape


def test_no_images(run, tmp_path):
    codec = make("paper", PIXEL, correlated())
    codec.save(tmp_path / "codec.safetensors")
    np.save(tmp_path / "x.npy", np.zeros((0, 6, 9, 7), np.float32))
    run("encode", "codec.safetensors", "x.npy", "x.fmtc")
    assert (tmp_path / "x.fmtc").read_bytes() == bytes(fmtc.Bundle({"": []}))
    run("decode", "codec.safetensors", "x.fmtc", "y.npy")
    assert np.load(tmp_path / "y.npy").shape == (0, 6, 0, 0)
    shown = "bundle: version 1, 0 images, 1 tensors, head 10 bytes\n  ''\n0 streams, 10 bytes\n"
    assert run("info", "x.fmtc") == shown


# -- Tensors of other dimensions ------------------------------------------------------------------

DIMENSIONS = {
    "NHWC": ((4, 8, 7, 6), -1),
    "NHCW": ((4, 8, 6, 7), 2),
    "tokens": ((16, 50, 8), -1),
    "NCL": ((16, 8, 50), 1),
    "rows": ((40, 6), 1),
    "NCDHW": ((4, 6, 3, 8, 9), 1),
    "NDHWC": ((4, 3, 8, 9, 6), -1),
    "rank 6": ((4, 2, 3, 6, 8, 2), 3),
}


def tensor_of(shape, channel_dim, seed=0):
    """Quarters, so that sums of float32 are the same in any order."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(-20, 21, shape, generator=generator) / 4
    return x + x.movedim(channel_dim, -1)[..., :1].movedim(-1, channel_dim)


def codec_of(name):
    shape, channel_dim = DIMENSIONS[name]
    x = tensor_of(shape, channel_dim)
    return fmtc.calibrate_tensor(x, bits=5, channel_dim=channel_dim), tensor_of(
        shape, channel_dim, seed=1
    )


@pytest.mark.parametrize("name", DIMENSIONS)
def test_tensors_of_other_dimensions(name, run, tmp_path):
    codec, x = codec_of(name)
    codec.save(tmp_path / "codec.safetensors")
    np.save(tmp_path / "x.npy", x.numpy())
    run("encode", "codec.safetensors", "x.npy", "x.fmtc")
    bundle = codec.encode(x)
    assert (tmp_path / "x.fmtc").read_bytes() == bundle
    decode = ("decode", "codec.safetensors", "x.fmtc", "y.npy")
    shape = ("--shape", ",".join(map(str, x.shape)))
    decoded = codec.decode(bundle, x.shape).numpy()
    for words in [shape] if x.dim() > 4 else [(), shape]:
        run(*decode, *words)
        got = np.load(tmp_path / "y.npy")
        assert got.shape == decoded.shape
        np.testing.assert_allclose(got, decoded, rtol=0, atol=1e-5 * np.abs(decoded).max())
    if x.dim() > 4:
        run(*decode, error=f"of {x.dim()} dimensions, .*: give the tensor's shape with --shape")
        run(*decode, "--levels")
    for other in ("2,3", ",".join(map(str, (*x.shape[:-1], x.shape[-1] + 1)))):
        run(*decode, "--shape", other, error="the streams are not of a tensor")


def test_other_tensors_than_a_codec_of_tokens_takes(run, tmp_path):
    codec, x = codec_of("tokens")
    codec.save(tmp_path / "codec.safetensors")
    encode = ("encode", "codec.safetensors", "x.npy", "x.fmtc")
    for shape in ((16, 8, 50), (16, 8), (4, 8, 5, 5)):
        np.save(tmp_path / "x.npy", np.zeros(shape, np.float32))
        said = run(*encode, error=r"expected a tensor \[N, \*, 8\], but its shape is ")
        assert str(list(shape)) in said
    (tmp_path / "x.fmtc").write_bytes(codec.encode(x[:0]))
    run("decode", "codec.safetensors", "x.fmtc", "y.npy")
    assert np.load(tmp_path / "y.npy").shape == tuple(codec.decode(codec.encode(x[:0])).shape)


@pytest.mark.parametrize("settings", [{"rank": 1}, {"channel_dim": 0}, {"channel_dim": 4},
                                      {"rank": 9}, {"channel_dim": -1}])  # fmt: skip
def test_dimensions_of_channels_that_are_none(settings, run, tmp_path):
    make("paper", PIXEL, correlated()).save(tmp_path / "codec.safetensors")
    np.save(tmp_path / "x.npy", correlated().numpy())
    path = tmp_path / "codec.safetensors"
    rewrite(path, lambda description, tensors: description["layers"][0].update(settings))
    encode = ("encode", "codec.safetensors", "x.npy", "x.fmtc")
    run(*encode, error="codec.safetensors: it is damaged: its dimension of channels is none")


def test_values_beyond_the_levels_are_warned_of(start, tmp_path):
    x = correlated()
    np.save(tmp_path / "small.npy", x.numpy())
    large = x.clone()
    large[0, :, 0, 0] = 1e6
    np.save(tmp_path / "large.npy", large.numpy())
    for preset, warned in (("fmtc", True), ("paper", False)):
        codec = make(preset, PIXEL, x)
        codec.save(tmp_path / "codec.safetensors")
        done = start("encode", "codec.safetensors", "small.npy", "x.fmtc")
        assert done.returncode == 0 and done.stderr == ""
        done = start("encode", "codec.safetensors", "large.npy", "x.fmtc")
        assert done.returncode == 0
        if not warned:
            assert done.stderr == ""
            continue
        with pytest.warns(UserWarning) as said:
            assert codec.encode(large) == (tmp_path / "x.fmtc").read_bytes()
        assert done.stderr == f"fmtc_codec: warning: {said[0].message}\n"


# -- Bundles --------------------------------------------------------------------------------------


def test_streams_back_to_back_are_read_as_before(run, tmp_path):
    codec, x = make("paper", PIXEL, correlated()), correlated(3, seed=3)
    codec.save(tmp_path / "codec.safetensors")
    for count in (1, 3):
        (tmp_path / "x.fmtc").write_bytes(b"".join(codec.streams(x[:count])))
        run("decode", "codec.safetensors", "x.fmtc", "levels.npy", "--levels")
        levels, _ = levels_of(codec, x)
        assert np.array_equal(np.load(tmp_path / "levels.npy"), levels[:count].numpy())
    (tmp_path / "x.fmtc").write_bytes(b"")
    run("decode", "codec.safetensors", "x.fmtc", "y.npy", error="x.fmtc: the file is empty")


def test_tensors_of_a_bundle_by_name(run, tmp_path):
    codec, x = make("paper", PIXEL, correlated()), correlated(3, seed=3)
    codec.save(tmp_path / "codec.safetensors")
    np.save(tmp_path / "x.npy", x.numpy())
    run("encode", "codec.safetensors", "x.npy", "x.fmtc", "--name", "層 x")
    assert fmtc.Bundle.of((tmp_path / "x.fmtc").read_bytes()).names == ("層 x",)
    run("decode", "codec.safetensors", "x.fmtc", "one.npy")  # there is no other
    other = fmtc.calibrate_tensor(correlated(3, c=4), bits=5)
    bundle = fmtc.Bundle({"y": other.encode(correlated(3, c=4)), "層 x": codec.encode(x)})
    (tmp_path / "x.fmtc").write_bytes(bytes(bundle))
    decode = ("decode", "codec.safetensors", "x.fmtc", "y.npy")
    run(*decode, "--name", "層 x")
    assert (tmp_path / "y.npy").read_bytes() == (tmp_path / "one.npy").read_bytes()
    run(*decode, error="x.fmtc: it holds several tensors; name one with --name:\n  'y'\n  '層 x'")
    run(*decode, "--name", "x", error="x.fmtc: there is no tensor 'x'; it has:\n  'y'\n  '層 x'")
    run(*decode, "--name", "y", error="stream of image 0: ")
    encode = ("encode", "codec.safetensors", "x.npy", "x.fmtc", "--name", "a\nb")
    run(*encode, error="at most 255 bytes of UTF-8 without control characters")


def test_a_layer_names_its_tensor_of_a_bundle(run, tmp_path):
    compressed = fmtc.compress(tiny(), images(), target=fmtc.Step(0.01), exclude=["conv1"])
    compressed.save(tmp_path / "codec.safetensors")
    tensors = {name: torch.randn(2, compressed.codecs[name].channels, 5, 6)
               for name in ("stem", "conv2")}  # fmt: skip
    bundle = fmtc.Bundle({name: compressed.codecs[name].encode(x) for name, x in tensors.items()})
    (tmp_path / "x.fmtc").write_bytes(bytes(bundle))
    for name, x in tensors.items():
        run("decode", "codec.safetensors", "x.fmtc", "x.npy", "--levels", "--layer", name)
        levels = levels_of(compressed.codecs[name], x)[0].numpy()
        assert np.array_equal(np.load(tmp_path / "x.npy"), levels)


@pytest.mark.parametrize("name", golden_bundles.load()[1])
def test_malformed_bundles_are_refused_in_a_sentence(name, run, tmp_path):
    (tmp_path / "x.fmtc").write_bytes(golden_bundles.load()[1][name].bundle)
    if name in ("bad-cut-no-bytes", "bad-cut-magic", "bad-magic", "bad-stream"):
        return  # no bundles at all
    error = "x.fmtc: .*(the bundle|this is no bundle|tensor's name|of tensor '.': )"
    assert "\n" not in run("info", "x.fmtc", error=error).strip()


def test_a_bundle_cut_between_images_is_refused(run, tmp_path):
    codec, x = make("paper", PIXEL, correlated()), correlated(3, seed=3)
    codec.save(tmp_path / "codec.safetensors")
    data, sizes = codec.encode(x), list(map(len, codec.streams(x)))
    for left in range(3):
        cut = data[: len(data) - sum(sizes[left:])]
        (tmp_path / "x.fmtc").write_bytes(cut)
        error = rf"x.fmtc: the bundle is cut off: .* \({len(cut)} of {len(data)} bytes are there\)"
        run("decode", "codec.safetensors", "x.fmtc", "y.npy", error=error)
        run("info", "x.fmtc", error=error)
    (tmp_path / "x.fmtc").write_bytes(data[:1])
    run("decode", "codec.safetensors", "x.fmtc", "y.npy", error="the data end before the stream")
    assert not (tmp_path / "y.npy").exists()


HUGE = [
    golden_bundles.raw(2**24, [b"x"], []),
    golden_bundles.raw(3, [b"x"], [], entries=[(2**32 - 1, 0)] * 3),
    streams.container(RANS, (7, 2**10, 2**15, 2**15, 8, 1, 0, 0), []),  # a directory of 32 GiB
    streams.container(RANS, (7, 0, 2**32 - 1, 2**32 - 1, 8, 1, 0, 0), []),
    b"fm\x22\x19\7\0\1\2\3\xff\xff\xff\xff\x0f",  # a payload of 4 GiB
    *(b"", b"f", b"fm", b"fb\1"),
]


@pytest.mark.parametrize("start", HUGE)
@pytest.mark.parametrize("size", [None, 3 << 30])
def test_files_that_ask_for_memory_get_none(start, size, program, tmp_path):
    """As they are, and with zeros behind, which take no space on the disk.

    The largest directory there can be has 128 MB; the address space is twice as large.
    """
    codec = make("paper", PIXEL, correlated())
    codec.save(tmp_path / "codec.safetensors")
    with open(tmp_path / "x.fmtc", "wb") as file:
        file.write(start)
        file.truncate(size)
    for command in (["info", "x.fmtc"], ["decode", "codec.safetensors", "x.fmtc", "y.npy"]):
        done = subprocess.run(
            [program, *command],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20)),
        )
        assert done.returncode in (0, 2) and "bad_alloc" not in done.stderr, done
        assert (done.returncode != 0) == (
            start != HUGE[3] or size is not None or command[0] != "info"
        )
    assert not (tmp_path / "y.npy").exists()


# -- info -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["paper", "many chunks", "paper 2,2,3", "classes of positions"])
def test_info_shows_what_streams_consist_of(name, run, tmp_path):
    preset, block, make_samples = CODECS[name]
    codec = make(preset, block, make_samples())
    [stream] = codec.streams(make_samples(seed=3)[:1])
    (tmp_path / "x.fmtc").write_bytes(2 * stream)
    back_to_back = run("info", "x.fmtc")
    bundle = bytes(fmtc.Bundle({"a": [stream, stream]}))
    (tmp_path / "x.fmtc").write_bytes(bundle)
    shown = run("info", "x.fmtc")
    head = "bundle: version 1, 2 images, 1 tensors, head 27 bytes\n  'a'\n"
    for i in range(2):
        shown = shown.replace(f"image {i}, 'a': ", f"stream {i}: ")
    assert (
        shown.replace(f" {len(bundle)} bytes", f" {2 * len(stream)} bytes") == head + back_to_back
    )
    (tmp_path / "x.fmtc").write_bytes(2 * stream)
    printed, known = run("info", "x.fmtc").splitlines(), ops.stream_info(stream)
    shape = [known["channels"], known["height"], known["width"]]
    described = f"{known['coder']}, {shape}, table set {known['table_id']}, {len(stream)} bytes"
    assert printed[0] == f"stream 0: {described}"
    assert f"stream 1: {described}" in printed
    assert printed[-1] == f"2 streams, {2 * len(stream)} bytes"
    assert f" {known['chunks']} chunks, {known['lanes']} lanes" in printed[1]
    assert (f"{known['classes']} classes" in printed[1]) == (known["classes"] > 1)
    crop = f"crop {known['crop_h']} rows, {known['crop_w']} columns"
    assert (crop in printed[1]) == bool(known["crop_h"] or known["crop_w"])
    chunks = [line.strip() for line in printed if line.startswith("  chunk")]
    assert len(chunks) == 2 * known["chunks"]
    if known["classes"] == 1:
        payloads = split(stream)[2]
        for i, (line, payload) in enumerate(zip(chunks, payloads, strict=False)):
            assert line.startswith(f"chunk {i}: ")
            assert line.endswith(f"{len(payload)} bytes, checksum {crc32c(payload):08x}")


def test_info_finds_damaged_chunks(run, tmp_path):
    codec = make(*CODECS["many chunks"][:2], CODECS["many chunks"][2]())
    stream = bytearray(codec.streams(CODECS["many chunks"][2](seed=3))[0])
    stream[-1] ^= 1  # in the last chunk
    for data in (stream, bytes(fmtc.Bundle({"x": [stream]}))):
        (tmp_path / "x.fmtc").write_bytes(data)
        run("info", "x.fmtc", error="a chunk of the stream is damaged")
    bundle = bytearray(codec.encode(CODECS["many chunks"][2](seed=3)))
    bundle[-1] ^= 1
    (tmp_path / "x.fmtc").write_bytes(bundle)
    run("info", "x.fmtc", error="image 0 of tensor '': the stream is damaged, or another one")


# -- Damage and misuse ----------------------------------------------------------------------------


def test_damaged_streams_give_no_tensor(run, tmp_path):
    codec = make("paper", PIXEL, correlated())
    codec.save(tmp_path / "codec.safetensors")
    bundle, [stream] = (f(correlated(1, h=3, w=3)) for f in (codec.encode, codec.streams))
    damaged_ones = []
    for data in (stream, bundle):
        damaged_ones += [data[:-1], data[:5], data + b"x"]
        for i, byte in enumerate(data):
            damaged_ones.append(data[:i] + bytes([byte ^ 1 << i % 8]) + data[i + 1 :])
    for damaged in damaged_ones:
        (tmp_path / "x.fmtc").write_bytes(damaged)
        run("decode", "codec.safetensors", "x.fmtc", "x.npy", error="x.fmtc|stream of image")
    assert not (tmp_path / "x.npy").exists()


def test_damaged_codecs_are_refused(start, tmp_path):
    codec = make("fmtc", PIXEL, wide())
    codec.save(tmp_path / "good.safetensors")
    np.save(tmp_path / "x.npy", wide().numpy())
    good = (tmp_path / "good.safetensors").read_bytes()
    random = np.random.default_rng(0)
    damaged = [good[:size] for size in (0, 7, 8, 100, len(good) // 2, len(good) - 1)]
    for at in random.integers(0, len(good), 60):
        damaged.append(good[:at] + bytes([good[at] ^ 1 << random.integers(8)]) + good[at + 1 :])
    refused = 0
    for data in damaged:
        (tmp_path / "bad.safetensors").write_bytes(data)
        # A flip in what no checksum covers, such as the names of settings, may be harmless.
        done = start("encode", "bad.safetensors", "x.npy", "x.fmtc")
        assert done.returncode in (0, 2), done
        assert (done.returncode == 2) == done.stderr.startswith("fmtc_codec: bad.safetensors: ")
        refused += done.returncode != 0
    assert refused >= 60


def drop_tensor(layer, tensors):
    del tensors["0.table_of"]


def set_tensor(name, value):
    return lambda layer, tensors: tensors.update({f"0.{name}": value})


@pytest.mark.parametrize(
    "change, error",
    [
        (lambda layer, _: layer.update(channels=7), "does not fit the blocks"),
        (lambda layer, _: layer.update(block="1,1"), "block shape"),
        (lambda layer, _: layer.update(block="1,1,0"), "block shape"),
        (lambda layer, _: layer.update(block="999,1,C"), "too large"),
        (lambda layer, _: layer.update(groups=3), "transform for each group"),
        (lambda layer, _: layer.update(step=0.0), "quantiser"),
        (lambda layer, _: layer.update(lo=-40000), "quantiser"),
        (lambda layer, _: layer.update(coder="zip"), "coder 'zip'"),
        (lambda layer, _: layer.update(lane_values=1000), "its lanes"),
        (lambda layer, _: layer.update(lane_values=-1), "its lanes"),
        (lambda layer, _: layer.update(lane_values=131072), "its lanes"),
        (lambda layer, _: layer.update(lane_values="256"), "lane_values must be a whole number"),
        (lambda layer, _: layer.update(symbols_from=1 << 20), "beyond the levels"),
        (lambda layer, _: layer.pop("channels"), "channels"),
        (drop_tensor, "no tensor '0.table_of'"),
        (set_tensor("table_of", torch.full((6,), 99)), "tables do not fit"),
        (set_tensor("table_of", torch.zeros(2, dtype=torch.int64)), "tables do not fit"),
        (set_tensor("counts", torch.full((1, 3), -1)), "count is outside"),
        (set_tensor("counts", torch.zeros(1, 5000, dtype=torch.int64)), "make no tables"),
        (set_tensor("counts", torch.zeros(1, 3)), "counts holds F32, not I64"),
        (set_tensor("shifts", torch.full((6,), 16)), "outside its range"),
        (set_tensor("coefficients", torch.full((6, 3), 16385, dtype=torch.int16)), "outside its"),
        (set_tensor("coefficients", torch.zeros(6, 4, dtype=torch.int16)), "not a prediction for"),
        (set_tensor("coefficients", torch.zeros(6, 57, dtype=torch.int16)), "not a prediction for"),
        (set_tensor("mean.0", torch.zeros(3, dtype=torch.float64)), "does not fit the blocks"),
        (set_tensor("matrix.0", torch.zeros(6)), "matrix has the wrong shape"),
    ],
)
def test_codecs_that_make_no_sense_are_refused(change, error, run, tmp_path):
    path = tmp_path / "codec.safetensors"
    codec = fmtc.calibrate_tensor(correlated(), fmtc.BitsPreset(name="all", drop_components=False))
    codec.save(path)
    np.save(tmp_path / "x.npy", correlated().numpy())
    encode = ("encode", "codec.safetensors", "x.npy", "x.fmtc")
    run(*encode)
    rewrite(path, lambda description, tensors: change(description["layers"][0], tensors))
    run(*encode, error=f"codec.safetensors: .*{error}")


def test_the_description_is_taken_as_it_is_written(run, tmp_path):
    """With all kinds of floats: its checksum is over its text."""
    path = tmp_path / "codec.safetensors"
    codec = make("paper", PIXEL, correlated())
    np.save(tmp_path / "x.npy", correlated().numpy())
    random = np.random.default_rng(0)
    special = [0.0, -0.0, 1.0, 1e15, 1e16, 123456789012345680.0, 1e-4, 1e-5, 5e-324, 1.5e300, 0.1]
    drawn = random.integers(0, 2**63, 40).view(np.float64)
    for value in [*special, *drawn[np.isfinite(drawn)].tolist()]:
        codec.mse = value
        codec.save(path)
        run("encode", "codec.safetensors", "x.npy", "x.fmtc")


@pytest.mark.parametrize(
    "array, error",
    [
        (np.zeros((6, 9, 7), np.float32), r"\[N, 6, H, W\], but its shape is \[6, 9, 7\]"),
        (np.zeros((1, 5, 9, 7), np.float32), r"\[1, 5, 9, 7\]"),
        (np.zeros((1, 6, 2, 2), np.int32), "holds I32, not floating-point"),
        (np.full((1, 6, 2, 2), np.nan, np.float32), "NaN or infinity"),
        (np.zeros((2, 6, 0, 3), np.float32), "no pixels"),
        (np.zeros((2**40, 6, 0, 3), np.float32), "no pixels"),
        (np.zeros((1, 99, 3, 3), np.int16), r"but their shape is \[1, 99, 3, 3\]"),
        (np.zeros((3, 3), np.int16), r"\[N, K, H, W\]"),
        (np.full((1, 6, 3, 3), 30000, np.int16), "image 0: a level has no code"),
        (np.asfortranarray(np.zeros((1, 6, 9, 7), np.float32)), "ascontiguousarray"),
        (np.zeros((1, 6, 9, 7), ">f4"), "NumPy's type '>f4'"),
    ],
)
def test_tensors_that_cannot_be_encoded(array, error, run, tmp_path):
    codec = fmtc.calibrate_tensor(correlated(), fmtc.BitsPreset(name="all", drop_components=False))
    codec.save(tmp_path / "codec.safetensors")
    np.save(tmp_path / "x.npy", array)
    run("encode", "codec.safetensors", "x.npy", "x.fmtc", error=error)
    assert not list(tmp_path.glob("x.fmtc*"))


def test_files_that_are_not_what_they_should_be(run, tmp_path):
    make("paper", PIXEL, correlated()).save(tmp_path / "codec.safetensors")
    np.save(tmp_path / "x.npy", correlated().numpy())
    encode = ("encode", "codec.safetensors")
    run(*encode, "none.npy", "x.fmtc", error="none.npy cannot be read")
    run(*encode, "x.txt", "x.fmtc", error="are read from .npy and .safetensors")
    run(*encode, "x.npy", "no/folder/x.fmtc", error="cannot be written")
    run("encode", "x.npy", "x.npy", "x.fmtc", error="x.npy: it is no safetensors file")
    run("info", "x.npy", error="x.npy: stream 0: this is no fmtc stream")
    save_file({"x": torch.zeros(3)}, tmp_path / "other.safetensors")
    run("encode", "other.safetensors", "x.npy", "x.fmtc", error="not one that fmtc saved")
    good = (tmp_path / "x.npy").read_bytes()
    for size in (0, 6, 9, 11, 60, len(good) - 1):
        (tmp_path / "cut.npy").write_bytes(good[:size])
        run(*encode, "cut.npy", "x.fmtc", error="cut.npy: ")
    (tmp_path / "long.npy").write_bytes(good.replace(b"(4, 6, 9, 7)", b"(4, 6, -9, 7)"[:12]))
    run(*encode, "long.npy", "x.fmtc", error="long.npy: ")
