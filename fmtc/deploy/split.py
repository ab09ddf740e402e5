"""A network cut in two: what its head makes goes to its tail as bytes.

docs/method.md, "Split networks".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import torch
from torch import fx, nn

from ..calibration.compressor import Compressor
from ..codec.bundle import Bundle
from ..config import CompressConfig
from ..errors import StorageError, StreamError, TraceError
from ..limits import MAX_BYTES, MAX_VALUES
from ..model.assemble import count_multiply_adds
from ..model.model import CompressedModel, load
from ..model.points import CodedPoint
from ..network.cut import crossing, groups_at, head_of, tail_of, written_by
from ..network.groups import AS_IT_IS
from ..ops import Bytes
from ..presets import Preset, StepPreset
from ..progress import Progress
from ..results.console import aligned
from ..targets import Agreement, Target, chosen_target

DEFAULT_TARGET = Agreement(0.99)


def split(
    model: nn.Module,
    at: str | Iterable[str],
    images: Any,
    target: Target | str | None = None,
    config: CompressConfig | Preset | str | None = None,
    *,
    bits: int | None = None,
    progress: Progress = False,
    input_fn: Callable[[Any], Any] | None = None,
    **options: Any,
) -> Split:
    """Cut ``model`` where some tensors cross, which are sent as streams; nothing else is quantised.

    The tensors' sensitivities are those of the tail, whose convolutions are refitted to decoded
    inputs.

    Args:
        model: The network.
        at: A layer or module whose output crosses, or several, such as the levels of a feature
            pyramid. Behind them the network must not read anything else that it made of its input.
        images: As for `fmtc.compress`.
        target: As for `fmtc.compress`, of the network's outputs. Default: ``fmtc.Agreement(.99)``.
        config: As for `fmtc.compress`.
        bits: As for `fmtc.compress`.
        progress: As for `fmtc.compress`.
        input_fn: As for `fmtc.compress`.
        **options: As for `fmtc.compress`.

    Returns:
        The head and the tail.

    Raises:
        ValueError: ``at`` is no cut; and what `fmtc.compress` raises.

    Example:
        >>> parts = fmtc.split(model, at="layer1", images=images, target=fmtc.Step(0.02))
        >>> data = parts.head(x)     # bytes
        >>> y = parts.tail(data)
        >>> parts.at, y.shape
        (('layer1.0',), torch.Size([4, 10]))
    """
    config = replace(CompressConfig.of(config, **options), exclude_bits=AS_IT_IS)
    chosen = chosen_target(target, bits)
    if chosen is None and isinstance(config.scheme, StepPreset):
        chosen = DEFAULT_TARGET
    compressor = Compressor(model, images, config, progress=progress, input_fn=input_fn)
    compressor.only(layers_at(compressor, at))
    return Split(compressor.compress(chosen, last=True))


def layers_at(compressor: Compressor, at: str | Iterable[str]) -> list[str]:
    """The layers that write the tensors of a cut. Raises ValueError where it is none."""
    names = [at] if isinstance(at, str) else list(at)
    prepared = compressor.prepared
    if prepared.parts != [""]:
        raise ValueError("a network that is captured in parts cannot be split")
    groups = groups_at(prepared.groups, names)
    others = crossing(prepared.graph(""), [group.output for group in groups])
    if others:
        missing = ", ".join(dict.fromkeys(written_by(node, prepared.groups) for node in others))
        raise ValueError(
            f"{', '.join(names)}: no cut, as behind it the network also reads {missing}; name "
            "these, too, or cut elsewhere (fmtc split --survey shows where)"
        )
    return [group.name for group in groups]


class Split:
    """A head and a tail, which may run on different machines: each loads the same file.

    `split` and `load_split` make it.

    Attributes:
        compressed: The whole of it in one network.
        at: The layers whose tensors cross.
        head: ``data = parts.head(x)``: the bytes of the `Bundle` (docs/stream_format.md) of the
            tensors that cross, of images [N, C, H, W]. Raises ValueError for NaN and Inf, and what
            the network raises for a shape that is not its.
        tail: ``y = parts.tail(data, size=(), max_values=...)``: the network's outputs for what its
            head made. ``size``: H and W of the images that the head was given, where they are not
            those of calibration. ``max_values``: of each tensor, at most. Raises StreamError for
            damaged bytes, those of another network or size, and more values.

    Example:
        >>> data = parts.head(x)
        >>> fmtc.Bundle.of(data).images
        4
        >>> parts.tail(data).shape
        torch.Size([4, 10])
    """

    def __init__(self, compressed: CompressedModel):
        self.compressed = compressed
        self.at = tuple(compressed.codecs)
        self.head, self.tail = Head(self), Tail(self)
        self._graphs: dict[tuple[int, ...], _Graphs] = {}
        self.graphs(())

    def to(self, *args: Any) -> Split:
        """Move it to a device or a type, as ``nn.Module.to`` does."""
        self.compressed.to(*args)
        self._graphs.clear()
        return self

    def save(self, path: str | PathLike) -> None:
        """Write codecs and settings (not the weights) to a safetensors file: `load_split`.

        Args:
            path: The file.
        """
        self.compressed.save(path)

    def graphs(self, size: Sequence[int]) -> _Graphs:
        """Head and tail for inputs of this height and width; () for those of calibration."""
        size = tuple(size)
        if size not in self._graphs:
            shape = self.compressed.input_shape
            shape = (shape[0], *(size or shape[1:]))
            parameter = next(self.compressed.network.parameters())
            example = torch.zeros(1, *shape, dtype=parameter.dtype, device=parameter.device)
            self._graphs[size] = _Graphs(self.compressed.network_for(example), self.at, example)
            self._graphs[shape[1:]] = self._graphs[size]
        return self._graphs[size]

    def report(self) -> SplitReport:
        """What crosses the cut, and what the head computes; ``print`` shows it as a table.

        Rates are those of what has passed the head since the last ``reset_statistics``, or of the
        calibration images before that.

        Example:
            >>> report = parts.report()
            >>> [tensor["layer"] for tensor in report.tensors]
            ['layer1.0']
        """
        return SplitReport.of(self)


class _Graphs:
    """The two networks for one size of inputs.

    points: by layer; shapes: of one image's tensors, channels and positions as planes.
    like: what leaves each point, of no images, on device "meta".
    """

    def __init__(self, network: nn.Module, at: Sequence[str], example: torch.Tensor):
        if not isinstance(network, fx.GraphModule):
            raise TraceError("a network that is captured in parts cannot be split")
        self.input_shape = tuple(example.shape[1:])
        modules = dict(network.named_modules())
        nodes = [node for node in network.graph.nodes if _is_point(modules.get(str(node.target)))]
        self.points: dict[str, CodedPoint] = dict(
            zip(at, (modules[str(node.target)] for node in nodes), strict=True)  # type: ignore[arg-type]
        )
        self.head = head_of(network, [node.all_input_nodes[0] for node in nodes])
        for path, module in list(self.head.named_modules()):
            if isinstance(module, CodedPoint):  # one tensor of the cut is made of another
                self.head.set_submodule(path, Simulated(module))
        self.tail = tail_of(network, nodes)
        with torch.no_grad():
            made = dict(zip(at, self.head(example), strict=True))
            self.like = [self.points[name].simulate(x)[:0].to("meta") for name, x in made.items()]
            self.shapes = {name: self.points[name].shape_of(x) for name, x in made.items()}
            whole = count_multiply_adds(network, example)
            self.multiply_adds = {"head": count_multiply_adds(self.head, example), "all": whole}


def _is_point(module: nn.Module | None) -> bool:
    return isinstance(module, CodedPoint)


class Simulated(nn.Module):
    """What a point's streams decode to, without streams."""

    def __init__(self, point: CodedPoint):
        super().__init__()
        self.point = point

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.point.simulate(x)


