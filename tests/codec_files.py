"""Saved codecs with other contents behind a right checksum."""

from __future__ import annotations

import json

from safetensors import safe_open
from safetensors.torch import save_file

from fmtc.codec.archive import SCHEMA, checksum


def parts_of(path) -> dict:
    """What stands beside the description: schema, checksum, and the description as a string."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["fmtc"])


def description_of(path) -> dict:
    return json.loads(parts_of(path)["description"])


def tensors_of(path) -> dict:
    with safe_open(path, "pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118


def write(path, description, tensors, /, **parts) -> None:
    """A codec with this description, or its text, and these tensors. parts: that are not right."""
    text = description if isinstance(description, str) else json.dumps(description)
    crc = checksum(text, tensors)
    metadata = {"schema": SCHEMA, "checksum": crc, "description": text} | parts
    save_file(tensors, path, {"fmtc": json.dumps(metadata)})


def rewrite(path, change, /, **parts) -> None:
    """Changes a codec by ``change(description, tensors)``. parts: that are then not right."""
    description, tensors = description_of(path), tensors_of(path)
    change(description, tensors)
    write(path, description, tensors, **parts)
