"""A compressed network as a function of tensors alone, which can be exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..codec.codec import TensorCodec
from ..codec.plain import PlainCodec
from ..errors import ExportError
from ..model.model import CompressedModel
from ..model.points import CodedPoint, CodingPoint, PlainPoint, ReusingPoint
from ..network.outputs import tensors


class Streaming(nn.Module):
    """A compressed network as a function of tensors alone: nothing raises, nothing is remembered.

    Returns what the model ``compressed`` of a package does; statistics: with what is counted of all
    images. shapes: [C, H, W] at each coding point, of the last call.
    """

    def __init__(self, compressed: CompressedModel, statistics: bool = False):
        super().__init__()
        _check_constructs(compressed)
        self.names = list(compressed.points)
        self.notes = _Notes(statistics)
        names = {id(point): name for name, point in compressed.points.items()}
        points: dict[int, nn.Module] = {
            id(point): _StreamingPoint(point, names, self.notes)
            for point in compressed.points.values()
        }
        assert isinstance(compressed.network, torch.fx.GraphModule)
        self.network = _with_modules(compressed.network, points)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        return [self.notes.shapes[name] for name in self.names]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        outputs = tensors(self.network(x))
        used = torch.stack([self.notes.used[name] for name in self.names], 1)
        status = torch.stack([self.notes.status[name] for name in self.names], 1)
        if not self.notes.counting:
            return *outputs, used, status
        clamped = torch.stack([self.notes.clamped[name] for name in self.names])
        return *outputs, used, status, clamped, *self.notes.histograms.values()


class _Notes:
    """What the coding points of one call say, by name; counting: how often their levels occur.

    keeps_levels: the levels, too, which only tests need.
    """

    def __init__(self, counting: bool):
        self.counting, self.keeps_levels = counting, False
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.levels: dict[str, Tensor] = {}  # of coded points: int16 [N, K, H, W]
        self.streams: dict[str, Tensor] = {}  # of coded points: uint8 [N, bytes], the first used
        self.used: dict[str, Tensor] = {}
        self.status: dict[str, Tensor] = {}
        self.clamped: dict[str, Tensor] = {}  # i64 []
        self.histograms: dict[str, Tensor] = {}  # of coded points: i64 [classes, L]


class _StreamingPoint(nn.Module):
    """What CodedPoint and PlainPoint do in mode "stream"."""

    point: CodingPoint

    def __init__(self, point: CodingPoint, names: dict[int, str], notes: _Notes):
        super().__init__()
        self.point, self.name, self.notes = point, names[id(point)], notes
        self.source = names[id(point.source)] if isinstance(point, ReusingPoint) else ""

    def forward(self, x: Tensor) -> Tensor:
        point = self.point
        planes = point.layout.planes(x)
        if isinstance(point, ReusingPoint):
            y, used, status = self._reused(point, planes)
        elif isinstance(point, CodedPoint):
            y, used, status = self._coded(point, planes)
        else:
            assert isinstance(point, PlainPoint)
            y, used, status = self._plain(point.codec, planes)
        self.notes.shapes[self.name] = (point.codec.channels, *map(int, planes.shape[2:]))
        self.notes.used[self.name], self.notes.status[self.name] = used, status
        return point.layout.restored(y, x.shape)

    def _coded(self, point: CodedPoint, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coded = point.stream(x, self.notes.counting)
        if self.notes.keeps_levels:
            self.notes.levels[self.name], _ = point.quantize(x)
        self.notes.clamped[self.name], self.notes.streams[self.name] = coded.clamped, coded.data
        if coded.histogram is not None:
            self.notes.histograms[self.name] = coded.histogram
        return coded.y, coded.used, coded.status

    def _reused(self, point: ReusingPoint, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        notes, name, source = self.notes, self.name, self.source
        for of in (notes.levels, notes.streams):
            if source in of:
                of[name] = of[source]
        if source in notes.histograms:
            notes.histograms[name] = notes.histograms[source].clone()
        notes.clamped[name] = torch.zeros_like(notes.clamped[source])
        return point.pass_planes(x), notes.used[source], notes.status[source]

    def _plain(self, codec: PlainCodec, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels, clamped = codec.quantizer.quantize(x)
        self.notes.clamped[self.name] = clamped
        size = x.shape[1:].numel() * codec.bits // 8
        used = torch.full((x.shape[0],), size, dtype=torch.int64, device=x.device)
        status = torch.zeros(x.shape[0], dtype=torch.int32, device=x.device)
        return codec.quantizer.dequantize(levels, x.dtype), used, status


class Flat(nn.Module):
    """A network whose output is the tensors of its output, in order."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensors(self.network(x)))


def _with_modules(network: torch.fx.GraphModule, of: dict[int, nn.Module]) -> torch.fx.GraphModule:
    """The same graph with other modules in the place of some, by their id; weights are shared."""
    found = network.named_modules(remove_duplicate=False)  # one module may have several names
    modules = {name: of.get(id(m), m) for name, m in found}
    used = {node.target for node in network.graph.nodes if node.op == "call_module"}
    root = {name: module for name, module in modules.items() if name in used}
    for node in network.graph.nodes:
        if node.op == "get_attr":
            owner, _, last = node.target.rpartition(".")
            root[node.target] = getattr(network.get_submodule(owner), last)
    return torch.fx.GraphModule(root, network.graph)


def _check_constructs(compressed: CompressedModel) -> None:
    if not isinstance(compressed.network, torch.fx.GraphModule):
        raise ExportError(
            f"export: {type(compressed.reference).__name__} could be captured in parts alone, "
            "which a package cannot hold; rewrite its forward without control flow that depends "
            "on tensors, and compress again"
        )
    coders = [codec.coder for codec in compressed.codecs.values() if isinstance(codec, TensorCodec)]
    own = {coder.name for coder in coders if coder.stream_coder is None}
    if own:
        raise ExportError(
            f"export: coder '{own.pop()}' is code in Python, which a package cannot hold; compress "
            "with one of fmtc's own"
        )
