"""Energy and bandwidth of the memory accesses, against the paper's own numbers."""

from __future__ import annotations

import pytest
import torch
import torchvision

import fmtc
from fmtc.network.capture import capture
from fmtc.network.groups import POINTS, count_reads, find_groups
from fmtc.results import dram, energy


def layer(shape, reads, **rates) -> dict:
    return {"shape": shape, "reads": reads, "bits_per_value": {"stream": None, **rates}}


@pytest.mark.parametrize(("channels", "size", "microjoules"), [(64, 56, 225.93), (128, 28, 112.96)])
def test_table_3_quantization(channels, size, microjoules):
    """The rows of the paper's Table III that agree with its percentages: 8 bits, one reader."""
    bits = 8 * channels * size * size
    assert energy.access_joules(bits, 1) * 1e6 == pytest.approx(microjoules, abs=0.01)
    assert energy.bits_a_second(8) == 1.28e9


def test_image_by_hand():
    """16 bits are one transfer of 4/1066e6 s at 1.5 V: 0.27 W writing, 0.33 W reading."""
    assert energy.write_joules(16) == pytest.approx(0.27 * 4 / 1066e6)
    assert energy.read_joules(32) == pytest.approx(2 * 0.33 * 4 / 1066e6)
    layers = [layer([2, 2, 2], 1, huffman=2.0), layer([1, 4, 4], 3, huffman=1.0)]
    expected = (0.27 + 0.33 + 0.27 + 3 * 0.33) * 4 / 1066e6  # 16 bits each
    assert energy.image_joules(layers, "huffman") == pytest.approx(expected)
    assert energy.image_joules(layers[1:], 2) == pytest.approx(2 * (0.27 + 0.99) * 4 / 1066e6)
    assert energy.image_joules([], "huffman") == 0


@pytest.mark.parametrize("unknown", [layer([2, 2, 2], 1), layer([2, 2, 2], None, stream=1.0),
                                     layer([2], 1, stream=1.0)])  # fmt: skip
def test_what_is_not_known_has_no_energy(unknown):
    assert energy.image_joules([unknown], "stream") is None


def test_dram_parts_by_hand():
    """A mebibit written and read in 10 ms: 8192 bursts of 4 clocks each, 64 rows twice."""
    bits, seconds, one = 2**20, 0.01, dram.Dram()
    parts = dram.dram_joules(bits, bits, seconds, power_down=False)
    burst = 4 * 2 / 1066e6
    assert parts["write"] == pytest.approx(1.5 * (0.18 - 0.0456) * 8192 * burst)
    assert parts["read"] == pytest.approx(1.5 * (0.22 - 0.0456) * 8192 * burst)
    busy = 2 * 8192 * burst
    idle = seconds - busy
    assert parts["background"] == pytest.approx(1.5 * (0.0456 * busy + 0.033 * idle))
    assert parts["refresh"] == pytest.approx(1.5 * (0.185 - 0.0456) * 260e-9 * seconds / 7.8e-6)
    row = 0.060 * 50.625e-9 - 0.0456 * 37.5e-9 - 0.033 * 13.125e-9
    assert parts["activation"] == pytest.approx(1.5 * 128 * row)
    # A pin against 60 ohms to half the voltage, of two resistors of 120 ohms: 34 + 60 in series,
    # and what flows through both resistors when the driver is not there is in it.
    high = 1.5 / (1 / (1 / 34 + 1 / 120) + 120)
    low = 1.5 / (120 + 1 / (1 / 34 + 1 / 120))
    assert one.termination_watts() == pytest.approx(1.5 * (high + low) / 2)
    lines = 16 * (11 + 10) / 8
    assert parts["termination"] == pytest.approx(one.termination_watts() * lines * 8192 * burst)
    assert parts["total"] == pytest.approx(sum(parts.values()) - parts["total"])
    lower = dram.dram_joules(bits, bits, seconds, power_down=True)
    assert parts["total"] - lower["total"] == pytest.approx(1.5 * (0.033 - 0.012) * idle)


