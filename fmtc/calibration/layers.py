"""What a sequential calibration does at each layer."""

from __future__ import annotations

import math

import torch
from torch import fx, nn

from ..codec.codec import Codec, TensorCodec
from ..codec.plain import PlainCodec
from ..config import CompressConfig
from ..errors import CalibrationError
from ..network import fold
from ..network.groups import Group
from ..network.prepared import Prepared
from ..planes import Layout
from ..presets import StepPreset
from ..results.result import PLAIN_BITS
from . import placement
from .fit import SAMPLES_PER_COMPONENT, Fit, Knob
from .metrics import Metrics
from .refit import refit
from .reuse import reused, times_written

REPEATING = ("pool", "resize")  # kinds of tensors whose positions may be the same


class Layers:
    """Fits codecs and refits convolutions of ``prepared``, one calibration long.

    knob: bits, or a step, to which ``metrics`` belong. start: codecs whose moments are continued.
    After it, ``refitted`` has the layers whose convolution was, ``reused`` those that use levels
    again and whose, and ``notes`` what the user should know of.
    """

    def __init__(
        self,
        config: CompressConfig,
        prepared: Prepared,
        knob: Knob,
        metrics: Metrics | None = None,
        start: dict[str, Codec] | None = None,
    ):
        self.config, self.prepared, self.knob = config, prepared, knob
        self.metrics, self.start = metrics, start
        self.refitted: list[str] = []
        self.reused: dict[str, str] = {}
        self._few: dict[str, tuple[int, int]] = {}
        self._clamped: dict[str, TensorCodec] = {}
        self._coded_at: dict[tuple[fx.Node, Layout], tuple[str, TensorCodec]] = {}

    def fit(self, layer: Group, tensors: list[torch.Tensor]) -> Codec:
        """The codec of one layer's tensors."""
        if layer.excluded:
            return PlainCodec.fit(tensors, PLAIN_BITS, layer.name)
        fit = Fit(
            self.config.scheme,
            self.config.transform_block,
            self.knob if self.metrics is None else self._weighted(layer, self.metrics),
            layer.name,
            self.config.keep_moments,
            repeats=layer.kind in REPEATING,
        )
        codec = fit(tensors, self._started(layer))
        if fit.few is not None:
            self._few[layer.name] = fit.few
        if self.metrics is not None and codec.clamped:
            self._clamped[layer.name] = codec
        self._coded_at[layer.output, layer.layout] = layer.name, codec
        return codec

    def refit(
        self,
        group: Group,
        conv: nn.Conv2d,
        inputs: list[torch.Tensor],
        targets: list[torch.Tensor],
    ) -> nn.Conv2d:
        """The group's convolution, made to fit its decoded inputs, on the grid of its weights."""
        changed = refit(conv, inputs, targets)
        if changed is conv:
            return conv
        grid = self.prepared.grids.get(group.name)
        if grid is not None:
            changed = fold.conv_like(changed, grid.round(changed.weight), changed.bias)
        self.refitted.append(group.name)
        return changed

    def _started(self, layer: Group) -> TensorCodec | None:
        if self.start is None:
            return None
        codec = self.start.get(layer.name)
        if not isinstance(codec, TensorCodec):
            raise CalibrationError(f"the calibration to continue has no layer {layer.name}")
        return codec

    def _weighted(self, layer: Group, metrics: Metrics) -> Knob:
        """The step, and what an error of this layer's tensor costs."""
        step, preset = self.knob.step, self.config.scheme
        assert isinstance(preset, StepPreset)
        if preset.reuse_levels:
            read = None if layer.reads is None else (_input(layer), layer.reads)
            name, source = self._coded_at.get(read, (None, None)) if read else (None, None)
            again = reused(layer, source)
            if again is not None and source is not None and name is not None:
                self.reused[layer.name] = name
                return Knob(step=step, again=(again, source))
        metric = metrics.metrics.get((layer.name, layer.side))
        if metric is None:
            metric = self._metric_of_source(layer, metrics)
        costs = metrics.frequencies.get((layer.name, layer.side), {})
        allowed = {size: cost for size, cost in costs.items() if size <= preset.frequencies}
        # Bits that are written n times must save n times as much error: step^2 in proportion to n.
        times = times_written(self.prepared, layer) if preset.reuse_levels else 1
        return Knob(step=step, metric=metric / times, frequencies=allowed)

    def _metric_of_source(self, layer: Group, metrics: Metrics) -> torch.Tensor:
        """For a layer whose levels could not be used again: what its input's metric says of it."""
        sources = [g for g in self.prepared.groups if g.output is layer.maker.args[0]]
        if not sources:
            raise CalibrationError(
                f"layer {layer.name} did not run while sensitivities were measured, but does on "
                "decoded tensors: what the model computes depends on their values. Leave it out "
                f"with exclude=['{layer.name}'], or take a preset with a knob b, which needs none"
            )
        [source] = sources
        conv = fold.plain_convolution(layer)
        assert conv is not None
        back = torch.linalg.pinv(conv.weight.detach().double().flatten(1))
        metric = metrics.metrics.get((source.name, source.side))
        if metric is None:  # the source is such a layer too
            metric = self._metric_of_source(source, metrics)
        metric = back.T @ metric @ back
        return placement.regularized(metric, None, metrics.preset.regularization, len(metric))

    def notes(self, images: int) -> list[str]:
        """Sentences about what went less well than it could, for this many images."""
        notes = []
        if self._few:
            name, (samples, size) = min(self._few.items(), key=lambda it: it[1][0] / it[1][1])
            needed = math.ceil(images * SAMPLES_PER_COMPONENT * size / samples)
            notes.append(
                f"{len(self._few)} layer(s) have too few calibration samples to tell which "
                f"components are empty ({name}: {samples} for {size}); none is dropped there, at a "
                f"cost in rate and arithmetic. Calibrate with {needed} images or more instead of "
                f"{images}."
            )
        if self._clamped:
            worst = max(self._clamped, key=lambda name: self._clamped[name].clamped)
            codec = self._clamped[worst]
            notes.append(
                f"step {self.knob.step:g} is too fine: in {len(self._clamped)} layer(s) "
                "calibration values lie beyond the 16-bit levels and are clamped "
                f"({worst}: {codec.clamped} of {codec.values}), which costs accuracy; take a "
                "coarser step"
            )
        return notes


def _input(group: Group) -> fx.Node:
    """The node whose value the group's convolution reads."""
    source = group.maker.args[0]
    assert isinstance(source, fx.Node)
    return source
