"""The compressed network: folded convolutions and a coding point after each group."""

from __future__ import annotations

import copy
import math
import time
import warnings
from collections.abc import Iterable
from dataclasses import asdict

import torch
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode

from . import fold
from .calibrate import check_images, run_sequentially
from .codec import (
    PLAIN_BITS,
    SAMPLES_PER_COMPONENT,
    Calibration,
    CalibrationError,
    TensorCodec,
    check_bits,
)
from .evaluate import first_tensor
from .graph import Group, TraceError, find_groups, select, trace, untraced_modules
from .points import CodingPoint, PlainCodec, make_point
from .presets import Preset, get_preset
from .report import Report
from .transform import Block
from .untraced import HookedConv

MODES = ("stream", "simulate", "float")
CODERS = ("huffman",)
# Largest relative difference between the rewritten graph and the user's model; what float
# rounding leaves is near 1e-6, a network that is not what its trace says is far above.
SELF_CHECK_TOLERANCE = 1e-3


class CompressedModel(nn.Module):
    """A network whose intermediate tensors go through real, decodable streams.

    Call it like the model it was made from. ``mode``: "stream" encodes and decodes every tensor,
    "simulate" gives the same bits of output without making streams, "float" only transforms
    (nothing is quantised; to check that folding is exact). ``reference`` is the user's model,
    untouched. ``multiply_adds``: {"plain", "compressed"} for one image of the calibration size.
    """

    def __init__(self, network: fx.GraphModule, reference: nn.Module, points, codecs, settings):
        super().__init__()
        self.network = network
        # Not a submodule: the user's model is neither moved, saved nor trained with this one.
        self.__dict__["reference"] = reference
        self.__dict__["points"] = points
        self.codecs: dict[str, TensorCodec | PlainCodec] = codecs
        self.settings: dict = settings
        self.mode = settings.pop("mode", "stream")

    @property
    def preset(self) -> str:
        return self.settings["preset"]["name"]

    @property
    def setting(self) -> dict:
        return self.settings["setting"]

    @property
    def coder(self) -> str:
        return self.settings["coder"]

    @property
    def weight_bits(self) -> int:
        return self.settings["weight_bits"]

    @property
    def multiply_adds(self) -> dict[str, int]:
        return self.settings["multiply_adds"]

    @property
    def seconds_calibrate(self) -> float:
        return self.settings["seconds_calibrate"]

    @property
    def calibration_images(self) -> int:
        return self.settings["calibration_images"]

    @property
    def mode(self) -> str:
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        _check_mode(mode)
        self._mode = mode
        for point in self.points.values():
            point.mode = mode

    @torch.no_grad()
    def forward(self, *args, **kwargs):
        for x in args:
            # NaN would become level 0, and the output look plausible.
            if isinstance(x, torch.Tensor) and not x.isfinite().all():
                raise ValueError("the network's input contains NaN or Inf")
        return self.network(*args, **kwargs)

    def train(self, mode: bool = True):
        """Stays in eval mode: the folded network has no training behaviour."""
        return super().train(False)

    def reset_statistics(self) -> None:
        """Forget what has been counted so far."""
        for point in self.points.values():
            point.reset()

    def report(self) -> Report:
        """Rates of everything run since the last reset; of the calibration images before that."""
        return Report.of(self.points, self.mode, self.multiply_adds)

    def save(self, path) -> None:
        """Write codecs and settings (not the weights) to a safetensors file; see ``fmtc.load``."""
        from .storage import save_model

        save_model(self, path)


def _check_mode(mode: str) -> None:
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}; got {mode!r}")


