"""rANS frequencies, tables and streams against slow, obvious implementations of their own."""

import hashlib
import math
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import streams
import torch
from damage import message_of
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import from_rows, to_rows

from fmtc import ops
from fmtc.errors import StreamError

pytestmark = pytest.mark.usefixtures("backend")

# -- References -----------------------------------------------------------------------------------


def cost(counts, frequencies):
    """Bits that counts take with these frequencies, both lists."""
    total = sum(frequencies)
    escape = 16 + math.log2(total / frequencies[-1])
    codes = [math.log2(total / f) if f else escape for f in frequencies[:-1]]
    return sum(count * code for count, code in zip(counts, codes, strict=True))


def best_cost(counts, log2_total):
    """Bits with the best of all tables that make the k most frequent levels direct, over all k."""
    best = math.inf
    ordered = sorted(counts, reverse=True)
    for direct in range(len(ordered) + 1):
        weights = [*ordered[:direct], sum(ordered[direct:])]
        slots = [1] * len(weights)
        gains = [w * math.log2(2) for w in weights]
        for _ in range(2**log2_total - len(slots)):
            most = gains.index(max(gains))
            slots[most] += 1
            gains[most] = weights[most] * math.log2(1 + 1 / slots[most])
        bits = sum(w * (log2_total - math.log2(s)) for w, s in zip(weights, slots, strict=True))
        best = min(best, bits + 16 * weights[-1])
    return best


def encode_payload(levels, tables, lo, states):
    """A chunk: levels, and for each the frequencies of its table, as the format describes it."""
    x = [65536] * states
    words, escapes = [], []
    for i in reversed(range(len(levels))):
        frequencies = tables[i]
        total, symbol = sum(frequencies), levels[i] - lo
        if not 0 <= symbol < len(frequencies) - 1 or frequencies[symbol] == 0:
            escapes.append(levels[i])
            symbol = len(frequencies) - 1
        frequency, start = frequencies[symbol], sum(frequencies[:symbol])
        state = x[i % states]
        if state >= frequency * 2**32 // total:
            words.append(state % 65536)
            state //= 65536
        x[i % states] = state // frequency * total + start + state % frequency
    return (
        struct.pack(f"<{states}I", *x)
        + struct.pack(f"<{len(words)}H", *reversed(words))
        + struct.pack(f"<{len(escapes)}h", *escapes)
    )


