"""The quantiser of frequencies: a DCT over positions, with a step for each of its frequencies.

docs/method.md, "Frequencies".
"""

from __future__ import annotations

import math

import torch

from .. import ops
from .archive import Scalars, Tensors, require, typed
from .quantizer import Quantizer

SIZES = (2, 4)  # rows and columns of a block


def dct_matrix(size: int) -> torch.Tensor:
    """The orthonormal DCT-II, f64 [size, size]: row f has frequency f."""
    n = torch.arange(size, dtype=torch.float64)
    basis = (2 / size) ** 0.5 * torch.cos(torch.pi / size * (n + 0.5) * n[:, None])
    basis[0] /= 2**0.5
    return basis


def energies(x: torch.Tensor, size: int) -> torch.Tensor:
    """Mean square of each frequency over the whole blocks of x [N, C, H, W], f64 [size * size].

    NaN where there is no whole block.
    """
    rows, columns = (n // size * size for n in x.shape[2:])
    blocks = x[:, :, :rows, :columns].unflatten(3, (-1, size)).unflatten(2, (-1, size))
    basis = dct_matrix(size)
    # N, C, rows, size, columns, size -> [size * size, blocks]
    positions = blocks.permute(3, 5, 0, 1, 2, 4).reshape(size * size, -1)
    made = torch.kron(basis, basis).to(x) @ positions
    norms = torch.linalg.vector_norm(made, dim=1, dtype=torch.float64)
    return norms.square() / made.shape[1]


class FrequencyQuantizer(Quantizer):
    """Levels int16 [N, P, rows, columns] of the frequencies of y [N, K, H, W].

    size: of the blocks of positions, of which ceil(H / size) x ceil(W / size) cover a component.
    coded: i32 [P], component * size * size + frequency of each plane of levels. scales: f32
    [size * size], of ``step`` for each frequency. components: K.
    """

    coded: torch.Tensor
    scales: torch.Tensor
    steps: torch.Tensor
    places: torch.Tensor  # i32 [K, size * size], the plane of each frequency, -1 for none

    def __init__(
        self,
        base: Quantizer,
        size: int,
        coded: torch.Tensor,
        scales: torch.Tensor,
        components: int,
    ):
        super().__init__(base.step, base.lo, base.hi)
        self.size = size
        coded = coded.to(torch.int32)
        places = coded.new_full((components * size * size,), -1)
        places[coded.long()] = torch.arange(len(coded), dtype=torch.int32, device=coded.device)
        self.hold("places", places.view(components, size * size))
        self.hold("coded", coded)
        self.hold("scales", scales.float())
        self.hold("steps", self.scales * self.step)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, blocks of {self.size}x{self.size}"

    @property
    def one_step(self) -> bool:
        return False

    @property
    def fuses(self) -> bool:
        return True

    @property
    def frequencies(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.places, self.steps

    def planes(self, components: int) -> int:
        return len(self.coded)

    def quantize(self, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Levels int16 [N, P, rows, columns] of y, and how many were clamped, i64 []."""
        of = self.places, len(self.coded), self.steps
        return ops.dct_quantize(y, *of, self.lo, self.hi)

    def dequantize(
        self,
        levels: torch.Tensor,
        dtype: torch.dtype = torch.float32,
        crop: tuple[int, int] = (0, 0),
    ) -> torch.Tensor:
        """y of this type [N, K, H, W]; crop: ``Block.crop`` of the blocks."""
        height, width = (n * self.size - cut for n, cut in zip(levels.shape[2:], crop, strict=True))
        return ops.dequantize_dct(levels, self.places, height, width, self.steps, dtype)

    def packed_tensors(self) -> Tensors:
        return {"frequencies": self.coded, "frequency_scales": self.scales}

    @classmethod
    def of_archive(cls, layer: Scalars, tensors: Tensors, components: int) -> FrequencyQuantizer:
        """From the scalars and tensors of an archive's layer. ValueError: no quantiser's."""
        base = Quantizer.unpacked(layer)
        require(base.each is None and "format" not in layer, "one step")
        coded = typed(tensors, "frequencies", torch.int32, 1)
        scales = typed(tensors, "frequency_scales", torch.float32, 1)
        size = math.isqrt(len(scales))
        require(size in SIZES and size * size == len(scales), "its frequencies")
        steps = scales * base.step
        require(bool(((steps > 0) & steps.isfinite()).all()), "its steps")
        require(0 < len(coded) == len(coded.unique()), "its frequencies")
        # Each component has one, so that little is made of few bytes.
        require(components <= len(coded), "its frequencies")
        of = (coded.long() // len(scales)).unique()
        require(int(of[0]) == 0 and int(of[-1]) == len(of) - 1 == components - 1, "its frequencies")
        return cls(base, size, coded, scales, components)
