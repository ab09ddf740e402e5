"""Files of codecs: safetensors whose metadata hold a description; knows nothing of codecs.

A layer is its name, its scalars and its tensors; docs/codec_format.md says what they are.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ..errors import StorageError, UnknownNameError
from ..files import write_atomically
from ..limits import MAX_BYTES, check_file_size

SCHEMA = "fmtc.codec/6"
# Its checksum is over what Python writes for the settings; whoever reads them writes them again.
SCHEMA_BEFORE = "fmtc.codec/5"
# The types of tensors, as safetensors names them.
TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
# What parts that are missing, of another type or not those of a codec lead to.
DAMAGE = (LookupError, TypeError, ValueError, AttributeError, RuntimeError, ArithmeticError)

Scalars = dict[str, Any]
Tensors = dict[str, torch.Tensor]


@dataclass
class Archive:
    """What a file holds: ``header`` (kind and more), ``layers`` by name, other tensors."""

    header: Scalars
    layers: dict[str, tuple[Scalars, Tensors]]
    more: Tensors = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """The bytes of the file."""
        tensors = {name: _plain(value) for name, value in self.more.items()}
        layers = []
        for i, (name, (scalars, parts)) in enumerate(self.layers.items()):
            layers.append({"name": name, **scalars})
            tensors |= {f"{i}.{key}": _plain(value) for key, value in parts.items()}
        description = json.dumps({**self.header, "layers": layers}, allow_nan=False)
        said = {
            "schema": SCHEMA,
            "checksum": checksum(description, tensors),
            "description": description,
        }
        return save_tensors(tensors, {"fmtc": json.dumps(said)})

    def write(self, path: str | PathLike) -> None:
        write_atomically(path, self.to_bytes())

    @classmethod
    def read(cls, path: str | PathLike, max_bytes: int = MAX_BYTES) -> Archive:
        """Of a file of at most max_bytes bytes.

        Raises StorageError that names the file: missing, damaged, too large, of another version.
        """
        try:
            check_file_size(path, max_bytes)
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            raise StorageError(f"{path} does not exist") from None
        except (SafetensorError, OSError) as error:
            raise StorageError(f"{path} is not a readable safetensors file: {error}") from error
        except ValueError as error:
            raise StorageError(str(error)) from None
        return cls._of(str(path), metadata, tensors)

    @classmethod
    def of_bytes(cls, data: bytes, source: str = "the codec") -> Archive:
        """The archive of the bytes of a file."""
        with reading(source):
            tensors = load_tensors(data)
            size = int.from_bytes(data[:8], "little")
            metadata = json.loads(data[8 : 8 + size]).get("__metadata__", {})
        return cls._of(source, metadata, tensors)

    @classmethod
    def _of(cls, source: str, metadata: Mapping[str, str], tensors: Tensors) -> Archive:
        if "fmtc" not in metadata:
            raise StorageError(f"{source} is a safetensors file, but not one that fmtc saved")
        with reading(source):
            header = _description(source, json.loads(metadata["fmtc"]), tensors)
            layers = header.pop("layers")
            parts: dict[str, tuple[Scalars, Tensors]] = {}
            for i, layer in enumerate(layers):
                own = {key: value for key, value in layer.items() if key != "name"}
                parts[layer["name"]] = own, _with_prefix(tensors, f"{i}.")
            prefixes = tuple(f"{i}." for i in range(len(layers)))
            more = {key: value for key, value in tensors.items() if not key.startswith(prefixes)}
        return cls(header, parts, more)


@contextmanager
def reading(source: str) -> Iterator[None]:
    """StorageError for whatever is wrong with what is read from ``source`` meanwhile."""
    try:
        yield
    except StorageError:
        raise
    except UnknownNameError as error:
        raise StorageError(f"{source} needs what is not registered here: {error}") from error
    except (SafetensorError, *DAMAGE) as error:
        raise StorageError(f"{source} is damaged: {error!r}") from error


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """As safetensors wants them: on the CPU, contiguous, sharing memory with no other."""
    return tensor.detach().cpu().contiguous().clone()


def _with_prefix(tensors: Tensors, prefix: str) -> Tensors:
    start = len(prefix)
    return {key[start:]: value for key, value in tensors.items() if key.startswith(prefix)}


def _description(source: str, parts: Scalars, tensors: Tensors) -> Scalars:
    """What a file describes, whose checksum is right. StorageError where it is not."""
    schema = parts.get("schema")
    if schema == SCHEMA:
        description = parts["description"]
        require(isinstance(description, str), "its description")
        _compare(source, parts["checksum"], checksum(description, tensors))
        return json.loads(description, parse_constant=_refuse)
    if schema == SCHEMA_BEFORE:
        header = {key: value for key, value in parts.items() if key not in ("schema", "checksum")}
        _compare(source, parts["checksum"], _checksum_before(header["layers"], tensors))
        return header
    raise StorageError(
        f"{source} has schema {schema!r}, this version of fmtc reads {SCHEMA!r} and "
        f"{SCHEMA_BEFORE!r}: make the codec anew, with fmtc.compress or fmtc.calibrate_tensor"
    )


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant}, which is no JSON")


def _compare(source: str, said: Any, found: int) -> None:
    if said != found:
        raise StorageError(f"{source} is damaged: its checksum is wrong")


def checksum(description: str, tensors: Tensors) -> int:
    """CRC-32 of the description, and of all tensors by name: what and where they are, and bytes."""
    crc = zlib.crc32(description.encode())
    for name, tensor in sorted(tensors.items()):
        shape = ",".join(map(str, tensor.shape))
        crc = zlib.crc32(f"{name}\n{TYPES[tensor.dtype]}\n{shape}\n".encode(), crc)
        crc = zlib.crc32(_bytes_of(tensor), crc)
    return crc


def _checksum_before(layers: Iterable[Scalars], tensors: Tensors) -> int:
    """CRC-32 of all tensors by name and of the layers' settings, as SCHEMA_BEFORE has it."""
    crc = zlib.crc32(json.dumps(layers, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(_bytes_of(tensor), zlib.crc32(name.encode(), crc))
    return crc


def _bytes_of(tensor: torch.Tensor) -> memoryview:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data


# -- Reading parts: a checksum says nothing of how a file was made ---------------------------------


def require(condition: bool, message: str) -> None:
    """ValueError with this message unless the condition holds."""
    if not condition:
        raise ValueError(message)


def integer(value: Any, least: int = -(2**63)) -> int:
    """A whole number from a header, at least ``least``."""
    require(type(value) is int and least <= value < 2**63, f"{value!r} as a whole number")
    return value


def number(value: Any) -> float:
    """A number from a header."""
    require(type(value) in (int, float), f"{value!r} as a number")
    return float(value)


def typed(tensors: Tensors, name: str, dtype: torch.dtype, dims: int) -> torch.Tensor:
    """A layer's tensor, of this type and number of dimensions."""
    tensor = tensors[name]
    found = tensor.dtype, tensor.dim()
    require(found == (dtype, dims), f"{name} of {found[0]}, {found[1]} dimensions")
    return tensor


def within(tensor: torch.Tensor, least: int, most: int) -> bool:
    """True where all values are in the range."""
    return bool(((tensor >= least) & (tensor <= most)).all())
