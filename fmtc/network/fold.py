"""Folding: convolution + BN + transforms into one convolution (docs/method.md, "Transform").

Products are formed in double and rounded to float32, so that folding is exact to that precision;
never of a whole weight at once, which would take more memory than the network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from keyword import iskeyword

import torch
from torch import fx, nn

from .groups import Group, scale_of
from .layers import is_plain_layer
from .layout import permutation

PREFIX = "fmtc"  # of the submodules that are made here
PIECE = 2**18  # values of a weight that are in double at a time


def _pieces(count: int, each: int) -> Iterator[slice]:
    """Slices of ``count`` indices that hold about PIECE values together, ``each`` at an index."""
    size = max(1, PIECE // max(each, 1))
    return (slice(start, start + size) for start in range(0, count, size))


def conv_like(conv: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Conv2d:
    """A convolution with the geometry of ``conv`` and the given weight [O, I/groups, kh, kw].

    The weights come back as float32 without gradient; bias: [O] or None.
    """
    made = nn.Conv2d(
        weight.shape[1] * conv.groups,
        weight.shape[0],
        _pair(conv.kernel_size),
        stride=_pair(conv.stride),
        padding=conv.padding if isinstance(conv.padding, str) else _pair(conv.padding),
        dilation=_pair(conv.dilation),
        groups=conv.groups,
        bias=bias is not None,
        padding_mode=conv.padding_mode,
        device="meta",
    )
    # 1 x 1 kernels are contiguous with several strides, of which torch takes some for channels-last
    # and turns whole tensors around; after a view they are the usual ones.
    plain = weight.to(torch.float32).reshape(-1).view(weight.shape)
    made.weight = nn.Parameter(plain, requires_grad=False)
    if bias is not None:
        made.bias = nn.Parameter(bias.to(torch.float32).contiguous(), requires_grad=False)
    return made


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    height, width = sizes
    return height, width


def bias_of(conv: nn.Conv2d) -> torch.Tensor:
    """Bias in double, zeros where the convolution has none."""
    if conv.bias is None:
        return conv.weight.new_zeros(conv.out_channels, dtype=torch.float64)
    return conv.bias.detach().to(torch.float64, copy=True)


def fold_scale(conv: nn.Conv2d, scale: torch.Tensor, shift: torch.Tensor) -> nn.Conv2d:
    """conv(x) * scale + shift as one convolution; scale, shift: [O] or [1]."""
    scale, shift = (t.double().expand(conv.out_channels) for t in (scale, shift))
    old = conv.weight.detach()
    weight = torch.empty(old.shape, device=old.device)
    for rows in _pieces(len(old), old[0].numel()):
        weight[rows] = old[rows].double() * scale[rows, None, None, None]
    return conv_like(conv, weight, bias_of(conv) * scale + shift)


def fold_output(conv: nn.Conv2d, matrix: torch.Tensor, offset: torch.Tensor) -> nn.Conv2d:
    """matrix @ conv(x) + offset as one ungrouped convolution; matrix [K, O], offset [K]."""
    matrix, old = matrix.double(), conv.weight.detach()
    weight = torch.empty(len(matrix), *old.shape[1:], device=old.device)
    flat, made = old.flatten(1), weight.flatten(1)
    for columns in _pieces(flat.shape[1], len(flat)):
        made[:, columns] = matrix @ flat[:, columns].double()
    return conv_like(conv, weight, matrix @ bias_of(conv) + offset.double())


def fold_input(conv: nn.Conv2d, matrix: torch.Tensor, offset: torch.Tensor) -> nn.Conv2d:
    """conv(matrix @ y + offset) as one ungrouped, unpadded convolution; matrix [I, K]."""
    matrix, offset, old = matrix.double(), offset.double(), conv.weight.detach()
    weight = torch.empty(len(old), matrix.shape[1], *old.shape[2:], device=old.device)
    bias = bias_of(conv)
    for rows in _pieces(len(old), old[0].numel()):
        kernel = old[rows].double()
        weight[rows] = torch.einsum("oihw,ik->okhw", kernel, matrix).float()
        bias[rows] += torch.einsum("oihw,i->o", kernel, offset)
    return conv_like(conv, weight, bias)


def as_conv(layer: nn.Conv2d | nn.Linear) -> nn.Conv2d:
    """A linear layer as the 1x1 convolution that it is on planes, on the same weights."""
    if isinstance(layer, nn.Conv2d):
        return layer
    bias = layer.bias is not None
    conv = nn.Conv2d(layer.in_features, layer.out_features, 1, bias=bias, device="meta")
    conv.weight = nn.Parameter(layer.weight.detach()[:, :, None, None], requires_grad=False)
    conv.bias = layer.bias
    return conv


def as_linear(conv: nn.Conv2d) -> nn.Linear:
    """A 1x1 convolution of planes as the linear layer that it is, on the same weights."""
    linear = nn.Linear(conv.in_channels, conv.out_channels, conv.bias is not None, device="meta")
    linear.weight = nn.Parameter(conv.weight.detach()[:, :, 0, 0], requires_grad=False)
    if conv.bias is not None:
        linear.bias = nn.Parameter(conv.bias.detach(), requires_grad=False)
    return linear


class Scaled(nn.Module):
    """A layer, and what scales its channels behind it as one; on the layer's tensors.

    scale, shift: f64 [O]. layout: of what the layer gives.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, layer: nn.Conv2d | nn.Linear, scale: torch.Tensor, shift: torch.Tensor):
        super().__init__()
        self.layer = layer
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(x)
        shape = [-1] + [1] * (0 if isinstance(self.layer, nn.Linear) else 2)
        scale, shift = (t.to(y.dtype).view(shape) for t in (self.scale, self.shift))
        return torch.addcmul(shift, y, scale)

    def folded(self) -> nn.Conv2d:
        """Both as a convolution."""
        return fold_scale(as_conv(self.layer), self.scale, self.shift)


