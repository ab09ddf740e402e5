"""EBPC and DCT-CM streams against slow, obvious implementations of their own."""

import itertools
import math
from types import SimpleNamespace

import damage
import pytest
import streams
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import from_rows, to_rows

from fmtc import ops

pytestmark = pytest.mark.usefixtures("backend")

# -- References: strings of "0" and "1", the first bit first --------------------------------------


def number(value, bits):
    """The lowest bit first."""
    return "".join(str(value >> i & 1) for i in range(bits))


def ebpc_marks(values):
    marks = ""
    for is_zero, run in itertools.groupby(values, lambda v: v == 0):
        count = len(list(run))
        if not is_zero:
            marks += "1" * count
            continue
        lengths = [16] * (count // 16) + ([count % 16] if count % 16 else [])
        marks += "".join("0" + number(length - 1, 4) for length in lengths)
    return marks


def ebpc_plane(dbx, dbp):
    """The code of a plane that has changed."""
    if "0" not in dbx:
        return "00000"
    if "1" not in dbp:
        return "00001"
    if dbx.count("1") == 2 and "11" in dbx:
        return "00010" + number(dbx.index("1"), 3)
    if dbx.count("1") == 1:
        return "00011" + number(dbx.index("1"), 3)
    return "1" + dbx


def ebpc_block(words, bits):
    words = words + [words[-1]] * (8 - len(words))
    deltas = [(b - a) % 2 ** (bits + 1) for a, b in itertools.pairwise(words)]
    planes = ["".join(str(d >> p & 1) for d in deltas) for p in range(bits, -1, -1)]
    changes = [
        "".join(str(int(a != b)) for a, b in zip(above, plane, strict=True))
        for above, plane in zip(["0" * 7, *planes], planes, strict=False)
    ]
    code = number(words[0], bits)
    pairs = list(zip(changes, planes, strict=True))
    for unchanged, run in itertools.groupby(pairs, lambda pair: "1" not in pair[0]):
        run = list(run)
        if not unchanged:
            code += "".join(ebpc_plane(*pair) for pair in run)
        elif len(run) == 1:
            code += "001"
        else:
            code += "01" + number(len(run) - 2, math.ceil(math.log2(bits)))
    return code


def ebpc_chunk(values, lo, bits):
    words = [v - lo for v in values if v != 0]
    blocks = [ebpc_block(words[i : i + 8], bits) for i in range(0, len(words), 8)]
    return ebpc_marks(values) + "".join(blocks)


def dct_cm_chunk(values, lo, bits):
    mask = "".join(str(int(v != 0)) for v in values)
    return mask + "".join(number(v - lo, bits) for v in values if v != 0)


def pack_bits(bits):
    """Bit string to bytes, the first bit into bit 0 of the first byte."""
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))


# Name of the operators, number in a stream's header, reference.
CODERS = {"ebpc": (streams.EBPC, ebpc_chunk), "dct_cm": (streams.DCT_CM, dct_cm_chunk)}
TABLE_ID = 0xBEEF


def reference_stream(coder, levels, lo, bits, crop=(0, 0), log2=16):
    """The stream of levels [K, H, W] as docs/stream_format.md describes it."""
    kind, chunk = CODERS[coder]
    values = levels.flatten().tolist()
    chunks = [values[i : i + 2**log2] for i in range(0, len(values), 2**log2)]
    payloads = [pack_bits(chunk(part, lo, bits)) for part in chunks]
    return streams.container(kind, (TABLE_ID, *levels.shape, log2, 1, *crop), payloads)


def operators(coder):
    return getattr(ops, f"{coder}_encode"), getattr(ops, f"{coder}_decode")


# -- Inputs ---------------------------------------------------------------------------------------


