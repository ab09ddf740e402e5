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
import math
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from codec_files import write
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

Change = Callable[[dict, dict], None]
CHANNELS = 4


def base() -> tuple[dict, dict]:
    """Settings and tensors of the codec of a bare tensor, of numbers that say nothing."""
    settings = {
        "name": "tensor", "plain": False, "step": 0.5, "lo": -8, "hi": 8, "coder": "huffman",
        "symbols_from": -8, "channels": CHANNELS, "block": "1,1,C", "groups": 1, "mse": 0.01,
        "values": 100, "clamped": 0, "rank": 4, "channel_dim": 1,
    }  # fmt: skip
    counts = torch.tensor([[1000 >> abs(level) for level in range(-8, 9)]])
    of_each = torch.zeros(CHANNELS, dtype=torch.int64)
    tensors = {
        "matrix.0": torch.eye(CHANNELS),
        "inverse.0": torch.eye(CHANNELS),
        "mean.0": torch.zeros(CHANNELS, dtype=torch.float64),
        "counts": counts,
        "table_of": of_each,
        "class_of": of_each.clone(),
        "histogram": counts.clone(),
        "shifts": of_each.clone(),
        "coefficients": torch.zeros(CHANNELS, 3, dtype=torch.int16),
    }
    return settings, tensors


def codec(change: Change, text: Callable[[str], str] = str, **parts) -> bytes:
    """The base with a change. text: what becomes of the description; parts: that are not right."""
    settings, tensors = base()
    change(settings, tensors)
    description = text(json.dumps({"kind": "tensor", "layers": [settings]}))
    with tempfile.NamedTemporaryFile() as file:
        plain = {f"0.{name}": of.contiguous().clone() for name, of in tensors.items()}
        write(file.name, description, plain, **parts)
        return Path(file.name).read_bytes()


def settings(**values) -> Change:
    return lambda layer, tensors: layer.update(values)


def without(name: str) -> Change:
    return lambda layer, tensors: layer.pop(name) if name in layer else tensors.pop(name)


def tensors(**values) -> Change:
    """Tensors by name, with _ for a dot."""
    return lambda layer, of: of.update({name.replace("_0", ".0"): v for name, v in values.items()})


def both(*changes: Change) -> Change:
    def change(layer: dict, of: dict) -> None:
        for each in changes:
            each(layer, of)

    return change


def identity(layer: dict, of: dict) -> None:
    layer["groups"] = 0
    for name in ("matrix.0", "inverse.0", "mean.0"):
        del of[name]


def two_groups(layer: dict, of: dict) -> None:
    layer |= {"block": "2,1,2", "groups": 2}
    for group in "01":
        of |= {f"matrix.{group}": torch.eye(4)[:2], f"inverse.{group}": torch.eye(4)[:, :2]}
        of[f"mean.{group}"] = torch.zeros(4, dtype=torch.float64)


def split_symbols(layer: dict, of: dict) -> None:
    """Low bits of one component in a plane of their own, prediction, a source."""
    layer["coder"] = "rans"
    of["shifts"] = torch.tensor([2, 0, 0, 0])
    of["coefficients"] = torch.zeros(CHANNELS, 3 + 9, dtype=torch.int16)
    for name in ("table_of", "class_of"):
        of[name] = torch.zeros(CHANNELS + 1, dtype=torch.int64)


def position_classes(layer: dict, of: dict) -> None:
    layer["coder"] = "rans"
    of["position_weights"] = torch.ones(CHANNELS, dtype=torch.int32)
    of["position_thresholds"] = torch.tensor([5])
    for name in ("table_of", "class_of"):
        of[name] = torch.zeros(1 + 2 * CHANNELS, dtype=torch.int64)


def nothing(layer: dict, of: dict) -> None:
    pass


def too_many_tables() -> bytes:
    """A codec of 130 KB whose tables would take 256 MiB."""
    many = torch.zeros(2**14 + 1, 1, dtype=torch.int64)
    return codec(tensors(counts=many, histogram=many[:1]))


def each_step(layer: dict, of: dict) -> None:
    layer["each"] = [[0.5, -4, 4] for _ in range(CHANNELS)]


