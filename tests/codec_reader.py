"""A reader of saved codecs and their streams, written from docs/codec_format.md.

Plain Python with NumPy for arrays: a witness for the other readers, not a tool. Section names in
the docstrings are those of the document.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import stream_decoder
from stream_decoder import DCT_CM, EBPC, HUFFMAN, RANS

TYPES = {"F32": "<f4", "F64": "<f8", "I16": "<i2", "I32": "<i4", "I64": "<i8", "U8": "u1"}
CODERS = {"huffman": HUFFMAN, "fixed": HUFFMAN, "rans": RANS, "apack": RANS, "ebpc": EBPC}
CODERS["dct-cm"] = DCT_CM
SLOTS = 4096
LAST_SCALE = {"integers": 255, "mxfp4": 254, "nvfp4": 126}
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def read_file(data: bytes) -> tuple[dict, dict[str, np.ndarray]]:
    """The description and the tensors ("The file")."""
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    parts = json.loads(header.pop("__metadata__")["fmtc"])
    assert parts["schema"] == "fmtc.codec/6"
    crc, tensors = zlib.crc32(parts["description"].encode()), {}
    for name, entry in sorted(header.items(), key=lambda item: item[0].encode()):
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        sizes = ",".join(map(str, entry["shape"]))
        crc = zlib.crc32(f"{name}\n{entry['dtype']}\n{sizes}\n".encode() + data[begin:end], crc)
        flat = np.frombuffer(data[begin:end], TYPES[entry["dtype"]])
        tensors[name] = flat.reshape(entry["shape"])
    if crc != parts["checksum"]:
        raise ValueError("the checksum is wrong")
    return json.loads(parts["description"]), tensors


@dataclass
class Layer:
    """One layer: settings, tensors without their prefix, and what follows from them."""

    settings: dict
    tensors: dict[str, np.ndarray]

    def __post_init__(self):
        s = self.settings
        self.channels, self.groups = s["channels"], s["groups"]
        h, w, c = s["block"].split(",")
        self.h, self.w = int(h), int(w)
        self.depth = self.channels if c == "C" else min(int(c), self.channels)
        self.shifts = self.tensors["shifts"]
        self.components = len(self.shifts)
        self.planes = self.components + int((self.shifts > 0).sum())
        self.codec = self.tables()

    # -- Tables -----------------------------------------------------------------------------------

    def tables(self) -> stream_decoder.Codec:
        """What the streams do not hold ("Tables")."""
        name, lo = self.settings["coder"], self.settings["symbols_from"]
        table_of = tuple(int(table) for table in self.tensors["table_of"])
        counts = [[64 * int(count) + 1 for count in row] for row in self.tensors["counts"]]
        ends = [(0, len(row) - 1) for row in counts]
        if "alphabets" in self.tensors:
            ends = [(int(a) - lo, int(z) - lo) for a, z in self.tensors["alphabets"]]
        for row, (first, last) in zip(counts, ends, strict=True):
            row[:first] = [0] * first
            row[last + 1 :] = [0] * (len(row) - last - 1)
        lengths = tuple(huffman_lengths(row) for row in counts)
        codes = b"".join(map(bytes, lengths))
        frequencies: tuple = ()
        if CODERS[name] == RANS:
            make = rans_frequencies if name == "rans" else apack_frequencies
            frequencies = tuple(make(row) for row in counts)
            codes = b"".join(struct.pack(f"<{len(row)}i", *row) for row in frequencies)
        if name == "fixed":
            lengths = tuple(equal_lengths(*of_table) for of_table in ends)
        crc = zlib.crc32(name.encode() + struct.pack("<i", lo))
        crc = zlib.crc32(codes, zlib.crc32(struct.pack(f"<{len(table_of)}q", *table_of), crc))
        own = {"lengths": lengths} if CODERS[name] == HUFFMAN else {"frequencies": frequencies}
        if name in ("ebpc", "dct-cm"):
            own = {"word_bits": word_bits(len(counts[0]))}
        return stream_decoder.Codec(CODERS[name], lo, crc & 0xFFFF, table_of=table_of, **own)

    # -- Decoding ---------------------------------------------------------------------------------

    def decode(self, stream: bytes) -> np.ndarray:
        """float32 [C, H, W] of the only stream of an image ("Decoding")."""
        header = stream_decoder.read_header(stream)
        shape = self.planes, *header.shape[1:]
        levels = self.levels(np.asarray(stream_decoder.decode(stream, self.codec, shape)))
        if "frequencies" in self.tensors:
            return self.inverse(self.blocks_of_frequencies(levels, *header.crop))
        values = self.scaled(levels) if "format" in self.settings else self.stepped(levels)
        return self.join(self.inverse(values), *header.crop)

    def stepped(self, levels: np.ndarray) -> np.ndarray:
        """Levels to values."""
        steps = [one[0] for one in self.settings.get("each", [[self.settings["step"]]])]
        return levels.astype(np.float32) * np.array(steps, np.float32)[:, None, None]

    def scaled(self, levels: np.ndarray) -> np.ndarray:
        """Levels to values, with scales."""
        form, block = self.settings["format"], self.settings["scale_block"]
        scales = math.ceil(self.components / (block + 1)) if block else 1
        count = self.components - scales
        codes = levels[count:].clip(0, LAST_SCALE[form]).astype(np.int64)
        if form == "mxfp4":
            values = np.ldexp(np.float32(1), codes - 127)
        else:
            mantissas = np.where(codes < 8, codes, 8 + codes % 8).astype(np.float32)
            values = np.ldexp(mantissas, np.maximum(codes // 8 - 1, 0) - 9)
            values = values * np.float32(self.settings["step"])
        of_channel = values[np.arange(count) // (block or count)].astype(np.float32)
        elements = levels[:count].astype(np.float32)
        if form != "integers":
            magnitudes = E2M1[np.minimum(abs(levels[:count].astype(np.int64)), 7)]
            elements = np.where(levels[:count] < 0, -magnitudes, magnitudes)
        return elements * of_channel

    def blocks_of_frequencies(self, levels: np.ndarray, crop_h: int, crop_w: int) -> np.ndarray:
        """Levels to values, with frequencies."""
        coded, scales = self.tensors["frequencies"], self.tensors["frequency_scales"]
        steps = scales * np.float32(self.settings["step"])
        s = math.isqrt(len(steps))
        components = int(coded.max()) // len(steps) + 1
        _, rows, columns = levels.shape
        made = np.zeros((components, rows * s, columns * s), np.float64)
        for number, plane in zip(coded.tolist(), levels, strict=True):
            r, f = divmod(number, len(steps))
            block = np.outer(cosine(f // s, s), cosine(f % s, s))
            made[r] += np.kron(plane * steps[f], block)
        made = made[:, : rows * s - crop_h, : columns * s - crop_w]
        return made.astype(np.float32)

    def levels(self, symbols: np.ndarray) -> np.ndarray:
        """Low bits and prediction."""
        levels = np.zeros((self.components, *symbols.shape[1:]), np.int16)
        low = self.components
        for k, shift in enumerate(self.shifts):
            residuals = symbols[k].astype(np.int64)
            if shift > 0:
                residuals = (residuals << int(shift)) + symbols[low]
                low += 1
            self.unpredict(k, residuals, levels)
        return levels

    def unpredict(self, k: int, residuals: np.ndarray, levels: np.ndarray) -> None:
        """Fill in component k, those before it being there."""
        own = [int(c) for c in self.tensors["coefficients"][k][:3]]
        sums = self.of_sources(k, levels)
        height, width = residuals.shape
        padded = [[0] * (width + 1) for _ in range(height + 1)]
        for y in range(height):
            for x in range(width):
                near = padded[y + 1][x], padded[y][x + 1], padded[y][x]
                total = sums[y][x] + sum(c * q for c, q in zip(own, near, strict=True))
                predicted = signed(total + 2048, 32) >> 12
                padded[y + 1][x + 1] = signed(int(residuals[y, x]) + predicted, 16)
        levels[k] = np.array(padded)[1:, 1:]

    def of_sources(self, k: int, levels: np.ndarray) -> list[list[int]]:
        coefficients = self.tensors["coefficients"][k][3:].reshape(-1, 3, 3).astype(np.int64)
        height, width = levels.shape[1:]
        sums = np.zeros((height, width), np.int64)
        for j in range(min(k, len(coefficients))):
            padded = np.pad(levels[j].astype(np.int64), 1)
            for dy in range(3):
                for dx in range(3):
                    sums += coefficients[j, dy, dx] * padded[dy : dy + height, dx : dx + width]
        return sums.tolist()

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Values [G * n, H', W'] of components."""
        if self.groups == 0:
            return y
        made, at = [], 0
        for g in range(self.groups):
            inverse, mean = self.tensors[f"inverse.{g}"], self.tensors[f"mean.{g}"]
            part = y[at : at + inverse.shape[1]]
            at += inverse.shape[1]
            made.append(np.tensordot(inverse, part, 1) + mean[:, None, None].astype(np.float32))
        return np.concatenate(made)

    def join(self, values: np.ndarray, crop_h: int, crop_w: int) -> np.ndarray:
        """Blocks to an image."""
        _, height, width = values.shape
        image = values.reshape(-1, self.h, self.w, height, width).transpose(0, 3, 1, 4, 2)
        image = image.reshape(-1, height * self.h, width * self.w)
        return image[: self.channels, : height * self.h - crop_h, : width * self.w - crop_w]


