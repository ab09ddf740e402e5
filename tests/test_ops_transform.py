"""The operators of the channel transform against numpy, and against the steps one by one."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fmtc import ops

pytestmark = pytest.mark.usefixtures("backend")

# N, C, K, H, W: pixels of several images in a tile, more than a tile, rows and columns beyond those
# that are made at a time, each size of CUDA's tiles, a plane whose rows lie a power of two apart.
SHAPES = [
    (2, 5, 3, 4, 6), (1, 1, 1, 1, 1), (3, 70, 7, 7, 7), (2, 17, 70, 5, 9), (1, 33, 13, 23, 29),
    (2, 16, 6, 32, 32), (2, 9, 16, 5, 61), (3, 21, 29, 9, 11), (0, 4, 3, 2, 2), (2, 4, 3, 0, 5),
    (2, 3, 0, 4, 4), (2, 0, 3, 4, 4),
]  # fmt: skip
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def whole(*shape, scale, seed):
    """Small multiples of `scale`: their sums are exact in whatever order they are made."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-9, 10, shape, generator=generator).float() * scale


def case(n, c, k, h, w):
    """x, matrix and offset, whose products are exact."""
    return (
        whole(n, c, h, w, scale=0.25, seed=0),
        whole(k, c, scale=0.125, seed=1),
        whole(k, scale=0.5, seed=2),
    )


def levels_case(n, c, k, h, w):
    levels = whole(n, c, h, w, scale=3, seed=3).to(torch.int16)
    return levels, *case(n, c, k, h, w)[1:]


def real_case(n, c, k, h, w, dtype=torch.float32):
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(n, c, h, w, generator=generator).to(dtype)
    return x, torch.randn(k, c, generator=generator), torch.randn(k, generator=generator)


def product(x, matrix, offset):
    """[N, K, H, W] in float64."""
    y = np.einsum("kc,nchw->nkhw", matrix.double().numpy(), x.double().numpy())
    return y + offset.double().numpy()[:, None, None]


def reference_levels(y, step, lo, hi):
    nearest = np.rint(y / step)
    levels = np.clip(np.nan_to_num(nearest, nan=0.0, posinf=hi, neginf=lo), lo, hi)
    return levels.astype(np.int16), int((levels != nearest).sum())


def sample_inputs():
    for shape in SHAPES:
        yield "transform_channels", (*case(*shape), 0.0, 6.0)
        yield "transform_quantize", (*case(*shape), 0.25, -40, 37)
        yield "dequantize_transform", (*levels_case(*shape), 0.5)
    yield "transform_quantize", (*case(2, 5, 3, 4, 6), 0.5, 2, 2)
    yield "dequantize_transform", (*levels_case(2, 5, 3, 4, 6), 0.25, 0.0, 6.0, "float16")


SAMPLES = list(sample_inputs())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step, lo, hi", [(0.25, -40, 37), (0.0625, -32768, 32767), (4.0, 1, 1)])
def test_transform_quantize(shape, dtype, step, lo, hi):
    x, matrix, offset = case(*shape)
    levels, clamped = ops.transform_quantize(x.to(dtype), matrix, offset, step, lo, hi)
    expected, expected_clamped = reference_levels(product(x, matrix, offset), step, lo, hi)
    assert levels.dtype == torch.int16 and levels.is_contiguous()
    np.testing.assert_array_equal(levels.numpy(), expected)
    assert int(clamped) == expected_clamped


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limits", [(), (0.0, None), (None, 0.5), (0.0, 6.0), (-1.5, -1.5)])
def test_transform_channels(shape, dtype, limits):
    x, matrix, offset = case(*shape)
    y = ops.transform_channels(x.to(dtype), matrix, offset, *limits)
    expected = product(x, matrix, offset)
    if limits:
        expected = np.clip(expected, *limits)
    assert y.dtype == torch.float32 and y.is_contiguous()
    np.testing.assert_array_equal(y.numpy(), expected.astype(np.float32))


