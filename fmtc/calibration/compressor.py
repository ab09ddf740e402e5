"""From a model and images to a compressed model."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from glob import escape
from typing import Any

import torch
from torch import nn

from ..config import CompressConfig
from ..errors import CalibrationError
from ..evaluation.batches import images as image_batches
from ..evaluation.evaluate import evaluate
from ..evaluation.packed import for_model
from ..evaluation.reference import Reference
from ..model.calibrated import Calibrated, Probe
from ..model.model import CompressedModel
from ..network.groups import AFTER, AS_IT_IS
from ..network.inputs import packing_of
from ..network.prepared import Prepared
from ..network.view import device_of, eval_view, float_type, unwrapped
from ..ops.devices import usable
from ..planes import all_finite
from ..presets import BitsPreset, Preset, StepPreset
from ..progress import Progress, warn
from ..targets import (
    SNR,
    AccuracyDrop,
    Bits,
    Measure,
    Rate,
    Share,
    Step,
    Target,
    Value,
    as_target,
    chosen_target,
)
from . import placement
from .balance import Shares, balanced
from .fit import Knob
from .layers import Layers
from .metrics import Metrics
from .search import search
from .sequence import run_sequentially
from .units import measure_units

DEFAULT_TARGET = SNR(15)
EXPECTED_DB = 15  # where a share of images is looked for from, and where outputs are balanced
LEAST_COVERED = 0.5  # of the values written, below which a warning says so
# One in HELD_BACK calibration images, MOST_HELD_BACK at most, checks what a target asks for.
HELD_BACK, MOST_HELD_BACK = 4, 64
# Steps between which a target is looked for, in units of what an error does to the output: beyond
# them either nothing is left of it, or int16 levels do not reach.
FINEST, COARSEST = 2.0**-16, 0.25


def compress(
    model: nn.Module,
    images: Any,
    config: CompressConfig | Preset | str | None = None,
    target: Target | str | None = None,
    *,
    bits: int | None = None,
    start: CompressedModel | None = None,
    progress: Progress = False,
    input_fn: Callable[[Any], Any] | None = None,
    **options: Any,
) -> CompressedModel:
    """Compress the tensors that ``model`` writes between its layers, calibrated where it is.

    The model itself is not changed.

    Args:
        model: The network.
        images: Float [N, C, H, W], preprocessed as for the model, or anything that gives batches of
            them: a list, a DataLoader, a generator. Labels are ignored.
        config: A `CompressConfig`, a `Preset`, or the name of a preset: "fmtc" (the best we know,
            the default), or "paper" and others with a knob b (`list_presets`).
        target: What to reach with preset "fmtc": `Rate` (bits a value), `SNR` (dB), `KL` (nats),
            `Agreement` (share), `AccuracyDrop` (percent, labelled) or `Step` (step), or such a one
            as text, "snr_db=15". Default: ``fmtc.SNR(15)``. Rate and the like are measured on a
            quarter of the images (64 at most), held back from calibration. An SNR is that of the
            worst output.
        bits: b of the other presets: 2 to 12 or, with those the paper is compared with, 10, or the
            only one that a format has. Default: 8, or what comes nearest.
        start: A compressed model with kept moments, whose calibration takes in these images
            (presets with a knob b).
        progress: True shows bars on a terminal; a function is called with (stage, done, total).
        input_fn: Takes a batch of another kind to its images.
        **options: Fields of `CompressConfig`, such as ``outputs``: the outputs that matter, of a
            network with several. Default: all.

    Returns:
        The compressed network, which is called as the model is.

    Raises:
        TraceError: The network's graph is not usable.
        CalibrationError: The images cannot be used: there are none, or they have NaN or Inf.
        TargetError: No step meets the target.
        ValueError: Bits and a target are both given; the target is not of the preset's kind; an
            option has a wrong name or value; fmtc was not built for the model's device.

    Example:
        >>> compressed = fmtc.compress(model, images, target=fmtc.Rate(1.0))
        >>> compressed(x).shape
        torch.Size([4, 10])
        >>> paper = fmtc.compress(model, images, "paper", bits=6)
        >>> paper.setting
        {'kind': 'b', 'value': 6}
    """
    chosen = chosen_target(target, bits)
    compressor = Compressor(
        model, images, config, start=start, progress=progress, input_fn=input_fn, **options
    )
    return compressor.compress(chosen, last=True)


class Compressor:
    """Compresses one model at several settings, and does only once what they share.

    The arguments are those of `compress`, but for target and bits. All attributes are made once and
    may be looked at, and ``metrics`` be replaced, before ``compress`` is called.

    Attributes:
        prepared: The network's graph and groups.
        units: Means and deviations of its outputs.

    Example:
        >>> compressor = fmtc.Compressor(model, images, "paper")
        >>> curve = [compressor.compress(fmtc.Bits(b)) for b in (6, 7, 8)]
        >>> [compressed.setting["value"] for compressed in curve]
        [6, 7, 8]
    """

    def __init__(
        self,
        model: nn.Module,
        images: Any,
        config: CompressConfig | Preset | str | None = None,
        *,
        start: CompressedModel | None = None,
        progress: Progress = False,
        input_fn: Callable[[Any], Any] | None = None,
        **options: Any,
    ):
        began = time.perf_counter()
        model, images, input_fn = for_model(unwrapped(model), images, input_fn)
        self.config = CompressConfig.of(config, **options)
        self.preset = self.config.scheme
        if start is not None and not _has_moments(self.preset):
            raise ValueError(
                f"preset '{self.preset.name}' cannot be continued with other images: it keeps "
                "nothing that could be; start with presets that have a knob b and moments"
            )
        self.start, self.progress = start, progress
        # Gradients need tensors that inference mode does not make.
        with torch.inference_mode(False):
            size = self.config.micro_batch
            self.model = eval_view(model)
            device = usable(device_of(model))
            self.batches = _usable(image_batches(images, size, input_fn), size, device)
            self.prepared = Prepared.of(
                model,
                self.batches[0],
                include=self.config.include,
                exclude=self.config.exclude,
                exclude_bits=self.config.exclude_bits,
                points=self.config.points,
            ).to(device)
            self._probe = Probe.of(self.model, self.batches[0])
            # With its own weights: quantised ones are meant to compute something else.
            plain = eval_view(model, torch.float32)
            self.units = measure_units(plain, self.batches, self.config.choice, progress)
            self.prepared.check(plain, self.batches[0][:1])
            asked = self.config.points != "all" or self.config.exclude_bits == AS_IT_IS
            if self.prepared.coverage.share < LEAST_COVERED and not asked:
                warn(
                    "rates speak of less than half of what the network writes to memory: "
                    f"{self.prepared.coverage}"
                )
            self._clean = self.prepared
            if self.config.weight_bits != 32:
                self.prepared = self.prepared.with_weights_of(self.config.weight_bits)
        self._measures: list[Measure] = []
        self._labelled: tuple[Any, Reference] | None = None  # data, and the network's outputs
        self._spent = time.perf_counter() - began  # counted with the first setting

    @cached_property
    def metrics(self) -> Metrics:
        """What the outputs depend on at each coding point, so weighted that all are about as good.

        Of presets with one step. Of several outputs that takes some calibrations, at the step that
        is expected to give 15 dB.
        """
        with torch.inference_mode(False):
            return balanced(self.units.shares, self._metrics_of, self._errors_of)

    def _metrics_of(self, shares: Shares) -> Metrics:
        assert isinstance(self.preset, StepPreset)
        directions = self.units.shared(shares).directions
        return Metrics(
            self.prepared, self.batches, self.preset, directions, self.config.seed, self.progress
        )

    def _errors_of(self, metrics: Metrics) -> dict[str, float]:
        """Of each output, squared and relative to its signal, coded with these metrics."""
        batches, check = self._divided()
        knob = Knob(step=self._guess(SNR(EXPECTED_DB), metrics))
        prepared, calibrated, _ = self.calibrate(knob, batches, metrics)
        point = self._checked(CompressedModel(self.model, calibrated, prepared), check, "simulate")
        snrs = {output["name"]: output["snr_db"] for output in point["outputs"]}
        return {name: 10 ** (-snr / 10) for name, snr in snrs.items() if snr is not None}

    def only(self, layers: Sequence[str]) -> None:
        """Code these layers alone from now on; all others are computed as they are.

        What the metrics know already is kept.

        Args:
            layers: Names of layers.
        """
        names = [escape(name) for name in layers]
        self.config = replace(self.config, include=names, exclude=(), exclude_bits=AS_IT_IS)
        for prepared in (self.prepared, self._clean):
            prepared.select(self.config.include, (), AS_IT_IS)
        self._measures.clear()

    def compress(
        self, target: Target | str | None = None, *, last: bool = False
    ) -> CompressedModel:
        """The model at one setting.

        Args:
            target: ``Bits`` for presets with a knob b, others for "fmtc"; as text, too. Default: as
                for `fmtc.compress`.
            last: No other setting follows, so that what they share can be let go on the way.

        Returns:
            The compressed network.

        Raises:
            CalibrationError: As for `fmtc.compress`.
            TargetError: As for `fmtc.compress`.
            ValueError: The target is not of the preset's kind, or cannot be measured: there are no
                labels, say, or no classes.
        """
        began = time.perf_counter()
        preset = self.preset
        by_step = isinstance(preset, StepPreset)
        if target is None:
            target = DEFAULT_TARGET
            if isinstance(preset, BitsPreset):
                target = Bits(preset.default_bits)
        target = as_target(target)
        if isinstance(target, Bits) is by_step:
            knob = "a target such as fmtc.SNR(15)" if by_step else "bits"
            raise ValueError(f"preset '{self.preset.name}' takes {knob}, not {target}")
        with torch.inference_mode(False):
            if isinstance(target, Bits):
                assert isinstance(self.preset, BitsPreset)
                self.preset.check_bits(target.value)
                known = Knob(bits=target.value)
                compressed, notes = self._compressed(known, self.batches, target, last)
            elif isinstance(target, Step):
                known = Knob(step=target.value)
                compressed, notes = self._compressed(known, self.batches, target, last)
            else:
                compressed, notes = self._search(target)
        for note in notes:
            warn(note)
        compressed.seconds_calibrate = self._spent + time.perf_counter() - began
        self._spent = 0.0
        return compressed

    # -- Targets ----------------------------------------------------------------------------------

    def _search(self, target: Target) -> tuple[CompressedModel, list[str]]:
        """Calibrate at several steps on some images, each checked on the others.

        Of the one that is nearest to the target so far what was calibrated is kept, no network.
        """
        batches, check = self._divided()
        kept: list[tuple[Measure, Calibrated, list[str]]] = []

        def measure(step: float) -> Measure:
            made, notes = self._compressed(Knob(step=step), batches, target)
            point = self._checked(made, check)
            measured = Measure.of(step, point)
            if isinstance(target, AccuracyDrop):
                measured = replace(measured, top1_drop=self._drop(target, made))
            else:
                self._measures.append(measured)
            if not kept or _nearer(target, measured, kept[0][0]):
                kept[:] = [(measured, made.calibrated(), notes)]
            del made
            gc.collect()  # graphs refer to themselves, and would stay
            return measured

        known = [] if isinstance(target, AccuracyDrop) else self._measures
        guess = self._guess(target, self.metrics)
        found = search(target, measure, guess, known, finest=FINEST, coarsest=COARSEST)
        if kept and kept[0][0].step == found.step:
            _, calibrated, notes = kept.pop()
            compressed = CompressedModel(self.model, calibrated, self._prepared_as(calibrated))
        else:
            kept.clear()
            compressed, notes = self._compressed(Knob(step=found.step), batches, target)
        note = target.note(found.measure)
        if note is not None:
            notes = [*notes, f"on {len(check)} images held back, {note}"]
        return compressed, notes

    def _divided(self) -> tuple[list[torch.Tensor], torch.Tensor]:
        """Batches to calibrate with, and the images held back to check what that gives."""
        images = torch.cat(self.batches)
        held = min(len(images) // HELD_BACK, MOST_HELD_BACK)
        check = (images[-held:] if held else images).to(float_type(self.model))
        return list(images[: len(images) - held].split(self.config.micro_batch)), check

    def _checked(
        self, made: CompressedModel, check: torch.Tensor, mode: str | None = None
    ) -> dict[str, Any]:
        """A point of a compressed model on the images held back."""
        size = self.config.micro_batch
        return evaluate(made, check, reference=self._reference, batch=size, mode=mode)

    @cached_property
    def _reference(self) -> Reference:
        return Reference(self.model, outputs=self.config.outputs)

    def _drop(self, target: AccuracyDrop, compressed: CompressedModel) -> float:
        if target.labelled is None:
            raise ValueError("AccuracyDrop needs labelled images: AccuracyDrop(percent, labelled)")
        size = self.config.micro_batch
        if self._labelled is None or self._labelled[0] is not target.labelled:
            outputs = self.config.outputs
            reference = Reference(self.model, target.labelled, batch=size, outputs=outputs)
            self._labelled = target.labelled, reference
        reference = self._labelled[1]
        point = evaluate(
            compressed, target.labelled, reference=reference, batch=size, mode="simulate"
        )
        if point["top1"] is None or reference.top1 is None:
            raise ValueError("AccuracyDrop needs images with labels, of a classifier")
        return reference.top1 - point["top1"]

    def _guess(self, target: Target, metrics: Metrics) -> float:
        """A step that should come near the target, from the sensitivities alone."""
        groups = self.prepared.copy().groups
        octaves = int(2 * math.log2(COARSEST / FINEST))
        steps = [COARSEST * 2.0 ** -(i / 2) for i in range(octaves + 1)]
        wanted_db = target.value if isinstance(target, SNR) else EXPECTED_DB
        for step in steps:
            rate, snr_db = placement.expected(metrics.coded(step, groups), step)
            reached = rate >= target.value if isinstance(target, Rate) else snr_db >= wanted_db
            if reached:
                return step
        return steps[-1]

    # -- One calibration --------------------------------------------------------------------------

    def _compressed(
        self, knob: Knob, batches: list[torch.Tensor], target: Target, last: bool = False
    ) -> tuple[CompressedModel, list[str]]:
        prepared, calibrated, notes = self.calibrate(knob, batches)
        calibrated.setting = target.setting
        if last:
            vars(self).pop("metrics", None)
        return CompressedModel(self.model, calibrated, prepared), notes

    def calibrate(
        self,
        knob: Knob,
        batches: list[torch.Tensor] | None = None,
        metrics: Metrics | None = None,
    ) -> tuple[Prepared, Calibrated, list[str]]:
        """One sequential calibration, and what a user should be told of it.

        Args:
            knob: b, or the step.
            batches: The images. Default: all.
            metrics: Default: the compressor's own.

        Returns:
            The network with its convolutions refitted, not yet assembled; what a `CompressedModel`
            is made of with it; and what a user should be told.
        """
        batches = self.batches if batches is None else batches
        prepared = self.prepared.copy()
        if metrics is None and isinstance(self.preset, StepPreset):
            metrics = self.metrics
        self._choose_sides(prepared, knob, metrics)
        start = self.start.codecs if self.start else None
        layers = Layers(self.config, prepared, knob, metrics, start)
        compensate = isinstance(self.preset, StepPreset) and self.preset.compensate
        codecs = run_sequentially(
            prepared,
            batches,
            layers.fit,
            self.progress,
            clean=self._clean.copy() if compensate else None,
            refit=layers.refit if compensate else None,
        )
        images = sum(len(batch) for batch in batches)
        calibrated = Calibrated(
            config=self.config,
            setting={"kind": "step", "value": knob.step},
            codecs=codecs,
            sides={group.name: group.side for group in prepared.groups},
            probe=self._probe,
            images=images + (self.start.calibration_images if self.start else 0),
            refitted=tuple(layers.refitted),
            reused=layers.reused,
            means=_on_the_cpu(self.units.means),
            chosen_means=_on_the_cpu(self.units.chosen_means),
            packing=packing_of(self.model),
        )
        return prepared, calibrated, layers.notes(images)

    def _prepared_as(self, calibrated: Calibrated) -> Prepared:
        """The network with each layer coded on its side, as it was calibrated."""
        prepared = self.prepared.copy()
        for group in prepared.groups:
            group.side = calibrated.sides[group.name]
        return prepared

    def _choose_sides(self, prepared: Prepared, knob: Knob, metrics: Metrics | None) -> None:
        preset = self.preset
        if isinstance(preset, StepPreset) and preset.choose_sides and metrics and knob.step:
            placement.choose_sides(prepared.groups, metrics.spectra, knob.step)
        if isinstance(preset, BitsPreset) and preset.side == AFTER:
            for group in prepared.groups:
                group.side = AFTER if AFTER in group.sides else group.side


def _on_the_cpu(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """As a file holds them, and evaluations compare outputs with them."""
    return {name: tensor.cpu() for name, tensor in tensors.items()}


def _has_moments(preset: Preset) -> bool:
    return isinstance(preset, BitsPreset) and preset.transform == "pca"


def _nearer(target: Target, measured: Measure, than: Measure) -> bool:
    """Whether a search is likelier to end at the first measurement."""
    if isinstance(target, Share):  # at the largest step that meets it
        good, before = target.met_by(measured), target.met_by(than)
        return good and (not before or measured.step > than.step)
    assert isinstance(target, Value)
    return target.error(measured) < target.error(than)


def _usable(batches: Iterable[torch.Tensor], size: int, device: torch.device) -> list[torch.Tensor]:
    """Micro-batches of ``size`` images, float32 on this device.

    CalibrationError names what is wrong with a batch.
    """
    made: list[torch.Tensor] = []
    try:
        for i, batch in enumerate(batches):
            if not batch.numel():
                raise ValueError(f"batch {i}: images without pixels, {list(batch.shape)}")
            if not all_finite(batch):
                raise ValueError(f"batch {i} contains NaN or Inf")
            if made and batch.shape[1:] != made[0].shape[1:]:
                first, other = (list(x.shape[1:]) for x in (made[0], batch))
                raise ValueError(
                    f"batch {i} has images of another size, {other}, than batch 0, {first}: resize "
                    "or crop them; other sizes are for the compressed network"
                )
            batch = batch.detach().to(device, torch.float32)
            made += (batch.clone() if batch.is_inference() else batch).split(size)
    except ValueError as error:
        raise CalibrationError(f"calibration images: {error}") from error
    return made
