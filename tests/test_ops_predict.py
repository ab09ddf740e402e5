"""predict and unpredict against one level at a time in Python."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fmtc import ops

pytestmark = pytest.mark.usefixtures("backend")

SHAPES = [
    (3, 5, 7, 6),
    (2, 3, 1, 9),
    (1, 2, 70, 5),
    (2, 3, 9, 1),
    (1, 2, 3, 40),
    (1, 1, 2, 1100),
    (0, 3, 2, 2),
    (2, 0, 3, 3),
    (2, 3, 0, 4),
    (2, 3, 4, 0),
]


def random_levels(*shape, lo=-60, hi=60, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(lo, hi + 1, shape, generator=generator, dtype=torch.int16)


def random_coefficients(components, seed=1):
    """The first component has zeros, the second no left neighbour, as these are coded apart."""
    coefficients = random_levels(components, 3, lo=-256, hi=256, seed=seed)
    coefficients[:1] = 0
    coefficients[1:2, 0] = 0
    return coefficients


def reference_predict(levels, coefficients):
    residuals = torch.empty_like(levels, memory_format=torch.contiguous_format)
    for image, output in zip(levels.tolist(), residuals, strict=True):
        for plane, c, out in zip(image, coefficients.tolist(), output, strict=True):
            for h, row in enumerate(plane):
                for w, level in enumerate(row):
                    left = row[w - 1] if w > 0 else 0
                    above = plane[h - 1][w] if h > 0 else 0
                    above_left = plane[h - 1][w - 1] if h > 0 and w > 0 else 0
                    prediction = (c[0] * left + c[1] * above + c[2] * above_left + 32) >> 6
                    out[h, w] = (level - prediction + 2**15) % 2**16 - 2**15
    return residuals


def sample_inputs():
    """Operator name and arguments, for the tests that treat both operators alike."""
    for shape in SHAPES:
        for name in ("predict", "unpredict"):
            yield name, (random_levels(*shape), random_coefficients(shape[1]))
            whole_range = random_levels(*shape, lo=-32768, hi=32767)
            yield name, (whole_range, random_coefficients(shape[1]).sign() * 256)


SAMPLES = list(sample_inputs())


@pytest.mark.parametrize("args", [args for name, args in SAMPLES if name == "predict"])
def test_predict(args):
    residuals = ops.predict(*args)
    assert residuals.dtype == torch.int16 and residuals.is_contiguous()
    assert torch.equal(residuals, reference_predict(*args))


@pytest.mark.parametrize("args", [args for name, args in SAMPLES if name == "unpredict"])
def test_unpredict(args):
    levels = ops.unpredict(*args)
    assert levels.dtype == torch.int16 and levels.is_contiguous()
    assert torch.equal(reference_predict(levels, args[1]), args[0])


@pytest.mark.parametrize("name, args", SAMPLES)
def test_round_trip(name, args):
    inverse = {"predict": ops.unpredict, "unpredict": ops.predict}[name]
    assert torch.equal(inverse(getattr(ops, name)(*args), args[1]), args[0])


@given(
    st.lists(st.integers(-32768, 32767), max_size=60),
    st.integers(1, 12),
    st.tuples(*[st.integers(-256, 256)] * 3),
)
def test_any_levels_come_back(numbers, width, coefficients):
    numbers = numbers[: len(numbers) // width * width]
    levels = torch.tensor(numbers, dtype=torch.int16).reshape(1, 1, -1, width)
    coefficients = torch.tensor([coefficients], dtype=torch.int16)
    residuals = ops.predict(levels, coefficients)
    assert torch.equal(residuals, reference_predict(levels, coefficients))
    assert torch.equal(ops.unpredict(residuals, coefficients), levels)


def test_worked_example():
    levels = torch.tensor([[[[10, 13, -4], [9, -7, 3]]]], dtype=torch.int16)
    residuals = ops.predict(levels, torch.tensor([[32, 48, -16]], dtype=torch.int16))
    assert residuals.tolist() == [[[[10, 8, -11], [1, -19, 13]]]]


def test_zero_coefficients_change_nothing():
    levels, zeros = random_levels(2, 3, 5, 6), torch.zeros(3, 3, dtype=torch.int16)
    for function in (ops.predict, ops.unpredict):
        output = function(levels, zeros)
        assert torch.equal(output, levels) and output.data_ptr() != levels.data_ptr()


@pytest.mark.parametrize("function", [ops.predict, ops.unpredict])
def test_takes_any_strides(layout, function):
    levels, coefficients = random_levels(3, 5, 7, 6), random_coefficients(5)
    output = function(layout(levels), layout(coefficients))
    assert output.is_contiguous() and torch.equal(output, function(levels, coefficients))


@pytest.mark.cpu_only
@pytest.mark.parametrize("name", ["predict", "unpredict"])
@pytest.mark.parametrize("shape", [*SHAPES, (3, 8, 60, 60), (2, 3, 200, 200)])
def test_any_number_of_threads_gives_the_same(name, shape, threads):
    args = random_levels(*shape), random_coefficients(shape[1])
    results = []
    for count in (1, 2, 3):
        with threads(count):
            results.append(getattr(ops, name)(*args))
    assert all(torch.equal(results[0], other) for other in results[1:])


VALUES, COEFFICIENTS = random_levels(2, 3, 4, 4), torch.zeros(3, 3, dtype=torch.int16)
TOO_LARGE = torch.tensor([[0, 0, 0], [0, -256, 256], [1, -257, 3]], dtype=torch.int16)
OPERATORS = [("predict", "levels"), ("unpredict", "residuals")]
ERRORS = [
    (VALUES.int(), COEFFICIENTS, "ARGUMENT must be int16, but is int32"),
    (VALUES[0], COEFFICIENTS, r"ARGUMENT must have 4 dimensions \[N, K, H, W\], .* \[3, 4, 4\]"),
    (VALUES, COEFFICIENTS.float(), "coefficients must be int16, but is float32"),
    (VALUES, COEFFICIENTS[0], r"coefficients must have 2 dimensions \[K, 3\], .* \[3\]"),
    (
        VALUES,
        COEFFICIENTS[:2],
        r"dimension 0 of coefficients must be 3 \(dimension 1 of ARGUMENT\), .* \[2, 3\]",
    ),
    (
        VALUES,
        COEFFICIENTS[:, :2],
        r"dimension 1 of coefficients must be 3 \(left, above, above-left\), .* \[3, 2\]",
    ),
    pytest.param(
        VALUES,
        TOO_LARGE,
        "coefficients must be from -256 to 256, but component 2 has 1, -257, 3",
        marks=pytest.mark.cpu_only,
    ),
    pytest.param(
        VALUES[:0],
        TOO_LARGE,
        "coefficients must be from -256 to 256, but component 2 ",
        marks=pytest.mark.cpu_only,
    ),
]


@pytest.mark.parametrize("name, argument", OPERATORS)
@pytest.mark.parametrize("values, coefficients, message", ERRORS)
def test_errors(name, argument, values, coefficients, message):
    message = message.replace("ARGUMENT", argument)
    with pytest.raises(RuntimeError, match=f"fmtc::{name}: {message}"):
        getattr(ops, name)(values, coefficients)
