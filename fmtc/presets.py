"""Presets: what each scheme does at a coding point. One place for every default.

There are two families: a knob b, which sets a step for each layer, and one step for all layers.
docs/method.md, "Presets".
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

from .codec.coders import ALLOWED_LANE_VALUES, LANE_VALUES, coders
from .codec.frequencies import SIZES as FREQUENCY_SIZES
from .codec.positions import MAX_CLASSES as MAX_POSITION_CLASSES
from .codec.prediction import MAX_SOURCES
from .codec.ranges import PAPER_RANGE, ranges
from .codec.scaled import PER_LAYER, SCALINGS
from .registry import Registry, unknown
from .targets import DEFAULT_BITS, MAX_BITS, MIN_BITS

CLASSES = 8  # table classes by component scale
MAX_CLASSES = 16  # so that the tables stay in the cache
TRANSFORMS = ("pca", "none", "dct", "dct-cm")
SIDES = ("before", "after")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """What both families choose. Make a `BitsPreset` or a `StepPreset`.

    Args:
        name: Under which results show it.
        drop_components: Leave out components whose level is zero on the whole calibration set.
        transform_bits: Width of the quantised basis and its inverse; None keeps float32.
        margin: Levels added at each end of the calibrated range, as a share of the range.
        classes: Table classes.
        table_per_class: Each class has its own table, instead of one for the layer.
        predict: Code differences from a spatial prediction. A coder that cannot does without.
        sources: What lies around a position in so many first components predicts the later ones
            too, where it pays.
        position_classes: Of positions by how much goes on there, each with tables of its own.
            A coder that cannot does without.
        coder: The name of a registered one (`register_coder`).
        lane_values: What one lane of a stream codes, a GPU's thread; 0 for the coder's own choice.

    Raises:
        ValueError: A field has a wrong value; it names the field, and what is allowed.

    Example:
        >>> from dataclasses import replace
        >>> replace(fmtc.PRESETS["fmtc"], name="one-table", table_per_class=False).knob
        'step'
    """

    knob: ClassVar[str]

    name: str
    drop_components: bool = True
    transform_bits: int | None = None
    margin: float = 0.125
    classes: int = CLASSES
    table_per_class: bool = False
    predict: bool = False
    sources: int = 16
    position_classes: int = 1
    coder: str = "huffman"
    lane_values: int = 0

    def __post_init__(self) -> None:
        if type(self) is Preset:
            raise ValueError("make a fmtc.BitsPreset (with a knob b) or a fmtc.StepPreset")
        check_types(self, f"preset '{self.name}'")
        self._require("margin", 0 <= self.margin <= 1, "a share of the range, 0 to 1")
        self._require("classes", 1 <= self.classes <= MAX_CLASSES, f"1 to {MAX_CLASSES}")
        bits = self.transform_bits
        self._require("transform_bits", bits is None or 2 <= bits <= 16, "2 to 16, or None")
        self._require("sources", 0 <= self.sources <= MAX_SOURCES, f"0 to {MAX_SOURCES}")
        most = MAX_POSITION_CLASSES
        self._require("position_classes", 1 <= self.position_classes <= most, f"1 to {most}")
        lanes = self.lane_values
        self._require("lane_values", lanes in (0, *LANE_VALUES), ALLOWED_LANE_VALUES)

    def _require(self, field: str, condition: bool, allowed: str) -> None:
        if not condition:
            value = getattr(self, field)
            raise ValueError(f"preset '{self.name}': {field} must be {allowed}; got {value!r}")

    def _require_one_of(self, field: str, allowed: tuple[str, ...]) -> None:
        self._require(field, getattr(self, field) in allowed, f"one of {', '.join(allowed)}")

    def check_names(self) -> None:
        """Look up the coder (and the rule).

        Raises:
            KeyError: One is not registered (UnknownNameError, a ValueError, too).
        """
        coders[self.coder]

    def with_classes(self, classes: int) -> Preset:
        """The same with one table a layer (1), or one for each of up to so many classes."""
        if not 1 <= classes <= MAX_CLASSES:
            raise ValueError(f"table_classes must be 1 to {MAX_CLASSES}, got {classes}")
        if classes == 1:
            return replace(self, table_per_class=False)
        return replace(self, table_per_class=True, classes=classes)

    def to_dict(self) -> dict[str, Any]:
        """What `preset_of` makes the preset of again; JSON can hold it."""
        return {"knob": self.knob, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class BitsPreset(Preset):
    """A step for each layer, its range / (2^b - 2), or what a rule says.

    Fields that are not listed here are those of `Preset`.

    Args:
        transform: "pca", "none", "dct" over the channels of a block, or "dct-cm", in each layer the
            DCT of 8 channels or none, whichever is sparser.
        kept: Share of a layer's components that is kept at most, those of the largest variance.
        outliers: Share of the transformed calibration values left out at each end where the range
            that sets the step is measured; they stay codable. 0 takes the extremes.
        rule: What sets the step: "range", as said above, or a registered one (`register_range`),
            for 2^b levels to which values are clamped.
        min_bits: The smallest b.
        max_bits: The largest b.
        side: "before" the activation or "after" it wherever there is one.
        scaling: "layer", which all of the above is about; or what has scales at each position:
            "token", integers of b bits with one scale, "mxfp4" or "nvfp4", formats of 4 bits.

    Raises:
        ValueError: A field has a wrong value; it names the field, and what is allowed.

    Example:
        >>> preset = fmtc.BitsPreset(name="robust", transform_bits=8, outliers=1e-3)
        >>> compressed = fmtc.compress(model, images, preset, bits=6)
        >>> compressed.preset
        'robust'
    """

    knob: ClassVar[str] = "b"

    transform: str = "pca"
    kept: float = 1.0
    outliers: float = 0.0
    rule: str = PAPER_RANGE
    min_bits: int = MIN_BITS
    max_bits: int = MAX_BITS
    side: str = "before"
    scaling: str = PER_LAYER

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require_one_of("transform", TRANSFORMS)
        self._require_one_of("side", SIDES)
        self._require_one_of("scaling", (PER_LAYER, *SCALINGS))
        plain = self.transform == "none" and self.rule == PAPER_RANGE and not self.predict
        plain = plain and self.position_classes == 1
        alone = "'layer' with a transform, a rule, a prediction or classes of positions"
        self._require("scaling", self.scaling == PER_LAYER or plain, alone)
        self._require("kept", 0 < self.kept <= 1, "a share of the components, above 0 up to 1")
        self._require("outliers", 0 <= self.outliers < 0.5, "a share of the values, 0 to below 0.5")
        allowed = f"{MIN_BITS} to {MAX_BITS}"
        self._require("max_bits", MIN_BITS <= self.max_bits <= MAX_BITS, allowed)
        allowed = f"{MIN_BITS} to max_bits"
        self._require("min_bits", MIN_BITS <= self.min_bits <= self.max_bits, allowed)

    def check_names(self) -> None:
        super().check_names()
        if self.rule != PAPER_RANGE:
            ranges[self.rule]
        coder = coders[self.coder]
        if self.scaling != PER_LAYER and not (coder.alphabets or coder.escapes):
            raise ValueError(
                f"preset '{self.name}': coder '{coder.name}' has no tables for scales of their own"
            )

    @property
    def default_bits(self) -> int:
        """The b without another one, which is 8 or what comes nearest."""
        return min(max(DEFAULT_BITS, self.min_bits), self.max_bits)

    def allows(self, bits: int) -> bool:
        """True for a b that the preset can use."""
        return self.min_bits <= bits <= self.max_bits

    def check_bits(self, bits: int) -> None:
        """Refuse a b that the preset cannot use.

        Raises:
            ValueError: Any other b.
        """
        if not self.allows(bits):
            one = self.min_bits == self.max_bits
            allowed = f"{self.min_bits}" if one else f"{self.min_bits} to {self.max_bits}"
            raise ValueError(f"bits must be {allowed} with preset '{self.name}', got {bits}")


@dataclass(frozen=True, kw_only=True)
class StepPreset(Preset):
    """One step for all layers, in units of what an error does to the output.

    Fields that are not listed here are those of `Preset`.

    Args:
        probes: Random directions for each image, of which sensitivities are made.
        regularization: rho, how much of a metric without directions is added to the measured one.
        choose_sides: Code after an activation where that is estimated to take less.
        reuse_levels: Behind a 1x1 convolution code the levels that went into it.
        compensate: Refit convolutions to their decoded inputs.
        frequencies: The largest size of blocks of positions whose frequencies are coded with steps
            of their own, 2 or 4; 1 for none.

    Raises:
        ValueError: A field has a wrong value; it names the field, and what is allowed.

    Example:
        >>> preset = fmtc.StepPreset(name="plain-rans", coder="rans")
        >>> fmtc.compress(model, images, preset, target=fmtc.Step(0.02)).coder
        'rans'
    """

    knob: ClassVar[str] = "step"

    probes: int = 4
    regularization: float = 0.1
    choose_sides: bool = False
    reuse_levels: bool = False
    compensate: bool = False
    frequencies: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require("probes", self.probes >= 1, "1 or more")
        self._require("regularization", self.regularization >= 0, "0 or more")
        self._require("frequencies", self.frequencies in (1, *FREQUENCY_SIZES), "1, 2 or 4")


FAMILIES: dict[str, type[Preset]] = {"b": BitsPreset, "step": StepPreset}


def check_types(config: Any, what: str) -> None:
    """ValueError unless a dataclass's fields of numbers, strings and flags have their types."""
    allowed: dict[str, tuple[type, ...]] = {
        "str": (str,),
        "bool": (bool,),
        "int": (int,),
        "float": (float, int),
        "int | None": (int, type(None)),
        "bool | None": (bool, type(None)),
        "str | None": (str, type(None)),
    }
    for field in fields(config):
        value, wanted = getattr(config, field.name), allowed.get(str(field.type))
        if wanted is None:
            continue
        boolean = isinstance(value, bool) and bool not in wanted
        if boolean or not isinstance(value, wanted):
            kinds = str(field.type).replace(" | ", " or ")
            raise ValueError(f"{what}: {field.name} must be {kinds}; got {value!r}")


