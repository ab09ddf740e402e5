"""Coding points are found where docs/method.md puts them, and folding is exact everywhere."""

import pytest
import torch
from networks import (
    TinyDepthwise,
    TinyOdd,
    TinyResidual,
    first_tensor,
    images,
    randomize_norms,
    tiny,
    torchvision_network,
)
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import fmtc
from fmtc.network.activations import activation_limits, is_activation
from fmtc.network.capture import capture
from fmtc.network.fold import conv_like, fold_input, fold_output, fold_scale
from fmtc.network.groups import find_groups

# network, input size, number of coding points
NETWORKS = [
    ("resnet18", 64, 21),
    ("resnet34", 64, 37),
    ("resnet50", 64, 54),
    pytest.param("resnet101", 64, 105, marks=pytest.mark.slow),
    ("inception_v3", 128, 107),
    ("mobilenet_v2", 64, 52),
    ("vgg16_bn", 32, 19),
    ("googlenet", 64, 70),
    ("densenet121", 64, 124),
    ("shufflenet_v2_x1_0", 64, 57),
    ("efficientnet_b0", 64, 65),
    ("regnet_y_400mf", 64, 69),
]


def float_preset():
    return fmtc.BitsPreset(name="exact", transform_bits=None, drop_components=False)


def relative_error(got, expected):
    return float((got - expected).norm() / expected.norm())


@pytest.mark.parametrize("name,size,points", NETWORKS)
def test_folded_network_is_the_model(name, size, points):
    model = torchvision_network(name)
    x = torch.randn(2, 3, size, size)
    compressed = fmtc.compress(model, x, float_preset(), mode="float")
    assert len(compressed.points) == points
    with torch.no_grad():
        expected = first_tensor(model(x))
    assert relative_error(compressed(x), expected) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    "name,size", [("mobilenet_v2", 224), ("resnet50", 224), ("inception_v3", 299)]
)
def test_full_size_networks_stream_what_they_simulate(name, size):
    model, x = torchvision_network(name), images(2, size=size - size % 3)
    x = torch.nn.functional.interpolate(x, size=(size, size), mode="bilinear")
    compressed = fmtc.compress(model, x, "paper", bits=8)
    streamed = compressed(x)
    report = compressed.report()
    compressed.mode = "simulate"
    assert torch.equal(compressed(x), streamed)
    rates = report.bits_per_value
    assert rates["huffman"] < rates["stream"] < 1.02 * rates["huffman"]
    with torch.no_grad():
        assert relative_error(streamed, first_tensor(model(x))) < 0.5


@pytest.mark.parametrize("kind", [TinyResidual, TinyDepthwise, TinyOdd])
@pytest.mark.parametrize("block", ["1,1,C", "2,2,C", "1,1,4", "4,3,2"])
def test_unusual_networks_and_blocks_fold_exactly(kind, block):
    model, x = tiny(kind), images()
    compressed = fmtc.compress(model, x, float_preset(), block=block, mode="float")
    with torch.no_grad():
        expected = first_tensor(model(x))
    assert relative_error(first_tensor(compressed(x)), expected) < 1e-4


def groups_of(model, size=64, points="all"):
    network = capture(model, torch.randn(2, 3, size, size))
    return {g.name: g for g in find_groups(network, points=points)}


@pytest.mark.parametrize("name,points", [("resnet18", 20), ("efficientnet_b0", 49)])
def test_the_papers_points_are_convolutions_alone(name, points):
    groups = groups_of(torchvision_network(name), points="paper")
    assert len(groups) == points and {g.kind for g in groups.values()} == {"convolution"}


def test_resnet_points_are_relu_inputs_and_shortcuts():
    groups = groups_of(torchvision_network("resnet18"))
    alone = [n for n, g in groups.items() if next(iter(g.output.users)).name.startswith("add")]
    # conv2 of a block with a shortcut runs before it, so the add belongs to the shortcut.
    assert alone == [f"layer{i}.0.conv2" for i in (2, 3, 4)]
    assert all(len(groups[f"layer{i}.0.downsample.0"].adds) == 1 for i in (2, 3, 4))
    assert all(len(groups[f"layer{i}.1.conv2"].adds) == 1 for i in (1, 2, 3, 4))
    assert groups.pop("maxpool.max_pool2d").kind == "pool"
    assert all(g.foldable for g in groups.values())


def test_depthwise_is_coded_after_its_activation_and_folds_into_project():
    groups = groups_of(torchvision_network("mobilenet_v2"))
    depthwise = groups["features.3.conv.1.0"]
    assert activation_limits(depthwise.output) == (0, 6)
    assert [c.target for c in depthwise.consumers] == ["features.3.conv.2"]
    assert not depthwise.foldable
    expand = groups["features.3.conv.0.0"]
    assert expand.foldable and expand.output is expand.scales[-1] and not expand.consumers
    assert groups["features.3.conv.2"].adds  # the linear bottleneck's residual


