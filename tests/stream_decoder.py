"""A second decoder of streams and bundles, written from docs/stream_format.md alone.

Plain Python, one bit and one value at a time: a witness for the C++ code, not a tool. Section names
in the docstrings are those of the document.
"""

from __future__ import annotations

import struct
import unicodedata
import zlib
from dataclasses import dataclass

import numpy as np

HUFFMAN, RANS, EBPC, DCT_CM = 1, 2, 3, 4
MAX_LOG2_LANES = {HUFFMAN: 4, RANS: 6, EBPC: 0, DCT_CM: 0}


# The statuses of "What a decoder must check".
TRUNCATED, BAD_MAGIC, BAD_VERSION, BAD_CODER, BAD_NUMBER, BAD_HEADER = range(1, 7)
BAD_CHECKSUM, BAD_DIRECTORY, BAD_CHUNK_CHECKSUM = 7, 8, 9
WRONG_TABLES, WRONG_SHAPE, BAD_CODE, TRAILING_BYTES = 10, 11, 12, 13
BAD_NAME, WRONG_STREAM = 23, 24


class Damaged(ValueError):
    """``status`` is that of the check that failed."""

    def __init__(self, status: int, message: str):
        super().__init__(f"status {status}: {message}")
        self.status = status


def require(condition: bool, status: int, message: str) -> None:
    if not condition:
        raise Damaged(status, message)


# -- The codec: what a stream does not hold -------------------------------------------------------


@dataclass(frozen=True)
class Codec:
    """What decoder and encoder share: of tables ``lengths`` (Huffman) or ``frequencies`` (rANS,
    the escape's last), a row each, and ``table_of`` each segment; or ``word_bits``."""

    coder: int
    lo: int
    table_id: int
    lengths: tuple[tuple[int, ...], ...] = ()
    frequencies: tuple[tuple[int, ...], ...] = ()
    table_of: tuple[int, ...] = ()
    word_bits: int = 0


def canonical_codes(lengths) -> dict[tuple[int, int], int]:
    """(length, code) -> symbol ("Canonical codes")."""
    used = sorted((length, symbol) for symbol, length in enumerate(lengths) if length > 0)
    if not all(0 <= length <= 15 for length in lengths):
        raise ValueError("code lengths are 0 to 15")
    kraft = sum(2 ** (15 - length) for length, _ in used)
    if kraft != 2**15 and not (len(used) == 1 and used[0][0] == 1):
        raise ValueError("the Kraft sum is not 1")
    codes, code, before = {}, 0, used[0][0]
    for i, (length, symbol) in enumerate(used):
        code = (code + (i > 0)) << (length - before)
        codes[length, code] = symbol
        before = length
    return codes


def as_level(number: int) -> int:
    """A number modulo 2**16, signed ("Levels at the end of the range")."""
    return (number + 2**15) % 2**16 - 2**15


def slots_of(frequencies, lo: int) -> list[tuple[int | None, int, int]]:
    """(level or None for the escape, frequency, start) of each slot of a rANS table ("Tables")."""
    *levels, escape = frequencies
    direct = [i for i, f in enumerate(levels) if f > 0]
    if min(frequencies) < 0 or escape < 1:
        raise ValueError("frequencies are at least 0, that of the escape at least 1")
    if len(direct) > 255 or (direct and direct[-1] - direct[0] >= 255):
        raise ValueError("the direct levels are not within 255 consecutive ones")
    if sum(frequencies) not in (2**8, 2**9, 2**10, 2**11, 2**12):
        raise ValueError("the sum of the frequencies is no power of two from 256 to 4096")
    slots = []
    for level, f in [(as_level(lo + i), levels[i]) for i in direct] + [(None, escape)]:
        slots += [(level, f, len(slots))] * f
    return slots


# -- Layout ---------------------------------------------------------------------------------------


def _crc_table() -> list[int]:
    table = []
    for crc in range(256):
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ CRC_TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