def cosine(f: int, s: int) -> np.ndarray:
    """Row f of the orthonormal DCT-II of s values."""
    i = np.arange(s)
    return math.sqrt((2 if f else 1) / s) * np.cos(math.pi * f * (i + 0.5) / s)


def signed(value: int, bits: int) -> int:
    value &= 2**bits - 1
    return value - 2**bits if value >> (bits - 1) else value


def word_bits(symbols: int) -> int:
    return max(1, math.ceil(math.log2(symbols)))


def equal_lengths(first: int, last: int) -> tuple[int, ...]:
    """Of a table of words ("fixed")."""
    bits = word_bits(last - first + 1)
    return (0,) * first + (bits,) * 2**bits


def huffman_lengths(counts: list[int]) -> tuple[int, ...]:
    """By package-merge with explicit lists of leaves ("Huffman")."""
    lengths = [0] * len(counts)
    order = [symbol for symbol, count in enumerate(counts) if count > 0]
    order.sort(key=lambda symbol: (counts[symbol], symbol))
    if len(order) == 1:
        lengths[order[0]] = 1
        return tuple(lengths)
    longest = min(15, math.ceil(math.log2(max(len(counts), 2))) + 6)
    leaves = [(counts[symbol], 0, (symbol,)) for symbol in order]
    items = leaves
    for _ in range(longest - 1):
        pairs = zip(items[0::2], items[1::2], strict=False)
        sums = [(a[0] + b[0], 1, a[2] + b[2]) for a, b in pairs]
        items = sorted(leaves + sums, key=lambda item: item[:2])  # stable: each keeps its order
    for _, _, symbols in items[: 2 * len(order) - 2]:
        for symbol in symbols:
            lengths[symbol] += 1
    return tuple(lengths)


