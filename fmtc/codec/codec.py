"""The codec of one coding point: transform, quantiser and coder, with real streams.

The stages follow the way of a tensor and can be called alone:
``transform -> quantize -> encode -> [bytes] -> decode -> dequantize -> inverse``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any

import torch

from .. import ops
from ..errors import StorageError, StreamError
from ..limits import MAX_BYTES, MAX_VALUES
from ..ops import UNLIMITED, Bytes, Limits
from ..planes import Layout, all_finite
from .archive import Archive, Scalars, Tensors, integer, number, reading, require, typed
from .block import Block
from .bundle import Bundle, streams_in
from .coders import Coder, require_tables, require_tables_fit, rows_of
from .exact import Exact
from .moments import Moments
from .plain import PlainCodec
from .positions import PositionClasses
from .prediction import SymbolMap
from .quantizer import Quantizer
from .quantizers import unpacked_quantizer
from .transform import Identity, Transform

MOST_DIMENSIONS = 8  # of a tensor
SIZES = ("height", "width", "crop_h", "crop_w")  # which streams of one tensor share


@dataclass(frozen=True)
class Symbols:
    """planes: int16 [N, planes, H, W] that the entropy coder codes. classes: of their positions.

    u8 [N, ceil(H/2), ceil(W/2)], or None where all positions are coded alike.
    """

    planes: torch.Tensor
    classes: torch.Tensor | None = None


class TensorCodec(Exact):
    """Everything that turns tensors [N, C, H, W] of one kind into streams and back.

    `calibrate_tensor` makes it. ``encode``, ``decode`` and ``simulate`` take and give tensors of
    ``rank`` dimensions of which ``layout`` says what they are; all else works on their planes
    [N, C, H, W].

    Attributes:
        rank: Number of dimensions of the tensors.
        layout: Which of them are images and channels.
        channels: How many channels they have, C.
        block: The `Block` of values that are transformed together.
        transform: The transform.
        quantizer: The quantiser.
        symbol_map: Levels to the planes of symbols that are coded.
        position_classes: None where all positions are coded alike.
        coder: The `Coder`, with its tables.
        class_of: i64, the class of each plane, or segment with classes of positions (for the
            report; equal to ``coder.table_of`` where there is a table for each class).
        histogram: i64 [classes, L] of the calibration symbols.
        mse: Mean squared error of the decoded calibration tensors.
        values: Number of calibration values.
        clamped: How many of them were clamped.
        moments: Of the calibration data, where they were kept.

    Example:
        >>> codec = fmtc.calibrate_tensor(tensor, bits=6)
        >>> torch.equal(codec.decode(codec.encode(tensor)), codec.simulate(tensor))
        True
        >>> codec.save("tensor.safetensors")
        >>> codec = fmtc.TensorCodec.load("tensor.safetensors")
    """

    class_of: torch.Tensor
    histogram: torch.Tensor

    def __init__(
        self,
        *,
        channels: int,
        block: Block,
        transform: Transform,
        quantizer: Quantizer,
        symbol_map: SymbolMap,
        coder: Coder,
        class_of: torch.Tensor,
        histogram: torch.Tensor,
        mse: float = 0.0,
        values: int = 0,
        clamped: int = 0,
        moments: Moments | None = None,
        position_classes: PositionClasses | None = None,
        rank: int = 4,
        layout: Layout | None = None,
    ):
        super().__init__()
        self.rank, self.layout = rank, layout or Layout()
        self.channels, self.block = channels, block
        self.transform, self.quantizer = transform, quantizer
        self.symbol_map, self.position_classes = symbol_map, position_classes
        self.coder = coder
        self.hold("class_of", class_of)
        self.hold("histogram", histogram)
        self.mse, self.values, self.clamped = mse, values, clamped
        self.moments = moments

    @property
    def components(self) -> int:
        """K, the number of components that are kept."""
        return self.transform.components

    @property
    def kind_of_class(self) -> torch.Tensor:
        """What the planes of each class hold (``Quantizer.kinds``), i64 [classes]."""
        class_of = self.class_of.cpu()
        kinds = torch.zeros(len(self.histogram), dtype=torch.int64)
        kinds[class_of] = self.quantizer.kinds(len(class_of))
        return kinds

    @property
    def table_of_class(self) -> torch.Tensor:
        """The coder's table of each class, i64 [classes]; all planes of a class have the same."""
        tables = torch.zeros(len(self.histogram), dtype=torch.int64)
        tables[self.class_of.cpu()] = self.coder.table_of.cpu()
        return tables

    @property
    def foldable(self) -> bool:
        """True where the transform can be part of the convolutions around the tensor."""
        return self.block.is_pixel and not isinstance(self.transform, Identity)

    def codes_like(self, other: TensorCodec) -> bool:
        """Whether the same levels become the same streams."""
        stages = self._coding_stages(), other._coding_stages()
        (scalars, tensors), (others, other_tensors) = stages
        return (
            scalars == others
            and tensors.keys() == other_tensors.keys()
            and all(torch.equal(tensor, other_tensors[name]) for name, tensor in tensors.items())
        )

    def _coding_stages(self) -> tuple[Scalars, Tensors]:
        """What ``packed`` has of all stages behind the transform."""
        coder, tensors = self.coder.packed()
        tensors |= {"class_of": self.class_of, **self.quantizer.packed_tensors()}
        for stage in (self.symbol_map, self.position_classes):
            if stage is not None:
                tensors |= stage.packed()
        return {**self.quantizer.packed(), **coder}, tensors

    def symbols(self, levels: torch.Tensor) -> Symbols:
        """What is coded for levels int16 [N, K, H', W']."""
        planes = self.symbol_map.symbols(levels)
        if self.position_classes is None:
            return Symbols(planes)
        return Symbols(planes, self.position_classes.of(planes))

    def count(self, symbols: Symbols) -> torch.Tensor:
        """Histogram like ``histogram``.

        Symbols beyond the tables' range, which are escaped, count as the nearest one in it.

        Args:
            symbols: What ``symbols`` makes of levels.
        """
        lo, hi, classes = self.coder.lo, self.coder.hi, len(self.histogram)
        if self.position_classes is not None and symbols.classes is not None:
            by = lo, hi, self.class_of, classes
            return self.position_classes.histogram(symbols.planes, symbols.classes, *by)
        return ops.histogram(symbols.planes.clamp(lo, hi), lo, hi, self.class_of, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Transformed values [N, K, H', W'] of x [N, C, H, W]."""
        return self.transform.forward(self.block.split(x))

    def inverse(self, y: torch.Tensor, crop: tuple[int, int] = (0, 0)) -> torch.Tensor:
        """Tensor [N, C, H, W] of transformed values.

        Args:
            y: [N, K, H', W'], as ``forward`` gives them.
            crop: Block padding to cut off, rows and columns.
        """
        return self.block.join(self.transform.inverse(y), self.channels, crop)

    @property
    def tile(self) -> Block:
        """What a position of the levels stands for."""
        return self.block.tiled(self.quantizer.size)

    def quantize(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Levels int16 [N, P, H', W'] of x [N, C, H, W], and how many were clamped, i64 []."""
        return self.transform.to_levels(self.block.split(x), self.quantizer)

    def dequantize(
        self,
        levels: torch.Tensor,
        crop: tuple[int, int] = (0, 0),
        limits: Limits = UNLIMITED,
        dtype: torch.dtype = torch.float32,
    ) -> torch.Tensor:
        """Tensor [N, C, H, W] of levels.

        Args:
            levels: int16 [N, P, H', W'].
            crop: As for ``inverse``.
            limits: Of the values.
            dtype: Of the tensor.
        """
        of_quantizer = crop if self.block.is_pixel else (0, 0)
        blocks = self.transform.from_levels(levels, self.quantizer, limits, dtype, of_quantizer)
        return self.block.join(blocks, self.channels, crop)

    def simulate(self, x: torch.Tensor) -> torch.Tensor:
        """What decode(encode(x)) gives, without making the stream.

        Args:
            x: As for ``encode``.

        Raises:
            ValueError: As for ``encode``.
        """
        self._check(x)
        planes = self.layout.planes(x)
        made = self.dequantize(self.quantize(planes)[0], self.tile.crop(*planes.shape[2:]))
        return self.layout.restored(made, x.shape)

    def encode_symbols(
        self, symbols: Symbols, crop: tuple[int, int] = (0, 0)
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Symbols of levels -> streams: bytes u8 [N, bound], used sizes i64 [N]."""
        return self.coder.encode(symbols.planes, crop, symbols.classes)

    def encode_levels(
        self, levels: torch.Tensor, crop: tuple[int, int] = (0, 0)
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """levels int16 [N, K, H', W'] -> streams: bytes u8 [N, bound], used sizes i64 [N]."""
        return self.encode_symbols(self.symbols(levels), crop)

    def decode_levels(
        self, data: torch.Tensor, used: torch.Tensor, height: int, width: int
    ) -> torch.Tensor:
        """Inverse of ``encode_levels``.

        Args:
            data: u8 [N, bound].
            used: Sizes i64 [N].
            height: H' of the levels.
            width: W' of the levels.

        Returns:
            Levels int16 [N, K, H', W'].

        Raises:
            StreamError: A stream is damaged.
        """
        return self.symbol_map.levels(self.coder.decode(data, used, height, width))

    @property
    def device(self) -> torch.device:
        """Where it encodes tensors and decodes to; ``to(device)`` moves it."""
        return self.class_of.device

    def encode(self, x: torch.Tensor) -> bytes:
        """A bundle with one self-describing stream for each image.

        Args:
            x: Float [N, C, H, W], or of the codec's rank and layout.

        Returns:
            The bytes of a `Bundle` of one tensor.

        Raises:
            ValueError: Another shape or device than the codec's; NaN or Inf.

        Warns where values are clamped to the 16-bit levels of preset "fmtc".
        """
        return bytes(Bundle({"": self.streams(x)}))

    @torch.no_grad()
    def streams(self, x: torch.Tensor) -> list[bytes]:
        """The streams of ``encode``, N of them, for a `Bundle` of several tensors.

        Args:
            x: As for ``encode``.
        """
        self._check(x)
        planes = self.layout.planes(x.float())
        levels, clamped = self.quantize(planes)
        if self.quantizer.any_level and clamped:
            warnings.warn(
                f"{int(clamped)} of {levels.numel()} values lie beyond the 16-bit levels of this "
                "codec's step and are clamped, so that they are off by more than half a step; take "
                "a coarser step, or samples for calibration that are as large",
                stacklevel=3,
            )
        data, used = self.encode_levels(levels, self.tile.crop(*planes.shape[2:]))
        return rows_of(data, used)

    @torch.no_grad()
    def decode(
        self,
        data: Bytes | Bundle | Sequence[Bytes],
        shape: Sequence[int] | None = None,
        max_values: int = MAX_VALUES,
    ) -> torch.Tensor:
        """Inverse of ``encode``.

        All headers are compared with the codec, with each other, with ``shape`` and ``max_values``
        before anything is decoded or allocated.

        Args:
            data: A bundle of one tensor; or its streams in a list; or bytes of streams back to
                back, as ``encode`` once made them.
            shape: That of the encoded tensor, where it has more than two dimensions of positions,
                which streams do not tell apart.
            max_values: Of the tensor, and of its levels, at most; they take 2 and 4 bytes each.

        Returns:
            float32 [N, C, H, W], or of the codec's rank and layout.

        Raises:
            StreamError: Damaged bytes, those of another codec, and more values.
            ValueError: They are of another shape, or need one.
        """
        streams, sizes = self._opened(data, max_values)
        if not streams:
            # Of no tensor all sizes are known but those of positions.
            empty = self.layout.planes(torch.empty(shape or self._shape(0, [0, 0]), device="meta"))
            return self._restored(torch.empty(0, *empty.shape[1:]), shape)
        planes = torch.empty(len(streams), self.channels, *self._positions(sizes), device="meta")
        whole = self._restored(planes, shape).shape
        levels = self._levels(streams, sizes)
        return self._restored(self.dequantize(levels, (sizes[2], sizes[3])), whole)

    @torch.no_grad()
    def levels_of(
        self, data: Bytes | Bundle | Sequence[Bytes], max_values: int = MAX_VALUES
    ) -> tuple[torch.Tensor, tuple[int, int]]:
        """What ``encode_levels`` was given.

        Args:
            data: As for ``decode``.
            max_values: As for ``decode``.

        Returns:
            Levels int16 [N, P, H', W'], and the padding; of no images H' and W' are 0.

        Raises:
            StreamError: As for ``decode``.
        """
        streams, sizes = self._opened(data, max_values)
        if not streams:
            planes = len(self.symbol_map.shifts)
            return torch.empty(0, planes, 0, 0, dtype=torch.int16, device=self.device), (0, 0)
        return self._levels(streams, sizes), (sizes[2], sizes[3])

    def positions_of(self, streams: Sequence[Bytes], max_values: int = MAX_VALUES) -> list[int]:
        """H and W of the planes of at least one image, by its header: nothing is decoded.

        Args:
            streams: Of at least one image.
            max_values: As for ``decode``.

        Raises:
            StreamError: As for ``decode``.
        """
        return list(self._positions(self._opened(streams, max_values)[1]))

    def _positions(self, sizes: tuple[int, ...]) -> tuple[int, int]:
        """H and W of the planes of streams of these sizes."""
        height, width, *crop = sizes
        return height * self.tile.h - crop[0], width * self.tile.w - crop[1]

    def _levels(self, streams: Sequence[Bytes], sizes: tuple[int, ...]) -> torch.Tensor:
        """Levels [N, P, H', W'] of streams of these sizes."""
        levels, first = [], 0
        for batch in _batches(streams):
            levels.append(self._levels_of(batch, first, *sizes[:2]))
            first += len(batch)
        return torch.cat(levels)

    def _opened(
        self, data: Bytes | Bundle | Sequence[Bytes], max_values: int
    ) -> tuple[list[Bytes], tuple[int, ...]]:
        """The streams in what ``decode`` is given, and ``SIZES`` of their images, () without any.

        One is opened after the other, so that a wrong one costs nothing of those behind it. Raises
        StreamError unless they are the codec's, hold images of one size, and together no more than
        max_values values.
        """
        streams: list[Bytes] = []
        first: tuple[int, ...] = ()
        found = streams_in(data, lambda left, image: self._stream_info(left, image)["size"])
        for image, stream in enumerate(found):
            sizes = self._sizes(stream, image)
            self._check_values(image, sizes, max_values)
            first = first or sizes
            if sizes != first:
                raise StreamError(
                    "the streams hold images of different sizes; decode them one by one"
                )
            streams.append(stream)
        return streams, first

    def _stream_info(self, data: Bytes, image: int) -> dict[str, Any]:
        """``Coder.stream_info`` of a stream; ``image`` is for what is said of damage."""
        try:
            return self.coder.stream_info(data)
        except StreamError as error:
            raise StreamError(f"stream of image {image}: {error}") from None

    def _sizes(self, stream: Bytes, image: int) -> tuple[int, ...]:
        """``SIZES`` of a stream. Raises StreamError where it is not one of this codec."""
        info = self._stream_info(stream, image)
        height, width, *crop = (info[key] for key in SIZES)
        wrong = ""
        if info["size"] != len(stream):
            wrong = "the bytes do not end with it"
        elif not stream or not height or not width:
            wrong = "it holds an image without pixels"
        elif crop[0] >= self.tile.h or crop[1] >= self.tile.w:
            wrong = "its block padding is not that of the codec's blocks"
        if wrong:
            raise StreamError(f"stream of image {image}: {wrong}")
        return height, width, *crop

    def _levels_of(
        self, batch: Sequence[Bytes], first: int, height: int, width: int
    ) -> torch.Tensor:
        """Levels [N, K, height, width] of streams; the first one is that of image ``first``."""
        sizes = torch.tensor([len(stream) for stream in batch])
        rows = torch.zeros(len(batch), int(sizes.max()), dtype=torch.uint8)
        for row, stream in zip(rows, batch, strict=True):
            row[: len(stream)] = torch.frombuffer(bytearray(stream), dtype=torch.uint8)
        data, used = rows.to(self.device), sizes.to(self.device)
        symbols, status = self.coder.decode_unchecked(data, used, height, width)
        ops.check_status(status, first)
        return self.symbol_map.levels(symbols)

    def _check_values(self, image: int, sizes: tuple[int, ...], max_values: int) -> None:
        """StreamError where images up to this one have more values than ``max_values``."""
        of_position = max(
            self.symbol_map.planes,
            self.tile.size(self.channels) * self.tile.groups(self.channels),
        )
        values = (image + 1) * sizes[0] * sizes[1] * of_position
        if values > max_values:
            raise StreamError(
                f"stream of image {image}: {image + 1} images of this size have {values} values, "
                f"more than max_values = {max_values}"
            )

    def _restored(self, planes: torch.Tensor, shape: Sequence[int] | None) -> torch.Tensor:
        """The tensor of these planes [N, C, H, W]."""
        images, _, *positions = planes.shape
        if shape and min(shape) < 0:
            raise ValueError(f"decode: no tensor has the shape {list(shape)}")
        whole = torch.empty(tuple(shape or self._shape(images, positions)), device="meta")
        if whole.dim() != self.rank or self.layout.planes(whole).shape != planes.shape:
            raise ValueError(f"decode: the streams are not of a tensor {list(whole.shape)}")
        return self.layout.restored(planes, whole.shape)

    def _shape(self, images: int, positions: list[int]) -> list[int]:
        """Of the tensor of this rank whose planes have these positions, H and W."""
        if self.rank > 4:
            raise ValueError(f"decode: give the shape of the tensor, of {self.rank} dimensions")
        shape = [images, *positions[4 - self.rank :]]
        shape.insert(self.layout.channels, self.channels)
        return shape

    def _check(self, x: torch.Tensor) -> None:
        if x.dim() != self.rank or x.shape[self.layout.channels] != self.channels:
            wanted = ["N" if d == self.layout.batch else "*" for d in range(self.rank)]
            wanted[self.layout.channels] = str(self.channels)
            raise ValueError(
                f"encode: expected a tensor [{', '.join(wanted)}], got {list(x.shape)}"
            )
        if x.device != self.device:
            raise ValueError(f"encode: the codec is on {self.device}, the tensor on {x.device}")
        if not x.is_floating_point():
            raise ValueError(f"encode: expected a floating-point tensor, got {x.dtype}")
        if len(x) and not x.numel():
            raise ValueError(f"encode: images without pixels, {list(x.shape)}")
        if not all_finite(x):
            raise ValueError("encode: the tensor contains NaN or Inf")

    # -- Saved codecs ------------------------------------------------------------------------------

    def save(self, path: str | PathLike) -> None:
        """Write the codec to a safetensors file; see ``load``.

        Args:
            path: The file.
        """
        Archive({"kind": "tensor"}, {"tensor": self.packed()}).write(path)

    @staticmethod
    def load(path: str | PathLike, max_bytes: int = MAX_BYTES) -> TensorCodec:
        """Read a codec written by ``save``.

        Args:
            path: The file.
            max_bytes: Of the file, at most.

        Raises:
            StorageError: Any other file.
        """
        archive = Archive.read(path, max_bytes)
        if archive.header.get("kind") != "tensor":
            raise StorageError(
                f"{path} holds the codecs of a model; load it with fmtc.load(path, model)"
            )
        codec = unpacked_codecs(archive, str(path)).get("tensor")
        if not isinstance(codec, TensorCodec):
            raise StorageError(f"{path} is damaged: it holds no codec of a tensor")
        return codec

    def packed(self) -> tuple[Scalars, Tensors]:
        """The scalars and tensors of an archive's layer."""
        coding, tensors = self._coding_stages()
        tensors["histogram"] = self.histogram
        for stage in (self.transform, self.moments):
            if stage is not None:
                tensors |= stage.packed()
        scalars = {
            "plain": False,
            **coding,
            "channels": self.channels,
            "block": str(self.block),
            "groups": self.transform.groups,
            "mse": self.mse,
            "values": self.values,
            "clamped": self.clamped,
            "rank": self.rank,
            "channel_dim": self.layout.channels,
        }
        return scalars, tensors

    @classmethod
    def unpacked(cls, layer: Scalars, tensors: Tensors) -> TensorCodec:
        """From such scalars and tensors.

        Raises:
            ValueError: The parts do not fit together.
        """
        channels, groups = integer(layer["channels"], 1), integer(layer["groups"], 0)
        rank, channel_dim = integer(layer["rank"], 2), integer(layer["channel_dim"], 1)
        require(channel_dim < rank <= MOST_DIMENSIONS, f"channels in dimension {channel_dim}")
        block = Block.parse(layer["block"])
        size = block.size(channels)
        if groups:
            require(groups == block.groups(channels), f"{groups} channel groups")
            transform = Transform.unpacked(tensors, groups, size)
        else:
            require(size * block.groups(channels) == channels, f"no transform of blocks {block}")
            transform = Identity(channels)
        components = transform.components
        quantizer = unpacked_quantizer(layer, tensors, components)
        require(block.is_pixel or quantizer.size == 1, "its blocks")
        require(len(quantizer.each or range(components)) == components, "a step for each component")
        symbol_map = SymbolMap.unpacked(tensors, quantizer.planes(components))
        positions = PositionClasses.unpacked(tensors, symbol_map.planes)
        segments = positions.segments if positions else symbol_map.planes
        coder = Coder.unpacked(layer, tensors, segments, positions.count if positions else 1)
        class_of = typed(tensors, "class_of", torch.int64, 1)
        histogram = typed(tensors, "histogram", torch.int64, 2)
        require_tables("classes", class_of, histogram, segments)
        require(histogram.shape[1] == coder.counts.shape[1], "its levels")
        return cls(
            channels=channels,
            block=block,
            transform=transform,
            quantizer=quantizer,
            symbol_map=symbol_map,
            coder=coder,
            class_of=class_of,
            histogram=histogram,
            mse=number(layer["mse"]),
            values=integer(layer["values"], 0),
            clamped=integer(layer["clamped"], 0),
            moments=Moments.unpacked(tensors, groups, size),
            position_classes=positions,
            rank=rank,
            layout=Layout(channels=channel_dim),
        )


Codec = TensorCodec | PlainCodec


def unpacked_codecs(archive: Archive, source: str) -> dict[str, Codec]:
    """The codecs of an archive's layers. StorageError where they are no codecs."""
    with reading(source):
        plain = {type(layer["plain"]) for layer, _ in archive.layers.values()}
        require(plain <= {bool}, "a layer that is plain or not")
        require_tables_fit([own["counts"] for _, own in archive.layers.values() if "counts" in own])
        return {
            name: PlainCodec.unpacked(layer) if layer["plain"] else TensorCodec.unpacked(layer, own)
            for name, (layer, own) in archive.layers.items()
        }


def _batches(streams: Sequence[Bytes]) -> Iterator[Sequence[Bytes]]:
    """Streams that follow each other, as many as rows of one length take twice their bytes for."""
    first = longest = total = 0
    for last, stream in enumerate(streams):
        longest, total = max(longest, len(stream)), total + len(stream)
        if longest * (last + 1 - first) > 2 * total:
            yield streams[first:last]
            first, longest, total = last, len(stream), len(stream)
    yield streams[first:]
