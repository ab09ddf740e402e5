"""What has been measured of a network, shared by all experiments.

OUT/points/NETWORK.json is a result document (``fmtc plot`` draws it) that holds every point of a
network. An experiment asks for points; those that are there are not measured again, so that an
interrupted run goes on where it was, and experiments with curves in common measure them once.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from fmtc.calibration.compressor import Compressor
from fmtc.codec.coders import coders
from fmtc.errors import UsageError
from fmtc.evaluation.evaluate import evaluate
from fmtc.model.model import CompressedModel
from fmtc.network.fingerprint import measured_with
from fmtc.network.prepared import Prepared
from fmtc.presets import Preset, get_preset
from fmtc.results.result import environment, load_result, new_result, setting_label, write_result
from fmtc.results.spectrum import eigenvalues_needed
from fmtc.targets import Bits, Target

from .networks import Loaded, Network

POINTS = "paper"  # what is coded, with every method alike
# Versions that must be the same for points to stand beside each other.
SAME_VERSIONS = ("fmtc", "torch", "torchvision")
ENERGIES = tuple(i / 200 for i in range(100, 201))  # shares of the energy, 0.5...1


class Store:
    """The points of one network, measured when first asked for."""

    def __init__(
        self, network: Network, folder: Path, *, mode: str, fresh: bool = False, quiet: bool = False
    ):
        self.network, self.mode, self.quiet = network, mode, quiet
        self.path = folder / f"{network.name}.json"
        self.result = None if fresh or not self.path.exists() else self._earlier()
        self._compressor: tuple[Any, Compressor] | None = None

    @cached_property
    def loaded(self) -> Loaded:
        return self.network.load()

    def points(
        self,
        preset: str | Preset,
        targets: Iterable[Target],
        weight_bits: int = 8,
        block: str = "1,1,C",
    ) -> list[dict[str, Any]]:
        """The point of each target, in their order."""
        return [self.point(preset, target, weight_bits, block) for target in targets]

    def point(
        self, preset: str | Preset, target: Target, weight_bits: int = 8, block: str = "1,1,C"
    ) -> dict[str, Any]:
        """One point of a result, from the file or measured now.

        A preset with changes must have another name, under which its points are found again.
        """
        preset = get_preset(preset)
        mode = self._mode_of(preset)
        point = self.known(preset, target, weight_bits, block)
        if point is None:
            compressed = self.compressed(preset, target, weight_bits, block)
            loaded, batch = self.loaded, self.network.batch
            point = evaluate(
                compressed, loaded.test, reference=loaded.reference, batch=batch, mode=mode
            )
            self.add(point)
        return point

    def known(
        self, preset: str | Preset, target: Target, weight_bits: int = 8, block: str = "1,1,C"
    ) -> dict[str, Any] | None:
        """A point that has been measured; None where it has not."""
        preset = get_preset(preset)
        wanted = {
            "preset": preset.name,
            "weight_bits": weight_bits,
            "setting": target.setting,
            "block": block,
            "mode": self._mode_of(preset),
        }
        for point in self.result["points"] if self.result else []:
            if all(point[key] == value for key, value in wanted.items()):
                return point
        return None

    def compressed(
        self, preset: str | Preset, target: Target, weight_bits: int = 8, block: str = "1,1,C"
    ) -> CompressedModel:
        """The network compressed for a point."""
        self._begin()
        return self._compressor_of(get_preset(preset), weight_bits, block).compress(target)

    def add(self, point: dict[str, Any]) -> None:
        """Keep a point that has been measured, but for histograms, which no experiment reads."""
        for layer in point["layers"]:
            layer.pop("histogram", None)
        self.result["points"].append(point)
        write_result(self.result, self.path)
        rate = point["bits_per_value"]["entropy"]
        self._say(
            f"{point['preset']}, {setting_label(point['setting'])}, {point['weight_bits']}-bit "
            f"weights, block {point['block']}: {rate:.3f} bits of entropy a value, "
            f"{point['seconds']['calibrate']:.0f} + {point['seconds']['evaluate']:.0f} s"
        )

    def _mode_of(self, preset: Preset) -> str:
        """Other coders' rates are known by coding alone."""
        return self.mode if coders[preset.coder].tables else "stream"

    def baseline(self, weight_bits: int) -> dict[str, Any]:
        """The point of the network with quantised weights alone; its preset and setting are None.

        Accuracy that is lost there is none that the coding of feature maps could keep.
        """
        for point in self.result["points"] if self.result else []:
            if point["preset"] is None and point["weight_bits"] == weight_bits:
                return point
        self._begin()
        loaded = self.loaded
        prepared = Prepared.of(loaded.model, loaded.calibration, weight_bits=weight_bits)
        network = prepared.network
        point = evaluate(network, loaded.test, reference=loaded.reference, batch=self.network.batch)
        point["weight_bits"] = weight_bits
        self.result["points"].append(point)
        write_result(self.result, self.path)
        return point

    def spectrum(self) -> dict[str, list[float]]:
        """Shares of the eigenvalues that hold given shares of the energy, see `spectrum_of`."""
        if not self.result or "spectrum" not in self.result:
            self._begin()
            compressor = Compressor(
                self.loaded.model,
                self.loaded.calibration,
                "paper",
                keep_moments=True,
                points=POINTS,
            )
            codecs = compressor.compress(Bits(10)).codecs.values()
            covariances = [m2 for codec in codecs for _, _, m2 in codec.moments.parts]
            self.result["spectrum"] = spectrum_of(covariances)
            write_result(self.result, self.path)
        return self.result["spectrum"]

    def part(self, points: Iterable[dict[str, Any]] = ()) -> dict[str, Any]:
        """The result with these points alone, each once."""
        distinct = {id(point): point for point in points}
        return {**self.result, "points": list(distinct.values())}

    def release(self) -> None:
        """Let go of the network; it is loaded again if another point is asked for."""
        self.__dict__.pop("loaded", None)
        self._compressor = None

    def _compressor_of(self, preset: Preset, weight_bits: int, block: str) -> Compressor:
        """The last one is kept: sensitivities are shared by all steps."""
        key = (preset, weight_bits, block)
        if self._compressor is None or self._compressor[0] != key:
            self._compressor = None
            compressor = Compressor(
                self.loaded.model,
                self.loaded.calibration,
                preset,
                block=block,
                weight_bits=weight_bits,
                points=POINTS,
                seed=self.network.seed,
            )
            self._compressor = key, compressor
        return self._compressor[1]

    def _begin(self) -> None:
        """Make the document, or check that the earlier one is of the same images and network."""
        if "loaded" in self.__dict__:
            return
        self._say("loading, and running the uncompressed network")
        loaded = self.loaded
        fresh = new_result(
            command=self._command,
            model=self.network.name,
            dataset=loaded.dataset,
            seed=self.network.seed,
            reference={"top1": loaded.reference.top1, "top5": loaded.reference.top5},
        )
        fresh["fingerprint"] = measured_with(loaded.model, loaded.calibration)
        if self.result is None:
            self.result = fresh
            return
        for part in ("dataset", "reference", "fingerprint"):
            if self.result.get(part, fresh[part]) != fresh[part]:  # older ones have no fingerprint
                raise UsageError(
                    f"data or weights have changed since {self.path} was measured ({part} was "
                    f"{self.result[part]}, is {fresh[part]}); give another --out, or --fresh"
                )
        commits = self.result["environment"]["commit"], fresh["environment"]["commit"]
        if None not in commits and commits[1] not in commits[0]:
            self.result["environment"]["commit"] = ", ".join(commits)

    @property
    def _command(self) -> str:
        return f"python -m experiments.run_all {self.network.options}"

    def _earlier(self) -> dict[str, Any]:
        earlier = load_result(self.path)
        now = environment()
        differences = [
            f"{key} {earlier['environment'][key]}"
            for key in SAME_VERSIONS
            if earlier["environment"][key] != now[key]
        ]
        if earlier["command"] != self._command:
            differences.append(earlier["command"])
        if differences:
            raise UsageError(
                f"{self.path} was measured otherwise ({', '.join(differences)}); give another "
                "--out, or --fresh to replace it"
            )
        return earlier

    def _say(self, message: str) -> None:
        if not self.quiet:
            print(f"{self.network.name}: {message}", file=sys.stderr)


def spectrum_of(covariances: list[torch.Tensor]) -> dict[str, list[float]]:
    """For each share of the energy the share of the eigenvalues that hold it, mean over layers.

    covariances: f64 [n, n] each, on any scale. Between two eigenvalues the share is interpolated.
    """
    needed = [eigenvalues_needed(torch.linalg.eigvalsh(c), ENERGIES) for c in covariances]
    mean = torch.tensor(needed, dtype=torch.float64).mean(0)
    return {"energy": list(ENERGIES), "eigenvalues": mean.tolist()}