PRESETS: Registry[Preset] = Registry("preset")


def register_preset(preset: Preset) -> Preset:
    """Make a preset known by its name, to `fmtc.compress` and to the command line.

    Args:
        preset: A `BitsPreset` or a `StepPreset`.

    Returns:
        The preset.

    Raises:
        ValueError: The name of another; a coder or a rule that is not registered.

    Example:
        >>> preset = fmtc.register_preset(fmtc.BitsPreset(name="paper-rans", coder="rans"))
        >>> fmtc.list_presets("*-rans")
        ['paper-rans']
    """
    if not isinstance(preset, Preset):
        raise ValueError(f"a preset is a BitsPreset or a StepPreset, not {preset!r}")
    preset.check_names()
    return PRESETS.register(preset.name, preset)


def list_presets(pattern: str = "*") -> list[str]:
    """Names of the presets that match a pattern.

    Args:
        pattern: Such as "pca*".

    Returns:
        The names, in the order in which they were registered.

    Example:
        >>> fmtc.list_presets("p*")
        ['paper', 'paper-robust', 'pca+aciq', 'pca+kld']
    """
    return PRESETS.names(pattern)


def get_preset(preset: str | Preset, **changes: Any) -> Preset:
    """A preset by name, optionally with some fields changed. Raises ValueError for a wrong name."""
    found = preset if isinstance(preset, Preset) else PRESETS[preset]
    known = {field.name: field for field in fields(found)}
    for name in changes:
        if name not in known:
            raise ValueError(f"preset '{found.name}': {unknown('field', name, known)}")
    found = replace(found, **changes)
    found.check_names()
    return found


