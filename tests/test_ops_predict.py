"""predict and unpredict against one level at a time in Python."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

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


LIMIT = 4 * 4096


def random_coefficients(components, sources=0, seed=1):
    """The first component has zeros, the second no left neighbour, as these are coded apart.

    The third has no sources.
    """
    coefficients = random_levels(components, 3 + 9 * sources, lo=-LIMIT, hi=LIMIT, seed=seed)
    coefficients[:1] = 0
    coefficients[1:2, 0] = 0
    coefficients[2:3, 3:] = 0
    return coefficients


def wrapped(number, bits):
    """number modulo 2^bits, as a signed integer."""
    return (number + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)


def reference_predict(levels, coefficients):
    residuals = torch.empty_like(levels, memory_format=torch.contiguous_format)
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    for image, output in zip(levels.tolist(), residuals, strict=True):

        def at(k, h, w, image=image):
            inside = 0 <= h < len(image[k]) and 0 <= w < len(image[k][h])
            return image[k][h][w] if inside else 0

        for k, (plane, c) in enumerate(zip(image, coefficients.tolist(), strict=True)):
            for h, row in enumerate(plane):
                for w, level in enumerate(row):
                    total = c[0] * at(k, h, w - 1) + c[1] * at(k, h - 1, w)
                    total += c[2] * at(k, h - 1, w - 1)
                    for j in range(min(k, (len(c) - 3) // 9)):
                        window = zip(c[3 + 9 * j :], around, strict=False)
                        total += sum(of * at(j, h + dy, w + dx) for of, (dy, dx) in window)
                    prediction = wrapped(total + 2048, 32) >> 12
                    output[k, h, w] = wrapped(level - prediction, 16)
    return residuals


def sample_inputs():
    """Operator name and arguments, for the tests that treat both operators alike."""
    for shape in SHAPES:
        for name in ("predict", "unpredict"):
            whole_range = random_levels(*shape, lo=-32768, hi=32767)
            for sources in (0, 1, 4) if shape[-1] < 1000 else (0, 3):
                coefficients = random_coefficients(shape[1], sources)
                yield name, (random_levels(*shape), coefficients)
                yield name, (whole_range, coefficients.sign() * LIMIT)
    yield "predict", (random_levels(2, 19, 6, 9), random_coefficients(19, 16))
    yield "unpredict", (random_levels(2, 19, 6, 9), random_coefficients(19, 16))


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


def test_sources_that_shared_memory_does_not_hold():
    levels, coefficients = random_levels(2, 6, 130, 100), random_coefficients(6, 4)
    assert torch.equal(ops.unpredict(ops.predict(levels, coefficients), coefficients), levels)


@given(
    st.lists(st.integers(-32768, 32767), max_size=60),
    st.integers(1, 12),
    st.integers(1, 3),
    st.integers(0, 3),
    st.integers(0, 99),
)
def test_any_levels_come_back(numbers, width, components, sources, seed):
    numbers = numbers[: len(numbers) // (width * components) * width * components]
    levels = torch.tensor(numbers, dtype=torch.int16).reshape(1, components, -1, width)
    shape = components, 3 + 9 * sources
    coefficients = random_levels(*shape, lo=-32768, hi=32767, seed=seed)
    coefficients[:, :3].clamp_(-LIMIT, LIMIT)
    residuals = ops.predict(levels, coefficients)
    assert torch.equal(residuals, reference_predict(levels, coefficients))
    assert torch.equal(ops.unpredict(residuals, coefficients), levels)


def test_worked_example():
    levels = torch.tensor([[[[10, 13, -4], [9, -7, 3]]]], dtype=torch.int16)
    residuals = ops.predict(levels, 64 * torch.tensor([[32, 48, -16]]).short())
    assert residuals.tolist() == [[[[10, 8, -11], [1, -19, 13]]]]


def test_worked_example_with_a_source():
    """docs/method.md, "Prediction and classes of positions"."""
    levels = torch.tensor([[[[10, 13, -4], [9, -7, 3]], [[4, 9, -9], [1, -9, 9]]]]).short()
    window = [[0, 0, 0], [-2048, 0, 2048], [0, 1024, 0]]  # half of right - left, a quarter of below
    coefficients = torch.zeros(2, 12, dtype=torch.int16)
    coefficients[1, 3:] = torch.tensor(window).flatten()
    residuals = ops.predict(levels, coefficients)
    assert torch.equal(residuals[:, 0], levels[:, 0])
    # (13 - 0)/2 + 9/4 = 8.75, (-4 - 10)/2 - 7/4 = -8.75, -13/2 + 3/4 = -5.75; -3.5, -3, 3.5
    assert residuals[0, 1].tolist() == [[4 - 9, 9 + 9, -9 + 6], [1 + 3, -9 + 3, 9 - 4]]
    assert torch.equal(ops.unpredict(residuals, coefficients), levels)


def test_sources_at_or_behind_a_component_do_not_count():
    levels, coefficients = random_levels(2, 4, 5, 6), random_coefficients(4, 6)
    cut = coefficients.clone()
    for k in range(4):
        cut[k, 3 + 9 * k :] = 0
    assert torch.equal(ops.predict(levels, coefficients), ops.predict(levels, cut))


def test_zero_coefficients_change_nothing():
    levels, zeros = random_levels(2, 3, 5, 6), torch.zeros(3, 3, dtype=torch.int16)
    for function in (ops.predict, ops.unpredict):
        output = function(levels, zeros)
        assert torch.equal(output, levels) and output.data_ptr() != levels.data_ptr()


@pytest.mark.parametrize("function", [ops.predict, ops.unpredict])
def test_takes_any_strides(layout, function):
    levels, coefficients = random_levels(3, 5, 7, 6), random_coefficients(5, 2)
    output = function(layout(levels), layout(coefficients))
    assert output.is_contiguous() and torch.equal(output, function(levels, coefficients))


@pytest.mark.cpu_only
@pytest.mark.parametrize("name", ["predict", "unpredict"])
@pytest.mark.parametrize("shape", [*SHAPES, (3, 8, 60, 60), (2, 3, 200, 200)])
def test_any_number_of_threads_gives_the_same(name, shape, threads):
    args = random_levels(*shape), random_coefficients(shape[1], 2)
    results = []
    for count in (1, 2, 3):
        with threads(count):
            results.append(getattr(ops, name)(*args))
    assert all(torch.equal(results[0], other) for other in results[1:])


VALUES, COEFFICIENTS = random_levels(2, 3, 4, 4), torch.zeros(3, 3, dtype=torch.int16)
TOO_LARGE = torch.tensor([[0, 0, 0], [0, -LIMIT, LIMIT], [1, -LIMIT - 1, 3]], dtype=torch.int16)
OPERATORS = [("predict", "levels"), ("unpredict", "residuals")]
ERRORS = [
    (VALUES.int(), COEFFICIENTS, "ARGUMENT must be int16, but is int32"),
    (VALUES[0], COEFFICIENTS, r"ARGUMENT must have 4 dimensions \[N, K, H, W\], .* \[3, 4, 4\]"),
    (VALUES, COEFFICIENTS.float(), "coefficients must be int16, but is float32"),
    (
        VALUES,
        COEFFICIENTS[0],
        r"coefficients must have 2 dimensions \[K, 3 \+ 9 \* sources\], .* \[3\]",
    ),
    (
        VALUES,
        COEFFICIENTS[:2],
        r"dimension 0 of coefficients must be 3 \(dimension 1 of ARGUMENT\), .* \[2, 3\]",
    ),
    (
        VALUES,
        COEFFICIENTS[:, :2],
        r"dimension 1 of coefficients must be 3 \(left, above, above-left\) and 9 .*, but is 2",
    ),
    (VALUES, torch.zeros(3, 11, dtype=torch.int16), "dimension 1 of coefficients .*, but is 11"),
    (
        VALUES,
        torch.zeros(3, 156, dtype=torch.int16),
        "dimension 1 of coefficients .* up to 16 sources, but is 156",
    ),
    pytest.param(
        VALUES,
        TOO_LARGE,
        "coefficients must be from -16384 to 16384, but component 2 has 1, -16385, 3",
        marks=pytest.mark.cpu_only,
    ),
    pytest.param(
        VALUES[:0],
        TOO_LARGE,
        "coefficients must be from -16384 to 16384, but component 2 ",
        marks=pytest.mark.cpu_only,
    ),
]


@pytest.mark.parametrize("name, argument", OPERATORS)
@pytest.mark.parametrize("values, coefficients, message", ERRORS)
def test_errors(name, argument, values, coefficients, message):
    message = message.replace("ARGUMENT", argument)
    with pytest.raises(RuntimeError, match=f"fmtc::{name}: {message}"):
        getattr(ops, name)(values, coefficients)


def digest() -> str:
    """Of what sources leave of levels."""
    sha = hashlib.sha256()
    for width in (1, 7, 31, 70):
        levels = random_levels(2, 6, 9, width, lo=-32768, hi=32767)
        sha.update(ops.predict(levels, random_coefficients(6, 5)).numpy().tobytes())
    return sha.hexdigest()


@pytest.mark.cpu_only
@pytest.mark.parametrize("simd", ["scalar", "avx2"])
def test_each_instruction_set_gives_the_same(simd):
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    environment = {**os.environ, "FMTC_SIMD": simd, "PYTHONPATH": path}
    code = "import test_ops_predict as t; print(t.digest())"
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == digest()
