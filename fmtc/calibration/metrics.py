"""What the output depends on at each coding point of a network, measured once for all steps."""

from __future__ import annotations

from functools import cached_property

import torch

from ..network.fold import plain_convolution
from ..network.groups import BEFORE, Group
from ..network.prepared import Prepared
from ..presets import StepPreset
from ..progress import Progress
from . import placement
from .placement import Spectrum
from .reuse import certainly_reuses
from .sensitivity import Directions, Sensitivity, normal_directions, sensitivities

Key = tuple[str, str]  # a layer's name and the side of its activation


class Metrics:
    """Sensitivities, metrics and spectra by layer and side, each made when it is first asked for.

    prepared: the network, which is not changed. images: float32 batches [N, C, H, W].
    """

    def __init__(
        self,
        prepared: Prepared,
        images: list[torch.Tensor],
        preset: StepPreset,
        seed: int = 0,
        progress: Progress = False,
        directions: Directions = normal_directions,
    ):
        self.prepared, self.images, self.preset = prepared, images, preset
        self.seed, self.progress, self.directions = seed, progress, directions

    @cached_property
    def sensitivities(self) -> dict[Key, Sensitivity]:
        """Of every tensor but those whose levels are certainly used again."""
        prepared, preset = self.prepared, self.preset
        measured = [
            group
            for group in prepared.groups
            if not group.excluded
            and not (preset.reuse_levels and certainly_reuses(prepared, group))
        ]
        hooked = [layer for layer in prepared.hooked if not layer.excluded]
        return sensitivities(
            prepared.network,
            measured,
            hooked,
            self.images,
            preset.probes,
            self.seed,
            self.progress,
            self.directions,
        )

    @cached_property
    def metrics(self) -> dict[Key, torch.Tensor]:
        """The regularised metric of each layer and side, f64 [C, C]."""
        probes = self.preset.probes * sum(len(batch) for batch in self.images)
        groups = {group.name: group for group in self.prepared.groups}
        return {
            (name, side): placement.regularized(
                sensitivity.metric,
                self._background(groups.get(name), side),
                self.preset.regularization,
                probes,
            )
            for (name, side), sensitivity in self.sensitivities.items()
        }

    def _background(self, group: Group | None, side: str) -> torch.Tensor | None:
        """What the convolutions see that read a group's output there."""
        if group is None:
            return None
        by_node = {other.conv: other for other in self.prepared.groups}
        readers = [by_node[node] for node in group.sides[side].consumers]
        convs = (plain_convolution(self.prepared.network, reader) for reader in readers)
        return placement.consumer_metric(conv.weight for conv in convs if conv is not None)

    @cached_property
    def spectra(self) -> dict[Key, Spectrum]:
        """The variances of each tensor's components in its metric."""
        return {
            key: Spectrum.of(sensitivity, self.metrics[key])
            for key, sensitivity in self.sensitivities.items()
        }

    def with_sensitivities(self, sensitivities: dict[Key, Sensitivity]) -> Metrics:
        """These with other sensitivities."""
        made = Metrics.__new__(Metrics)
        kept = vars(self).keys() - {"sensitivities", "metrics", "spectra"}
        vars(made).update({name: vars(self)[name] for name in kept})
        made.sensitivities = sensitivities
        return made

    def with_metrics(self, metrics: dict[Key, torch.Tensor]) -> Metrics:
        """These with other metrics of the same sensitivities."""
        made = self.with_sensitivities(self.sensitivities)
        made.metrics = metrics
        return made

    def coded(self, step: float, groups: list[Group]) -> list[Spectrum]:
        """The spectra of what is coded at this step; chooses the groups' sides."""
        placement.choose_sides(groups, self.spectra, step)
        keys = [(group.name, group.side) for group in groups]
        keys += [(layer.name, BEFORE) for layer in self.prepared.hooked]
        return [self.spectra[key] for key in keys if key in self.spectra]
