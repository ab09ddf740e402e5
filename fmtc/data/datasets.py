"""Images to calibrate and evaluate with: a folder, an ImageFolder, or an .npz.

`open_dataset` looks at what there is and checks the labels; pixels are read in batches when asked
for. `split` chooses which images calibrate and which are evaluated.
"""

from __future__ import annotations

import copy
import os
import warnings
import zipfile
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..extras import require
from ..limits import MAX_BYTES
from .labels import check_label_array, check_labels, read_class_index, read_label_file
from .preprocess import Preprocess, parse_preprocess

__all__ = ["Dataset", "Preprocess", "open_dataset", "open_images", "parse_preprocess", "split"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
DECODER_THREADS = 2
MOST_EXPANSION = 4  # of an .npz of more than MAX_BYTES
# What Pillow raises for a damaged file; SyntaxError is its word for a broken PNG.
DECODE_ERRORS = (OSError, EOFError, SyntaxError, ValueError)

# A CSV file with the header file,label, or the class index of each image in their order.
Labels = str | os.PathLike[str] | Sequence[int]
PathLike = str | os.PathLike[str]


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
        path: PathLike,
        names: Sequence[str],
        read: Callable[[str], Tensor],
        labels: Sequence[int] | None,
        preprocess: Preprocess,
        stored: Callable[[str], bytes],
    ) -> None:
        self.path = str(path)
        self.names = list(names)
        self.labels = None if labels is None else [int(label) for label in labels]
        self.preprocess = preprocess
        self.skipped: list[str] = []
        self.folders: list[str] | None = None  # classes of an ImageFolder without a class index
        self._read, self._stored = read, stored

    def __len__(self) -> int:
        return len(self.names)

    def subset(self, indices: Sequence[int]) -> Dataset:
        """The same data, restricted to `indices` in their order."""
        view = copy.copy(self)
        view.names = [self.names[i] for i in indices]
        if self.labels is not None:
            view.labels = [self.labels[i] for i in indices]
        return view

    def contents(self) -> list[tuple[int, int]]:
        """What images are known by under any name: bytes and CRC-32 of each as it is stored.

        That is its file, or in an .npz its pixels [C, H, W]. OSError: a file is gone.
        """
        stored = map(self._stored, self.names)
        return [(len(data), zlib.crc32(data)) for data in stored]

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
    path: PathLike,
    labels: Labels | None = None,
    class_index: PathLike | None = None,
    preprocess: Preprocess | str | None = None,
    num_classes: int | None = None,
) -> Dataset:
    """Open images for calibration and evaluation.

    path: a flat folder of images (no labels, or `labels`); an ImageFolder as torchvision's: its
        subfolders, sorted by name, are the classes 0, 1, ..., and all images in and below them,
        also behind links, are theirs (what is hidden, by a name with a dot, is left out); or an
        .npz with `images`, uint8 [N,C,H,W] or [N,H,W,C] with 1 or 3 channels, and optionally
        `labels`, integer [N].
    labels: a CSV file with the header ``file,label``, by itself or inside `path`; only the images
        it lists are used, and a warning tells of others. Or a list, one class index for each image
        in the order of `names`.
    class_index: a JSON or CSV file that maps an ImageFolder's folder names to class indices.
    preprocess: a description (`fmtc.data.preprocess`) or None for torchvision's usual one.
    num_classes: the classifier's number of classes, to check the labels against.

    FileNotFoundError: no such path. ValueError: no readable image, labels that do not fit, an
    ImageFolder with a class that has no image. ImportError: Pillow is not there.
    """
    path = Path(path)
    if not isinstance(preprocess, Preprocess):
        preprocess = parse_preprocess(preprocess)
    label_file = listed = None
    if isinstance(labels, (str, os.PathLike)):
        label_file = labels
    else:
        listed = labels
    if path.is_dir():
        dataset = _open_folder(path, label_file, class_index, preprocess)
    elif not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    elif path.suffix.lower() == ".npz":
        if label_file is not None or class_index is not None:
            raise ValueError(f"{path}: an .npz carries its own labels; leave out the label options")
        dataset = _open_npz(path, preprocess)
    else:
        raise ValueError(f"{path} is neither a folder of images nor an .npz file")
    if listed is not None:
        _set_labels(dataset, listed, class_index)
    if num_classes is not None:
        dataset.check_classes(num_classes)
    return dataset.require_readable()


def open_images(paths: Sequence[PathLike], preprocess: Preprocess) -> Dataset:
    """Image files, and all images of folders and below, in this order; names are paths.

    FileNotFoundError: a path that is not there; ValueError: a folder without images.
    """
    names: list[str] = []
    for path in map(Path, paths):
        if not path.exists():
            raise FileNotFoundError(f"no such file or folder: {path}")
        found = [str(path / name) for name in _images_below(path)] if path.is_dir() else [str(path)]
        if not found:
            raise ValueError(f"{path}: no image files ({', '.join(IMAGE_SUFFIXES)})")
        names += found
    where = str(paths[0]) if len(paths) == 1 else f"{len(names)} images"
    return Dataset(
        where,
        names,
        lambda n: _read_image(Path(n)),
        None,
        preprocess,
        lambda n: Path(n).read_bytes(),
    )


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