def codec_files() -> Iterator[File]:
    nan, i64 = math.nan, torch.int64
    for name, change in {
        "huffman": nothing,
        "rans": settings(coder="rans"),
        "fixed": settings(coder="fixed"),
        "ebpc": settings(coder="ebpc", lane_values=512),
        "dct-cm": settings(coder="dct-cm"),
        "identity": identity,
        "two-groups": two_groups,
        "split-symbols": split_symbols,
        "position-classes": position_classes,
        "step-of-each": each_step,
        "step-whole": settings(step=1),
        "unknown-setting": settings(more=[1, {"a": None}]),
    }.items():
        yield f"good-{name}", codec(change)
    yield "good-spaced", codec(nothing, lambda text: text.replace(", ", " ,\n ") + "\n ")
    yield "good-unicode", codec(settings(name="tensor", note="\u00e9\U0001f600"))
    for name, change in {
        **{f"channels-{value}": settings(channels=value) for value in (0, -1, 3, 2**31, "4", 4.0)},
        **{f"groups-{value}": settings(groups=value) for value in (-1, 2, 2**40, 1.5, None)},
        "groups-0-many-channels": both(identity, settings(channels=2**31 - 1)),
        "groups-0-of-blocks": both(identity, settings(block="2,2,C")),
        **{f"block-{value}": settings(block=value) for value in ("1,1", "1,1,0", "256,1,C", "", 5)},
        **{f"step-{value}": settings(step=value) for value in (0.0, -1.0, nan, 1e-60, 1e39, "1")},
        **{f"lo-{value}": settings(lo=value) for value in (-(2**15) - 1, 9, 0.5)},
        "steps-too-few": both(each_step, lambda layer, of: layer["each"].pop()),
        **{f"symbols-from-{v}": settings(symbols_from=v) for v in (-(2**15) - 1, 2**15, 1.0)},
        **{
            f"lane-values-{value}": settings(lane_values=value) for value in (3, -256, 2**17, "256")
        },
        "coder-unknown": settings(coder="zip"),
        **{
            f"no-{name}": without(name)
            for name in (
                "channels",
                "block",
                "groups",
                "coder",
                "step",
                "plain",
                "symbols_from",
                "matrix.0",
                "mean.0",
                "counts",
                "table_of",
                "shifts",
                "coefficients",
            )
        },  # fmt: skip
        "matrix-one-dimension": tensors(matrix_0=torch.zeros(4)),
        "matrix-narrow": tensors(matrix_0=torch.zeros(4, 3)),
        "matrix-double": tensors(matrix_0=torch.eye(4, dtype=torch.float64)),
        "coefficients-flat": tensors(coefficients=torch.zeros(12, dtype=torch.int16)),
        "weights-negative": both(
            position_classes,
            tensors(position_weights=torch.tensor([-1, 1, 1, 1], dtype=torch.int32)),
        ),
        "weights-large": both(
            position_classes,
            tensors(position_weights=torch.tensor([2**15 + 1, 1, 1, 1], dtype=torch.int32)),
        ),
        **{f"plain-{value}": settings(plain=value) for value in (0, None, "")},
        "step-of-four": both(each_step, lambda layer, of: layer["each"][1].append(4)),
        "infinity": settings(mse=math.inf),
        "matrix-nan": tensors(matrix_0=torch.full((4, 4), nan)),
        "mean-nan": tensors(mean_0=torch.full((4,), nan, dtype=torch.float64)),
        "mean-short": tensors(mean_0=torch.zeros(3, dtype=torch.float64)),
        "mean-float": tensors(mean_0=torch.zeros(4)),
        "counts-negative": tensors(counts=torch.full((1, 17), -1)),
        "counts-float": tensors(counts=torch.zeros(1, 17)),
        "counts-none": tensors(counts=torch.zeros(0, 17, dtype=i64)),
        "counts-of-no-level": tensors(
            counts=torch.zeros(1, 0, dtype=i64), histogram=torch.zeros(1, 0, dtype=i64)
        ),
        "counts-of-too-many-levels": tensors(
            counts=torch.zeros(1, 4097, dtype=i64), histogram=torch.zeros(1, 4097, dtype=i64)
        ),
        "table-unknown": tensors(table_of=torch.tensor([0, 0, 0, 1])),
        "table-negative": tensors(table_of=torch.tensor([0, 0, 0, -1])),
        "tables-too-few": tensors(table_of=torch.zeros(3, dtype=i64)),
        "shifts-too-few": tensors(shifts=torch.zeros(3, dtype=i64)),
        "shift-16": tensors(shifts=torch.tensor([0, 0, 0, 16])),
        "coefficients-4": tensors(coefficients=torch.zeros(4, 4, dtype=torch.int16)),
        "coefficients-large": tensors(
            coefficients=torch.full((4, 3), 2**14 + 1, dtype=torch.int16)
        ),
        "classes-without-escapes": both(position_classes, settings(coder="huffman")),
        "thresholds-unsorted": both(
            position_classes,
            tensors(position_thresholds=torch.tensor([7, 5]), table_of=torch.zeros(13, dtype=i64)),
        ),
        "weights-too-few": both(
            position_classes, tensors(position_weights=torch.ones(3, dtype=torch.int32))
        ),
    }.items():
        yield f"bad-{name}", codec(change)
    deep = "[" * 20_000 + "]" * 20_000
    yield "bad-nested", codec(nothing, lambda text: text[:-1] + f', "more": {deep}}}')
    yield "bad-nested-alone", codec(nothing, lambda text: deep)
    yield "bad-nested-and-checksum", codec(nothing, lambda text: deep, checksum=1)
    yield "bad-no-json", codec(nothing, lambda text: text[:-1])
    yield "bad-text-behind", codec(nothing, lambda text: text + "x")
    yield "bad-list", codec(nothing, lambda text: "[]")
    yield "bad-no-layers", codec(nothing, lambda text: '{"kind": "tensor"}')
    yield "bad-empty-layers", codec(nothing, lambda text: '{"kind": "tensor", "layers": []}')
    yield "bad-checksum", codec(nothing, checksum=1)
    yield "bad-checksum-text", codec(nothing, checksum="1")
    yield "bad-schema", codec(nothing, schema="fmtc.codec/7")
    yield "bad-schema-number", codec(nothing, schema=6)
    yield "bad-description", codec(nothing, description={})
    good = codec(nothing)
    yield "bad-flipped-tensor", good[:-3] + bytes([good[-3] ^ 1]) + good[-2:]
    yield "bad-flipped-setting", good.replace(b"0.5", b"0.6")
    yield "bad-flipped-type", good.replace(b'"F32"', b'"I32"', 1)
    yield "bad-other-shape", good.replace(b"[4,4]", b"[2,8]", 1)
    yield "bad-not-of-fmtc", safetensors(f'{{"x":{entry()}}}', bytes(16))
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
