"""Whatever a model's Python does, its graph has one form and computes what the model computes."""

import copy
import pickle
from collections import OrderedDict, namedtuple

import pytest
import torch
from networks import TinyDepthwise, TinyOdd, TinyResidual, images, randomize_norms, tiny
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

import fmtc
from fmtc.network.capture import capture, fits
from fmtc.network.groups import find_groups
from fmtc.network.parts import captured


def conv(ins=3, outs=4, size=3, **options):
    return nn.Conv2d(ins, outs, size, padding=size // 2, **options)


class Block(nn.Module):
    """conv - BN - ReLU, a convolution with a residual; others write its ``forward`` anew."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm, self.conv2 = conv(), nn.BatchNorm2d(4), conv(4, 4)
        self.relu = nn.ReLU()

    def forward(self, x):
        y = self.relu(self.norm(self.conv1(x)))
        return self.conv2(y) + y


class ByKeyword(Block):
    def forward(self, x):
        y = F.relu(input=self.norm(input=self.conv1(input=x)))
        return torch.add(other=y, input=self.conv2(input=y))


class InPlace(Block):
    def forward(self, x):
        y = self.norm(self.conv1(x)).clamp_(0)
        z = self.conv2(y)
        z += y
        return z


class Functional(Block):
    def forward(self, x):
        y = F.conv2d(x, self.conv1.weight, self.conv1.bias, padding="same")
        n = self.norm
        y = F.batch_norm(y, n.running_mean, n.running_var, n.weight, n.bias).relu()
        return y + F.conv2d(y, bias=self.conv2.bias, weight=self.conv2.weight, padding=1)


class Checking(Block):
    def forward(self, x, *more, skip=None, features=False):
        assert x.shape[1] == 3 and not more
        if x.shape[-1] % 4:
            raise ValueError("a multiple of 4")
        y = Block.forward(self, *[x])
        if skip is not None:
            y = y + skip
        parts = list(y.chunk(2, 1))
        return torch.cat(parts, 1) if not features else parts


class NormOfItsOwn(Block):
    class Norm(nn.BatchNorm2d):
        def forward(self, x):
            return super().forward(x).relu()

    def __init__(self):
        super().__init__()
        self.norm = self.Norm(4)

    def forward(self, x):
        y = self.norm(self.conv1(x))
        return self.conv2(y) + y


class Parametrized(Block):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.utils.parametrizations.weight_norm(self.conv1)


WRITTEN = [Block, ByKeyword, InPlace, Functional, Checking, NormOfItsOwn, Parametrized]


def written(kind):
    torch.manual_seed(0)
    model = randomize_norms(kind())
    model.load_state_dict(randomize_norms(Block()).state_dict(), strict=False)
    return model


@pytest.mark.parametrize("kind", WRITTEN)
def test_one_form_however_it_is_written(kind):
    """The same groups with BN, residual and activation, and the same values."""
    model, x = written(kind), images(2)
    network = capture(model, x)
    first, second = find_groups(network)
    assert (first.name, second.name) == ("conv1", "conv2")
    assert first.scales and first.foldable and len(first.sides) == 2
    assert len(second.adds) == 1 and second.foldable
    other = images(5, seed=1)
    with torch.no_grad():
        torch.testing.assert_close(network(other), model(other), rtol=1e-5, atol=1e-6)


def test_it_is_on_the_models_tensors():
    model = tiny(TinyResidual)
    held = {p.data_ptr() for p in model.state_dict().values() if p.dim()}
    network = capture(model, images(2))
    assert {p.data_ptr() for p in network.state_dict().values()} == held
    assert not any(p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("kind", [TinyResidual, TinyDepthwise, TinyOdd])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))])
def test_copies_compute_the_same(kind, copied):
    network, x = capture(tiny(kind), images(2)), images(3, seed=1)
    made = zip(*map(pytree.tree_leaves, (copied(network)(x), network(x))), strict=True)
    assert all(torch.equal(a, b) for a, b in made)


Pair = namedtuple("Pair", "first second")
OUTPUTS = {
    "tuple": lambda x, y: (x, y),
    "nested": lambda x, y: {"a": [x, (y,)], "b": None},
    "namedtuple": Pair,
    "ordered": lambda x, y: OrderedDict(b=x, a=y),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_keep_their_form(name):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = conv(), conv()

        def forward(self, x):
            return OUTPUTS[name](self.a(x), self.b(x))

    model, x = Two().eval(), images(2)
    expected, got = model(x), capture(model, x)(x)
    assert type(got) is type(expected)
    leaves, spec = pytree.tree_flatten(got)
    wanted, wanted_spec = pytree.tree_flatten(expected)
    assert spec == wanted_spec
    for a, b in zip(leaves, wanted, strict=True):
        assert a is b is None or torch.allclose(a, b, atol=1e-6)


def test_inputs_of_several_kinds():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = conv()

        def forward(self, x, pair, scale=2, *, mask=None):
            y = self.conv(x + pair["a"] * scale) + pair["b"][0]
            return y if mask is None else y * mask

    torch.manual_seed(0)
    model, x = Several().eval(), images(2)
    pair, mask = {"a": x + 1, "b": [torch.randn(2, 4, 12, 12)]}, torch.rand(2, 1, 12, 12)
    network = capture(model, x, pair, mask=mask)
    twice = pytree.tree_map(lambda t: torch.cat([t, t + 1]), (x, pair, mask))
    got = network(twice[0], twice[1], mask=twice[2])
    torch.testing.assert_close(got, model(twice[0], twice[1], mask=twice[2]))


def test_what_the_input_does_not_matter_for_is_calculated_once():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.scale = (
                nn.Parameter(torch.randn(4, 3, 3, 3)),
                nn.Parameter(torch.ones(4)),
            )

        def forward(self, x):
            mask = x.new_zeros((12, 12))
            mask[3:, 3:] = 1
            weight = self.weight / self.weight.flatten(1).norm(dim=1)[:, None, None, None]
            return F.conv2d(x, weight * self.scale[:, None, None, None], padding=1) * mask

    torch.manual_seed(0)
    model, x = Constant().eval(), images(2)
    network = capture(model, x)
    operators = [n for n in network.graph.nodes if n.op == "call_function"]
    assert [n.target for n in operators] == [torch.ops.aten.mul.Tensor]
    called = network.graph.find_nodes(op="call_module")
    assert [type(network.get_submodule(node.target)) for node in called] == [nn.Conv2d]
    with torch.no_grad():
        torch.testing.assert_close(network(x), model(x))


def test_sizes():
    class Sized(Block):
        def forward(self, x):
            y = super().forward(x)
            return F.interpolate(y, size=x.shape[2:]) if x.shape[2] > 4 else y

    model = written(Sized)
    fixed = capture(model, images(2))
    free = capture(model, images(2), free_sizes=True)
    assert fits(fixed, images(7)) and not fits(fixed, images(2, size=15))
    assert fits(free, images(7, size=15)) and not fits(free, images(2, size=3))
    other = images(3, size=15)
    with torch.no_grad():
        torch.testing.assert_close(free(other), model(other))


class NeedsMultiples(nn.Module):
    """Sizes decide what it computes."""

    def __init__(self):
        super().__init__()
        self.conv = conv()

    def forward(self, x):
        y = self.conv(x)
        return y if x.shape[2] % 2 else 2 * y


def test_images_of_other_sizes(recwarn):
    torch.manual_seed(0)
    model = NeedsMultiples().eval()
    preset = fmtc.BitsPreset(name="exact", transform_bits=None, drop_components=False)
    compressed = fmtc.compress(model, images(4), preset, mode="float")
    points = dict(compressed.points)
    for size in (12, 15, 18, 21, 12):
        x = images(2, size=size, seed=size)
        with torch.no_grad():
            torch.testing.assert_close(compressed(x), model(x), rtol=1e-3, atol=1e-4)
    assert compressed.points["conv"] is points["conv"]  # which counts on
    again, x = pickle.loads(pickle.dumps(compressed)), images(2, size=24)
    with torch.no_grad():
        torch.testing.assert_close(again(x), model(x), rtol=1e-3, atol=1e-4)
    compressed.mode = "stream"
    compressed.reset_statistics()
    for size in (12, 15):
        compressed(images(2, size=size))
    [layer] = compressed.report().layers
    assert layer["values"] == 2 * 4 * (12**2 + 15**2) and layer["bits_per_value"]["stream"] > 0


def test_images_are_never_changed():
    class Normalizing(Block):
        def forward(self, x):
            return super().forward(x.sub_(0.1).div_(0.5))

    model, x = written(Normalizing), images(4)
    before = x.clone()
    compressed = fmtc.compress(model, x, "paper", bits=10)
    point = fmtc.evaluate(compressed, x)
    fmtc.evaluate(model, x)
    assert torch.equal(x, before) and point["snr_db"] > 30


def test_in_place_forms_cost_nothing():
    """A limit behind a convolution is applied by the coding point, in place or not."""
    results = []
    for kind in (Block, InPlace):
        compressed = fmtc.compress(written(kind), images(8), "paper", bits=6)
        results.append(
            (compressed(images(2, seed=1)), compressed.report().bits_per_value["stream"])
        )
    assert torch.equal(results[0][0], results[1][0]) and results[0][1] == results[1][1]


class Remembers(nn.Module):
    """Makes its grid anew where the images are not as many and as large as in its last call."""

    def __init__(self):
        super().__init__()
        self.conv, self.shape = nn.Conv2d(3, 4, 3), None

    def forward(self, x):
        if self.shape != x.shape:
            self.shape = x.shape
            self.grid = torch.arange(x.shape[-1] - 2).to(x)
        return self.conv(x) + self.grid


def test_a_number_of_images_that_the_model_remembers():
    model, x = Remembers().eval(), images(4)
    with torch.no_grad():
        expected = model(x[:2])
        network, parts = captured(model, x[:2])
        assert parts == [""] and torch.equal(network(x[:2]), expected)
        assert torch.equal(network(x), model(x))


class SharedWeight(nn.Module):
    """Two layers with one weight, and statistics, but a bias of their own."""

    def __init__(self, kind: str):
        super().__init__()
        self.first = conv(3, 8)
        make = {"conv": lambda: nn.Conv2d(8, 8, 1), "norm": lambda: nn.BatchNorm2d(8)}[kind]
        self.one, self.two, self.last = make(), make(), nn.Linear(8, 10)
        self.two.weight = self.one.weight
        if kind == "norm":
            self.two.running_mean = self.one.running_mean
            self.two.running_var = self.one.running_var
        with torch.no_grad():
            self.two.bias += 0.5

    def forward(self, x):
        y = self.two(self.one(self.first(x).relu()).relu()).relu()
        return self.last(y.mean((2, 3)))


@pytest.mark.parametrize("kind", ["conv", "norm"])
def test_layers_that_share_a_weight_alone(kind):
    torch.manual_seed(0)
    model, x = SharedWeight(kind).eval(), images(16)
    torch.testing.assert_close(capture(model, x)(x), model(x))
    compressed = fmtc.compress(model, x, target=fmtc.Step(1e-4))
    torch.testing.assert_close(compressed(x), model(x), rtol=0, atol=1e-3)


class SharedFunctional(nn.Module):
    """The same, of parameters that no layer owns; the last has another stride."""

    def __init__(self):
        super().__init__()
        self.first, self.last = conv(3, 8), nn.Linear(8, 10)
        self.weight = nn.Parameter(torch.randn(8, 8, 1, 1) / 3)
        self.one, self.two = nn.Parameter(torch.randn(8)), nn.Parameter(torch.randn(8))

    def forward(self, x):
        y = F.conv2d(self.first(x).relu(), self.weight, self.one).relu()
        y = F.conv2d(y, self.weight, self.two).relu()
        return self.last(F.conv2d(y, self.weight, self.one, stride=2).mean((2, 3)))


def test_functions_that_share_a_weight_alone():
    torch.manual_seed(0)
    model, x = SharedFunctional().eval(), images(16)
    torch.testing.assert_close(capture(model, x)(x), model(x))
    compressed = fmtc.compress(model, x, target=fmtc.Step(1e-4))
    torch.testing.assert_close(compressed(x), model(x), rtol=0, atol=1e-3)
