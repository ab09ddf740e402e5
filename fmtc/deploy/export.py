"""A compressed network as an AOTInductor package, to run without Python.

The file (.pt2) holds two compiled models with the same input x [N, ...]:

``compressed``  really makes and decodes the streams. Its outputs are the tensors of the network's
                output in order, then ``used`` i64 [N, points], the bytes of each image's stream
                at each coding point, and ``status`` i32 [N, points], what decoding it said (0, or
                a number of csrc/core/status.h; its levels are then 0).
``plain``       the uncompressed network; the tensors of its output alone.

Both carry the same metadata, a JSON text under the key "fmtc": how an image becomes an input, names
of classes, the energy of a bit, ``measured``, the outputs that count and their means over the
calibration images, ``shown``, the number of the one whose classes are, and ``point``, a point of
the result schema whose figures are None until the package runs; its layers are the coding points.
Where the package runs, the library of the operators (libfmtc_ops.so) must have been loaded.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ..codec.plain import PlainCodec
from ..data.preprocess import parse_preprocess
from ..errors import ExportError
from ..evaluation.evaluate import blank_point
from ..evaluation.measures import classifier
from ..files import check_writable, write_atomically
from ..model.model import CompressedModel
from ..model.points import CodedPoint, CodingPoint, PlainPoint
from ..network.inputs import packing_of
from ..network.outputs import chosen_outputs, tensors
from ..results.energy import read_joules, write_joules

SCHEMA = "fmtc.package/1"
REFERENCE_SCHEMA = "fmtc.reference/1"
METADATA_KEY = "fmtc"
COMPRESSED, PLAIN = "compressed", "plain"


def export(
    compressed: CompressedModel,
    path: str | os.PathLike,
    example: Tensor,
    *,
    dynamic_batch: bool = True,
    preprocess: str | None = None,
    classes: Sequence[str] | None = None,
) -> None:
    """Write a compressed network as an AOTInductor package; compiling takes minutes.

    path: ends in .pt2. example: float32 [N, ...], an input of the size that the package shall take,
    on the device that it is for and that the networks are on; N is fixed, too, unless
    dynamic_batch. preprocess: how an image becomes an input (``fmtc.data.preprocess``), classes:
    names of the outputs; both are kept for who runs the package.
    Raises ExportError that names what cannot be exported, and ValueError for bad arguments; OSError
    where the file cannot be written, before anything is compiled if its folder is the reason.

    >>> fmtc.export(compressed, "m.pt2", images[:2], preprocess="resize=256,crop=224")
    """
    path = Path(path)
    if path.suffix != ".pt2":
        raise ValueError(f"export: the package must be named *.pt2, not {path.name!r}")
    if not isinstance(compressed, CompressedModel):
        raise ValueError(f"export: expected a compressed model, got {type(compressed).__name__}")
    _check_example(compressed, example)
    if preprocess is not None:
        parse_preprocess(preprocess)  # says what is wrong with it
    check_writable(path.parent)
    if dynamic_batch and len(example) == 1:
        example = example.expand(2, *example.shape[1:])  # a batch of one would be taken for fixed
    streaming = Streaming(compressed)
    models = {COMPRESSED: streaming, PLAIN: _Flat(compressed.reference)}
    programs = {
        name: _exported(model, example.contiguous(), dynamic_batch)
        for name, model in models.items()
    }
    metadata = _metadata(compressed, streaming, example, dynamic_batch, preprocess, classes)
    _write(path, programs, {METADATA_KEY: json.dumps(metadata)})


def export_reference(
    compressed: CompressedModel, path: str | os.PathLike, images: Tensor, *, batch: int = 25
) -> None:
    """Write what a compressed network makes of images, for ``fmtc_infer --check`` to compare with.

    path: a safetensors file. images: float32 [N, ...], preprocessed, in the order in which
    fmtc_infer takes the files: as they are named, those of a folder sorted by their paths. batch:
    that of fmtc_infer's ``--batch``, best also on as many threads: convolutions round otherwise
    in other batches, which can tip a decision between two classes. The file
    holds ``output`` [N, ...], the one whose classes are shown (the first that counts and has
    classes, or else the first that counts), ``plain``, that of the uncompressed network, and
    ``used`` i64 [N, points], the bytes of the streams. ValueError: images of another kind or
    number, a stream that does not decode.

    >>> fmtc.export_reference(compressed, "reference.safetensors", images)
    """
    _check_example(compressed, images)
    streaming, plain = Streaming(compressed), compressed.reference
    parts: dict[str, list[Tensor]] = {"output": [], "plain": [], "used": []}
    with torch.no_grad():
        shown = _shown(_measured(compressed, plain(images[:1])), plain(images[:1]))
        for x in images.split(batch):
            *outputs, used, status = streaming(x)
            if status.any():
                raise ValueError("export_reference: a stream does not decode")
            parts["output"].append(outputs[shown])
            parts["plain"].append(tensors(plain(x))[shown])
            parts["used"].append(used)
    made = {name: torch.cat(of).cpu() for name, of in parts.items()}
    write_atomically(path, save(made, {"schema": REFERENCE_SCHEMA}))


class Streaming(nn.Module):
    """A compressed network as a function of tensors alone: nothing is counted, nothing raises.

    Returns what the model ``compressed`` of a package does. shapes: [C, H, W] at each coding point,
    of the last call.
    """

    def __init__(self, compressed: CompressedModel):
        super().__init__()
        _check_constructs(compressed)
        self.names = list(compressed.points)
        self.notes = _Notes()
        points: dict[int, nn.Module] = {
            id(point): _StreamingPoint(point, name, self.notes)
            for name, point in compressed.points.items()
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
        return *outputs, used, status


class _Notes:
    """What the coding points of one call say, by name."""

    def __init__(self):
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.levels: dict[str, Tensor] = {}  # of coded points: int16 [N, K, H, W]
        self.streams: dict[str, Tensor] = {}  # of coded points: uint8 [N, bytes], the first used
        self.used: dict[str, Tensor] = {}
        self.status: dict[str, Tensor] = {}


class _StreamingPoint(nn.Module):
    """What CodedPoint and PlainPoint do in mode "stream"."""

    point: CodingPoint

    def __init__(self, point: CodingPoint, name: str, notes: _Notes):
        super().__init__()
        self.point, self.name, self.notes = point, name, notes

    def forward(self, x: Tensor) -> Tensor:
        point = self.point
        planes = point.layout.planes(x)
        if isinstance(point, CodedPoint):
            y, used, status = self._coded(point, planes)
        else:
            assert isinstance(point, PlainPoint)
            y, used, status = self._plain(point.codec, planes)
        self.notes.shapes[self.name] = (point.codec.channels, *map(int, planes.shape[2:]))
        self.notes.used[self.name], self.notes.status[self.name] = used, status
        return point.layout.restored(y, x.shape)

    def _coded(self, point: CodedPoint, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        codec = point.codec
        crop = codec.block.crop(*x.shape[2:])
        levels, _ = point.quantize(x)
        self.notes.levels[self.name] = levels
        data, used = codec.encode_levels(levels, crop)
        self.notes.streams[self.name] = data
        symbols, status = codec.coder.decode_unchecked(data, used, *levels.shape[2:])
        y = point.dequantize(codec.symbol_map.levels(symbols), crop, x.dtype)
        return y, used, status

    def _plain(self, codec: PlainCodec, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        levels, _ = codec.quantizer.quantize(x)
        size = x.shape[1:].numel() * codec.bits // 8
        used = torch.full((x.shape[0],), size, dtype=torch.int64, device=x.device)
        status = torch.zeros(x.shape[0], dtype=torch.int32, device=x.device)
        return codec.quantizer.dequantize(levels, x.dtype), used, status


class _Flat(nn.Module):
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


def _check_example(compressed: CompressedModel, example: Tensor) -> None:
    if packing_of(compressed.reference) is not None:
        raise ExportError("export: a package holds networks of one input; this one takes several")
    if not isinstance(example, Tensor) or example.dtype != torch.float32 or not example.numel():
        kind = getattr(example, "dtype", type(example).__name__)
        raise ValueError(f"export: the example must be a float32 tensor with images, got {kind}")
    try:
        with torch.no_grad():
            compressed.reference(example[:1])
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"export: the network does not take the example {list(example.shape)}: {error}"
        ) from error


def _check_constructs(compressed: CompressedModel) -> None:
    if not isinstance(compressed.network, torch.fx.GraphModule):
        raise ExportError(
            f"export: {type(compressed.reference).__name__} could be captured in parts alone, "
            "which a package cannot hold; rewrite its forward without control flow that depends "
            "on tensors, and compress again"
        )


@torch.no_grad()
def _exported(model: nn.Module, example: Tensor, dynamic_batch: bool):
    shapes = ({0: torch.export.Dim("batch", min=1)},) if dynamic_batch else None
    try:
        return torch.export.export(model.eval(), (example,), dynamic_shapes=shapes)
    except Exception as error:  # torch.export raises what it likes
        first = next((line for line in str(error).splitlines() if line.strip()), "")
        raise ExportError(
            f"export: torch.export cannot express the network: {type(error).__name__}: {first}"
        ) from error


def _metadata(compressed, streaming, example, dynamic_batch, preprocess, classes) -> dict:
    with torch.no_grad():
        output = compressed.reference(example[:1])
    outputs = tensors(output)
    measured = _measured(compressed, output)
    point = blank_point(compressed)
    for layer, shape in zip(point["layers"], streaming.shapes, strict=True):
        layer["shape"] = shape
    return {
        "schema": SCHEMA,
        "device": example.device.type,
        "torch": torch.__version__,
        "model": type(compressed.reference).__name__,
        "input_shape": list(example.shape[1:]),
        "batch": None if dynamic_batch else len(example),
        "outputs": [list(of.shape[1:]) for of in outputs],
        "measured": measured,
        "shown": _shown(measured, output),
        "preprocess": preprocess,
        "classes": None if classes is None else list(classes),
        "calibration_images": compressed.calibration_images,
        "joules_per_bit": {"write": write_joules(1), "read": read_joules(1)},
        "point": point,
    }


def _measured(compressed: CompressedModel, output: Any) -> list[dict[str, Any]]:
    """The outputs whose SNR counts, each by its number, with its mean over calibration images.

    What a function makes of the outputs is not exported; all of them count then.
    """
    choice = None if callable(compressed.outputs) else compressed.outputs
    means = compressed.output_means(choice)
    numbers = {id(tensor): number for number, tensor in enumerate(tensors(output))}
    return [
        {
            "name": name,
            "index": numbers[id(tensor)],
            "mean": None if name not in means else {
                "shape": list(means[name].shape), "values": means[name].flatten().tolist()
            },
        }
        for name, tensor in chosen_outputs(output, choice).items()
    ]  # fmt: skip


def _shown(measured: list[dict[str, Any]], output: Any) -> int:
    """The number of the output whose classes are shown, or of the first where there are none."""
    outputs = tensors(output)
    name = classifier({str(of["index"]): outputs[of["index"]] for of in measured})
    return measured[0]["index"] if name is None else int(name)


def _write(path: Path, programs: dict, metadata: dict[str, str]) -> None:
    """Compile the programs and put them into one file, which is there as a whole or not at all."""
    from torch._inductor import aot_compile
    from torch._inductor.package import package_aoti

    options = {
        "aot_inductor.package": True,
        "aot_inductor.metadata": metadata,
        "cpp.dynamic_threads": True,  # as many as where it runs, not as here
        # Convolutions as in eager mode give the very same levels. Channels last gains little and
        # rounds otherwise: one level that it moves changes all that are coded after it.
        "layout_optimization": False,
    }
    # A folder of its own: in inductor's, another export would put its metadata there.
    with tempfile.TemporaryDirectory(prefix="fmtc-export-") as folder:
        files = {
            name: aot_compile(
                program.module(),
                program.example_inputs[0],
                options={**options, "aot_inductor.output_path": os.path.join(folder, name)},
            )
            for name, program in programs.items()
        }
        package = Path(folder) / "package.pt2"
        package_aoti(str(package), files)  # type: ignore[arg-type]  # of aot_compile's results
        write_atomically(path, package.read_bytes())