def preset_of(described: dict[str, Any]) -> Preset:
    """The preset of `Preset.to_dict`. Raises ValueError for anything else."""
    choices = dict(described)
    knob = choices.pop("knob", None)
    if knob not in FAMILIES:
        raise ValueError(f"a preset has the knob b or step, not {knob!r}")
    try:
        preset = FAMILIES[knob](**choices)
    except TypeError as error:  # a field that is missing or not known
        raise ValueError(f"not a preset: {error}") from error
    preset.check_names()
    return preset


# The best we know: codes what the output depends on.
register_preset(
    StepPreset(
        name="fmtc",
        table_per_class=True,
        predict=True,
        position_classes=4,
        coder="rans",
        choose_sides=True,
        reuse_levels=True,
        compensate=True,
        frequencies=4,
    )
)
# Faithful to the paper: PCA, basis in 8 bits, one step and one Huffman table a layer.
register_preset(BitsPreset(name="paper", transform_bits=8))
# The same with a step that does not hang on the farthest of all calibration values
# (docs/measurements.md): one image among hundreds can otherwise make a layer's step useless.
register_preset(BitsPreset(name="paper-robust", transform_bits=8, outliers=1e-4))

# -- What the paper is compared with (docs/method.md, "Competitors") -------------------------------
# The same coding points, values and coder for all; only the paper's PCA is taken away. Methods made
# for the activation's output code that, as their authors do. Quantisers are Huffman coded.