def decode_payload(payload, tables, lo, states):
    """The levels of a chunk whose values have these tables. Raises ValueError for any damage."""
    x = list(struct.unpack_from(f"<{states}I", payload))
    front, back = 4 * states, len(payload)
    levels = []
    for i, frequencies in enumerate(tables):
        total, state = sum(frequencies), x[i % states]
        symbol, start = 0, 0
        while start + frequencies[symbol] <= state % total:
            start += frequencies[symbol]
            symbol += 1
        state = frequencies[symbol] * (state // total) + state % total - start
        if state < 65536:
            state = state << 16 | struct.unpack_from("<H", payload[:back], front)[0]
            front += 2
        x[i % states] = state
        if symbol < len(frequencies) - 1:
            levels.append(lo + symbol)
        else:
            back -= 2
            levels.append(struct.unpack_from("<h", payload, back)[0])
    if front != back or x != [65536] * states:
        raise ValueError("the chunk does not end with its last value")
    return levels


def tables_of_values(shape, table_of, frequencies):
    """The frequencies of each value's table, in the order of the values of [K, H, W]."""
    rows = frequencies.tolist()
    _, height, width = shape
    return [rows[table] for table in table_of.tolist() for _ in range(height * width)]


def reference_chunking(values, lane_values=0):
    """log2 of the values in a chunk and the states that the encoder chooses."""
    return streams.chunking(values, 32, lane_values or 4096)


def reference_stream(
    levels, lo, table_of, frequencies, table_id, crop=(0, 0), log2=17, states=None, lane_values=0
):
    """The stream of levels [K, H, W] as docs/stream_format.md describes it."""
    values = levels.flatten().tolist()
    tables = tables_of_values(levels.shape, table_of, frequencies)
    if states is None:
        log2, states = reference_chunking(len(values), lane_values)
    payloads = [
        encode_payload(values[i : i + 2**log2], tables[i : i + 2**log2], lo, states)
        for i in range(0, len(values), 2**log2)
    ]
    return container((table_id, *levels.shape, log2, states, *crop), payloads)


def container(fields, payloads):
    return streams.container(streams.RANS, fields, payloads)


def reference_decode(stream, lo, table_of, frequencies):
    """The levels [K, H, W] of a good stream."""
    coder, (_, k, h, w, log2, states, *_), payloads = streams.split(stream)
    assert coder == streams.RANS
    tables = tables_of_values((k, h, w), table_of, frequencies)
    levels = []
    for chunk, payload in enumerate(payloads):
        part = tables[chunk * 2**log2 : (chunk + 1) * 2**log2]
        levels += decode_payload(payload, part, lo, states)
    return torch.tensor(levels, dtype=torch.int16).reshape(k, h, w)


# -- Inputs ---------------------------------------------------------------------------------------


def laplacian(shape, scale, seed=0):
    """Levels int16: a Laplacian of this scale, rounded."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(shape, generator=generator, dtype=torch.float64) - 0.5
    magnitude = -scale * (1 - 2 * u.abs()).clamp(min=1e-12).log()
    return (u.sign() * magnitude).round().to(torch.int16)


class Case:
    """Levels with the tables that their own counts make, over the levels [lo, lo + symbols)."""

    TABLE_ID = 0xBEEF

    def __init__(
        self,
        shape,
        symbols=64,
        tables=1,
        scale=2.0,
        lo=None,
        log2_total=12,
        shift=0,
        lane_values=0,
    ):
        self.lane_values = lane_values
        self.lo = -(symbols // 2) if lo is None else lo
        self.log2_total = log2_total
        levels = laplacian(shape, scale, seed=symbols + tables).int() + self.lo + symbols // 2
        self.levels = (levels + shift).clamp(-32768, 32767).to(torch.int16)
        self.table_of = torch.arange(shape[1]) % tables
        inside = self.levels.clamp(self.lo, min(self.lo + symbols - 1, 32767))
        hi = self.lo + symbols - 1
        self.counts = ops.histogram(inside, self.lo, hi, self.table_of, tables)
        self.frequencies = ops.rans_frequencies(self.counts + 1, log2_total)
        self.encode_table, self.decode_table, self.base = ops.rans_tables(self.frequencies)

    def encode_args(self, levels=None):
        levels = self.levels if levels is None else levels
        lanes = (0, 0, None, self.lane_values) if self.lane_values else ()
        return levels, self.lo, self.table_of, self.encode_table, self.TABLE_ID, *lanes

    def decode_args(self, data, used):
        tables = self.decode_table, self.base
        return data, used, self.lo, self.table_of, *tables, self.TABLE_ID, *self.shape

    @property
    def shape(self):
        return tuple(self.levels.shape[1:])

    def encode(self):
        return ops.rans_encode(*self.encode_args())

    def decode(self, data, used):
        return ops.rans_decode(*self.decode_args(data, used))

    def streams(self):
        return from_rows(*self.encode())


CASES = {
    "several tables": Case((3, 5, 7, 6), tables=3),
    "one channel": Case((2, 1, 9, 4)),
    "one value": Case((1, 1, 1, 1)),
    "one level": Case((2, 3, 4, 4), symbols=1),
    "two levels": Case((2, 3, 4, 4), symbols=2, scale=0.3),
    "255 levels": Case((1, 4, 20, 20), symbols=255, scale=40),
    "wider than a window": Case((1, 4, 40, 40), symbols=4096, scale=100),
    "states": Case((2, 8, 48, 48), tables=2),
    "several chunks": Case((2, 6, 150, 151), symbols=200, tables=2, scale=8),
    "short lanes": Case((2, 8, 48, 48), tables=2, lane_values=256),
    "short lanes, all escaped": Case((2, 8, 32, 33), symbols=4, shift=1000, lane_values=256),
    "one value in the last chunk": Case((2, 1, 3, 2731), lane_values=256),
    "one short lane": Case((2, 3, 13, 13), lane_values=256),
    "few short lanes": Case((2, 3, 30, 31), lane_values=512),
    "long lanes": Case((1, 6, 150, 151), tables=2, scale=8, lane_values=65536),
    "256 slots": Case((2, 3, 8, 8), symbols=16, log2_total=8),
    "lowest levels": Case((2, 3, 8, 8), symbols=4, lo=-32768),
    "highest levels": Case((2, 3, 8, 8), symbols=4, lo=32764),
    "all escaped": Case((2, 3, 8, 8), symbols=4, shift=1000),
    "hardly any bits": Case((2, 8, 64, 64), symbols=3, scale=0.05),
    "batch 0": Case((0, 3, 4, 4)),
    "no components": Case((2, 0, 4, 4)),
    "no pixels": Case((2, 3, 0, 4)),
}


def sample_inputs():
    """Operator name and arguments, for the tests that treat all operators alike."""
    yield "rans_frequencies", (torch.randint(0, 99, (3, 40)), 9)
    yield "rans_frequencies", (torch.randint(0, 9, (2, 600)), 12)
    yield "rans_frequencies", (torch.empty(0, 5, dtype=torch.int64), 12)
    for case in CASES.values():
        yield "rans_tables", (case.frequencies,)
        yield "rans_encode", case.encode_args()
        yield "rans_decode", case.decode_args(*case.encode())
    yield "rans_tables", (torch.empty(0, 5, dtype=torch.int32),)


SAMPLES = list(sample_inputs())

# -- Frequencies and tables -----------------------------------------------------------------------


def check_frequencies(row, log2_total):
    """What every table must have."""
    direct = [i for i, f in enumerate(row[:-1]) if f > 0]
    assert sum(row) == 2**log2_total and min(row) >= 0 and row[-1] >= 1
    assert not direct or direct[-1] - direct[0] < 255


@given(
    st.lists(st.integers(0, 1000) | st.integers(0, 2**48), min_size=1, max_size=700),
    st.integers(8, 12),
)
def test_any_counts_make_a_table(counts, log2_total):
    frequencies = ops.rans_frequencies(torch.tensor([counts]), log2_total)
    assert frequencies.dtype == torch.int32 and frequencies.shape == (1, len(counts) + 1)
    check_frequencies(frequencies[0].tolist(), log2_total)
    tables = ops.rans_tables(frequencies)
    assert [t.dtype for t in tables] == [torch.int32, torch.int32, torch.int64]


@given(st.lists(st.integers(0, 3) | st.integers(0, 10**6), min_size=1, max_size=12).filter(any))
@settings(max_examples=30)
def test_frequencies_are_within_a_thousandth_or_some_escaped_levels_of_the_best(counts):
    frequencies = ops.rans_frequencies(torch.tensor([counts]), 8)[0].tolist()
    assert cost(counts, frequencies) <= 1.001 * best_cost(counts, 8) + 2.5 * 16


@pytest.mark.parametrize("scale", [0.3, 1, 3, 10, 30])
def test_frequencies_of_laplacians_are_near_the_entropy(scale):
    """Within 1% of the entropy, and 0.1% of what whole slots allow."""
    levels = torch.arange(-60, 61).double()
    counts = (1e7 * (-levels.abs() / scale).exp()).long()
    frequencies = ops.rans_frequencies(counts[None], 12)[0].tolist()
    bits = cost(counts.tolist(), frequencies)
    assert bits <= 1.01 * float(ops.entropy(counts)) * float(counts.sum())
    # Frequencies for few levels, each at least a slot and nothing lost to the window.
    coarse = ops.rans_frequencies(counts[None], 9)[0].tolist()
    assert cost(counts.tolist(), coarse) <= 1.001 * best_cost(counts.tolist(), 9)


@pytest.mark.parametrize(
    "counts",
    [[0], [0] * 4096, [1] * 4096, [7] * 300, [0, 5, 0], [2**58, 0, 1, 2**57], [2**59 - 1]],
)
def test_odd_counts_make_a_table(counts):
    for log2_total in range(8, 13):
        row = ops.rans_frequencies(torch.tensor([counts]), log2_total)[0].tolist()
        check_frequencies(row, log2_total)


def test_counts_of_nothing_are_as_equal_ones():
    zeros, ones = (ops.rans_frequencies(torch.full((1, 300), c), 12) for c in (0, 1))
    assert torch.equal(zeros, ones)


@pytest.mark.parametrize("name", CASES)
def test_tables(name):
    case = CASES[name]
    slots = 2**case.log2_total
    assert case.encode_table.shape == case.frequencies.shape
    assert case.decode_table.shape == (len(case.frequencies), slots)
    rows = zip(case.frequencies, case.encode_table, case.decode_table, case.base, strict=True)
    for frequencies, encode, decode, base in rows:
        check_frequencies(frequencies.tolist(), case.log2_total)
        start = 0
        for symbol, frequency in enumerate(frequencies.tolist()):
            if frequency == 0:
                assert int(encode[symbol]) == 0
                continue
            assert int(encode[symbol]) == frequency << 16 | start
            escape = symbol == len(frequencies) - 1
            packed = frequency - 1 << 8 | (255 if escape else symbol - int(base))
            expected = [offset << 20 | packed for offset in range(frequency)]
            assert [e % 2**32 for e in decode[start : start + frequency].tolist()] == expected
            start += frequency
        assert start == slots


# -- Streams --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_streams_are_those_of_the_format(name):
    case = CASES[name]
    args = case.lo, case.table_of, case.frequencies
    made = case.streams()
    lanes = {"lane_values": case.lane_values}
    assert made == [reference_stream(i, *args, case.TABLE_ID, **lanes) for i in case.levels]
    for stream, image in zip(made, case.levels, strict=True):
        assert torch.equal(reference_decode(stream, *args), image)


def test_worked_example_of_the_format():
    """The rANS example of docs/stream_format.md."""
    frequencies = torch.tensor([[64, 128, 63, 1]], dtype=torch.int32)
    levels = torch.tensor([[[0, 5, 1], [-300, 0, -1]]], dtype=torch.int16)
    one = torch.zeros(1, dtype=torch.int64)
    stream = bytes.fromhex(
        "66 6D 22 19 07 00 01 02 03 0E 6E 8E ED 27 A1 43 10 00 FF 00 04 00 FF 00 D4 FE 05 00"
    )
    assert reference_stream(levels, -1, one, frequencies, 7, states=2) == stream
    assert torch.equal(reference_decode(stream, -1, one, frequencies), levels)
    _, decode_table, base = ops.rans_tables(frequencies)
    decoded, status = ops.rans_decode(*to_rows([stream]), -1, one, decode_table, base, 7, 1, 2, 3)
    assert not status.any() and torch.equal(decoded[0], levels)


@pytest.mark.parametrize(
    "name, chunks, lanes",
    [
        ("short lanes", 3, 32),
        ("one value in the last chunk", 2, 32),
        ("one short lane", 1, 1),
        ("few short lanes", 1, 4),
        ("long lanes", 1, 2),
    ],
)
def test_lane_values_make_chunks_and_lanes(name, chunks, lanes):
    info = ops.stream_info(CASES[name].streams()[0])
    assert (info["chunks"], info["lanes"]) == (chunks, lanes)


@pytest.mark.parametrize("name", ["one channel", "states", "several chunks"])
def test_the_coders_own_choice_is_4096_values_a_lane(name):
    case = CASES[name]
    assert from_rows(*ops.rans_encode(*case.encode_args(), lane_values=4096)) == case.streams()


def digest():
    """Of the streams of all cases; raises where one does not decode to what it was made from."""
    sha = hashlib.sha256()
    for case in CASES.values():
        data, used = case.encode()
        levels, status = case.decode(data, used)
        assert not status.any() and torch.equal(levels, case.levels)
        sha.update(data.numpy().tobytes())
    return sha.hexdigest()


@pytest.mark.cpu_only
@pytest.mark.parametrize("simd", ["scalar", "avx2", "avx512"])
def test_streams_are_the_same_with_each_instruction_set(simd):
    """As far as this CPU has them: FMTC_SIMD names the best that may be used."""
    code = (
        "import test_ops_rans as t; from fmtc import ops; "
        "print(ops.build_info()['coder_simd'], t.digest())"
    )
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "FMTC_SIMD": simd, "PYTHONPATH": path}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    used, found = run.stdout.split()
    order = ["scalar", "avx2", "avx512"]
    assert order.index(used) <= order.index(simd)
    assert found == digest()


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
    """Any shape, alphabet, range, tables and total, with any levels at all."""
    draw = data.draw
    n, k, h, w = (draw(st.integers(0 if i == 0 else 1, 6)) for i in range(4))
    symbols = draw(st.one_of(st.integers(1, 20), st.integers(2, 4096)))
    tables = draw(st.integers(1, 4))
    lo = draw(st.integers(-32768, 32767))
    log2_total = draw(st.integers(8, 12))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**32)))
    counts = torch.randint(0, draw(st.integers(1, 10**9)), (tables, symbols), generator=generator)
    frequencies = ops.rans_frequencies(counts, log2_total)
    encode_table, decode_table, base = ops.rans_tables(frequencies)
    table_of = torch.randint(0, tables, (k,), generator=generator)
    spread = draw(st.sampled_from([1, 5, 300, 65536]))
    levels = torch.randint(0, spread, (n, k, h, w), generator=generator)
    levels = (lo + levels).to(torch.int16)
    encoded, used = ops.rans_encode(levels, lo, table_of, encode_table, 7, 1, 2)
    decoded, status = ops.rans_decode(
        encoded, used, lo, table_of, decode_table, base, 7, *levels.shape[1:]
    )
    assert not status.any() and torch.equal(decoded, levels)


@given(st.integers(8, 23), st.integers(0, 6), st.integers(1, 40))
def test_decoder_takes_any_chunks_and_states(log2, log2_states, width):
    case = Case((1, 3, 5, width), tables=2, scale=20)
    states = 2**log2_states
    args = case.lo, case.table_of, case.frequencies, case.TABLE_ID, (3, 4), log2, states
    stream = reference_stream(case.levels[0], *args)
    levels, status = case.decode(*to_rows([stream]))
    assert not status.any() and torch.equal(levels, case.levels)
    info = ops.stream_info(stream)
    assert info["lanes"] == states and (info["crop_h"], info["crop_w"]) == (3, 4)
    assert info["chunks"] == math.ceil(15 * width / 2**log2)


def test_streams_of_one_batch_may_have_different_chunks():
    case = CASES["states"]
    args = case.lo, case.table_of, case.frequencies, case.TABLE_ID, (0, 0)
    mixed = [
        reference_stream(case.levels[0], *args, 8, 16),
        reference_stream(case.levels[1], *args, 23, 1),
    ]
    levels, status = case.decode(*to_rows(mixed))
    assert not status.any() and torch.equal(levels, case.levels)


@pytest.mark.parametrize("images", [1, 2, 3, 5, 8, 9])
@pytest.mark.parametrize("shape, states", [((3, 20, 20), 1), ((9, 31, 31), 2), ((19, 31, 31), 4)])
def test_streams_of_a_batch_are_decoded_together(images, shape, states):
    """Also where one of them is damaged."""
    case = Case((images, *shape), tables=2)
    batch = case.streams()
    assert ops.stream_info(batch[0])["lanes"] == states
    levels, status = case.decode(*to_rows(batch))
    assert not status.any() and torch.equal(levels, case.levels)
    damaged = images // 2
    batch[damaged] = batch[damaged][:-1]
    levels, status = case.decode(*to_rows(batch))
    assert (status != 0).tolist() == [n == damaged for n in range(images)]
    assert not levels[damaged].any()
    assert torch.equal(levels[status == 0], case.levels[status == 0])


def test_a_stream_does_not_depend_on_its_batch():
    case = CASES["several tables"]
    alone = [ops.rans_encode(*case.encode_args(image[None])) for image in case.levels]
    assert case.streams() == [from_rows(*one)[0] for one in alone]


def test_encode_takes_any_strides(layout):
    case = CASES["several tables"]
    args = list(case.encode_args(layout(case.levels)))
    args[3] = layout(args[3])
    data, used = ops.rans_encode(*args)
    expected, expected_used = case.encode()
    assert torch.equal(data, expected) and torch.equal(used, expected_used)


def test_decode_takes_any_strides(layout):
    case = CASES["several tables"]
    args = list(case.decode_args(*case.encode()))
    args[0], args[4] = layout(args[0]), layout(args[4])
    levels, status = ops.rans_decode(*args)
    assert not status.any() and torch.equal(levels, case.levels)


def test_stream_info():
    case = CASES["several chunks"]
    data, used = ops.rans_encode(*case.encode_args(), 3, 255)
    stream = from_rows(data, used)[0]
    expected = {
        "version": 2,
        "coder": "rans",
        "channels": 6,
        "height": 150,
        "width": 151,
        "table_id": case.TABLE_ID,
        "chunks": 2,
        "lanes": 32,
        "crop_h": 3,
        "crop_w": 255,
        "classes": 1,
        "size": len(stream),
    }
    assert ops.stream_info(stream) == expected
    assert ops.stream_info(stream + b"the next stream") == expected


# -- Rate -----------------------------------------------------------------------------------------


def side_bytes(case):
    """Header, checksum and states of a stream, and what a directory adds."""
    values = math.prod(case.shape)
    log2, states = reference_chunking(values, case.lane_values)
    chunks = math.ceil(values / 2**log2)
    return 20 + 4 * chunks * states + (8 * chunks if chunks > 1 else 0)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].levels.numel() > 500])
def test_rate_is_that_of_the_frequencies(name):
    """Bytes are the cross-entropy, up to 0.01% and the side bytes, and a word of each state."""
    case = CASES[name]
    hi = case.lo + case.frequencies.shape[1] - 2
    for image, stream in zip(case.levels, case.streams(), strict=True):
        bits = 0.0
        for table, frequencies in enumerate(case.frequencies.tolist()):
            levels = image[case.table_of == table]
            inside = levels[(levels >= case.lo) & (levels <= hi)]
            counts = torch.bincount(inside.long().flatten() - case.lo, minlength=hi - case.lo + 1)
            bits += cost(counts.tolist(), frequencies)
            escape = 16 + math.log2(sum(frequencies) / frequencies[-1])
            bits += (levels.numel() - inside.numel()) * escape
        assert bits / 8 <= len(stream) <= 1.0001 * bits / 8 + side_bytes(case)


def test_rate_against_another_coder():
    """A range coder with the same counts as its model, where `constriction` is installed."""
    constriction = pytest.importorskip("constriction")
    case = Case((1, 4, 128, 128), symbols=255, scale=3)
    probabilities = ((case.counts[0] + 1) / (case.counts[0] + 1).sum()).double().numpy()
    model = constriction.stream.model.Categorical(probabilities, perfect=False)
    encoder = constriction.stream.queue.RangeEncoder()
    encoder.encode((case.levels.flatten().int() - case.lo).numpy(), model)
    others = 4 * len(encoder.get_compressed())
    assert len(case.streams()[0]) <= 1.005 * others + side_bytes(case)


# -- Damage ---------------------------------------------------------------------------------------


def test_another_coder_is_refused():
    case = CASES["several tables"]
    data, used = case.encode()
    _, decode_table = ops.huffman_tables(ops.huffman_lengths(case.counts + 1, 15))
    args = case.lo, case.table_of, decode_table, case.TABLE_ID, *case.shape
    _, status = ops.huffman_decode(data, used, *args)
    with pytest.raises(StreamError, match="image 0: .*entropy coder"):
        ops.check_status(status)


def test_payloads_with_right_checksums_must_end_with_their_values():
    case = CASES["all escaped"]
    stream = case.streams()[0]
    _, fields, [payload] = streams.split(stream)
    assert container(fields, [payload]) == stream and message_of(case, stream) is None
    for wrong in (
        payload[:-2],
        payload[:-1],
        payload + bytes(2),
        payload[:4] + bytes(2) + payload[4:],
        struct.pack("<I", 65535) + payload[4:],
        struct.pack("<I", 2**32 - 1) + payload[4:],
        b"",
    ):
        assert message_of(case, container(fields, [wrong])) is not None


@settings(max_examples=200)
@given(st.data())
def test_the_reference_decoder_agrees_on_any_payload(data):
    """Of damage that checksums do not see, both decoders see the same."""
    case = CASES["one channel"]
    _, fields, [payload] = streams.split(case.streams()[0])
    changed = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    if changed[2:4] == bytes(2):
        return  # a state below 2^16, which the format forbids
    tables = tables_of_values(case.shape, case.table_of, case.frequencies)
    try:
        expected = decode_payload(bytes(changed), tables, case.lo, 1)
    except (ValueError, struct.error):
        assert message_of(case, container(fields, [bytes(changed)])) is not None
    else:
        levels, status = case.decode(*to_rows([container(fields, [bytes(changed)])]))
        assert not status.any() and levels.flatten().tolist() == expected


@given(st.integers(0, 2**32), st.integers(0, 4095))
def test_any_table_entries_are_safe(seed, base):
    """Tables may come from a file: wrong ones give wrong levels or an error, nothing worse."""
    generator = torch.Generator().manual_seed(seed)
    entries = torch.randint(-(2**31), 2**31, (1, 265), generator=generator).int()
    encode_table, decode_table = entries[:, :9].clone(), entries[:, 9:]
    encode_table[0, 8] = 3 << 16 | 253
    levels, table_of = torch.arange(8, dtype=torch.int16).reshape(1, 1, 2, 4), torch.tensor([0])
    data, used = ops.rans_encode(levels, 0, table_of, encode_table, 0)
    bases = torch.tensor([base])
    ops.rans_decode(data, used, 0, table_of, decode_table, bases, 0, 1, 2, 4)


# -- Operators as such ----------------------------------------------------------------------------


@pytest.mark.cpu_only
def test_export_with_dynamic_batch_and_size():
    case = CASES["several tables"]

    class Coder(torch.nn.Module):
        def forward(self, y):
            levels, _ = ops.quantize(y, 1.0, -1000, 1000)
            data, used = ops.rans_encode(*case.encode_args(levels))
            decoded, status = ops.rans_decode(*case.decode_args(data, used)[:7], *levels.shape[1:])
            return ops.dequantize(decoded, 1.0), status

    sizes = {0: torch.export.Dim("n", max=64), 2: torch.export.Dim("h", max=256)}
    exported = torch.export.export(Coder(), (case.levels.float(),), dynamic_shapes=(sizes,))
    other = Case((2, 5, 90, 6), tables=3, scale=5).levels
    decoded, status = exported.module()(other.float())
    assert torch.equal(decoded, other.float()) and not status.any()


CASE = CASES["several tables"]
ENCODE, DECODE = CASE.encode_args(), CASE.decode_args(*CASE.encode())


def encode_with(**changes):
    names = ["levels", "lo", "table_of", "encode_table", "table_id"]
    return ops.rans_encode(**{**dict(zip(names, ENCODE, strict=True)), **changes})


def decode_with(**changes):
    names = ["bytes", "used", "lo", "table_of", "decode_table", "base", "table_id"]
    names += ["channels", "height", "width"]
    return ops.rans_decode(**{**dict(zip(names, DECODE, strict=True)), **changes})


def tables_of(*rows):
    return ops.rans_tables(torch.tensor(rows, dtype=torch.int32))


ERRORS = [
    (
        lambda: ops.rans_frequencies(torch.ones(2, 5), 12),
        "rans_frequencies: counts must be int64, but is float32",
    ),
    (
        lambda: ops.rans_frequencies(torch.ones(5).long(), 12),
        r"rans_frequencies: counts must have 2 dimensions \[T, L\], .* \[5\]",
    ),
    (
        lambda: ops.rans_frequencies(torch.ones(2, 5).long(), 13),
        "rans_frequencies: log2_total must be from 8 to 12, but is 13",
    ),
    (
        lambda: ops.rans_frequencies(torch.ones(1, 4097).long(), 12),
        "rans_frequencies: dimension 1 of counts must be from 1 to 4096, but is 4097",
    ),
    (
        lambda: ops.rans_frequencies(torch.tensor([[1, 1], [1, -1]]), 12),
        "rans_frequencies: counts must not be negative .* table 1",
    ),
    (lambda: tables_of([255, 1], [255, 2]), "rans_tables: frequencies of table 1 must "),
    (lambda: tables_of([256, 0]), "rans_tables: frequencies of table 0 must .* the escape"),
    (lambda: tables_of([-1, 257]), "rans_tables: frequencies of table 0 must not be negative"),
    (
        lambda: tables_of([100, *[0] * 254, 100, 56]),
        "rans_tables: frequencies of table 0 must .* 255 consecutive levels",
    ),
    (
        lambda: tables_of([255, 1], [511, 1]),
        "rans_tables: frequencies of table 1 sum to 512, but those of table 0 to 256",
    ),
    (
        lambda: ops.rans_tables(CASE.frequencies.long()),
        "rans_tables: frequencies must be int32, but is int64",
    ),
    (
        lambda: tables_of([256]),
        "rans_tables: dimension 1 of frequencies must be from 2 to 4097, but is 1",
    ),
    (
        lambda: encode_with(levels=CASE.levels.int()),
        "rans_encode: levels must be int16, but is int32",
    ),
    (
        lambda: encode_with(levels=CASE.levels[0]),
        r"rans_encode: levels must have 4 dimensions \[N, K, H, W\], .* \[5, 7, 6\]",
    ),
    (
        lambda: encode_with(table_of=CASE.table_of[:4]),
        r"rans_encode: dimension 0 of table_of must be 5 .* \[4\]",
    ),
    pytest.param(
        lambda: encode_with(table_of=CASE.table_of + 1),
        "rans_encode: table_of must be from 0 to 2 .*, but component 2 has 3",
        marks=pytest.mark.cpu_only,
    ),
    pytest.param(
        lambda: encode_with(encode_table=CASE.encode_table[:, :-1]),
        "rans_encode: encode_table must be one of rans_tables",
        marks=pytest.mark.cpu_only,
    ),
    (
        lambda: encode_with(encode_table=CASE.encode_table[:, :1]),
        "rans_encode: dimension 1 of encode_table must be from 2 to 4097, but is 1",
    ),
    (
        lambda: encode_with(encode_table=CASE.encode_table.long()),
        "rans_encode: encode_table must be int32, but is int64",
    ),
    (lambda: encode_with(lo=40000), "rans_encode: lo must be from -32768 .* is 40000"),
    (lambda: encode_with(table_id=-1), "rans_encode: table_id must be .* is -1"),
    (lambda: encode_with(table_id=2**16), "rans_encode: table_id must be .* is 65536"),
    (lambda: encode_with(crop_w=256), "rans_encode: crop_w must be from 0 to 255, but is 256"),
    *(
        (
            lambda wrong=wrong: encode_with(lane_values=wrong),
            "rans_encode: lane_values must be a power of two from 256 to 65536, or 0 for the "
            f"coder's own choice, but is {wrong}$",
        )
        for wrong in (-256, 1, 128, 1000, 65537, 131072, 2**32 + 1024)
    ),
    (
        lambda: decode_with(bytes=DECODE[0].int()),
        "rans_decode: bytes must be uint8, but is int32",
    ),
    (
        lambda: decode_with(used=DECODE[1][:2]),
        r"rans_decode: dimension 0 of used must be 3 .* \[2\]",
    ),
    (
        lambda: decode_with(decode_table=CASE.decode_table[:, :300]),
        "rans_decode: dimension 1 of decode_table must be a power of two .* is 300",
    ),
    pytest.param(
        lambda: decode_with(base=CASE.base + 4096),
        "rans_decode: .* and base from 0 to 4095",
        marks=pytest.mark.cpu_only,
    ),
    (
        lambda: decode_with(base=CASE.base[:2]),
        r"rans_decode: dimension 0 of base must be 3 .* \[2\]",
    ),
    (
        lambda: decode_with(base=CASE.base.int()),
        "rans_decode: base must be int64, but is int32",
    ),
    (
        lambda: decode_with(channels=4),
        r"rans_decode: dimension 0 of table_of must be 4 .* \[5\]",
    ),
    (lambda: decode_with(height=-1), "rans_decode: the height must be from 0 .* is -1"),
    (
        lambda: decode_with(height=2**31, width=2**31),
        "rans_decode: an image of 5 x 2147483648 x 2147483648 values is too large",
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
    assert_wrong_tables_count_as_the_last(CASE.table_of, encode_with)
    assert_wrong_tables_count_as_the_last(CASE.table_of, decode_with)
    with pytest.raises(RuntimeError, match="encode_table must hold at least one table"):
        encode_with(encode_table=CASE.encode_table[:0])


def assert_wrong_tables_count_as_the_last(table_of, call):
    wrong, right = table_of.clone(), table_of.clone()
    wrong[:3] = torch.tensor([-1, int(table_of.max()) + 1, 2**40])
    right[:3] = table_of.max()
    for got, expected in zip(call(table_of=wrong), call(table_of=right), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("seed", range(8))
def test_tables_that_contradict_themselves_on_a_device(seed, backend):
    """Whatever is in them: streams fit their buffers, and decoding touches nothing else."""
    if backend == "cpu":
        pytest.skip("the CPU raises")
    torch.manual_seed(seed)
    wide = seed % 2 == 1  # too many tables for shared memory
    tables, slots = (20 if wide else 3), 2 ** (8 + seed // 2)
    entries = torch.randint(-(2**31), 2**31, (tables, slots), dtype=torch.int32)
    entries[0, -1] = 0  # no sum of frequencies to be found
    levels = torch.randint(-300, 300, (2, 5, 9, 7), dtype=torch.int16)
    table_of = torch.randint(-5, 30, (5,))
    data, used = ops.rans_encode(levels, -40, table_of, entries[:, :200], 3)
    assert ((used > 0) & (used < data.shape[1])).all()
    base = torch.randint(-(2**63), 2**63 - 1, (tables,))
    decoded, status = ops.rans_decode(data, used, -40, table_of, entries, base, 3, 5, 9, 7)
    assert decoded.shape == levels.shape and not decoded[status != 0].any()
