"""dct_quantize and dequantize_dct, against SciPy's DCT of each block."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.fft import dctn, idctn

from fmtc import ops

pytestmark = pytest.mark.usefixtures("backend")


def some_places(components, size, share=0.7, seed=0):
    """Places of some frequencies, i32 [K, size * size], in any order, and how many they are."""
    generator = torch.Generator().manual_seed(seed)
    count = components * size * size
    coded = torch.rand(count, generator=generator) < share
    places = torch.full((count,), -1, dtype=torch.int32)
    planes = int(coded.sum())
    places[coded] = torch.randperm(planes, generator=generator).int()
    return places.view(components, size * size), planes


def some_steps(size):
    return torch.linspace(0.3, 1.1, size * size)


def mirrored(plane, size):
    """A plane completed to whole blocks."""
    rows, columns = (-n % size for n in plane.shape)
    if rows or columns:
        for axis, more in enumerate((rows, columns)):
            end = plane.shape[axis]
            first = end // size * size  # of the last block
            more_at = [max(first, 2 * end - 1 - i) for i in range(end, end + more)]
            plane = np.concatenate([plane, plane.take(more_at, axis)], axis)
    return plane


def blocks_of(plane, size):
    """[rows, columns, size, size]"""
    rows, columns = (n // size for n in plane.shape)
    return plane.reshape(rows, size, columns, size).transpose(0, 2, 1, 3)


def expected_values(y, places, planes, steps):
    """What is rounded to levels, f64 [N, planes, rows, columns]."""
    size = round(places.shape[1] ** 0.5)
    n, components, height, width = y.shape
    made = np.zeros((n, planes, -(-height // size), -(-width // size)))
    for image in range(n):
        for k in range(components):
            blocks = blocks_of(mirrored(y[image, k].double().numpy(), size), size)
            frequencies = dctn(blocks, axes=(2, 3), norm="ortho")
            for f, place in enumerate(places[k].tolist()):
                if place >= 0:
                    made[image, place] = frequencies[:, :, f // size, f % size] / steps[f].item()
    return made


SHAPES = [(2, 3, 8, 12), (1, 2, 7, 9), (2, 1, 1, 1), (1, 4, 3, 5), (0, 2, 4, 4), (1, 0, 4, 4)]


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_levels_are_rounded_frequencies(shape, size):
    y = 5 * torch.randn(shape, generator=torch.Generator().manual_seed(1))
    places, planes = some_places(shape[1], size)
    steps = some_steps(size)
    levels, clamped = ops.dct_quantize(y, places, planes, steps, -6, 9)
    wanted = expected_values(y, places, planes, steps)
    assert levels.dtype == torch.int16 and levels.shape == wanted.shape
    found = levels.numpy().astype(float)
    limited = np.clip(np.rint(wanted), -6, 9)
    near_a_half = np.abs(wanted - np.floor(wanted) - 0.5) < 1e-3
    assert ((found == limited) | near_a_half).all()
    outside = (np.rint(wanted) != limited) & ~near_a_half
    assert outside.sum() <= int(clamped) <= (outside | near_a_half).sum()


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_are_of_the_inverse(shape, size):
    places, planes = some_places(shape[1], size, seed=4)
    steps = some_steps(size)
    n, components, height, width = shape
    rows, columns = -(-height // size), -(-width // size)
    levels = torch.randint(-40, 40, (n, planes, rows, columns)).short()
    y = ops.dequantize_dct(levels, places, height, width, steps)
    wanted = np.zeros((n, components, rows * size, columns * size))
    for image in range(n):
        for k in range(components):
            frequencies = np.zeros((rows, columns, size, size))
            for f, place in enumerate(places[k].tolist()):
                if place >= 0:
                    of = levels[image, place].numpy().astype(float) * steps[f].item()
                    frequencies[:, :, f // size, f % size] = of
            blocks = idctn(frequencies, axes=(2, 3), norm="ortho")
            wanted[image, k] = blocks.transpose(0, 2, 1, 3).reshape(rows * size, columns * size)
    assert y.shape == shape and y.dtype == torch.float32
    np.testing.assert_allclose(y.numpy(), wanted[:, :, :height, :width], atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_computed_in_float32(dtype):
    y = torch.randn(1, 2, 6, 6).to(dtype)
    places, planes = some_places(2, 2)
    steps = some_steps(2)
    levels, _ = ops.dct_quantize(y, places, planes, steps, -99, 99)
    assert torch.equal(levels, ops.dct_quantize(y.float(), places, planes, steps, -99, 99)[0])
    back = ops.dequantize_dct(levels, places, 6, 6, steps, dtype)
    assert back.dtype == dtype
    assert torch.equal(back, ops.dequantize_dct(levels, places, 6, 6, steps).to(dtype))


@given(
    size=st.sampled_from([2, 4]),
    height=st.integers(1, 13).filter(lambda n: n % 4 != 3),
    width=st.integers(1, 13).filter(lambda n: n % 4 != 3),
    seed=st.integers(0, 9),
)
def test_what_was_decoded_has_the_same_levels(size, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    y = 9 * torch.randn(1, 3, height, width, generator=generator)
    places, planes = some_places(3, size, seed=seed)
    steps = some_steps(size)
    levels, _ = ops.dct_quantize(y, places, planes, steps, -999, 999)
    decoded = ops.dequantize_dct(levels, places, height, width, steps)
    assert torch.equal(ops.dct_quantize(decoded, places, planes, steps, -999, 999)[0], levels)


def test_strides_do_not_matter():
    y = torch.randn(2, 5, 6, 8).permute(0, 3, 1, 2)
    places, planes = some_places(8, 2)
    levels, _ = ops.dct_quantize(y, places, planes, some_steps(2), -99, 99)
    of_copy, _ = ops.dct_quantize(y.contiguous(), places, planes, some_steps(2), -99, 99)
    assert torch.equal(levels, of_copy)
    turned = levels.transpose(2, 3).contiguous().transpose(2, 3)
    args = places, 5, 6, some_steps(2)
    assert torch.equal(ops.dequantize_dct(turned, *args), ops.dequantize_dct(levels, *args))


PLACES = torch.tensor([[0, -1, 1, -1]], dtype=torch.int32)
Y, LEVELS = torch.ones(1, 1, 4, 4), torch.zeros(1, 2, 2, 2).short()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"y": torch.ones(1, 2, 4, 4)}, "the components of y"),
        ({"y": torch.ones(4, 4)}, "must have 4 dimensions"),
        ({"y": Y.int()}, "y must be float16"),
        ({"places": PLACES.long()}, "places must be int32, but is int64"),
        ({"places": PLACES[:, :3]}, "the 4 or 16 frequencies"),
        ({"places": PLACES[0]}, "must have 2 dimensions"),
        ({"planes": -1}, "planes must be from 0 to 4"),
        ({"planes": 5}, "planes must be from 0 to 4"),
        ({"steps": torch.ones(3)}, "dimension 0 of steps must be 4"),
        ({"steps": torch.ones(4).double()}, "steps must be float32"),
        ({"lo": 2, "hi": 1}, "lo must not exceed hi"),
    ],
)
def test_wrong_arguments(change, message):
    given_ = {"y": Y, "places": PLACES, "planes": 2, "steps": torch.ones(4), "lo": -1, "hi": 1}
    with pytest.raises(RuntimeError, match=message):
        ops.dct_quantize(**(given_ | change))


@pytest.mark.parametrize("backend", ["cpu"], indirect=True)
@pytest.mark.parametrize(
    "places, planes, steps, message",
    [
        ([[0, -1, 1, 2]], 2, [1, 1, 1, 1], "different numbers below 2"),
        ([[0, -1, 0, -1]], 2, [1, 1, 1, 1], "different numbers below 2"),
        ([[0, -1, -2, -1]], 2, [1, 1, 1, 1], "different numbers below 2"),
        ([[0, -1, -1, -1]], 2, [1, 1, 1, 1], "each of the 2 planes, but has 1"),
        ([[0, -1, 1, -1]], 2, [1, 0, 1, 1], "step must be a positive finite number"),
        ([[0, -1, 1, -1]], 2, [1, 1, torch.nan, 1], "step must be a positive finite number"),
    ],
)
def test_wrong_values_on_the_cpu(places, planes, steps, message):
    """On a device nobody waits for them."""
    tables = torch.tensor(places, dtype=torch.int32), torch.tensor(steps).float()
    with pytest.raises(RuntimeError, match=message):
        ops.dct_quantize(Y, tables[0], planes, tables[1], -1, 1)
    with pytest.raises(RuntimeError, match=message):
        ops.dequantize_dct(LEVELS[:, :planes], tables[0], 4, 4, tables[1])


@pytest.mark.parametrize(
    "change, message",
    [
        ({"levels": LEVELS.int()}, "levels must be int16"),
        ({"height": 5}, "height / size"),
        ({"width": 2}, "width / size"),
        ({"height": -1}, "height must be from 0"),
        ({"dtype": torch.int16}, "dtype must be"),
    ],
)
def test_wrong_arguments_of_the_way_back(change, message):
    given_ = {"levels": LEVELS, "places": PLACES, "height": 4, "width": 4, "steps": torch.ones(4)}
    with pytest.raises(RuntimeError, match=message):
        ops.dequantize_dct(**(given_ | change))


SAMPLES = [
    ("dct_quantize", (torch.randn(2, 3, 7, 9), *some_places(3, 2), some_steps(2), -20, 20)),
    ("dct_quantize", (torch.randn(1, 2, 8, 8).half(), *some_places(2, 4), some_steps(4), -9, 9)),
    ("dct_quantize", (torch.randn(0, 2, 8, 8), *some_places(2, 4), some_steps(4), -9, 9)),
    (
        "dequantize_dct",
        (
            torch.randint(-9, 9, (2, some_places(3, 2)[1], 4, 5)).short(),
            some_places(3, 2)[0], 7, 9, some_steps(2),
        ),
    ),
]  # fmt: skip
