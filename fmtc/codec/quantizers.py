"""Which kind of quantiser a saved layer has."""

from __future__ import annotations

from .archive import Scalars, Tensors
from .frequencies import FrequencyQuantizer
from .quantizer import Quantizer
from .scaled import ScaledQuantizer


def unpacked_quantizer(layer: Scalars, tensors: Tensors, components: int) -> Quantizer:
    """From the scalars and tensors of an archive's layer. ValueError: no quantiser's."""
    if "frequencies" in tensors:
        return FrequencyQuantizer.of_archive(layer, tensors, components)
    return (ScaledQuantizer if "format" in layer else Quantizer).unpacked(layer)
