"""What a calibration finds out: codecs, and what is needed to put them into the network again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from ..codec.archive import Archive, Tensors, reading, require
from ..codec.codec import Codec, TensorCodec, unpacked_codecs
from ..config import CompressConfig
from ..errors import StorageError
from ..limits import MAX_VALUES
from ..network.inputs import Packing
from ..network.outputs import named_outputs, relative_difference
from ..network.prepared import Prepared
from ..network.view import eval_view

# Largest relative difference between the outputs for a probe; what another machine's rounding
# leaves is below 1e-5.
PROBE_TOLERANCE = 1e-3
PROBE_VALUES = 4096  # of each output, evenly spread, are kept


@dataclass(frozen=True)
class Probe:
    """What a network computes, as far as one input tells: noise like its calibration images.

    mean, std: of the images' channels, or of all values of vectors; outputs: what the network made
    of it, f32 by name.
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    outputs: dict[str, torch.Tensor]

    @classmethod
    def of(cls, model: nn.Module, images: torch.Tensor) -> Probe:
        """Of a network in eval mode and images [N, C, ...] of the kind that it takes."""
        dims = [0, *range(2, images.dim())] if images.dim() > 2 else [0, 1]
        mean = tuple(images.mean(dims).flatten().tolist())
        std = tuple(images.std(dims, correction=0).flatten().tolist())
        probe = cls(tuple(images.shape[1:]), mean, std, {})
        return cls(probe.shape, mean, std, probe.outputs_of(model))

    def images(self, count: int, size: Sequence[int] | None = None) -> torch.Tensor:
        """Noise like the calibration images, f32 [count, C, *size]; the first is the probe.

        size: None for that of the calibration images.
        """
        shape = self.shape if size is None else (self.shape[0], *size)
        # RandomState, because numpy guarantees its sequence for ever.
        noise = np.random.RandomState(0).standard_normal((count, *shape)).astype(np.float32)
        rest = [1] * (len(self.shape) - 1)
        mean, std = torch.tensor([self.mean, self.std], dtype=torch.float32).view(2, -1, *rest)
        return torch.from_numpy(noise) * std + mean

    @torch.no_grad()
    def outputs_of(self, model: nn.Module) -> dict[str, torch.Tensor]:
        """The network's float outputs for the probe, in eval mode and float32.

        f32 by name, PROBE_VALUES of each at most.
        """
        made = eval_view(model, torch.float32).cpu()(self.images(1))
        values = {name: of.float().flatten() for name, of in named_outputs(made).items()}
        return {
            name: of[:: 1 + (len(of) - 1) // PROBE_VALUES].clone() for name, of in values.items()
        }

    def difference(self, model: nn.Module) -> float:
        """Largest relative difference of a network's outputs from those kept, each from its own.

        Infinite where they are others, by name or shape.
        """
        return relative_difference(self.outputs_of(model), self.outputs)


@dataclass
class Calibrated:
    """Codecs of a network's layers, in execution order, and how they were made.

    setting: the target, as a result has it. sides: of its activation on which each layer is coded.
    images: how many it was calibrated with; seconds: how long it took. weights: of convolutions
    that were refitted, as they are in the assembled network, weight and bias by layer. reused: the
    layers that use levels again, and whose these are (docs/method.md).
    means: of each output over these images, f64 by name (`fmtc.evaluation.snr.mean_of`);
    chosen_means: of what the configuration's function makes of the outputs, where it has one.
    packing: of the network's inputs, where it has several.
    """

    config: CompressConfig
    setting: dict[str, Any]
    codecs: dict[str, Codec]
    sides: dict[str, str]
    probe: Probe
    images: int
    seconds: float = 0.0
    refitted: tuple[str, ...] = ()
    reused: dict[str, str] = field(default_factory=dict)
    weights: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    means: Tensors = field(default_factory=dict)
    chosen_means: Tensors = field(default_factory=dict)
    packing: Packing | None = None

    def prepare(
        self, model: nn.Module, size: Sequence[int] | None = None, free_sizes: bool = False
    ) -> Prepared:
        """The network that the codecs belong to, each layer coded on its side.

        size: H and W of its inputs; None: those of calibration. free_sizes: of `Prepared.of`.
        """
        config = self.config
        prepared = Prepared.of(
            model,
            self.probe.images(2, size),
            free_sizes=free_sizes,
            include=config.include,
            exclude=config.exclude,
            exclude_bits=config.exclude_bits,
            weight_bits=config.weight_bits,
            points=config.points,
        )
        for group in prepared.groups:
            if group.name not in self.codecs and not group.uncoded:
                raise StorageError(f"there is no codec for layer {group.name}")
            group.side = self.sides.get(group.name, group.side)
        return prepared

    def archive(self) -> Archive:
        """All of it, as a file holds it."""
        header = {
            "kind": "model",
            "config": self.config.to_dict(),
            "setting": self.setting,
            "sides": self.sides,
            "probe": {
                "shape": self.probe.shape, "mean": self.probe.mean, "std": self.probe.std
            },
            "images": self.images,
            "seconds": self.seconds,
            "refitted": self.refitted,
            "reused": self.reused,
            "inputs": None if self.packing is None else self.packing.shapes,
        }  # fmt: skip
        more = {
            **_prefixed("probe.", self.probe.outputs),
            **_prefixed("mean.", self.means),
            **_prefixed("chosen_mean.", self.chosen_means),
        }
        for name, (weight, bias) in self.weights.items():
            more |= {f"refit.{name}.weight": weight, f"refit.{name}.bias": bias}
        layers = {name: codec.packed() for name, codec in self.codecs.items()}
        return Archive(header, layers, more)

    @classmethod
    def of(cls, archive: Archive, source: str) -> Calibrated:
        """From an archive; ``source``: its file's name, for errors. Raises StorageError."""
        header = archive.header
        if header.get("kind") != "model":
            raise StorageError(
                f"{source} holds a bare tensor's codec; load it with TensorCodec.load(path)"
            )
        codecs = unpacked_codecs(archive, source)
        with reading(source):
            probe = header["probe"]
            moments = tuple(probe["mean"]), tuple(probe["std"])
            outputs = _with_prefix(archive, "probe.", torch.float32)
            require(bool(outputs), "no outputs of its probe")
            refitted = tuple(header["refitted"])
            weights = {
                name: (archive.more[f"refit.{name}.weight"], archive.more[f"refit.{name}.bias"])
                for name in refitted
                if f"refit.{name}.weight" in archive.more
            }
            return cls(
                config=CompressConfig.from_dict(header["config"]),
                setting=dict(header["setting"]),
                codecs=codecs,
                sides=dict(header["sides"]),
                probe=Probe(_whole(probe["shape"]), *moments, outputs),
                images=int(header["images"]),
                seconds=float(header["seconds"]),
                refitted=refitted,
                reused=_reused(header.get("reused", {}), codecs),
                weights=weights,
                means=_with_prefix(archive, "mean.", torch.float64),
                chosen_means=_with_prefix(archive, "chosen_mean.", torch.float64),
                packing=_packing(header.get("inputs")),
            )


def _prefixed(prefix: str, tensors: Tensors) -> Tensors:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def _with_prefix(archive: Archive, prefix: str, dtype: torch.dtype) -> Tensors:
    """An archive's tensors of these names, which must have this type, without the prefix."""
    found = {
        name.removeprefix(prefix): tensor
        for name, tensor in archive.more.items()
        if name.startswith(prefix)
    }
    for name, tensor in found.items():
        require(tensor.dtype == dtype, f"{prefix}{name} of {tensor.dtype}")
    return found


def _reused(names: Any, codecs: Mapping[str, Codec]) -> dict[str, str]:
    """The layers that use levels again, and whose, each of which is coded as the other is."""
    require(isinstance(names, dict), "levels used again that are no table")
    for layer, source in names.items():
        of, other = codecs.get(layer), codecs.get(source)
        if not (isinstance(of, TensorCodec) and isinstance(other, TensorCodec)):
            raise ValueError(f"levels of {source} in {layer}, which are not both coded")
        require(of.codes_like(other), f"levels of {source} that {layer} does not use")
    return dict(names)


def _packing(shapes: Any) -> Packing | None:
    return None if shapes is None else Packing(tuple(_whole(shape) for shape in shapes))


def _whole(shape: Sequence[Any]) -> tuple[int, ...]:
    """A shape of an input that a network can have. ValueError otherwise."""
    whole = bool(shape) and all(type(size) is int and 0 < size < 2**20 for size in shape)
    if not whole or math.prod(shape) > MAX_VALUES:
        raise ValueError(f"an input of shape {shape}")
    return tuple(shape)
