"""Weight quantisation: grids of channels, and which layer of a network has how many bits."""

import copy

import pytest
import torch
import torch.nn.functional as F
from networks import TinyDepthwise, TinyOdd, TinyResidual, first_tensor, images, tiny
from torch import nn

import fmtc
from fmtc.data.datasets import open_dataset
from fmtc.data.models import load_model
from fmtc.network.capture import tidy
from fmtc.network.fold import plain_convolution, set_convolution
from fmtc.network.prepared import Prepared
from fmtc.network.weights import (
    SHARES,
    WEIGHT_BITS,
    WeightGrid,
    check_weight_bits,
    quantize_network,
    quantize_weight,
)


def sample_weights():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator)

    outlier, skewed = normal(4, 16, 3, 3), normal(6, 40).exp()
    outlier[1, 2, 1, 1] = 30
    constants = normal(5, 3, 3, 3)
    constants[1], constants[3] = 0, -0.7
    return {
        "conv": normal(8, 16, 3, 3) * torch.arange(1, 9)[:, None, None, None],
        "depthwise": normal(12, 1, 3, 3),
        "pointwise": normal(7, 33, 1, 1),
        "linear": normal(5, 101) + 0.5,
        "one channel": normal(1, 5, 2, 3),
        "one value": normal(3, 1, 1, 1),
        "outlier": outlier,
        "skewed": skewed,
        "zero and constant channels": constants,
        "tiny": normal(3, 20) * 1e-12,
        "channels_last": normal(4, 5, 3, 3).contiguous(memory_format=torch.channels_last),
    }


WEIGHTS = sample_weights()
each_weight = pytest.mark.parametrize("weight", WEIGHTS.values(), ids=WEIGHTS)
each_width = pytest.mark.parametrize("bits", [8, 4])


def quantize_slowly(weight, bits):
    """Channel by channel and value by value, in double."""
    result = []
    for channel in weight.flatten(1).double():
        least, most, top = float(channel.min()), float(channel.max()), 2**bits - 1
        largest = max(-least, most)
        grids = [(-largest, 2 * largest / (top - 1))]
        if bits == 8:
            grids.append((least, (most - least) / top))
        for share in SHARES if bits == 4 else ():
            step = share * (max(most, 0) - min(least, 0)) / top
            zero = round(-share * min(least, 0) / step) if step else 0
            grids.append((-zero * step, step))
        rounded, error = None, None
        for low, step in grids:
            points = torch.tensor([low + step * k for k in range(top + 1)], dtype=torch.float64)
            nearest = torch.stack([points[(points - w).abs().argmin()] for w in channel])
            new = float((nearest - channel).square().sum())
            if error is None or new < error:
                rounded, error = nearest, new
        deviation = rounded.std(unbiased=False)
        stretch = channel.std(unbiased=False) / deviation if deviation > 0 else 1
        result.append(channel.mean() + stretch * (rounded - rounded.mean()))
    return torch.stack(result).reshape(weight.shape).float()


def per_channel(weight):
    return weight.double().flatten(1)


@each_width
@each_weight
def test_equals_the_slow_reference(weight, bits):
    got, expected = (per_channel(f(weight, bits)) for f in (quantize_weight, quantize_slowly))
    # A value half-way between two levels may go either way: not every channel is the same.
    scale = per_channel(weight).abs().amax(1)
    same = (got - expected).abs().amax(1) <= 1e-4 * scale
    assert same.float().mean() >= 0.8
    error, slow = (float((x - per_channel(weight)).norm()) for x in (got, expected))
    assert error == pytest.approx(slow, rel=1e-2, abs=1e-6 * float(scale.max()))


@each_width
@each_weight
def test_error_is_at_most_half_a_step_inside_the_clip(weight, bits):
    grid = WeightGrid.fit(weight, bits)
    rows, nearest = weight.flatten(1), grid.nearest(weight).flatten(1)
    high = grid.low + grid.step * (2**bits - 1)
    clipped = rows.clamp(grid.low, high)
    slack = 1e-5 * rows.abs().amax(1, keepdim=True)
    assert ((nearest - clipped).abs() <= grid.step / 2 + slack).all()
    if bits == 8:
        assert ((clipped - rows).abs() <= slack).all()
    for channel in nearest:
        assert len(channel.unique()) <= 2**bits


@each_width
@each_weight
def test_mean_and_deviation_are_kept(weight, bits):
    got, rows = per_channel(quantize_weight(weight, bits)), per_channel(weight)
    slack = 1e-5 * rows.abs().amax(1)
    assert ((got.mean(1) - rows.mean(1)).abs() <= slack).all()
    deviations = got.std(1, unbiased=False), rows.std(1, unbiased=False)
    assert ((deviations[0] - deviations[1]).abs() <= slack).all()
    for channel in quantize_weight(weight, bits).flatten(1):
        assert len(channel.unique()) <= 2**bits


