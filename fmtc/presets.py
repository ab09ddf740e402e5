"""Presets: what each scheme does at a coding point. One place for every default."""

from __future__ import annotations

from dataclasses import dataclass, replace

MAX_LEVELS = 4096  # symbols in a table
CLASSES = 8  # table classes by component scale (METHOD section 4)
MAX_CLASSES = 16  # so that the tables stay in the cache
LANE_VALUES = tuple(2**n for n in range(8, 17))  # as lane_values_valid in csrc/core/stream.h


def check_lane_values(lane_values: int) -> None:
    """Raise ValueError unless a lane can have so many values; 0 leaves it to the coder."""
    if lane_values not in (0, *LANE_VALUES):
        raise ValueError(
            f"lane_values must be a power of two from {LANE_VALUES[0]} to {LANE_VALUES[-1]}, or 0 "
            f"for the coder's own choice, got {lane_values}"
        )


@dataclass(frozen=True)
class Preset:
    """Choices of a scheme.

    knob: "b", a step for each layer, its range / (2^b - 2); or "step", one step for all of them in
    units of what an error does to the output (METHOD section 9), for which these count:
        probes: random directions for each image, of which sensitivities are made.
        regularization: rho, how much of a metric without directions is added to the measured one.
        choose_sides: code after an activation where that is estimated to take less.
        reuse_levels: behind a 1x1 convolution code the levels that went into it.
        compensate: refit convolutions to their decoded inputs.
    transform: "pca" (weighted where there are sensitivities), "none", "dct" over the channels of a
        block, or "dct-cm", in each layer the DCT of 8 channels or none, whichever is sparser.
    transform_bits: width of the quantised basis and its inverse, None keeps float32.
    drop_components: leave out components whose level is zero on the whole calibration set.
    outliers: share of the transformed calibration values left out at each end where the range that
    sets the step is measured; they stay codable. 0 takes the extremes.
    kept: share of a layer's components that is kept at most, those of the largest variance.
    rule: what sets the step of a preset with b: "range", as said above, or one of
    ``fmtc.baselines.RULES``, for 2^b levels to which values are clamped. max_bits: the largest b.
    margin: levels added at each end of the calibrated range, as a share of the range ("range").
    side: "before" the activation, where METHOD section 1 puts the coding points, or "after" it
    wherever there is one.
    classes: table classes; table_per_class: each has its own table, instead of one for the layer.
    predict: code differences from a spatial prediction. position_classes: of positions by how much
    goes on there, each with tables of its own (rANS only). coder: one of
    ``entropy_coding.CODERS``. lane_values: that one lane of a stream codes, a GPU's thread; 0 for
    the coder's own choice. Raises ValueError for other lane_values than ``check_lane_values`` lets
    pass.
    """

    name: str
    knob: str = "b"
    transform: str = "pca"
    transform_bits: int | None = None
    drop_components: bool = True
    kept: float = 1.0
    outliers: float = 0.0
    rule: str = "range"
    max_bits: int = 12
    margin: float = 0.125
    side: str = "before"
    classes: int = CLASSES
    table_per_class: bool = False
    predict: bool = False
    position_classes: int = 1
    coder: str = "huffman"
    lane_values: int = 0
    probes: int = 4
    regularization: float = 0.1
    choose_sides: bool = False
    reuse_levels: bool = False
    compensate: bool = False

    def __post_init__(self):
        check_lane_values(self.lane_values)

    def with_classes(self, classes: int) -> Preset:
        """The same with one table a layer (1), or one for each of up to so many classes."""
        if not 1 <= classes <= MAX_CLASSES:
            raise ValueError(f"table classes must be 1 to {MAX_CLASSES}, got {classes}")
        if classes == 1:
            return replace(self, table_per_class=False)
        return replace(self, table_per_class=True, classes=classes)


# -- What the paper is compared with (METHOD section 7) --------------------------------------------
# The same coding points, values and coder for all; only the paper's PCA is taken away. Methods made
# for the activation's output code that, as their authors do. Quantisers are Huffman coded.

_PLAIN = Preset("", transform="none", drop_components=False, max_bits=10, margin=0.0)
_BASELINE = replace(_PLAIN, side="after")
_PCA_BASELINE = Preset("", transform_bits=8, max_bits=10)

PRESETS = {
    # The best we know (METHOD section 9): codes what the output depends on.
    "fmtc": Preset(
        "fmtc",
        knob="step",
        table_per_class=True,
        predict=True,
        position_classes=4,
        coder="rans",
        choose_sides=True,
        reuse_levels=True,
        compensate=True,
    ),
    # Faithful to the paper: PCA, basis in 8 bits, one step and one Huffman table a layer.
    "paper": Preset("paper", transform_bits=8),
    # The same with a step that does not hang on the farthest of all calibration values
    # (docs/measurements.md): one image among hundreds can otherwise make a layer's step useless.
    "paper-robust": Preset("paper-robust", transform_bits=8, outliers=1e-4),
    # The paper's own quantiser alone (its figure 4): b bits for each value, and Huffman coded.
    "q": replace(_PLAIN, name="q", coder="fixed"),
    "q-vlc": replace(_PLAIN, name="q-vlc"),
    # Other quantisers (fmtc/baselines.py), Huffman coded.
    "gemmlowp": replace(_BASELINE, name="gemmlowp", rule="gemmlowp"),
    "aciq": replace(_BASELINE, name="aciq", rule="aciq"),
    "kld": replace(_BASELINE, name="kld", rule="kld"),
    # EBPC: Cavigelli et al.'s lossless coder on GEMMLOWP's integers of b bits, 8 in their paper.
    "ebpc": replace(_BASELINE, name="ebpc", rule="gemmlowp", coder="ebpc"),
    # DCT-CM, reinterpreted, as only its abstract is public: of the DCT's coefficients over the
    # channels those that round to zero at b bits are masked; layers that are sparser without skip
    # it; a mask and words of b bits are what is stored.
    "dct-cm": replace(
        _BASELINE, name="dct-cm", rule="gemmlowp", transform="dct-cm", coder="dct-cm"
    ),
    # The paper's remark that PCA can stand before any of them: its coding points and its basis.
    "pca+aciq": replace(_PCA_BASELINE, name="pca+aciq", rule="aciq"),
    "pca+kld": replace(_PCA_BASELINE, name="pca+kld", rule="kld"),
}


def get_preset(preset: str | Preset, **changes) -> Preset:
    """A preset by name, optionally with some fields changed. Raises ValueError for a wrong name."""
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(f"unknown preset '{preset}'; known: {', '.join(PRESETS)}")
        preset = PRESETS[preset]
    return replace(preset, **changes)