def _set_labels(dataset: Dataset, labels: Sequence[int], class_index: PathLike | None) -> None:
    """Labels given as a list, instead of those that class folders have."""
    if class_index is not None:
        raise ValueError("give a list of labels or a class index, not both")
    if dataset.labels is not None and dataset.folders is None:
        raise ValueError(f"{dataset.path} carries its own labels; leave out the list of labels")
    try:
        dataset.labels = check_labels(labels, len(dataset))
    except ValueError as error:
        raise ValueError(f"{dataset.path}: {error}") from error
    dataset.folders = None


def _open_folder(
    path: Path, label_file: PathLike | None, class_index: PathLike | None, preprocess: Preprocess
) -> Dataset:
    def make(names: Sequence[str], labels: Sequence[int] | None) -> Dataset:
        def read(name: str) -> Tensor:
            return _read_image(path / name)

        return Dataset(
            path, names, read, labels, preprocess, lambda name: (path / name).read_bytes()
        )

    if label_file is not None:
        names, labels = read_label_file(_find(label_file, path), path)
        images = len(_images_below(path))
        if len(names) < images:
            warnings.warn(
                f"{label_file} lists {len(names)} of the {images} images in {path}: the others are "
                "left out",
                stacklevel=3,
            )
        return make(names, labels)
    flat = sorted(entry.name for entry in os.scandir(path) if _is_image(entry))
    folders = sorted(e.name for e in os.scandir(path) if e.is_dir() and not e.name.startswith("."))
    members = {folder: _images_below(path / folder) for folder in folders}
    if flat and any(members.values()):
        raise ValueError(
            f"{path} has images ({flat[0]}) beside subfolders with images; give a folder of "
            "images, or one subfolder a class"
        )
    if any(members.values()):
        return _open_image_folder(path, members, class_index, make)
    if not flat:
        raise ValueError(f"{path}: no image files ({', '.join(IMAGE_SUFFIXES)})")
    if class_index is not None:
        raise ValueError(f"{path} has no class folders for the class index {class_index} to map")
    return make(flat, None)


def _open_image_folder(
    path: Path,
    members: dict[str, list[str]],
    class_index: PathLike | None,
    make: Callable[[Sequence[str], Sequence[int]], Dataset],
) -> Dataset:
    empty = [folder for folder, files in members.items() if not files]
    if empty:
        # Counted as a class, it would shift the labels of those behind it.
        raise ValueError(f"{path}: no image in the class folder {', '.join(empty)}; remove it")
    if class_index is None:
        classes = {folder: index for index, folder in enumerate(members)}
    else:
        classes = read_class_index(_find(class_index, path))
        for folder in members:
            if folder not in classes:
                raise ValueError(f"{class_index} has no class index for the folder {folder!r}")
    names = [f"{folder}/{file}" for folder, files in members.items() for file in files]
    labels = [classes[folder] for folder, files in members.items() for _ in files]
    dataset = make(names, labels)
    if class_index is None:
        dataset.folders = list(members)
    return dataset


def _open_npz(path: Path, preprocess: Preprocess) -> Dataset:
    try:
        _check_unpacked(path)
        with np.load(path, allow_pickle=False) as file:
            if "images" not in file:
                found = ", ".join(file.files) or "nothing"
                raise ValueError(f"no array 'images' (it has {found})")
            images = _channels_first(file["images"])
            labels = check_label_array(file["labels"], len(images)) if "labels" in file else None
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path}: {error}") from error

    def read(name: str) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(images[int(name)]))

    def stored(name: str) -> bytes:
        return images[int(name)].tobytes()

    names = [str(i) for i in range(len(images))]
    return Dataset(path, names, read, labels, preprocess, stored)


def _check_unpacked(path: Path) -> None:
    """Raise ValueError for a small file whose arrays are large: some zeros, packed."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    most = max(MAX_BYTES, MOST_EXPANSION * path.stat().st_size)
    if unpacked > most:
        raise ValueError(f"its arrays take {unpacked} bytes, more than {most}")


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


def _is_image(entry: os.DirEntry[str]) -> bool:
    named = entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.name.startswith(".")
    return named and entry.is_file()


def _images_below(folder: Path) -> list[str]:
    """Images in a folder and all folders below it, in torchvision's order, relative to it.

    Links are followed, but into none of the folders that they are in.
    """
    found: dict[str, list[str]] = {}
    for root, folders, _ in os.walk(folder, followlinks=True):
        here = os.path.realpath(root)
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and not Path(here).is_relative_to(os.path.realpath(os.path.join(root, name)))
        ]
        found[root] = sorted(entry.name for entry in os.scandir(root) if _is_image(entry))
    return [
        (Path(root) / name).relative_to(folder).as_posix()
        for root in sorted(found)
        for name in found[root]
    ]


def _find(file: PathLike, folder: Path) -> Path:
    """`file` as given or, where there is none, inside `folder`."""
    for candidate in (Path(file), folder / file):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(f"no such file: {file} (nor {folder / file})")


def _read_image(path: Path) -> Tensor:
    """Decode to uint8 [3,H,W]. What is raised for a damaged file is in DECODE_ERRORS."""
    pillow = require("PIL.Image", "eval")
    try:
        with pillow.open(path) as image:
            if image.mode.startswith("I;16"):  # which Pillow would limit to 255, not scale
                upper = (np.asarray(image) >> 8).astype(np.uint8)
                return torch.from_numpy(upper).expand(3, -1, -1).clone()
            if image.mode in ("I", "F"):  # of no known range; Pillow would cut it to 0 ... 255
                raise ValueError(f"{path}: pixels of 32 bits, which may have any range")
            pixels = np.asarray(image.convert("RGB"))
    except pillow.DecompressionBombError as error:
        raise ValueError(str(error)) from error
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy())
