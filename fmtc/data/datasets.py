"""Images to calibrate and evaluate with: a folder, an ImageFolder, or an .npz.

`open_dataset` looks at what there is and checks the labels; pixels are read in batches when asked
for. `split` chooses which images calibrate and which are evaluated.
"""

from __future__ import annotations

import copy
import csv
import json
import zipfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .preprocess import Preprocess, parse_preprocess

__all__ = ["Dataset", "Preprocess", "open_dataset", "parse_preprocess", "split"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
DECODER_THREADS = 2
# What Pillow raises for a damaged file; SyntaxError is its word for a broken PNG.
DECODE_ERRORS = (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError)


class UnreadableImage(Exception):
    """An image that cannot be decoded; it is skipped, counted and named."""


class Dataset:
    """Images in a fixed order, decoded and preprocessed when asked for.

    Attributes: `path` as given; `names` one a image (a file relative to `path`, or an array index);
    `labels` class indices, or None; `skipped` names of the images found unreadable so far (shared
    with every `subset`).
    """

    def __init__(
        self,
        path: str | Path,
        names: Sequence[str],
        read: Callable[[str], Tensor],
        labels: Sequence[int] | None,
        preprocess: Preprocess,
    ) -> None:
        self.path = str(path)
        self.names = list(names)
        self.labels = None if labels is None else [int(label) for label in labels]
        self.preprocess = preprocess
        self.skipped: list[str] = []
        self.folders: list[str] | None = None  # classes of an ImageFolder without a class index
        self._read = read

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: Sequence[int]) -> Dataset:
        """The same data, restricted to `indices` in their order."""
        view = copy.copy(self)
        view.names = [self.names[i] for i in indices]
        if self.labels is not None:
            view.labels = [self.labels[i] for i in indices]
        return view

    def check_classes(self, num_classes: int) -> None:
        """ValueError where the labels cannot be those of a classifier of `num_classes` classes."""
        if self.folders is not None and len(self.folders) != num_classes:
            raise ValueError(
                f"{self.path} has {len(self.folders)} class folders, the model has {num_classes} "
                "classes; map the folders to class indices with a class index (--class-index FILE)"
            )
        for name, label in zip(self.names, self.labels or [], strict=False):
            if not 0 <= label < num_classes:
                raise ValueError(
                    f"{self.path}: {name} has label {label}, outside 0...{num_classes - 1}"
                )

    def batches(self, batch: int) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield (images float32 [n,C,H,W], labels int64 [n] or None), n <= `batch`, n > 0.

        The next batch is decoded while the caller works on this one. Unreadable images are left
        out and noted in `skipped`. ValueError: an image that the preprocessing does not fit, or
        images of different sizes in one batch.
        """
        if batch < 1:
            raise ValueError(f"a batch must hold at least 1 image, not {batch}")
        with ThreadPoolExecutor(DECODER_THREADS, thread_name_prefix="decode") as pool:
            pending: deque[tuple[range, list[Future]]] = deque()
            for start in range(0, len(self), batch):
                indices = range(start, min(start + batch, len(self)))
                pending.append((indices, [pool.submit(self._load, i) for i in indices]))
                if len(pending) == 2:
                    yield from self._collect(*pending.popleft())
            for indices, images in pending:
                yield from self._collect(indices, images)

    def tensor(self) -> tuple[Tensor, Tensor | None]:
        """Everything at once: (images [N,C,H,W], labels [N] or None), e.g. for calibration."""
        parts = list(self.batches(max(1, len(self))))
        if not parts:
            raise ValueError(f"{self.path}: no readable image among {len(self)}")
        return parts[0]

    def require_readable(self) -> Dataset:
        """Return self where at least one image can be decoded; ValueError otherwise."""
        for name in self.names:
            try:
                self._decode(name)
            except UnreadableImage:
                continue
            return self
        raise ValueError(f"{self.path}: no readable image among {len(self)} files")

    def _decode(self, name: str) -> Tensor:
        try:
            return self._read(name)
        except DECODE_ERRORS as error:
            raise UnreadableImage(name) from error

    def _load(self, index: int) -> Tensor:
        name = self.names[index]
        image = self._decode(name)
        try:
            return self.preprocess(image)
        except ValueError as error:
            raise ValueError(f"{self.path}: {name}: {error}") from error

    def _collect(
        self, indices: range, futures: list[Future]
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        images, kept = [], []
        for index, future in zip(indices, futures, strict=True):
            try:
                images.append(future.result())
                kept.append(index)
            except UnreadableImage as unreadable:
                if str(unreadable) not in self.skipped:
                    self.skipped.append(str(unreadable))
        if not images:
            return
        self._require_one_size(images, kept)
        labels = None if self.labels is None else torch.tensor([self.labels[i] for i in kept])
        yield torch.stack(images), labels

    def _require_one_size(self, images: list[Tensor], indices: list[int]) -> None:
        for image, index in zip(images, indices, strict=True):
            if image.shape != images[0].shape:
                sizes = [" x ".join(map(str, size.shape)) for size in (images[0], image)]
                raise ValueError(
                    f"{self.path}: images differ in size after preprocessing: "
                    f"{self.names[indices[0]]} is {sizes[0]}, {self.names[index]} is {sizes[1]}; "
                    "add resize= or crop="
                )


def open_dataset(
    path: str | Path,
    labels: str | Path | None = None,
    class_index: str | Path | None = None,
    preprocess: Preprocess | str | None = None,
    num_classes: int | None = None,
) -> Dataset:
    """Open images for calibration and evaluation.

    path: a flat folder of images (no labels, or `labels`); an ImageFolder (its subfolders, sorted
        by name, are the classes 0, 1, ...); or an .npz with `images`, uint8 [N,C,H,W] or [N,H,W,C]
        with 1 or 3 channels, and optionally `labels`, integer [N].
    labels: a CSV file with the header ``file,label``, by itself or inside `path`; only the images
        it lists are used.
    class_index: a JSON or CSV file that maps an ImageFolder's folder names to class indices.
    preprocess: a description (`fmtc.preprocess`) or None for torchvision's usual one.
    num_classes: the classifier's number of classes, to check the labels against.

    FileNotFoundError: no such path. ValueError: no readable image, labels that do not fit.
    """
    path = Path(path)
    if not isinstance(preprocess, Preprocess):
        preprocess = parse_preprocess(preprocess)
    if path.is_dir():
        dataset = _open_folder(path, labels, class_index, preprocess)
    elif not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    elif path.suffix.lower() == ".npz":
        if labels is not None or class_index is not None:
            raise ValueError(f"{path}: an .npz carries its own labels; leave out the label options")
        dataset = _open_npz(path, preprocess)
    else:
        raise ValueError(f"{path} is neither a folder of images nor an .npz file")
    if num_classes is not None:
        dataset.check_classes(num_classes)
    return dataset.require_readable()


def split(
    dataset: Dataset, calibration_images: int, images: int | None = None, seed: int = 0
) -> tuple[list[int], list[int]]:
    """Disjoint indices to calibrate with and to evaluate, drawn at random by `seed`.

    images: how many to evaluate; None is all that calibration leaves. The calibration images do
    not depend on `images`. ValueError where there are too few.
    """
    for what, count in (("calibration", calibration_images), ("evaluation", images)):
        if count is not None and count < 1:
            raise ValueError(f"at least 1 image is needed for {what}, not {count}")
    wanted = calibration_images + (1 if images is None else images)
    if wanted > len(dataset):
        rest = "at least 1" if images is None else images
        raise ValueError(
            f"{dataset.path} has {len(dataset)} images: too few for {calibration_images} to "
            f"calibrate and {rest} other to evaluate"
        )
    # RandomState, because numpy guarantees its sequence for ever: a split is part of a result.
    order = np.random.RandomState(seed).permutation(len(dataset)).tolist()
    end = None if images is None else calibration_images + images
    return order[:calibration_images], order[calibration_images:end]


def _open_folder(
    path: Path,
    labels: str | Path | None,
    class_index: str | Path | None,
    preprocess: Preprocess,
) -> Dataset:
    def read(name: str) -> Tensor:
        return _read_image(path / name)

    if labels is not None:
        names, values = _read_labels(_find(labels, path), path)
        return Dataset(path, names, read, values, preprocess)
    flat = _images_in(path)
    folders = sorted(p.name for p in path.iterdir() if p.is_dir() and p.name[0] != ".")
    members = {folder: _images_in(path / folder) for folder in folders}
    if flat and any(members.values()):
        raise ValueError(
            f"{path} has images ({flat[0]}) beside subfolders with images; give a folder of "
            "images, or one subfolder a class"
        )
    if any(members.values()):
        return _open_image_folder(path, members, class_index, read, preprocess)
    if not flat:
        raise ValueError(f"{path}: no image files ({', '.join(IMAGE_SUFFIXES)})")
    if class_index is not None:
        raise ValueError(f"{path} has no class folders for the class index {class_index} to map")
    return Dataset(path, flat, read, None, preprocess)


def _open_image_folder(
    path: Path,
    members: dict[str, list[str]],
    class_index: str | Path | None,
    read: Callable[[str], Tensor],
    preprocess: Preprocess,
) -> Dataset:
    if class_index is None:
        classes = {folder: index for index, folder in enumerate(members)}
    else:
        classes = _read_class_index(_find(class_index, path))
        for folder in members:
            if folder not in classes:
                raise ValueError(f"{class_index} has no class index for the folder {folder!r}")
    names = [f"{folder}/{file}" for folder, files in members.items() for file in files]
    values = [classes[folder] for folder, files in members.items() for _ in files]
    dataset = Dataset(path, names, read, values, preprocess)
    if class_index is None:
        dataset.folders = list(members)
    return dataset


def _open_npz(path: Path, preprocess: Preprocess) -> Dataset:
    try:
        with np.load(path, allow_pickle=False) as file:
            if "images" not in file:
                found = ", ".join(file.files) or "nothing"
                raise ValueError(f"no array 'images' (it has {found})")
            images = _channels_first(file["images"])
            labels = file["labels"] if "labels" in file else None
        if labels is not None:
            _check_label_array(labels, len(images))
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: {error}") from error

    def read(name: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images[int(name)]))

    return Dataset(path, [str(i) for i in range(len(images))], read, labels, preprocess)


def _channels_first(images: np.ndarray) -> np.ndarray:
    """uint8 [N,C,H,W] or [N,H,W,C] -> [N,C,H,W]; the dimension of 1 or 3 is the channels'."""
    shape = " x ".join(map(str, images.shape))
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(f"'images' must be uint8 with 4 dimensions, not {images.dtype} {shape}")
    if images.shape[1] in (1, 3):
        return images
    if images.shape[3] in (1, 3):
        return images.transpose(0, 3, 1, 2)
    raise ValueError(f"'images' ({shape}) must be NCHW or NHWC with 1 or 3 channels")


