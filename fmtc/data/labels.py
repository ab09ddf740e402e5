"""Class indices of images: label files, lists of labels, and files that map folders to classes."""

from __future__ import annotations

import csv
import json
import operator
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def read_label_file(file: Path, folder: Path) -> tuple[list[str], list[int]]:
    """Images (relative to the folder) and their labels, of a CSV file with the header file,label.

    ``./a.png`` is ``a.png``. ValueError names the file and, where it can, the line: not UTF-8,
    another header, an image that is not there or listed twice, a label that is no class index.
    """
    try:
        rows = _read_rows(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{file} cannot be read as CSV in UTF-8: {error}") from error
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    if header[:2] != ["file", "label"]:
        raise ValueError(f"{file}: the first line must be 'file,label', not {','.join(header)!r}")
    labels: dict[str, int] = {}
    for line, row in rows[1:]:
        name, label = (cell.strip() for cell in (row + [""])[:2])
        if not label.isdecimal():
            raise ValueError(f"{file}, line {line}: {name} has label {label!r}, not a class index")
        name = Path(os.path.normpath(name)).as_posix()
        if name in labels:
            raise ValueError(f"{file}, line {line}: {name} is listed twice")
        if not (folder / name).is_file():
            raise ValueError(f"{file}, line {line}: there is no image {name} in {folder}")
        labels[name] = int(label)
    if not labels:
        raise ValueError(f"{file} lists no images")
    return list(labels), list(labels.values())


def check_labels(labels: Iterable[int], count: int) -> list[int]:
    """The labels as they are, one for each of so many images, as Python's integers.

    ValueError: another number of them, what is no integer, a negative one.
    """
    try:
        indices = [operator.index(label) for label in labels]
    except TypeError as error:
        raise ValueError(f"labels must be integers, one an image: {error}") from error
    if len(indices) != count:
        raise ValueError(f"there are {len(indices)} labels for {count} images")
    for image, label in enumerate(indices):
        if label < 0:
            raise ValueError(f"image {image} has label {label}, outside 0...")
    return indices


def check_label_array(labels: np.ndarray, count: int) -> list[int]:
    """The same of an array in a file, which must be integer [count]."""
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        shape = " x ".join(map(str, labels.shape)) or "a single number"
        raise ValueError(f"'labels' must be {count} integers, not {labels.dtype} {shape}")
    return check_labels(labels.tolist(), count)


def read_class_index(file: Path) -> dict[str, int]:
    """Folder name -> class index, from JSON or CSV. ValueError names the file.

    JSON: {"n01440764": 0, ...}, or {"0": ["n01440764", "tench"], ...} as torchvision's users know
    it. CSV: folder,index in each line, with or without a header.
    """
    try:
        if file.suffix.lower() != ".json":
            rows = [row for _, row in _read_rows(file)]
            header = 0 if rows and rows[0][1].strip().isdecimal() else 1
            return {row[0].strip(): int(row[1]) for row in rows[header:]}
        entries = json.loads(file.read_text(encoding="utf-8")).items()
        return dict(
            (value[0], int(key)) if isinstance(value, list) else (key, int(value))
            for key, value in entries
        )
    except (ValueError, IndexError, AttributeError, TypeError, csv.Error) as error:
        raise ValueError(
            f"{file} must map folder names to class indices, as JSON or CSV: {error}"
        ) from error


def _read_rows(file: Path) -> list[tuple[int, list[str]]]:
    """The rows that are not empty, with the numbers of their lines."""
    with file.open(newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream)
        return [(reader.line_num, row) for row in reader if row]
