"""The compressed network: folded convolutions and a coding point after each group."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import cached_property

import torch
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from ..calibration import placement
from ..calibration.placement import Spectrum
from ..calibration.refit import refit
from ..calibration.search import search
from ..calibration.sensitivity import Sensitivity, sensitivities
from ..calibration.sequence import check_images, run_sequentially
from ..codec.codec import (
    PLAIN_BITS,
    SAMPLES_PER_COMPONENT,
    Calibration,
    TensorCodec,
    Weighting,
    check_bits,
)
from ..codec.coders import CODERS, WITH_TABLES
from ..codec.transform import Block, Transform
from ..errors import CalibrationError, TraceError
from ..evaluation.evaluate import Reference, evaluate, first_tensor
from ..network import fold
from ..network.graph import (
    AFTER,
    BEFORE,
    Group,
    activation_limits,
    count_reads,
    find_groups,
    select,
    trace,
    untraced_modules,
)
from ..network.untraced import HookedConv
from ..network.weights import WeightGrid, check_weight_bits, quantize_network
from ..presets import Preset, get_preset
from ..targets import SNR, AccuracyDrop, Bits, Measure, Rate, Step, Target
from .points import CodedPoint, CodingPoint, PlainCodec, make_point
from .report import Report

MODES = ("stream", "simulate", "float")
DEFAULT_TARGET, DEFAULT_BITS = SNR(15), Bits(8)
EXPECTED_DB = 15  # where a share of images is looked for from
# One in HELD_BACK calibration images, MOST_HELD_BACK at most, checks what a target asks for.
HELD_BACK, MOST_HELD_BACK = 4, 64
# Steps between which a target is looked for, in units of what an error does to the output: beyond
# them either nothing is left of it, or int16 levels do not reach.
FINEST, COARSEST = 2.0**-16, 0.25
# Levels are found again behind a convolution where its smallest singular value is not below this
# share of the largest: float32 is exact enough there.
WORST_CONDITION = 1e-3
SAFE_CONDITION = 1e-2  # of a convolution alone: with the transform before it, still good enough
# Largest relative difference between the rewritten graph and the user's model; what float
# rounding leaves is near 1e-6, a network that is not what its trace says is far above.
SELF_CHECK_TOLERANCE = 1e-3


class CompressedModel(nn.Module):
    """A network whose intermediate tensors go through real, decodable streams.

    Call it like the model it was made from. ``mode``: "stream" encodes and decodes every tensor,
    "simulate" gives the same bits of output without making streams, "float" only transforms
    (nothing is quantised; to check that folding is exact). ``reference`` is the user's model,
    untouched. ``multiply_adds``: {"plain", "compressed"} for one image of the calibration size.
    """

    def __init__(
        self, network: fx.GraphModule, reference: nn.Module, points, codecs, settings, refitted
    ):
        super().__init__()
        self.network = network
        # Not a submodule: the user's model is neither moved, saved nor trained with this one.
        self.__dict__["reference"] = reference
        self.__dict__["points"] = points
        self.codecs: dict[str, TensorCodec | PlainCodec] = codecs
        # Convolutions that take the place of the model's, before anything is folded into them.
        self.__dict__["refitted"] = refitted
        self.settings: dict = settings
        self.mode = settings.pop("mode", "stream")

    @property
    def preset(self) -> str:
        return self.settings["preset"]["name"]

    @property
    def setting(self) -> dict:
        return self.settings["setting"]

    @property
    def block(self) -> str:
        return self.settings["block"]

    @property
    def coder(self) -> str:
        return self.settings["coder"]

    @property
    def weight_bits(self) -> int:
        return self.settings["weight_bits"]

    @property
    def multiply_adds(self) -> dict[str, int]:
        return self.settings["multiply_adds"]

    @property
    def seconds_calibrate(self) -> float:
        return self.settings["seconds_calibrate"]

    @property
    def calibration_images(self) -> int:
        return self.settings["calibration_images"]

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        _check_mode(mode)
        self._mode = mode
        for point in self.points.values():
            point.mode = mode

    @torch.no_grad()
    def forward(self, *args, **kwargs):
        for x in args:
            # NaN would become level 0, and the output look plausible.
            if isinstance(x, torch.Tensor) and not x.isfinite().all():
                raise ValueError("the network's input contains NaN or Inf")
        return self.network(*args, **kwargs)

    def train(self, mode: bool = True):
        """Stays in eval mode: the folded network has no training behaviour."""
        return super().train(False)

    def reset_statistics(self) -> None:
        """Forget what has been counted so far."""
        for point in self.points.values():
            point.reset()

    def report(self) -> Report:
        """Rates of everything run since the last reset; of the calibration images before that."""
        return Report.of(self.points, self.mode, self.multiply_adds)

    def save(self, path) -> None:
        """Write codecs and settings (not the weights) to a safetensors file; see ``fmtc.load``."""
        from .storage import save_model

        save_model(self, path)


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}; got {mode!r}")


def compress(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    preset: str | Preset = "fmtc",
    target: Target | None = None,
    *,
    bits: int | None = None,
    **options,
) -> CompressedModel:
    """Compress the tensors that ``model`` writes between its layers.

    images: float [N, C, H, W], preprocessed as for the model, or an iterable of such batches; no
    labels. preset: "fmtc" (the best we know), or "paper" and others with a knob b.
    target: what to reach with preset "fmtc": fmtc.Rate(bits a value), fmtc.SNR(dB) (15 dB by
    default), fmtc.Agreement(share), fmtc.AccuracyDrop(percent, labelled) or fmtc.Step(step). Rate
    and the like are measured on a quarter of the images, held back from calibration.
    bits: b of the other presets, 2 to 12 or, with those of ``fmtc.baselines``, 10 (8 by default).
    options: those of ``Compressor``, which serves several targets at once.
    The model itself is not changed. Raises TraceError, CalibrationError, TargetError or ValueError.

    >>> compressed = fmtc.compress(model, images, target=fmtc.Rate(1.0)); y = compressed(x)
    """
    if bits is not None and target is not None:
        raise ValueError(f"give bits or a target, not both ({bits} bits, {target})")
    compressor = Compressor(model, images, preset, **options)
    return compressor.compress(Bits(bits) if bits is not None else target)


class Compressor:
    """Compresses one model at several settings, and does only once what they share.

    model, images, preset: as for ``compress``. block: h,w,c of the transform (1,1,C for "fmtc").
    coder: one of ``entropy_coding.CODERS``; lane_values: that a lane of a stream codes, a power of
    two from 256 to 65536 or 0 (``Preset``); both the preset's by default. table_classes: 1 for a
    table a layer, up to 16 for a table for each of that many classes of components, None as the
    preset says. include/exclude: layer name patterns such as "layer1.*"; layers left out are
    quantised to 8 bits and counted so. weight_bits: 32, 8 or 4.
    mode: of the compressed model. micro_batch: images run at a time. leaf_modules: paths of modules
    to run as they are, with hooks (what torch.fx cannot trace is treated so by itself, with a
    warning). keep_moments: keep (and save) the calibration moments, so that it can be continued
    later; start: a compressed model with kept moments, whose calibration takes in these images
    (presets with a knob b). compensate: refit convolutions to their decoded inputs, None as the
    preset says. seed: of the random probes that measure sensitivities.
    """

    def __init__(
        self,
        model: nn.Module,
        images: torch.Tensor | Iterable[torch.Tensor],
        preset: str | Preset = "fmtc",
        *,
        block: Block | str | tuple = (1, 1, None),
        coder: str | None = None,
        lane_values: int | None = None,
        table_classes: int | None = None,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] | None = None,
        weight_bits: int = 32,
        mode: str = "stream",
        micro_batch: int = 16,
        leaf_modules: Iterable[str] = (),
        keep_moments: bool = False,
        start: CompressedModel | None = None,
        compensate: bool | None = None,
        seed: int = 0,
        progress: bool = False,
    ):
        self._began = time.perf_counter()
        _check_mode(mode)
        check_weight_bits(weight_bits)
        if micro_batch < 1:
            raise ValueError(f"micro_batch must be 1 or more, got {micro_batch}")
        self.preset, self.block = get_preset(preset), Block.parse(block)
        if compensate is not None:
            self.preset = replace(self.preset, compensate=compensate)
        if coder is not None:
            self.preset = replace(self.preset, coder=coder)
        if lane_values is not None:
            self.preset = replace(self.preset, lane_values=lane_values)
        if table_classes is not None:
            self.preset = self.preset.with_classes(table_classes)
        if self.preset.coder not in CODERS:
            raise ValueError(f"unknown coder '{coder}'; known: {', '.join(CODERS)}")
        if (table_classes or 1) > 1 and self.preset.coder not in WITH_TABLES:
            raise ValueError(f"coder '{self.preset.coder}' has no tables that classes could have")
        if self.preset.transform != "pca" and (start is not None or keep_moments):
            raise ValueError(f"preset '{self.preset.name}' has no moments to keep or continue")
        self.by_step = self.preset.knob == "step"
        if self.by_step and not self.block.is_pixel:
            raise ValueError(f"preset '{self.preset.name}' is for blocks 1,1,C, not {self.block}")
        if self.by_step and (start is not None or keep_moments):
            raise ValueError(
                f"preset '{self.preset.name}' cannot be continued with other images: sensitivities "
                "are not kept; use keep_moments and start with presets that have a knob b"
            )
        self.batches = _micro_batches(images, micro_batch)
        self.micro_batch, self.keep_moments, self.start = micro_batch, keep_moments, start
        self.seed, self.progress = seed, progress
        self.model = model if not model.training else copy.deepcopy(model).eval()
        self.settings = {
            "preset": asdict(self.preset),
            "block": str(self.block),
            "coder": self.preset.coder,
            "weight_bits": weight_bits,
            "include": None if include is None else list(include),
            "exclude": list(exclude or []),
            "leaf_modules": list(leaf_modules),
            "input_shape": list(self.batches[0].shape[1:]),
            "mode": mode,
        }
        # With its own weights: quantised ones are meant to compute something else.
        network, _, _ = prepare(self.model, {**self.settings, "weight_bits": 32})
        _check_network(network, self.model, self.batches[0][:1])
        self._measures: list[Measure] = []
        self._reference: Reference | None = None

    def compress(self, target: Target | None = None) -> CompressedModel:
        """The model at one setting; ``Bits`` for presets with a knob b, others for "fmtc"."""
        if target is None:
            target = DEFAULT_TARGET if self.by_step else DEFAULT_BITS
        if isinstance(target, Bits) is self.by_step:
            knob = "a target such as fmtc.SNR(15)" if self.by_step else "bits"
            raise ValueError(f"preset '{self.preset.name}' takes {knob}, not {target}")
        if isinstance(target, Bits):
            check_bits(target.value, self.preset)
            compressed = self._calibrated(self.batches, bits=target.value)
        elif isinstance(target, Step):
            compressed = self._calibrated(self.batches, step=target.value)
        else:
            compressed = self._search(target)
        compressed.settings["setting"] = {"kind": target.kind, "value": target.value}
        now = time.perf_counter()
        compressed.settings["seconds_calibrate"] = now - self._began
        self._began = now
        return compressed

    # -- Targets ----------------------------------------------------------------------------------

    def _search(self, target: Target) -> CompressedModel:
        """Calibrate at several steps on some images, each checked on the others."""
        images = torch.cat(self.batches)
        held = min(len(images) // HELD_BACK, MOST_HELD_BACK)
        check = images[-held:] if held else images
        batches = list(images[: len(images) - held].split(self.micro_batch))
        made: dict[float, CompressedModel] = {}

        def measure(step: float) -> Measure:
            made[step] = self._calibrated(batches, step=step)
            point = evaluate(
                made[step], check, reference=self._checked(check), batch=self.micro_batch
            )
            measured = Measure.of(step, point)
            if isinstance(target, AccuracyDrop):
                measured = replace(measured, top1_drop=self._drop(target, made[step]))
            else:
                self._measures.append(measured)
            return measured

        known = [] if isinstance(target, AccuracyDrop) else self._measures
        guess = self._guess(target)
        found = search(target, measure, guess, known, finest=FINEST, coarsest=COARSEST)
        step = found.step
        if isinstance(target, (Rate, SNR)) and target.error(found.measure) > 1:
            warnings.warn(
                f"on {len(check)} images held back, the target {target} is met to no more than "
                f"{target.told(found.measure)}: calibrate with more images to do better",
                stacklevel=3,
            )
        compressed = made[step] if step in made else self._calibrated(batches, step=step)
        compressed.reset_statistics()
        return compressed

    def _checked(self, images: torch.Tensor) -> Reference:
        if self._reference is None:
            self._reference = Reference(self.model, images, batch=self.micro_batch)
        return self._reference

    def _drop(self, target: AccuracyDrop, compressed: CompressedModel) -> float:
        if target.labelled is None:
            raise ValueError("AccuracyDrop needs labelled images: AccuracyDrop(percent, labelled)")
        labelled = target.labelled
        reference = Reference(self.model, labelled, batch=self.micro_batch)
        point = evaluate(
            compressed, labelled, reference=reference, batch=self.micro_batch, mode="simulate"
        )
        if point["top1"] is None:
            raise ValueError("AccuracyDrop needs images with labels, of a classifier")
        return reference.top1 - point["top1"]

    def _guess(self, target: Target) -> float:
        """A step that should come near the target, from the sensitivities alone."""
        _, groups, _ = self._prepare()
        spectra = self._spectra

        def coded(step: float) -> list[Spectrum]:
            placement.choose_sides(groups, spectra, step)
            keys = {(group.name, group.side) for group in groups} | self._hooked_keys
            return [spectra[key] for key in keys if key in spectra]

        octaves = int(2 * math.log2(COARSEST / FINEST))
        steps = [COARSEST * 2.0 ** -(i / 2) for i in range(octaves + 1)]
        wanted_db = target.value if isinstance(target, SNR) else EXPECTED_DB
        for step in steps:
            rate, snr_db = placement.expected(coded(step), step)
            reached = rate >= target.value if isinstance(target, Rate) else snr_db >= wanted_db
            if reached:
                return step
        return steps[-1]

    # -- One calibration --------------------------------------------------------------------------

    def _prepare(self) -> tuple[fx.GraphModule, list[Group], dict[str, WeightGrid]]:
        return prepare(self.model, self.settings)

    @cached_property
    def _sensitivities(self) -> dict[tuple[str, str], Sensitivity]:
        network, groups, _ = self._prepare()
        certain = {g.name for g in groups if self._certainly_reuses(network, g, groups)}
        measured = [g for g in groups if not g.excluded and g.name not in certain]
        hooked = [layer for layer in _hooked(network) if not layer.excluded]
        return sensitivities(
            network, measured, hooked, self.batches, self.preset.probes, self.seed, self.progress
        )

    def _certainly_reuses(self, network: fx.GraphModule, group: Group, groups: list[Group]) -> bool:
        """True where levels are used again whatever the step, so that no sensitivity is needed."""
        if not self.preset.reuse_levels or not reads_linearly(network, group):
            return False
        sources = [g for g in groups if group.conv.args[0] is g.output and len(g.sides) == 1]
        weight = network.get_submodule(group.conv.target).weight.detach().double().flatten(1)
        return bool(sources) and not sources[0].excluded and is_invertible(weight, SAFE_CONDITION)

    @property
    def _hooked_keys(self) -> set[tuple[str, str]]:
        network, _, _ = self._prepare()
        return {(layer.name, BEFORE) for layer in _hooked(network)}

    @cached_property
    def _metrics(self) -> dict[tuple[str, str], torch.Tensor]:
        """The regularised metric of each layer and side."""
        network, groups, _ = self._prepare()
        background = {
            (group.name, name): placement.consumer_metric(network, side.consumers)
            for group in groups
            for name, side in group.sides.items()
        }
        probes = self.preset.probes * sum(len(batch) for batch in self.batches)
        return {
            key: placement.regularized(
                sensitivity.metric, background.get(key), self.preset.regularization, probes
            )
            for key, sensitivity in self._sensitivities.items()
        }

    @cached_property
    def _spectra(self) -> dict[tuple[str, str], Spectrum]:
        return {
            key: Spectrum.of(sensitivity, self._metrics[key])
            for key, sensitivity in self._sensitivities.items()
        }

    def _calibrated(
        self, batches: list[torch.Tensor], bits: int | None = None, step: float | None = None
    ) -> CompressedModel:
        """One sequential calibration on these images."""
        network, groups, grids = self._prepare()
        if step is not None and self.preset.choose_sides:
            placement.choose_sides(groups, self._spectra, step)
        if self.preset.side == AFTER:
            for group in groups:
                group.side = AFTER if AFTER in group.sides else group.side
        fitting = _Fitting(self, network, groups, grids, bits, step)
        beside = {}
        if self.preset.compensate:
            clean = prepare(self.model, {**self.settings, "weight_bits": 32})[0]
            beside = {"reference": clean, "refit": fitting.refit}
        codecs = run_sequentially(network, groups, batches, fitting.fit, self.progress, **beside)
        images = sum(len(batch) for batch in batches)
        _warn_of_few(fitting.few, images)
        if step is not None:
            _warn_of_clamped(codecs, step)
        settings = {
            **self.settings,
            "setting": {"kind": "step", "value": step} if bits is None else Bits(bits).setting,
            "sides": {group.name: group.side for group in groups},
            "seconds_calibrate": 0.0,
            "calibration_images": images + (self.start.calibration_images if self.start else 0),
        }
        return assemble(self.model, network, groups, codecs, settings, fitting.refitted)


class _Fitting:
    """What a sequential calibration does at each layer."""

    def __init__(self, compressor: Compressor, network, groups, grids, bits, step):
        self.of, self.network, self.groups, self.grids = compressor, network, groups, grids
        self.bits, self.step = bits, step
        self.few: dict[str, tuple[int, int]] = {}
        self.refitted: dict[str, nn.Conv2d] = {}
        self.codec_at: dict[fx.Node, TensorCodec] = {}

    def fit(self, layer: Group | HookedConv, tensors: list[torch.Tensor]):
        """The codec of one layer's tensors."""
        of = self.of
        if layer.excluded:
            return PlainCodec.fit(tensors, PLAIN_BITS, layer.name)
        if of.start is not None and layer.name not in of.start.codecs:
            raise CalibrationError(f"the calibration to continue has no layer {layer.name}")
        calibration = Calibration(
            of.preset,
            of.block,
            self.bits,
            None if self.step is None else self._weighting(layer),
            name=layer.name,
            keep_moments=of.keep_moments,
        )
        codec = calibration.fit(tensors, of.start.codecs[layer.name] if of.start else None)
        if calibration.few is not None:
            self.few[layer.name] = calibration.few
        if isinstance(layer, Group):
            self.codec_at[layer.output] = codec
        return codec

    def refit(self, group: Group, conv: nn.Conv2d, inputs, targets) -> nn.Conv2d:
        """The group's convolution, made to fit its decoded inputs, on the grid of its weights."""
        changed = refit(conv, inputs, targets)
        if changed is conv:
            return conv
        if group.conv.target in self.grids:
            weight = self.grids[group.conv.target].round(changed.weight)
            changed = fold.conv_like(changed, weight, changed.bias)
        self.refitted[group.name] = changed
        return changed

    def _weighting(self, layer: Group | HookedConv) -> Weighting:
        given = self._reused(layer) if isinstance(layer, Group) else None
        if given is not None:
            return Weighting(self.step, given=given)
        side = layer.side if isinstance(layer, Group) else BEFORE
        metric = self.of._metrics.get((layer.name, side))
        return Weighting(self.step, self._metric_of_source(layer) if metric is None else metric)

    def _reused(self, group: Group) -> Transform | None:
        """The transform that finds the levels which went into a 1x1 convolution in what it writes.

        The convolution is linear in the levels that it reads, x = V y + mean: from W x + b they
        come back exactly, and nothing new is lost by coding them again.
        """
        source = self.codec_at.get(group.conv.args[0])
        if not self.of.preset.reuse_levels or not isinstance(source, TensorCodec):
            return None
        if group.side != BEFORE or not reads_linearly(self.network, group):
            return None
        conv = self.network.get_submodule(group.conv.target)
        weight = conv.weight.detach().double().flatten(1)
        inverse = weight @ source.transform.inverses[0].double()
        if not is_invertible(inverse, WORST_CONDITION):
            return None
        mean = weight @ source.transform.means[0].double() + fold.bias_of(conv)
        return Transform([torch.linalg.pinv(inverse).float()], [inverse.float()], [mean])

    def _metric_of_source(self, group: Group | HookedConv) -> torch.Tensor:
        """For a layer whose levels could not be used again: what its input's metric says of it."""
        if isinstance(group, HookedConv):
            raise CalibrationError(
                f"layer {group.name} did not run while sensitivities were measured, but does on "
                "decoded tensors: what its module computes depends on their values. Leave it out "
                f"with exclude=['{group.name}'], or take a preset with a knob b, which needs none"
            )
        [source] = [g for g in self.groups if g.output is group.conv.args[0]]
        conv = self.network.get_submodule(group.conv.target)
        back = torch.linalg.pinv(conv.weight.detach().double().flatten(1))
        metric = self.of._metrics.get((source.name, source.side))
        if metric is None:  # the source is such a layer too
            metric = self._metric_of_source(source)
        metric = back.T @ metric @ back
        return placement.regularized(metric, None, self.of.preset.regularization, len(metric))