def test_a_grouped_convolution_before_a_grouped_one_is_coded_before_the_activation():
    groups = groups_of(tiny(TinyDepthwise), size=12)
    assert groups["grouped"].output is groups["grouped"].maker
    assert groups["first.3"].output is not groups["first.3"].scales[-1]


def test_squeeze_excite_and_heads_are_not_coded():
    names = groups_of(torchvision_network("efficientnet_b0"))
    assert not [n for n in names if ".fc1" in n or ".fc2" in n]
    assert "features.1.0.block.0.0" in names


def test_module_called_twice_is_two_points():
    groups = groups_of(tiny(TinyOdd), size=12)
    assert {"twice", "twice@2"} <= set(groups)
    assert len(groups["twice@2"].adds) == 1


class Choosing(nn.Module):
    """Control flow that depends on tensor values."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.conv1(x)
        return x if x.abs().sum() < 0 else x + self.conv2(x.relu())


def test_what_cannot_be_captured_is_compressed_in_parts(capfd):
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(3, 4, 1), Choosing(), nn.Conv2d(4, 4, 1)).eval()
    outer = nn.Sequential(nn.Conv2d(3, 3, 1), Choosing(), nn.Conv2d(4, 4, 1))[1].eval()
    parts = {inner: ["0", "1.conv1", "1.conv2", "2"], outer: ["conv1", "conv2"]}
    for model, data in ((inner, images()), (outer, torch.randn(4, 4, 9, 9))):
        with pytest.warns(
            UserWarning, match="cannot capture the model.*: " + ", ".join(parts[model])
        ):
            cm = fmtc.compress(model, data, "paper", bits=9)
        assert list(cm.points) == parts[model]
        assert capfd.readouterr() == ("", "")  # torch would show its graph
        point = fmtc.evaluate(cm, data)
        assert point["snr_db"] > 35 and point["bits_per_value"]["stream"] > 0
        with torch.no_grad():
            cm.mode = "float"
            assert relative_error(cm(data), model(data)) < 0.05


@pytest.mark.filterwarnings("ignore:.*cannot capture")
def test_parts_of_all_kinds():
    """Nested, called twice, in Python that changes its input; BN and activation are in a part."""

    class Scaling(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.relu = Choosing(), nn.ReLU(inplace=True)

        def forward(self, x):
            x.mul_(0.5)
            return self.inner(self.relu(x)) if x.sum() > -1e9 else x

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
            self.scaling = Scaling()

        def forward(self, x):
            return self.scaling(3 * self.scaling(self.first(x.sub_(1))))

    torch.manual_seed(0)
    model, x = randomize_norms(Twice()), images()
    before = x.clone()
    compressed = fmtc.compress(model, x, "paper", bits=10)
    assert list(compressed.points) == ["first.0", "scaling.inner.conv1", "scaling.inner.conv2"]
    compressed(x)
    assert torch.equal(x, before)
    reference = model(before.clone())
    assert relative_error(compressed(x), reference) < 0.02
    first, *others = (layer["values"] for layer in compressed.report().layers)
    assert others == [2 * first, 2 * first]  # called twice


def test_in_place_activations_keep_their_meaning():
    class PreActivation(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.conv = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1)
            self.relu = nn.ReLU(inplace=True)

        def forward(self, x):
            x = self.stem(x)
            y = self.conv(self.relu(x)) + x  # x is rectified by now
            y.sigmoid_()
            return y

    torch.manual_seed(0)
    model = PreActivation().eval()
    compressed = fmtc.compress(model, images(), float_preset(), mode="float")
    with torch.no_grad():
        assert relative_error(compressed(images()), model(images())) < 1e-5


def test_layers_with_a_forward_of_their_own_are_not_folded():
    class NormAndRelu(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    torch.manual_seed(0)
    model = randomize_norms(nn.Sequential(nn.Conv2d(3, 4, 1), NormAndRelu(4), nn.Conv2d(4, 4, 1)))
    compressed = fmtc.compress(model, images(), float_preset(), mode="float")
    with torch.no_grad():
        assert relative_error(compressed(images()), model(images())) < 1e-5


def test_names_that_differ_only_in_dots_stay_apart():
    class Names(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.a_0 = nn.Sequential(nn.Conv2d(3, 4, 1)), nn.Conv2d(4, 3, 1)

        def forward(self, x):
            return self.a_0(self.a(x).relu())

    torch.manual_seed(0)
    compressed = fmtc.compress(Names().eval(), images(), "paper", bits=10)
    assert list(compressed.points) == ["a.0", "a_0"]


@pytest.mark.filterwarnings("ignore:.*cannot capture")
def test_layers_of_parts_can_be_left_out_saved_and_loaded(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), Choosing(), nn.Conv2d(4, 4, 1)).eval()
    compressed = fmtc.compress(model, images(), "paper", exclude=["1.conv2"])
    assert compressed.codecs["1.conv2"].bits == 8
    compressed.save(tmp_path / "codec.safetensors")
    loaded = fmtc.load(tmp_path / "codec.safetensors", model)
    assert torch.equal(loaded(images(seed=1)), compressed(images(seed=1)))


@pytest.mark.filterwarnings("ignore:.*cannot capture")
def test_calibration_of_parts_is_sequential():
    torch.manual_seed(0)
    model, x = Choosing().eval(), torch.randn(4, 4, 9, 9)
    codecs = fmtc.compress(model, x, "paper", bits=2).codecs
    with torch.no_grad():
        decoded = codecs["conv1"].simulate(model.conv1(x))
        seen = model.conv2(decoded.relu())
    torch.testing.assert_close(
        codecs["conv2"].transform.means[0], seen.double().mean((0, 2, 3)), rtol=1e-4, atol=1e-6
    )


def test_graph_that_is_not_the_model_is_refused():
    class Suspicious(nn.Module):
        """Takes another way when it is captured, as a check of tensor values by hand would."""

        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 1)

        def forward(self, x):
            return self.conv(x) * (2 if torch.compiler.is_compiling() else 1)

    model = Suspicious().eval()
    with pytest.raises(fmtc.TraceError, match="does not compute"):
        fmtc.compress(model, images(), "paper")


def test_network_without_maps_or_tokens_is_refused():
    with pytest.raises(ValueError, match="writes no tensor that could be coded"):
        fmtc.compress(nn.Sequential(nn.Flatten(), nn.Linear(432, 4)), images(), "paper")


def random_conv(**options):
    torch.manual_seed(1)
    return nn.Conv2d(4, 6, 3, padding=1, **options)


@pytest.mark.parametrize("options", [{}, {"bias": False}, {"groups": 2}, {"stride": 2}])
@pytest.mark.parametrize("outputs", [1, 6])
def test_fold_scale(options, outputs):
    conv, x = random_conv(**options), torch.randn(2, 4, 7, 7)
    scale, shift = torch.randn(outputs), torch.randn(outputs)
    expected = conv(x) * scale[:, None, None] + shift[:, None, None]
    torch.testing.assert_close(fold_scale(conv, scale, shift)(x), expected)


def test_fold_output_and_input():
    conv, x = random_conv(), torch.randn(2, 4, 7, 7)
    matrix, offset = torch.randn(3, 6), torch.randn(3)
    expected = torch.einsum("ko,nohw->nkhw", matrix, conv(x)) + offset[:, None, None]
    torch.testing.assert_close(fold_output(conv, matrix, offset)(x), expected, rtol=1e-4, atol=1e-5)
    conv = nn.Conv2d(4, 6, 3)  # unpadded
    matrix, offset = torch.randn(4, 2), torch.randn(4)
    y = torch.randn(2, 2, 7, 7)
    expected = conv(torch.einsum("ck,nkhw->nchw", matrix, y) + offset[:, None, None])
    torch.testing.assert_close(fold_input(conv, matrix, offset)(y), expected, rtol=1e-4, atol=1e-5)


def test_conv_like_keeps_geometry():
    conv = nn.Conv2d(4, 6, (3, 5), stride=(1, 2), padding="valid", dilation=(2, 1), bias=False)
    made = conv_like(conv, conv.weight, None)
    x = torch.randn(1, 4, 9, 11)
    assert torch.equal(made(x), conv(x)) and made.bias is None


class Activations(nn.Module):
    def __init__(self):
        super().__init__()
        kinds = nn.ReLU(), nn.ReLU6(), nn.Hardtanh(-2, 3), nn.LeakyReLU(), nn.Hardswish()
        self.kinds = nn.ModuleList(kinds)

    def forward(self, x):
        of_modules = [kind(x) for kind in self.kinds]
        written = x * torch.sigmoid(x), x.clone().clamp_(0, 6), x.clamp(max=2), x.clamp(x - 1)
        return of_modules, F.relu(x), torch.relu(x), F.relu6(x), x.relu(), F.silu(x), written


def test_activations_that_only_limit_values():
    network = capture(Activations(), torch.randn(2, 3))
    outputs = pytree.tree_leaves(network.graph.find_nodes(op="output")[0].args[0])
    relu, relu6, other = (0.0, None), (0.0, 6.0), None
    expected = [
        relu, relu6, (-2.0, 3.0), other, other, relu, relu, relu6, relu, other,
        other, relu6, (None, 2.0), other,
    ]  # fmt: skip
    assert [activation_limits(node) for node in outputs] == expected
    assert all(is_activation(node) for node in outputs)
