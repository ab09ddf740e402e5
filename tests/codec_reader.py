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
CODERS = {"huffman": HUFFMAN, "fixed": HUFFMAN, "rans": RANS, "ebpc": EBPC, "dct-cm": DCT_CM}
SLOTS = 4096


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
        self.steps = [one[0] for one in s.get("each", [[s["step"]]] * self.components)]
        self.codec = self.tables()

    # -- Tables -----------------------------------------------------------------------------------

    def tables(self) -> stream_decoder.Codec:
        """What the streams do not hold ("Tables")."""
        name, lo = self.settings["coder"], self.settings["symbols_from"]
        table_of = tuple(int(table) for table in self.tensors["table_of"])
        counts = [[64 * int(count) + 1 for count in row] for row in self.tensors["counts"]]
        bits = max(1, math.ceil(math.log2(len(counts[0]))))
        lengths = tuple(huffman_lengths(row) for row in counts)
        codes = b"".join(map(bytes, lengths))
        frequencies: tuple = ()
        if name == "rans":
            frequencies = tuple(rans_frequencies(row) for row in counts)
            codes = b"".join(struct.pack(f"<{len(row)}i", *row) for row in frequencies)
        if name == "fixed":
            lengths = ((bits,) * 2**bits,) * len(counts)
        crc = zlib.crc32(name.encode() + struct.pack("<i", lo))
        crc = zlib.crc32(codes, zlib.crc32(struct.pack(f"<{len(table_of)}q", *table_of), crc))
        own = {"lengths": lengths} if CODERS[name] == HUFFMAN else {"frequencies": frequencies}
        if name in ("ebpc", "dct-cm"):
            own = {"word_bits": bits}
        return stream_decoder.Codec(CODERS[name], lo, crc & 0xFFFF, table_of=table_of, **own)

    # -- Decoding ---------------------------------------------------------------------------------

    def decode(self, stream: bytes) -> np.ndarray:
        """float32 [C, H, W] of the only stream of an image ("Decoding")."""
        header = stream_decoder.read_header(stream)
        shape = self.planes, *header.shape[1:]
        levels = self.levels(np.asarray(stream_decoder.decode(stream, self.codec, shape)))
        y = levels.astype(np.float32) * np.array(self.steps, np.float32)[:, None, None]
        return self.join(self.inverse(y), *header.crop)

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


def signed(value: int, bits: int) -> int:
    value &= 2**bits - 1
    return value - 2**bits if value >> (bits - 1) else value


def huffman_lengths(counts: list[int]) -> tuple[int, ...]:
    """By package-merge with explicit lists of leaves ("Huffman")."""
    if len(counts) == 1:
        return (1,)
    longest = min(15, math.ceil(math.log2(len(counts))) + 6)
    order = sorted(range(len(counts)), key=lambda symbol: (counts[symbol], symbol))
    leaves = [(counts[symbol], 0, (symbol,)) for symbol in order]
    items = leaves
    for _ in range(longest - 1):
        pairs = zip(items[0::2], items[1::2], strict=False)
        sums = [(a[0] + b[0], 1, a[2] + b[2]) for a, b in pairs]
        items = sorted(leaves + sums, key=lambda item: item[:2])  # stable: each keeps its order
    lengths = [0] * len(counts)
    for _, _, symbols in items[: 2 * len(counts) - 2]:
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


def rans_frequencies(counts: list[int]) -> tuple[int, ...]:
    """[L + 1], the escape's last ("rANS")."""
    size = min(len(counts), 255)
    sums = [sum(counts[i : i + size]) for i in range(len(counts) - size + 1)]
    first = sums.index(max(sums))
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


def layers(data: bytes) -> dict[str, Layer]:
    """The layers of a file's codecs that are coded, by name."""
    description, tensors = read_file(data)
    found = {}
    for i, settings in enumerate(description["layers"]):
        own = {n.removeprefix(f"{i}."): t for n, t in tensors.items() if n.startswith(f"{i}.")}
        if not settings["plain"]:
            found[settings["name"]] = Layer(settings, own)
    return found
