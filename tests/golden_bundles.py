"""Golden bundles, beside the golden streams: what every reader must read or refuse.

``python tests/golden_bundles.py --regenerate`` makes them anew, after a change of the format alone.
The folder tests/data/golden holds

- ``bundles.json``: of each valid bundle its tensors, and of each of these the stream of each image:
  the name of a golden stream, or ``hex:`` and its bytes; of each malformed one its status;
- ``NAME.bundle``: the bytes.
"""

from __future__ import annotations

import json
import struct
import sys
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import stream_decoder as decoder
from streams import checksum, varint

FOLDER = Path(__file__).parent / "data" / "golden"

Tensors = dict[str, list[str]]
VALID: dict[str, Tensors] = {
    "example": {"a": ["hex:01", "hex:"], "é": ["hex:0203", "hex:04"]},  # the document's
    "no-images": {"": []},
    "no-images-of-three": {"p2": [], "p3": [], "p4": []},
    "one-image": {"": ["rans-small"]},
    "batch": {"": ["rans-small", "rans-small", "rans-classes", "rans-empty"]},
    "pyramid": {
        "p2": ["huffman-small", "huffman-substreams"],
        "p3": ["ebpc-small", "huffman-small-chunks"],
        "p4": ["dct-cm-small", "rans-small-chunks"],
    },
    "names": {"": ["hex:"], "層.0": ["hex:00"], "n" * 255: ["hex:0000"], "😀": ["hex:000000"]},
    "many-images": {"x": [f"hex:{i:04x}" for i in range(200)]},
    "many-tensors": {f"layer{i}.0": ["rans-empty"] for i in range(300)},
}


@dataclass(frozen=True)
class Malformed:
    bundle: bytes
    status: int


def bytes_of(stream: str) -> bytes:
    if stream.startswith("hex:"):
        return bytes.fromhex(stream.removeprefix("hex:"))
    return (FOLDER / f"{stream}.stream").read_bytes()


def streams_of(tensors: Tensors) -> dict[str, list[bytes]]:
    return {name: [bytes_of(stream) for stream in each] for name, each in tensors.items()}


@cache
def load() -> tuple[dict[str, tuple[dict[str, list[bytes]], bytes]], dict[str, Malformed]]:
    """Of valid bundles their streams and bytes."""
    index = json.loads((FOLDER / "bundles.json").read_text())

    def bundle(name):
        return (FOLDER / f"{name}.bundle").read_bytes()

    valid = {name: (streams_of(each), bundle(name)) for name, each in index["valid"].items()}
    malformed = {name: Malformed(bundle(name), s) for name, s in index["malformed"].items()}
    return valid, malformed


def container(tensors: dict[str, list[bytes]]) -> bytes:
    """A bundle of streams, slow and obvious."""
    images = len(next(iter(tensors.values())))
    in_order = [tensors[name][image] for image in range(images) for name in tensors]
    return raw(images, [name.encode() for name in tensors], in_order)


def raw(images, names, streams, tensors=None, entries=None, version=1) -> bytes:
    """One of any fields and entries, with a right checksum."""
    head = b"fb" + bytes([version])
    head += number(images) + number(len(names) if tensors is None else tensors)
    head += b"".join(bytes([len(name)]) + name for name in names)
    for size, crc in entries or [(len(s), zlib.crc32(s)) for s in streams]:
        head += struct.pack("<II", size, crc)
    return head + checksum(head) + b"".join(streams)


