"""The stream container of docs/stream_format.md, slow and obvious, for the tests of all coders."""

import itertools
import struct

import torch

HUFFMAN, RANS, EBPC, DCT_CM = 1, 2, 3, 4


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def checksum(data):
    return struct.pack("<I", crc32c(data))


def varint(value):
    low, rest = value & 127, value >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


def container(coder, fields, payloads, positions=()):
    """A stream of (table_id, K, H, W, log2 of chunk values, lanes, crop_h, crop_w) and payloads.

    positions: of each class, if there are any.
    """
    table_id, components, height, width, log2, lanes, *crop = fields
    kind = 2 << 4 | (8 if any(crop) else 0) | coder
    sizes = (128 if positions else 0) | lanes.bit_length() - 1 << 4 | log2 - 8
    header = b"fm" + bytes([kind, sizes])
    header += struct.pack("<H", table_id)
    total = sum(len(p) for p in payloads)
    header += b"".join(varint(number) for number in (components, height, width, total))
    header += bytes(crop) if any(crop) else b""
    if positions:
        header += bytes([len(positions)]) + b"".join(varint(p) for p in positions[:-1])
    data = b"".join(payloads)
    if len(payloads) < 2:
        return header + checksum(header + data) + data
    ends = itertools.accumulate(len(p) for p in payloads)
    for end, payload in zip(ends, payloads, strict=True):
        header += struct.pack("<I", end) + checksum(payload)
    return header + checksum(header) + data


def chunking(values, most_lanes, lane_values):
    """log2 of the values in a chunk, and its lanes, for a tensor of so many values."""
    lanes = most_lanes
    while lanes > 1 and lanes * lane_values > values:
        lanes //= 2
    return (most_lanes * lane_values).bit_length() - 1, lanes


def read_varint(data, position):
    value = shift = 0
    while True:
        byte = data[position]
        value, shift, position = value | (byte & 127) << shift, shift + 7, position + 1
        if byte < 128:
            return value, position


def split(stream):
    """(coder, fields, payloads) of a good stream: the inverse of ``container``."""
    kind, sizes, table_id = struct.unpack_from("<BBH", stream, 2)
    log2, lanes = 8 + sizes % 16, 2 ** (sizes // 16)
    position, numbers = 6, []
    for _ in range(4):
        number, position = read_varint(stream, position)
        numbers.append(number)
    crop = stream[position : position + 2] if kind & 8 else bytes(2)
    position += 2 if kind & 8 else 0
    components, height, width, total = numbers
    chunks = -(-components * height * width // 2**log2)
    ends = [total]
    if chunks > 1:
        ends = [struct.unpack_from("<I", stream, position + 8 * i)[0] for i in range(chunks)]
        position += 8 * chunks
    data = stream[position + 4 :]
    payloads = [data[a:b] for a, b in zip([0, *ends], ends, strict=False)] if chunks else []
    return kind % 8, (table_id, components, height, width, log2, lanes, *crop), payloads


def to_rows(streams):
    """Streams of any sizes as bytes [N, longest] and used [N]."""
    used = torch.tensor([len(s) for s in streams])
    data = torch.zeros(len(streams), max(map(len, streams)), dtype=torch.uint8)
    for row, stream in zip(data, streams, strict=True):
        row[: len(stream)] = torch.tensor(list(stream), dtype=torch.uint8)
    return data, used


def from_rows(data, used):
    """The inverse: a list of bytes."""
    return [bytes(row[:size].tolist()) for row, size in zip(data, used.tolist(), strict=True)]
