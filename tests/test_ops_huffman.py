"""Huffman lengths, tables and streams against slow, obvious implementations of their own."""

import heapq
import itertools
import math
import struct

import pytest
import streams
import torch
from damage import message_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from streams import from_rows, to_rows

from fmtc import ops
from fmtc.errors import StreamError

pytestmark = pytest.mark.usefixtures("backend")

# -- References -----------------------------------------------------------------------------------


def reference_cost(counts):
    """Total bits of a Huffman code without a length limit: the sum of all merged weights."""
    heap = [c for c in counts if c > 0]
    if len(heap) == 1:
        return heap[0]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


def reference_limited_cost(counts, max_length):
    """The same with a limit: tries every complete code, longer codes for rarer symbols."""
    counts = sorted((c for c in counts if c > 0), reverse=True)
    if len(counts) == 1:
        return counts[0]
    codes = itertools.combinations_with_replacement(range(1, max_length + 1), len(counts))
    return min(
        sum(c * n for c, n in zip(counts, code, strict=True))
        for code in codes
        if sum(2 ** (max_length - n) for n in code) == 2**max_length
    )


def reference_codes(lengths):
    """Canonical codes as strings of "0" and "1", by symbol."""
    codes, code, previous = {}, 0, 0
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths) if n > 0):
        code <<= length - previous
        codes[symbol] = f"{code:0{length}b}"
        code, previous = code + 1, length
    return codes


def pack_bits(bits):
    """Bit string to bytes, the first bit into bit 0 of the first byte."""
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8][::-1], 2) for i in range(0, len(bits), 8))


def reference_payload(codes, substreams):
    """A chunk of the codes of its values."""
    run = math.ceil(len(codes) / substreams)
    runs = [pack_bits("".join(codes[i * run : (i + 1) * run])) for i in range(substreams)]
    return b"".join(struct.pack("<I", len(r)) for r in runs[:-1]) + b"".join(runs)


def reference_container(fields, payloads):
    return streams.container(streams.HUFFMAN, fields, payloads)


def reference_stream(
    levels, lo, table_of, lengths, table_id, crop=(0, 0), log2=16, substreams=None, lane_values=0
):
    """The stream of levels [K, H, W] as docs/stream_format.md describes it."""
    tables = [reference_codes(row) for row in lengths.tolist()]
    codes = [
        tables[table][level - lo]
        for component, table in zip(levels.tolist(), table_of.tolist(), strict=True)
        for line in component
        for level in line
    ]
    if lane_values:
        log2, substreams = streams.chunking(len(codes), 16, lane_values)
    substreams = substreams or (1 if len(codes) < 4096 else 4)
    chunks = [codes[i : i + 2**log2] for i in range(0, len(codes), 2**log2)]
    payloads = [reference_payload(chunk, substreams) for chunk in chunks]
    return reference_container((table_id, *levels.shape, log2, substreams, *crop), payloads)


# -- Inputs ---------------------------------------------------------------------------------------


class Case:
    """Levels with tables that can code them."""

    TABLE_ID = 0xBEEF

    def __init__(
        self, shape, symbols=16, tables=1, max_length=15, lo=-7, peak=0.3, seed=0, lane_values=0
    ):
        self.lane_values = lane_values
        generator = torch.Generator().manual_seed(seed)
        self.lo, self.hi = lo, lo + symbols - 1
        skew = torch.empty(shape).geometric_(peak, generator=generator) - 1
        self.levels = (lo + skew.remainder(symbols)).to(torch.int16)
        self.table_of = torch.arange(shape[1]) % tables
        self.counts = ops.histogram(self.levels, lo, self.hi, self.table_of, tables)
        self.lengths = ops.huffman_lengths(self.counts + 1, max_length)
        self.encode_table, self.decode_table = ops.huffman_tables(self.lengths)

    def encode_args(self, levels=None):
        levels = self.levels if levels is None else levels
        lanes = (0, 0, self.lane_values) if self.lane_values else ()
        return levels, self.lo, self.table_of, self.encode_table, self.TABLE_ID, *lanes

    def decode_args(self, data, used):
        return data, used, self.lo, self.table_of, self.decode_table, self.TABLE_ID, *self.shape

    @property
    def shape(self):
        return tuple(self.levels.shape[1:])

    def encode(self):
        return ops.huffman_encode(*self.encode_args())

    def decode(self, data, used):
        return ops.huffman_decode(*self.decode_args(data, used))

    def streams(self):
        return from_rows(*self.encode())