def draw(shape, lo, bits, zeros=0.4, seed=0):
    """Levels with runs of zeros, of one value, of neighbours, and jumps."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(0, 2**bits, shape, generator=generator)
    near = torch.randint(-2, 3, shape, generator=generator) + 2 ** (bits - 1)
    levels = torch.where(torch.rand(shape, generator=generator) < 0.7, near, values)
    levels = levels.clamp(0, 2**bits - 1) + lo
    zero = torch.rand(shape, generator=generator) < zeros
    zero = (zero & zero.roll(1, -1)) | (torch.rand(shape, generator=generator) < zeros / 2)
    zero = zero if lo <= 0 < lo + 2**bits else torch.zeros_like(zero)
    return torch.where(zero, torch.zeros_like(levels), levels).to(torch.int16)


CASES = {
    "8 bits": (draw((3, 5, 7, 6), 0, 8), 0, 8),
    "signed": (draw((2, 4, 6, 5), -100, 8), -100, 8),
    "one value": (draw((1, 1, 1, 1), 0, 4, zeros=0), 0, 4),
    "one bit": (draw((2, 3, 4, 4), 0, 1), 0, 1),
    "two bits": (draw((2, 3, 9, 9), -1, 2), -1, 2),
    "15 bits": (draw((2, 3, 8, 8), -(2**14), 15), -(2**14), 15),
    "no zeros": (draw((2, 3, 8, 8), 5, 6), 5, 6),
    "all zeros": (torch.zeros(2, 3, 9, 8, dtype=torch.int16), 0, 8),
    "several chunks": (draw((2, 6, 150, 101), 0, 8, zeros=0.6), 0, 8),
    "lowest levels": (draw((2, 3, 8, 8), -32768, 3), -32768, 3),
    "highest levels": (draw((2, 3, 8, 8), 32760, 3), 32760, 3),
    "batch 0": (draw((0, 3, 4, 4), 0, 8), 0, 8),
    "no components": (draw((2, 0, 4, 4), 0, 8), 0, 8),
    "no pixels": (draw((2, 3, 0, 4), 0, 8), 0, 8),
}
EACH = [(coder, name) for coder in CODERS for name in CASES]


def encoded(coder, name, lane_values=0):
    levels, lo, bits = CASES[name]
    return operators(coder)[0](levels, lo, bits, TABLE_ID, 0, 0, lane_values)


def sample_inputs():
    """Operator name and arguments, for the tests that treat all operators alike."""
    for coder, name in EACH:
        levels, lo, bits = CASES[name]
        yield f"{coder}_encode", (levels, lo, bits, TABLE_ID)
        shape = levels.shape[1:]
        yield f"{coder}_decode", (*encoded(coder, name), lo, bits, TABLE_ID, *shape)
        shorter = encoded(coder, name, 256)
        yield f"{coder}_encode", (levels, lo, bits, TABLE_ID, 0, 0, 256)
        yield f"{coder}_decode", (*shorter, lo, bits, TABLE_ID, *shape)


SAMPLES = list(sample_inputs())


# -- Streams --------------------------------------------------------------------------------------


def test_references_by_hand():
    """The examples of docs/stream_format.md."""
    assert ebpc_chunk([0, 0, 0, 5, 6, 0, 7, 7, 7, 7, 7, 7], 0, 4) == "".join(
        ["0", "0100", "1", "1", "0", "0000", "111111", "1010", "01", "01", "00010", "000"]
    )
    assert dct_cm_chunk([0, 3, 0, 0, -1, 0, 0, 0, 0, 2], -4, 3) == "0100100001" + "111110011"


@pytest.mark.parametrize("coder, name", EACH)
def test_streams_are_those_of_the_format(coder, name):
    levels, lo, bits = CASES[name]
    expected = [reference_stream(coder, image, lo, bits) for image in levels]
    assert from_rows(*encoded(coder, name)) == expected


@pytest.mark.parametrize("lane_values", [256, 4096, 65536])
@pytest.mark.parametrize("coder, name", EACH)
def test_lane_values_are_those_of_a_chunk(coder, name, lane_values):
    levels, lo, bits = CASES[name]
    log2 = lane_values.bit_length() - 1
    expected = [reference_stream(coder, image, lo, bits, log2=log2) for image in levels]
    assert from_rows(*encoded(coder, name, lane_values)) == expected


@pytest.mark.parametrize("lane_values", [0, 256])
@pytest.mark.parametrize("coder, name", EACH)
def test_round_trip(coder, name, lane_values):
    levels, lo, bits = CASES[name]
    data, used = encoded(coder, name, lane_values)
    assert data.dtype == torch.uint8 and used.dtype == torch.int64
    assert not data[torch.arange(data.shape[1]) >= used[:, None]].any()
    decoded, status = operators(coder)[1](data, used, lo, bits, TABLE_ID, *levels.shape[1:])
    assert decoded.dtype == torch.int16 and status.dtype == torch.int32
    assert not status.any() and torch.equal(decoded, levels)


@pytest.mark.parametrize("coder", CODERS)
@settings(max_examples=150)
@given(data=st.data())
def test_decode_inverts_encode_and_both_are_the_reference(coder, data):
    choose = data.draw
    shape = tuple(choose(st.integers(0 if i == 0 else 1, 6)) for i in range(4))
    bits = choose(st.integers(1, 15))
    lo = choose(st.one_of(st.integers(-(2**bits) + 1, 0), st.integers(-32768, 32768 - 2**bits)))
    values = st.integers(lo, lo + 2**bits - 1)
    values = st.one_of(st.just(0), values) if lo <= 0 < lo + 2**bits else values
    flat = choose(st.lists(values, min_size=math.prod(shape), max_size=math.prod(shape)))
    levels = torch.tensor(flat, dtype=torch.int16).view(shape)
    encode, decode = operators(coder)
    rows, used = encode(levels, lo, bits, TABLE_ID, 1, 2)
    assert from_rows(rows, used) == [
        reference_stream(coder, image, lo, bits, (1, 2)) for image in levels
    ]
    decoded, status = decode(rows, used, lo, bits, TABLE_ID, *shape[1:])
    assert not status.any() and torch.equal(decoded, levels)


@pytest.mark.parametrize("coder", CODERS)
@given(log2=st.integers(8, 23), width=st.integers(1, 40))
def test_decoder_takes_any_chunks(coder, log2, width):
    levels = draw((1, 3, 5, width), -8, 5, seed=width)
    stream = reference_stream(coder, levels[0], -8, 5, (3, 4), log2)
    decoded, status = operators(coder)[1](*to_rows([stream]), -8, 5, TABLE_ID, 3, 5, width)
    assert not status.any() and torch.equal(decoded, levels)
    info = ops.stream_info(stream)
    assert info["coder"] == coder.replace("_", "-") and info["lanes"] == 1
    assert info["chunks"] == math.ceil(15 * width / 2**log2)


@pytest.mark.parametrize("coder", CODERS)
def test_any_strides(coder, layout):
    levels, lo, bits = CASES["8 bits"]
    encode, decode = operators(coder)
    data, used = encode(layout(levels), lo, bits, TABLE_ID)
    expected, expected_used = encoded(coder, "8 bits")
    assert torch.equal(data, expected) and torch.equal(used, expected_used)
    decoded, _ = decode(layout(data), used, lo, bits, TABLE_ID, *levels.shape[1:])
    assert torch.equal(decoded, levels)


# -- Damage ---------------------------------------------------------------------------------------


def message_of(coder, stream, name="8 bits"):
    """`damage.message_of` with that coder and the tables of a case."""
    levels, lo, bits = CASES[name]

    def decode(data, used):
        return operators(coder)[1](data, used, lo, bits, TABLE_ID, *levels.shape[1:])

    return damage.message_of(SimpleNamespace(decode=decode), stream)


@pytest.mark.parametrize("coder", CODERS)
def test_every_truncation_and_every_flipped_bit_is_refused(coder):
    stream = from_rows(*encoded(coder, "8 bits"))[0]
    assert message_of(coder, stream) is None
    for size in range(len(stream)):
        assert "end" in message_of(coder, stream[:size])
    for bit in range(8 * len(stream)):
        flipped = bytearray(stream)
        flipped[bit // 8] ^= 1 << bit % 8
        assert message_of(coder, bytes(flipped)) is not None
    assert "after the end" in message_of(coder, stream + b"\0")


@pytest.mark.parametrize("coder", CODERS)
@given(payload=st.binary(max_size=60))
def test_any_payload_with_right_checksums_is_safe(coder, payload):
    """Wrong codes are refused, right ones give levels that have words."""
    levels, lo, bits = CASES["two bits"]
    kind, _ = CODERS[coder]
    stream = streams.container(kind, (TABLE_ID, *levels.shape[1:], 16, 1, 0, 0), [payload])
    decoded, status = operators(coder)[1](*to_rows([stream]), lo, bits, TABLE_ID, *levels.shape[1:])
    assert decoded.min() >= lo and decoded.max() < lo + 2**bits
    if int(status[0]):
        assert not decoded.any()


def test_a_stream_of_the_other_coder_is_refused():
    for coder, other in itertools.permutations(CODERS):
        assert "coder" in message_of(other, from_rows(*encoded(coder, "8 bits"))[0])


# -- Operators as such ----------------------------------------------------------------------------


LEVELS = CASES["8 bits"][0]
WRONG = LEVELS.clone()
WRONG[2, 4, 6, 5] = 300
DATA, USED = encoded("ebpc", "8 bits")


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize(
    "args, message",
    [
        pytest.param(
            (WRONG, 0, 8, 7),
            "level 300 of component 4 in image 2 has no word of 8 bits; .* 0 to 255",
            marks=pytest.mark.cpu_only,
        ),
        ((LEVELS.int(), 0, 8, 7), "levels must be int16, but is int32"),
        ((LEVELS[0], 0, 8, 7), r"levels must have 4 dimensions \[N, K, H, W\]"),
        ((LEVELS, 0, 0, 7), "word_bits must be from 1 to 15, but is 0"),
        ((LEVELS, 0, 16, 7), "word_bits must be from 1 to 15, but is 16"),
        ((LEVELS, 32513, 8, 7), "lo must be from -32768 to 32512, but is 32513"),
        ((LEVELS, 0, 8, -1), "table_id must be from 0 to 65535, but is -1"),
        ((LEVELS, 0, 8, 7, 256), "crop_h must be from 0 to 255, but is 256"),
        ((LEVELS, 0, 8, 7, 0, 0, 64), "lane_values must be a power of two from 256 .* but is 64"),
    ],
)
def test_encode_errors(coder, args, message):
    with pytest.raises(RuntimeError, match=f"fmtc::{coder}_encode: {message}"):
        operators(coder)[0](*args)


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize(
    "args, message",
    [
        ((DATA.int(), USED, 0, 8, 7, 5, 7, 6), "bytes must be uint8, but is int32"),
        ((DATA[0], USED, 0, 8, 7, 5, 7, 6), r"bytes must have 2 dimensions \[N, bytes\]"),
        ((DATA, USED[:2], 0, 8, 7, 5, 7, 6), "dimension 0 of used must be 3"),
        ((DATA, USED, 0, 99, 7, 5, 7, 6), "word_bits must be from 1 to 15, but is 99"),
        ((DATA, USED, 0, 8, 7, -1, 7, 6), "the number of components must be from 0 .* is -1"),
        ((DATA, USED, 0, 8, 7, 9, 2**31, 2**31), "an image of .* values is too large"),
    ],
)
def test_decode_errors(coder, args, message):
    with pytest.raises(RuntimeError, match=f"fmtc::{coder}_decode: {message}"):
        operators(coder)[1](*args)


@pytest.mark.parametrize("coder", CODERS)
def test_what_levels_without_words_give_on_a_device(coder, backend):
    if backend == "cpu":
        pytest.skip("the CPU raises")
    encode = operators(coder)[0]
    data, used = encode(WRONG, 0, 8, 7)
    good_data, good_used = encode(LEVELS, 0, 8, 7)
    assert used.tolist() == [*good_used[:2].tolist(), -18]
    assert torch.equal(data[:2], good_data[:2])
