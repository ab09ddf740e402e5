"""Streams that ask for more memory than they may have: refused before any of it is taken."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import golden_bundles
import pytest
import streams
import torch
from test_codec import correlated
from test_conformance import MOST_BYTES, MOST_SECONDS, measured

import fmtc
from fmtc import ops
from fmtc.limits import MAX_VALUES, NO_LIMIT

# -- Operators ------------------------------------------------------------------------------------


def decoders():
    """Each with what it decodes, of one component, but for the shape."""
    counts = torch.tensor([[8, 4, 2, 1]])
    table_of = torch.zeros(1, dtype=torch.int64)
    _, decode_table = ops.huffman_tables(ops.huffman_lengths(counts, 7))
    _, slots, base = ops.rans_tables(ops.rans_frequencies(counts, 8))
    yield ops.huffman_decode, (0, table_of, decode_table, 7)
    yield ops.rans_decode, (0, table_of, slots, base, 7)
    yield ops.ebpc_decode, (0, 3, 7)
    yield ops.dct_cm_decode, (0, 3, 7)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("index", range(4))
def test_operators_refuse_more_levels_than_max_values(index):
    decode, tables = list(decoders())[index]
    data, used = torch.zeros(3, 20, dtype=torch.uint8), torch.full((3,), 20)
    levels, status = decode(data, used, *tables, 1, 5, 4, 60)
    assert levels.shape == (3, 1, 5, 4) and status.all() and not levels.any()
    message = f"{decode.__name__}: 3 images of 1 x 5 x 4 values are more than max_values = 59"
    with pytest.raises(RuntimeError, match=message):
        decode(data, used, *tables, 1, 5, 4, 59)
    with pytest.raises(RuntimeError, match=f"max_values = {MAX_VALUES}"):
        decode(data, used, *tables, 1, 2**14, 2**14)
    with pytest.raises(RuntimeError, match="max_values must be from 0"):
        decode(data, used, *tables, 1, 5, 4, -1)
    assert decode(data[:0], used[:0], *tables, 1, 2**14, 2**14, 0)[0].shape[0] == 0
    assert decode(data, used, *tables, 1, 0, 2**31, 0)[0].numel() == 0


@pytest.mark.usefixtures("backend")
def test_streams_beside_refused_ones_are_decoded():
    x = torch.arange(24).view(4, 1, 2, 3).to(torch.int16)
    words = 0, 5, 7
    data, used = ops.dct_cm_encode(x, *words)
    data[1, 0] ^= 1  # no stream
    data[3, int(used[3]) - 1] ^= 1  # a wrong checksum
    levels, status = ops.dct_cm_decode(data, used, *words, 1, 2, 3)
    assert (status != 0).tolist() == [False, True, False, True]
    for n in range(4):
        assert torch.equal(levels[n], torch.zeros_like(x[n]) if status[n] else x[n])


# -- Codecs ---------------------------------------------------------------------------------------


@cache
def codec(preset: str = "fmtc") -> fmtc.TensorCodec:
    knob = {"step": 0.3} if preset == "fmtc" else {"bits": 6}
    return fmtc.calibrate_tensor(correlated(), preset, **knob)


def rans_stream(made: fmtc.TensorCodec, height: int, width: int) -> bytes:
    """As short as a header allows: 46 000 values a digit. What the payload holds is no code."""
    coder, chunk = made.coder, 2**23
    values = coder.components * height * width
    sizes = [min(chunk, values - begin) for begin in range(0, values, chunk)]
    payloads = [bytes(4 + 2 * max(0, -(-n // 46_000) - 1)) for n in sizes]
    fields = coder.table_id, coder.components, height, width, 23, 1, 0, 0
    return streams.container(streams.RANS, fields, payloads)


def no_components(made: fmtc.TensorCodec, height: int, width: int) -> bytes:
    fields = made.coder.table_id, 0, height, width, 17, 1, 0, 0
    return streams.container(streams.RANS, fields, [])


def no_pixels(made: fmtc.TensorCodec, height: int, width: int) -> bytes:
    fields = made.coder.table_id, made.coder.components, height, width, 17, 1, 0, 0
    return streams.container(streams.RANS, fields, [])


def with_crop(stream: bytes) -> bytes:
    coder, fields, payloads = streams.split(stream)
    return streams.container(coder, (*fields[:-2], 200, 0), payloads)


@cache
def hostile_streams() -> dict[str, tuple[list[bytes], str]]:
    """Streams of one tensor, and what is said of them."""
    made = codec()
    good = made.streams(correlated(1))
    large = 2**14, 2**13
    return {
        "no components": ([no_components(made, 2**32 - 1, 2**32 - 1)], "another shape"),
        "no components, 2^34 positions": ([no_components(made, 2**20, 2**14)], "another shape"),
        "no rows": ([no_pixels(made, 0, 2**32 - 1)], "(no|without) pixels"),
        "no columns": ([no_pixels(made, 2**32 - 1, 0)], "(no|without) pixels"),
        "more values than allowed": ([rans_stream(made, *large)], "max_values"),
        "beside a good one": ([*good, rans_stream(made, *large)], "max_values"),
        "many of them": ([rans_stream(made, 2**10, 2**10)] * 60, "max_values"),
        "another table set": ([rans_stream(codec("paper"), 64, 64)], "another (shape|table set)"),
        "padding": ([with_crop(good[0])], "padding"),
        "other sizes": (
            [*good, *made.streams(correlated(1, h=4, w=4))],
            "(different|another) size",
        ),
    }


def hostile_bundles() -> dict[str, tuple[bytes, str]]:
    """Bundles whose head, or sizes, say what is not so, and what is said of them."""
    raw, names = golden_bundles.raw, [b"%d" % i for i in range(1024)]
    [good] = codec().streams(correlated(1))
    whole = bytes(fmtc.Bundle({"": [good]}))
    most = 2**32 - 1, 0
    return {
        "2^24 images that are not there": (raw(2**24, [b""], []), "cut off"),
        "2^14 images of 1024 tensors": (raw(2**14, names, []), "cut off"),
        "2^32 - 1 images": (raw(2**32 - 1, [b""], []), r"more than 2\^24 streams"),
        "a stream of 4 GiB": (raw(1, [b""], [], entries=[most]), "cut off"),
        "streams of 4 GiB": (raw(9000, [b""], [], entries=[most] * 9000), "cut off"),
        "many empty streams": (
            bytes(fmtc.Bundle({"": [b""] * 400_000})),
            "image 0.*before the stream does",
        ),
        "a stream that is cut off": (raw(1, [b""], [good[:-1]]), "image 0.*before the stream does"),
        "bytes behind a stream": (raw(1, [b""], [good + b"x"]), "end with it|after the end"),
        "bytes behind": (whole + b"x", "after the end of the bundle"),
        "another checksum": (whole[:-1] + bytes([whole[-1] ^ 1]), "directory does not match"),
        "several tensors": (bytes(fmtc.Bundle({"a": [good], "b": [good]})), "several tensors"),
    }


@cache
def hostile() -> dict[str, tuple[bytes, str]]:
    """What is decoded: streams back to back, and bundles. And what is said of them."""
    made = {}
    for name, (each, message) in hostile_streams().items():
        made[name] = b"".join(each), message
        made[f"{name}, in a bundle"] = bytes(fmtc.Bundle({"": each})), message
    return made | hostile_bundles()


MEASURE = """
import resource, sys, time
from pathlib import Path
import torch
import fmtc
torch.set_num_threads(1)
codec = fmtc.TensorCodec.load(sys.argv[1])
codec.decode(codec.encode(torch.zeros(1, 6, 9, 7)))  # so that all is loaded that is loaded once
for path in sys.argv[2:]:
    data, seconds = Path(path).read_bytes(), []
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3):
        begin = time.perf_counter()
        try:
            codec.decode(data)
            said = "decoded"
        except fmtc.StreamError as error:
            said = str(error)
        seconds.append(time.perf_counter() - begin)
    peak = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    print(min(seconds), peak, said)