def compress(
    model: nn.Module,
    images: torch.Tensor | Iterable[torch.Tensor],
    preset: str | Preset = "paper",
    *,
    bits: int = 8,
    block: Block | str | tuple = (1, 1, None),
    coder: str = "huffman",
    include: Iterable[str] | None = None,
    exclude: Iterable[str] | None = None,
    weight_bits: int = 32,
    mode: str = "stream",
    micro_batch: int = 16,
    leaf_modules: Iterable[str] = (),
    keep_moments: bool = False,
    start: CompressedModel | None = None,
    progress: bool = False,
) -> CompressedModel:
    """Compress the tensors that ``model`` writes between its layers.

    images: float [N, C, H, W], preprocessed as for the model, or an iterable of such batches; no
    labels. preset: "paper". bits: b, 2 to 12; the step of a layer is its range / (2^b - 2).
    block: h,w,c of the transform. include/exclude: layer name patterns such as "layer1.*"; layers
    left out are quantised to 8 bits and counted so. micro_batch: images run at a time.
    leaf_modules: paths of modules to run as they are, with hooks (what torch.fx cannot trace is
    treated so by itself, with a warning).
    keep_moments: keep (and save) the calibration moments, so that it can be continued later;
    start: a compressed model with kept moments, whose calibration takes in these images.
    The model itself is not changed. Raises TraceError, CalibrationError or ValueError.
    """
    started = time.perf_counter()
    check_bits(bits)
    _check_mode(mode)
    if micro_batch < 1:
        raise ValueError(f"micro_batch must be 1 or more, got {micro_batch}")
    if coder not in CODERS:
        raise ValueError(f"unknown coder '{coder}'; known: {', '.join(CODERS)}")
    if weight_bits != 32:
        raise ValueError(f"weight_bits must be 32 (float weights), got {weight_bits}")
    preset, block = get_preset(preset), Block.parse(block)
    batches = _micro_batches(images, micro_batch)
    settings = {
        "preset": asdict(preset),
        "setting": {"kind": "b", "value": bits},
        "block": str(block),
        "coder": coder,
        "weight_bits": weight_bits,
        "include": None if include is None else list(include),
        "exclude": list(exclude or []),
        "leaf_modules": list(leaf_modules),
        "input_shape": list(batches[0].shape[1:]),
        "calibration_images": sum(len(batch) for batch in batches),
        "mode": mode,
    }
    model = model if not model.training else copy.deepcopy(model).eval()
    network, groups = prepare(model, settings)
    _check_network(network, model, batches[0][:1])

    few: dict[str, tuple[int, int]] = {}

    def fit(layer: Group | HookedConv, tensors: list[torch.Tensor]) -> TensorCodec | PlainCodec:
        if layer.excluded:
            return PlainCodec.fit(tensors, PLAIN_BITS, layer.name)
        calibration = Calibration(preset, block, bits, layer.name, keep_moments)
        if start is not None and layer.name not in start.codecs:
            raise CalibrationError(f"the calibration to continue has no layer {layer.name}")
        codec = calibration.fit(tensors, start.codecs[layer.name] if start else None)
        if calibration.few is not None:
            few[layer.name] = calibration.few
        return codec

    codecs = run_sequentially(network, groups, batches, fit, progress)
    _warn_of_few(few, settings["calibration_images"])
    settings["calibration_images"] += start.calibration_images if start else 0
    settings["seconds_calibrate"] = time.perf_counter() - started
    return assemble(model, network, groups, codecs, settings)


def _warn_of_few(few: dict[str, tuple[int, int]], images: int) -> None:
    """Say that there are too few calibration images, and how many would do."""
    if not few:
        return
    name, (samples, size) = min(few.items(), key=lambda item: item[1][0] / item[1][1])
    needed = math.ceil(images * SAMPLES_PER_COMPONENT * size / samples)
    warnings.warn(
        f"{len(few)} layer(s) have too few calibration samples to tell which components are empty "
        f"({name}: {samples} for {size}); none is dropped there, at a cost in rate and arithmetic. "
        f"Calibrate with {needed} images or more instead of {images}.",
        stacklevel=3,
    )


@torch.no_grad()
def _check_network(network: fx.GraphModule, model: nn.Module, image: torch.Tensor) -> None:
    """Raise TraceError where the rewritten graph does not compute what the model computes."""
    expected, got = first_tensor(model(image)), first_tensor(network(image))
    error = float((got - expected).norm() / expected.norm().clamp(min=1e-12))
    if not error <= SELF_CHECK_TOLERANCE:
        raise TraceError(
            f"the traced graph of {type(model).__name__} does not compute what the model computes "
            f"(relative difference {error:.2g} on a calibration image). Its forward probably "
            "depends on tensor values or on Python state; keep that module whole with "
            "leaf_modules=[...], or the model itself with leaf_modules=['']"
        )


def _micro_batches(images, size: int) -> list[torch.Tensor]:
    batches = [images] if isinstance(images, torch.Tensor) else list(images)
    check_images(batches)
    return [part for batch in batches for part in batch.float().split(size)]