CASES = {
    "several tables": Case((3, 5, 7, 6), tables=3),
    "one channel": Case((2, 1, 9, 4)),
    "one value": Case((1, 1, 1, 1)),
    "one symbol": Case((2, 3, 4, 4), symbols=1),
    "two symbols": Case((2, 3, 4, 4), symbols=2),
    "4096 symbols": Case((1, 4, 40, 40), symbols=4096, lo=-2048, peak=0.001),
    "sub-streams": Case((2, 8, 32, 32), tables=2),
    "several chunks": Case((2, 6, 150, 101), symbols=200, tables=2, peak=0.05),
    "short lanes": Case((2, 8, 32, 32), tables=2, lane_values=256),
    "short lanes, one symbol": Case((2, 8, 32, 32), symbols=1, lane_values=256),
    "one value in the last chunk": Case((2, 1, 17, 241), peak=0.1, lane_values=256),
    "one short lane": Case((2, 3, 13, 13), lane_values=256),
    "few short lanes": Case((2, 3, 30, 31), lane_values=512),
    "long lanes": Case((1, 6, 150, 151), tables=2, lane_values=65536),
    "short codes": Case((2, 3, 8, 8), symbols=16, max_length=4),
    "lowest levels": Case((2, 3, 8, 8), symbols=4, lo=-32768),
    "highest levels": Case((2, 3, 8, 8), symbols=4, lo=32764),
    "batch 0": Case((0, 3, 4, 4)),
    "no components": Case((2, 0, 4, 4)),
    "no pixels": Case((2, 3, 0, 4)),
}


def sample_inputs():
    """Operator name and arguments, for the tests that treat all operators alike."""
    yield "huffman_lengths", (torch.randint(0, 99, (3, 40)), 9)
    yield "huffman_lengths", (torch.empty(0, 5, dtype=torch.int64), 9)
    for case in CASES.values():
        yield "huffman_tables", (case.lengths,)
        yield "huffman_encode", case.encode_args()
        yield "huffman_decode", case.decode_args(*case.encode())
    yield "huffman_tables", (torch.empty(0, 5, dtype=torch.uint8),)


SAMPLES = list(sample_inputs())

# -- Lengths and tables ---------------------------------------------------------------------------


def costs(counts, lengths):
    return (counts * lengths.long()).sum(1).tolist()


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any))
def test_lengths_are_optimal(counts):
    lengths = ops.huffman_lengths(torch.tensor([counts]), 15)
    assert [n > 0 for n in lengths[0].tolist()] == [c > 0 for c in counts]
    # Codes of more than 15 bits need counts that grow like Fibonacci's numbers: over 1000.
    assert costs(torch.tensor([counts]), lengths) == [reference_cost(counts)]


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=7).filter(any), st.integers(1, 6))
def test_limited_lengths_are_optimal(counts, max_length):
    assume(2**max_length >= sum(c > 0 for c in counts))
    lengths = ops.huffman_lengths(torch.tensor([counts]), max_length)
    assert int(lengths.max()) <= max_length
    assert costs(torch.tensor([counts]), lengths) == [reference_limited_cost(counts, max_length)]


@pytest.mark.parametrize("symbols", [2, 3, 256, 1000, 4096])
def test_lengths_of_large_alphabets(symbols):
    generator = torch.Generator().manual_seed(symbols)
    counts = torch.randint(50, 100, (2, symbols), generator=generator)
    lengths = ops.huffman_lengths(counts, 15)
    assert lengths.dtype == torch.uint8 and lengths.shape == counts.shape
    assert costs(counts, lengths) == [reference_cost(row) for row in counts.tolist()]
    assert (2.0 ** -lengths.double()).sum(1).tolist() == [1, 1]