class Head:
    """The first part of a split network: images to bytes."""

    def __init__(self, parts: Split):
        self._parts = parts

    @torch.no_grad()
    def __call__(self, x: torch.Tensor) -> bytes:
        """The bundle (docs/stream_format.md) of the tensors that cross, of images [N, C, H, W].

        Raises ValueError for NaN and Inf, and what the network raises for a shape that is not its.
        """
        self._parts.compressed.check_input(x)
        made = self._parts.graphs(x.shape[2:])
        tensors = made.head(x)
        points = made.points.items()
        return bytes(
            Bundle({name: p.encode(y) for (name, p), y in zip(points, tensors, strict=True)})
        )


class Tail:
    """The second part of a split network: bytes to the network's outputs."""

    def __init__(self, parts: Split):
        self._parts = parts

    @torch.no_grad()
    def __call__(
        self,
        data: Bytes | Bundle,
        size: Sequence[int] = (),
        max_values: int = MAX_VALUES,
    ) -> Any:
        """The network's outputs for what its head made.

        size: H and W of the images that the head was given, where they are not those of
        calibration. max_values: of each tensor, at most. Raises StreamError for damaged bytes,
        those of another network or size, and more values.
        """
        made = self._parts.graphs(size)
        bundle = data if isinstance(data, Bundle) else Bundle.of(data)
        if list(bundle.names) != list(made.points):
            raise StreamError(
                f"the bundle holds {', '.join(bundle.names)}, and this tail takes "
                f"{', '.join(made.points)}"
            )
        tensors = []
        for (name, point), like in zip(made.points.items(), made.like, strict=True):
            streams = bundle[name]
            shape = point.decoded_shape(streams, like, max_values)
            if shape != like.shape[1:]:
                raise StreamError(
                    f"{name}: a tensor of {list(shape)} where the tail takes "
                    f"{list(like.shape[1:])}; of images of another size say so: "
                    "tail(data, size=(H, W))"
                )
            tensors.append(point.decode(streams, like, max_values))
        return made.tail(*tensors, (bundle.images, *made.input_shape))


