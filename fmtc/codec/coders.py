"""Entropy coders, with the tables that calibration gives them (docs/method.md, "Entropy coding").

A coder is one class. ``register_coder`` makes another one known by its name, and presets and
configurations may then name it; examples/python/own_coder.py is a complete one.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

import torch

from .. import ops
from ..limits import NO_LIMIT
from ..registry import Registry
from .archive import Scalars, Tensors, integer, require, typed, within
from .exact import Exact
from .quantizer import MAX_LEVELS

# Slots of a rANS table, as a power of two. 11 would halve the decode tables and cost 0.2% more rate
# at 1.6 bits/value, 0.5% at 4.6 (docs/measurements.md).
RANS_LOG2_TOTAL = 12
ESCAPED_BITS = 16  # of an escaped level, besides the escape symbol
# A level never seen in calibration counts as 1/SMOOTHING of an occurrence, so it stays codable.
SMOOTHING = 64
# Longest Huffman code, and its least headroom over a fixed-length code: rare levels at the longest
# length take levels / 2^length of the code space, 2^-HEADROOM at most where the limit allows it.
MAX_LENGTH = 15
HEADROOM = 6
LANE_VALUES = tuple(2**n for n in range(8, 17))  # as lane_values_valid in csrc/core/stream.h
# Of the tables of all layers of a saved codec, 4 bytes each: a histogram of 8 bytes in the file
# becomes a rANS table of 16 KiB.
MAX_TABLE_ENTRIES = 2**26
ALLOWED_LANE_VALUES = "a power of two from 256 to 65536, or 0 for the coder's own choice"


def check_lane_values(lane_values: int) -> None:
    """Raise ValueError unless a lane can have so many values; 0 leaves it to the coder."""
    if lane_values not in (0, *LANE_VALUES):
        raise ValueError(f"lane_values must be {ALLOWED_LANE_VALUES}, got {lane_values!r}")


def smoothed(counts: torch.Tensor) -> torch.Tensor:
    """Counts i64 [T, L] from which tables are built: every level has a chance."""
    return counts * SMOOTHING + 1


def table_max_length(levels: int) -> int:
    """Length limit of the Huffman codes for an alphabet of this size, 7 to 15 bits."""
    return min(MAX_LENGTH, math.ceil(math.log2(max(levels, 2))) + HEADROOM)


class Coder(Exact):
    """The entropy coder of one layer.

    A subclass says what it can do, makes its tables in ``build``, and has ``encode`` and
    ``decode_unchecked``; the rest it may leave.

    What it says in attributes of the class:

    - ``name``: by which presets, configurations and saved codecs know it.
    - ``tables``: it has tables of symbols, and can have several.
    - ``escapes``: it codes any int16 level, also outside of ``lo`` to ``hi``; others are given
      levels in that range alone.
    - ``predicted``: levels may be replaced by differences from a prediction, which needs escapes.
    - ``classes``: it can have tables for classes of positions, which it is then given with the
      levels.
    - ``alphabets``: each of its tables can be for levels of its own.
    - ``stream_coder``: as which coder the headers of its streams name it (docs/stream_format.md),
      None for any.

    Args:
        lo: The first level of the tables.
        counts: i64 [T, L] calibration histogram of each table over the levels lo .. lo+L-1.
        table_of: i64 [segments], the table of each component; with several classes of positions, of
            the map and of each class of each component.
        position_classes: How many classes of positions there are.
        lane_values: How many values a lane of a stream codes, 0 for its own choice; it concerns the
            encoder alone.
        alphabets: i64 [T, 2], first and last level of each table, where they differ.

    All arguments are attributes, too, ``alphabets`` as ``alphabet_of``.

    Attributes:
        hi: The last level of the tables.
        components: K, the number of components.
        lengths: u8 [T, L] Huffman code lengths of the counts, whatever the coder.
        table_id: 0..65535, from all that decides how a stream is decoded.

    Raises:
        ValueError: Too many levels, or wrong lane_values.

    Example:
        >>> codec = fmtc.calibrate_tensor(tensor, bits=6, coder="rans")
        >>> isinstance(codec.coder, fmtc.Coder), codec.coder.name, codec.coder.escapes
        (True, 'rans', True)
    """

    name: ClassVar[str]
    tables: ClassVar[bool] = False
    escapes: ClassVar[bool] = False
    predicted: ClassVar[bool] = False
    classes: ClassVar[bool] = False
    stream_coder: ClassVar[str | None] = None
    alphabets: ClassVar[bool] = False

    counts: torch.Tensor
    table_of: torch.Tensor
    lengths: torch.Tensor
    alphabet_of: torch.Tensor | None

    def __init__(
        self,
        lo: int,
        counts: torch.Tensor,
        table_of: torch.Tensor,
        position_classes: int = 1,
        lane_values: int = 0,
        alphabets: torch.Tensor | None = None,
    ):
        super().__init__()
        levels = counts.shape[1]
        if not 1 <= levels <= MAX_LEVELS:
            raise ValueError(f"{levels} levels do not fit a table; at most {MAX_LEVELS}")
        check_lane_values(lane_values)
        self.lo, self.hi = lo, lo + levels - 1
        self.position_classes, self.lane_values = position_classes, lane_values
        segments = len(table_of)
        self.components = segments
        if position_classes > 1:
            self.components = (segments - 1) // position_classes
        # Bits of a number for each level.
        self.word_bits = max(1, (levels - 1).bit_length())
        self.hold("counts", counts)
        self.hold("table_of", table_of)
        self.hold("alphabet_of", alphabets)
        lengths = ops.huffman_lengths(self.smoothed_counts(), table_max_length(levels))
        self.hold("lengths", lengths)
        self.build()
        checksum = zlib.crc32(self.name.encode() + lo.to_bytes(4, "little", signed=True))
        for part in (table_of.to(torch.int64), self.codes()):
            checksum = zlib.crc32(part.cpu().numpy().tobytes(), checksum)
        self.table_id = checksum & 0xFFFF

    def extra_repr(self) -> str:
        return f"{self.name}, lo={self.lo}, hi={self.hi}, tables={len(self.counts)}"

    def smoothed_counts(self) -> torch.Tensor:
        """Counts i64 [T, L] from which tables are built, 0 outside of a table's alphabet."""
        counts = smoothed(self.counts)
        if self.alphabet_of is None:
            return counts
        first, last = (self.alphabet_of - self.lo).to(counts.device).split(1, dim=1)
        symbol = torch.arange(counts.shape[1], device=counts.device)
        return counts * ((first <= symbol) & (symbol <= last))

    def __init_subclass__(cls) -> None:
        """One that codes otherwise is not what ``point_tables`` of its base says."""
        own = vars(cls)
        if ("encode" in own or "decode_unchecked" in own) and "point_tables" not in own:
            cls.point_tables = Coder.point_tables  # type: ignore[method-assign]

    def point_tables(self, encoding: bool) -> ops.PointTables | None:
        """The tables with which ``ops.encode_point`` or ``decode_point`` code what this one codes.

        None where they do not know it: it is then given the levels of ``encode``.

        Args:
            encoding: Whether those to encode with are asked for.
        """
        return None

    def build(self) -> None:
        """Make what ``encode`` and ``decode_unchecked`` need, with ``hold`` where it is tensors."""

    def codes(self) -> torch.Tensor:
        """A tensor that differs where streams would be decoded otherwise."""
        return self.lengths

    def encode(
        self,
        levels: torch.Tensor,
        crop: tuple[int, int] = (0, 0),
        classes: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One stream for each image.

        Args:
            levels: int16 [N, K, H, W].
            crop: Rows and columns of block padding, kept in the header.
            classes: u8 of the positions (``PositionClasses.of``), where there are several.

        Returns:
            Bytes u8 [N, bound] and used sizes i64 [N].

        Raises:
            RuntimeError: A level outside the tables, unless it escapes them.
        """
        raise NotImplementedError

    def decode_unchecked(
        self, data: torch.Tensor, used: torch.Tensor, height: int, width: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The levels of such streams, and a status of each.

        Damage does not raise: the status is then not 0 (``ops.check_status``). The shape is the
        caller's, who has compared it with what it takes (`TensorCodec.decode`).

        Args:
            data: u8 [N, bound].
            used: Sizes i64 [N].
            height: H of the levels.
            width: W of the levels.

        Returns:
            Levels int16 [N, K, height, width] and the status i32 [N].
        """
        raise NotImplementedError

    def decode(
        self, data: torch.Tensor, used: torch.Tensor, height: int, width: int
    ) -> torch.Tensor:
        """The levels of ``decode_unchecked``, whose arguments it takes.

        Raises:
            StreamError: A stream is damaged.
        """
        levels, status = self.decode_unchecked(data, used, height, width)
        ops.check_status(status)
        return levels

    def stream_info(self, data: ops.Bytes) -> dict[str, Any]:
        """Of the stream that ``data`` begins with: size in bytes, height, width, crop_h, crop_w.

        This one compares the coder, its components, classes and tables, too, so that nothing is
        decoded or allocated for a stream of another.

        Args:
            data: Bytes.

        Returns:
            These five by name.

        Raises:
            StreamError: They begin with none.
        """
        info = ops.stream_info(data)
        coder = self.stream_coder or info["coder"]
        ops.check_expected(info, coder, self.components, self.position_classes, self.table_id)
        return info

    def cross_entropy_bits(self) -> torch.Tensor:
        """Ideal code length of each level under the tables in use.

        Of its share of the smoothed counts, -log2, from which a Huffman code is made.

        Returns:
            f64 [T, L]; 0 outside of a table's alphabet.
        """
        p = self.smoothed_counts().double()
        bits = -(p / p.sum(1, keepdim=True)).log2()
        return torch.where(p > 0, bits, 0.0)

    def packed(self) -> tuple[Scalars, Tensors]:
        """The scalars and tensors of an archive's layer."""
        scalars: Scalars = {"coder": self.name, "symbols_from": self.lo}
        if self.lane_values:
            scalars["lane_values"] = self.lane_values
        tensors = {"counts": self.counts, "table_of": self.table_of}
        if self.alphabet_of is not None:
            tensors["alphabets"] = self.alphabet_of
        return scalars, tensors

    @staticmethod
    def unpacked(layer: Scalars, tensors: Tensors, segments: int, position_classes: int) -> Coder:
        """From such scalars and tensors.

        Raises:
            ValueError: They do not fit so many segments.
        """
        lo, kind = layer["symbols_from"], coders[layer["coder"]]
        require(-(2**15) <= integer(lo) < 2**15, f"symbols from {lo}")
        require(position_classes == 1 or kind.classes, "its classes of positions")
        counts = typed(tensors, "counts", torch.int64, 2)
        table_of = typed(tensors, "table_of", torch.int64, 1)
        require_tables("tables", table_of, counts, segments)
        lane_values = integer(layer.get("lane_values", 0))
        if "alphabets" not in tensors:
            return kind(lo, counts, table_of, position_classes, lane_values)
        alphabets = typed(tensors, "alphabets", torch.int64, 2)
        require(kind.alphabets and alphabets.shape == (len(counts), 2), "its alphabets")
        within_counts = within(alphabets, lo, lo + counts.shape[1] - 1)
        require(within_counts and bool((alphabets[:, 0] <= alphabets[:, 1]).all()), "its alphabets")
        return kind(lo, counts, table_of, position_classes, lane_values, alphabets)


def require_tables(what: str, of: torch.Tensor, counts: torch.Tensor, segments: int) -> None:
    """ValueError unless ``of`` names for each segment one of the histograms."""
    require(of.shape == (segments,), f"{what} for {segments} planes or segments")
    require(within(of, 0, len(counts) - 1), f"{what} from 0 to {len(counts) - 1}")
    require(bool((counts >= 0).all()), "negative counts")


def require_tables_fit(all_counts: Iterable[torch.Tensor]) -> None:
    """ValueError where the tables of coders with these counts [T, L] have too many entries."""
    entries = 0
    for counts in all_counts:
        require(counts.dim() == 2 and counts.shape[1] > 0, "its counts")
        longest = max(RANS_LOG2_TOTAL, table_max_length(counts.shape[1]))
        entries += len(counts) * 2**longest
    require(entries <= MAX_TABLE_ENTRIES, f"tables of {entries} entries")


C = TypeVar("C", bound=type[Coder])
coders: Registry[type[Coder]] = Registry("coder")


def register_coder(coder: C) -> C:
    """Make a coder known by its name; also a decorator of the class.

    Presets and configurations may then name it; examples/python/own_coder.py is a complete one.

    Args:
        coder: A subclass of `Coder`.

    Returns:
        The class.

    Raises:
        ValueError: No subclass of `Coder`, no ``encode`` or ``decode_unchecked``, no name, or the
            name of another; ``predicted`` without ``escapes``.

    Example:
        >>> rans = type(fmtc.calibrate_tensor(tensor, coder="rans").coder)
        >>> @fmtc.register_coder
        ... class Counted(rans):
        ...     name = "counted"
        ...     images = 0
        ...
        ...     def encode(self, levels, crop=(0, 0), classes=None):
        ...         Counted.images += len(levels)
        ...         return super().encode(levels, crop, classes)
        >>> data = fmtc.calibrate_tensor(tensor, coder="counted").encode(tensor)
        >>> Counted.images
        4
    """
    if not (isinstance(coder, type) and issubclass(coder, Coder)):
        raise ValueError(f"a coder is a subclass of fmtc.Coder, not {coder!r}")
    for method in ("encode", "decode_unchecked"):
        if getattr(coder, method) is getattr(Coder, method):
            raise ValueError(f"coder {coder.__name__} has no method '{method}'")
    if coder.predicted and not coder.escapes:
        raise ValueError(f"coder {coder.__name__}: differences from a prediction need escapes")
    coders.register(getattr(coder, "name", ""), coder)
    return coder


@register_coder
class Huffman(Coder):
    """Canonical Huffman codes of limited length."""

    name = stream_coder = "huffman"
    tables = alphabets = True
    encode_table: torch.Tensor
    decode_table: torch.Tensor

    def build(self) -> None:
        encode_table, decode_table = ops.huffman_tables(self.code_lengths())
        self.hold("encode_table", encode_table)
        self.hold("decode_table", decode_table)

    def code_lengths(self) -> torch.Tensor:
        return self.lengths

    def encode(self, levels, crop=(0, 0), classes=None):
        tables = self.lo, self.table_of, self.encode_table
        return ops.huffman_encode(levels, *tables, self.table_id, *crop, self.lane_values)

    def decode_unchecked(self, data, used, height, width):
        tables = self.lo, self.table_of, self.decode_table
        shape = self.components, height, width
        return ops.huffman_decode(data, used, *tables, self.table_id, *shape, NO_LIMIT)

    def point_tables(self, encoding):
        table = self.encode_table if encoding else self.decode_table
        return ops.PointTables("huffman", self.lo, self.table_of, table, None, self.table_id)


@register_coder
class Fixed(Huffman):
    """The same number of bits for every level of a table: a Huffman code of equal lengths."""

    name = "fixed"
    tables = False

    def code_lengths(self) -> torch.Tensor:
        words = [self.word_bits] * len(self.counts)
        starts = [0] * len(words)
        if self.alphabet_of is not None:
            ends = self.alphabet_of.tolist()
            starts = [first - self.lo for first, _ in ends]
            words = [max(1, (last - first).bit_length()) for first, last in ends]
        ends = [start + 2**bits for start, bits in zip(starts, words, strict=True)]
        lengths = torch.zeros(len(words), max(ends), dtype=torch.uint8)
        for of_table, start, end, bits in zip(lengths, starts, ends, words, strict=True):
            of_table[start:end] = bits
        return lengths


@register_coder
class Rans(Coder):
    """Interleaved rANS, with an escape for levels that its tables do not have.

    frequencies: i32 [T, L + 1] of ``ops.rans_frequencies``.
    """

    name = stream_coder = "rans"
    tables = escapes = predicted = classes = True
    make_frequencies = staticmethod(ops.rans_frequencies)
    frequencies: torch.Tensor
    encode_table: torch.Tensor
    decode_table: torch.Tensor
    base: torch.Tensor

    def build(self) -> None:
        self.hold("frequencies", self.make_frequencies(smoothed(self.counts), RANS_LOG2_TOTAL))
        encode_table, decode_table, base = ops.rans_tables(self.frequencies)
        self.hold("encode_table", encode_table)
        self.hold("decode_table", decode_table)
        self.hold("base", base)

    def codes(self) -> torch.Tensor:
        return self.frequencies

    def encode(self, levels, crop=(0, 0), classes=None):
        tables = self.lo, self.table_of, self.encode_table
        return ops.rans_encode(levels, *tables, self.table_id, *crop, classes, self.lane_values)

    def decode_unchecked(self, data, used, height, width):
        tables = self.lo, self.table_of, self.decode_table, self.base
        shape = self.components, height, width
        return ops.rans_decode(data, used, *tables, self.table_id, *shape, NO_LIMIT)

    def point_tables(self, encoding):
        table = self.encode_table if encoding else self.decode_table
        return ops.PointTables("rans", self.lo, self.table_of, table, self.base, self.table_id)

    def cross_entropy_bits(self) -> torch.Tensor:
        """-log2 of a level's share of the slots; of an escaped one, the escape's and 16 bits."""
        p = self.frequencies.double() / 2**RANS_LOG2_TOTAL
        bits = -p.log2()
        return torch.where(p[:, :-1] > 0, bits[:, :-1], bits[:, -1:] + ESCAPED_BITS)


@register_coder
class Apack(Rans):
    """APack's code (Delmas Lascorz et al. 2022): ranges of values, and plain bits for places there.

    It is rANS with frequencies that are the same all over each of at most 16 ranges.
    """

    name = "apack"
    predicted = classes = False
    make_frequencies = staticmethod(ops.apack_frequencies)


@register_coder
class Ebpc(Coder):
    """Extended bit-plane compression; docs/stream_format.md."""

    name = stream_coder = "ebpc"

    def encode(self, levels, crop=(0, 0), classes=None):
        words = self.lo, self.word_bits, self.table_id
        return ops.ebpc_encode(levels, *words, *crop, self.lane_values)

    def decode_unchecked(self, data, used, height, width):
        words = self.lo, self.word_bits, self.table_id
        shape = self.components, height, width
        return ops.ebpc_decode(data, used, *words, *shape, NO_LIMIT)


@register_coder
class DctCm(Coder):
    """A mask of the levels that are not 0, and these in words; docs/stream_format.md."""

    name = stream_coder = "dct-cm"

    def encode(self, levels, crop=(0, 0), classes=None):
        words = self.lo, self.word_bits, self.table_id
        return ops.dct_cm_encode(levels, *words, *crop, self.lane_values)

    def decode_unchecked(self, data, used, height, width):
        words = self.lo, self.word_bits, self.table_id
        shape = self.components, height, width
        return ops.dct_cm_decode(data, used, *words, *shape, NO_LIMIT)


def rows_of(data: torch.Tensor, used: torch.Tensor) -> list[bytes]:
    """The streams in rows u8 [N, bytes], of which ``used`` [N] bytes each are one."""
    return [
        row[:size].cpu().numpy().tobytes() for row, size in zip(data, used.tolist(), strict=True)
    ]