def reads_linearly(network: fx.GraphModule, group: Group) -> bool:
    """True for a group that is one 1x1 convolution and nothing else before its coding point."""
    first = group.sides[BEFORE]
    if not first.foldable or first.output is not group.conv:
        return False
    conv = network.get_submodule(group.conv.target)
    return conv.kernel_size == (1, 1) and conv.padding in ((0, 0), "valid")


def is_invertible(matrix: torch.Tensor, condition: float) -> bool:
    """Whether y can be told from matrix @ y: its singular values differ by 1/condition at most."""
    if matrix.shape[0] < matrix.shape[1]:
        return False
    singular = torch.linalg.svdvals(matrix)
    return bool(singular[-1] >= condition * singular[0] > 0)


def _warn_of_few(few: dict[str, tuple[int, int]], images: int) -> None:
    """Say that there are too few calibration images, and how many would do."""
    if not few:
        return
    name, (samples, size) = min(few.items(), key=lambda item: item[1][0] / item[1][1])
    needed = math.ceil(images * SAMPLES_PER_COMPONENT * size / samples)
    warnings.warn(
        f"{len(few)} layer(s) have too few calibration samples to tell which components are empty "
        f"({name}: {samples} for {size}); none is dropped there, at a cost in rate and arithmetic. "
        f"Calibrate with {needed} images or more instead of {images}.",
        stacklevel=3,
    )