def test_lengths_of_fibonacci_counts_meet_the_limit():
    counts = [1, 1]
    while len(counts) < 40:
        counts.append(counts[-1] + counts[-2])
    lengths = ops.huffman_lengths(torch.tensor([counts]), 15)
    assert int(lengths.max()) == 15
    assert float((2.0 ** -lengths.double()).sum()) == 1


@given(st.lists(st.integers(1, 500), min_size=2, max_size=300))
def test_rate_is_within_a_bit_of_the_entropy(counts):
    counts = torch.tensor([counts])
    rate = costs(counts, ops.huffman_lengths(counts, 15))[0] / int(counts.sum())
    entropy = float(ops.entropy(counts))
    assert entropy - 1e-9 <= rate <= entropy + 1


@pytest.mark.parametrize("name", CASES)
def test_tables(name):
    lengths = CASES[name].lengths
    encode_table, decode_table = ops.huffman_tables(lengths)
    longest = max(int(lengths.max()), 1)
    assert encode_table.dtype == decode_table.dtype == torch.int32
    assert decode_table.shape == (lengths.shape[0], 2**longest)
    for row, encode, decode in zip(lengths.tolist(), encode_table, decode_table, strict=True):
        codes = reference_codes(row)
        for symbol, code in codes.items():
            assert int(encode[symbol]) == len(code) << 16 | int(code[::-1], 2)
        symbols = {code: symbol for symbol, code in codes.items()}
        for index, entry in enumerate(decode.tolist()):
            bits = format(index, f"0{longest}b")[::-1]
            first = _first_code(bits, symbols)
            second = _first_code(bits[len(first) : 11], symbols) if first else ""
            length = len(first) + len(second)
            packed = length << 28 | len(second) << 12
            packed |= symbols.get(second, 0) << 16 | symbols.get(first, 0)
            assert entry % 2**32 == packed


def _first_code(bits, symbols):
    """The code that a string of bits begins with, empty where there is none."""
    return next((bits[:n] for n in range(1, len(bits) + 1) if bits[:n] in symbols), "")


# -- Streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_streams_are_those_of_the_format(name):
    case = CASES[name]
    args = case.lo, case.table_of, case.lengths, case.TABLE_ID
    expected = [reference_stream(i, *args, lane_values=case.lane_values) for i in case.levels]
    assert case.streams() == expected


@pytest.mark.parametrize(
    "name, chunks, lanes",
    [
        ("short lanes", 2, 16),
        ("one value in the last chunk", 2, 16),
        ("one short lane", 1, 1),
        ("few short lanes", 1, 4),
        ("long lanes", 1, 2),
    ],
)
def test_lane_values_make_chunks_and_lanes(name, chunks, lanes):
    info = ops.stream_info(CASES[name].streams()[0])
    assert (info["chunks"], info["lanes"]) == (chunks, lanes)


@pytest.mark.parametrize("lane_values", [0, 256])
def test_the_longest_codes_fit_the_buffer(lane_values):
    """All values have codes of 15 bits, and the last chunk has only one value."""
    lengths = torch.tensor([[*range(1, 15), 15, 15]], dtype=torch.uint8)
    encode_table, decode_table = ops.huffman_tables(lengths)
    one, levels = torch.zeros(1, dtype=torch.int64), torch.full((1, 1, 1, 3 * 2**16 + 1), 15)
    levels = levels.to(torch.int16)
    data, used = ops.huffman_encode(levels, 0, one, encode_table, 7, 1, 1, lane_values)
    assert 15 * levels.numel() / 8 < int(used) <= data.shape[1]
    decoded, status = ops.huffman_decode(data, used, 0, one, decode_table, 7, *levels.shape[1:])
    assert not status.any() and torch.equal(decoded, levels)


@pytest.mark.parametrize("name", CASES)
def test_round_trip(name):
    case = CASES[name]
    data, used = case.encode()
    assert data.dtype == torch.uint8 and used.dtype == torch.int64
    behind = torch.arange(data.shape[1]) >= used[:, None]
    assert not data[behind].any()
    levels, status = case.decode(data, used)
    assert levels.dtype == torch.int16 and status.dtype == torch.int32
    assert not status.any() and torch.equal(levels, case.levels)
    ops.check_status(status)


