"""What is done to a layer that is left out: quantised, really, without transform or coder."""

from __future__ import annotations

import torch

from ..errors import CalibrationError
from ..planes import all_finite
from .archive import Scalars, Tensors, integer, number
from .exact import Exact
from .quantizer import Quantizer


class PlainCodec(Exact):
    """Uniform quantisation at ``bits`` bits; ``mse`` and ``values`` of the calibration tensors."""

    def __init__(self, quantizer: Quantizer, bits: int, channels: int, mse: float, values: int):
        super().__init__()
        self.quantizer = quantizer
        self.bits, self.channels, self.mse, self.values = bits, channels, mse, values

    @classmethod
    def fit(cls, tensors: list[torch.Tensor], bits: int, name: str = "tensor") -> PlainCodec:
        """Range of the calibration values, with 0 a level, as 2^bits levels."""
        if not all(map(all_finite, tensors)):
            raise CalibrationError(f"{name}: calibration values contain NaN or Inf")
        low = min(0.0, *(float(x.min()) for x in tensors))
        high = max(0.0, *(float(x.max()) for x in tensors))
        step = (high - low) / (2**bits - 1)
        step = float(torch.tensor(step, dtype=torch.float32)) or 1.0
        lo = round(low / step)
        quantizer = Quantizer(step, lo, lo + 2**bits - 1)
        squared = 0.0
        for x in tensors:
            decoded = quantizer.dequantize(quantizer.quantize(x)[0])
            squared += float((decoded - x).double().square().sum())
        values = sum(x.numel() for x in tensors)
        return cls(quantizer, bits, tensors[0].shape[1], squared / values, values)

    def simulate(self, x: torch.Tensor) -> torch.Tensor:
        """The quantised values of x."""
        return self.quantizer.dequantize(self.quantizer.quantize(x)[0])

    def packed(self) -> tuple[Scalars, Tensors]:
        """The scalars of an archive's layer, and no tensors."""
        scalars = {
            "plain": True,
            **self.quantizer.packed(),
            "channels": self.channels,
            "bits": self.bits,
            "mse": self.mse,
            "values": self.values,
        }
        return scalars, {}

    @classmethod
    def unpacked(cls, layer: Scalars) -> PlainCodec:
        """From such scalars. ValueError where they are no plain codec's."""
        return cls(
            Quantizer.unpacked(layer),
            integer(layer["bits"], 1),
            integer(layer["channels"], 1),
            number(layer["mse"]),
            integer(layer["values"], 0),
        )