_PLAIN = BitsPreset(name="", transform="none", drop_components=False, max_bits=10, margin=0.0)
_BASELINE = replace(_PLAIN, side="after")
_PCA_BASELINE = BitsPreset(name="", transform_bits=8, max_bits=10)

for _preset in (
    # The paper's own quantiser alone (its figure 4): b bits for each value, and Huffman coded.
    replace(_PLAIN, name="q", coder="fixed"),
    replace(_PLAIN, name="q-vlc"),
    # Other quantisers (fmtc/codec/ranges.py), Huffman coded.
    replace(_BASELINE, name="gemmlowp", rule="gemmlowp"),
    replace(_BASELINE, name="aciq", rule="aciq"),
    replace(_BASELINE, name="kld", rule="kld"),
    # EBPC: Cavigelli et al.'s lossless coder on GEMMLOWP's integers of b bits, 8 in their paper.
    replace(_BASELINE, name="ebpc", rule="gemmlowp", coder="ebpc"),
    # DCT-CM, reinterpreted, as only its abstract is public: of the DCT's coefficients over the
    # channels those that round to zero at b bits are masked; layers that are sparser without skip
    # it; a mask and words of b bits are what is stored.
    replace(_BASELINE, name="dct-cm", rule="gemmlowp", transform="dct-cm", coder="dct-cm"),
    # The paper's remark that PCA can stand before any of them: its coding points and its basis.
    replace(_PCA_BASELINE, name="pca+aciq", rule="aciq"),
    replace(_PCA_BASELINE, name="pca+kld", rule="kld"),
):
    register_preset(_preset)

# -- What a user would take today (docs/method.md, "Competitors") ----------------------------------
# Formats of one width, stored as they are or Huffman coded (-vlc), behind the activation.

_INT8 = replace(_BASELINE, name="int8", rule="gemmlowp", min_bits=8, max_bits=8, coder="fixed")

for _preset in (
    # A scale and a zero for each layer, from the calibrated extremes: GEMMLOWP's at 8 bits.
    _INT8,
    replace(_INT8, name="int8-vlc", coder="huffman"),
    # APack: Delmas Lascorz et al.'s lossless code of these integers.
    replace(_INT8, name="apack", coder="apack"),
):
    register_preset(_preset)

# Scales made of the values, one for a position or a block of channels there (fmtc/codec/scaled.py).
for _name, _bits, _scaling in (
    ("int6-token", 6, "token"),
    ("int4-token", 4, "token"),
    ("mxfp4", 4, "mxfp4"),
    ("nvfp4", 4, "nvfp4"),
):
    _scaled = replace(_BASELINE, scaling=_scaling, min_bits=_bits, max_bits=_bits)
    register_preset(replace(_scaled, name=_name, coder="fixed"))
    register_preset(replace(_scaled, name=f"{_name}-vlc"))