@dataclass
class SplitReport:
    """What crosses a cut.

    Attributes:
        tensors: Of each tensor its layer, shape, bits a value and KiB an image.
        streams: Whether these are bytes of real streams, of images that have passed the head; else
            they are cross-entropies of the calibration images.
        multiply_adds: Of an image, in the head and in all of the network.
    """

    tensors: list[dict[str, Any]]
    streams: bool
    multiply_adds: dict[str, int]

    @classmethod
    def of(cls, parts: Split) -> SplitReport:
        report = parts.compressed.report()
        made = parts.graphs(())
        rate = "cross_entropy" if report.bits_per_value["stream"] is None else "stream"
        tensors = []
        for layer in report.layers:
            name, bits = layer["name"], layer["bits_per_value"][rate]
            shape = made.shapes[name]
            kib = bits * math.prod(shape) / 8 / 1024
            tensors.append({"layer": name, "shape": shape, "bits_per_value": bits, "kib": kib})
        return cls(tensors, rate == "stream", made.multiply_adds)

    @property
    def kib(self) -> float:
        """KiB an image, of all tensors together."""
        return sum(tensor["kib"] for tensor in self.tensors)

    def __str__(self) -> str:
        rows = [("layer", "shape", "bits", "KiB")]
        for t in self.tensors:
            shape = "x".join(map(str, t["shape"]))
            rows.append((t["layer"], shape, f"{t['bits_per_value']:.3f}", f"{t['kib']:.2f}"))
        rows.append(("total", "", "", f"{self.kib:.2f}"))
        head, whole = self.multiply_adds["head"], self.multiply_adds["all"]
        kind = "real streams" if self.streams else "cross-entropy of the calibration images"
        return (
            f"what crosses, an image ({kind})\n{aligned(rows)}\n"
            f"head: {head:,} of {whole:,} multiply-adds ({head / whole:.1%})"
        )


def load_split(path: str | PathLike, model: nn.Module, *, max_bytes: int = MAX_BYTES) -> Split:
    """What `Split.save` wrote, on its model; see `fmtc.load`.

    Args:
        path: The file.
        model: As for `fmtc.load`.
        max_bytes: Of the file, at most.

    Returns:
        The head and the tail.

    Raises:
        StorageError: As for `fmtc.load`; or the file holds a network that is not split.

    Example:
        >>> parts.save("split.safetensors")
        >>> fmtc.load_split("split.safetensors", model).at
        ('layer1.0',)
    """
    compressed = load(path, model, max_bytes=max_bytes)
    if compressed.config.exclude_bits != AS_IT_IS:
        raise StorageError(
            f"{path} holds a compressed network that is not split: fmtc.load reads it"
        )
    return Split(compressed)