@each_weight
def test_a_weight_on_an_eight_bit_grid_stays(weight):
    once = quantize_weight(weight, 8)
    twice = quantize_weight(once, 8)
    scale = once.flatten(1).abs().amax(1, keepdim=True)
    assert ((twice - once).flatten(1).abs() <= 1e-5 * scale).all()


@pytest.mark.parametrize("bits,largest", [(8, 127), (4, 7)])
def test_a_symmetric_grid_with_a_zero_is_found(bits, largest):
    generator = torch.Generator().manual_seed(3)
    levels = torch.randint(-largest, largest // 2, (6, 1, 3, 3), generator=generator)
    levels[:, 0, 0, 0] = -largest
    weight = levels * torch.rand(6, 1, 1, 1, generator=generator)
    assert torch.allclose(quantize_weight(weight, bits), weight, rtol=0, atol=1e-6 * largest)


def test_four_bits_clip_where_that_has_less_error():
    weight = torch.randn(2, 400, generator=torch.Generator().manual_seed(1))
    weight[1, 0] = 5
    grid = WeightGrid.fit(weight, 4)
    assert float(grid.low[1] + 15 * grid.step[1]) < 4.5
    assert torch.equal(grid.nearest(torch.zeros(2, 1)), torch.zeros(2, 1))


@each_width
def test_a_changed_weight_goes_back_on_the_grid(bits):
    weight = WEIGHTS["conv"]
    grid = WeightGrid.fit(weight, bits)
    assert torch.equal(grid.round(weight), quantize_weight(weight, bits))
    changed = weight + 0.1 * torch.randn(weight.shape, generator=torch.Generator().manual_seed(2))
    levels = (grid.nearest(changed).flatten(1) - grid.low) / grid.step
    assert torch.allclose(levels, levels.round(), atol=1e-3)
    assert levels.min() > -0.5 and levels.max() < 2**bits - 0.5
    assert torch.allclose(grid.round(changed).mean((1, 2, 3)), changed.mean((1, 2, 3)), atol=1e-5)


def test_widths_are_checked():
    assert WEIGHT_BITS == (32, 8, 4)
    for bits in WEIGHT_BITS:
        check_weight_bits(bits)
    for bits in (0, 2, 16, 4.5, "8", None):
        for call in (
            check_weight_bits,
            lambda b: quantize_weight(torch.ones(2, 3), b),
            lambda b: quantize_network(torch.fx.symbolic_trace(nn.Conv2d(3, 4, 1)), b),
        ):
            with pytest.raises(ValueError, match="weight_bits must be one of 32, 8, 4"):
                call(bits)
    with pytest.raises(ValueError, match="no grid"):
        WeightGrid.fit(torch.ones(2, 3), 32)
    weight = WEIGHTS["conv"]
    assert quantize_weight(weight, 32) is weight


def prepared(model, shape=(3, 12, 12)):
    """The network on tensors of its own, each BN folded, as its weights are quantised."""
    made = Prepared.of(model, torch.randn(2, *shape)).copy(own=True)
    for group in made.groups:
        conv = plain_convolution(group)
        if conv is not None:
            set_convolution(group, conv)
    for path in made.parts:
        tidy(made.graph(path))
    return made.network


def weights_of(network):
    found = network.named_parameters(remove_duplicate=False)
    return {n: p.detach().clone() for n, p in found if p.dim() > 1}


def widths(model, bits, transposed=(), **options):
    """For each weight of the network its width, found by comparing with ``quantize_weight``."""
    network = prepared(model, **options)
    before = weights_of(network)
    biases = {n: p.detach().clone() for n, p in network.named_parameters() if p.dim() == 1}
    quantize_network(network, bits)
    after, found = weights_of(network), {}
    for name, weight in before.items():
        turned = (0, 1) if any(part in name for part in transposed) else (0, 0)
        for width in WEIGHT_BITS:
            expected = quantize_weight(weight.transpose(*turned), width).transpose(*turned)
            if torch.equal(after[name], expected):
                found[name.removeprefix("fmtc_folded.").removesuffix(".weight")] = width
    assert len(found) == len(before)
    for name, parameter in network.named_parameters():
        assert parameter.dim() > 1 or torch.equal(parameter, biases[name])
    return found


def test_first_convolution_and_classifier_have_eight_bits():
    inner = {"conv1": 4, "conv2": 4, "shortcut": 4}
    assert widths(tiny(TinyResidual), 4) == {"stem": 8, **inner, "classifier": 8}
    assert set(widths(tiny(TinyResidual), 8).values()) == {8}
    assert set(widths(tiny(TinyResidual), 32).values()) == {32}


def test_without_linear_layers_the_last_convolution_has_eight_bits():
    found = widths(tiny(TinyDepthwise), 4)
    assert found.pop("stem") == 8 and found.pop("last") == 8
    assert set(found.values()) == {4} and len(found) == 7


def test_shared_functional_and_transposed_weights():
    assert widths(tiny(TinyOdd), 4, transposed=["up"]) == {
        "twice": 8,
        "twice@2": 8,
        "conv2d_2": 4,
        "up": 8,
    }


@pytest.mark.filterwarnings("ignore:.*cannot capture")
def test_parts_and_what_is_between_them_are_quantised():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.inner = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
            self.classifier = nn.Linear(4, 3)

        def forward(self, x):
            x = self.stem(x)
            return self.classifier((self.inner(x) if x.sum() > -1e9 else x).mean((2, 3)))

    torch.manual_seed(0)
    found = widths(Branching().eval(), 4)
    assert sorted(found.values()) == [4, 8, 8] and found["classifier"] == 8


def test_grouped_transposed_convolution_has_a_grid_for_each_output():
    class Up(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 6, 1)
            self.up = nn.ConvTranspose2d(6, 4, 3, groups=2)
            self.weight = nn.Parameter(torch.randn(4, 3, 2, 2))
            self.last = nn.Conv2d(6, 2, 1)

        def forward(self, x):
            x = F.conv_transpose2d(self.up(self.stem(x)), self.weight, groups=2)
            return self.last(x)

    torch.manual_seed(0)
    model = Up().eval()
    network = prepared(model)
    quantize_network(network, 4)
    [folded] = [w for n, w in network.named_parameters() if "conv_transpose2d" in n]
    for weight, before in ((network.up.weight, model.up.weight), (folded, model.weight)):
        assert not torch.equal(weight, before)
        inputs, outputs = weight.shape[0] // 2, weight.shape[1]
        for group in range(2):
            of_group = slice(group * inputs, (group + 1) * inputs)
            for out in range(outputs):
                expected = quantize_weight(before[of_group, out][None], 4)[0]
                assert torch.allclose(weight[of_group, out], expected, atol=1e-6)


GROUPS = ("stem", "conv1", "conv2", "shortcut")


def test_the_users_model_is_not_changed():
    model = tiny(TinyResidual)
    before = copy.deepcopy(model.state_dict())
    quantised = Prepared.of(model, images(2), weight_bits=4)
    network = quantised.network
    assert set(quantised.grids) == set(GROUPS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    x = images()
    with torch.no_grad():
        assert not torch.equal(first_tensor(network(x)), first_tensor(model(x)))


def test_weights_calculated_from_parameters_are_quantised():
    normed = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
    model = nn.Sequential(nn.Conv2d(3, 4, 1), normed, nn.Conv2d(4, 2, 1)).eval()
    assert set(widths(model, 4)) == {"0", "1", "2"}


def test_weights_calculated_from_the_input_are_refused():
    class Dynamic(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return F.conv2d(self.stem(x), x.mean((0, 2, 3))[:, None, None, None].expand(3, 4, 1, 1))

    with pytest.raises(ValueError, match="conv2d_1: its weight is computed"):
        Prepared.of(Dynamic().eval(), torch.randn(2, 3, 8, 8), weight_bits=8)


def real(folder, model, weights, data, preprocess, num_classes=None, **options):
    network = load_model(model, folder / weights, num_classes)
    return network, open_dataset(folder / data, preprocess=preprocess, **options)


def figures(network, dataset, size, widths):
    """For each width of the weights a point of the result schema; 32: the float network's top-1."""
    reference = fmtc.Reference(network, dataset)
    points = {32: {"top1": reference.top1}}
    for bits in widths:
        quantised = prepared(network, (3, size, size))
        quantize_network(quantised, bits)
        points[bits] = fmtc.evaluate(quantised, dataset, reference=reference)
    return points


def test_mobilenet_stays_on_its_eight_bit_grid(shared_data):
    network, dataset = real(
        shared_data,
        "mobilenet_v2",
        "mobilenet_v2_imagenet_w8.safetensors",
        "imagenet_sample",
        "crop=224,mean=0.5,std=0.5,hflip,vflip",
        labels=shared_data / "imagenet_sample" / "labels.csv",
    )
    points = figures(network, dataset.subset(range(100)), 224, widths=[8])
    assert points[8]["top1"] >= points[32]["top1"] - 0.005
    assert points[8]["snr_db"] > 90


@pytest.mark.slow
def test_resnet18_with_quantised_weights(shared_data):
    network, dataset = real(
        shared_data,
        "resnet18",
        "resnet18_cifar10.safetensors",
        "cifar10_test.npz",
        "resize=64,mean=.485/.456/.406,std=.229/.224/.225",
        10,
    )
    points = figures(network, dataset.subset(range(600)), 64, widths=[8, 4])
    assert points[8]["top1"] >= points[32]["top1"] - 0.005
    assert points[8]["snr_db"] > 35 and points[8]["agreement"] > 0.99
    assert points[4]["top1"] >= points[32]["top1"] - 0.02
    assert points[4]["snr_db"] > 12