def test_dram_saves_less_than_the_paper_reckons():
    """Half the bits are half of the accesses; the rest is there as long as the memory is."""
    values = 64 * 56 * 56
    assert 1 - energy.access_joules(4.25, 1) / energy.access_joules(8, 1) == pytest.approx(
        0.469, abs=1e-3
    )
    for power_down, saved in ((False, 0.283), (True, 0.368)):
        coded, plain = (
            dram.tensor_joules(bits * values, values, 1, power_down) for bits in (4.25, 8)
        )
        assert 1 - coded / plain == pytest.approx(saved, abs=1e-3)


def test_dram_in_too_short_a_time():
    with pytest.raises(ValueError, match="take 0.00.* s .* but the time given is 0.001 s"):
        dram.dram_joules(1e8, 0, 0.001, power_down=False)
    # A tensor of many readers takes what moving it takes.
    assert dram.tensor_joules(1e6, 1, 100, False) > 100 * dram.tensor_joules(1e4, 1, 1, False)


def test_dram_of_an_image():
    layers = [layer([2, 2, 2], 1, huffman=2.0), layer([1, 4, 4], 3, huffman=1.0)]
    expected = dram.tensor_joules(16, 8, 1, True) + dram.tensor_joules(16, 16, 3, True)
    assert dram.dram_image_joules(layers, "huffman", True) == pytest.approx(expected)
    assert dram.dram_image_joules(layers, "stream", True) is None
    assert dram.dram_image_joules([layer([2], 1, stream=1.0)], 8, False) is None


def reads_of(model, example, points) -> dict[str, int]:
    network = capture(model.eval(), example)
    return count_reads(find_groups(network, points=points), points)


@pytest.mark.parametrize("points", POINTS)
def test_readers_of_residual_blocks(points):
    """A block's input goes into its first convolution and into its shortcut or residual add."""
    reads = reads_of(torchvision.models.resnet18(), torch.zeros(2, 3, 64, 64), points)
    if points == "all":
        assert reads.pop("maxpool.max_pool2d") == 2 and reads["conv1"] == 1
        reads["conv1"] += 1
    assert reads["conv1"] == 2  # through the pooling
    assert reads["layer1.0.conv1"] == 1 and reads["layer1.0.conv2"] == 2
    # The shortcut's convolution runs last there, and performs the add.
    assert reads["layer2.0.downsample.0"] == 2 and reads["layer2.0.conv2"] == 1
    assert reads["layer4.1.conv2"] == 1  # the classifier
    assert sum(reads.values()) == 20 + 8  # eight blocks, each with two readers of its input


@pytest.mark.parametrize("points", POINTS)
def test_readers_of_concatenations(points):
    """In a dense block every layer reads all before it; each is one reader, by whatever way."""
    reads = reads_of(torchvision.models.densenet121(), torch.zeros(2, 3, 64, 64), points)
    first = "features.conv0" if points == "paper" else "features.pool0.max_pool2d"
    assert reads[first] == 7  # six layers and the transition
    assert reads["features.denseblock1.denselayer6.conv2"] == 1
    assert reads["features.denseblock1.denselayer1.conv1"] == 1


def test_report_of_a_compressed_network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3)
    )
    images = torch.randn(40, 1, 8, 8)
    compressed = fmtc.compress(model, images, "paper", bits=6)
    assert compressed.report().joules_per_image["entropy"] is None  # sizes are not known yet
    compressed(images)
    report = compressed.report()
    bits = [layer["bits_per_value"]["stream"] for layer in report.layers]
    expected = sum(energy.access_joules(b * n, 1) for b, n in zip(bits, (256, 144), strict=True))
    assert report.joules_per_image["stream"] == pytest.approx(expected)
    assert [layer["reads"] for layer in report.to_dict()["layers"]] == [1, 1]