"""


@pytest.fixture
def files(tmp_path):
    """A codec's file, and one of each hostile stream."""
    codec().save(tmp_path / "codec.safetensors")
    paths = []
    for i, (stream, _) in enumerate(hostile().values()):
        paths.append(tmp_path / f"{i}.fmtc")
        paths[-1].write_bytes(stream)
    return tmp_path / "codec.safetensors", paths


def python(code: str, *arguments) -> list[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()


def test_hostile_streams_cost_python_next_to_nothing(files):
    path, paths = files
    for line, (name, (stream, message)) in zip(
        python(MEASURE, path, *paths), hostile().items(), strict=True
    ):
        seconds, peak, said = line.split(" ", 2)
        assert int(peak) <= MOST_BYTES, name
        assert float(seconds) <= MOST_SECONDS, name
        with pytest.raises(fmtc.StreamError, match=message):
            codec().decode(stream)
        assert said != "decoded"


def test_hostile_streams_cost_the_program_next_to_nothing(files, build_tree, tmp_path):
    program = build_tree / "csrc" / "codec" / "fmtc_codec"
    if not program.exists():
        pytest.skip("fmtc_codec was not built: `make build-programs`")
    path, paths = files
    _, _, idle = measured([str(program), "--help"])
    for file, (name, (_, message)) in zip(paths, hostile().items(), strict=True):
        command = [str(program), "decode", str(path), str(file), str(tmp_path / "x.npy")]
        status, seconds, peak = measured(command)
        assert status == 2 and peak - idle <= MOST_BYTES and seconds <= MOST_SECONDS, name
        done = subprocess.run(command, capture_output=True, text=True)
        assert re.search(message, done.stderr), done
    assert not (tmp_path / "x.npy").exists()


def test_what_info_takes_of_hostile_bundles(build_tree, tmp_path):
    program = build_tree / "csrc" / "codec" / "fmtc_codec"
    if not program.exists():
        pytest.skip("fmtc_codec was not built: `make build-programs`")
    path = tmp_path / "x.fmtc"
    _, _, idle = measured([str(program), "--help"])
    for name, (bundle, _) in hostile_bundles().items():
        if name == "several tensors":
            continue  # which is nothing wrong
        path.write_bytes(bundle)
        status, seconds, peak = measured([str(program), "info", str(path)])
        assert status == 2 and peak - idle <= MOST_BYTES and seconds <= MOST_SECONDS, name
    done = subprocess.run([program, "info", path, "--max-bytes", "9"], capture_output=True)
    assert done.returncode == 2 and b"bytes, more than --max-bytes 9" in done.stderr


OF_OPERATOR = """
import resource, sys
import torch
from fmtc import ops
torch.set_num_threads(1)
words, shape = (0, 3, 7), (2, 2**13, 2**13)
data, used = torch.zeros(2, 20, dtype=torch.uint8), torch.full((2,), 20)
ops.dct_cm_decode(data, used, *words, 2, 3, 4)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
levels, status = ops.dct_cm_decode(data, used, *words, *shape)
print(1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before), int(status.min()))
assert not levels[1, 1, -1].any()
"""


def test_levels_of_refused_streams_are_never_touched():
    """Half a gigabyte of zeros that nobody reads."""
    [line] = python(OF_OPERATOR)
    peak, status = map(int, line.split())
    assert status != 0 and peak <= MOST_BYTES


@pytest.mark.parametrize("preset, block", [("fmtc", "1,1,C"), ("paper", "2,2,C")])
def test_a_tensor_of_max_values_is_decoded_and_none_of_more(preset, block):
    made = fmtc.calibrate_tensor(
        correlated(), preset, block=block, **({"step": 0.3} if preset == "fmtc" else {"bits": 6})
    )
    x = correlated(2, seed=1)
    data = made.encode(x)
    _, height, width = made.block.split(x).shape[1:]
    in_blocks = made.block.size(made.channels) * made.block.groups(made.channels)
    values = 2 * height * width * max(made.symbol_map.planes, in_blocks)
    assert torch.equal(made.decode(data, max_values=values), made.decode(data))
    assert torch.equal(made.decode(data, max_values=NO_LIMIT), made.decode(data))
    with pytest.raises(fmtc.StreamError, match=f"image 1: .* more than max_values = {values - 1}"):
        made.decode(data, max_values=values - 1)


@pytest.mark.parametrize("form", ["bundle", "bytes of a bundle", "list", "back to back"])
def test_max_values_are_those_of_all_images_of_a_tensor(form):
    made, x = codec(), correlated(3, seed=1)
    each = made.streams(x)
    several = fmtc.Bundle({"a": each, "b": each})
    data = {
        "bundle": fmtc.Bundle({"": each}),
        "bytes of a bundle": made.encode(x),
        "list": several["b"],
        "back to back": b"".join(each),
    }[form]
    of_image = x[0, 0].numel() * max(made.symbol_map.planes, made.channels)
    assert torch.equal(made.decode(data, max_values=3 * of_image), made.simulate(x))
    for most, image in ((3 * of_image - 1, 2), (of_image, 1), (of_image - 1, 0), (0, 0)):
        with pytest.raises(fmtc.StreamError, match=f"image {image}: .*max_values = {most}"):
            made.decode(data, max_values=most)


def test_programs_have_the_same_limits(build_tree, tmp_path):
    program = build_tree / "csrc" / "codec" / "fmtc_codec"
    if not program.exists():
        pytest.skip("fmtc_codec was not built: `make build-programs`")
    made, x = codec(), correlated(2, seed=1)
    made.save(tmp_path / "codec.safetensors")
    (tmp_path / "x.fmtc").write_bytes(made.encode(x))
    values = x[:, :1].numel() * max(made.symbol_map.planes, made.channels)
    size = (tmp_path / "codec.safetensors").stat().st_size

    def decode(*options) -> subprocess.CompletedProcess:
        command = [program, "decode", "codec.safetensors", "x.fmtc", "x.npy", *options]
        return subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True)

    assert decode("--max-values", values, "--max-bytes", size).returncode == 0
    done = decode("--max-values", values - 1)
    assert done.returncode == 2 and "image 1: the stream holds more values than" in done.stderr
    done = decode("--max-bytes", size - 1)
    assert done.returncode == 2 and f"more than --max-bytes {size - 1}" in done.stderr
    for option in ("--max-values", "--max-bytes"):
        for wrong in ("0", "-1", "2.5", "many", str(2**63)):
            done = decode(option, wrong)
            sentence = f"{option}: expected a whole number from 1 to {2**62}, not '{wrong}'"
            assert done.returncode == 2 and sentence in done.stderr
    assert Path(tmp_path / "x.npy").exists()
