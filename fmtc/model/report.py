"""Rates of a compressed network: what was counted at its coding points, in bits per value."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import torch

from .. import ops
from ..codec.codec import TensorCodec
from ..codec.counted import Counted
from ..network.coverage import Coverage
from ..results.console import aligned
from ..results.dram import dram_image_joules
from ..results.energy import image_joules
from ..results.result import PLAIN_BITS, RATES
from ..results.spectrum import drawn_histogram
from .points import CodingPoint, ReusingPoint


@dataclass
class Report:
    """Bits of all coding points, divided by all values of the original tensors.

    `CompressedModel.report` makes it; ``print`` shows it as a table. Where positions have classes,
    their map is among the symbols of all rates.

    Attributes:
        values: N*C*H*W summed over layers.
        clamped_fraction: Share of the values that were clamped.
        bits_per_value: By kind of rate (docs/method.md, "How bits are counted"): ``entropy`` one
            empirical histogram a layer (the paper's metric), ``entropy_classes`` one for each class
            of components, ``cross_entropy`` under the calibrated tables, ``huffman`` the calibrated
            code lengths (both count what is escaped as the nearest level in the tables), ``stream``
            the bytes produced, all side information included (None where no stream was made).
        multiply_adds: Of one image, of the network as it was ("plain") and compressed
            ("compressed").
        layers: The same for each layer, with the step, the number of kept components, how often it
            is read, ``mse``, the mean squared error of the decoded calibration tensors, and the
            ``histogram`` of its symbols as it is drawn (``fmtc.results.spectrum``), None where it
            is not known.
        written: What share of all that an image makes the network write this speaks of.
        uncoded_bits: Of a value of the rest, in ``bits_per_written_value``.
        nan_values: Those that were NaN, and became finite.
        calibration: Whether it is of the calibration images, as no others have been counted.
        reused: Of the layers that write the levels of another one again, so that they are coded
            once (docs/method.md, "Levels used again"): the name of that one.

    Example:
        >>> report = compressed.report()
        >>> [layer["name"] for layer in report.layers]
        ['conv1', 'layer1.0']
        >>> report.plot("layers.png")
    """

    values: int
    clamped_fraction: float
    bits_per_value: dict[str, float | None]
    multiply_adds: dict[str, int]
    layers: list[dict]
    written: Coverage
    uncoded_bits: float = PLAIN_BITS
    nan_values: int = 0
    calibration: bool = False
    reused: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        points: dict[str, CodingPoint],
        counted: dict[str, Counted],
        multiply_adds: dict[str, int],
        written: Coverage,
        uncoded_bits: float = PLAIN_BITS,
    ) -> Report:
        """Of what was counted at the points or, if that is nothing, of the calibration images."""
        calibration = not any(part.values for part in counted.values())
        if calibration:
            counted = {name: _from_calibration(point) for name, point in points.items()}
        bits = {name: _bits(points[name], c) for name, c in counted.items()}
        values = sum(c.values for c in counted.values())
        return cls(
            values=values,
            clamped_fraction=sum(int(c.clamped) for c in counted.values()) / max(values, 1),
            bits_per_value={
                rate: _mean([b[rate] for b in bits.values()], values) for rate in RATES
            },
            multiply_adds=dict(multiply_adds),
            layers=[_layer(name, points[name], counted[name], bits[name]) for name in points],
            written=written,
            uncoded_bits=uncoded_bits,
            nan_values=sum(c.nans for c in counted.values()),
            calibration=calibration,
            reused=_reused(points),
        )

    @property
    def bits_per_written_value(self) -> dict[str, float | None]:
        """The rates over all values that are written, coded or not."""
        share = self.written.share
        return {
            rate: None if b is None else share * b + (1 - share) * self.uncoded_bits
            for rate, b in self.bits_per_value.items()
        }

    @property
    def joules_per_image(self) -> dict[str, float | None]:
        """Energy in joules of writing and reading the tensors of an image, at each of these rates.

        See ``fmtc.results.energy``.
        """
        return {rate: image_joules(self.layers, rate) for rate in RATES}

    def dram_joules_per_image(self, power_down: bool = False) -> dict[str, float | None]:
        """The same for a DRAM, of which not all scales with the bits (``fmtc.results.dram``).

        Args:
            power_down: What it is in while nothing moves, instead of standby.
        """
        return {rate: dram_image_joules(self.layers, rate, power_down) for rate in RATES}

    def to_dict(self) -> dict:
        """The report as JSON can hold it, with the rates and energies that are made of it."""
        return {
            "values": self.values,
            "clamped_fraction": self.clamped_fraction,
            "nan_values": self.nan_values,
            "bits_per_value": self.bits_per_value,
            "written": self.written.to_dict(),
            "uncoded_bits": self.uncoded_bits,
            "bits_per_written_value": self.bits_per_written_value,
            "joules_per_image": self.joules_per_image,
            "multiply_adds": self.multiply_adds,
            "layers": self.layers,
        }

    def to_json(self, **options) -> str:
        """``to_dict`` as text; options are those of ``json.dumps``."""
        return json.dumps(self.to_dict(), **options)

    def plot(self, path) -> None:
        """Bar chart of bits per value by layer.

        Args:
            path: A PNG or SVG file.
        """
        from ..results.plot import layers

        layers(self.to_dict(), path, "Bits per value, layer by layer")

    def __str__(self) -> str:
        source = "calibration images" if self.calibration else "images run through the network"
        head = f"bits per value over {self.values:,} values of the {source}"
        columns = ["layer", "shape", "kept", *(rate.replace("_", " ") for rate in RATES)]
        rows = [
            [
                layer["name"],
                "x".join(map(str, layer["shape"])),
                "plain" if layer["components"] is None else str(layer["components"]),
                *(_number(layer["bits_per_value"][rate]) for rate in RATES),
            ]
            for layer in self.layers
        ]
        rows.append(["total", "", "", *(_number(self.bits_per_value[rate]) for rate in RATES)])
        coded = [layer for layer in self.layers if layer["components"] is not None]
        kept, channels = (
            sum(values)
            for values in (
                [layer["components"] for layer in coded],
                [layer["shape"][0] for layer in coded if layer["shape"]],
            )
        )
        ratio = self.multiply_adds["compressed"] / max(self.multiply_adds["plain"], 1)
        tail = (
            f"{kept:,} components kept for {channels:,} channels; "
            f"multiply-adds an image: {self.multiply_adds['plain']:,} plain, "
            f"{self.multiply_adds['compressed']:,} compressed ({ratio:.2f}x); "
            f"clamped: {self.clamped_fraction:.2e} of the values"
        )
        over_all = ", ".join(
            f"{rate.replace('_', ' ')} {_number(bits)}"
            for rate, bits in self.bits_per_written_value.items()
        )
        written = f"{self.written}; over all of them, the rest at {self.uncoded_bits:g} bits: "
        lines = [head, aligned([columns, *rows]), tail, *self._once(), written + over_all]
        return "\n".join([*lines, *self._energy()])

    def _once(self) -> list[str]:
        """A line of the layers that are coded with others; none if there are none."""
        if not self.reused:
            return []
        [name, of] = next(iter(self.reused.items()))
        return [
            f"{len(self.reused)} layer(s) write the levels of another one again, which are coded "
            f"once and counted for each: {name} those of {of}"
            + (", and others" if len(self.reused) > 1 else "")
        ]

    def _energy(self) -> list[str]:
        """A line of the energy at the rate of the streams, or of their codes; none if not known."""
        for rate in ("stream", "huffman"):
            kinds = (
                self.joules_per_image[rate],
                self.dram_joules_per_image()[rate],
                self.dram_joules_per_image(power_down=True)[rate],
            )
            paper, standby, power_down = (None if j is None else 1e3 * j for j in kinds)
            if paper is not None:
                return [
                    f"memory accesses for an image at the {rate} rate: {paper:.3g} mJ as the paper "
                    f"reckons; with all of a DRAM {standby:.3g} mJ, {power_down:.3g} mJ with "
                    "power-down"
                ]
        return []


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _mean(bits: list[float | None], values: int) -> float | None:
    """Total bits a value; None where any layer has none."""
    known = [b for b in bits if b is not None]
    return sum(known) / values if values and len(known) == len(bits) else None


def _reused(points: dict[str, CodingPoint]) -> dict[str, str]:
    names = {id(point): name for name, point in points.items()}
    reusing = {name: of for name, of in points.items() if isinstance(of, ReusingPoint)}
    return {name: names[id(of.source)] for name, of in reusing.items()}


def _from_calibration(point: CodingPoint) -> Counted:
    codec = point.codec
    if isinstance(codec, TensorCodec):
        histogram = codec.histogram.cpu()
        return Counted(histogram, codec.values, codec.clamped, shape=(codec.channels,))
    return Counted(None, codec.values, shape=(codec.channels,))


def _bits(point: CodingPoint, counted: Counted) -> dict[str, float | None]:
    """Bits of everything counted at a point, by kind of rate."""
    if not counted.values:
        return dict.fromkeys(RATES, 0.0)  # not reached by any image
    codec, by_class = point.codec, counted.histogram
    if not isinstance(codec, TensorCodec) or by_class is None:
        plain = float(PLAIN_BITS * counted.values)
        return {**dict.fromkeys(RATES, plain), "stream": _stream_bits(counted)}
    coder = codec.coder
    by_table = torch.zeros(coder.counts.shape, dtype=torch.int64)
    by_table.index_add_(0, codec.table_of_class, by_class)
    by_kind = torch.zeros_like(by_class).index_add_(0, codec.kind_of_class, by_class)
    return {
        "entropy": _entropy_bits(by_kind),
        "entropy_classes": _entropy_bits(by_class),
        "cross_entropy": float((by_table.double() * coder.cross_entropy_bits().cpu()).sum()),
        "huffman": float((by_table * coder.lengths.cpu().to(torch.int64)).sum()),
        "stream": _stream_bits(counted),
    }


def _entropy_bits(counts: torch.Tensor) -> float:
    return float((ops.entropy(counts) * counts.sum(1)).sum())


def _stream_bits(counted: Counted) -> float | None:
    """None unless everything that was counted went through streams."""
    return 8.0 * int(counted.stream_bytes) if counted.streamed == counted.values else None


def _layer(name: str, point: CodingPoint, counted: Counted, bits: dict) -> dict:
    codec = point.codec
    values = counted.values
    histogram = None
    if isinstance(codec, TensorCodec) and counted.histogram is not None:
        histogram = drawn_histogram(counted.histogram.sum(0), codec.coder.lo)
    return {
        "name": name,
        "shape": list(counted.shape),
        "components": codec.components if isinstance(codec, TensorCodec) else None,
        "values": values,
        "reads": point.reads,
        "step": codec.quantizer.step,
        "mse": codec.mse,
        "bits_per_value": {
            rate: None if b is None or not values else b / values for rate, b in bits.items()
        },
        "histogram": histogram,
    }
