"""Which tensors an accelerator writes that works operator by operator.

docs/method.md, "What is written". It writes what convolutions, matrix products, sums, products,
normalisations, pools and resizes give. What follows at each value alone (BN, scales, activations)
is done before the tensor is written or after it is read, and views move no data.
"""

from __future__ import annotations

from torch import fx, nn

from .activations import ACTIVATIONS, operator_name
from .layers import CONVOLUTIONS, held

# Kinds of written tensors, by operator.
KINDS = {
    "sum": ("add", "sub", "addcmul", "lerp"),
    "product": ("mul", "div"),
    "norm": (
        "layer_norm", "group_norm", "instance_norm", "rms_norm", "native_layer_norm",
        "native_group_norm", "batch_norm", "linalg_vector_norm", "local_response_norm",
    ),
    "pool": (
        "max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "avg_pool1d",
        "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d",
        "adaptive_avg_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d",
        "adaptive_max_pool3d", "_adaptive_avg_pool2d", "mean", "sum", "amax", "amin", "logsumexp",
    ),
    "resize": ("upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "grid_sampler",
               "upsample_trilinear3d", "_upsample_bilinear2d_aa", "grid_sampler_2d"),
    "attention": ("softmax", "_softmax", "_safe_softmax", "log_softmax", "matmul", "bmm", "mm",
                  "baddbmm", "einsum", "scaled_dot_product_attention", "linear", "addmm"),
}  # fmt: skip
KIND_OF = {name: kind for kind, names in KINDS.items() for name in names}
# Views, and what is done at each value when it is read or before it is written.
NOT_WRITTEN = {
    *ACTIVATIONS,
    "reshape", "view", "flatten", "unflatten", "permute", "transpose", "movedim", "t", "squeeze",
    "unsqueeze", "expand", "expand_as", "slice", "select", "narrow", "split", "split_with_sizes",
    "chunk", "unbind", "cat", "concat", "stack", "pad", "constant_pad_nd", "reflection_pad2d",
    "replication_pad2d", "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "roll", "flip",
    "repeat", "repeat_interleave", "tile", "unfold", "im2col", "index", "index_select", "gather",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact2d",
    "clone", "contiguous", "_to_copy", "to", "where", "masked_fill", "slice_scatter",
    "select_scatter", "neg", "abs", "exp", "log", "sqrt", "rsqrt", "pow", "square", "reciprocal",
    "sign", "sin", "cos", "erf", "maximum", "minimum", "floor", "round", "floor_divide",
    "remainder", "rsub", "clamp", "log1p", "expm1", "fill", "zeros_like", "ones_like", "full_like",
    "new_zeros", "new_ones", "new_full", "isnan", "nan_to_num", "threshold",
}  # fmt: skip


def kind_of(network: fx.GraphModule, node: fx.Node) -> str | None:
    """The kind of tensor that a node writes; None where it writes none.

    "convolution", "linear", a key of KINDS, or "other" for what is not known.
    """
    if not node.meta.get("shape") or not node.meta.get("floating"):
        return None
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        if isinstance(module, nn.modules.conv._ConvNd):
            return "convolution"
        return "linear" if isinstance(module, nn.Linear) else None
    if node.op != "call_function":
        return None
    if node.target in CONVOLUTIONS:
        return "convolution"
    name = operator_name(node)
    kind = KIND_OF.get(name)
    if kind in ("sum", "product"):
        return kind if len(read_tensors(network, node)) > 1 else None
    if kind is not None or not name or name in NOT_WRITTEN:
        return kind
    return "other"


def read_tensors(network: fx.GraphModule, node: fx.Node) -> list[fx.Node]:
    """The operands that depend on the input, and are tensors."""
    return [n for n in node.all_input_nodes if n.meta.get("shape") and held(network, n) is None]


def scores(node: fx.Node) -> int:
    """Values of attention scores, before the softmax and after it, that an operator writes for an
    image besides what it gives."""
    if operator_name(node) != "scaled_dot_product_attention":
        return 0
    query, key = (arg.meta["shape"] for arg in node.args[:2])  # type: ignore[union-attr]
    return 2 * values(query[:-1]) * (key[-2] if isinstance(key[-2], int) else 0)


def values(shape: tuple[int | str, ...]) -> int:
    """Values of one image in a tensor of this shape; what is free counts for one, but windows."""
    count = 1
    for size in shape:
        factor = size if isinstance(size, int) else size.split("*")[0]
        count *= int(factor) if str(factor).isdigit() else 1
    return count
