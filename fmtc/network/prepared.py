"""A network that is ready to be calibrated: its graphs, its groups, its weights quantised."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import fx, nn

from ..errors import TraceError
from .capture import place, tidy
from .coverage import Coverage
from .fold import fuse_scales, plain_convolution, set_convolution
from .groups import Group, find_groups, select
from .outputs import named_outputs, relative_difference
from .parts import captured
from .view import eval_view
from .weights import WeightGrid, quantize_network

# Largest relative difference between the graph and the user's model; what float rounding leaves is
# near 1e-6, a network that is not what its graph says is far above.
SELF_CHECK_TOLERANCE = 1e-3


class Prepared:
    """network: in float32, on the model's tensors; it is called as the model is. parts: the paths
    of its captured graphs; "" is the whole. groups: of all of them, in execution order in each.

    coverage: what of the values written has a coding point, for an image of the size at capture.
    A layer and what scales it are one module. Where weights are quantised (weight_bits 8 or 4), the
    scales are folded first, and ``grids`` has the grid of each layer's weights by its group.
    Otherwise nothing of the network is held twice.
    """

    def __init__(
        self,
        network: nn.Module,
        parts: list[str],
        groups: list[Group],
        grids: dict[str, WeightGrid],
        points: str = "all",
    ):
        self.points, self.coverage = points, Coverage()
        self.network, self.parts, self.groups, self.grids = network, parts, groups, grids

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        model: nn.Module,
        images: torch.Tensor,
        *,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        exclude_bits: int = 8,
        weight_bits: int = 32,
        points: str = "all",
        free_sizes: bool = False,
    ) -> Prepared:
        """Prepare a model for inputs like these, [N, C, H, W], on the CPU, where it is captured.

        include, exclude, exclude_bits: of layers' names (``groups.select``). free_sizes: inputs may
        have other H and W than these, where the model allows that.
        """
        # A batch of one would be taken for fixed.
        example = images[:2] if len(images) > 1 else images.expand(2, *images.shape[1:])
        network, parts = captured(model, example.contiguous().cpu(), free_sizes)
        prepared = cls(network, parts, [], {}, points)
        for path in parts:
            prepared.groups += find_groups(prepared.graph(path), path, points)
        prepared.select(include, exclude, exclude_bits)
        fuse_scales(prepared.groups)
        prepared._tidy()
        return prepared if weight_bits == 32 else prepared.with_weights_of(weight_bits)

    def select(self, include: Iterable[str] | None, exclude: Iterable[str], bits: int) -> None:
        """Which layers are coded (``groups.select``)."""
        select(self.groups, include, exclude, bits)
        self.coverage = Coverage()
        for path in self.parts:
            graph = self.graph(path)
            self.coverage.add(graph, [group for group in self.groups if group.network is graph])

    @torch.no_grad()
    def with_weights_of(self, bits: int) -> Prepared:
        """The same with quantised weights."""
        made = self.copy(own=True)
        for group in made.groups:
            conv = plain_convolution(group)
            if conv is not None:
                set_convolution(group, conv)
        made._tidy()
        grids = quantize_network(made.network, bits)
        paths = {id(module): path for path, module in made.network.named_modules()}
        for group in made.groups:
            if group.maker.op == "call_module":
                path = paths[id(group.network.get_submodule(str(group.maker.target)))]
                made.grids[group.name] = grids[path]
        return made

    def graph(self, path: str) -> fx.GraphModule:
        """The graph of a part."""
        part = self.network.get_submodule(path)
        assert isinstance(part, fx.GraphModule)
        return part

    def to(self, device: torch.device) -> Prepared:
        """Itself, with its network on a device; on another than the model's it has tensors of its
        own."""
        self.network.to(device)
        for path in self.parts:
            place(self.graph(path), device)
        return self

    def copy(self, own: bool = False) -> Prepared:
        """Another network to change, on the same tensors or on copies of its own."""
        network = copy.deepcopy(self.network) if own else eval_view(self.network)
        made = Prepared(network, self.parts, [], self.grids, self.points)
        graphs = {id(self.graph(path)): made.graph(path) for path in self.parts}
        made.coverage = self.coverage
        made.groups = [group.mapped(graphs[id(group.network)]) for group in self.groups]
        return made

    def _tidy(self) -> None:
        for path in self.parts:
            tidy(self.graph(path))

    @torch.no_grad()
    def check(self, model: nn.Module, image: torch.Tensor) -> None:
        """Raise TraceError where the graph does not compute what the model computes.

        Of each float output, whether it counts or not.
        """
        expected, got = named_outputs(model(image)), named_outputs(self.network(image))
        error = relative_difference(got, expected)
        if not error <= SELF_CHECK_TOLERANCE:
            raise TraceError(
                f"the captured graph of {type(model).__name__} does not compute what the model "
                f"computes (relative difference {error:.2g} on a calibration image). Its forward "
                "probably depends on Python state, or on chance"
            )
