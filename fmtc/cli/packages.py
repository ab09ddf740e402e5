"""`fmtc eval --export`: a package of each point for fmtc_eval, and one of their plain network."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..data.datasets import Dataset
from ..deploy.export import export, export_plain, network_in
from ..model.model import CompressedModel
from ..network.fingerprint import fingerprint
from ..results.result import setting_label
from ..targets import Target
from .command import say

PLAIN = "plain.pt2"


@dataclass(frozen=True)
class Packages:
    """What the packages of a curve's points have in common, and where they are.

    name: of the network in results. example: two images or more as they are calibrated with.
    calibration: the images that this was; seed: by which they were drawn.
    """

    folder: Path
    name: str
    preset: str
    example: Tensor
    calibration: Dataset
    seed: int
    device: torch.device | str = "cpu"
    quiet: bool = False

    def write(self, compressed: CompressedModel, target: Target) -> None:
        """Export a point, and the plain network where it is not there yet. Takes minutes.

        ExportError: the network cannot be exported; OSError: the files cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        plain, example = self.folder / PLAIN, self.example.to(self.device)
        if network_in(plain) != (fingerprint(compressed.reference), str(example.device.type)):
            self._timed(f"{self.name}, uncompressed", export_plain, compressed, plain, example)
        self._timed(
            setting_label(target.setting),
            export,
            compressed,
            package_path(self.folder, self.preset, target),
            example,
            preprocess=self.calibration.preprocess.text,
            statistics=True,
            plain=plain,
            name=self.name,
            calibration=self.calibration,
            seed=self.seed,
        )

    def _timed(self, what, write, compressed, path, *arguments, **options) -> None:
        start = time.perf_counter()
        write(compressed, path, *arguments, **options)
        if not self.quiet:
            say(f"{what}: exported to {path} in {time.perf_counter() - start:.0f} s")


def package_path(folder: str | Path, preset: str, target: Target) -> Path:
    """Where the package of a point is: FOLDER/fmtc-snr_db=15.pt2."""
    return Path(folder) / f"{preset}-{target}.pt2"
