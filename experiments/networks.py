"""The networks of an experiment: which they are, with which weights and on which images."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path

from torch import Tensor, nn

from fmtc.cli import demo
from fmtc.data.datasets import Dataset, open_dataset, split
from fmtc.data.models import load_model
from fmtc.evaluation.reference import Reference

DIGITS = "digits"  # the network of `fmtc demo`, with its own images
# Networks whose images torchvision preprocesses in another way than the usual one.
PREPROCESS = {"inception_v3": "resize=342,crop=299,mean=.485/.456/.406,std=.229/.224/.225"}


@dataclass(frozen=True)
class Network:
    """What makes a network and its images; the fields are options of `fmtc eval`.

    name: of its file of points and in figures. model: "digits", a torchvision name, or
    path/to/file.py:function. The rest None means the default of `fmtc eval`.
    """

    name: str
    model: str
    weights: str | None = None
    num_classes: int | None = None
    data: str | None = None
    labels: str | None = None
    class_index: str | None = None
    preprocess: str | None = None
    calib_images: int = 64
    images: int | None = None
    seed: int = 0
    batch: int = 25

    @property
    def options(self) -> str:
        """Everything that a measurement depends on, as options of a command."""
        words = []
        for key, value in asdict(self).items():
            if key not in ("name", "batch") and value is not None:
                words += [f"--{key.replace('_', '-')}", str(value)]
        return shlex.join(words)

    def load(self) -> Loaded:
        return Loaded(self)


class Loaded:
    """A network in memory, and what it is calibrated and evaluated with.

    calibrated_with: the images of calibration, where they are in files.
    """

    def __init__(self, network: Network):
        self.network = network
        load = self._digits if network.model == DIGITS else self._files
        self.model: nn.Module
        self.calibration: Tensor
        self.calibrated_with: Dataset | None = None
        self.model, self.calibration, self.test, self.skipped = load()

    @cached_property
    def reference(self) -> Reference:
        return Reference(self.model, self.test, batch=self.network.batch)

    @property
    def dataset(self) -> dict:
        """As in a result; after the reference was measured, which finds unreadable images."""
        network = self.network
        described = {
            "path": network.data or "scikit-learn's digits",
            "calibration_images": len(self.calibration),
            "evaluated_images": self.reference.images,
        }
        return described | ({"skipped": sorted(self.skipped)} if self.skipped else {})

    def _digits(self) -> tuple[nn.Module, Tensor, tuple[Tensor, Tensor], list[str]]:
        data, network = demo.digits_data(), self.network
        test = data.test_images[: network.images], data.test_labels[: network.images]
        return demo.digits_model(), data.train_images[: network.calib_images], test, []

    def _files(self) -> tuple[nn.Module, Tensor, Dataset, list[str]]:
        network = self.network
        if network.data is None:
            raise ValueError(f"{network.name}: give --data, the images (--quick needs none)")
        model = load_model(network.model, network.weights, network.num_classes, network.seed)
        preprocess = network.preprocess or PREPROCESS.get(network.model)
        dataset = open_dataset(network.data, network.labels, network.class_index, preprocess)
        chosen = split(dataset, network.calib_images, network.images, network.seed)
        calibration, test = (dataset.subset(indices) for indices in chosen)
        self.calibrated_with = calibration
        return model, calibration.tensor()[0], test, dataset.skipped


def parse_models(models: list[str], **common) -> list[Network]:
    """From NAME or NAME=WEIGHTS each, with the same data and options for all of them."""
    networks = []
    for text in models:
        model, _, weights = text.partition("=")
        given = {**common, "weights": weights or common.get("weights")}
        networks.append(Network(name=_short(model), model=model, **given))
    return _distinct(networks, "--models")


def read_networks(file: str, **common) -> list[Network]:
    """From a JSON file, a list of objects with the fields of `Network` (name may be left out).

    Files are looked for beside it. ValueError: what is wrong, where.
    """
    path = Path(file)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from error
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise ValueError(f"{file} must be a list of objects, one a network")
    known = {field.name for field in fields(Network)}
    networks = []
    for number, entry in enumerate(entries):
        unknown = sorted(entry.keys() - known)
        if unknown or "model" not in entry:
            problem = f"unknown {unknown[0]!r}" if unknown else "no 'model'"
            raise ValueError(
                f"{file}: network {number}: {problem}; known: {', '.join(sorted(known))}"
            )
        entry = {"name": _short(entry["model"])} | {**common, **entry}
        for key in ("weights", "data"):
            if entry.get(key) and (path.parent / entry[key]).exists():
                entry[key] = os.path.normpath(path.parent / entry[key])
        networks.append(Network(**entry))
    return _distinct(networks, file)


def _short(model: str) -> str:
    return model.rpartition(":")[2]


def _distinct(networks: list[Network], where: str) -> list[Network]:
    names = [network.name for network in networks]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{where}: two networks are called {twice!r}; give each a name of its own")
    if not networks:
        raise ValueError(f"{where}: there is no network")
    return networks


def model_and_images(args: argparse.Namespace) -> tuple[nn.Module, Dataset, Dataset]:
    """Those of the options of ``fmtc eval``: the model, images to calibrate with, and others."""
    model = load_model(args.model, args.weights, args.num_classes, args.seed)
    dataset = open_dataset(args.data, args.labels, args.class_index, args.preprocess)
    of_calibration, of_test = split(dataset, args.calib_images, args.images, args.seed)
    return model, dataset.subset(of_calibration), dataset.subset(of_test)