def test_transform_channels_makes_the_sums_of_the_fused_operators():
    x, matrix, offset = real_case(3, 40, 21, 9, 13)
    y = ops.transform_channels(x, matrix, offset)
    by = 1e-3, -32768, 32767
    levels, _ = ops.transform_quantize(x, matrix, offset, *by)
    assert torch.equal(ops.quantize(y, *by)[0], levels)
    back = ops.transform_channels(
        ops.dequantize(levels, 1e-3), matrix.T.contiguous(), x[0, :, 0, 0]
    )
    inverse = matrix.T, x[0, :, 0, 0], 1e-3
    assert torch.equal(back, ops.dequantize_transform(levels, *inverse))
    assert torch.equal(y[1:2], ops.transform_channels(x[1:2], matrix, offset))


def test_not_a_number_stays_what_it_is_within_limits():
    x, matrix, offset = case(1, 3, 2, 4, 30)
    x[0, 1, 2, 7] = math.nan
    y = ops.transform_channels(x, matrix, offset, 0.0, 6.0)
    assert y[0, :, 2, 7].isnan().all() and int(y.isnan().sum()) == 2


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("limits", [(), (0.0, None), (None, 0.5), (0.0, 6.0), (-1.5, -1.5)])
def test_dequantize_transform(shape, limits):
    levels, matrix, offset = levels_case(*shape)
    x = ops.dequantize_transform(levels, matrix, offset, 0.5, *limits)
    expected = product(0.5 * levels, matrix, offset)
    if limits:
        expected = np.clip(expected, *limits)
    assert x.dtype == torch.float32 and x.is_contiguous()
    np.testing.assert_array_equal(x.numpy(), expected.astype(np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dequantize_transform_rounds_to_the_dtype(dtype):
    levels, matrix, offset = levels_case(2, 40, 9, 5, 7)
    x = ops.dequantize_transform(levels, matrix, offset, 1 / 3, dtype=dtype)
    expected = ops.dequantize_transform(levels, matrix, offset, 1 / 3)
    assert x.dtype == dtype and torch.equal(x, expected.to(dtype))


@pytest.mark.parametrize("shape", [(2, 19, 23, 9, 11), (3, 300, 40, 7, 7)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_real_numbers_are_those_of_a_convolution_up_to_rounding(shape, dtype):
    x, matrix, offset = real_case(*shape, dtype=dtype)
    y = product(x, matrix, offset)
    levels, _ = ops.transform_quantize(x, matrix, offset, 0.01, -30000, 30000)
    assert np.abs(levels.numpy() - y / 0.01).max() <= 0.5 + 1e-2  # 32-bit sums of up to 300 terms
    back, mean = matrix.T.contiguous(), x[0, :, 0, 0].float()
    decoded = ops.dequantize_transform(levels, back, mean, 0.01)
    expected = F.conv2d(
        ops.dequantize(levels, 0.01), matrix.T[:, :, None, None], x[0, :, 0, 0].float()
    )
    torch.testing.assert_close(
        decoded, expected, rtol=1e-5, atol=1e-4 * float(expected.abs().max())
    )


def test_a_pixel_depends_on_no_other():
    """The same sums for one pixel, image or batch: bit for bit, without any tolerance."""
    x, matrix, offset = real_case(5, 40, 21, 9, 13)
    whole_batch, _ = ops.transform_quantize(x, matrix, offset, 1e-3, -32768, 32767)
    decoded = ops.dequantize_transform(whole_batch, matrix.T.contiguous(), x[0, :, 0, 0], 1e-3)
    for part in (slice(1), slice(1, 3), slice(4, 5)):
        levels, _ = ops.transform_quantize(x[part], matrix, offset, 1e-3, -32768, 32767)
        assert torch.equal(levels, whole_batch[part])
        again = ops.dequantize_transform(levels, matrix.T.contiguous(), x[0, :, 0, 0], 1e-3)
        assert torch.equal(again, decoded[part])
    pixel, _ = ops.transform_quantize(x[3:4, :, 4:5, 6:7], matrix, offset, 1e-3, -32768, 32767)
    assert torch.equal(pixel, whole_batch[3:4, :, 4:5, 6:7])


def test_any_strides(layout):
    x, matrix, offset = case(3, 5, 7, 6, 4)
    arguments = 0.25, -40, 37
    levels, clamped = ops.transform_quantize(layout(x), matrix, offset, *arguments)
    expected, expected_clamped = ops.transform_quantize(x, matrix, offset, *arguments)
    assert torch.equal(levels, expected) and int(clamped) == int(expected_clamped)
    transposed, _ = ops.transform_quantize(x, matrix.T.contiguous().T, offset, *arguments)
    assert torch.equal(transposed, expected)
    back = ops.dequantize_transform(layout(levels), matrix.T, x[0, :, 0, 0], 0.5)
    inverse = matrix.T.contiguous()
    assert torch.equal(back, ops.dequantize_transform(expected, inverse, x[0, :, 0, 0], 0.5))


def test_not_a_number_and_infinity_stay_in_their_pixel():
    x, matrix, offset = case(1, 3, 2, 4, 30)
    matrix = matrix.abs() + 0.5
    x[0, 1, 2, 7], x[0, 0, 0, 29], x[0, 2, 3, 1] = math.nan, math.inf, -math.inf
    levels, clamped = ops.transform_quantize(x, matrix, offset, 0.25, -1000, 1000)
    expected, outside = reference_levels(product(x, matrix, offset), 0.25, -1000, 1000)
    np.testing.assert_array_equal(levels.numpy(), expected)
    assert int(clamped) == outside == 6


X, MATRIX, OFFSET = case(2, 5, 3, 4, 6)
LEVELS = levels_case(2, 5, 3, 4, 6)[0]
WRONG = [
    (lambda: ops.transform_quantize(X.int(), MATRIX, OFFSET, 1.0, 0, 9),
     "transform_quantize: x must be float16, .* int32"),
    (lambda: ops.transform_quantize(X[0], MATRIX, OFFSET, 1.0, 0, 9), "x must have 4 dimensions"),
    (lambda: ops.transform_quantize(X, MATRIX.double(), OFFSET, 1.0, 0, 9),
     "matrix must be float32, .* float64"),
    (lambda: ops.transform_quantize(X, MATRIX[0], OFFSET, 1.0, 0, 9), "matrix must have 2 dim"),
    (lambda: ops.transform_quantize(X, MATRIX.T, OFFSET, 1.0, 0, 9),
     r"dimension 1 of matrix must be 5 \(the channels of x\), .* \[5, 3\]"),
    (lambda: ops.transform_quantize(X, MATRIX, OFFSET[:2], 1.0, 0, 9),
     r"dimension 0 of offset must be 3 \(the rows of matrix\), .* \[2\]"),
    (lambda: ops.transform_quantize(X, MATRIX, OFFSET, 0.0, 0, 9), "step must be a positive .* 0"),
    (lambda: ops.transform_quantize(X, MATRIX, OFFSET, 1.0, 9, 0), "lo must not exceed hi"),
    (lambda: ops.dequantize_transform(X, MATRIX, OFFSET, 1.0),
     "dequantize_transform: levels must be int16"),
    (lambda: ops.dequantize_transform(LEVELS, MATRIX.T, OFFSET, 1.0), "the channels of levels"),
    (lambda: ops.dequantize_transform(LEVELS, MATRIX, OFFSET, math.inf), "step must be finite"),
    (lambda: ops.dequantize_transform(LEVELS, MATRIX, OFFSET, 1.0, 2.0, 1.0),
     "least must not exceed most, but 2 and 1"),
    (lambda: ops.dequantize_transform(LEVELS, MATRIX, OFFSET, 1.0, math.nan, 1.0), "must not"),
    (lambda: ops.dequantize_transform(LEVELS, MATRIX, OFFSET, 1.0, dtype=torch.int8),
     "dtype must be float16, .* int8"),
]  # fmt: skip


WRONG_CHANNELS = [
    (lambda: ops.transform_channels(X.int(), MATRIX, OFFSET),
     "transform_channels: x must be float16, .* int32"),
    (lambda: ops.transform_channels(X, MATRIX.T, OFFSET), r"\(the channels of x\), .* \[5, 3\]"),
    (lambda: ops.transform_channels(X, MATRIX, OFFSET, 2.0, 1.0),
     "transform_channels: least must not exceed most, but 2 and 1"),
]  # fmt: skip


@pytest.mark.parametrize("call, message", WRONG_CHANNELS)
def test_wrong_arguments_of_transform_channels_are_named(call, message):
    with pytest.raises(RuntimeError, match=message):
        call()


@pytest.mark.parametrize("call, message", WRONG)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises(RuntimeError, match=message):
        call()
