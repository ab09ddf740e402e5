"""How much the network's output depends on each coding point.

docs/method.md, "Sensitivities".

For a random direction v with independent normal entries, E[(v . J e)^2] = ||J e||^2: the gradient
g = d(v . output)/dx of a few such probes gives M = mean of g g^T over images and positions, and an
error e at every position changes the output by e^T M e for each, where errors are small and
independent. No labels are needed. An image's output counts in units of its own deviation, since
the signal-to-noise ratio is that of each image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import fx

from .. import ops
from ..network.groups import BEFORE, Group
from ..network.outputs import first_tensor
from ..network.untraced import HookedConv
from ..progress import Progress, stage

# (outputs [N, ...], probes, generator) -> directions [N, probes, ...] in which they are probed.
Directions = Callable[[torch.Tensor, int, torch.Generator], torch.Tensor]
# Images whose values and gradients are held at a time.
IMAGES_AT_A_TIME = 8
# Gradients for each channel from which a metric is known well enough: large tensors have far more,
# and their moments would be most of the work.
SAMPLES_PER_CHANNEL = 1024


@dataclass
class Sensitivity:
    """Of a tensor [N, C, H, W]: ``metric`` M and ``covariance``, f64 [C, C], pixels of an image."""

    metric: torch.Tensor
    covariance: torch.Tensor
    positions: float


def half_of(matrix: torch.Tensor) -> torch.Tensor:
    """The upper half of a symmetric matrix [C, C], row by row; [C (C + 1) / 2]."""
    return matrix[torch.ones_like(matrix, dtype=torch.bool).triu()]


def whole_of(half: torch.Tensor, size: int) -> torch.Tensor:
    """The symmetric matrix [size, size] of its upper half."""
    matrix = half.new_zeros(size, size)
    matrix[torch.ones_like(matrix, dtype=torch.bool).triu()] = half
    return matrix + matrix.triu(1).T


class _Collected:
    """Second moments of a tensor and of its gradients, at some of its positions.

    Of many wide layers they take more memory than the weights, so of matrices half is held.
    images: in all; probes: for each.
    """

    def __init__(self, images: int, probes: int, seed: int):
        # Count, mean f64 [C], half of the second moments f64 [C, C].
        self.values: tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None = None
        self.products: torch.Tensor | float = 0.0  # half of the sum of g g^T, f64 [C, C]
        self.gradients = 0
        self.images, self.probes, self.seed = images, probes, seed
        self.positions = 0  # of all images together

    def add_values(self, x: torch.Tensor, image: int) -> None:
        self.positions += x[:, 0].numel()
        some = self._some(x, image + torch.arange(len(x)), self.images)
        count, mean, m2 = ops.channel_moments(some)
        if self.values is not None:
            count0, mean0, half = self.values
            before = count0, mean0, whole_of(half, len(mean))
            count, mean, m2 = ops.merge_moments(*before, count, mean, m2)
        self.values = count, mean, half_of(m2)

    def add_gradients(self, gradients: list[torch.Tensor]) -> None:
        g = torch.cat([part.transpose(0, 1).flatten(1) for part in gradients], 1)  # [C, all]
        self.gradients += g.shape[1]
        # In double: rounding would be taken for directions that the output depends on.
        g = g.double()
        self.products = half_of(g @ g.T) + self.products

    def gradients_of(self, x: torch.Tensor, image: int, probe: int) -> torch.Tensor:
        """What ``add_gradients`` takes of a gradient [N, C, H, W]."""
        turn = (image + torch.arange(len(x))) * self.probes + probe
        return self._some(x, turn, self.images * self.probes)

    def _some(self, x: torch.Tensor, turn: torch.Tensor, turns: int) -> torch.Tensor:
        """[N, C, some positions, 1] of [N, C, H, W]; turn: of each image, i64 [N], out of so many.

        Each goes on where the one before stopped, in an order that has every position once, so that
        none counts more than another.
        """
        flat = x.flatten(2)
        positions = flat.shape[2]
        most = -(-SAMPLES_PER_CHANNEL * x.shape[1] // turns)
        if positions > most:
            order = torch.randperm(positions, generator=torch.Generator().manual_seed(self.seed))
            at = order[(turn[:, None] * most + torch.arange(most)) % positions]
            flat = flat.gather(2, at[:, None].expand(-1, x.shape[1], -1))
        return flat[..., None]

    def finish(self) -> Sensitivity:
        assert self.values is not None
        count, mean, m2 = self.values
        metric = torch.as_tensor(self.products) / self.gradients
        metric, covariance = (whole_of(half, len(mean)) for half in (metric, m2 / count))
        return Sensitivity(metric, covariance, self.positions / self.images)


class _Recorder(fx.Interpreter):
    """Runs a network with gradients and keeps the values of ``nodes`` and of hooked layers."""

    def __init__(self, network: fx.GraphModule, nodes: dict[fx.Node, list[tuple[str, str]]]):
        super().__init__(network)
        self.nodes = nodes
        self.seen: dict[tuple[str, str], list[torch.Tensor]] = {}

    def run_node(self, node: fx.Node):
        result = super().run_node(node)
        for key in self.nodes.get(node, ()):
            result = self.keep(key, result)
        return result

    def keep(self, key: tuple[str, str], x: torch.Tensor) -> torch.Tensor:
        x = x if x.requires_grad else x.detach().requires_grad_()
        self.seen.setdefault(key, []).append(x)
        return x


def normal_directions(
    output: torch.Tensor, probes: int, generator: torch.Generator
) -> torch.Tensor:
    """Independent normal entries, in units of the deviation of each image's output."""
    flat = output.flatten(1)
    deviation = (flat - flat.mean(1, keepdim=True)).norm(dim=1).clamp(min=1e-12)
    # Drawn image by image, so that they do not depend on how the images are split into batches.
    drawn = [torch.randn(probes, *output.shape[1:], generator=generator) for _ in output]
    return torch.stack([v / scale for v, scale in zip(drawn, deviation, strict=True)])


