"""What the output depends on at each coding point of a network, measured once for all steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property

import torch

from ..network.fold import plain_convolution
from ..network.groups import Group
from ..network.prepared import Prepared
from ..presets import StepPreset
from ..progress import Progress
from . import placement
from .placement import Spectrum
from .reuse import certainly_reuses
from .sensitivity import Directions, Key, Sensitivity, sensitivities
from .symmetric import Symmetric


class SymmetricMatrices(Mapping[Key, torch.Tensor]):
    """Symmetric matrices by layer and side, of which half is held."""

    def __init__(self, matrices: Iterable[tuple[Key, torch.Tensor]]):
        self._matrices = {key: Symmetric.of(matrix[None]) for key, matrix in matrices}

    def __getitem__(self, key: Key) -> torch.Tensor:
        return self._matrices[key].whole()[0]

    def __iter__(self) -> Iterator[Key]:
        return iter(self._matrices)

    def __len__(self) -> int:
        return len(self._matrices)


class Metrics:
    """Sensitivities, metrics and spectra by layer and side, each made when it is first asked for.

    prepared: the network, which is not changed. images: float32 batches [N, C, H, W]. directions:
    in which its outputs are probed.
    Of a large network all of them together are larger than its weights. Sensitivities are kept only
    where they were asked for first; metrics and spectra do without.
    """

    def __init__(
        self,
        prepared: Prepared,
        images: list[torch.Tensor],
        preset: StepPreset,
        directions: Directions,
        seed: int = 0,
        progress: Progress = False,
    ):
        self.prepared, self.images, self.preset = prepared, images, preset
        self.seed, self.progress, self.directions = seed, progress, directions

    @cached_property
    def sensitivities(self) -> dict[Key, Sensitivity]:
        """Of every tensor but those whose levels are certainly used again."""
        return dict(self._measured())

    def _measured(self) -> Iterator[tuple[Key, Sensitivity]]:
        prepared, preset = self.prepared, self.preset
        measured = [
            group
            for group in prepared.groups
            if not group.excluded
            and not (preset.reuse_levels and certainly_reuses(prepared, group))
        ]
        return sensitivities(
            prepared.network,
            measured,
            self.images,
            self.directions,
            preset.probes,
            self.seed,
            self.progress,
        )

    @cached_property
    def metrics(self) -> Mapping[Key, torch.Tensor]:
        """The regularised metric of each layer and side, f64 [C, C]."""
        return self._of_sensitivities[0]

    @cached_property
    def frequencies(self) -> dict[Key, dict[int, torch.Tensor]]:
        """What errors of each frequency cost (``Sensitivity.frequencies``)."""
        return self._of_sensitivities[2]

    @cached_property
    def spectra(self) -> dict[Key, Spectrum]:
        """The variances of each tensor's components in its metric."""
        return self._of_sensitivities[1]

    @cached_property
    def _of_sensitivities(
        self,
    ) -> tuple[Mapping[Key, torch.Tensor], dict[Key, Spectrum], dict[Key, dict[int, torch.Tensor]]]:
        known = vars(self).get("sensitivities")
        measured = self._measured() if known is None else known.items()
        probes = self.preset.probes * sum(len(batch) for batch in self.images)
        groups = {group.name: group for group in self.prepared.groups}
        spectra, frequencies = {}, {}

        def made() -> Iterator[tuple[Key, torch.Tensor]]:
            for (name, side), sensitivity in measured:
                metric = placement.regularized(
                    sensitivity.metric,
                    self._background(groups[name], side),
                    self.preset.regularization,
                    probes,
                )
                spectra[name, side] = Spectrum.of(sensitivity, metric)
                frequencies[name, side] = sensitivity.frequencies
                yield (name, side), metric

        return SymmetricMatrices(made()), spectra, frequencies

    def _background(self, group: Group, side: str) -> torch.Tensor | None:
        """What the convolutions see that read a group's output there."""
        by_node = {other.maker: other for other in self.prepared.groups}
        readers = [by_node[node] for node in group.sides[side].consumers]
        convs = (plain_convolution(reader) for reader in readers)
        return placement.consumer_metric(conv.weight for conv in convs if conv is not None)

    def with_sensitivities(self, sensitivities: dict[Key, Sensitivity]) -> Metrics:
        """These with other sensitivities."""
        made = Metrics.__new__(Metrics)
        measured = {"sensitivities", "metrics", "spectra", "frequencies", "_of_sensitivities"}
        kept = vars(self).keys() - measured
        vars(made).update({name: vars(self)[name] for name in kept})
        made.sensitivities = sensitivities
        return made

    def with_metrics(self, metrics: Mapping[Key, torch.Tensor]) -> Metrics:
        """These with other metrics of the same sensitivities."""
        known = self.sensitivities
        made = self.with_sensitivities(known)
        made.metrics = metrics
        made.frequencies = {key: known[key].frequencies for key in known}
        made.spectra = {key: Spectrum.of(known[key], metrics[key]) for key in known}
        return made

    def coded(self, step: float, groups: list[Group]) -> list[Spectrum]:
        """The spectra of what is coded at this step; chooses the groups' sides."""
        placement.choose_sides(groups, self.spectra, step)
        keys = [(group.name, group.side) for group in groups]
        return [self.spectra[key] for key in keys if key in self.spectra]