@settings(max_examples=200)
@given(st.data())
def test_decode_inverts_encode(data):
    """Any shape, alphabet, range, tables and limit, with levels that do not suit the tables."""
    draw = data.draw
    n, k, h, w = (draw(st.integers(0 if i == 0 else 1, 6)) for i in range(4))
    symbols = draw(st.one_of(st.integers(1, 20), st.integers(2, 4096)))
    tables = draw(st.integers(1, 4))
    lo = draw(st.integers(-32768, 32767 - symbols + 1))
    fewest = max(math.ceil(math.log2(symbols)), 1)
    max_length = draw(st.integers(fewest, 15))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    counts = torch.randint(1, draw(st.integers(2, 10**9)), (tables, symbols), generator=generator)
    encode_table, decode_table = ops.huffman_tables(ops.huffman_lengths(counts, max_length))
    table_of = torch.randint(0, tables, (k,), generator=generator)
    levels = (lo + torch.randint(0, symbols, (n, k, h, w), generator=generator)).to(torch.int16)
    encoded, used = ops.huffman_encode(levels, lo, table_of, encode_table, 7, 1, 2)
    decoded, status = ops.huffman_decode(
        encoded, used, lo, table_of, decode_table, 7, *levels.shape[1:]
    )
    assert not status.any() and torch.equal(decoded, levels)


@given(st.integers(8, 23), st.sampled_from([1, 2, 4, 8, 16]), st.integers(1, 40))
def test_decoder_takes_any_chunks_and_substreams(log2, substreams, width):
    case = Case((1, 3, 5, width), tables=2, seed=width)
    stream = reference_stream(
        case.levels[0],
        case.lo,
        case.table_of,
        case.lengths,
        case.TABLE_ID,
        (3, 4),
        log2,
        substreams,
    )
    levels, status = case.decode(*to_rows([stream]))
    assert not status.any() and torch.equal(levels, case.levels)
    info = ops.stream_info(stream)
    assert info["lanes"] == substreams and (info["crop_h"], info["crop_w"]) == (3, 4)
    assert info["chunks"] == math.ceil(15 * width / 2**log2)


def test_streams_of_one_batch_may_have_different_chunks():
    case = CASES["sub-streams"]
    args = case.lo, case.table_of, case.lengths, case.TABLE_ID, (0, 0)
    mixed = [
        reference_stream(case.levels[0], *args, 8, 16),
        reference_stream(case.levels[1], *args, 23, 1),
    ]
    levels, status = case.decode(*to_rows(mixed))
    assert not status.any() and torch.equal(levels, case.levels)


def test_a_stream_does_not_depend_on_its_batch():
    case = CASES["several tables"]
    alone = [ops.huffman_encode(*case.encode_args(image[None])) for image in case.levels]
    assert case.streams() == [bytes(d[0, : int(u)].tolist()) for d, u in alone]


def test_encode_takes_any_strides(layout):
    case = CASES["several tables"]
    data, used = ops.huffman_encode(*case.encode_args(layout(case.levels)))
    expected, expected_used = case.encode()
    assert torch.equal(data, expected) and torch.equal(used, expected_used)


def test_decode_takes_any_strides(layout):
    case = CASES["several tables"]
    data, used = case.encode()
    levels, status = ops.huffman_decode(
        layout(data),
        used,
        case.lo,
        case.table_of,
        layout(case.decode_table),
        case.TABLE_ID,
        *case.shape,
    )
    assert not status.any() and torch.equal(levels, case.levels)


