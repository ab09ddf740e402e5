"""Frequencies of blocks of positions: what they cost, which are coded, and the networks around."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from networks import TinyDepthwise, TinyResidual, images, tiny
from scipy.fft import dctn
from torch import nn

import fmtc
from fmtc.calibration.compressor import Compressor
from fmtc.calibration.frequencies import block_sizes, by_frequency, gain, loss, relative
from fmtc.codec.codec import TensorCodec
from fmtc.codec.frequencies import FrequencyQuantizer, dct_matrix, energies
from fmtc.codec.quantizer import Quantizer
from fmtc.targets import Step

UNIT = Quantizer.of_step(1.0)


class TinyPooled(nn.Module):
    """Convolutions before an average over all positions: what is fine there hardly matters."""

    def __init__(self):
        super().__init__()
        self.stem, self.expand = nn.Conv2d(3, 6, 5, padding=2), nn.Conv2d(6, 18, 1)
        self.mix, self.classifier = nn.Conv2d(18, 8, 5, padding=2), nn.Linear(8, 4)

    def forward(self, x):
        x = self.mix(self.expand(self.stem(x)).relu())
        return self.classifier(x.relu().mean((2, 3)))


def sizes_of(compressed):
    quantizers = (codec.quantizer for codec in compressed.codecs.values())
    return [q.size if isinstance(q, FrequencyQuantizer) else 1 for q in quantizers]


@pytest.mark.parametrize("size", [2, 4])
def test_energies_are_those_of_the_dct(size):
    x = torch.randn(2, 3, 9, 11)
    whole = x[:, :, : 9 // size * size, : 11 // size * size].double().numpy()
    n, c, h, w = whole.shape
    blocks = whole.reshape(n, c, h // size, size, w // size, size)
    squares = dctn(blocks, axes=(3, 5), norm="ortho") ** 2
    np.testing.assert_allclose(energies(x, size), squares.mean((0, 1, 2, 4)).ravel(), rtol=1e-5)
    assert torch.allclose(dct_matrix(size) @ dct_matrix(size).T, torch.eye(size).double())


def test_gain_by_hand():
    """Of 4, 1, 1, 2: the mean is 2, the geometric one 8^(1/4)."""
    costs = torch.tensor([4.0, 1, 1, 2], dtype=torch.float64)
    assert gain(costs) == pytest.approx(0.5 * math.log2(2 / 8**0.25))
    assert gain(torch.ones(4)) == gain(torch.zeros(4)) == gain(torch.full((4,), math.nan)) == 0
    mean_alone = torch.tensor([1.0, 0, 0, 0])  # no more than a tenth of the mean is known
    assert gain(mean_alone) == pytest.approx(0.5 * math.log2(4.3 / 4 / (4 * 0.1**3) ** 0.25))
    assert torch.equal(relative(costs), torch.tensor([2, 0.5, 0.5, 1]).double())
    assert relative(torch.tensor([1e6, 1, 1, 1]))[1] == pytest.approx(0.1)


def test_sizes_that_may_be_worth_it():
    steep, flat = torch.tensor([4.0, 1, 1, 0.5]).double(), torch.ones(16).double()
    assert block_sizes({2: steep, 4: flat}, 28, 28) == [2]
    assert block_sizes({2: steep, 4: steep.repeat_interleave(4)}, 28, 9) == [2, 4]
    assert block_sizes({2: steep, 4: steep.repeat_interleave(4)}, 28, 8) == [2]
    assert block_sizes({2: steep}, 4, 28) == [] and block_sizes({}, 28, 28) == []


def test_strongest_frequencies_come_first_and_empty_ones_are_left_out():
    """Component 0 is constant, 1 alternates from row to row, 2 is nearly nothing."""
    y = torch.zeros(1, 3, 4, 4)
    y[:, 0], y[:, 1, ::2], y[:, 1, 1::2], y[:, 2] = 3.0, 5.0, -5.0, 0.01
    used, made = by_frequency(UNIT, torch.ones(4).double(), [y], 3, drop=True)
    assert used.tolist() == [True, True, False]
    assert made.coded.tolist() == [1 * 4 + 2, 0 * 4 + 0]  # rows of component 1, mean of component 0
    levels, _ = made.quantize(y[:, used])
    assert levels.unique().tolist() == [6, 10] and levels.shape == (1, 2, 2, 2)
    assert torch.allclose(made.dequantize(levels), y[:, :2], atol=1e-5)
    used, made = by_frequency(UNIT, torch.ones(4).double(), [y], 3, drop=False)
    assert used.all() and sorted(made.coded.tolist()) == list(range(12))
    nothing, made = by_frequency(UNIT, torch.ones(4).double(), [0 * y], 3, drop=True)
    assert nothing.sum() == 1 and len(made.coded) == 1


def test_steps_make_all_frequencies_cost_alike():
    costs = torch.tensor([4.0, 1, 1, 2], dtype=torch.float64)
    _, made = by_frequency(Quantizer.of_step(0.5), costs, [torch.randn(1, 2, 4, 4)], 2, False)
    assert torch.allclose(
        made.steps.double() ** 2 * relative(costs), torch.full((4,), 0.25).double()
    )


def test_loss_counts_bits_and_errors():
    """Levels 0 of values 0.25: no bits here, and 1/16 a value, each worth 6 / ln 2 bits."""
    values = [torch.full((2, 3, 4, 4), 0.25)]
    every = torch.ones(3, dtype=torch.bool)
    flat = torch.ones(4).double()
    found = loss(UNIT, every, flat, values, lambda levels: 7.0 + sum(map(len, levels)))
    assert found == pytest.approx(7 + 2 + 6 / math.log(2) * 96 / 16, rel=1e-5)
    one = torch.tensor([True, False, False])  # what is not coded is off as a whole
    assert loss(UNIT, one, flat, values, lambda _: 0.0) == pytest.approx(found - 9, rel=1e-5)


def test_size_is_chosen_and_levels_are_used_again():
    torch.manual_seed(0)
    compressed = fmtc.compress(TinyPooled().eval(), images(24, size=16), "fmtc", Step(0.002))
    stem, expand, mix = sizes_of(compressed)
    assert stem > 1 and expand == stem and mix > 1
    first, again, _ = compressed.codecs.values()
    assert torch.equal(first.quantizer.coded, again.quantizer.coded)
    x = images(3, seed=9, size=16)
    found = {}
    for name, point in compressed.points.items():
        point.register_forward_pre_hook(
            lambda point, args, name=name: found.update({name: point.quantize(args[0])[0]})
        )
    compressed.stream_mode = True
    compressed(x)
    one, other, _ = found.values()
    assert torch.equal(one, other)


def test_it_takes_less_at_an_equal_error():
    torch.manual_seed(0)
    model, calibration = TinyPooled().eval(), images(24, size=16)
    test = images(64, seed=5, size=16)
    rates = {}
    for size in (1, 4):
        preset = replace(fmtc.PRESETS["fmtc"], frequencies=size)
        points = [
            fmtc.evaluate(made, test, mode="simulate")
            for step in (0.001, 0.002, 0.004, 0.008)
            if (made := fmtc.compress(model, calibration, preset, Step(step)))
        ]
        curve = sorted((p["snr_db"], p["bits_per_value"]["cross_entropy"]) for p in points)
        rates[size] = np.interp(18, *zip(*curve, strict=True))
    assert rates[4] < 0.93 * rates[1]


@pytest.mark.parametrize("kind", [TinyPooled, TinyResidual, TinyDepthwise])
@pytest.mark.parametrize("side", [16, 17, 18, 21])
def test_streams_give_what_is_simulated(kind, side):
    compressed = fmtc.compress(tiny(kind), images(12, size=side), "fmtc", Step(0.004))
    x = images(3, seed=2, size=side)
    with torch.no_grad():
        compressed.mode = "stream"
        streamed = compressed(x)
        compressed.mode = "simulate"
        assert torch.equal(streamed, compressed(x))


def test_saved_and_loaded(tmp_path):
    model = TinyPooled().eval()
    compressed = fmtc.compress(model, images(12, size=18), "fmtc", Step(0.004))
    assert max(sizes_of(compressed)) > 1
    compressed.save(tmp_path / "c.safetensors")
    loaded = fmtc.load(tmp_path / "c.safetensors", model)
    x = images(2, seed=3, size=18)
    with torch.no_grad():
        assert torch.equal(compressed(x), loaded(x))
    codec = next(iter(compressed.codecs.values()))
    codec.save(tmp_path / "one.safetensors")
    again = TensorCodec.load(tmp_path / "one.safetensors")
    tensor = torch.randn(2, 6, 9, 11)
    assert again.encode(tensor) == codec.encode(tensor)
    assert torch.equal(again.decode(codec.encode(tensor)), codec.simulate(tensor))


def test_a_codec_decodes_other_sizes():
    compressed = fmtc.compress(TinyPooled().eval(), images(12, size=16), "fmtc", Step(0.004))
    codec = next(iter(compressed.codecs.values()))
    for height, width in ((1, 1), (2, 3), (5, 4), (16, 31)):
        x = torch.randn(2, 6, height, width)
        assert torch.equal(codec.decode(codec.encode(x)), codec.simulate(x))
        assert codec.simulate(x).shape == x.shape


def test_none_where_the_preset_has_none():
    preset = replace(fmtc.PRESETS["fmtc"], frequencies=1)
    compressed = fmtc.compress(TinyPooled().eval(), images(12, size=16), preset, Step(0.004))
    assert sizes_of(compressed) == [1, 1, 1]
    with pytest.raises(ValueError, match="frequencies must be 1, 2 or 4; got 3"):
        replace(preset, frequencies=3)


def test_costs_are_measured_beside_the_metric():
    compressor = Compressor(TinyPooled().eval(), images(12, size=16), "fmtc")
    costs = compressor.metrics.frequencies["mix", "before"]
    assert set(costs) == {2, 4} and all(len(costs[s]) == s * s for s in costs)
    assert costs[4][0] > costs[4][15]  # the average over all positions sees no fine structure