def sensitivities(
    network: fx.GraphModule,
    groups: list[Group],
    hooked: list[HookedConv],
    images: list[torch.Tensor],
    probes: int,
    seed: int = 0,
    progress: Progress = False,
    directions: Directions = normal_directions,
) -> dict[tuple[str, str], Sensitivity]:
    """Sensitivity of each group's tensors, by (layer name, side), and of hooked convolutions.

    images: batches [N, C, H, W]; a few are run at a time and nothing of them is kept. probes:
    random directions for each image. Equal for equal seeds. Tensors that the output does not
    depend on get a metric of zeros; layers that are never called get none.
    """
    return dict(
        each_sensitivity(network, groups, hooked, images, probes, seed, progress, directions)
    )


def each_sensitivity(
    network: fx.GraphModule,
    groups: list[Group],
    hooked: list[HookedConv],
    images: list[torch.Tensor],
    probes: int,
    seed: int = 0,
    progress: Progress = False,
    directions: Directions = normal_directions,
) -> Iterator[tuple[tuple[str, str], Sensitivity]]:
    """One by one what `sensitivities` gives: all of them can be larger than the network."""
    nodes: dict[fx.Node, list[tuple[str, str]]] = {}
    for group in groups:
        for name, side in group.sides.items():
            nodes.setdefault(side.output, []).append((group.name, name))
    collected: dict[tuple[str, str], _Collected] = {}
    generator = torch.Generator().manual_seed(seed)
    parts = [part for batch in images for part in batch.split(IMAGES_AT_A_TIME)]
    count = sum(len(part) for part in parts)
    done = 0
    with stage(progress, "sensitivities", len(parts), "batch") as advance:
        for part in parts:
            recorder = _Recorder(network, nodes)
            with torch.enable_grad(), _recording(hooked, recorder):
                output = first_tensor(recorder.run(part))
                drawn = directions(output.detach(), probes, generator)
                for key in recorder.seen:
                    collected.setdefault(key, _Collected(count, probes, seed))
                _collect(collected, recorder.seen, output, drawn, done)
            done += len(part)
            advance(1)
    for key in list(collected):
        yield key, collected.pop(key).finish()


@contextmanager
def _recording(hooked: list[HookedConv], recorder: _Recorder) -> Iterator[None]:
    """While it is entered, hooked convolutions record too."""
    for layer in hooked:
        # A clone, because the module may go on in place.
        layer.code = lambda x, name=layer.name: recorder.keep((name, BEFORE), x).clone()
    try:
        yield
    finally:
        for layer in hooked:
            layer.code = None


def _collect(collected, seen, output: torch.Tensor, directions: torch.Tensor, image: int) -> None:
    """Add the moments of what was seen in one run, and of its gradients in each direction.

    image: the number of the first one.
    """
    keys = [(key, x) for key, calls in seen.items() for x in calls]
    tensors = [x for _, x in keys]
    if not tensors:  # all layers are left out
        return
    for key, x in keys:
        collected[key].add_values(x.detach(), image)
    probes = directions.shape[1]
    found: list[list[torch.Tensor]] = [[] for _ in keys]
    for probe in range(probes):
        gradients = torch.autograd.grad(
            output,
            tensors,
            directions[:, probe],
            retain_graph=probe + 1 < probes,
            allow_unused=True,
        )
        for (key, x), gradient, parts in zip(keys, gradients, found, strict=True):
            gradient = torch.zeros_like(x) if gradient is None else gradient
            parts.append(collected[key].gradients_of(gradient, image, probe))
    for (key, _), parts in zip(keys, found, strict=True):
        collected[key].add_gradients(parts)
