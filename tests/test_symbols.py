"""Levels become symbols and come back; prediction and splitting pay or are not there."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import fmtc
from fmtc.calibration.prediction import fit_prediction
from fmtc.codec.classes import plane_classes, scale_classes
from fmtc.codec.coders import coders
from fmtc.codec.prediction import MAX_SHIFT, MOST, UNIT, WIDEST, SymbolMap, rms_symbols

EXTREMES = (-32768, -32767, -1, 0, 1, 32766, 32767)
SHAPES = [(1, 1, 1, 1), (2, 3, 1, 7), (2, 3, 7, 1), (1, 4, 5, 6), (3, 2, 8, 9), (0, 3, 4, 4)]


def noise(shape, scale=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator)).round().to(torch.int16)


def smooth(components=3, size=24, scale=40.0, n=4, seed=0):
    """Levels of a field that its neighbours predict well."""
    field = noise((n, components, size, size), 1000.0, seed).double().cumsum(2).cumsum(3)
    field = field / field.std((0, 2, 3), keepdim=True) * scale
    return field.round().clamp(-2000, 2000).to(torch.int16)


def random_map(components, seed, shifts=True, sources=0):
    generator = torch.Generator().manual_seed(seed)
    shape = components, 3 + 9 * sources
    coefficients = torch.randint(-MOST, MOST + 1, shape, generator=generator)
    shift = torch.randint(0, MAX_SHIFT + 1, (components,), generator=generator)
    return SymbolMap(coefficients.to(torch.int16), shift if shifts else torch.zeros_like(shift))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("shifts", [True, False])
@pytest.mark.parametrize("sources", [0, 2])
def test_any_map_comes_back(shape, shifts, sources):
    symbol_map = random_map(shape[1], 5, shifts, sources)
    levels = noise(shape, 200.0)
    symbols = symbol_map.symbols(levels)
    assert symbols.dtype == torch.int16
    assert symbols.shape == (shape[0], symbol_map.planes, *shape[2:])
    assert torch.equal(symbol_map.levels(symbols), levels)


@settings(max_examples=60)
@given(
    n=st.integers(0, 2), k=st.integers(1, 4), h=st.integers(1, 6), w=st.integers(1, 6),
    seed=st.integers(0, 99), data=st.data(),
)  # fmt: skip
def test_extreme_levels_come_back(n, k, h, w, seed, data):
    size = n * k * h * w
    values = data.draw(st.lists(st.sampled_from(EXTREMES), min_size=size, max_size=size))
    levels = torch.tensor(values, dtype=torch.int16).view(n, k, h, w)
    symbol_map = random_map(k, seed)
    assert torch.equal(symbol_map.levels(symbol_map.symbols(levels)), levels)
    plain = SymbolMap.identity(k)
    assert torch.equal(plain.levels(plain.symbols(levels)), levels)


@pytest.mark.parametrize("shape", SHAPES[:-1])
@pytest.mark.parametrize("scale", [0.0, 1.0, 900.0, 30000.0])
def test_fitted_maps_come_back(shape, scale):
    levels = (scale * noise(shape, 1.0).float()).clamp(-32768, 32767).to(torch.int16)
    symbol_map = fit_prediction([levels], 2)
    assert torch.equal(symbol_map.levels(symbol_map.symbols(levels)), levels)
    other = noise((2, shape[1], 3, 5), 32767)  # nothing of which was seen
    assert torch.equal(symbol_map.levels(symbol_map.symbols(other)), other)


def slow_neighbours(levels):
    """For every level of one component [N, H, W]: left, above, above left (0 outside); itself."""
    n, height, width = levels.shape
    rows, targets = [], []
    for i in range(n):
        at = lambda y, x: float(levels[i, y, x]) if y >= 0 and x >= 0 else 0.0  # noqa: B023, E731
        for y in range(height):
            for x in range(width):
                rows.append([at(y, x - 1), at(y - 1, x), at(y - 1, x - 1)])
                targets.append(at(y, x))
    return np.array(rows), np.array(targets)


def test_coefficients_are_those_of_least_squares():
    levels = smooth(3, size=12)
    symbol_map = fit_prediction([levels[:3], levels[3:]], 2)
    assert symbol_map.predicts
    for k in range(3):
        rows, targets = slow_neighbours(levels[:, k])
        exact = np.linalg.lstsq(rows, targets, rcond=None)[0]
        got = symbol_map.coefficients[k].double().numpy() / UNIT
        np.testing.assert_allclose(got, exact, atol=0.5 / UNIT + 1e-3)


def test_symbols_are_what_the_neighbours_do_not_tell():
    levels = smooth(2, size=6, n=2)
    symbol_map = SymbolMap(torch.tensor([[64, 64, -64], [30, 0, 0]]).short(), torch.zeros(2).long())
    symbols = symbol_map.symbols(levels)
    for k in range(2):
        rows, targets = slow_neighbours(levels[:, k])
        predicted = rows @ symbol_map.coefficients[k].double().numpy() / UNIT
        left = symbols[:, k].flatten().double().numpy() - (targets - predicted)
        assert np.abs(left).max() <= 0.5


def test_prediction_is_off_where_it_does_not_pay():
    levels = torch.cat([noise((4, 1, 24, 24)), smooth(1), torch.zeros(4, 1, 24, 24).short()], 1)
    symbol_map = fit_prediction([levels], 2)
    # Chance correlations are worth next to nothing.
    assert symbol_map.coefficients[0].abs().max() < UNIT / 8
    assert symbol_map.coefficients[1].abs().max() > UNIT / 2
    assert not symbol_map.coefficients[2].any()
    pepper = torch.zeros(1, 1, 20, 20, dtype=torch.int16)
    pepper[0, 0, ::3, ::2] = 1  # any prediction above 1/2 would add symbols
    assert not fit_prediction([pepper], 2).predicts


def slopes(n=4, size=24):
    """Noise, and a component that is half the difference of its neighbours right and left of it."""
    first = noise((n, 1, size, size), 30.0)
    around = torch.nn.functional.pad(first.double(), (1, 1))
    second = ((around[..., 2:] - around[..., :-2]) / 2 + noise(first.shape, 0.4, 1)).round()
    return torch.cat([first, second.short(), noise(first.shape, 9.0, 2)], 1)


def test_sources_tell_what_lies_around():
    levels = slopes()
    symbol_map = fit_prediction([levels[:1], levels[1:]], 16)
    assert symbol_map.coefficients.shape == (3, 3 + 9 * 2)  # of the two components before the last
    window = symbol_map.coefficients[1, 3:12].view(3, 3).double() / UNIT
    expected = torch.tensor([[0, 0, 0], [-0.5, 0, 0.5], [0, 0, 0]]).double()
    torch.testing.assert_close(window, expected, atol=0.01, rtol=0)
    assert symbol_map.symbols(levels)[:, 1].double().std() < 0.7 < levels[:, 1].double().std() / 20
    assert not symbol_map.coefficients[[0, 2], 3:].any()  # they have nothing to do with the others
    assert fit_prediction([levels], 0).coefficients.shape == (3, 3)


def test_coefficients_of_sources_are_those_of_least_squares():
    levels = slopes(2, 9)
    levels[:, 2] += (levels[:, 0].roll(1, 1) // 2) + levels[:, 1]
    symbol_map = fit_prediction([levels], 2)
    rows, targets = slow_neighbours(levels[:, 2])
    around = []
    for i, y, x in itertools.product(range(2), range(9), range(9)):
        places = [(j, y + dy, x + dx) for j in (0, 1) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        inside = [0 <= h < 9 and 0 <= w < 9 for _, h, w in places]
        around.append([float(levels[(i, *p)]) if at else 0.0 for p, at in zip(places, inside)])  # noqa: B905
    inputs = np.hstack([rows, around])
    exact = np.linalg.lstsq(inputs, targets, rcond=None)[0]
    got = symbol_map.coefficients[2].double().numpy() / UNIT
    # The windows depend on each other, so that many coefficients do nearly as well.
    least, left = (np.square(targets - inputs @ c).sum() for c in (exact, got))
    assert least <= left < 1.01 * least < 0.2 * np.square(targets).sum()


@pytest.mark.parametrize("components", [1, 2, 5])
@pytest.mark.parametrize("sources", [1, 3, 16])
def test_few_components_have_few_sources(components, sources):
    levels = smooth(components, 12)
    symbol_map = fit_prediction([levels], sources)
    found, rest = divmod(symbol_map.coefficients.shape[1] - 3, 9)
    assert rest == 0 and found <= min(sources, components - 1)
    assert torch.equal(symbol_map.levels(symbol_map.symbols(levels)), levels)


def entropy(x):
    counts = torch.unique(x, return_counts=True)[1].double()
    return float(-(counts / counts.sum()).log2() @ counts)


@pytest.mark.parametrize("seed", range(3))
def test_a_fitted_prediction_never_costs_entropy(seed):
    levels = torch.cat([noise((2, 2, 16, 16), 2.0, seed), smooth(3, 16, 10.0, 2, seed)], 1)
    fitted = fit_prediction([levels], 2)
    symbols = SymbolMap(fitted.coefficients, torch.zeros(5).long()).symbols(levels)
    for k in range(5):
        assert entropy(symbols[:, k]) <= entropy(levels[:, k]) + 1e-6


@pytest.mark.parametrize("scale", [1.0, 15.0, 40.0, 300.0, 8000.0])
def test_wide_components_are_split(scale):
    levels = noise((2, 2, 30, 30), scale)
    symbol_map = fit_prediction([levels], 2)
    rms = levels.double().square().mean((0, 2, 3)).sqrt()
    for k, shift in enumerate(symbol_map.shifts.tolist()):
        assert shift == min(max(math.ceil(math.log2(float(rms[k]) / WIDEST)), 0), MAX_SHIFT)
    symbols = symbol_map.symbols(levels)
    assert symbol_map.planes == 2 + int((symbol_map.shifts > 0).sum()) == symbols.shape[1]
    assert symbol_map.plane_shifts().tolist() == [0, 0, *symbol_map.shifts[symbol_map.split]]
    for plane, shift in zip(symbols[:, 2:].unbind(1), symbol_map.plane_shifts()[2:], strict=True):
        assert plane.min() >= 0 and plane.max() < 2 ** int(shift)
    for plane in symbols[:, :2].unbind(1):
        assert plane.double().square().mean().sqrt() < 1.1 * WIDEST or scale > WIDEST * 256


def test_rms_of_symbols():
    counts = torch.tensor([[1, 2, 0, 3], [0, 0, 0, 0]])
    expected = math.sqrt((4 + 2 * 1 + 3 * 1) / 6)  # symbols -2, -1, 0, 1
    assert rms_symbols(counts, -2).tolist() == pytest.approx([expected, 0.0])


def test_planes_of_low_bits_have_classes_of_their_own():
    generator = torch.Generator().manual_seed(0)
    counts = torch.randint(1, 100, (6, 9), generator=generator)
    shifts = torch.tensor([0, 0, 0, 2, 1, 2])  # 3 components, planes of 2, 1 and 2 low bits
    class_of = plane_classes(counts, -4, shifts, 2)
    whole = scale_classes(counts[:3], rms_symbols(counts[:3], -4), 2)
    assert torch.equal(class_of[:3], whole)
    top = int(whole.max())
    assert class_of[3:].tolist() == [top + 2, top + 1, top + 2]
    assert torch.equal(plane_classes(counts[:3], -4, shifts[:3], 2), whole)


def test_classes_of_a_codec_with_split_planes():
    x = torch.cat([300 * noise((4, 1, 20, 20), 3.0).float(), noise((4, 3, 20, 20)).float()], 1)
    codec = fmtc.calibrate_tensor(x, "fmtc", step=1.0)
    assert codec.symbol_map.planes > codec.components == len(codec.symbol_map.shifts)
    assert len(codec.class_of) == codec.symbol_map.planes
    assert torch.equal(codec.class_of, codec.coder.table_of)
    low = codec.symbol_map.plane_shifts() > 0
    assert not set(codec.class_of[low].tolist()) & set(codec.class_of[~low].tolist())
    assert torch.equal(codec.decode(codec.encode(x)), codec.simulate(x))
    assert torch.equal(codec.decode(codec.encode(9 * x)), codec.simulate(9 * x))


@pytest.mark.parametrize("name", ["huffman", "rans"])
def test_symbols_go_through_streams(name):
    levels = smooth(4)
    codec_map = fit_prediction([levels], 2)
    symbols = codec_map.symbols(levels)
    lo, hi = int(symbols.min()), int(symbols.max())
    class_of = torch.zeros(codec_map.planes, dtype=torch.int64)
    counts = fmtc.ops.histogram(symbols, lo, hi, class_of, 1)
    coder = coders[name](lo, counts, class_of)
    data, used = coder.encode(symbols)
    assert torch.equal(codec_map.levels(coder.decode(data, used, 24, 24)), levels)