def fuse_scales(groups: list[Group]) -> None:
    """Let every group's layer and what scales it be one module; their nodes leave the graph."""
    for group in groups:
        layer = _layer(group)
        if not is_plain_layer(layer) or not group.scales:
            continue
        outputs = as_conv(layer).out_channels
        scale = torch.ones(outputs, dtype=torch.float64)
        shift = torch.zeros(outputs, dtype=torch.float64)
        for node, (factor, offset) in _scales(group):
            scale, shift = scale * factor, shift * factor + offset
            before = next(n for n in node.all_input_nodes if n.op != "get_attr")
            node.replace_all_uses_with(before)
            for side in group.sides.values():
                if side.output is node:
                    side.output = before
            group.network.graph.erase_node(node)
        group.scales = []
        _call(group, "fused", Scaled(layer, scale, shift))


def _scales(group: Group) -> Iterator[tuple[fx.Node, tuple[torch.Tensor, torch.Tensor]]]:
    """The nodes that scale a group's channels, and scale and shift of each, f64 [O] or [1]."""
    layout, node = group.made, group.maker
    found: list[tuple[fx.Node, tuple[torch.Tensor, torch.Tensor]]] = []
    while len(found) < len(group.scales):
        [user] = node.users
        order = permutation(user)
        if order is not None:
            layout = layout.permuted(order)
        else:
            scale = scale_of(group.network, user, layout, node)
            assert scale is not None
            found.append((user, scale))
        node = user
    yield from found


def _layer(group: Group) -> nn.Module | None:
    if group.maker.op != "call_module":
        return None
    return group.network.get_submodule(str(group.maker.target))


def plain_convolution(group: Group) -> nn.Conv2d | None:
    """The group's layer with what scales it, as a convolution of planes; None where it has none
    or its weights cannot be rewritten."""
    module = _layer(group)
    if isinstance(module, Scaled):
        return module.folded()
    return as_conv(module) if is_plain_layer(module) else None


def set_convolution(group: Group, conv: nn.Conv2d) -> None:
    """Let ``conv`` take the place of the group's layer, as a layer of the same kind.

    A module called from several places is split into one for each call. ``tidy`` comes after.
    """
    _call(group, "folded", as_linear(conv) if group.kind == "linear" else conv)


def change_convolution(
    network: fx.GraphModule, node: fx.Node, change: Callable[[nn.Conv2d], nn.Conv2d]
) -> None:
    """Let a node call the layer that ``change`` makes of its own, both as convolutions."""
    path = str(node.target)
    layer = network.get_submodule(path)
    assert is_plain_layer(layer)
    conv = change(as_conv(layer))
    network.add_submodule(path, as_linear(conv) if isinstance(layer, nn.Linear) else conv)


def forget_convolutions(network: fx.GraphModule) -> None:
    """Take away what ``set_convolution`` has set, before all are set in the order of the groups.

    In another order torch.export mistakes ``conv`` for ``conv@2``.
    """
    vars(network)["_modules"].pop(f"{PREFIX}_folded", None)


def _call(group: Group, kind: str, module: nn.Module) -> None:
    group.maker.target = module_name(kind, group.name)
    group.network.add_submodule(group.maker.target, module)


def module_name(kind: str, layer: str) -> str:
    """Path of a submodule that belongs to a layer: ``fmtc_folded.layer1.0.conv1``.

    A module may be called "class", of which no code can be made.
    """
    legal = ".".join(part + "_" * iskeyword(part) for part in layer.split("."))
    return f"{PREFIX}_{kind}.{legal}"
