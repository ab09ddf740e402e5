"""The decoder of stream_decoder.py, which the document alone made, beside the operators."""

import dataclasses

import numpy as np
import pytest
import stream_decoder
import streams
import test_ops_huffman as huffman
import test_ops_positions as positions
import test_ops_rans as rans
import test_ops_words as words
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_decoder import Codec, Damaged, decode, read_header
from streams import from_rows, to_rows

from fmtc import ops


def rows(tensor):
    return tuple(map(tuple, tensor.tolist()))


def huffman_codec(case):
    table_of = tuple(case.table_of.tolist())
    lengths = rows(case.lengths)
    return Codec(streams.HUFFMAN, case.lo, case.TABLE_ID, lengths=lengths, table_of=table_of)


def rans_codec(case):
    lo = case.LO if isinstance(case, positions.Case) else case.lo
    frequencies, table_of = rows(case.frequencies), tuple(case.table_of.tolist())
    return Codec(streams.RANS, lo, case.TABLE_ID, frequencies=frequencies, table_of=table_of)


def words_codec(coder, lo, bits):
    return Codec(words.CODERS[coder][0], lo, words.TABLE_ID, word_bits=bits)


# -- What the operators write ---------------------------------------------------------------------

TABLE_CASES = [
    (make, module.CASES[name])
    for module, make in ((huffman, huffman_codec), (rans, rans_codec), (positions, rans_codec))
    for name in module.CASES
]


@pytest.mark.parametrize("make, case", TABLE_CASES)
def test_reads_what_the_operators_write(make, case):
    codec = make(case)
    for stream, levels in zip(case.streams(), case.levels, strict=True):
        assert np.array_equal(decode(stream, codec, case.shape), levels.numpy())


@pytest.mark.parametrize("lane_values", [0, 256])
@pytest.mark.parametrize("coder, name", words.EACH)
def test_reads_words_that_the_operators_write(coder, name, lane_values):
    levels, lo, bits = words.CASES[name]
    codec = words_codec(coder, lo, bits)
    made = from_rows(*words.encoded(coder, name, lane_values))
    for stream, image in zip(made, levels, strict=True):
        assert np.array_equal(decode(stream, codec, image.shape), image.numpy())


# -- Any stream that the format allows ------------------------------------------------------------


@st.composite
def any_stream(draw):
    """A stream, its codec, its levels [K, H, W], and the operator that decodes it."""
    shape = draw(st.tuples(st.integers(0, 4), st.integers(0, 12), st.integers(0, 40)))
    log2, seed = draw(st.integers(8, 23)), draw(st.integers(0, 99))
    crop = draw(st.tuples(st.integers(0, 255), st.integers(0, 255)))
    tables = draw(st.integers(1, max(1, shape[0])))
    kind = draw(st.sampled_from(["huffman", "rans", "classes", "ebpc", "dct_cm"]))
    if kind == "huffman":
        symbols = draw(st.sampled_from([1, 2, 7, 40]))
        limit = draw(st.integers(6, 15))
        case = huffman.Case((1, *shape), symbols, tables, limit, seed=seed)
        args = case.lo, case.table_of, case.lengths, case.TABLE_ID, crop, log2
        lanes = 2 ** draw(st.integers(0, 4))
        stream = huffman.reference_stream(case.levels[0], *args, lanes)
        return stream, huffman_codec(case), case.levels[0], case.decode
    if kind == "rans":
        symbols = draw(st.sampled_from([1, 2, 7, 40, 300]))
        scale = draw(st.sampled_from([0.1, 2.0, 50.0]))
        case = rans.Case((1, *shape), symbols, tables, scale, log2_total=draw(st.integers(8, 12)))
        args = case.lo, case.table_of, case.frequencies, case.TABLE_ID, crop, log2
        lanes = 2 ** draw(st.integers(0, 6))
        stream = rans.reference_stream(case.levels[0], *args, lanes)
        return stream, rans_codec(case), case.levels[0], case.decode
    if kind == "classes":
        shape = tuple(max(1, size) for size in shape)
        case = positions.Case((1, *shape), draw(st.integers(2, 8)), tables, crop=crop)
        arranged = positions.reference_arrange(case.levels[0], case.classes[0], case.num_classes)
        lanes = 2 ** draw(st.integers(0, 6))
        stream = positions.stream_of(case, *arranged, log2, lanes)
        return stream, rans_codec(case), case.levels[0], case.decode
    bits = draw(st.integers(1, 15))
    lowest = [0, -1, -(2 ** (bits - 1)), 5 if bits < 15 else 0]  # all words are levels
    lo = draw(st.sampled_from(lowest))
    levels = words.draw((1, *shape), lo, bits, draw(st.sampled_from([0, 0.4, 0.95])), seed)
    stream = words.reference_stream(kind, levels[0], lo, bits, crop, log2)
    _, decoder = words.operators(kind)

    def run(data, used):
        return decoder(data, used, lo, bits, words.TABLE_ID, *shape)

    return stream, words_codec(kind, lo, bits), levels[0], run


@settings(max_examples=150)
@given(any_stream())
def test_agrees_with_the_operators_on_any_stream(sample):
    stream, codec, levels, run = sample
    decoded, status = run(*to_rows([stream]))
    assert not status.any() and torch.equal(decoded[0], levels)
    assert np.array_equal(decode(stream, codec, levels.shape), levels.numpy())