def log2_gains() -> tuple[list[float], list[float]]:
    """log2((f + 1) / f) and log2(f), from f = 1 on."""
    gains, logarithms = [0.0], [0.0, 0.0]
    for f in range(1, SLOTS + 1):
        z = 1.0 / (2.0 * f + 1.0)
        power, total, k = z, 0.0, 1
        while power > 1e-18:
            total += power / k
            power, k = power * (z * z), k + 2
        gains.append(2 * 1.4426950408889634 * total)
        logarithms.append(logarithms[-1] + gains[-1])
    return gains, logarithms


GAINS, LOGARITHMS = log2_gains()


def window_of(counts: list[int]) -> tuple[int, int]:
    """The first symbol of the window, and how many it has."""
    size = min(len(counts), 255)
    sums = [sum(counts[i : i + size]) for i in range(len(counts) - size + 1)]
    return sums.index(max(sums)), size


def rans_frequencies(counts: list[int]) -> tuple[int, ...]:
    """[L + 1], the escape's last ("rANS")."""
    first, size = window_of(counts)
    share = sum(counts) / SLOTS
    best: tuple[float, dict[int, int]] | None = None
    for threshold in [share / 2**i for i in range(6)] + [0.0]:
        direct = [i for i in range(first, first + size) if counts[i] > 0 and counts[i] >= threshold]
        of = {i: float(counts[i]) for i in direct}
        of[len(counts)] = float(sum(counts) - sum(counts[i] for i in direct))
        slots = dealt(of)
        escaped = 16 * of[len(counts)]
        bits = escaped + sum(of[i] * (12 - LOGARITHMS[f]) for i, f in slots.items())
        if best is None or bits < best[0] * (1 - 1e-12):
            best = bits, slots
    assert best is not None
    return tuple(best[1].get(i, 0) for i in range(len(counts) + 1))


def dealt(counts: dict[int, float]) -> dict[int, int]:
    """The slots of each symbol."""
    slots = dict.fromkeys(counts, 1)
    saved = {i: count * GAINS[1] for i, count in counts.items()}
    for _ in range(SLOTS - len(counts)):
        i = max(saved, key=lambda symbol: (saved[symbol], -symbol))
        slots[i] += 1
        saved[i] = counts[i] * GAINS[slots[i]]
    return slots