def test_stream_info():
    case = CASES["sub-streams"]
    data, used = ops.huffman_encode(*case.encode_args(), 3, 255)
    stream = bytes(data[0, : int(used[0])].tolist())
    expected = {
        "version": 2,
        "coder": "huffman",
        "channels": 8,
        "height": 32,
        "width": 32,
        "table_id": case.TABLE_ID,
        "chunks": 1,
        "lanes": 4,
        "crop_h": 3,
        "crop_w": 255,
        "classes": 1,
        "size": len(stream),
    }
    assert ops.stream_info(stream) == expected
    assert ops.stream_info(stream + b"the next stream") == expected
    assert ops.stream_info(memoryview(stream)) == expected


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda s: b"", "end"),
        (lambda s: s[:9], "end"),
        (lambda s: s[:-1], "end"),
        (lambda s: b"FM" + s[2:], "no fmtc stream"),
        (lambda s: s[:2] + b"\x11" + s[3:], "version"),
        (lambda s: s[:2] + b"\x27" + s[3:], "coder"),
        (lambda s: s[:7] + b"\x87\x00" + s[8:], "more bytes than it needs"),
        (lambda s: s[:4] + b"\x09" + s[5:], "checksum"),
    ],
)
def test_stream_info_refuses_other_bytes(damage, message):
    stream = CASES["several tables"].streams()[0]
    with pytest.raises(StreamError, match=message):
        ops.stream_info(damage(stream))


# -- Damage ---------------------------------------------------------------------------------------


def one_chunk_stream(payload):
    """A stream of the case "one symbol" (3 x 4 x 4 values of one bit) with any payload."""
    return reference_container((Case.TABLE_ID, 3, 4, 4, 16, 1, 0, 0), [payload])


@pytest.mark.parametrize(
    "payload",
    [
        bytes(5),  # a byte missing
        bytes(7),  # a byte too much
        bytes(5) + b"\x01",  # a bit that is no code
        b"\xff" * 6,
        b"",
    ],
)
def test_payloads_with_right_checksums_and_wrong_codes_are_refused(payload):
    case = CASES["one symbol"]
    assert message_of(case, one_chunk_stream(bytes(6))) is None
    assert message_of(case, one_chunk_stream(payload)) is not None


def test_padding_must_be_zero():
    case = CASES["one value"]
    code = reference_codes(case.lengths[0].tolist())[int(case.levels) - case.lo]
    fields = (case.TABLE_ID, 1, 1, 1, 16, 1, 0, 0)
    assert message_of(case, reference_container(fields, [pack_bits(code)])) is None
    padded = pack_bits(code + "0" * (7 - len(code) % 8) + "1")
    assert message_of(case, reference_container(fields, [padded])) is not None


@pytest.mark.parametrize("sizes", [(0, 0, 0), (2**32 - 1, 1, 1), (10**6, 0, 0), (700, 700, 700)])
def test_wrong_sizes_of_substreams_are_refused(sizes):
    case = CASES["sub-streams"]
    fields = (case.TABLE_ID, *case.shape, 16, 4, 0, 0)
    _, _, [payload] = streams.split(case.streams()[0])
    assert message_of(case, reference_container(fields, [payload])) is None
    changed = struct.pack("<III", *sizes) + payload[12:]
    assert message_of(case, reference_container(fields, [changed])) is not None


@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=8, max_size=8))
def test_any_table_entries_are_safe(entries):
    """Tables may come from a file: wrong ones give wrong levels or an error, nothing worse."""
    table = torch.tensor([entries], dtype=torch.int32)
    levels, table_of = torch.arange(8, dtype=torch.int16).reshape(1, 1, 2, 4), torch.tensor([0])
    try:
        data, used = ops.huffman_encode(levels, 0, table_of, table, 0)
    except RuntimeError:
        data, used = to_rows([reference_container((0, 1, 2, 4, 16, 1, 0, 0), [b"\x5a\xa5"])])
    ops.huffman_decode(data, used, 0, table_of, table, 0, 1, 2, 4)


# -- Operators as such ----------------------------------------------------------------------------


@pytest.mark.cpu_only
def test_export_with_dynamic_batch_and_size():
    case = CASES["several tables"]

    class Coder(torch.nn.Module):
        def forward(self, y):
            levels, _ = ops.quantize(y, 1.0, case.lo, case.hi)
            data, used = ops.huffman_encode(*case.encode_args(levels))
            decoded, status = ops.huffman_decode(
                *case.decode_args(data, used)[:6], *levels.shape[1:]
            )
            return ops.dequantize(decoded, 1.0), status

    sizes = {0: torch.export.Dim("n", max=64), 2: torch.export.Dim("h", max=256)}
    exported = torch.export.export(Coder(), (case.levels.float(),), dynamic_shapes=(sizes,))
    other = Case((2, 5, 90, 6), tables=3, seed=1).levels
    decoded, status = exported.module()(other.float())
    assert torch.equal(decoded, other.float()) and not status.any()


