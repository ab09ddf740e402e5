"""A network that is ready to be calibrated: its graph, its groups, its weights quantised."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence

import torch
from torch import fx, nn

from ..errors import TraceError
from .fold import fuse_batch_norms, plain_convolution, set_convolution, tidy
from .groups import Group, find_groups, select, untraced_modules
from .outputs import named_outputs, relative_difference
from .trace import trace
from .untraced import HookedConv
from .view import eval_view
from .weights import WeightGrid, quantize_network

# Largest relative difference between the graph and the user's model; what float rounding leaves is
# near 1e-6, a network that is not what its trace says is far above.
SELF_CHECK_TOLERANCE = 1e-3


class Prepared:
    """network: the graph in float32, which shares the model's tensors. groups: in execution order.

    A convolution and its BN are one module. Where weights are quantised (weight_bits 8 or 4), BN is
    folded first, and ``grids`` has the grid of each layer's weights by its module path. Otherwise
    nothing of the network is held twice: ``convolution`` folds BN when it is asked to.
    """

    def __init__(self, network: fx.GraphModule, groups: list[Group], grids: dict[str, WeightGrid]):
        self.network, self.groups, self.grids = network, groups, grids

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        model: nn.Module,
        input_shape: Sequence[int],
        *,
        include: Iterable[str] | None = None,
        exclude: Iterable[str] = (),
        leaf_modules: Iterable[str] = (),
        weight_bits: int = 32,
    ) -> Prepared:
        """Prepare a model for inputs of this shape, [C, H, W].

        include, exclude: patterns of layers' names (``select``); leaf_modules: of ``trace``.
        """
        network = trace(model, leaf_modules)
        groups = find_groups(network, torch.zeros(1, *input_shape))
        fuse_batch_norms(network, groups)
        prepared = cls(network, groups, {})
        select([*groups, *prepared.hooked], include, exclude)
        return prepared if weight_bits == 32 else prepared.with_weights_of(weight_bits)

    @torch.no_grad()
    def with_weights_of(self, bits: int) -> Prepared:
        """The same with quantised weights."""
        made = self.copy(own=True)
        for group in made.groups:
            conv = made.convolution(group)
            if conv is not None:
                set_convolution(made.network, group, conv)
        tidy(made.network)
        made.grids = quantize_network(made.network, bits)
        return made

    @property
    def hooked(self) -> list[HookedConv]:
        """The convolutions of modules that could not be traced."""
        return [layer for module in untraced_modules(self.network) for layer in module.layers]

    def copy(self, own: bool = False) -> Prepared:
        """Another graph to change, on the same tensors or on copies of its own."""
        network = copy.deepcopy(self.network) if own else eval_view(self.network)
        to = dict(zip(self.network.graph.nodes, network.graph.nodes, strict=True))
        return Prepared(network, [group.mapped(to) for group in self.groups], self.grids)

    def convolution(self, group: Group) -> nn.Conv2d | None:
        """The group's convolution with its BN; None where its weights cannot be rewritten."""
        return plain_convolution(self.network, group)

    @torch.no_grad()
    def check(self, model: nn.Module, image: torch.Tensor) -> None:
        """Raise TraceError where the graph does not compute what the model computes.

        Of each float output, whether it counts or not.
        """
        expected, got = named_outputs(model(image)), named_outputs(self.network(image))
        error = relative_difference(got, expected)
        if not error <= SELF_CHECK_TOLERANCE:
            raise TraceError(
                f"the traced graph of {type(model).__name__} does not compute what the model "
                f"computes (relative difference {error:.2g} on a calibration image). Its forward "
                "probably depends on tensor values or on Python state; keep that module whole with "
                "leaf_modules=[...], or the model itself with leaf_modules=['']"
            )