def _check_label_array(labels: np.ndarray, count: int) -> None:
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        shape = " x ".join(map(str, labels.shape)) or "a single number"
        raise ValueError(f"'labels' must be {count} integers, not {labels.dtype} {shape}")
    if count and labels.min() < 0:
        index = int(labels.argmin())
        raise ValueError(f"image {index} has label {labels[index]}, outside 0...")


def _images_in(folder: Path) -> list[str]:
    return sorted(
        p.name
        for p in folder.iterdir()
        if p.suffix.lower() in IMAGE_SUFFIXES and p.name[0] != "." and p.is_file()
    )


def _find(file: str | Path, folder: Path) -> Path:
    """`file` as given or, where there is none, inside `folder`."""
    for candidate in (Path(file), folder / file):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"no such file: {file} (nor {folder / file})")


def _read_image(path: Path) -> Tensor:
    """Decode to uint8 [3,H,W]."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())


def _read_rows(file: Path) -> list[list[str]]:
    with file.open(newline="", encoding="utf-8-sig") as stream:
        return [row for row in csv.reader(stream) if row]


def _read_labels(file: Path, folder: Path) -> tuple[list[str], list[int]]:
    rows = _read_rows(file)
    header = [cell.strip() for cell in rows[0]] if rows else []
    if header[:2] != ["file", "label"]:
        raise ValueError(f"{file}: the first line must be 'file,label', not {','.join(header)!r}")
    labels: dict[str, int] = {}
    for line, row in enumerate(rows[1:], start=2):
        name, label = (cell.strip() for cell in (row + [""])[:2])
        if not label.isdecimal():
            raise ValueError(f"{file}, line {line}: {name} has label {label!r}, not a class index")
        if name in labels:
            raise ValueError(f"{file}, line {line}: {name} is listed twice")
        if not (folder / name).is_file():
            raise ValueError(f"{file}, line {line}: there is no image {name} in {folder}")
        labels[name] = int(label)
    if not labels:
        raise ValueError(f"{file} lists no images")
    return list(labels), list(labels.values())


def _read_class_index(file: Path) -> dict[str, int]:
    """Folder name -> class index, from JSON or CSV.

    JSON: {"n01440764": 0, ...}, or {"0": ["n01440764", "tench"], ...} as torchvision's users know
    it. CSV: folder,index in each line, with or without a header.
    """
    try:
        if file.suffix.lower() != ".json":
            rows = _read_rows(file)
            header = 0 if rows and rows[0][1].strip().isdecimal() else 1
            return {row[0].strip(): int(row[1]) for row in rows[header:]}
        entries = json.loads(file.read_text(encoding="utf-8")).items()
        return dict(
            (value[0], int(key)) if isinstance(value, list) else (key, int(value))
            for key, value in entries
        )
    except (ValueError, IndexError, AttributeError, TypeError) as error:
        raise ValueError(
            f"{file} must map folder names to class indices, as JSON or CSV: {error}"
        ) from error
