"""Presets: what each scheme does at a coding point. One place for every default."""

from __future__ import annotations

from dataclasses import dataclass, replace

MAX_LEVELS = 4096  # symbols in a table; the level range of a layer never exceeds it
CLASSES = 8  # table classes by component scale (METHOD section 4)


@dataclass(frozen=True)
class Preset:
    """Choices of a scheme.

    transform_bits: width of the quantised basis and its inverse, None keeps float32.
    drop_components: leave out components whose level is zero on the whole calibration set.
    outliers: share of the transformed calibration values left out at each end where the range that
    sets the step is measured; they stay codable. 0 takes the extremes.
    margin: levels added at each end of the calibrated range, as a share of the range.
    table_per_class: a table for each class instead of one for the layer.
    """

    name: str
    transform_bits: int | None = None
    drop_components: bool = True
    outliers: float = 0.0
    margin: float = 0.125
    table_per_class: bool = False


PRESETS = {
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
