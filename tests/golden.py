"""Golden streams: what every decoder must read or refuse, and what the encoder must go on writing.

``python tests/golden.py --regenerate`` makes tests/data/golden anew, after a change of the format
alone; ``--check`` is what test_golden.py runs with each instruction set. The folder holds

- ``golden.json``: of each valid stream its coder, tables and shape, and whether the operators write
  these bytes; of each malformed one the valid stream whose decoder it is given to, and its status;
- ``NAME.stream``: the bytes; ``levels.npz``: the levels, and the classes of blocks (NAME.classes).
"""

from __future__ import annotations

import json
import struct
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import stream_decoder as decoder
import torch
from stream_decoder import DCT_CM, EBPC, HUFFMAN, RANS, Codec
from streams import checksum, container, from_rows, to_rows, varint

from fmtc import ops

FOLDER = Path(__file__).parent / "data" / "golden"
ID = 0x1234


@dataclass(frozen=True)
class Golden:
    """A valid stream. classes: of blocks, u8; written: the operators write these bytes."""

    codec: Codec
    levels: np.ndarray
    stream: bytes
    crop: tuple[int, int] = (0, 0)
    classes: np.ndarray | None = None
    written: bool = True

    def encode(self) -> bytes:
        """The stream by the operators."""
        codec, levels = self.codec, torch.from_numpy(self.levels)[None]
        classes = None if self.classes is None else torch.from_numpy(self.classes)[None]
        if codec.coder == HUFFMAN:
            table, _ = ops.huffman_tables(tensor(codec.lengths, torch.uint8))
            args = codec.lo, tensor(codec.table_of), table, codec.table_id, *self.crop
            made = ops.huffman_encode(levels, *args)
        elif codec.coder == RANS:
            table, _, _ = ops.rans_tables(tensor(codec.frequencies, torch.int32))
            args = codec.lo, tensor(codec.table_of), table, codec.table_id, *self.crop, classes
            made = ops.rans_encode(levels, *args)
        else:
            encode = ops.ebpc_encode if codec.coder == EBPC else ops.dct_cm_encode
            made = encode(levels, codec.lo, codec.word_bits, codec.table_id, *self.crop)
        return from_rows(*made)[0]

    def decode(self, streams: list[bytes]) -> tuple[np.ndarray, list[int]]:
        """Levels [N, K, H, W] and statuses of any streams by the operators, as this one."""
        codec, rows, shape = self.codec, to_rows(streams), self.levels.shape
        if codec.coder == HUFFMAN:
            _, table = ops.huffman_tables(tensor(codec.lengths, torch.uint8))
            args = codec.lo, tensor(codec.table_of), table, codec.table_id
            levels, status = ops.huffman_decode(*rows, *args, *shape)
        elif codec.coder == RANS:
            _, *tables = ops.rans_tables(tensor(codec.frequencies, torch.int32))
            args = codec.lo, tensor(codec.table_of), *tables, codec.table_id
            levels, status = ops.rans_decode(*rows, *args, *shape)
        else:
            decode = ops.ebpc_decode if codec.coder == EBPC else ops.dct_cm_decode
            args = codec.lo, codec.word_bits, codec.table_id
            levels, status = decode(*rows, *args, *shape)
        return levels.numpy(), status.tolist()

    @property
    def operators_decode(self) -> bool:
        """huffman_decode has no classes of positions."""
        return self.codec.coder == RANS or len(self.codec.table_of) in (0, len(self.levels))


@dataclass(frozen=True)
class Malformed:
    """A stream for the decoder of the valid one named ``of``."""

    of: str
    stream: bytes
    status: int


def tensor(rows, dtype=torch.int64) -> torch.Tensor:
    return torch.tensor(rows, dtype=dtype)


# -- The folder -----------------------------------------------------------------------------------


@cache
def load() -> tuple[dict[str, Golden], dict[str, Malformed]]:
    index = json.loads((FOLDER / "golden.json").read_text())
    arrays = np.load(FOLDER / "levels.npz")

    def stream(name):
        return (FOLDER / f"{name}.stream").read_bytes()

    valid = {}
    for name, entry in index["valid"].items():
        codec = {k: tuple_of(v) for k, v in entry["codec"].items()}
        valid[name] = Golden(
            Codec(**codec),
            arrays[name],
            stream(name),
            tuple(entry["crop"]),
            arrays.get(f"{name}.classes"),
            entry["written"],
        )
    malformed = {
        name: Malformed(entry["of"], stream(name), entry["status"])
        for name, entry in index["malformed"].items()
    }
    return valid, malformed