CASE = CASES["several tables"]
NO_CODE = CASE.encode_table.clone()
NO_CODE[1, int(CASE.levels[0, 1, 0, 0]) - CASE.lo] = 0
LEVELS = CASE.levels.clone()
LEVELS[2, 4, 6, 5] = 300
ENCODE, DECODE = CASE.encode_args(), CASE.decode_args(*CASE.encode())


def encode_with(**changes):
    names = ["levels", "lo", "table_of", "encode_table", "table_id"]
    return ops.huffman_encode(**{**dict(zip(names, ENCODE, strict=True)), **changes})


def decode_with(**changes):
    names = ["bytes", "used", "lo", "table_of", "decode_table", "table_id"]
    names += ["channels", "height", "width"]
    return ops.huffman_decode(**{**dict(zip(names, DECODE, strict=True)), **changes})


ERRORS = [
    (
        lambda: ops.huffman_lengths(torch.ones(2, 5), 9),
        "huffman_lengths: counts must be int64, but is float32",
    ),
    (
        lambda: ops.huffman_lengths(torch.ones(5).long(), 9),
        r"huffman_lengths: counts must have 2 dimensions \[T, L\], .* \[5\]",
    ),
    (
        lambda: ops.huffman_lengths(torch.ones(2, 5).long(), 16),
        "huffman_lengths: max_length must be from 1 to 15, but is 16",
    ),
    (
        lambda: ops.huffman_lengths(torch.ones(1, 4097).long(), 15),
        "huffman_lengths: dimension 1 of counts must be from 1 to 4096, but is 4097",
    ),
    (
        lambda: ops.huffman_lengths(torch.tensor([[1, 1, 0], [1, 1, 1]]), 1),
        "huffman_lengths: max_length = 1 leaves too few codes for the symbols of table 1",
    ),
    (
        lambda: ops.huffman_lengths(torch.tensor([[1, -1]]), 9),
        "huffman_lengths: counts must not be negative .* table 0",
    ),
    (
        lambda: ops.huffman_tables(torch.tensor([[1, 1], [1, 2]]).byte()),
        "huffman_tables: lengths of table 1: ",
    ),
    (
        lambda: ops.huffman_tables(torch.tensor([[1, 1, 1]]).byte()),
        "huffman_tables: lengths of table 0",
    ),
    (
        lambda: ops.huffman_tables(torch.tensor([[0, 2]]).byte()),
        "huffman_tables: lengths of table 0",
    ),
    (
        lambda: ops.huffman_tables(torch.tensor([[0, 0]]).byte()),
        "huffman_tables: lengths of table 0",
    ),
    (
        lambda: ops.huffman_tables(torch.tensor([[1, 16]]).byte()),
        "huffman_tables: lengths must be at most 15, but the longest is 16",
    ),
    (
        lambda: ops.huffman_tables(torch.tensor([[1, 1]])),
        "huffman_tables: lengths must be uint8, but is int64",
    ),
    pytest.param(
        lambda: encode_with(levels=LEVELS),
        "huffman_encode: level 300 of component 4 in image 2 has no code in table 1; "
        "the tables are for levels from -7 to 8",
        marks=pytest.mark.cpu_only,
    ),
    pytest.param(
        lambda: encode_with(encode_table=NO_CODE),
        "huffman_encode: level .* of component 1 in image 0 has no code in table 1",
        marks=pytest.mark.cpu_only,
    ),
    (
        lambda: encode_with(levels=LEVELS.int()),
        "huffman_encode: levels must be int16, but is int32",
    ),
    (
        lambda: encode_with(levels=LEVELS[0]),
        r"huffman_encode: levels must have 4 dimensions \[N, K, H, W\], .* \[5, 7, 6\]",
    ),
    (
        lambda: encode_with(table_of=CASE.table_of[:4]),
        r"huffman_encode: dimension 0 of table_of must be 5 .* \[4\]",
    ),
    pytest.param(
        lambda: encode_with(table_of=CASE.table_of + 1),
        "huffman_encode: table_of must be from 0 to 2 .*, but component 2 has 3",
        marks=pytest.mark.cpu_only,
    ),
    (
        lambda: encode_with(encode_table=CASE.encode_table.long()),
        "huffman_encode: encode_table must be int32, but is int64",
    ),
    (lambda: encode_with(lo=40000), "huffman_encode: lo must be from -32768 .* is 40000"),
    (lambda: encode_with(table_id=-1), "huffman_encode: table_id must be .* is -1"),
    (lambda: encode_with(table_id=2**16), "huffman_encode: table_id must be .* is 65536"),
    (lambda: encode_with(crop_w=256), "huffman_encode: crop_w must be from 0 to 255, but is 256"),
    *(
        (
            lambda wrong=wrong: encode_with(lane_values=wrong),
            "huffman_encode: lane_values must be a power of two from 256 to 65536, or 0 for the "
            f"coder's own choice, but is {wrong}$",
        )
        for wrong in (-256, 1, 128, 1000, 65537, 131072, 2**32 + 1024)
    ),
    (
        lambda: decode_with(bytes=DECODE[0].int()),
        "huffman_decode: bytes must be uint8, but is int32",
    ),
    (
        lambda: decode_with(bytes=DECODE[0][0]),
        r"huffman_decode: bytes must have 2 dimensions \[N, bytes\]",
    ),
    (
        lambda: decode_with(used=DECODE[1][:2]),
        r"huffman_decode: dimension 0 of used must be 3 .* \[2\]",
    ),
    (
        lambda: decode_with(decode_table=CASE.decode_table[:, :3]),
        "huffman_decode: dimension 1 of decode_table must be a power of two .* is 3",
    ),
    (
        lambda: decode_with(channels=4),
        r"huffman_decode: dimension 0 of table_of must be 4 .* \[5\]",
    ),
    (lambda: decode_with(height=-1), "huffman_decode: the height must be from 0 .* is -1"),
    (
        lambda: decode_with(height=2**31, width=2**31),
        "huffman_decode: an image of 5 x 2147483648 x 2147483648 values is too large",
    ),
]


