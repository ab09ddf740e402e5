"""The compressed network, a module like any other."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from os import PathLike
from typing import Any, TypeVar

import torch
from torch import fx, nn

from ..codec.archive import DAMAGE, Archive
from ..codec.codec import Codec
from ..codec.counted import Counted
from ..config import CompressConfig, check_mode
from ..errors import StorageError
from ..limits import MAX_BYTES
from ..network.capture import fits, place
from ..network.fold import as_conv, module_name
from ..network.inputs import in_order, packed_view
from ..network.layers import is_plain_layer
from ..network.outputs import Choice, as_choice
from ..network.prepared import Prepared
from ..network.view import device_of, eval_view, float_type, unwrapped
from ..ops.recording import recording
from ..planes import all_finite
from ..progress import warn
from .assemble import assemble, count_multiply_adds
from .calibrated import PROBE_TOLERANCE, Calibrated
from .points import CodingPoint, ReusingPoint
from .report import Report

_capturing = threading.Lock()  # torch.export is for one thread at a time
T = TypeVar("T")
# What every process has given, in the same order everywhere.
Gather = Callable[[T], list[T]]


class CompressedModel(nn.Module):
    """A network whose intermediate tensors go through real, decodable streams.

    `compress` and `load` make it. Call it like the model it was made from. It is saved, copied,
    moved and compiled as modules are. Its ``state_dict`` holds all of it, the codecs as a
    description in bytes; loading that of another calibration makes it the other. Compiled,
    exported or held by a CUDA graph, it raises nothing for inputs with NaN or damaged streams.

    Attributes:
        reference: The user's model in eval mode, on the same tensors.
        network: The network that runs, with the coding points in it.
        written: What share of the values that the network writes has coding points.
        multiply_adds: Of one image, for the network as it was ("plain") and as it runs
            ("compressed").

    Example:
        >>> compressed(x).shape
        torch.Size([4, 10])
        >>> compressed.mode, compressed.preset, compressed.coder
        ('stream', 'fmtc', 'rans')
        >>> compressed.save("codec.safetensors")
    """

    reference: nn.Module

    def __init__(
        self, reference: nn.Module, calibrated: Calibrated, prepared: Prepared | None = None
    ):
        """reference: in eval mode. prepared: its network, which is changed; None to make it."""
        super().__init__()
        # Not a submodule: the user's model is neither moved, saved nor trained with this one.
        self.__dict__["reference"] = reference
        self._take(calibrated, prepared)
        self.mode = calibrated.config.mode
        self.statistics = calibrated.config.statistics
        self.to(device_of(reference), float_type(reference))
        self.eval()

    def _take(self, calibrated: Calibrated, prepared: Prepared | None) -> None:
        """Become the network of these codecs."""
        prepared = prepared or calibrated.prepare(self.reference)
        device = device_of(prepared.network)
        example = torch.zeros(1, *calibrated.probe.shape, dtype=torch.float32, device=device)
        plain = count_multiply_adds(prepared.network, example)
        self.written = prepared.coverage
        self._put_together(calibrated, prepared)
        for point in self.points.values():
            point.mode = "float"
        compressed = count_multiply_adds(self.network, example)
        self.multiply_adds = {"plain": plain, "compressed": compressed}
        # Of images for which the network is right, as far as it was asked.
        self._sizes, self._free_sizes = {torch.Size(calibrated.probe.shape)}, True

    def _put_together(self, calibrated: Calibrated, prepared: Prepared) -> None:
        """Put the codecs into the prepared network, which becomes the network."""
        points = assemble(prepared, calibrated.codecs, calibrated.weights, calibrated.reused)
        self.network = prepared.network.eval()
        paths = {id(module): path for path, module in self.network.named_modules()}
        self._paths = {name: paths[id(point)] for name, point in points.items()}
        self._parts = {group.name: paths[id(group.network)] for group in prepared.groups}
        self._calibrated = replace(calibrated, codecs={}, weights={})  # the network has them

    @property
    def points(self) -> dict[str, CodingPoint]:
        """The coding points by their layers, in execution order."""
        points = {}
        for name, path in self._paths.items():
            point = self.network.get_submodule(path)
            assert isinstance(point, CodingPoint)
            points[name] = point
        return points

    @property
    def codecs(self) -> dict[str, Codec]:
        """The codec of each layer, in execution order."""
        return {name: point.codec for name, point in self.points.items()}

    @property
    def config(self) -> CompressConfig:
        """What it was asked to be."""
        return self._calibrated.config

    @property
    def outputs(self) -> Choice:
        """Which of the network's outputs `fmtc.evaluate` measures.

        Names, a function, None for all. It can be set, to a function above all, which is not saved:
        to the one that the model was compressed with.
        """
        return self.config.choice

    @outputs.setter
    def outputs(self, outputs: str | Iterable[str] | Callable[[Any], Any] | None) -> None:
        self._calibrated.config = replace(self.config, outputs=outputs)

    def output_means(self, choice: Choice) -> dict[str, torch.Tensor]:
        """Means of outputs over the calibration images, as far as they are known.

        Args:
            choice: Names or None for the network's outputs; the function that is ``outputs``, for
                what it makes of them.

        Returns:
            The means, f64 by name.
        """
        if not callable(choice):
            return self._calibrated.means
        return self._calibrated.chosen_means if choice is self.outputs else {}

    @property
    def preset(self) -> str:
        """The name of the preset."""
        return self.config.scheme.name

    @property
    def setting(self) -> dict[str, Any]:
        """The target that it was made for, as a result has it."""
        return self._calibrated.setting

    @property
    def sides(self) -> dict[str, str]:
        """The side of its activation, "before" or "after", on which each layer is coded."""
        return self._calibrated.sides

    @property
    def block(self) -> str:
        """The block of the transform, as text "h,w,c"."""
        return str(self.config.block)

    @property
    def coder(self) -> str:
        """The name of the entropy coder."""
        return self.config.scheme.coder

    @property
    def weight_bits(self) -> int:
        """Bits of the weights, 32, 8 or 4."""
        return self.config.weight_bits

    @property
    def seconds_calibrate(self) -> float:
        """How long it took to make it."""
        return self._calibrated.seconds

    @seconds_calibrate.setter
    def seconds_calibrate(self, seconds: float) -> None:
        self._calibrated.seconds = seconds

    @property
    def calibration_images(self) -> int:
        """How many images it was calibrated with, those of ``start`` included."""
        return self._calibrated.images

    @property
    def mode(self) -> str:
        """What calling it does, "stream", "simulate" or "float"; can be set.

        "stream" encodes and decodes every tensor, "simulate" gives the same bits of output without
        making streams, "float" transforms without quantising.
        """
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        check_mode(mode)
        self._mode = mode
        for point in self.points.values():
            point.mode = mode

    @property
    def statistics(self) -> bool:
        """Whether what passes is counted, for ``report``; can be set.

        Without, streams take less time.
        """
        return self._statistics

    @statistics.setter
    def statistics(self, counting: bool) -> None:
        self._statistics = bool(counting)
        for point in self.points.values():
            point.counting = self._statistics

    @torch.no_grad()
    def forward(self, x: Any, *more: Any, **named: Any) -> Any:
        """The network's outputs for inputs as the model takes them.

        Raises:
            ValueError: An input is no batch, or has NaN or Inf.
        """
        packing = self._calibrated.packing
        if packing is not None and (more or named or not packing.is_packed(x)):
            x = packing.packed(in_order(self.reference, (x, *more), named))
            more, named = (), {}
        if recording():
            return self.network(x, *more, **named)
        self.check_input(x, *more)
        return self.network_for(x)(x, *more, **named)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Of an image that it was calibrated with."""
        return self._calibrated.probe.shape

    def network_for(self, x: Any) -> nn.Module:
        """``network``, captured for images of this size first where that is needed.

        Args:
            x: Images [N, C, H, W].

        Raises:
            Exception: What the model raises where it does not take them.
        """
        if isinstance(x, torch.Tensor) and x.shape[1:] not in self._sizes:
            self._take_size(x)
        return self.network

    def check_input(self, *args: Any) -> None:
        """Refuse what the network cannot take.

        Raises:
            ValueError: An image that is no batch, of another type than the network; NaN and Inf.
        """
        first = next((x for x in args if isinstance(x, torch.Tensor)), None)
        shape = self._calibrated.probe.shape
        if first is not None and first.dim() == len(shape) and first.shape[0] == shape[0]:
            raise ValueError(
                f"the network takes a batch of inputs [N, {', '.join(map(str, shape))}], got "
                f"{list(first.shape)}; make one of it with x[None]"
            )
        wanted = self._input_type()
        for x in args:
            if not isinstance(x, torch.Tensor):
                continue
            if wanted is not None and x.is_floating_point() and x.dtype != wanted:
                raise ValueError(
                    f"the network computes in {wanted}, its input is {x.dtype}: give it "
                    f"x.to({wanted})"
                )
            # NaN would become level 0, and the output look plausible.
            if not all_finite(x):
                raise ValueError("the network's input contains NaN or Inf")

    def _input_type(self) -> torch.dtype | None:
        """The type that a graph computes in, and so takes; None where Python may take any."""
        if not isinstance(self.network, fx.GraphModule):
            return None
        return next((p.dtype for p in self.network.parameters() if p.is_floating_point()), None)

    def _take_size(self, x: torch.Tensor) -> None:
        """Capture the network for images of another size, and for all if it allows that."""
        with _capturing:
            if x.shape[1:] in self._sizes:  # another thread was first
                return
            if not (isinstance(self.network, fx.GraphModule) and fits(self.network, x)):
                self._capture_for(x)
            self._sizes.add(x.shape[1:])

    def _capture_for(self, x: torch.Tensor) -> None:
        self.reference(x[:1])
        calibrated, points = self.calibrated(), self.points
        like = next(iter(self.network.parameters()))
        # Where free sizes were tried and do not fit, each needs a graph of its own.
        forgot = isinstance(self.network, fx.GraphModule) and not self.network.meta
        free, self._free_sizes = self._free_sizes or forgot, False
        prepared = calibrated.prepare(self.reference, x.shape[2:], free)
        if self.config.weight_bits == 32:
            plain = eval_view(self.reference, torch.float32).cpu()
            prepared.check(plain, calibrated.probe.images(1, x.shape[2:]))
        self._put_together(calibrated, prepared.to(like.device))
        self.to(like.device, like.dtype)
        for name, path in self._paths.items():
            points[name].layout = self.points[name].layout
            self.network.set_submodule(path, points[name])
        self._sizes.clear()

    def train(self, mode: bool = True) -> CompressedModel:
        """Stays in eval mode: the folded network has no training behaviour."""
        return super().train(False)

    def reset_statistics(self) -> None:
        """Forget what has been counted so far."""
        for point in self.points.values():
            point.reset()

    def report(self, gather: Gather[Counted] | None = None) -> Report:
        """Rates of everything run since the last reset; of the calibration images before that.

        Args:
            gather: Gives what all processes have counted, where several share the images.

        Example:
            >>> compressed.reset_statistics()
            >>> y = compressed(x)
            >>> compressed.report().bits_per_value.keys()
            dict_keys(['entropy', 'entropy_classes', 'cross_entropy', 'huffman', 'stream'])
        """
        counted = {name: point.counts() for name, point in self.points.items()}
        if gather is not None:
            counted = {name: Counted.sum(gather(part)) for name, part in counted.items()}
        by = self.multiply_adds, self.written, self.config.uncoded_bits
        report = Report.of(self.points, counted, *by)
        if report.nan_values:
            layers = ", ".join(name for name, part in counted.items() if part.nans)
            warn(
                f"{report.nan_values} of the values that were coded were NaN, for which there is "
                f"no level: outputs that depend on them are finite and wrong (layers: {layers})"
            )
        return report

    def save(self, path: str | PathLike) -> None:
        """Write codecs and settings (not the weights) to a safetensors file; see `load`.

        Args:
            path: The file.
        """
        self.calibrated().archive().write(path)

    def calibrated(self, weights: bool = True) -> Calibrated:
        """All that its calibration found out, which makes it anew on the reference.

        Args:
            weights: With those of refitted convolutions.
        """
        points = self.points
        calibrated = replace(self._calibrated, codecs=self.codecs)
        if weights:
            # Where levels are used again, the convolution is in the transform.
            there = [n for n in calibrated.refitted if not isinstance(points.get(n), ReusingPoint)]
            convs = {name: self._convolution(name) for name in there}
            calibrated.weights = {name: (c.weight, _bias(c)) for name, c in convs.items()}
        return calibrated

    def _convolution(self, layer: str) -> nn.Conv2d:
        """The convolution of a layer, everything folded."""
        name = module_name("folded", layer)
        made = self.network.get_submodule(f"{self._parts[layer]}.{name}".strip("."))
        assert is_plain_layer(made)
        return as_conv(made)

    # -- As a module -------------------------------------------------------------------------------

    def get_extra_state(self) -> torch.Tensor:
        """The codecs and settings, as the bytes of an archive, u8."""
        described = self.calibrated(weights=False).archive().to_bytes()  # a state has them anyway
        return torch.frombuffer(bytearray(described), dtype=torch.uint8)

    def set_extra_state(self, state: torch.Tensor) -> None:
        """What ``_load_from_state_dict`` has seen to, before the parameters were loaded."""

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Become the network that the state describes; its parameters are then loaded into it."""
        state = state_dict.get(f"{prefix}_extra_state")
        if state is not None and not torch.equal(state.cpu(), self.get_extra_state()):
            calibrated = Calibrated.of(
                Archive.of_bytes(state.cpu().numpy().tobytes(), "the state"), "the state"
            )
            like = next(iter(self.network.parameters()), None)
            mode, statistics = self.mode, self.statistics
            self._take(calibrated, None)
            if like is not None:
                self.to(like.device, like.dtype)
            self.mode, self.statistics = mode, statistics
        self.network._apply(torch.clone)  # nothing is loaded into tensors of the user's model
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _apply(self, fn: Any, recurse: bool = True) -> CompressedModel:
        super()._apply(fn, recurse)
        for part in self.network.modules():
            if isinstance(part, fx.GraphModule):
                place(part, device_of(self.network))
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> CompressedModel:
        """A copy with tensors of its own, but for the reference's, which is shared."""
        memo[id(self.reference)] = self.reference
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied


