"""Folding: convolution + BN + transforms into one convolution (docs/method.md, "Transform").

Products are formed in double and rounded to float32, so that folding is exact to that precision;
never of a whole weight at once, which would take more memory than the network.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import fx, nn

from .groups import Group, is_plain_conv

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


def fold_batch_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """BN(conv(x)) as one convolution: W s and (b - m) s + beta with s = gamma / sqrt(v + eps)."""
    assert norm.running_var is not None and norm.running_mean is not None
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = torch.zeros_like(scale)
    if norm.affine:
        scale = scale * norm.weight.detach().double()
        shift = norm.bias.detach().double()
    old = conv.weight.detach()
    weight = torch.empty(old.shape)
    for rows in _pieces(len(old), old[0].numel()):
        weight[rows] = old[rows].double() * scale[rows, None, None, None]
    bias = (bias_of(conv) - norm.running_mean.double()) * scale + shift
    return conv_like(conv, weight, bias)


def fold_output(conv: nn.Conv2d, matrix: torch.Tensor, offset: torch.Tensor) -> nn.Conv2d:
    """matrix @ conv(x) + offset as one ungrouped convolution; matrix [K, O], offset [K]."""
    matrix, old = matrix.double(), conv.weight.detach()
    weight = torch.empty(len(matrix), *old.shape[1:])
    flat, made = old.flatten(1), weight.flatten(1)
    for columns in _pieces(flat.shape[1], len(flat)):
        made[:, columns] = matrix @ flat[:, columns].double()
    return conv_like(conv, weight, matrix @ bias_of(conv) + offset.double())


def fold_input(conv: nn.Conv2d, matrix: torch.Tensor, offset: torch.Tensor) -> nn.Conv2d:
    """conv(matrix @ y + offset) as one ungrouped, unpadded convolution; matrix [I, K]."""
    matrix, offset, old = matrix.double(), offset.double(), conv.weight.detach()
    weight = torch.empty(len(old), matrix.shape[1], *old.shape[2:])
    bias = bias_of(conv)
    for rows in _pieces(len(old), old[0].numel()):
        kernel = old[rows].double()
        weight[rows] = torch.einsum("oihw,ik->okhw", kernel, matrix).float()
        bias[rows] += torch.einsum("oihw,i->o", kernel, offset)
    return conv_like(conv, weight, bias)


class ConvBatchNorm(nn.Module):
    """A convolution and the BN behind it as one, on the tensors of both."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d):
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))

    def folded(self) -> nn.Conv2d:
        """Both as a convolution."""
        return fold_batch_norm(self.conv, self.norm)


def fuse_batch_norms(groups: list[Group]) -> None:
    """Let every group's convolution and BN be one module; BN nodes leave graph and groups."""
    for group in groups:
        conv, norm = plain_convolution(group), group.batch_norm
        if conv is None or norm is None:
            continue
        fused = ConvBatchNorm(conv, group.network.get_submodule(str(norm.target)))  # type: ignore
        _call(group, "fused", fused)
        norm.replace_all_uses_with(group.conv)
        group.network.graph.erase_node(norm)
        for side in group.sides.values():
            if side.output is norm:
                side.output = group.conv
        group.batch_norm = None


def plain_convolution(group: Group) -> nn.Conv2d | None:
    """The group's convolution with its BN; None where its weights cannot be rewritten."""
    if group.conv.op != "call_module":
        return None
    module = group.network.get_submodule(str(group.conv.target))
    if isinstance(module, ConvBatchNorm):
        return module.folded()
    return module if is_plain_conv(module) else None


def set_convolution(group: Group, conv: nn.Conv2d) -> None:
    """Let ``conv`` take the place of the group's convolution.

    A module called from several places is split into one for each call. ``tidy`` comes after.
    """
    _call(group, "folded", conv)


def forget_convolutions(network: fx.GraphModule) -> None:
    """Take away what ``set_convolution`` has set, before all are set in the order of the groups.

    In another order torch.export mistakes ``conv`` for ``conv@2``.
    """
    vars(network)["_modules"].pop(f"{PREFIX}_folded", None)


def _call(group: Group, kind: str, module: nn.Module) -> None:
    group.conv.target = module_name(kind, group.name)
    group.network.add_submodule(group.conv.target, module)


def module_name(kind: str, layer: str) -> str:
    """Path of a submodule that belongs to a layer: ``fmtc_folded.layer1.0.conv1``."""
    return f"{PREFIX}_{kind}.{layer}"