class Reader:
    """Takes fields from the front of bytes."""

    def __init__(self, data: bytes):
        self.data, self.position = data, 0

    def take(self, size: int) -> bytes:
        taken = self.data[self.position : self.position + size]
        require(len(taken) == size, TRUNCATED, "the stream ends too early")
        self.position += size
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def varint(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self.number(1)
            value |= (byte & 127) << shift
            require(value < 2**32 and shift <= 28, BAD_NUMBER, "a varint is too large")
            if byte < 128:
                require(byte > 0 or shift == 0, BAD_NUMBER, "a varint is longer than needed")
                return value
            shift += 7


@dataclass(frozen=True)
class Header:
    """The fields, and where the chunks are: ``payloads`` of (begin, end, CRC or None)."""

    coder: int
    log2_chunk: int
    lanes: int
    table_id: int
    shape: tuple[int, int, int]
    crop: tuple[int, int]
    positions: tuple[int, ...]
    values: int
    payloads: tuple[tuple[int, int, int | None], ...]
    size: int

    def values_of(self, chunk: int) -> int:
        return min(2**self.log2_chunk, self.values - chunk * 2**self.log2_chunk)


def read_header(data: bytes) -> Header:
    """Fields, directory and checksum of the stream that data begins with."""
    reader = Reader(data)
    require(reader.take(2) == b"fm", BAD_MAGIC, "no magic")
    kind, sizes = reader.number(1), reader.number(1)
    coder, version = kind & 7, kind >> 4
    require(version == 2, BAD_VERSION, f"version {version}")
    require(coder in MAX_LOG2_LANES, BAD_CODER, f"coder {coder}")
    log2_lanes = sizes >> 4 & 7
    require(log2_lanes <= MAX_LOG2_LANES[coder], BAD_HEADER, f"2**{log2_lanes} lanes")
    has_classes = sizes >> 7 == 1
    require(
        not has_classes or coder in (HUFFMAN, RANS),
        BAD_HEADER,
        "classes with a coder without tables",
    )
    table_id = reader.number(2)
    components, height, width, total = (reader.varint() for _ in range(4))
    require(components * height * width <= 2**40, BAD_HEADER, "more than 2**40 levels")
    crop = (0, 0)
    if kind & 8:
        crop = (reader.number(1), reader.number(1))
        require(crop != (0, 0), BAD_HEADER, "crop without rows or columns")
    positions = ()
    values = components * height * width
    if has_classes:
        classes = reader.number(1)
        require(2 <= classes <= 8, BAD_HEADER, f"{classes} classes")
        require(
            components > 0 and 0 < height * width < 2**32, BAD_HEADER, "classes of no positions"
        )
        first = [reader.varint() for _ in range(classes - 1)]
        require(
            sum(first) <= height * width, BAD_HEADER, "more positions in classes than there are"
        )
        positions = (*first, height * width - sum(first))
        values += -(-height // 2) * -(-width // 2)

    chunk = 2 ** (8 + sizes % 16)
    chunks = -(-values // chunk)
    directory = []
    if chunks > 1:
        require(len(data) >= reader.position + 8 * chunks + 4, TRUNCATED, "the directory is cut")
        directory = [(reader.number(4), reader.number(4)) for _ in range(chunks)]
    covered = data[: reader.position]
    checksum = reader.number(4)
    if not directory:
        covered += reader.take(total)
        reader.position -= total
    require(crc32c(covered) == checksum, BAD_CHECKSUM, "the checksum does not match")

    if chunks == 1:
        directory = [(total, None)]
    payloads, begin = [], 0
    for i, (end, crc) in enumerate(directory):
        n = min(chunk, values - i * chunk)
        least = least_bytes(coder, n, 2**log2_lanes)
        require(end - begin >= least, BAD_DIRECTORY, f"chunk {i} is too short")
        payloads.append((reader.position + begin, reader.position + end, crc))
        begin = end
    require(begin == total, BAD_DIRECTORY, "the last chunk does not end with the payloads")
    size = reader.position + total
    require(len(data) >= size, TRUNCATED, "the payloads are cut")
    return Header(
        coder=coder,
        log2_chunk=8 + sizes % 16,
        lanes=2**log2_lanes,
        table_id=table_id,
        shape=(components, height, width),
        crop=crop,
        positions=positions,
        values=values,
        payloads=tuple(payloads),
        size=size,
    )


def least_bytes(coder: int, n: int, lanes: int) -> int:
    """Bytes that n values of a chunk need at least."""
    if coder == HUFFMAN:
        return -(-n // 8) + 4 * (lanes - 1)
    if coder == RANS:
        return 4 * lanes + 2 * max(0, -(-n // 46000) - lanes)
    if coder == EBPC:
        return -(-(5 * (n // 16) + (n % 16 > 0)) // 8)
    return -(-n // 8)


# -- Chunks ---------------------------------------------------------------------------------------


class Bits:
    """A bit string whose first bit is the lowest bit of the first byte (BAD_CODE otherwise)."""

    def __init__(self, data: bytes):
        self.data, self.position = data, 0

    def bit(self) -> int:
        require(self.position < 8 * len(self.data), BAD_CODE, "a bit string ends too early")
        bit = self.data[self.position // 8] >> self.position % 8 & 1
        self.position += 1
        return bit

    def number(self, bits: int) -> int:
        return sum(self.bit() << i for i in range(bits))

    def end(self) -> None:
        """Nothing may follow but zero bits up to the end of the byte."""
        require(-(-self.position // 8) == len(self.data), BAD_CODE, "bytes follow the last code")
        while self.position % 8:
            require(self.bit() == 0, BAD_CODE, "the bits after the last code are not 0")


def huffman_chunk(payload: bytes, tables: list[int], codec: Codec, lanes: int) -> list[int]:
    """Levels; tables: the table of each value ("Huffman chunks")."""
    codes = [canonical_codes(lengths) for lengths in codec.lengths]
    n = len(tables)
    sizes = struct.unpack_from(f"<{lanes - 1}I", payload)
    position = 4 * (lanes - 1)
    require(
        position + sum(sizes) <= len(payload), BAD_CODE, "sub-streams are longer than the payload"
    )
    run, levels = -(-n // lanes), []
    for i in range(lanes):
        end = position + sizes[i] if i < lanes - 1 else len(payload)
        bits = Bits(payload[position:end])
        for table in tables[i * run : (i + 1) * run]:
            levels.append(as_level(codec.lo + huffman_symbol(bits, codes[table])))
        bits.end()
        position = end
    return levels


def huffman_symbol(bits: Bits, codes: dict[tuple[int, int], int]) -> int:
    code = 0
    for length in range(1, 16):
        code = code << 1 | bits.bit()
        if (length, code) in codes:
            return codes[length, code]
    raise Damaged(BAD_CODE, "no code")


def rans_chunk(payload: bytes, tables: list[int], codec: Codec, lanes: int) -> list[int]:
    """Levels; tables: the table of each value ("rANS chunks")."""
    slots = [slots_of(f, codec.lo) for f in codec.frequencies]
    total = sum(codec.frequencies[0])
    if any(len(s) != total for s in slots):
        raise ValueError("the tables have different sums")
    states = list(struct.unpack_from(f"<{lanes}I", payload))
    require(min(states) >= 2**16, BAD_CODE, "a state is below 2**16 at the start")
    front, back, levels = 4 * lanes, len(payload), []
    for i, table in enumerate(tables):
        x = states[i % lanes]
        level, f, start = slots[table][x % total]
        x = f * (x // total) + x % total - start
        if x < 2**16:
            require(front + 2 <= back, BAD_CODE, "no word is left")
            x = x << 16 | int.from_bytes(payload[front : front + 2], "little")
            front += 2
        states[i % lanes] = x
        if level is None:
            require(front + 2 <= back, BAD_CODE, "no escaped level is left")
            back -= 2
            level = int.from_bytes(payload[back : back + 2], "little", signed=True)
        levels.append(level)
    require(front == back, BAD_CODE, "bytes are left between words and escaped levels")
    require(set(states) == {2**16}, BAD_CODE, "a state does not end as it began")
    return levels


def ebpc_chunk(payload: bytes, n: int, codec: Codec) -> list[int]:
    """Levels of n values ("EBPC chunks")."""
    bits, marks = Bits(payload), []
    while len(marks) < n:
        marks += [1] if bits.bit() else [0] * (bits.number(4) + 1)
    require(len(marks) == n, BAD_CODE, "a run of zeros is longer than the chunk")
    count, words = sum(marks), []
    while len(words) < count:
        words += ebpc_octuple(bits, codec.word_bits)
    require(
        len(set(words[max(count - 1, 0) :])) <= 1, BAD_CODE, "the last octuple is not filled up"
    )
    bits.end()
    return levels_of_words(marks, words, codec)


def ebpc_octuple(bits: Bits, word_bits: int) -> list[int]:
    """The 8 words of an octuple."""
    words = [bits.number(word_bits)]
    differences = [0] * 7
    plane, p = [0] * 7, word_bits
    while p >= 0:
        change, planes = ebpc_change(bits, plane, word_bits)
        require(planes <= p + 1, BAD_CODE, "a run of planes is too long")
        plane = [a ^ b for a, b in zip(plane, change, strict=True)]
        for q in range(p, p - planes, -1):
            weight = -(2**q) if q == word_bits else 2**q
            differences = [d + weight * b for d, b in zip(differences, plane, strict=True)]
        p -= planes
    for difference in differences:
        words.append(words[-1] + difference)
    require(all(0 <= word < 2**word_bits for word in words), BAD_CODE, "a word is out of range")
    return words


def ebpc_change(bits: Bits, plane: list[int], word_bits: int) -> tuple[list[int], int]:
    """DBX of the next plane, and for how many planes it holds (more than one only for 0)."""
    if bits.bit():
        return [bits.bit() for _ in range(7)], 1
    if bits.bit():
        return [0] * 7, 2 + bits.number((word_bits - 1).bit_length())
    if bits.bit():
        return [0] * 7, 1
    kind = (bits.bit(), bits.bit())
    if kind == (0, 0):
        return [1] * 7, 1
    if kind == (0, 1):
        return plane, 1
    ones = 2 if kind == (1, 0) else 1
    k = bits.number(3)
    require(k + ones <= 7, BAD_CODE, "a bit of a plane that has 7")
    return [int(k <= i < k + ones) for i in range(7)], 1


def dct_cm_chunk(payload: bytes, n: int, codec: Codec) -> list[int]:
    """Levels of n values ("DCT-CM chunks")."""
    bits = Bits(payload)
    marks = [bits.bit() for _ in range(n)]
    words = [bits.number(codec.word_bits) for _ in range(sum(marks))]
    bits.end()
    return levels_of_words(marks, words, codec)


def levels_of_words(marks: list[int], words: list[int], codec: Codec) -> list[int]:
    word = iter(words)
    levels = [next(word) + codec.lo if mark else 0 for mark in marks]
    require(
        all(bool(q) == bool(m) for q, m in zip(levels, marks, strict=True)), BAD_CODE, "0 as a word"
    )
    return levels


# -- A stream -------------------------------------------------------------------------------------


def decode(data: bytes, codec: Codec, shape: tuple[int, int, int]) -> np.ndarray:
    """Levels int16 [K, H, W] of exactly one stream; ``Damaged`` where any check fails."""
    header = read_header(data)
    require(len(data) == header.size, TRAILING_BYTES, "bytes follow the stream")
    require(header.coder == codec.coder, BAD_CODER, "another coder")
    require(header.shape == tuple(shape), WRONG_SHAPE, "another shape")
    require(header.table_id == codec.table_id, WRONG_TABLES, "another table set")
    if codec.table_of:
        classes = max(1, len(header.positions))
        segments = header.shape[0] * classes + (classes > 1)
        require(segments == len(codec.table_of), WRONG_SHAPE, "another number of classes")

    for i, (begin, end, crc) in enumerate(header.payloads):
        require(
            crc is None or crc32c(data[begin:end]) == crc,
            BAD_CHUNK_CHECKSUM,
            f"checksum of chunk {i}",
        )
    tables = tables_of_values(header, codec) if codec.table_of else []
    values = []
    for i, (begin, end, _) in enumerate(header.payloads):
        n, payload = header.values_of(i), data[begin:end]
        chunk_tables = tables[len(values) : len(values) + n]
        if codec.coder == HUFFMAN:
            values += huffman_chunk(payload, chunk_tables, codec, header.lanes)
        elif codec.coder == RANS:
            values += rans_chunk(payload, chunk_tables, codec, header.lanes)
        elif codec.coder == EBPC:
            values += ebpc_chunk(payload, n, codec)
        else:
            values += dct_cm_chunk(payload, n, codec)
    if header.positions:
        return undo_arrangement(values, header)
    return np.array(values, np.int16).reshape(header.shape)


def tables_of_values(header: Header, codec: Codec) -> list[int]:
    """The table of each value ("Values and segments", "Classes of positions")."""
    components, height, width = header.shape
    if header.positions:
        cells = header.values - components * height * width
        counts = [cells] + components * list(header.positions)
    else:
        counts = [height * width] * components
    return [t for t, count in zip(codec.table_of, counts, strict=True) for _ in range(count)]


def undo_arrangement(values: list[int], header: Header) -> np.ndarray:
    """The tensor of an arrangement ("Classes of positions")."""
    components, height, width = header.shape
    rows, columns = -(-height // 2), -(-width // 2)
    classes = np.zeros((rows, columns), int)
    for i in range(rows * columns):
        y, x = divmod(i, columns)
        left = int(classes[y, x - 1]) if x else 0
        above = int(classes[y - 1, x]) if y else 0
        value = values[i] + (32 * left + 32 * above + 32) // 64
        require(0 <= value < len(header.positions), BAD_CODE, f"a cell of class {value}")
        classes[y, x] = value
    order = [
        (y, x)
        for c in range(len(header.positions))
        for cell_y, cell_x in np.argwhere(classes == c)
        for y in range(2 * cell_y, min(2 * cell_y + 2, height))
        for x in range(2 * cell_x, min(2 * cell_x + 2, width))
    ]
    of_pixels = np.kron(classes, np.ones((2, 2), int))[:height, :width]
    counts = tuple(np.bincount(of_pixels.ravel(), minlength=len(header.positions)).tolist())
    require(counts == header.positions, BAD_CODE, "the map has other numbers of positions")
    levels = np.zeros(header.shape, np.int16)
    ys, xs = np.array(order).T
    coefficients = np.array(values[rows * columns :]).reshape(components, height * width)
    levels[:, ys, xs] = coefficients
    return levels


# -- A bundle -------------------------------------------------------------------------------------


def read_bundle(data: bytes) -> dict[str, list[bytes]]:
    """The streams of each tensor, one for each image; ``Damaged`` where any check fails."""
    reader = Reader(data)
    require(reader.take(2) == b"fb", BAD_MAGIC, "no magic")
    version = reader.number(1)
    require(version == 1, BAD_VERSION, f"version {version}")
    images, tensors = reader.varint(), reader.varint()
    require(1 <= tensors <= 1024, BAD_HEADER, f"{tensors} tensors")
    require(images * tensors <= 2**24, BAD_HEADER, f"{images} images of {tensors} tensors")
    bundle: dict[str, list[bytes]] = {}
    for _ in range(tensors):
        name = bundle_name(reader.take(reader.number(1)))
        require(name not in bundle, BAD_NAME, f"two tensors are called {name!r}")
        bundle[name] = []

    entries = struct.iter_unpack("<II", reader.take(8 * images * tensors))
    checked = data[: reader.position]
    require(crc32c(checked) == reader.number(4), BAD_CHECKSUM, "the checksum does not match")
    entries = list(entries)
    end = reader.position + sum(size for size, _ in entries)
    require(len(data) >= end, TRUNCATED, "streams are cut off")
    require(len(data) == end, TRAILING_BYTES, "bytes follow the last stream")
    for i, (size, checksum) in enumerate(entries):
        stream = reader.take(size)
        require(zlib.crc32(stream) == checksum, WRONG_STREAM, f"stream {i} is another one")
        bundle[list(bundle)[i % tensors]].append(stream)
    return bundle


def bundle_name(name: bytes) -> str:
    try:
        text = name.decode("utf-8")
    except UnicodeDecodeError:
        raise Damaged(BAD_NAME, f"{name!r} is not UTF-8") from None
    control = any(unicodedata.category(character) == "Cc" for character in text)
    require(not control, BAD_NAME, f"control characters in {text!r}")
    return text