def _warn_of_clamped(codecs: dict[str, TensorCodec | PlainCodec], step: float) -> None:
    """Say that int16 levels do not reach as far as the values do at this step."""
    clamped = {name: c.clamped for name, c in codecs.items() if getattr(c, "clamped", 0)}
    if clamped:
        worst = max(clamped, key=clamped.get)
        warnings.warn(
            f"step {step:g} is too fine: in {len(clamped)} layer(s) calibration values lie beyond "
            f"the 16-bit levels and are clamped ({worst}: {clamped[worst]} of "
            f"{codecs[worst].values}), which costs accuracy; take a coarser step",
            stacklevel=4,
        )


@torch.no_grad()
def _check_network(network: fx.GraphModule, model: nn.Module, image: torch.Tensor) -> None:
    """Raise TraceError where the rewritten graph does not compute what the model computes."""
    expected, got = first_tensor(model(image)), first_tensor(network(image))
    error = float((got - expected).norm() / expected.norm().clamp(min=1e-12))
    if not error <= SELF_CHECK_TOLERANCE:
        raise TraceError(
            f"the traced graph of {type(model).__name__} does not compute what the model computes "
            f"(relative difference {error:.2g} on a calibration image). Its forward probably "
            "depends on tensor values or on Python state; keep that module whole with "
            "leaf_modules=[...], or the model itself with leaf_modules=['']"
        )


