"""Saved codecs for conformance.py: what Python and the programs take, and what both refuse."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from codec_files import write

File = tuple[str, bytes]
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


def alphabets(layer: dict, of: dict) -> None:
    """Two tables over more levels than either has; all planes have the first."""
    layer["symbols_from"] = -10
    of["counts"] = torch.tensor([[1000 >> abs(level) for level in range(-10, 11)]] * 2)
    of["histogram"] = of["counts"].clone()
    of["alphabets"] = torch.tensor([[-8, 8], [-2, -2]])


def ends(*pairs: tuple[int, int]) -> Change:
    return both(alphabets, tensors(alphabets=torch.tensor(pairs)))


def wide_words(layer: dict, of: dict) -> None:
    """Words of one bit, the second of which is beyond all symbols."""
    layer["coder"] = "fixed"
    of["counts"] = of["histogram"] = torch.zeros(1, 4096, dtype=torch.int64)
    of["alphabets"] = torch.tensor([[4095 - 8, 4095 - 8]])


def scaled(form: str, block: int, lo: int = -7, hi: int = 7, step: float = 1.0) -> Change:
    """Levels of four channels and codes of their scales, each with a table of its own."""

    def change(layer: dict, of: dict) -> None:
        identity(layer, of)
        layer |= {"format": form, "scale_block": block, "step": step, "lo": lo, "hi": hi}
        layer["symbols_from"] = lo
        planes = CHANNELS + (-(-CHANNELS // block) if block else 1)
        counts = torch.zeros(2, 256 - lo, dtype=torch.int64)
        counts[0, : hi - lo + 1] = 50
        counts[1, 100 - lo :] = 9
        of |= {"counts": counts, "histogram": counts.clone()}
        of["alphabets"] = torch.tensor([[lo, hi], [0, 255]])
        of["shifts"] = torch.zeros(planes, dtype=torch.int64)
        of["coefficients"] = torch.zeros(planes, 3, dtype=torch.int16)
        of["table_of"] = torch.tensor([0] * CHANNELS + [1] * (planes - CHANNELS))
        of["class_of"] = of["table_of"].clone()

    return change


def apack_of_many_levels(layer: dict, of: dict) -> None:
    """A window in the middle of them, levels without counts and others with many."""
    layer |= {"coder": "apack", "symbols_from": -200, "lo": -200, "hi": 199, "step": 0.01}
    levels = torch.arange(-200, 200)
    of["counts"] = (100_000 // (1 + (levels - 9).abs() ** 2))[None] * (levels % 7 != 3)
    of["histogram"] = of["counts"].clone()


def files_of_formats() -> Iterator[File]:
    """Alphabets of tables, ranges of APack's, scales."""
    for name, change in {
        "alphabets": alphabets,
        "alphabets-of-words": both(alphabets, settings(coder="fixed")),
        "apack": settings(coder="apack"),
        "apack-of-many-levels": apack_of_many_levels,
        "apack-of-one-level": both(
            settings(coder="apack", lo=0, hi=0, symbols_from=0),
            tensors(counts=torch.tensor([[5]]), histogram=torch.tensor([[5]])),
        ),
        "scaled-integers": scaled("integers", 0, step=1e-4),
        "scaled-integers-of-blocks": scaled("integers", 3, -100, 100, 1e-4),
        "scaled-unsigned": scaled("integers", 0, 0, 15, 1e-4),
        "scaled-words": both(scaled("integers", 0, step=1e-4), settings(coder="fixed")),
        "scaled-mxfp4": scaled("mxfp4", 32),
        "scaled-nvfp4": scaled("nvfp4", 2, step=0.003),
        "scaled-step-whole": scaled("mxfp4", 2, step=1),
    }.items():
        yield f"good-{name}", codec(change)
    integers = scaled("integers", 0)
    for name, change in {
        "alphabet-below": ends((-11, 8), (-2, -2)),
        "alphabet-above": ends((-8, 8), (-2, 11)),
        "alphabet-backwards": ends((-8, 8), (-2, -3)),
        "alphabet-least": ends((-(2**63), 8), (-2, -2)),
        "alphabet-most": ends((-8, 2**63 - 1), (-2, -2)),
        "alphabets-too-few": ends((-8, 8)),
        "alphabets-in-a-row": both(
            alphabets, tensors(alphabets=torch.tensor([[-8], [8], [-2], [-2]]))
        ),
        "alphabets-flat": both(alphabets, tensors(alphabets=torch.tensor([-8, 8, -2, -2]))),
        "alphabets-short": both(
            alphabets, tensors(alphabets=torch.tensor([[-8, 8], [-2, -2]], dtype=torch.int32))
        ),
        **{
            f"alphabets-of-{coder}": both(alphabets, settings(coder=coder))
            for coder in ("rans", "apack", "ebpc", "dct-cm")
        },
        "words-too-wide": wide_words,
        "apack-of-classes": both(position_classes, settings(coder="apack")),
        **{
            f"format-{value}": both(integers, settings(format=value))
            for value in ("fp4", "", "Integers", None, 4)
        },
        **{
            f"scale-block-{value}": both(integers, settings(scale_block=value))
            for value in (-1, -(2**63), 2**31, 2**64, 1.0, None, "0", True)
        },
        "no-scale-block": both(integers, without("scale_block")),
        "no-scale-step": both(integers, without("step")),
        **{
            f"scale-step-{value}": both(integers, settings(step=value))
            for value in (0, -1.0, math.inf, 1e39, 1e-60, "1", True)
        },
        "scale-step-of-mxfp4": scaled("mxfp4", 32, step=2.0),
        "scaled-levels-uneven": both(integers, settings(lo=-3)),
        "scaled-levels-none": both(integers, settings(lo=0, hi=0)),
        "scaled-levels-2048": both(integers, settings(lo=-2048, hi=2048)),
        "scaled-levels-beyond-32-bits": both(integers, settings(lo=2**32 - 7, hi=2**32 + 7)),
        "scaled-levels-float": both(integers, settings(hi=7.0)),
        "scaled-levels-of-fp4": both(scaled("nvfp4", 16), settings(lo=-8, hi=8)),
        "scales-missing": both(integers, tensors(shifts=torch.zeros(4, dtype=torch.int64))),
        "scales-of-smaller-blocks": both(integers, settings(scale_block=1)),
        "scales-without-tables": both(
            integers, tensors(table_of=torch.zeros(4, dtype=torch.int64))
        ),
    }.items():
        yield f"bad-{name}", codec(change)


