"""`fmtc demo`: a small residual network on handwritten digits, trained here and compressed.

Nothing is downloaded: the digits come with scikit-learn (1797 images of 8x8 pixels, from UCI's
"Optical Recognition of Handwritten Digits"), enlarged to 32x32 so that the feature maps have sizes
worth coding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from ..calibration.compressor import Compressor
from ..evaluation.reference import Reference
from ..extras import require
from ..files import write_atomically
from ..progress import Progress, stage
from ..results.console import console, result_table
from ..results.page import PAGE_PACKAGES
from ..results.plot import rate_distortion
from ..results.result import new_result
from ..targets import SNR, Bits
from .command import out_folder
from .report import write_report
from .sweep import sweep

# The points of each preset's curve, over about the same SNRs.
CURVES = {
    "paper": tuple(Bits(b) for b in (4, 5, 6, 7)),
    "fmtc": tuple(SNR(decibels) for decibels in (10, 17, 25)),
}
CALIBRATION_IMAGES = 64
TEST_IMAGES = 500
IMAGE_SIZE = 32
EPOCHS = (5, 3)  # at half the size, at the full size
BATCH = 64
CACHE_NAME = "digits-resnet-v1-seed{seed}.safetensors"


class Digits(NamedTuple):
    """Images float32 [N,1,32,32], normalised; labels int64 [N]; no image is in both parts."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor


class DigitsResNet(nn.Module):
    """torchvision's residual network with one block a stage, three narrow stages, a 3x3 stem."""

    def __init__(self, width: int = 16, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = _block(width, width)
        self.layer2 = _block(width, 2 * width)
        self.layer3 = _block(2 * width, 4 * width)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        """[N,1,H,W] -> logits [N,classes]."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(torch.flatten(self.avgpool(x), 1))


def _block(channels: int, out_channels: int) -> nn.Module:
    """torchvision's residual block; one with more channels halves height and width."""
    resnet = require("torchvision.models.resnet", "eval")
    if channels == out_channels:
        return resnet.BasicBlock(channels, channels)
    shortcut = nn.Sequential(
        resnet.conv1x1(channels, out_channels, 2), nn.BatchNorm2d(out_channels)
    )
    return resnet.BasicBlock(channels, out_channels, stride=2, downsample=shortcut)


def digits_data(seed: int = 0) -> Digits:
    """scikit-learn's digits, split into 1297 to train with and 500 to test with."""
    pixels, classes = require("sklearn.datasets", "eval").load_digits(return_X_y=True)
    images = torch.tensor(pixels, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    images = F.interpolate(images, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear")
    images = (images - 0.5) / 0.5
    labels = torch.tensor(classes, dtype=torch.int64)
    train, test = require("sklearn.model_selection", "eval").train_test_split(
        range(len(labels)), test_size=TEST_IMAGES, random_state=seed, stratify=labels.numpy()
    )
    return Digits(images[train], labels[train], images[test], labels[test])


def digits_model(seed: int = 0, progress: Progress = False) -> DigitsResNet:
    """The trained network in evaluation mode: from the cache, or trained once and put there."""
    model = DigitsResNet()
    file = cache_folder() / CACHE_NAME.format(seed=seed)
    try:
        model.load_state_dict(safetensors.torch.load_file(file))
    except (OSError, SafetensorError, RuntimeError):
        # Not there yet, or damaged: training makes it anew.
        model = train(digits_data(), seed=seed, progress=progress)
        _put_into_cache(model, file)
    return model.eval()


def train(
    data: Digits, seed: int = 0, epochs: tuple[int, int] = EPOCHS, progress: Progress = False
) -> DigitsResNet:
    """Train from scratch; the same seed gives the same network, however many cores there are.

    epochs: how many at half the size, which costs a quarter, and then how many at the full size.
    """
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        model = DigitsResNet().train()
        steps = sum(epochs) * -(-len(data.train_images) // BATCH)
        optimizer = torch.optim.SGD(
            model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
        with stage(progress, "train", steps, "step") as advance:
            for images, labels in _training_batches(data, epochs):
                loss = F.cross_entropy(model(images), labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                advance(1)
    return model.eval()


def cache_folder() -> Path:
    """FMTC_CACHE, or fmtc in the user's cache folder."""
    if os.environ.get("FMTC_CACHE"):
        return Path(os.environ["FMTC_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fmtc"


def run_demo(out: str | Path, quiet: bool = False) -> None:
    """Train or fetch the network, compress it, print a table, write result.json and a figure.

    UsageError: `out` cannot be written into, or another process does; ImportError: a package of the
    extra is missing.
    """
    for package in ("matplotlib", "rich", "sklearn", "torchvision", *PAGE_PACKAGES):
        require(package, "eval")
    with out_folder(out):
        _run_demo(Path(out), not quiet)


def _run_demo(out: Path, progress: bool) -> None:
    model, data = digits_model(progress=progress), digits_data()
    test = (data.test_images, data.test_labels)
    reference = Reference(model, test, progress=progress)
    result = new_result(
        command=f"fmtc demo --out {out}",
        model="digits ResNet",
        dataset={
            "path": "scikit-learn's digits",
            "calibration_images": CALIBRATION_IMAGES,
            "evaluated_images": len(data.test_images),
        },
        seed=0,
        reference={"top1": reference.top1, "top5": reference.top5},
    )
    for preset, targets in CURVES.items():
        images = data.train_images[:CALIBRATION_IMAGES]
        sweep(
            Compressor(model, images, preset, progress=progress),
            targets,
            test,
            result,
            out / "result.json",
            reference=reference,
            batch=100,
            progress=progress,
        )
    figure = out / "rate_distortion.png"
    rate_distortion(result, figure)
    console().print(result_table(result))
    page = out / "report.html"
    write_report([out / "result.json"], page)
    print(f"wrote {out / 'result.json'}, {figure} and {page}")
    if progress:
        print(
            f"Open {page} in a browser; `fmtc eval --help` tells how to measure your own network."
        )


def _training_batches(data: Digits, epochs: tuple[int, int]) -> Iterator[tuple[Tensor, Tensor]]:
    half_size = F.avg_pool2d(data.train_images, 2)
    for all_images, count in zip((half_size, data.train_images), epochs, strict=True):
        for _ in range(count):
            for indices in torch.randperm(len(all_images)).split(BATCH):
                yield _shifted(all_images[indices]), data.train_labels[indices]


def _shifted(images: Tensor) -> Tensor:
    """All images of a batch moved by the same few pixels, so that the network learns shapes."""
    height, width = images.shape[2:]
    most = height // 10
    dy, dx = torch.randint(-most, most + 1, (2,)).tolist()
    padded = F.pad(images, (most,) * 4, mode="replicate")
    return padded[:, :, most + dy : most + dy + height, most + dx : most + dx + width]


@contextmanager
def _one_thread() -> Iterator[None]:
    """For the same sums in the same order everywhere.

    With layers this small, threads that wait for each other on a busy machine also cost more than
    they save: four times as much, measured with two threads beside another job.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _put_into_cache(model: nn.Module, file: Path) -> None:
    try:
        write_atomically(file, safetensors.torch.save(model.state_dict()))
    except OSError:
        # A cache that cannot be written costs a training next time, nothing else.
        return