def _micro_batches(images, size: int) -> list[torch.Tensor]:
    batches = [images] if isinstance(images, torch.Tensor) else list(images)
    check_images(batches)
    return [part for batch in batches for part in batch.float().split(size)]


@torch.no_grad()
def prepare(
    model: nn.Module, settings: dict
) -> tuple[fx.GraphModule, list[Group], dict[str, WeightGrid]]:
    """The traced network with folded BN and quantised weights, its groups, and weights' grids."""
    example = torch.zeros(1, *settings["input_shape"])
    network = trace(model, settings["leaf_modules"])
    groups = find_groups(network, example)
    select([*groups, *_hooked(network)], settings["include"], settings["exclude"])
    fold.fold_batch_norms(network, groups)
    return network, groups, quantize_network(network, settings["weight_bits"])


def _hooked(network: nn.Module) -> list[HookedConv]:
    return [layer for module in untraced_modules(network) for layer in module.layers]


@torch.no_grad()
def assemble(
    model: nn.Module,
    network: fx.GraphModule,
    groups: list[Group],
    codecs: dict[str, TensorCodec | PlainCodec],
    settings: dict,
    refitted: dict[str, nn.Conv2d],
) -> CompressedModel:
    """Put the codecs into the network, folding transforms into its convolutions where exact.

    refitted: convolutions by the names of their groups, which take the place of the network's.
    """
    example = torch.zeros(1, *settings["input_shape"])
    for layer in _hooked(network):
        layer.code = None  # what calibration left there
    plain_multiply_adds = count_multiply_adds(network, example)
    for group in groups:
        if group.name in refitted:
            network.add_submodule(group.conv.target, refitted[group.name])
    reads = count_reads(groups)
    points = {group.name: _insert(network, group, codecs[group.name]) for group in groups}
    for name, point in points.items():
        point.reads = reads[name]
    fold.tidy(network)
    for module in untraced_modules(network):
        for layer in module.layers:
            if layer.name in codecs:
                points[layer.name] = make_point(codecs[layer.name])
                module.attach(layer, points[layer.name])
    points = {name: points[name] for name in codecs}  # execution order
    settings = dict(settings)
    for point in points.values():
        point.mode = "float"
    settings["multiply_adds"] = {
        "plain": plain_multiply_adds,
        "compressed": count_multiply_adds(network, example),
    }
    return CompressedModel(network, model, points, codecs, settings, refitted).eval()


