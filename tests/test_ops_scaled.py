"""quantize_scaled and dequantize_scaled, against what the formats' documents say, value by value.

Numbers of a format are lists here, of which the nearest is sought; torch's own E4M3 and E8M0 say
whether these lists and their codes are right.
"""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fmtc import ops

pytestmark = pytest.mark.usefixtures("backend")

FP4 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]  # by code, OCP MX 1.0, section 5.3.3
E8M0 = [2.0 ** (code - 127) for code in range(255)]  # section 5.4.1
# Exponent of 4 bits and bias 7, mantissa of 3 bits, subnormals; 127 is NaN.
E4M3 = [
    2.0**-6 * (code % 8) / 8 if code < 8 else 2.0 ** (code // 8 - 7) * (1 + code % 8 / 8)
    for code in range(127)
]
# The same with an exponent of 5 bits, and without NaN.
E5M3 = E4M3 + [2.0 ** (code // 8 - 7) * (1 + code % 8 / 8) for code in range(127, 256)]
F32 = np.float32


def nearest_code(numbers, x):
    """Of rising numbers >= 0 that of the nearest to x >= 0, ties to the even code; saturates."""
    return min(range(len(numbers)), key=lambda i: (abs(Fraction(numbers[i]) - x), i % 2))


def scale_of(format, most, layer_scale, hi):
    """The code and the value of a block's scale whose largest magnitude is this."""
    if most == 0:
        code = 0
    elif format == "mxfp4":
        exponent = math.frexp(most)[1] - 1  # floor(log2(most))
        code = min(max(exponent - 2 + 127, 0), 254)
    else:
        with np.errstate(over="ignore"):
            wanted = F32(F32(F32(most) / F32(6 if format == "nvfp4" else hi)) / F32(layer_scale))
        if format == "nvfp4":
            code = nearest_code(E4M3, Fraction(float(min(wanted, F32(1e9)))))
        else:
            code = next((i for i, number in enumerate(E5M3) if number >= wanted), 255)
    numbers = {"mxfp4": E8M0, "nvfp4": E4M3, "integers": E5M3}[format]
    return code, float(F32(numbers[code]) * F32(layer_scale))


def level_of(format, y, scale, lo, hi):
    """The level of a value, and whether it was clamped."""
    if math.isnan(y):
        return 0, True
    if scale == 0:
        return 0, math.isinf(y)
    with np.errstate(over="ignore"):
        scaled = float(F32(y) / F32(scale))
    if format == "integers":
        nearest = scaled if math.isinf(scaled) else round(scaled)
        return int(min(max(nearest, lo), hi)), not lo <= nearest <= hi
    if math.isinf(scaled):
        return int(math.copysign(7, scaled)), True
    code = nearest_code(FP4, Fraction(abs(scaled)))
    beyond = nearest_code([*FP4, 8.0], Fraction(abs(scaled))) == 8
    return (-code if scaled < 0 else code), beyond


def reference(y, format, block, layer_scale, lo, hi):
    """Levels, decoded values and the number of clamped ones, one value after the other."""
    y = y.float()
    images, channels, height, width = y.shape
    block = block or max(channels, 1)
    scales = -(-channels // block)
    levels = np.zeros((images, channels + scales, height, width), dtype=np.int16)
    decoded, clamped = np.zeros(y.shape, dtype=np.float32), 0
    for n in range(images):
        for i, j, s in np.ndindex(height, width, scales):
            at = range(s * block, min((s + 1) * block, channels))
            values = y[n, at, i, j].tolist()
            used = [v if lo == 0 else abs(v) for v in values if math.isfinite(v)]
            code, scale = scale_of(format, max([0.0, *used]), layer_scale, hi)
            levels[n, channels + s, i, j] = code
            for c, value in zip(at, values, strict=True):
                level, over = level_of(format, value, scale, lo, hi)
                levels[n, c, i, j] = level
                clamped += over
                number = level if format == "integers" else FP4[abs(level)] * np.sign(level)
                decoded[n, c, i, j] = F32(number) * F32(scale)
    return levels, decoded, clamped


def random_values(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scales = torch.exp(3 * torch.randn(shape[0], 1, *shape[2:], generator=generator).double())
    return (scales * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


FORMATS = {
    "int4": ("integers", 0, 0.01, -7, 7),
    "uint6": ("integers", 0, 1e-6, 0, 63),
    "int8 blocks": ("integers", 5, 0.5, -127, 127),
    "mxfp4": ("mxfp4", 32, 1.0, -7, 7),
    "mxfp4 blocks": ("mxfp4", 4, 1.0, -7, 7),
    "nvfp4": ("nvfp4", 16, 0.002, -7, 7),
}
SHAPES = [(2, 17, 3, 4), (1, 16, 5, 2), (3, 1, 2, 2), (2, 33, 1, 1), (0, 3, 2, 2), (2, 0, 3, 3)]


def sample_inputs():
    for shape in SHAPES:
        for format, block, layer_scale, lo, hi in FORMATS.values():
            y = random_values(*shape)
            yield "quantize_scaled", (y, format, block, layer_scale, lo, hi)
            levels, _ = torch.ops.fmtc.quantize_scaled(y, format, block, layer_scale, lo, hi)
            yield "dequantize_scaled", (levels, format, block, layer_scale)
    y = random_values(2, 20, 40, 30, dtype=torch.bfloat16)
    yield "quantize_scaled", (y, "nvfp4", 16, 0.01, -7, 7)
    levels = torch.randint(-32768, 32767, (2, 20, 4, 3), dtype=torch.int16)
    yield "dequantize_scaled", (levels, "mxfp4", 8, 1.0, "float16")


SAMPLES = list(sample_inputs())


def test_the_lists_are_the_formats():
    codes = torch.arange(255, dtype=torch.uint8)
    assert codes.view(torch.float8_e8m0fnu).double().tolist() == E8M0
    assert codes[:127].view(torch.float8_e4m3fn).double().tolist() == E4M3
    assert E4M3[-1] == 448 and E5M3[:127] == E4M3 and E5M3[-1] == 15 * 2.0**21
    x = torch.rand(300).exp() ** 4
    by_torch = x.to(torch.float8_e4m3fn).view(torch.uint8).tolist()
    assert [nearest_code(E4M3, Fraction(v)) for v in x.tolist()] == by_torch


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_as_the_documents_say(format, shape, dtype):
    y, arguments = random_values(*shape, dtype=dtype), FORMATS[format]
    levels, clamped = ops.quantize_scaled(y, *arguments)
    expected, decoded, over = reference(y, *arguments)
    assert levels.dtype == torch.int16 and levels.is_contiguous()
    np.testing.assert_array_equal(levels.numpy(), expected)
    assert clamped.dtype == torch.int64 and int(clamped) == over
    back = ops.dequantize_scaled(levels, *arguments[:3], dtype)
    assert back.dtype == dtype and torch.equal(back, torch.from_numpy(decoded).to(dtype))


values = st.floats(width=32) | st.sampled_from([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-45])
ties = st.sampled_from([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 6.0, 7.0, 7.5, 448.0, 2**-127])


@given(
    st.lists(values | ties | ties.map(lambda x: -x), min_size=1, max_size=7),
    st.sampled_from(sorted(FORMATS)),
    st.floats(2.0**-126, 2.0**126, width=32),
)
def test_any_floats(numbers, format, layer_scale):
    y = torch.tensor(numbers, dtype=torch.float32)[None, :, None, None]
    name, block, _, lo, hi = FORMATS[format]
    arguments = name, block, 1.0 if name == "mxfp4" else layer_scale, lo, hi
    levels, clamped = ops.quantize_scaled(y, *arguments)
    expected, decoded, over = reference(y, *arguments)
    np.testing.assert_array_equal(levels.numpy(), expected)
    assert int(clamped) == over
    back = ops.dequantize_scaled(levels, *arguments[:3])
    assert torch.equal(back, torch.from_numpy(decoded))


def test_by_hand():
    """A block of MXFP4 and one of NVFP4 of the same values."""
    y = torch.tensor([0.0, 0.3, -1.0, 2.2, -5.5, 11.0, 13.0, -1e-9])[None, :, None, None]
    levels, clamped = ops.quantize_scaled(y, "mxfp4", 0, 1.0, -7, 7)
    # 13 lies in [8, 16): 2^(3 - 2) = 2; halves are 0, .15, -.5, 1.1, -2.75, 5.5, 6.5, -0
    assert levels.flatten().tolist() == [0, 0, -1, 2, -5, 7, 7, 0, 128] and int(clamped) == 0
    decoded = ops.dequantize_scaled(levels, "mxfp4", 0, 1.0)
    assert decoded.flatten().tolist() == [0, 0, -1, 2, -6, 12, 12, 0]
    levels, _ = ops.quantize_scaled(y, "nvfp4", 0, 0.5, -7, 7)
    # 13 / 6 / 0.5 = 4.33: 4.5, the code of 2^2 (1 + 1/8) is 8 * (2 + 7) + 1; the scale is 2.25
    assert levels.flatten().tolist() == [0, 0, -1, 2, -4, 6, 7, 0, 73]
    levels, _ = ops.quantize_scaled(y, "integers", 0, 1.0, -7, 7)
    # 13 / 7 = 1.86 is rounded up to 1.875
    assert levels.flatten().tolist() == [0, 0, -1, 1, -3, 6, 7, 0, 63]


def test_a_block_of_zeros():
    y = torch.zeros(1, 3, 2, 2)
    for format, block, layer_scale, lo, hi in FORMATS.values():
        levels, clamped = ops.quantize_scaled(y, format, block, layer_scale, lo, hi)
        assert not levels.any() and int(clamped) == 0
        assert torch.equal(ops.dequantize_scaled(levels, format, block, layer_scale), y)


def test_the_largest_magnitude_of_integers_is_not_cut_off():
    y = 1 + torch.randn(4, 9, 20, 20)
    for lo, hi in ((-7, 7), (-31, 31), (-127, 127)):
        levels, clamped = ops.quantize_scaled(y, "integers", 0, 1e-4, lo, hi)
        decoded = ops.dequantize_scaled(levels, "integers", 0, 1e-4)
        step = y.abs().amax(1, keepdim=True) / hi
        assert int(clamped) == 0
        assert ((decoded - y).abs() <= 0.5 * 1.126 * step).all()


def test_any_strides(layout):
    y = random_values(3, 5, 7, 6)
    for arguments in FORMATS.values():
        levels, clamped = ops.quantize_scaled(y, *arguments)
        made, over = ops.quantize_scaled(layout(y), *arguments)
        assert made.is_contiguous() and torch.equal(made, levels) and torch.equal(over, clamped)
        back = ops.dequantize_scaled(layout(levels), *arguments[:3])
        assert torch.equal(back, ops.dequantize_scaled(levels, *arguments[:3]))


def test_a_position_alone_decides_its_levels():
    y = random_values(2, 20, 40, 33)
    for arguments in FORMATS.values():
        levels, _ = ops.quantize_scaled(y, *arguments)
        part, _ = ops.quantize_scaled(y[1:, :, 7:9, 3:], *arguments)
        assert torch.equal(part, levels[1:, :, 7:9, 3:])


def test_levels_of_no_format_count_as_the_nearest():
    levels = torch.tensor([9, -30000, 300], dtype=torch.int16)[None, :, None, None]
    decoded = ops.dequantize_scaled(levels, "mxfp4", 0, 1.0)
    assert decoded.flatten().tolist() == [6 * 2.0**127, -6 * 2.0**127] or decoded.isinf().all()
    decoded = ops.dequantize_scaled(levels, "nvfp4", 0, 1.0)
    assert decoded.flatten().tolist() == [6 * 448, -6 * 448]
    levels[0, 2] = -5
    assert not ops.dequantize_scaled(levels, "integers", 0, 1.0).any()


Y, L = torch.ones(1, 4, 2, 2), torch.zeros(1, 5, 2, 2, dtype=torch.int16)
ERRORS = [
    (lambda: ops.quantize_scaled(L, "nvfp4", 16, 1.0, -7, 7), "quantize_scaled: y must be float16"),
    (lambda: ops.quantize_scaled(Y[0], "nvfp4", 16, 1.0, -7, 7), "quantize_scaled: y must have 4"),
    (lambda: ops.quantize_scaled(Y, "fp4", 16, 1.0, -7, 7), "quantize_scaled: format .* is fp4"),
    (lambda: ops.quantize_scaled(Y, "nvfp4", -1, 1.0, -7, 7), "quantize_scaled: block must be"),
    (lambda: ops.quantize_scaled(Y, "nvfp4", 16, 0.0, -7, 7), "quantize_scaled: layer_scale must"),
    (lambda: ops.quantize_scaled(Y, "nvfp4", 16, 1e-60, -7, 7), "quantize_scaled: layer_scale mu"),
    (
        lambda: ops.quantize_scaled(Y, "nvfp4", 16, 1.0, -8, 7),
        "quantize_scaled: nvfp4 with lo = -8",
    ),
    (lambda: ops.quantize_scaled(Y, "mxfp4", 32, 2.0, -7, 7), "quantize_scaled: mxfp4 with .* = 2"),
    (lambda: ops.quantize_scaled(Y, "integers", 0, 1.0, -3, 7), "quantize_scaled: integers with"),
    (lambda: ops.quantize_scaled(Y, "integers", 0, 1.0, 0, 2048), "quantize_scaled: integers with"),
    (lambda: ops.dequantize_scaled(Y, "nvfp4", 16, 1.0), "dequantize_scaled: levels must be int16"),
    (
        lambda: ops.dequantize_scaled(L[0], "nvfp4", 16, 1.0),
        "dequantize_scaled: levels must have 4",
    ),
    (lambda: ops.dequantize_scaled(L, "fp4", 16, 1.0), "dequantize_scaled: format must be"),
    (lambda: ops.dequantize_scaled(L, "mxfp4", 32, 3.0), "dequantize_scaled: mxfp4 has layer_sca"),
    (lambda: ops.dequantize_scaled(L[:, :1], "nvfp4", 16, 1.0), "dequantize_scaled: no channels"),
    (lambda: ops.dequantize_scaled(L, "nvfp4", 3, 1.0), "dequantize_scaled: no channels"),
    (lambda: ops.dequantize_scaled(L, "nvfp4", 16, 1.0, torch.int8), "dequantize_scaled: dtype"),
]


@pytest.mark.parametrize("call, message", ERRORS)
def test_errors(call, message):
    with pytest.raises(RuntimeError, match=f"fmtc::{message}"):
        call()
