"""The coders that experiments.bench.coders compares, behind one interface.

Each contestant codes one ``Item`` at a time, with the same tables and on the same values. What a
library needs in a layout of its own (bytes, an index for each value, Python lists) is made before
the clock runs.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata, util
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fmtc import ops
from fmtc.codec.classes import scale_classes
from fmtc.codec.coders import Coder, coders
from fmtc.codec.prediction import rms_symbols

LOG2_TOTAL = 12  # of the frequencies that all rANS and range coders get


@dataclass
class Item:
    """Levels int16 [1, K, H, W] and the tables that all coders use."""

    levels: torch.Tensor
    rans: Coder
    huffman: Coder

    @property
    def values(self) -> int:
        return self.levels.numel()

    @cached_property
    def symbols(self) -> np.ndarray:
        """The levels in row-major order, int8 where they fit, else int16."""
        levels = self.levels.numpy().ravel()
        fits = -128 <= levels.min() and levels.max() < 128
        return levels.astype(np.int8) if fits else levels

    @cached_property
    def table_of_value(self) -> torch.Tensor:
        """i32 [values]: the table of each value."""
        plane = self.levels.shape[2] * self.levels.shape[3]
        return self.rans.table_of.to(torch.int32).repeat_interleave(plane)

    @cached_property
    def frequencies(self) -> torch.Tensor:
        """i32 [tables, L]: what libraries without an escape get; none is 0."""
        counts = 64 * self.rans.counts + 1
        share = counts / counts.sum(1, keepdim=True)
        slots = 2**LOG2_TOTAL - counts.shape[1]
        frequencies = 1 + (share * slots).floor().to(torch.int32)
        rest = 2**LOG2_TOTAL - frequencies.sum(1)
        frequencies[torch.arange(len(counts)), counts.argmax(1)] += rest.to(torch.int32)
        return frequencies


def make_item(levels: torch.Tensor, classes: int, of: torch.Tensor | None = None) -> Item:
    """An item with tables of at most ``classes`` classes, counted on ``of`` (levels by default)."""
    of = levels if of is None else of
    lo, hi = int(of.min()), int(of.max())
    channels = of.shape[1]
    counts = ops.histogram(of, lo, hi, torch.arange(channels), channels)
    class_of = scale_classes(counts, rms_symbols(counts, lo), classes)
    merged = torch.zeros(int(class_of.max()) + 1, hi - lo + 1, dtype=torch.int64)
    merged.index_add_(0, class_of, counts)
    return Item(
        levels,
        coders["rans"](lo, merged, class_of),
        coders["huffman"](lo, merged, class_of),
    )


def channel_entropy(items: list[Item]) -> float:
    """Bits a value under a histogram of its own for each channel, over all items."""
    bits = 0.0
    for item in items:
        channels = item.levels.shape[1]
        lo, hi = int(item.levels.min()), int(item.levels.max())
        counts = ops.histogram(item.levels, lo, hi, torch.arange(channels), channels)
        bits += float((ops.entropy(counts) * counts.sum(1)).sum())
    return bits / sum(item.values for item in items)


class Skip(Exception):
    """A contestant that cannot take part, and why."""


@dataclass
class Contestant:
    """A coder of items. ``encode`` gives what ``size`` (bytes) and ``decode`` take.

    ``prepare`` makes an item's input in the library's own layout; ``check`` compares what was
    decoded with it. slow: to be run on few values only.
    """

    name: str
    version: str
    prepare: Callable[[Item], Any]
    encode: Callable[[Any], Any]
    size: Callable[[Any], int]
    decode: Callable[[Any, Any], Any]
    check: Callable[[Any, Any], bool]
    slow: bool = False


def fmtc_coder(coder: str, version: str) -> Contestant:
    """The operators of this package, tables in the layout that they take."""

    def decode(item: Item, streams):
        tables = getattr(item, coder)
        return tables.decode(*streams, *item.levels.shape[2:])

    return Contestant(
        f"fmtc {'rANS' if coder == 'rans' else 'Huffman'}",
        version,
        prepare=lambda item: item,
        encode=lambda item: getattr(item, coder).encode(item.levels),
        size=lambda streams: int(streams[1].sum()),
        decode=decode,
        check=lambda item, levels: torch.equal(item.levels, levels),
    )


def zstandard(level: int, interleaved: bool = False) -> Contestant:
    """zstd of the symbols' bytes, channel by channel or pixel by pixel."""
    library = _import("zstandard")
    encoder = library.ZstdCompressor(level=level)
    decoder = library.ZstdDecompressor()

    def prepare(item: Item) -> bytes:
        channels = item.levels.shape[1]
        planes = item.symbols.reshape(channels, -1)
        return (planes.T.copy() if interleaved else planes).tobytes()

    return Contestant(
        f"zstd -{level}" + (", pixel by pixel" if interleaved else ""),
        f"{library.__version__} (zstd {'.'.join(map(str, library.ZSTD_VERSION))})",
        prepare,
        encode=encoder.compress,
        size=len,
        decode=lambda _, data: decoder.decompress(data),
        check=lambda data, decoded: data == decoded,
    )