def number(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else varint(value)


def make_malformed() -> dict[str, Malformed]:
    malformed = {}

    def add(name, bundle, status):
        malformed[f"bad-{name}"] = Malformed(bundle, status)

    a, b, c, d = b"first", b"second", b"other", b"last of all"
    good = raw(2, [b"x", b"y"], [a, b, c, d])
    head = len(good) - len(a + b + c + d)
    cuts = {"no-bytes": 0, "magic": 1, "version": 2, "numbers": 3, "names": 6, "directory": 20}
    cuts |= {"checksum": head - 1, "no-streams": head, "image": head + len(a + b)}
    cuts["last-stream"] = len(good) - 1
    for name, size in cuts.items():
        add(f"cut-{name}", good[:size], decoder.TRUNCATED)
    add("two-bundles", good + good, decoder.TRAILING_BYTES)
    add("more", good + b"\0", decoder.TRAILING_BYTES)
    add("stream", bytes_of("rans-small"), decoder.BAD_MAGIC)
    add("magic", b"fB" + good[2:], decoder.BAD_MAGIC)
    for version in (0, 2, 255):
        add(f"version-{version}", raw(0, [b""], [], version=version), decoder.BAD_VERSION)
    add("long-images", raw(b"\x80\0", [b""], []), decoder.BAD_NUMBER)
    add("long-tensors", raw(0, [b""], [], tensors=b"\x81\0"), decoder.BAD_NUMBER)
    add("large-images", raw(2**32, [b""], []), decoder.BAD_NUMBER)
    add("endless-images", raw(b"\xff" * 40, [b""], []), decoder.BAD_NUMBER)
    add("no-tensors", raw(0, [], []), decoder.BAD_HEADER)
    add("many-tensors", raw(0, [b"%d" % i for i in range(1025)], []), decoder.BAD_HEADER)
    add("many-streams", raw(2**23 + 1, [b"x", b"y"], []), decoder.BAD_HEADER)
    add("most-of-all", raw(2**32 - 1, [], [], tensors=2**32 - 1), decoder.BAD_HEADER)
    add("directory-not-there", raw(2**23, [b"x", b"y"], []), decoder.TRUNCATED)
    names = {
        "twice": [b"x", b"x"], "empty-twice": [b"", b"y", b""], "zero": [b"x\0"],
        "line": [b"x\ny"], "delete": [b"\x7f"], "c1": ["\x9b".encode()], "latin-1": [b"\xe9"],
        "overlong": [b"\xc0\xaf"], "overlong-of-three": [b"\xe0\x9f\xbf"],
        "overlong-of-four": [b"\xf0\x8f\xbf\xbf"], "surrogate": [b"\xed\xa0\x80"],
        "beyond-unicode": [b"\xf4\x90\x80\x80"], "cut-character": [b"\xe2\x84"],
    }  # fmt: skip
    for name, each in names.items():
        add(f"name-{name}", raw(0, each, []), decoder.BAD_NAME)
    for name, at in {"name": 6, "size": 9, "entry": 15, "checksum": head - 2}.items():
        flipped = bytearray(good)
        flipped[at] ^= 2
        add(f"bit-of-{name}", bytes(flipped), decoder.BAD_CHECKSUM)
    entries = [(len(s), zlib.crc32(s)) for s in (a, b, c, d)]

    def with_entries(name, changed, status, streams=(a, b, c, d)):
        add(name, raw(2, [b"x", b"y"], list(streams), entries=changed), status)

    with_entries("size-beyond", [(2**32 - 1, 0), *entries[1:]], decoder.TRUNCATED)
    with_entries("size-less", [(4, entries[0][1]), *entries[1:]], decoder.TRAILING_BYTES)
    moved = [(4, entries[0][1]), (7, entries[1][1]), *entries[2:]]
    with_entries("border-moved", moved, decoder.WRONG_STREAM)
    with_entries("images-exchanged", entries, decoder.WRONG_STREAM, (c, b, a, d))
    with_entries("tensors-exchanged", entries, decoder.WRONG_STREAM, (a, c, b, d))
    with_entries("bit-of-stream", entries, decoder.WRONG_STREAM, (a, b, c, b"last of alm"))
    with_entries("checksum-of-stream", [*entries[:3], (len(d), 0)], decoder.WRONG_STREAM)
    return malformed


def save() -> None:
    for old in FOLDER.glob("*.bundle"):
        old.unlink()
    malformed = make_malformed()
    for name, tensors in VALID.items():
        (FOLDER / f"{name}.bundle").write_bytes(container(streams_of(tensors)))
    for name, bad in malformed.items():
        (FOLDER / f"{name}.bundle").write_bytes(bad.bundle)
    statuses = {name: bad.status for name, bad in malformed.items()}
    lines = [
        f'"{kind}": {{\n' + ",\n".join(f"{json.dumps(n)}: {json.dumps(e)}" for n, e in each) + "\n}"
        for kind, each in (("valid", VALID.items()), ("malformed", statuses.items()))
    ]
    (FOLDER / "bundles.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    if sys.argv[1:] != ["--regenerate"]:
        sys.exit(__doc__)
    save()