def tuple_of(value):
    return tuple(map(tuple_of, value)) if isinstance(value, list) else value


def save(valid: dict[str, Golden], malformed: dict[str, Malformed]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.glob("*.stream"):
        old.unlink()
    for name, golden in (valid | malformed).items():
        (FOLDER / f"{name}.stream").write_bytes(golden.stream)
    arrays = {name: g.levels for name, g in valid.items()}
    arrays |= {f"{n}.classes": g.classes for n, g in valid.items() if g.classes is not None}
    np.savez_compressed(FOLDER / "levels.npz", **arrays)
    index = {
        "valid": {
            name: {
                "codec": {k: v for k, v in vars(g.codec).items() if v or k == "lo"},
                "shape": g.levels.shape,
                "crop": g.crop,
                "written": g.written,
            }
            for name, g in valid.items()
        },
        "malformed": {n: {"of": m.of, "status": m.status} for n, m in malformed.items()},
    }
    lines = [
        f'"{kind}": {{\n'
        + ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
        + "\n}"
        for kind, entries in index.items()
    ]
    (FOLDER / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def check() -> None:
    """All streams with this process's instruction set, by 1, 2 and 3 threads."""
    valid, malformed = load()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        for name, golden in valid.items():
            if golden.written:
                assert golden.encode() == golden.stream, name
            if golden.operators_decode:
                levels, status = golden.decode([golden.stream])
                assert status == [0] and np.array_equal(levels[0], golden.levels), name
        for name, damaged in malformed.items():
            if valid[damaged.of].operators_decode:
                levels, status = valid[damaged.of].decode([damaged.stream])
                assert status == [damaged.status] and not levels.any(), (name, status)


# -- Valid streams --------------------------------------------------------------------------------


def laplacian(shape, scale, lo, hi, seed) -> np.ndarray:
    noise = np.random.Generator(np.random.PCG64(seed)).laplace(0, scale, shape)
    return noise.round().clip(lo, hi).astype(np.int16)


def counts_of(levels, lo, symbols, tables) -> torch.Tensor:
    """Counts [tables, symbols]; component k has table k modulo their number."""
    groups = torch.arange(len(levels)) % tables
    inside = torch.from_numpy(levels.clip(lo, lo + symbols - 1))[None]
    return ops.histogram(inside, lo, lo + symbols - 1, groups, tables)


def table_of(segments, tables) -> tuple[int, ...]:
    return tuple(s % tables for s in range(segments))


def huffman_codec(levels, lo, symbols, tables, limit=10) -> Codec:
    counts = counts_of(levels, lo, symbols, tables)
    lengths = ops.huffman_lengths(counts + (symbols > 1), limit)
    return Codec(
        HUFFMAN,
        lo,
        ID,
        lengths=tuple_of(lengths.tolist()),
        table_of=table_of(len(levels), tables),
    )


def rans_codec(levels, lo, symbols, tables, log2_total=12, segments=None) -> Codec:
    counts = counts_of(levels, lo, symbols, tables) + 1
    frequencies = ops.rans_frequencies(counts, log2_total)
    return Codec(
        RANS,
        lo,
        ID,
        frequencies=tuple_of(frequencies.tolist()),
        table_of=table_of(segments or len(levels), tables),
    )


def of_operators(codec, levels, crop=(0, 0), classes=None) -> Golden:
    unwritten = Golden(codec, levels, b"", crop, classes)
    return Golden(codec, levels, unwritten.encode(), crop, classes)


def classes_of(shape, number, seed) -> np.ndarray:
    generator = np.random.Generator(np.random.PCG64(seed))
    return generator.integers(0, number, [-(-s // 2) for s in shape[1:]], np.uint8)


def make_valid() -> dict[str, Golden]:
    valid = {}

    def huffman(name, shape, scale, lo, symbols, tables, crop=(0, 0), limit=10):
        levels = laplacian(shape, scale, lo, lo + symbols - 1, len(valid))
        codec = huffman_codec(levels, lo, symbols, tables, limit)
        valid[f"huffman-{name}"] = of_operators(codec, levels, crop)

    huffman("small", (3, 5, 7), 3, -9, 20, 2, crop=(1, 0))
    huffman("one-symbol", (2, 3, 4), 0, 0, 1, 1)
    huffman("long-codes", (2, 6, 9), 20, -40, 90, 1, limit=15)
    huffman("empty", (0, 3, 4), 1, -1, 3, 1)
    huffman("substreams", (8, 23, 23), 0.5, -4, 9, 3)
    huffman("chunks", (4, 150, 117), 0.08, -2, 5, 2)

    def rans(name, shape, scale, lo, symbols, tables, crop=(0, 0), log2_total=12, classes=1):
        levels = laplacian(shape, scale, -30000, 30000, len(valid))
        segments = 1 + classes * shape[0] if classes > 1 else shape[0]
        codec = rans_codec(levels, lo, symbols, tables, log2_total, segments)
        blocks = classes_of(shape, classes, len(valid)) if classes > 1 else None
        valid[f"rans-{name}"] = of_operators(codec, levels, crop, blocks)

    rans("small", (3, 5, 7), 3, -4, 9, 2, crop=(0, 7))  # what is beyond 4 is escaped
    rans("all-escaped", (1, 3, 5), 1000, 30, 2, 1)
    rans("256-slots", (2, 6, 5), 1, -4, 9, 1, log2_total=8)
    rans("empty", (2, 0, 4), 1, -1, 3, 1)
    rans("states", (8, 63, 65), 0.1, -2, 5, 3)
    rans("chunks", (4, 186, 181), 0.08, -2, 5, 2)
    rans("classes", (3, 7, 9), 2, -6, 13, 4, crop=(1, 1), classes=5)
    rans("classes-chunks", (4, 181, 165), 0.08, -2, 5, 3, classes=3)

    for coder, kind in (("ebpc", EBPC), ("dct-cm", DCT_CM)):
        for name, shape, scale, lo, bits in (
            ("small", (3, 5, 7), 3, -8, 4),
            ("unsigned", (2, 6, 5), 20, 0, 7),
            ("15-bits", (1, 4, 5), 4000, -16384, 15),
            ("chunks", (4, 130, 127), 0.08, -2, 3),
        ):
            levels = laplacian(shape, scale, lo, lo + 2**bits - 1, len(valid))
            codec = Codec(kind, lo, ID, word_bits=bits)
            valid[f"{coder}-{name}"] = of_operators(codec, levels)
    return valid | make_others(valid)


def make_others(written: dict[str, Golden]) -> dict[str, Golden]:
    """Streams that the format allows and the operators do not write: of reference encoders."""
    import test_ops_huffman
    import test_ops_positions
    import test_ops_rans
    import test_ops_words

    def other(name, stream, crop=(0, 0)):
        golden = written[name]
        return Golden(golden.codec, golden.levels, stream, crop, golden.classes, written=False)

    others = {}
    golden = written["huffman-substreams"]
    args = golden.codec.lo, tensor(golden.codec.table_of), tensor(golden.codec.lengths)
    stream = test_ops_huffman.reference_stream(tensor(golden.levels), *args, ID, (3, 4), 10, 16)
    others["huffman-small-chunks"] = other("huffman-substreams", stream, (3, 4))

    golden = written["rans-states"]
    part = Golden(golden.codec, golden.levels[:, :13, :11].copy(), b"")
    args = part.codec.lo, tensor(part.codec.table_of), tensor(part.codec.frequencies)
    stream = test_ops_rans.reference_stream(tensor(part.levels), *args, ID, (0, 255), 8, 64)
    others["rans-small-chunks"] = Golden(part.codec, part.levels, stream, (0, 255), written=False)

    golden = written["rans-classes"]
    levels, classes = tensor(golden.levels), tensor(golden.classes)
    values, positions = test_ops_positions.reference_arrange(levels, classes, 5)
    rows = golden.codec.frequencies
    sizes = [classes.numel(), *positions * len(levels)]
    tables = [rows[t] for t, n in zip(golden.codec.table_of, sizes, strict=True) for _ in range(n)]
    payloads = [
        test_ops_rans.encode_payload(values[i : i + 256], tables[i : i + 256], golden.codec.lo, 8)
        for i in range(0, len(values), 256)
    ]
    for_chunks = container(RANS, (ID, *levels.shape, 8, 8, 1, 1), payloads, positions)
    others["rans-classes-of-any-chunk"] = other("rans-classes", for_chunks, (1, 1))

    others["huffman-classes"] = Golden(  # the document's example
        Codec(HUFFMAN, -1, 7, lengths=((2, 1, 2), (1, 2, 2)), table_of=(0, 1, 0)),
        np.array([[[0, 1, -1], [0, 0, 1], [-1, 0, 0]]], np.int16),
        bytes.fromhex("666D2188070001030303 0202 C96BFF2D 874D00"),
        classes=np.array([[1, 0], [1, 1]], np.uint8),
        written=False,
    )
    for coder, name in (("ebpc", "ebpc"), ("dct_cm", "dct-cm")):
        golden = written[f"{name}-chunks"]
        levels, codec = golden.levels[:, :17, :11].copy(), Codec(**vars(golden.codec))
        stream = test_ops_words.reference_stream(coder, tensor(levels), codec.lo, 3, (9, 9), 8)
        stream = with_id(stream, ID)
        others[f"{name}-small-chunks"] = Golden(codec, levels, stream, (9, 9), written=False)
    return others


# -- Malformed streams ----------------------------------------------------------------------------


def parts(stream: bytes):
    """Coder, fields and payloads for ``streams.container``, and the positions of classes."""
    header = decoder.read_header(stream)
    fields = [header.table_id, *header.shape, header.log2_chunk, header.lanes, *header.crop]
    payloads = [stream[begin:end] for begin, end, _ in header.payloads]
    return header.coder, fields, payloads, header.positions


def with_id(stream: bytes, table_id: int) -> bytes:
    coder, fields, payloads, positions = parts(stream)
    return container(coder, (table_id, *fields[1:]), payloads, positions)


def with_payload(stream: bytes, payload: bytes) -> bytes:
    """Another payload for a stream of one chunk, with right checksums."""
    coder, fields, _, positions = parts(stream)
    return container(coder, fields, [payload], positions)


def raw(coder, sizes, numbers, rest=b"", payload=b"", version=2, crop_flag=0) -> bytes:
    """A stream of one chunk with any fields: numbers are K, H, W, P as varints or as bytes."""
    header = b"fm" + bytes([version << 4 | crop_flag << 3 | coder, sizes]) + struct.pack("<H", ID)
    header += b"".join(n if isinstance(n, bytes) else varint(n) for n in numbers) + rest
    return header + checksum(header + payload) + payload


def bits(text: str) -> bytes:
    """A bit string, filled up with zeros."""
    text = text.replace(" ", "")
    text += "0" * (-len(text) % 8)
    return bytes(int(text[i : i + 8][::-1], 2) for i in range(0, len(text), 8))


def make_malformed(valid: dict[str, Golden]) -> dict[str, Malformed]:
    malformed = {}

    def add(name, of, stream, status):
        malformed[f"bad-{name}"] = Malformed(of, stream, status)

    small, chunks = valid["huffman-small"].stream, valid["huffman-small-chunks"].stream
    add("no-bytes", "huffman-small", b"", decoder.TRUNCATED)
    add("cut-fields", "huffman-small", small[:8], decoder.TRUNCATED)
    add("cut-payload", "huffman-small", small[:-1], decoder.TRUNCATED)
    add("cut-last-chunk", "huffman-small-chunks", chunks[:-1], decoder.TRUNCATED)
    add("magic", "huffman-small", b"FM" + small[2:], decoder.BAD_MAGIC)
    shape, size = valid["huffman-small"].levels.shape, len(parts(small)[2][0])
    numbers, payload = [*shape, size], parts(small)[2][0]
    for version in (0, 1, 3, 15):
        stream = raw(HUFFMAN, 0x08, numbers, payload=payload, version=version)
        add(f"version-{version}", "huffman-small", stream, decoder.BAD_VERSION)
    for coder in (0, 5, 7, RANS):
        stream = raw(coder, 0x08, numbers, payload=payload)
        add(f"coder-{coder}", "huffman-small", stream, decoder.BAD_CODER)
    long_form = [bytes([shape[0] | 128, 0]), *numbers[1:]]
    add("long-varint", "huffman-small", raw(HUFFMAN, 8, long_form), decoder.BAD_NUMBER)
    too_large = [b"\xff\xff\xff\xff\x10", *numbers[1:]]
    add("large-varint", "huffman-small", raw(HUFFMAN, 8, too_large), decoder.BAD_NUMBER)
    for name, stream in {
        "lanes": raw(HUFFMAN, 0x58, numbers, payload=payload),
        "crop": raw(HUFFMAN, 0x08, numbers, bytes(2), payload, crop_flag=1),
        "shape": raw(HUFFMAN, 0x08, [2**20, 2**20, 2, size], payload=payload),
        "shape-overflow": raw(HUFFMAN, 0x08, [2**31, 2**31, 4, size], payload=payload),
        "one-class": raw(HUFFMAN, 0x88, numbers, bytes([1]), payload),
        "nine-classes": raw(HUFFMAN, 0x88, numbers, bytes([9, *[0] * 8]), payload),
        "positions": raw(HUFFMAN, 0x88, numbers, bytes([3, 30, 6]), payload),
        "classes-of-nothing": raw(HUFFMAN, 0x88, [0, 5, 7, 0], bytes([2, 0])),
    }.items():
        add(name, "huffman-small", stream, decoder.BAD_HEADER)
    of_words = valid["ebpc-small"].levels.shape
    stream = raw(EBPC, 0x88, [*of_words, 9], bytes([2, 0]), bytes(9))
    add("classes-of-words", "ebpc-small", stream, decoder.BAD_HEADER)
    stream = raw(EBPC, 0x18, [*of_words, 9], payload=bytes(9))
    add("lanes-of-words", "ebpc-small", stream, decoder.BAD_HEADER)

    flipped = bytearray(small)
    flipped[-1] ^= 1
    add("checksum", "huffman-small", bytes(flipped), decoder.BAD_CHECKSUM)
    stream = raw(HUFFMAN, 0x08, [0, 3, 4, 1], payload=b"\0")
    add("payload-of-nothing", "huffman-empty", stream, decoder.BAD_DIRECTORY)
    for name in ("huffman-small", "rans-small", "ebpc-small", "dct-cm-small"):
        least = decoder.least_bytes(valid[name].codec.coder, valid[name].levels.size, 1)
        stream = with_payload(valid[name].stream, bytes(least - 1))
        add(f"short-{name}", name, stream, decoder.BAD_DIRECTORY)
    coder, fields, payloads, _ = parts(chunks)
    total = sum(map(len, payloads))
    begin = len(chunks) - total - 4 - 8 * len(payloads)
    ends = (("order", 1, 3), ("beyond", 1, 2**32 - 1), ("last", 4, total - 1))
    for name, entry, end in ends:
        changed = bytearray(chunks)
        changed[begin + 8 * entry : begin + 8 * entry + 4] = struct.pack("<I", end)
        checked = begin + 8 * len(payloads)
        changed[checked : checked + 4] = checksum(changed[:checked])
        add(f"directory-{name}", "huffman-small-chunks", bytes(changed), decoder.BAD_DIRECTORY)
    for name in ("huffman-small-chunks", "rans-small-chunks", "ebpc-small-chunks"):
        flipped = bytearray(valid[name].stream)
        flipped[-1] ^= 128
        add(f"chunk-of-{name}", name, bytes(flipped), decoder.BAD_CHUNK_CHECKSUM)
    add("table-set", "huffman-small", with_id(small, ID + 1), decoder.WRONG_TABLES)
    add("other-shape", "huffman-small", valid["huffman-long-codes"].stream, decoder.WRONG_SHAPE)
    plain = of_operators(
        rans_codec(valid["rans-classes"].levels, -6, 13, 1), valid["rans-classes"].levels
    )
    add("no-classes", "rans-classes", plain.stream, decoder.WRONG_SHAPE)
    for name in ("huffman-small", "rans-small-chunks", "ebpc-small", "dct-cm-small"):
        add(f"more-{name}", name, valid[name].stream + b"\0", decoder.TRAILING_BYTES)
    add_bad_chunks(valid, add)
    return malformed


def add_bad_chunks(valid: dict[str, Golden], add) -> None:
    """Payloads with right checksums."""
    import test_ops_rans

    def bad(name, of, payload):
        add(name, of, with_payload(valid[of].stream, payload), decoder.BAD_CODE)

    def payload_of(name):
        return parts(valid[name].stream)[2][0]

    bad("huffman-no-code", "huffman-one-symbol", b"\0\0\x01")
    bad("huffman-padding", "huffman-long-codes", flip_last_bit(payload_of("huffman-long-codes")))
    bad("huffman-more", "huffman-small", payload_of("huffman-small") + b"\0")
    bad("huffman-less", "huffman-small", payload_of("huffman-small")[:-1])
    several = payload_of("huffman-substreams")
    for name, sizes in (("beyond", (2**32 - 1, 1, 1)), ("too-large", (1, 1, len(several) - 13))):
        bad(f"huffman-{name}", "huffman-substreams", struct.pack("<3I", *sizes) + several[12:])

    rans = payload_of("rans-small")
    bad("rans-low-state", "rans-small", struct.pack("<I", 65535) + rans[4:])
    bad("rans-more-words", "rans-small", rans[:4] + bytes(2) + rans[4:])
    bad("rans-odd-byte", "rans-small", rans + b"\0")
    bad("rans-less", "rans-small", rans[:-2])
    state = int.from_bytes(rans[:4], "little")
    bad("rans-other-state", "rans-small", struct.pack("<I", state + 4096) + rans[4:])

    unused = valid["rans-all-escaped"]  # 15 values leave 49 of 64 states as they were
    fields = (ID, *unused.levels.shape, 17, 64)
    values, rows = unused.levels.flatten().tolist(), unused.codec.frequencies
    payload = test_ops_rans.encode_payload(values, [rows[0]] * 15, unused.codec.lo, 64)
    assert payload[4 * 63 : 4 * 64] == struct.pack("<I", 65536)
    payload = payload[: 4 * 63] + struct.pack("<I", 65537) + payload[4 * 64 :]
    add(
        "rans-unused-state",
        "rans-all-escaped",
        container(RANS, fields, [payload]),
        decoder.BAD_CODE,
    )

    classes = valid["rans-classes"]
    coder, fields, [payload], positions = parts(classes.stream)
    moved = (positions[0] + 1, positions[1] - 1, *positions[2:])
    stream = container(coder, fields, [payload], moved)
    add("map-positions", "rans-classes", stream, decoder.BAD_CODE)
    stream = container(
        HUFFMAN, (7, 1, 3, 3, 16, 1), [bits("11 11 10 10 0 11 0 11 0 0 10 0 0")], (2, 7)
    )
    add("map-classes", "huffman-classes", stream, decoder.BAD_CODE)

    # Of (3, 5, 7) values: 105 marks, words of 4 bits with lo = -8, 8 planes of differences.
    zeros, ones = "0 1111" * 6, "1" * 9
    block = "0001 01 11"  # word 8, which is level 0, 8 times
    bad("ebpc-zero-word", "ebpc-small", bits(zeros + ones + block * 2))
    bad("ebpc-long-run-of-planes", "ebpc-small", bits(zeros + ones + "1000 001 01 11" * 2))
    bad("ebpc-word-too-large", "ebpc-small", bits(zeros + ones + "1111 01 01 00000" * 2))
    good = "1000 01 11"
    bad("ebpc-filling", "ebpc-small", bits(zeros + ones + good + "1000 01 01 00011 011"))
    bad("ebpc-bit-of-no-plane", "ebpc-small", bits(zeros + ones + good + "1000 01 01 00011 111"))
    bad("ebpc-long-run-of-zeros", "ebpc-small", bits("0 1111" * 7))
    bad("ebpc-padding", "ebpc-small", flip_last_bit(bits(zeros + ones + good * 2)))
    bad("ebpc-more", "ebpc-small", bits(zeros + ones + good * 2) + b"\0")
    bad("ebpc-less", "ebpc-small", bits(zeros + ones + good * 2)[:-1])
    mask = "1" + "0" * 104
    bad("dct-cm-zero-word", "dct-cm-small", bits(mask + "0001"))
    bad("dct-cm-padding", "dct-cm-small", flip_last_bit(bits(mask + "1000")))
    bad("dct-cm-more", "dct-cm-small", bits(mask + "1000") + b"\0")
    bad("dct-cm-no-words", "dct-cm-small", bits("1" * 105))


def flip_last_bit(payload: bytes) -> bytes:
    """Into the bits that fill up the last byte."""
    return payload[:-1] + bytes([payload[-1] ^ 128])


if __name__ == "__main__":
    if sys.argv[1:] == ["--regenerate"]:
        streams = make_valid()
        save(streams, make_malformed(streams))
    elif sys.argv[1:] != ["--check"]:
        sys.exit(__doc__)
    check()
    print(ops.build_info()["coder_simd"])