def _insert(network: fx.GraphModule, group: Group, codec) -> CodingPoint:
    """Rewrite one group: fold what can be folded, then insert its coding point."""
    foldable = isinstance(codec, TensorCodec) and codec.foldable
    folded, consumers = foldable and group.foldable, group.consumers if foldable else []
    if folded:
        _fold_forward(network, group, codec)
    for consumer in consumers:
        _fold_inverse(network, consumer, codec)
    point = make_point(codec, forward_folded=folded, inverse_folded=bool(consumers))
    name = fold.module_name("point", group.name)
    network.add_submodule(name, point)
    with network.graph.inserting_after(group.output):
        node = network.graph.call_module(name, (group.output,))
    group.output.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)
    if isinstance(codec, TensorCodec) and not consumers:
        _take_activation(network, node, point)
    return point


def _take_activation(network: fx.GraphModule, node: fx.Node, point: CodedPoint) -> None:
    """Let the point apply the activation that alone reads it, where that only limits values."""
    activation = next(iter(node.users)) if len(node.users) == 1 else None
    limits = activation and activation_limits(network, activation)
    if limits:
        point.limits = limits
        activation.replace_all_uses_with(node)
        network.graph.erase_node(activation)


def _fold_forward(network: fx.GraphModule, group: Group, codec: TensorCodec) -> None:
    """y = W'x + sum of T r: transform the weights, and each residual by a product of its own."""
    matrix, offset = codec.transform.matrices[0], codec.transform.offsets[0]
    conv = network.get_submodule(group.conv.target)
    network.add_submodule(group.conv.target, fold.fold_output(conv, matrix, offset))
    for i, add in enumerate(group.adds):
        residual = group.residual(add)
        name = fold.module_name(f"residual{i}", group.name)
        product = nn.Conv2d(matrix.shape[1], matrix.shape[0], 1, bias=False, device="meta")
        product.weight = nn.Parameter(matrix[:, :, None, None].clone(), requires_grad=False)
        network.add_submodule(name, product)
        with network.graph.inserting_before(add):
            node = network.graph.call_module(name, (residual,))
        add.args = tuple(node if arg is residual else arg for arg in add.args)


def _fold_inverse(network: fx.GraphModule, consumer: fx.Node, codec: TensorCodec) -> None:
    conv = network.get_submodule(consumer.target)
    matrix, mean = codec.transform.inverses[0], codec.transform.means[0]
    network.add_submodule(consumer.target, fold.fold_input(conv, matrix, mean))


def count_multiply_adds(network: nn.Module, example: torch.Tensor) -> int:
    """Multiply-adds of convolutions and matrix products for one input."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(example)
    return counter.get_total_flops() // 2


def load(path, model: nn.Module) -> CompressedModel:
    """Put a codec saved by ``CompressedModel.save`` back on its model.

    Streams are bit-identical to those of the saved object. Raises fmtc.StorageError where the file
    is damaged, of an unknown version, or was made for another model.
    """
    from .storage import load_model

    return load_model(path, model)
