"""Saved codecs: a safetensors file whose metadata holds a JSON header.

Codecs are stored, not weights: the header carries a fingerprint of the model they belong to.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import zlib

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from ..codec.codec import Quantizer, TensorCodec
from ..codec.coders import Tables
from ..codec.positions import PositionClasses
from ..codec.prediction import SymbolMap
from ..codec.transform import Block, Identity, Moments, Transform
from ..errors import StorageError
from ..files import write_atomically
from ..network.fold import conv_like
from .points import PlainCodec

SCHEMA = "fmtc.codec/3"
# Version 1 knew Huffman tables of the levels alone, and no refitted convolutions; version 2 neither
# classes of positions nor layers without a transform or steps of single components.
READABLE = ("fmtc.codec/1", "fmtc.codec/2", SCHEMA)

# What parts that are missing, of another type or not those of a codec lead to.
DAMAGE = (LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError)

# Type and dimensions of a codec's tensors.
PARTS = {
    "table_of": (torch.int64, 1),
    "counts": (torch.int64, 2),
    "class_of": (torch.int64, 1),
    "histogram": (torch.int64, 2),
    "coefficients": (torch.int16, 2),
    "shifts": (torch.int64, 1),
    "position_weights": (torch.int32, 1),
    "position_thresholds": (torch.int64, 1),
    "matrix": (torch.float32, 2),
    "inverse": (torch.float32, 2),
    "mean": (torch.float64, 1),
    "count": (torch.int64, 0),
    "moment1": (torch.float64, 1),
    "moment2": (torch.float64, 2),
}


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over a model's layers with their settings, and all parameters and buffers."""
    digest = hashlib.sha256(type(model).__name__.encode())
    # Without the addresses that some representations show.
    digest.update(re.sub(r" at 0x[0-9a-f]+", "", repr(model)).encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def save_codec(codec: TensorCodec, path) -> None:
    """Write a bare tensor's codec."""
    _write(path, {"kind": "tensor"}, {"tensor": codec})


def load_codec(path) -> TensorCodec:
    header, codecs, _ = _read(path)
    if header["kind"] != "tensor":
        raise StorageError(
            f"{path} holds the codecs of a model; load it with fmtc.load(path, model)"
        )
    return codecs["tensor"]


def save_model(compressed, path) -> None:
    """Write the codecs and settings of a compressed model."""
    settings = {**compressed.settings, "mode": compressed.mode}
    header = {
        "kind": "model",
        "model": type(compressed.reference).__name__,
        "fingerprint": fingerprint(compressed.reference),
        "settings": settings,
    }
    refitted = {
        f"refit.{name}.{part}": getattr(conv, part).detach()
        for name, conv in compressed.refitted.items()
        for part in ("weight", "bias")
    }
    _write(path, header, compressed.codecs, refitted)


def load_model(path, model: nn.Module):
    header, codecs, tensors = _read(path)
    if header["kind"] != "model":
        raise StorageError(
            f"{path} holds a bare tensor's codec; load it with TensorCodec.load(path)"
        )
    if header["fingerprint"] != fingerprint(model):
        raise StorageError(
            f"{path} was made for another model ({header['model']} with other weights, or another "
            f"architecture than the given {type(model).__name__}): load the weights it was "
            "calibrated with, or calibrate anew with fmtc.compress"
        )
    try:
        return _assemble(path, model, header["settings"], codecs, tensors)
    except StorageError:
        raise
    except DAMAGE as error:
        raise StorageError(f"{path} does not fit its model: {error!r}") from error


def _assemble(path, model: nn.Module, settings: dict, codecs: dict, tensors: dict):
    from .model import assemble, prepare

    network, groups, _ = prepare(model, settings)
    missing = [group.name for group in groups if group.name not in codecs]
    if missing:
        raise StorageError(f"{path} has no codec for layer {missing[0]}: the file does not fit")
    refitted = {}
    for group in groups:
        group.side = settings.get("sides", {}).get(group.name, group.side)
        if f"refit.{group.name}.weight" in tensors:
            weight, bias = (tensors[f"refit.{group.name}.{part}"] for part in ("weight", "bias"))
            conv = network.get_submodule(group.conv.target)
            refitted[group.name] = conv_like(conv, weight, bias)
    return assemble(model, network, groups, codecs, settings, refitted)


def _write(path, header: dict, codecs: dict, more: dict[str, torch.Tensor] | None = None) -> None:
    tensors = {name: value.cpu().contiguous().clone() for name, value in (more or {}).items()}
    layers = []
    for i, (name, codec) in enumerate(codecs.items()):
        pack = _pack_plain if isinstance(codec, PlainCodec) else _pack
        scalars, parts = pack(codec)
        layers.append({"name": name, **scalars})
        tensors |= {f"{i}.{key}": value.cpu().contiguous().clone() for key, value in parts.items()}
    header = {"schema": SCHEMA, **header, "layers": layers, "checksum": _checksum(tensors, layers)}
    metadata = {"fmtc": json.dumps(header)}
    write_atomically(path, save(tensors, metadata))


def _read(path) -> tuple[dict, dict, dict[str, torch.Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise StorageError(f"{path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise StorageError(f"{path} is not a readable safetensors file: {error}") from error
    if "fmtc" not in metadata:
        raise StorageError(f"{path} is a safetensors file, but not one that fmtc saved")
    try:
        header = json.loads(metadata["fmtc"])
        if header.get("schema") not in READABLE:
            raise StorageError(
                f"{path} has schema {header.get('schema')!r}; this version reads "
                f"{', '.join(map(repr, READABLE))}"
            )
        if header["checksum"] != _checksum(tensors, header["layers"]):
            raise StorageError(f"{path} is damaged: its checksum is wrong")
        if header["kind"] == "model":
            header["fingerprint"], header["settings"]["input_shape"]  # must be there
        codecs = {
            layer["name"]: (_unpack_plain if layer["plain"] else _unpack)(layer, tensors, f"{i}.")
            for i, layer in enumerate(header["layers"])
        }
        if header["kind"] == "tensor":
            _require(isinstance(codecs["tensor"], TensorCodec), "a plain codec of a tensor")
        return header, codecs, tensors
    except StorageError:
        raise
    except DAMAGE as error:
        raise StorageError(f"{path} is damaged: {error!r}") from error


def _checksum(tensors: dict[str, torch.Tensor], layers: list[dict]) -> int:
    """CRC-32 of all tensors by name and of the layers' settings."""
    crc = zlib.crc32(json.dumps(layers, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        flat = tensor.contiguous().reshape(-1).view(torch.uint8)
        crc = zlib.crc32(flat.numpy(), zlib.crc32(name.encode(), crc))
    return crc


def _quantizer(quantizer: Quantizer) -> dict:
    each = {} if quantizer.each is None else {"each": quantizer.each}
    return {"step": quantizer.step, "lo": quantizer.lo, "hi": quantizer.hi, **each}


def _load_quantizer(layer: dict) -> Quantizer:
    if "each" in layer:
        quantizer = Quantizer.of_each(layer["each"])
    else:
        quantizer = Quantizer(layer["step"], layer["lo"], layer["hi"])
    for step, lo, hi in quantizer.each or [(quantizer.step, quantizer.lo, quantizer.hi)]:
        _require(0 < _number(step) < math.inf, f"a step of {step}")
        _require(-(2**15) <= _integer(lo) <= _integer(hi) < 2**15, f"levels from {lo} to {hi}")
    return quantizer


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _integer(value, least: int = -(2**63)) -> int:
    _require(type(value) is int and least <= value < 2**63, f"{value!r} as a whole number")
    return value


def _number(value) -> float:
    _require(type(value) in (int, float), f"{value!r} as a number")
    return float(value)


def _pack(codec: TensorCodec) -> tuple[dict, dict]:
    parts = {
        "table_of": codec.tables.table_of,
        "counts": codec.tables.counts,
        "class_of": codec.class_of,
        "histogram": codec.histogram,
        "coefficients": codec.symbol_map.coefficients,
        "shifts": codec.symbol_map.shifts,
    }
    if codec.position_classes is not None:
        parts["position_weights"] = codec.position_classes.weights
        parts["position_thresholds"] = codec.position_classes.thresholds
    for g, (matrix, inverse, mean) in enumerate(zip(*codec.transform.tensors(), strict=True)):
        parts |= {f"matrix.{g}": matrix, f"inverse.{g}": inverse, f"mean.{g}": mean}
    if codec.moments is not None:
        for g, (count, mean, m2) in enumerate(codec.moments.parts):
            parts |= {f"count.{g}": count, f"moment1.{g}": mean, f"moment2.{g}": m2}
    scalars = {
        "plain": False,
        **_quantizer(codec.quantizer),
        "coder": codec.tables.coder,
        **({"lane_values": codec.tables.lane_values} if codec.tables.lane_values else {}),
        "symbols_from": codec.tables.lo,
        "channels": codec.channels,
        "block": str(codec.block),
        "groups": len(codec.transform.matrices),
        "mse": codec.mse,
        "values": codec.values,
        "clamped": codec.clamped,
    }
    return scalars, parts


def _unpack(layer: dict, tensors: dict, prefix: str) -> TensorCodec:
    def part(name: str) -> torch.Tensor:
        tensor = tensors[prefix + name]
        kind = tensor.dtype, tensor.dim()
        _require(kind == PARTS[name.split(".")[0]], f"{name} of {kind[0]}, {kind[1]} dimensions")
        return tensor

    groups = range(_integer(layer["groups"], 0))
    transform = Identity(_integer(layer["channels"], 1))
    if groups:
        names = ("matrix", "inverse", "mean")
        transform = Transform(*([part(f"{n}.{g}") for g in groups] for n in names))
    moments = None
    if f"{prefix}count.0" in tensors:
        names = ("count", "moment1", "moment2")
        moments = Moments([tuple(part(f"{n}.{g}") for n in names) for g in groups])
    if f"{prefix}shifts" in tensors:
        symbol_map = SymbolMap(part("coefficients"), part("shifts"))
    else:
        symbol_map = SymbolMap.identity(transform.components)
    position_classes = None
    if f"{prefix}position_weights" in tensors:
        position_classes = PositionClasses(part("position_weights"), part("position_thresholds"))
    number = position_classes.count if position_classes else 1
    lo, coder = layer.get("symbols_from", layer["lo"]), layer.get("coder", "huffman")
    _require(-(2**15) <= _integer(lo) < 2**15, f"symbols from {lo}")
    lane_values = _integer(layer.get("lane_values", 0))  # its own choice, where a file has none
    codec = TensorCodec(
        channels=layer["channels"],
        block=Block.parse(layer["block"]),
        transform=transform,
        quantizer=_load_quantizer(layer),
        symbol_map=symbol_map,
        tables=Tables(lo, part("counts"), part("table_of"), coder, number, lane_values),
        class_of=part("class_of"),
        histogram=part("histogram"),
        mse=_number(layer["mse"]),
        values=_integer(layer["values"], 0),
        clamped=_integer(layer["clamped"], 0),
        moments=moments,
        position_classes=position_classes,
    )
    _check(codec)
    return codec


def _check(codec: TensorCodec) -> None:
    """ValueError unless the parts fit together: a checksum says nothing of how it was made."""
    transform, symbol_map, tables = codec.transform, codec.symbol_map, codec.tables
    classes, channels = codec.position_classes, codec.channels
    size, groups = codec.block.size(channels), codec.block.groups(channels)
    if isinstance(transform, Identity):
        _require(size * groups == channels, f"no transform of blocks {codec.block}")
    else:
        _require(len(transform.matrices) == groups, f"{groups} channel groups")
    for matrix, inverse, mean in zip(*transform.tensors(), strict=True):
        _require(matrix.shape[1] == size and matrix.T.shape == inverse.shape, "its matrices")
        _require(len(mean) == size, "its means")
        _require(all(t.isfinite().all() for t in (matrix, inverse, mean)), "NaN in its transform")
    if codec.moments is not None:
        for _, mean, m2 in codec.moments.parts:
            _require(mean.shape == (size,) and m2.shape == (size, size), "its moments")

    quantizer, components = codec.quantizer, codec.components
    _require(len(quantizer.each or range(components)) == components, "a step for each component")
    shifts, coefficients = symbol_map.shifts, symbol_map.coefficients
    _require(shifts.shape == (components,) and _within(shifts, 0, 15), "its shifts")
    _require(coefficients.shape == (components, 3), "its coefficients")
    _require(_within(coefficients, -256, 256), "its coefficients")
    segments = symbol_map.planes
    if classes is not None:
        _require(tables.coder == "rans" and 2 <= classes.count <= 8, "its classes of positions")
        _require(len(classes.weights) == symbol_map.planes, "weights of its classes of positions")
        _require(_within(classes.weights, 0, 2**15), "weights of its classes of positions")
        _require(bool((classes.thresholds.diff() >= 0).all()), "thresholds that are not sorted")
        segments = classes.segments
    for name, of, counts in (
        ("tables", tables.table_of, tables.counts),
        ("classes", codec.class_of, codec.histogram),
    ):
        _require(of.shape == (segments,), f"{name} for {segments} planes or segments")
        _require(_within(of, 0, len(counts) - 1), f"{name} from 0 to {len(counts) - 1}")
        _require(counts.shape[1] == tables.counts.shape[1], "its levels")
        _require(bool((counts >= 0).all()), "negative counts")


def _within(tensor: torch.Tensor, least: int, most: int) -> bool:
    return bool(((tensor >= least) & (tensor <= most)).all())


def _pack_plain(codec: PlainCodec) -> tuple[dict, dict]:
    scalars = {
        "plain": True,
        **_quantizer(codec.quantizer),
        "channels": codec.channels,
        "bits": codec.bits,
        "mse": codec.mse,
        "values": codec.values,
    }
    return scalars, {}


def _unpack_plain(layer: dict, tensors: dict, prefix: str) -> PlainCodec:
    return PlainCodec(
        _load_quantizer(layer),
        _integer(layer["bits"], 1),
        _integer(layer["channels"], 1),
        _number(layer["mse"]),
        _integer(layer["values"], 0),
    )