def _bias(conv: nn.Conv2d) -> torch.Tensor:
    return conv.weight.new_zeros(conv.out_channels) if conv.bias is None else conv.bias


def load(
    path: str | PathLike,
    model: nn.Module,
    *,
    outputs: str | Iterable[str] | Callable[[Any], Any] | None = None,
    max_bytes: int = MAX_BYTES,
) -> CompressedModel:
    """Put a codec saved by `CompressedModel.save` back on its model.

    Streams are bit-identical to those of the saved object. The model is recognised by what it
    computes of an input that the file describes.

    Args:
        path: The file.
        model: The model that it was made for, with its weights.
        outputs: The function that it was compressed with, which is not saved; names are, and
            without either all outputs are measured.
        max_bytes: Of the file, at most.

    Returns:
        The compressed network.

    Raises:
        StorageError: The file is damaged, larger, of another version, or was made for another
            model.

    Example:
        >>> compressed.save("codec.safetensors")
        >>> loaded = fmtc.load("codec.safetensors", model)
        >>> torch.equal(loaded(x), compressed(x))
        True
    """
    source, model = str(path), unwrapped(model)
    calibrated = Calibrated.of(Archive.read(path, max_bytes), source)
    if outputs is not None:
        calibrated.config = replace(calibrated.config, outputs=as_choice(outputs))
    packing = calibrated.packing
    reference = eval_view(model) if packing is None else packed_view(model, packing)
    try:
        difference = calibrated.probe.difference(reference)
    except (RuntimeError, TypeError, ValueError) as error:
        raise StorageError(
            f"{path} was made for another model: {type(model).__name__} does not take an input of "
            f"shape {list(calibrated.probe.shape)} ({error})"
        ) from error
    if not difference <= PROBE_TOLERANCE:
        raise StorageError(
            f"{path} was made for another model: {type(model).__name__} computes something else "
            f"than the one it was calibrated with (relative difference {difference:.2g} on a "
            "probe): load the weights it was calibrated with, or calibrate anew with fmtc.compress"
        )
    try:
        return CompressedModel(reference, calibrated)
    except StorageError as error:
        raise StorageError(f"{path} does not fit its model: {error}") from error
    except DAMAGE as error:
        raise StorageError(f"{path} does not fit its model: {error!r}") from error