def constriction() -> Contestant:
    """ANS coder of constriction, with its tables for fast decoding off, as it is by default."""
    library = _import("constriction")
    models = library.stream.model

    def prepare(item: Item):
        parts = []
        for table, frequencies in enumerate(item.frequencies.double().numpy()):
            here = item.rans.table_of == table
            levels = item.levels[0, here].flatten().to(torch.int32) - item.rans.lo
            model = models.Categorical(frequencies / frequencies.sum(), perfect=False)
            parts.append((levels.numpy(), model))
        return parts

    def encode(parts):
        coder = library.stream.stack.AnsCoder()
        for levels, model in reversed(parts):
            coder.encode_reverse(levels, model)
        return coder.get_compressed()

    def decode(parts, words):
        coder = library.stream.stack.AnsCoder(words)
        return [coder.decode(model, len(levels)) for levels, model in parts]

    return Contestant(
        "constriction AnsCoder",
        metadata.version("constriction"),
        prepare,
        encode,
        size=lambda words: words.nbytes,
        decode=decode,
        check=lambda parts, decoded: all(
            np.array_equal(levels, got) for (levels, _), got in zip(parts, decoded, strict=True)
        ),
        slow=True,
    )


def torch_ans(states: int = 32) -> Contestant:
    """torch-ans, its rANS with 16-bit words, 8 interleaved states and inverse-CDF tables."""
    _import("torch_ans")
    from torch_ans.utils import TorchANSInterface

    def prepare(item: Item):
        coder = TorchANSInterface(
            num_parallel_states=states,
            device="cpu",
            bypass_coding=False,
            freq_precision=LOG2_TOTAL,
            impl="rans32_16",
            num_interleaves=8,
            inverse_cdf_precision="auto",
        )
        tables, symbols = item.frequencies.shape
        coder.init_params(
            item.frequencies, torch.full((tables,), symbols), torch.zeros(tables, dtype=torch.int32)
        )
        levels = item.levels.flatten().to(torch.int32) - item.rans.lo
        return coder, levels, item.table_of_value

    def size(stream) -> int:
        return int(stream[:, 0].sum()) + 4 * len(stream)  # its bytes, and how many they are

    return Contestant(
        "torch-ans rans32_16 x8",
        metadata.version("torch_ans"),
        prepare,
        encode=lambda data: data[0].encode(data[1], data[2]),
        size=size,
        decode=lambda data, stream: data[0].decode(stream, data[2]),
        check=lambda data, decoded: torch.equal(data[1], decoded.flatten()[: len(data[1])]),
        slow=True,
    )


def compressai() -> Contestant:
    """CompressAI's range coder; it takes and returns Python lists."""
    coder = _import_compressai_ans()

    def prepare(item: Item):
        tables, symbols = item.frequencies.shape
        # It keeps the last symbol of a table for values outside: one slot, taken from the largest.
        frequencies = torch.cat([item.frequencies, torch.ones(tables, 1, dtype=torch.int32)], 1)
        frequencies[torch.arange(tables), frequencies.argmax(1)] -= 1
        frequencies = frequencies * 2 ** (16 - LOG2_TOTAL)
        cdfs = torch.nn.functional.pad(frequencies.cumsum(1), (1, 0)).tolist()
        levels = (item.levels.flatten().to(torch.int32) - item.rans.lo).tolist()
        indexes = item.table_of_value.tolist()
        return levels, indexes, cdfs, [symbols + 2] * tables, [0] * tables

    return Contestant(
        "CompressAI range coder",
        metadata.version("compressai"),
        prepare,
        encode=lambda data: coder.RansEncoder().encode_with_indexes(*data),
        size=len,
        decode=lambda data, stream: coder.RansDecoder().decode_with_indexes(stream, *data[1:]),
        check=lambda data, decoded: data[0] == decoded,
        slow=True,
    )


def contestants(version: str) -> tuple[list[Contestant], list[str]]:
    """All that can take part, the one that ratios refer to first; and why others cannot."""
    wanted = {
        "zstd -1": lambda: zstandard(1),
        "zstd -1, pixel by pixel": lambda: zstandard(1, interleaved=True),
        "zstd -3": lambda: zstandard(3),
        "fmtc rANS": lambda: fmtc_coder("rans", version),
        "fmtc Huffman": lambda: fmtc_coder("huffman", version),
        "constriction": constriction,
        "torch-ans": torch_ans,
        "CompressAI": compressai,
    }
    found, skipped = [], []
    for name, make in wanted.items():
        try:
            found.append(make())
        except Skip as reason:
            skipped.append(f"{name}: {reason}")
    return found, skipped


def _import(name: str):
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Skip(f"not installed ({error})") from None


def _import_compressai_ans():
    """The compiled coder alone: the package's own import needs much that it does not use."""
    folders = [Path(entry) / "compressai" for entry in sys.path]
    files = [file for folder in folders for file in folder.glob("ans.*.so")]
    if not files:
        raise Skip("not installed (no compiled module compressai.ans)")
    spec = util.spec_from_file_location("compressai.ans", files[0])
    module = util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        raise Skip(str(error)) from None
    return module