@torch.no_grad()
def prepare(model: nn.Module, settings: dict) -> tuple[fx.GraphModule, list[Group]]:
    """The traced network with folded BN, and its groups."""
    example = torch.zeros(1, *settings["input_shape"])
    network = trace(model, settings["leaf_modules"])
    groups = find_groups(network, example)
    hooked = [layer for module in untraced_modules(network) for layer in module.layers]
    select([*groups, *hooked], settings["include"], settings["exclude"])
    fold.fold_batch_norms(network, groups)
    return network, groups


@torch.no_grad()
def assemble(
    model: nn.Module,
    network: fx.GraphModule,
    groups: list[Group],
    codecs: dict[str, TensorCodec | PlainCodec],
    settings: dict,
) -> CompressedModel:
    """Put the codecs into the network, folding transforms into its convolutions where exact."""
    example = torch.zeros(1, *settings["input_shape"])
    plain_multiply_adds = count_multiply_adds(network, example)
    points = {group.name: _insert(network, group, codecs[group.name]) for group in groups}
    fold.tidy(network)
    for module in untraced_modules(network):
        for layer in module.layers:
            if layer.name in codecs:
                points[layer.name] = make_point(codecs[layer.name])
                module.attach(layer, points[layer.name])
    points = {name: points[name] for name in codecs}  # execution order
    settings = dict(settings)
    for point in points.values():
        point.mode = "float"
    settings["multiply_adds"] = {
        "plain": plain_multiply_adds,
        "compressed": count_multiply_adds(network, example),
    }
    return CompressedModel(network, model, points, codecs, settings).eval()


def _insert(network: fx.GraphModule, group: Group, codec) -> CodingPoint:
    """Rewrite one group: fold what can be folded, then insert its coding point."""
    foldable = isinstance(codec, TensorCodec) and codec.block.is_pixel
    folded, consumers = foldable and group.foldable, group.consumers if foldable else []
    if folded:
        _fold_forward(network, group, codec)
    for consumer in consumers:
        _fold_inverse(network, consumer, codec)
    point = make_point(codec, forward_folded=folded, inverse_folded=bool(consumers))
    name = fold.module_name("point", group.name)
    network.add_submodule(name, point)
    with network.graph.inserting_after(group.output):
        node = network.graph.call_module(name, (group.output,))
    group.output.replace_all_uses_with(node, delete_user_cb=lambda user: user is not node)
    return point


def _fold_forward(network: fx.GraphModule, group: Group, codec: TensorCodec) -> None:
    """y = W'x + sum of T r: transform the weights, and each residual by a product of its own."""
    matrix, offset = codec.transform.matrices[0], codec.transform.offsets[0]
    conv = network.get_submodule(group.conv.target)
    network.add_submodule(group.conv.target, fold.fold_output(conv, matrix, offset))
    for i, add in enumerate(group.adds):
        residual = group.residual(add)
        name = fold.module_name(f"residual{i}", group.name)
        product = nn.Conv2d(matrix.shape[1], matrix.shape[0], 1, bias=False, device="meta")
        product.weight = nn.Parameter(matrix[:, :, None, None].clone(), requires_grad=False)
        network.add_submodule(name, product)
        with network.graph.inserting_before(add):
            node = network.graph.call_module(name, (residual,))
        add.args = tuple(node if arg is residual else arg for arg in add.args)


def _fold_inverse(network: fx.GraphModule, consumer: fx.Node, codec: TensorCodec) -> None:
    conv = network.get_submodule(consumer.target)
    matrix, mean = codec.transform.inverses[0], codec.transform.means[0]
    network.add_submodule(consumer.target, fold.fold_input(conv, matrix, mean))


def count_multiply_adds(network: nn.Module, example: torch.Tensor) -> int:
    """Multiply-adds of convolutions and matrix products for one input."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(example)
    return counter.get_total_flops() // 2


def load(path, model: nn.Module) -> CompressedModel:
    """Put a codec saved by ``CompressedModel.save`` back on its model.

    Streams are bit-identical to those of the saved object. Raises fmtc.StorageError where the file
    is damaged, of an unknown version, or was made for another model.
    """
    from .storage import load_model

    return load_model(path, model)