@dataclass
class Ranges:
    """The ranges of a table's window, and what they cost ("apack")."""

    counts: list[int]

    def __post_init__(self):
        self.first, self.size = window_of(self.counts)
        self.total = float(sum(self.counts))
        self.sums = [0.0]
        for count in self.counts[self.first : self.first + self.size]:
            self.sums.append(self.sums[-1] + count)
        # Of each end the ranges that may end there: size, count, bits where it is direct.
        self.candidates = [
            [self.candidate(end, size) for size in self.sizes(end)] for end in range(self.size + 1)
        ]

    def sizes(self, end: int) -> list[int]:
        """Of ranges that end there."""
        if end == self.size:
            return list(range(1, end + 1))
        return [2**j for j in range(8) if 2**j <= end]

    def candidate(self, end: int, size: int) -> tuple[int, float, float]:
        count = self.sums[end] - self.sums[end - size]
        share = count / self.total * SLOTS / size
        f = int(min(max(share + 0.5, 1.0), float(SLOTS // size)))
        slot = 1.4426950408889634 * self.total / SLOTS
        return size, count, count * (12 - LOGARITHMS[f]) + slot * (f * size)

    def cut(self, escape_slots: int) -> list[tuple[int, int, float, bool]]:
        """Begin, size, count of the best ranges, the last one first, and whether it is escaped."""
        of_escaped = 12 - LOGARITHMS[escape_slots] + 16
        rows: list[list] = [[(0.0, 0, 0.0, False)] + [None] * self.size]
        for _ in range(16):
            rows.append([self.last_range(rows[-1], end, of_escaped) for end in range(len(rows[0]))])
        used = min(
            (n for n in range(1, 17) if rows[n][-1] is not None), key=lambda n: rows[n][-1][0]
        )
        ranges, end = [], self.size
        for n in range(used, 0, -1):
            _, size, count, escaped = rows[n][end]
            end -= size
            ranges.append((end, size, count, escaped))
        return ranges

    def last_range(self, before: list, end: int, of_escaped: float) -> tuple | None:
        """The best one: bits up to its end, size, count, whether it is escaped."""
        best = None
        for size, count, bits in self.candidates[end] if end else []:
            if before[end - size] is None:
                continue
            direct = before[end - size][0] + bits
            escaped = before[end - size][0] + count * of_escaped
            if best is None or min(direct, escaped) < best[0]:
                best = min(direct, escaped), size, count, escaped < direct
        return best

    def deal(self, escape_slots: int) -> tuple[float, tuple[int, ...]]:
        """Bits of all counts, and the frequencies."""
        cut = self.cut(escape_slots)
        outside = self.total - self.sums[-1]
        escape = outside + sum(count for _, _, count, escaped in cut if escaped)
        direct = [(begin, size, count) for begin, size, count, escaped in cut if not escaped]
        direct.append((len(self.counts) - self.first, 1, escape))
        slots = [1] * len(direct)
        left = SLOTS - sum(size for _, size, _ in direct)
        while left > 0:
            fitting = [i for i, (_, size, _) in enumerate(direct) if size <= left]
            i = max(fitting, key=lambda i: direct[i][2] * GAINS[slots[i]] / direct[i][1])
            slots[i] += 1
            left -= direct[i][1]
        bits, frequencies = 0.0, [0] * (len(self.counts) + 1)
        for (begin, size, count), f in zip(direct, slots, strict=True):
            more = 16 if begin + self.first == len(self.counts) else 0
            bits += count * (12 - LOGARITHMS[f] + more)
            frequencies[self.first + begin : self.first + begin + size] = [f] * size
        return bits, tuple(frequencies)


def apack_frequencies(counts: list[int]) -> tuple[int, ...]:
    """[L + 1], the escape's last ("apack")."""
    ranges = Ranges(counts)
    return min((ranges.deal(slots) for slots in (1, 4, 16, 64, 256)), key=lambda dealt: dealt[0])[1]


def layers(data: bytes) -> dict[str, Layer]:
    """The layers of a file's codecs that are coded, by name."""
    description, tensors = read_file(data)
    found = {}
    for i, settings in enumerate(description["layers"]):
        own = {n.removeprefix(f"{i}."): t for n, t in tensors.items() if n.startswith(f"{i}.")}
        if not settings["plain"]:
            found[settings["name"]] = Layer(settings, own)
    return found
