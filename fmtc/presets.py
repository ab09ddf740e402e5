"""Presets: what each scheme does at a coding point. One place for every default."""

from __future__ import annotations

from dataclasses import dataclass, replace

MAX_LEVELS = 4096  # symbols in a table
CLASSES = 8  # table classes by component scale (METHOD section 4)


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
    transform_bits: width of the quantised basis and its inverse, None keeps float32.
    drop_components: leave out components whose level is zero on the whole calibration set.
    outliers: share of the transformed calibration values left out at each end where the range that
    sets the step is measured; they stay codable. 0 takes the extremes.
    kept: share of a layer's components that is kept at most, those of the largest variance.
    margin: levels added at each end of the calibrated range, as a share of the range.
    classes: table classes; table_per_class: each has its own table, instead of one for the layer.
    predict: code differences from a spatial prediction. coder: "huffman" or "rans".
    """

    name: str
    knob: str = "b"
    transform_bits: int | None = None
    drop_components: bool = True
    kept: float = 1.0
    outliers: float = 0.0
    margin: float = 0.125
    classes: int = CLASSES
    table_per_class: bool = False
    predict: bool = False
    coder: str = "huffman"
    probes: int = 4
    regularization: float = 0.1
    choose_sides: bool = False
    reuse_levels: bool = False
    compensate: bool = False


PRESETS = {
    # The best we know (METHOD section 9): codes what the output depends on.
    "fmtc": Preset(
        "fmtc",
        knob="step",
        table_per_class=True,
        predict=True,
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
}


def get_preset(preset: str | Preset, **changes) -> Preset:
    """A preset by name, optionally with some fields changed. Raises ValueError for a wrong name."""
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise ValueError(f"unknown preset '{preset}'; known: {', '.join(PRESETS)}")
        preset = PRESETS[preset]
    return replace(preset, **changes)
