"""Small files, valid and malformed, that the readers of Python and C++ must judge alike.

    python tests/conformance.py --regenerate

writes tests/data/conformance anew; tests/test_conformance.py reads them. How a name begins says
what is expected: ``good``, ``bad``, or ``strict`` where NumPy or the safetensors package takes what
the programs refuse in a sentence.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import conformance_codecs
import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent / "data" / "conformance"
File = tuple[str, bytes]

# -- .npy -----------------------------------------------------------------------------------------


def npy(header: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    text = header.encode("latin1") if isinstance(header, str) else header
    length = struct.pack("<H" if version[0] == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text + data


def fields(shape: str, descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


def npy_files() -> Iterator[File]:
    f4 = np.arange(6, dtype="<f4").tobytes()
    for dtype in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"):
        file = io.BytesIO()
        np.save(file, np.arange(6).reshape(1, 2, 3).astype(dtype))
        yield f"good-{dtype.replace('?', 'bool')}", file.getvalue()
    yield "good-version-2", npy(fields("(2, 3)") + " \n", f4, (2, 0))
    yield "good-version-3", npy(fields("(2, 3)") + " \n", f4, (3, 0))
    yield "good-scalar", npy(fields("()"), f4[:4])
    yield "good-one-dimension", npy(fields("(6,)"), f4)
    yield "good-trailing-comma", npy(fields("(2, 3,)"), f4)
    yield "good-empty", npy(fields("(0, 3)"))
    yield "good-blanks", npy("  { 'shape' :( 2 ,3 ) , 'descr':'<f4','fortran_order' : False}\n", f4)
    yield "good-double-quotes", npy(fields("(2, 3)", '"<f4"').replace("'", '"'), f4)
    yield "good-fortran-vector", npy(fields("(6,)", order="True"), f4)
    yield "good-python-2", npy(fields("(2L, 3L)"), f4)
    for name, header in {
        "no-shape": "{'descr': '<f4', 'fortran_order': False, }",
        "no-dictionary": "('<f4', False, (2, 3))",
        "another-key": fields("(2, 3)")[:-1] + "'more': 1}",
        "key-without-value": "{'descr', 'fortran_order': False, 'shape': (2, 3)}",
        "not-closed": fields("(2, 3)")[:-1],
        "text-behind": fields("(2, 3)") + "x",
        "no-tuple": fields("6"),
        "number-in-parentheses": fields("(6)"),
        "list": fields("[2, 3]"),
        "only-comma": fields("(,)"),
        "two-commas": fields("(2,, 3)"),
        "no-comma": fields("(2 3)"),
        "negative": fields("(-2, -3)"),
        "fraction": fields("(2.0, 3)"),
        "exponent": fields("(6e0,)"),
        "leading-zero": fields("(02, 3)"),
        "words": fields("(two, 3)"),
        "order-number": fields("(2, 3)", order="0"),
        "order-word": fields("(2, 3)", order="Truth"),
        "type-number": fields("(2, 3)", "4"),
        "type-unknown": fields("(2, 3)", "'<q4'"),
        "type-not-closed": fields("(2, 3)", "'<f4"),
        "object": fields("(2, 3)", "'|O'"),
        "large-product": fields("(4294967296, 4294967296)"),
        "large-beside-zero": fields("(0, 6, 4294967295, 4294967295)"),
        "larger-than-64-bits": fields("(18446744073709551616,)"),
        "many-dimensions": fields("(" + "1, " * 65 + ")"),
        "long-type": fields("(1,)", "'" + "a" * 12_000 + "'"),
        "long-shape": fields("(" + "1, " * 4_000 + ")"),
        "nested": "(" * 9_000,
        "zero-byte": fields("(2, 3)") + "\0",
        "empty-header": "",
    }.items():
        yield f"bad-{name}", npy(header, f4)
    yield "bad-version-0", npy(fields("(2, 3)"), f4, (0, 0))
    yield "bad-version-1-1", npy(fields("(2, 3)"), f4, (1, 1))
    yield "bad-version-4", npy(fields("(2, 3)"), f4, (4, 0))
    good = npy(fields("(2, 3)"), f4)
    for size in (0, 5, 7, 9, 40, len(good) - 1):
        yield f"bad-cut-{size}", good[:size]
    yield "bad-behind", good + b"x"
    yield "bad-magic", b"x" + good[1:]
    yield "bad-header-length", good[:8] + b"\xff\xff" + good[10:]
    yield "strict-big-endian", npy(fields("(2, 3)", "'>f4'"), f4)
    yield "strict-fortran", npy(fields("(2, 3)", order="True"), f4)
    yield "strict-complex", npy(fields("(3,)", "'<c8'"), f4)
    yield "strict-structure", npy(fields("(3,)", "[('a', '<f4'), ('b', '<f4')]"), f4)
    yield "strict-key-twice", npy(fields("(2, 3)")[:-1] + "'shape': (2, 3)}", f4)


# -- safetensors ----------------------------------------------------------------------------------


def safetensors(header: str | bytes, data: bytes = b"") -> bytes:
    text = header.encode() if isinstance(header, str) else header
    return struct.pack("<Q", len(text)) + text + data


def entry(shape: str = "[2,2]", places: str = "[0,16]", dtype: str = '"F32"') -> str:
    return f'{{"dtype":{dtype},"shape":{shape},"data_offsets":{places}}}'


def safetensors_files() -> Iterator[File]:
    f4 = np.arange(4, dtype="<f4").tobytes()
    x = f'"x":{entry()}'
    for name, header in {
        "one": f"{{{x}}}",
        "metadata": f'{{"__metadata__":{{"a":"b","c":""}},{x}}}',
        "blanks-behind": f"{{{x}}}  \n\t ",
        "blanks-within": "{ " + x.replace(":", " : ").replace(",", " ,\n") + " }",
        "two": f'{{"y":{entry("[2]", "[8,16]")},"x":{entry("[2]", "[0,8]")}}}',
        "empty-tensors": f'{{"a":{entry("[0]", "[0,0]")},{x},"b":{entry("[0,3]", "[16,16]")}}}',
        "unicode": f'{{"\u00e9\u20ac\U0001f600":{entry()}}}',
        "escapes": f'{{"\\u0078\\ud83d\\ude00\\n":{entry()}}}',
        "empty-name": f'{{"":{entry()}}}',
        "unknown-field": f'{{"x":{entry()[:-1]},"more":[1,{{"a":[null,true,-2.5]}}]}}}}',
        "bytes": f'{{"x":{entry("[16]", dtype=chr(34) + "U8" + chr(34))}}}',
        "bfloat16": f'{{"x":{entry("[8]", dtype=chr(34) + "BF16" + chr(34))}}}',
        "float8": f'{{"x":{entry("[16]", dtype=chr(34) + "F8_E4M3" + chr(34))}}}',
    }.items():
        yield f"good-{name}", safetensors(header, f4)
    yield "good-scalar", safetensors(f'{{"x":{entry("[]", "[0,4]")}}}', f4[:4])
    yield "good-nothing", safetensors("{}")
    for name, header in {
        "fractional-offsets": f'{{"x":{entry(places="[0.5,16.5]")}}}',
        "offsets-as-floats": f'{{"x":{entry(places="[0.0,16.0]")}}}',
        "negative-zero": f'{{"x":{entry(places="[-0,16]")}}}',
        "three-offsets": f'{{"x":{entry(places="[0,16,16]")}}}',
        "one-offset": f'{{"x":{entry(places="[0]")}}}',
        "offsets-nested": f'{{"x":{entry(places="[[0],[16]]")}}}',
        "offsets-object": f'{{"x":{entry(places="{}")}}}',
        "end-before-begin": f'{{"x":{entry(places="[16,0]")}}}',
        "hole-before": f'{{"x":{entry("[3]", "[4,16]")}}}',
        "hole-between": f'{{"x":{entry("[1]", "[0,4]")},"y":{entry("[2]", "[8,16]")}}}',
        "overlap": f'{{"x":{entry()},"y":{entry()}}}',
        "partly-overlapping": f'{{"x":{entry("[3]", "[0,12]")},"y":{entry("[2]", "[8,16]")}}}',
        "empty-inside": f'{{"a":{entry("[0]", "[8,8]")},{x}}}',
        "bytes-behind": f'{{"x":{entry("[3]", "[0,12]")}}}',
        "cut-off": f'{{"x":{entry("[8]", "[0,32]")}}}',
        "wrong-size": f'{{"x":{entry("[3]")}}}',
        "negative-shape": f'{{"x":{entry("[-2,-2]")}}}',
        "fractional-shape": f'{{"x":{entry("[2.0,2]")}}}',
        "shape-with-exponent": f'{{"x":{entry("[4e0]")}}}',
        "shape-null": f'{{"x":{entry("null")}}}',
        "shape-strings": f'{{"x":{entry(chr(91) + chr(34) + "4" + chr(34) + chr(93))}}}',
        "shape-64-bits": f'{{"x":{entry("[18446744073709551616]")}}}',
        "shape-overflow": f'{{"x":{entry("[4294967296,4294967296]", "[0,0]")}}}',
        "no-shape": '{"x":{"dtype":"F32","data_offsets":[0,16]}}',
        "no-type": '{"x":{"shape":[4],"data_offsets":[0,16]}}',
        "type-unknown": f'{{"x":{entry(dtype=chr(34) + "Q9" + chr(34))}}}',
        "type-lower-case": f'{{"x":{entry(dtype=chr(34) + "f32" + chr(34))}}}',
        "type-number": f'{{"x":{entry(dtype="32")}}}',
        "field-twice": f'{{"x":{entry()[:-1]},"shape":[4]}}}}',
        "metadata-twice": f'{{"__metadata__":{{}},"__metadata__":{{}},{x}}}',
        "metadata-number": f'{{"__metadata__":{{"a":1}},{x}}}',
        "metadata-nested": f'{{"__metadata__":{{"a":{{}}}},{x}}}',
        "metadata-array": f'{{"__metadata__":[],{x}}}',
        "entry-number": '{"x":5}',
        "entry-null": '{"x":null}',
        "array": "[]",
        "text": '"x"',
        "number": "1",
        "comment": f"{{/**/{x}}}",
        "trailing-comma": f"{{{x},}}",
        "not-closed": f"{{{x}",
        "text-behind": f"{{{x}}}x",
        "zero-bytes-behind": f"{{{x}}}\0\0",
        "not-a-number": f'{{"x":{entry(places="[NaN,16]")}}}',
        "leading-zeros": f'{{"x":{entry(places="[0,0016]")}}}',
        "control-character": f'{{"a\nb":{entry()}}}',
        "lone-surrogate": f'{{"\\ud83d":{entry()}}}',
        "nested": '{"x":' + "[" * 20_000 + "]" * 20_000 + "}",
        "nested-field": f'{{"x":{entry()[:-1]},"more":' + "[" * 20_000 + "]" * 20_000 + "}}",
        "nested-objects": '{"x":' * 10_000 + "1" + "}" * 10_000,
        "empty-header": "",
    }.items():
        yield f"bad-{name}", safetensors(header, f4)
    yield "bad-bytes-of-nothing", safetensors("{}", b"1")
    yield "bad-utf8", safetensors(b'{"\xff":' + entry().encode() + b"}", f4)
    good = safetensors(f"{{{x}}}", f4)
    for size in (0, 7, 8, 40, len(good) - 1):
        yield f"bad-cut-{size}", good[:size]
    yield "bad-header-length", b"\xff" * 8 + good[8:]
    yield "strict-tensor-twice", safetensors(f"{{{x},{x}}}", f4)
    yield "strict-tensor-as-array", safetensors('{"x":["F32",[2,2],[0,16]]}', f4)
    yield "strict-blank-before", safetensors(f" {{{x}}}", f4)
    yield "strict-metadata-null", safetensors(f'{{"__metadata__":null,{x}}}', f4)


# -- Codecs ---------------------------------------------------------------------------------------


def codec_files() -> Iterator[File]:
    yield from conformance_codecs.files()
    yield "bad-not-of-fmtc", safetensors(f'{{"x":{entry()}}}', bytes(16))
    deep = "[" * 20_000 + "]" * 20_000
    yield "bad-metadata-nested", safetensors(json.dumps({"__metadata__": {"fmtc": deep}}))


# -- Images ---------------------------------------------------------------------------------------


def saved(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, data: bytes, interlaced: int = 0) -> bytes:
    """8 bits of RGB, of rows that are already filtered."""
    fields = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)
    body = chunk(b"IHDR", fields) + chunk(b"IDAT", zlib.compress(data, 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def adam7(pixels: np.ndarray) -> bytes:
    """The rows of an interlaced PNG; Pillow writes none."""
    data = b""
    for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4),
                         (1, 0, 2, 2), (0, 1, 1, 2)):  # fmt: skip
        data += b"".join(b"\0" + row.tobytes() for row in pixels[y::dy, x::dx])
    return data


def with_size(jpeg: bytes, width: int, height: int, marker: bytes = b"\xff\xc0") -> bytes:
    at = jpeg.index(marker)
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


def image_files() -> Iterator[File]:
    random = np.random.RandomState(0)
    smooth = random.randint(0, 256, (3, 4, 4), dtype=np.uint8)
    rgb = Image.fromarray(smooth.transpose(1, 2, 0)).resize((21, 13), Image.Resampling.BICUBIC)
    inks = Image.fromarray(random.randint(0, 256, (13, 21, 4), dtype=np.uint8), "CMYK")
    yield "good-rgb.png", saved(rgb, "PNG")
    yield "good-grey.png", saved(rgb.convert("L"), "PNG")
    deep = random.randint(0, 2**16, (13, 21)).astype(np.uint16)
    yield "good-grey-of-16-bits.png", saved(Image.fromarray(deep), "PNG")
    yield "good-bits.png", saved(rgb.convert("1"), "PNG")
    yield "good-palette.png", saved(rgb.convert("P"), "PNG")
    yield "good-transparent.png", saved(rgb.convert("RGBA"), "PNG")
    yield "good-grey-transparent.png", saved(rgb.convert("LA"), "PNG")
    yield "good-interlaced.png", png(21, 13, adam7(np.asarray(rgb)), interlaced=1)
    yield "good-wide.png", png(40_000, 1, bytes(1 + 3 * 40_000))
    jpeg = saved(rgb, "JPEG", quality=90)
    yield "good-rgb.jpg", jpeg
    yield "good-grey.jpg", saved(rgb.convert("L"), "JPEG")
    yield "good-progressive.jpg", saved(rgb, "JPEG", progressive=True)
    cmyk = saved(inks, "JPEG", quality=90)
    yield "good-cmyk.jpg", cmyk
    adobe = cmyk.index(b"Adobe")
    yield "good-ycck.jpg", cmyk[: adobe + 11] + b"\x02" + cmyk[adobe + 12 :]
    yield "good-cmyk-without-marker.jpg", cmyk[: adobe - 4] + cmyk[adobe + 12 :]
    yield "good-bytes-before-the-end.jpg", jpeg[:-2] + bytes(5) + jpeg[-2:]
    yield "good-bytes-behind.jpg", jpeg + bytes(9)
    yield "bad-large.png", png(32_767, 32_767, b"")
    yield "bad-large-declared.png", png(13_000, 13_000, b"")  # within the limit, but not there
    yield "bad-larger-than-memory.png", png(2**31 - 1, 2**31 - 1, b"")
    yield "bad-too-many-pixels.png", png(13_378, 13_378, b"")
    yield "bad-no-pixels.png", png(0, 5, b"")
    yield "bad-large.jpg", with_size(jpeg, 32_767, 32_767)
    yield (
        "bad-large-progressive.jpg",
        with_size(saved(rgb, "JPEG", progressive=True), 32_767, 32_767, b"\xff\xc2"),
    )
    yield "bad-large-cmyk.jpg", with_size(cmyk, 65_500, 65_500)
    yield "bad-no-rows.jpg", with_size(jpeg, 21, 0)
    yield "bad-no-image.jpg", b"\xff\xd8\xff\xd9" + bytes(9)
    for name, data in (("png", saved(rgb, "PNG")), ("jpg", jpeg)):
        for size in (0, 5, 30, len(data) // 2):
            yield f"bad-cut-{size}.{name}", data[:size]
    yield "bad-text.png", b"this is no image"


KINDS = {
    "npy": npy_files,
    "safetensors": safetensors_files,
    "codec": codec_files,
    "image": image_files,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regenerate", action="store_true", required=True)
    parser.parse_args()
    for kind, files in KINDS.items():
        folder = FOLDER / kind
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, data in files():
            suffix = {"npy": ".npy", "image": ""}.get(kind, ".safetensors")
            (folder / f"{name}{suffix}").write_bytes(data)


if __name__ == "__main__":
    main()