@settings(max_examples=300)
@given(any_stream(), st.data())
def test_agrees_with_the_operators_on_damage_behind_the_checksums(sample, data):
    """Both refuse it, or both read the same levels."""
    stream, codec, levels, run = sample
    kind, fields, payloads, counts = split(stream)
    if not payloads:
        return
    chunk = data.draw(st.integers(0, len(payloads) - 1))
    payload = bytearray(payloads[chunk])
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(payload) - 1))
        payload[place] = data.draw(st.integers(0, 255))
    size = data.draw(st.integers(-2, 2))
    payloads[chunk] = bytes(payload[: len(payload) + min(size, 0)]) + bytes(max(size, 0))
    damaged = streams.container(kind, fields, payloads, counts)
    decoded, status = run(*to_rows([damaged]))
    try:
        expected = decode(damaged, codec, levels.shape)
    except Damaged as error:
        assert status.tolist() == [error.status]
    else:
        assert not status.any() and np.array_equal(decoded[0].numpy(), expected)


def split(stream):
    """What ``streams.container`` made a stream of."""
    header = read_header(stream)
    fields = header.table_id, *header.shape, header.log2_chunk, header.lanes, *header.crop
    payloads = [stream[begin:end] for begin, end, _ in header.payloads]
    return header.coder, fields, payloads, header.positions


# -- The document's examples ----------------------------------------------------------------------

HUFFMAN_TABLES = ((2, 1, 2), (1, 2, 2))
EXAMPLES = {
    "Huffman": (
        "66 6D 21 18 07 00 02 02 03 07 E3 3F AD 0A 01 00 00 00 0E 8B 01",
        Codec(streams.HUFFMAN, -1, 7, lengths=HUFFMAN_TABLES, table_of=(0, 0)),
        [[[0, 1, -1], [0, 0, 0]], [[1, 0, -1], [0, 0, 1]]],
    ),
    "rANS": (
        "66 6D 22 19 07 00 01 02 03 0E 6E 8E ED 27 A1 43 10 00 FF 00 04 00 FF 00 D4 FE 05 00",
        Codec(streams.RANS, -1, 7, frequencies=((64, 128, 63, 1),), table_of=(0,)),
        [[[0, 5, 1], [-300, 0, -1]]],
    ),
    "classes of positions": (
        "66 6D 21 88 07 00 01 03 03 03 02 02 C9 6B FF 2D 87 4D 00",
        Codec(streams.HUFFMAN, -1, 7, lengths=HUFFMAN_TABLES, table_of=(0, 1, 0)),
        [[[0, 1, -1], [0, 0, 1], [-1, 0, 0]]],
    ),
    "EBPC": (
        "66 6D 23 08 07 00 03 02 02 05 2E 3B 3B F3 64 F0 97 22 00",
        Codec(streams.EBPC, 0, 7, word_bits=4),
        [[[0, 0], [0, 5]], [[6, 0], [7, 7]], [[7, 7], [7, 7]]],
    ),
    "DCT-CM": (
        "66 6D 24 08 07 00 02 01 05 03 35 71 CF 83 12 7E 06",
        Codec(streams.DCT_CM, -4, 7, word_bits=3),
        [[[0, 3, 0, 0, -1]], [[0, 0, 0, 0, 2]]],
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_reads_the_examples_and_nothing_else(name):
    text, codec, levels = EXAMPLES[name]
    stream, levels = bytes.fromhex(text), np.array(levels, np.int16)
    assert np.array_equal(decode(stream, codec, levels.shape), levels)
    for size in range(len(stream)):
        with pytest.raises(Damaged):
            decode(stream[:size], codec, levels.shape)
    for bit in range(8 * len(stream)):
        flipped = bytearray(stream)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged):
            decode(bytes(flipped), codec, levels.shape)


@pytest.mark.parametrize("module, make", [(huffman, huffman_codec), (rans, rans_codec)])
@pytest.mark.parametrize("lo", [32767, 32755])
def test_levels_beyond_the_range_wrap_around(module, make, lo):
    """No encoder writes them; all decoders make the same of them ("Levels at the end ...")."""
    case = module.Case((2, 3, 20, 33))
    codec = dataclasses.replace(make(case), lo=lo)
    data, used = case.encode()
    arguments = list(case.decode_args(data, used))
    arguments[2] = lo
    levels, _ = (ops.huffman_decode if module is huffman else ops.rans_decode)(*arguments)
    moved = (case.levels.long() + lo - case.lo).to(torch.int16)
    direct = levels != case.levels  # escaped ones are what they were
    assert direct.any() and torch.equal(levels[direct], moved[direct])
    assert (levels[direct] < 0).any()
    for stream, image in zip(case.streams(), levels, strict=True):
        assert np.array_equal(decode(stream, codec, case.shape), image.numpy())


def test_tables_that_make_no_code_are_refused():
    for lengths in ((1, 2), (1, 1, 1), (2,), (0, 0), (16,) * 65536):
        with pytest.raises(ValueError):
            stream_decoder.canonical_codes(lengths)
    for frequencies in ((255, 0), (256, 1), (-1, 256, 1), (1,) * 257, (1, *[0] * 254, 254, 1)):
        with pytest.raises(ValueError):
            stream_decoder.slots_of(frequencies, 0)
    assert len(stream_decoder.slots_of((255, 1), 0)) == 256
    assert stream_decoder.canonical_codes((0, 1)) == {(1, 0): 1}
