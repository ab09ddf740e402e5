"""quantize, dequantize, histogram and entropy against numpy and scipy."""

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st

from fmtc import ops

pytestmark = pytest.mark.usefixtures("backend")

SHAPES = [(3, 5, 7, 6), (2, 1, 4, 4), (0, 3, 2, 2), (2, 0, 3, 3), (4, 3), (), (3, 8, 60, 60)]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def random_values(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (5 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def random_levels(*shape, lo=-9, hi=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(lo, hi + 1, shape, generator=generator, dtype=torch.int16)


def reference_quantize(y, step, lo, hi):
    """Levels and the number of clamped values, in the precision that the operator documents."""
    y = y.double().numpy() if y.dtype == torch.float64 else y.float().numpy()
    with np.errstate(over="ignore", invalid="ignore"):
        nearest = np.rint(y / y.dtype.type(step))
    nearest = np.where(np.isnan(nearest), np.nan, nearest)
    clamped = ~((nearest >= lo) & (nearest <= hi))
    return np.clip(np.nan_to_num(nearest, nan=0.0), lo, hi).astype(np.int16), clamped.sum()


def reference_histogram(levels, lo, hi, groups, num_groups):
    counts = np.zeros((num_groups, hi - lo + 1), dtype=np.int64)
    for image in levels.numpy():
        for component, group in zip(image, groups.tolist(), strict=True):
            for level in component.flatten():
                counts[group, level - lo] += 1
    return counts


def sample_inputs():
    """Operator name and arguments, for the tests that treat all operators alike."""
    for shape in SHAPES:
        yield "quantize", (random_values(*shape), 0.37, -20, 25)
        yield "dequantize", (random_levels(*shape), 0.37)
        if len(shape) >= 2:
            groups = torch.arange(shape[1]) // 2
            yield "histogram", (random_levels(*shape), -9, 6, groups, shape[1] // 2 + 1)
    yield "quantize", (random_values(2, 3, dtype=torch.float64), 0.01, -32768, 32767)
    yield "dequantize", (random_levels(2, 3), 0.5, "bfloat16")
    for shape in [(6, 40), (2, 3, 5), (4,), (0, 5), (3, 0), (1, 1)]:
        yield "entropy", (random_levels(*shape, lo=0, hi=50).long(),)


SAMPLES = list(sample_inputs())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("step, lo, hi", [(0.37, -20, 25), (1e-3, -32768, 32767), (100.0, 3, 3)])
def test_quantize(shape, dtype, step, lo, hi):
    y = random_values(*shape, dtype=dtype)
    levels, clamped = ops.quantize(y, step, lo, hi)
    expected, expected_clamped = reference_quantize(y, step, lo, hi)
    assert levels.dtype == torch.int16 and levels.is_contiguous() and levels.shape == y.shape
    np.testing.assert_array_equal(levels.numpy(), expected)
    assert int(clamped) == expected_clamped


@pytest.mark.parametrize("dtype", DTYPES)
def test_quantize_takes_any_strides(layout, dtype):
    y = random_values(3, 5, 7, 6, dtype=dtype)
    levels, clamped = ops.quantize(layout(y), 0.37, -20, 25)
    expected, expected_clamped = ops.quantize(y, 0.37, -20, 25)
    assert levels.is_contiguous() and torch.equal(levels, expected)
    assert torch.equal(clamped, expected_clamped)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quantize_special_values(dtype):
    inf, nan = float("inf"), float("nan")
    y = torch.tensor(
        [inf, -inf, nan, 1e30, -1e30, 0.5, 1.5, 2.5, -0.5, -1.5, 3.4, 3.5], dtype=dtype
    )
    levels, clamped = ops.quantize(y, 1.0, -2, 3)
    assert levels.tolist() == [3, -2, 0, 3, -2, 0, 2, 2, 0, -2, 3, 3]
    assert int(clamped) == 6
    assert ops.quantize(y[2], 1.0, 5, 9)[0].item() == 5
    assert ops.quantize(y[2], 1.0, -9, -5)[0].item() == -5


@given(
    st.lists(st.floats(width=32), max_size=200),
    st.floats(2**-20, 2**20, width=32),
    st.integers(-32768, 32767),
    st.integers(0, 65535),
)
def test_quantize_any_floats(numbers, step, lo, width):
    y, hi = torch.tensor(numbers, dtype=torch.float32), min(lo + width, 32767)
    levels, clamped = ops.quantize(y, step, lo, hi)
    expected, expected_clamped = reference_quantize(y, step, lo, hi)
    np.testing.assert_array_equal(levels.numpy(), expected)
    assert int(clamped) == expected_clamped


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_quantize_every_number_of_16_bits(dtype):
    y = torch.arange(-32768, 32768).to(torch.int16).view(dtype)
    for step in (2.0**-24, 0.001, 1.0, 300.0):
        levels, clamped = ops.quantize(y, step, -32768, 32767)
        expected, expected_clamped = reference_quantize(y, step, -32768, 32767)
        np.testing.assert_array_equal(levels.numpy(), expected)
        assert int(clamped) == expected_clamped


def test_values_behind_an_offset_are_found():
    """Kernels read several values at once where their addresses allow that."""
    values = random_values(40)
    for offset in range(10):
        y = values.clone()[offset:]
        assert y.is_contiguous()
        levels, clamped = ops.quantize(y, 0.37, -9, 6)
        expected, expected_clamped = reference_quantize(y, 0.37, -9, 6)
        np.testing.assert_array_equal(levels.numpy(), expected)
        assert int(clamped) == expected_clamped
        torch.testing.assert_close(ops.dequantize(levels[offset:], 0.5), levels[offset:] / 2)


def test_quantization_error_is_at_most_half_a_step():
    y = random_values(2, 3, 20, 20)
    levels, clamped = ops.quantize(y, 0.25, -1000, 1000)
    assert int(clamped) == 0
    assert float((ops.dequantize(levels, 0.25) - y).abs().max()) <= 0.125


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_dequantize(shape, dtype):
    levels = random_levels(*shape, lo=-32768, hi=32767)
    y = ops.dequantize(levels, 0.37, dtype)
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    expected = (levels.to(exact) * torch.tensor(0.37, dtype=exact)).to(dtype)
    assert y.dtype == dtype and y.is_contiguous() and torch.equal(y, expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dequantize_every_level(dtype):
    """Among them results that are too small or too large for the dtype, and ties."""
    levels = torch.arange(-32768, 32768).to(torch.int16)
    exact = torch.float64 if dtype == torch.float64 else torch.float32
    for step in (2.0**-26, 3e-7, 2.0**-9, 0.37, 2.0, 3.0, -1.5, 1e35, 0.0):
        expected = (levels.to(exact) * torch.tensor(step, dtype=exact)).to(dtype)
        assert torch.equal(ops.dequantize(levels, step, dtype), expected)


def test_dequantize_takes_any_strides(layout):
    levels = random_levels(3, 5, 7, 6)
    y = ops.dequantize(layout(levels), 0.5)
    assert y.is_contiguous() and torch.equal(y, levels.float() / 2)


@pytest.mark.parametrize("args", [a for name, a in SAMPLES if name == "histogram"])
def test_histogram(args):
    counts = ops.histogram(*args)
    assert counts.dtype == torch.int64
    np.testing.assert_array_equal(counts.numpy(), reference_histogram(*args))


def test_histogram_takes_any_strides(layout):
    levels, groups = random_levels(3, 5, 7, 6), torch.tensor([2, 0, 2, 1, 0])
    expected = reference_histogram(levels, -9, 6, groups, 4)
    np.testing.assert_array_equal(ops.histogram(layout(levels), -9, 6, groups, 4).numpy(), expected)


def test_histogram_of_all_levels():
    levels = torch.arange(-32768, 32768).to(torch.int16)[None, None]
    counts = ops.histogram(levels, -32768, 32767, torch.tensor([0]), 1)
    assert torch.equal(counts, torch.ones(1, 65536, dtype=torch.int64))


def test_histogram_of_wrong_values(backend):
    """The CPU refuses them; others cannot, so they leave them out."""
    levels, groups = random_levels(3, 5, 7, 6), torch.tensor([1, 0, 1, 2, 0])
    levels[1, 2, 3], levels[2, 0, 0, 4] = 7, -3000
    wrong_groups = torch.tensor([1, 0, 2**40, 2, -1])
    if backend == "cpu":
        with pytest.raises(RuntimeError, match="levels must be from lo"):
            ops.histogram(levels, -9, 6, groups, 3)
        with pytest.raises(RuntimeError, match="groups must be from 0"):
            ops.histogram(levels, -3000, 7, wrong_groups, 3)
        return
    all_counts = reference_histogram(levels, -3000, 7, groups, 3)
    counts = ops.histogram(levels, -9, 6, groups, 3)
    np.testing.assert_array_equal(counts.numpy(), all_counts[:, 2991:-1])
    counts = ops.histogram(levels, -3000, 7, wrong_groups, 3)
    groups = torch.tensor([1, 0, 3, 2, 3])
    np.testing.assert_array_equal(
        counts.numpy(), reference_histogram(levels, -3000, 7, groups, 4)[:3]
    )


@pytest.mark.parametrize("counts", [a[0] for name, a in SAMPLES if name == "entropy"])
def test_entropy(counts):
    bits = ops.entropy(counts)
    assert bits.dtype == torch.float64 and bits.shape == counts.shape[:-1]
    rows = counts.reshape(bits.numel(), counts.shape[-1]).numpy()
    expected = [scipy.stats.entropy(row, base=2) if row.sum() > 0 else 0.0 for row in rows]
    np.testing.assert_allclose(bits.reshape(-1).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_entropy_of_known_sources():
    counts = torch.tensor([[0, 0, 0, 0], [7, 0, 0, 0], [5, 5, 5, 5], [4, 2, 1, 1]])
    assert ops.entropy(counts).tolist() == pytest.approx([0, 0, 2, 1.75], abs=1e-15)
    assert float(ops.entropy(torch.tensor([2**60, 2**60]))) == 1


def test_entropy_of_negative_counts(backend):
    counts = torch.tensor([[1, 1], [3, -1], [-2, 0], [2, 2]])
    if backend == "cpu":
        with pytest.raises(RuntimeError, match="counts must not be negative, but histogram 1 "):
            ops.entropy(counts)
    else:
        assert ops.entropy(counts).nan_to_num(nan=-1).tolist() == [1, -1, -1, 1]


def test_entropy_takes_any_strides(layout):
    counts = random_levels(6, 40, lo=0, hi=50).long()
    assert torch.equal(ops.entropy(layout(counts)), ops.entropy(counts))


LEVELS, GROUPS = random_levels(2, 3, 4, 4), torch.tensor([0, 1, 0])
ERRORS = [
    (lambda: ops.quantize(LEVELS, 1.0, 0, 1), "quantize: y must be float16, .* but is int16"),
    (lambda: ops.quantize(torch.ones(2), 0.0, 0, 1), "quantize: step must be .*, but is 0"),
    (lambda: ops.quantize(torch.ones(2), float("nan"), 0, 1), "quantize: step .*, but is nan"),
    (lambda: ops.quantize(torch.ones(2), 1e-60, 0, 1), "quantize: step .*float32, but is 1e-60"),
    (lambda: ops.quantize(torch.ones(2), 1.0, 2, 1), "quantize: lo .* lo is 2 and hi is 1"),
    (lambda: ops.quantize(torch.ones(2), 1.0, -32769, 1), "quantize: lo must be .* is -32769"),
    (lambda: ops.quantize(torch.ones(2), 1.0, 0, 32768), "quantize: hi must be .* is 32768"),
    (lambda: ops.dequantize(torch.ones(2), 1.0), "dequantize: levels must be int16, .* float32"),
    (lambda: ops.dequantize(LEVELS, float("inf")), "dequantize: step must be finite .* is inf"),
    (lambda: ops.dequantize(LEVELS, 1.0, torch.int32), "dequantize: dtype must .* but is int32"),
    (
        lambda: ops.histogram(LEVELS.int(), -9, 6, GROUPS, 2),
        "histogram: levels must be int16, but is int32",
    ),
    (
        lambda: ops.histogram(LEVELS[0, 0, 0], -9, 6, GROUPS, 2),
        r"histogram: levels must be \[N, K, ...\], but has the shape \[4\]",
    ),
    (
        lambda: ops.histogram(LEVELS, -9, 6, GROUPS[:2], 2),
        r"histogram: dimension 0 of groups must be 3 .* \[2\]",
    ),
    pytest.param(
        lambda: ops.histogram(LEVELS, -9, 6, GROUPS, 1),
        "histogram: groups must be from 0 to num_groups - 1 = 0, but component 1 has 1",
        marks=pytest.mark.cpu_only,
    ),
    pytest.param(
        lambda: ops.histogram(LEVELS.index_fill(1, torch.tensor(2), 7), -9, 6, GROUPS, 2),
        "histogram: levels must be from lo = -9 to hi = 6, but component 2 of image 0 holds 7",
        marks=pytest.mark.cpu_only,
    ),
    (lambda: ops.entropy(torch.ones(2)), "entropy: counts must be int64, but is float32"),
    (lambda: ops.entropy(torch.tensor(3)), r"entropy: counts must be \[..., L\], .* scalar"),
    pytest.param(
        lambda: ops.entropy(torch.tensor([[1, 2], [3, -1]])),
        "entropy: counts must not be negative, but histogram 1 ",
        marks=pytest.mark.cpu_only,
    ),
]


@pytest.mark.parametrize("call, message", ERRORS)
def test_errors(call, message):
    with pytest.raises(RuntimeError, match=f"fmtc::{message}"):
        call()
