"""What a compression is asked to do: one object, checked when it is made, saved with codecs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

from .codec.block import Block
from .codec.coders import check_lane_values, coders
from .network.groups import AS_IT_IS, POINTS
from .network.outputs import Choice, as_choice
from .network.weights import check_weight_bits
from .presets import BitsPreset, Preset, StepPreset, check_types, get_preset, preset_of
from .registry import unknown
from .results.result import PLAIN_BITS

EXCLUDE_BITS = (PLAIN_BITS, AS_IT_IS)
MODES = ("stream", "simulate", "float")


@dataclass(frozen=True)
class CompressConfig:
    """Everything that `fmtc.compress` can be told, but for model, images and target.

    Args:
        preset: A name (`list_presets`) or a `Preset`; "fmtc" is the best we know.
        block: h,w,c of the transform, c a number or C for all channels (1,1,C for preset "fmtc").
        coder: The name of a registered one. None: as the preset says.
        lane_values: What a lane of a stream codes, a power of two from 256 to 65536, or 0 for the
            coder's own choice. None: as the preset says.
        table_classes: 1 for a table a layer, up to 16 for a table for each of that many classes of
            components. None: as the preset says.
        compensate: Refit convolutions to their decoded inputs. None: as the preset says.
        include: Layer name patterns such as "layer1.*" of what is coded. None: all.
        exclude: Layer name patterns. Layers left out are quantised to 8 bits and counted so.
        exclude_bits: 8, or 32 to leave layers left out as they are: the rates then speak of the
            layers that are coded alone.
        weight_bits: 32, 8 or 4.
        points: "all" tensors that are written and have channels and positions, or "paper": what 2-d
            convolutions give, alone.
        uncoded_bits: Of a value that is written and has no coding point, in rates over all that is
            written; 0 to 64.
        outputs: Which of the network's outputs matter, are measured and decide a target: names or
            patterns of them ("boxes", "head.*"; those of a tuple are "0", "1", ...), or a function
            that takes the whole output to a tensor, a tuple or a dictionary of tensors. None: all.
            A function is not saved.
        mode: Of the compressed model: "stream" makes and decodes real streams, "simulate" gives the
            same numbers faster without them, "float" transforms alone.
        statistics: Count what passes, for the report.
        micro_batch: Images run at a time in calibration.
        keep_moments: Keep (and save) the calibration moments, so that it can be continued (presets
            with a knob b).
        seed: Of the random probes that measure sensitivities.

    Raises:
        ValueError: A field has a wrong value; it names the field, and what is allowed.

    Example:
        >>> config = fmtc.CompressConfig("paper", exclude=["conv1"], weight_bits=8)
        >>> compressed = fmtc.compress(model, images, config, bits=6)
        >>> compressed.preset, compressed.weight_bits
        ('paper', 8)
    """

    preset: str | Preset = "fmtc"
    block: str | tuple | Block = "1,1,C"
    coder: str | None = None
    lane_values: int | None = None
    table_classes: int | None = None
    compensate: bool | None = None
    include: Iterable[str] | None = None
    exclude: Iterable[str] = ()
    exclude_bits: int = PLAIN_BITS
    weight_bits: int = 32
    points: str = "all"
    uncoded_bits: float = PLAIN_BITS
    outputs: str | Iterable[str] | Callable[[Any], Any] | None = None
    mode: str = "stream"
    statistics: bool = True
    micro_batch: int = 16
    keep_moments: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_types(self, "config")
        self._set("preset", get_preset(self.preset))
        self._set("block", Block.parse(self.block))
        for name in ("include", "exclude"):
            self._set(name, _patterns(name, getattr(self, name)))
        self._set("exclude", self.exclude or ())
        self._set("outputs", as_choice(self.outputs))
        check_mode(self.mode)
        if self.points not in POINTS:
            allowed = " or ".join(map(repr, POINTS))
            raise ValueError(f"config: points must be {allowed}, got {self.points!r}")
        if not 0 <= self.uncoded_bits <= 64:
            raise ValueError(f"config: uncoded_bits must be 0 to 64, got {self.uncoded_bits:g}")
        if self.exclude_bits not in EXCLUDE_BITS:
            raise ValueError(f"config: exclude_bits must be 8 or 32, got {self.exclude_bits}")
        check_weight_bits(self.weight_bits)
        if self.lane_values is not None:
            check_lane_values(self.lane_values)
        if self.micro_batch < 1:
            raise ValueError(f"config: micro_batch must be 1 or more, got {self.micro_batch}")
        self._check_together()

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_together(self) -> None:
        scheme, coder = self.scheme, coders[self.scheme.coder]
        if (self.table_classes or 1) > 1 and not coder.tables:
            raise ValueError(f"coder '{coder.name}' has no tables that table_classes could be of")
        if isinstance(scheme, StepPreset):
            if not self.transform_block.is_pixel:
                raise ValueError(
                    f"preset '{scheme.name}' is for block 1,1,C, not {self.transform_block}"
                )
            if self.keep_moments:
                raise ValueError(
                    f"preset '{scheme.name}' cannot be continued with other images: sensitivities "
                    "are not kept; use keep_moments and start with presets that have a knob b"
                )
        if self.keep_moments and isinstance(scheme, BitsPreset) and scheme.transform != "pca":
            raise ValueError(f"preset '{scheme.name}' has no moments to keep or continue")

    @cached_property
    def scheme(self) -> Preset:
        """The preset, with what else the configuration says of coder, tables and compensation."""
        assert isinstance(self.preset, Preset)
        scheme = self.preset
        if self.compensate is not None:
            if isinstance(scheme, StepPreset):
                scheme = replace(scheme, compensate=self.compensate)
            elif self.compensate:
                raise ValueError(f"preset '{scheme.name}' has no compensation to switch on")
        if self.coder is not None:
            scheme = get_preset(scheme, coder=self.coder)
        if self.lane_values is not None:
            scheme = replace(scheme, lane_values=self.lane_values)
        if self.table_classes is not None:
            scheme = scheme.with_classes(self.table_classes)
        return scheme

    @property
    def transform_block(self) -> Block:
        """``block`` as it was understood."""
        assert isinstance(self.block, Block)
        return self.block

    @property
    def choice(self) -> Choice:
        """``outputs`` as it was understood."""
        return as_choice(self.outputs)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON can hold it, without a function; see ``from_dict``."""
        described = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in ("include", "exclude"):
            described[name] = None if described[name] is None else list(described[name])
        names = None if callable(self.outputs) else self.outputs
        described["outputs"] = None if names is None else list(names)
        assert isinstance(self.preset, Preset)
        return described | {"preset": self.preset.to_dict(), "block": str(self.block)}

    @classmethod
    def from_dict(cls, described: dict[str, Any]) -> CompressConfig:
        """The configuration of such a dictionary; fields that are not there have their defaults."""
        preset = described.get("preset", "fmtc")
        if isinstance(preset, dict):
            preset = preset_of(preset)
        return cls.of(preset, **{k: v for k, v in described.items() if k != "preset"})

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: a function is left out, as it is when the configuration is saved."""
        return vars(self) | ({"outputs": None} if callable(self.outputs) else {})

    def __deepcopy__(self, memo: dict[int, Any]) -> CompressConfig:
        return self  # nothing of it changes

    @classmethod
    def of(
        cls, config: CompressConfig | Preset | str | None = None, **options: Any
    ) -> CompressConfig:
        """From a configuration, a preset or its name, with some fields given by keyword.

        Raises:
            ValueError: A keyword is no field; it names the nearest right one. Or a value is wrong.

        Example:
            >>> fmtc.CompressConfig.of("paper", mode="simulate").mode
            'simulate'
        """
        known = {field.name: field for field in fields(cls)}
        for name in options:
            if name not in known:
                raise ValueError(unknown("option", name, known))
        if isinstance(config, CompressConfig):
            return replace(config, **options) if options else config
        if config is not None:
            if "preset" in options:
                raise ValueError(f"two presets are given: {config!r} and {options['preset']!r}")
            options["preset"] = config
        return cls(**options)


def check_mode(mode: str) -> None:
    """Raise ValueError unless this is a mode of a compressed model."""
    if mode not in MODES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}; got {mode!r}")


def _patterns(name: str, value: Any) -> tuple[str, ...] | None:
    """One string is one pattern."""
    if value is None or isinstance(value, str):
        return None if value is None else (value,)
    try:
        patterns = tuple(value)
    except TypeError:
        patterns = (None,)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise ValueError(f"config: {name} must be strings; got {value!r}")
    return patterns