def of_frequencies(size: int, *coded: int) -> Change:
    """Planes of these frequencies of the first channels, as many as the others are of."""

    def change(layer: dict, of: dict) -> None:
        of["frequencies"] = torch.tensor(coded, dtype=torch.int32)
        of["frequency_scales"] = torch.linspace(1, 3, size * size)
        of["shifts"] = torch.zeros(len(coded), dtype=torch.int64)
        of["coefficients"] = torch.zeros(len(coded), 3, dtype=torch.int16)
        of["table_of"] = of["shifts"].clone()
        of["class_of"] = of["shifts"].clone()

    return change


def files_of_frequencies() -> Iterator[File]:
    first = of_frequencies(2, *(4 * channel for channel in range(CHANNELS)))
    for name, change in {
        "frequencies-of-2": first,
        "frequencies-of-4": of_frequencies(4, 63, 0, 16, 32, 48, 5),
        "frequencies-all": of_frequencies(2, *reversed(range(4 * CHANNELS))),
        "frequencies-of-channels": both(identity, first),
    }.items():
        yield f"good-{name}", codec(change)
    scales = torch.ones(4)
    for name, change in {
        "twice": of_frequencies(2, 0, 4, 8, 12, 0),
        "beyond": of_frequencies(2, 0, 4, 8, 12, 16),
        "negative": of_frequencies(2, 0, 4, 8, 12, -1),
        "without-a-component": of_frequencies(2, 0, 4, 8, 1, 2),
        "few": of_frequencies(2, 0, 4, 8),
        "of-channels-beyond": both(identity, first, settings(channels=2**31 - 1)),
        "of-3": of_frequencies(3, 0, 9, 18, 27),
        "of-1": of_frequencies(1, 0, 1, 2, 3),
        "long": both(first, tensors(frequencies=torch.tensor([0, 4, 8, 12]))),
        "flat": both(first, tensors(frequencies=torch.tensor([[0, 4, 8, 12]], dtype=torch.int32))),
        "scales-missing": both(first, without("frequency_scales")),
        "scales-double": both(first, tensors(frequency_scales=scales.double())),
        "scale-0": both(first, tensors(frequency_scales=scales - torch.eye(4)[1])),
        "scale-negative": both(first, tensors(frequency_scales=scales - 2)),
        "scale-nan": both(first, tensors(frequency_scales=scales * math.nan)),
        "step-beyond": both(first, settings(step=1e30), tensors(frequency_scales=scales * 1e10)),
        "step-below": both(first, settings(step=1e-30), tensors(frequency_scales=scales * 1e-30)),
        "steps-of-each": both(first, each_step),
        "with-scales": both(
            scaled("integers", 3),
            tensors(
                frequencies=torch.tensor([0, 4, 8, 12, 1, 2], dtype=torch.int32),
                frequency_scales=scales,
            ),
        ),
        "of-blocks": both(two_groups, first),
        "shifts-too-few": both(first, tensors(shifts=torch.zeros(3, dtype=torch.int64))),
    }.items():
        yield f"bad-frequencies-{name}", codec(change)


def files() -> Iterator[File]:
    yield from files_of_formats()
    yield from files_of_frequencies()
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