@pytest.mark.parametrize("call, message", ERRORS)
def test_errors(call, message):
    with pytest.raises(RuntimeError, match=f"fmtc::{message}"):
        call()


def test_what_wrong_values_give_on_a_device(backend):
    """Where raising would mean waiting, sizes tell: minus what `check_status` would say."""
    if backend == "cpu":
        pytest.skip("the CPU raises")
    levels = CASE.levels.clone()
    levels[2, 4, 6, 5] = 300
    data, used = encode_with(levels=levels)
    good_data, good_used = encode_with()
    assert used.tolist() == [*good_used[:2].tolist(), -18]
    assert torch.equal(data[:2], good_data[:2])
    wrong, right = CASE.table_of.clone(), CASE.table_of.clone()
    wrong[:3] = torch.tensor([-1, len(CASE.encode_table), 2**40])
    right[:3] = len(CASE.encode_table) - 1  # what names no table counts as the last
    for call in (encode_with, decode_with):
        for got, expected in zip(call(table_of=wrong), call(table_of=right), strict=True):
            assert torch.equal(got, expected)


@pytest.mark.parametrize("seed", range(4))
def test_tables_that_contradict_themselves_on_a_device(seed, backend):
    """Whatever is in them: streams fit their buffers, and decoding touches nothing else."""
    if backend == "cpu":
        pytest.skip("the CPU raises")
    torch.manual_seed(seed)
    entries = torch.randint(-(2**31), 2**31, (3, 2**9), dtype=torch.int32)
    levels = torch.randint(0, 512, (2, 5, 9, 7), dtype=torch.int16)
    table_of = torch.randint(-5, 30, (5,))
    data, used = ops.huffman_encode(levels, 0, table_of, entries, 3)
    assert (used < data.shape[1]).all()
    decoded, status = ops.huffman_decode(data, used, 0, table_of, entries, 3, 5, 9, 7)
    assert decoded.shape == levels.shape and not decoded[status != 0].any()
