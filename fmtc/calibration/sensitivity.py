"""How much the network's output depends on each coding point.

docs/method.md, "Sensitivities".

For a random direction v with independent normal entries, E[(v . J e)^2] = ||J e||^2: the gradient
g = d(v . output)/dx of a few such probes gives M = mean of g g^T over images and positions, and an
error e at every position changes the output by e^T M e for each, where errors are small and
independent. No labels are needed. All outputs that count are probed together, each in units of its
own deviation (`fmtc.calibration.units`), as the signal-to-noise ratio has them: with independent
directions for each, the errors of all add up.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx, nn
from torch.utils import _pytree as pytree

from ..codec.frequencies import SIZES, energies
from ..network.groups import Group
from ..network.parts import running
from ..planes import Layout
from ..progress import Progress, stage
from .symmetric import Symmetric

Key = tuple[str, str]  # a layer's name and the side of its activation
Seen = dict[Key, list[torch.Tensor]]  # the values of each call
# Tensors [N, ...] of a network's output, and directions [N, probes, ...] in which each is probed.
Probed = list[tuple[torch.Tensor, torch.Tensor]]
# (the network's output, probes, generator) -> what of it is probed, and how.
Directions = Callable[[Any, int, torch.Generator], Probed]
# Images whose values and gradients are held at a time.
IMAGES_AT_A_TIME = 4
# Gradients for each channel from which a metric is known well enough: large tensors have far more,
# and their moments would be most of the work.
SAMPLES_PER_CHANNEL = 1024
# Values of a tensor's gradients from which energies of frequencies are known well enough, likewise.
FREQUENCY_VALUES = 2**22


@dataclass
class Sensitivity:
    """Of a tensor [N, C, H, W]: ``metric`` M and ``covariance``, f64 [C, C], pixels of an image.

    frequencies: mean squares of the gradient's frequencies in blocks of some sizes, f64
    [size * size] by size: what errors of each cost, all channels together.
    """

    metric: torch.Tensor
    covariance: torch.Tensor
    positions: float
    frequencies: dict[int, torch.Tensor] = field(default_factory=dict)


class _Collected:
    """Second moments of a tensor and of its gradients, at some of its positions.

    images: in all; probes: for each. All sums are on the tensor's device.
    """

    def __init__(
        self,
        layout: Layout,
        channels: int,
        images: int,
        probes: int,
        seed: int,
        device: torch.device,
    ):
        self.layout = layout
        # Sums over values less ``shift`` [C, 1], which is nearly their mean, and of g g^T.
        self.shift: torch.Tensor | None = None
        self.sum = torch.zeros(channels, dtype=torch.float64, device=device)
        self.squares = Symmetric(1, channels, device=device)
        self.products = Symmetric(1, channels, device=device)
        self.values, self.gradients = 0, 0
        self.images, self.probes, self.seed = images, probes, seed
        self.positions = 0  # of all images together
        self.frequencies: dict[int, torch.Tensor] = {}

    def add_values(self, x: torch.Tensor, image: int) -> None:
        """Of a tensor; image: the number of the first one."""
        x = self.layout.planes(x)
        self.positions += x[:, 0].numel()
        some = self._some(x, image + torch.arange(len(x), device=x.device), self.images)
        if self.shift is None:
            self.shift = some.mean(1, keepdim=True)
        some = some - self.shift
        self.sum += some.sum(1)
        self.squares.add_products(some[None])
        self.values += some.shape[1]

    def add_gradients(self, gradient: torch.Tensor, image: int, probe: int) -> None:
        """Of such a tensor's gradient."""
        gradient = self.layout.planes(gradient)
        turn = image + torch.arange(len(gradient), device=gradient.device)
        turn = turn * self.probes + probe
        channels = self._some_channels(gradient, turn)
        for size in SIZES:
            if min(gradient.shape[2:]) >= size:
                squares = energies(channels, size) * len(gradient)
                self.frequencies[size] = self.frequencies.get(size, 0) + squares
        some = self._some(gradient, turn, self.images * self.probes)
        self.products.add_products(some[None])
        self.gradients += some.shape[1]

    def _some_channels(self, gradient: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
        """Some channels of [N, C, H, W], evenly apart, at least one of each image.

        Which of them hangs on an image's turn, i64 [N].
        """
        total = gradient[:1].numel() * self.images * self.probes
        apart = min(max(1, total // FREQUENCY_VALUES), gradient.shape[1])
        if apart == 1:
            return gradient
        each = torch.arange(gradient.shape[1] // apart, device=gradient.device) * apart
        image = torch.arange(len(gradient), device=gradient.device)
        return gradient[image[:, None], turn[:, None] % apart + each]

    def _some(self, x: torch.Tensor, turn: torch.Tensor, turns: int) -> torch.Tensor:
        """Some positions f64 [C, P] of [N, C, H, W]; turn: of each image, i64 [N], out of so many.

        Each goes on where the one before stopped, in an order that has every position once, so that
        none counts more than another. In double: rounding of gradients would be taken for
        directions that the output depends on.
        """
        flat = x.flatten(2)
        positions = flat.shape[2]
        most = -(-SAMPLES_PER_CHANNEL * x.shape[1] // turns)
        if positions > most:
            order = torch.randperm(positions, generator=torch.Generator().manual_seed(self.seed))
            next_ones = torch.arange(most, device=x.device)
            at = order.to(x.device)[(turn[:, None] * most + next_ones) % positions]
            flat = flat.gather(2, at[:, None].expand(-1, x.shape[1], -1))
        return flat.transpose(0, 1).flatten(1).double()

    def finish(self) -> Sensitivity:
        metric = self.products.whole()[0] / self.gradients
        mean = self.sum / self.values
        covariance = self.squares.whole()[0] / self.values - mean[:, None] * mean
        positions = self.positions / self.images
        return Sensitivity(metric, covariance, positions, self.frequencies)


class _Recorder(fx.Interpreter):
    """Runs a graph with gradients and keeps in ``seen`` the values of ``nodes``."""

    def __init__(self, network: fx.GraphModule, nodes: dict[fx.Node, list[Key]], seen: Seen):
        super().__init__(network)
        self.nodes, self.seen = nodes, seen
        self.signature = inspect.signature(network.forward)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        made = self.run(*self.signature.bind(*args, **kwargs).args)
        # Copies, because the Python around a part may go on in place.
        return pytree.tree_map_only(torch.Tensor, torch.clone, made)

    def run_node(self, node: fx.Node) -> Any:
        result = super().run_node(node)
        for key in self.nodes.get(node, ()):
            result = result if result.requires_grad else result.detach().requires_grad_()
            self.seen.setdefault(key, []).append(result)
        return result


def sensitivities(
    network: nn.Module,
    groups: list[Group],
    images: list[torch.Tensor],
    directions: Directions,
    probes: int,
    seed: int = 0,
    progress: Progress = False,
) -> Iterator[tuple[Key, Sensitivity]]:
    """Sensitivity of each group's tensors, by (layer name, side).

    One by one, because all of them can be larger than the network. network: that of the groups.
    images: batches [N, C, H, W]; a few are run at a time and nothing of them is kept. directions:
    of `fmtc.calibration.units.Units`, or others. probes: random directions for each image. Equal
    for equal seeds. Tensors that no output probed depends on get a metric of zeros; layers that are
    never called get none.
    """
    collected: dict[Key, _Collected] = {}
    sides = {(group.name, name): side for group in groups for name, side in group.sides.items()}
    generator = torch.Generator().manual_seed(seed)
    parts = [part for batch in images for part in batch.split(IMAGES_AT_A_TIME)]
    count = sum(len(part) for part in parts)
    done = 0
    with stage(progress, "sensitivities", len(parts), "batch") as advance:
        for part in parts:
            with torch.enable_grad(), _recording(groups) as seen:
                probed = directions(network(part), probes, generator)
                for key, calls in seen.items():
                    if key not in collected:
                        layout = sides[key].layout
                        channels = calls[0].shape[layout.channels]
                        of = layout, channels, count, probes, seed, calls[0].device
                        collected[key] = _Collected(*of)
                _collect(collected, seen, probed, probes, done)
            done += len(part)
            advance(1)
    for key in list(collected):
        yield key, collected.pop(key).finish()


@contextmanager
def _recording(groups: list[Group]) -> Iterator[Seen]:
    """While it is entered, the groups' graphs record what passes."""
    nodes: dict[fx.GraphModule, dict[fx.Node, list[Key]]] = {}
    for group in groups:
        for name, side in group.sides.items():
            nodes.setdefault(group.network, {}).setdefault(side.output, []).append(
                (group.name, name)
            )
    seen: Seen = {}
    with ExitStack() as stack:
        for network, of in nodes.items():
            stack.enter_context(running(network, _Recorder(network, of, seen)))
        yield seen


def _collect(collected, seen, probed: Probed, probes: int, image: int) -> None:
    """Add the moments of what was seen in one run, and of its gradients in each direction.

    image: the number of the first one.
    """
    keys = [(key, x) for key, calls in seen.items() for x in calls]
    tensors = [x for _, x in keys]
    if not tensors:  # all layers are left out
        return
    for key, x in keys:
        collected[key].add_values(x.detach(), image)
    probed = [(output, directions) for output, directions in probed if output.requires_grad]
    for probe in range(probes):
        gradients: Sequence[torch.Tensor | None] = [None] * len(tensors)
        if probed:  # not all outputs are constants
            gradients = torch.autograd.grad(
                [output for output, _ in probed],
                tensors,
                [directions[:, probe] for _, directions in probed],
                retain_graph=probe + 1 < probes,
                allow_unused=True,
            )
        for (key, x), gradient in zip(keys, gradients, strict=True):
            gradient = torch.zeros_like(x) if gradient is None else gradient
            collected[key].add_gradients(gradient, image, probe)
