"""Networks cut in two: what crosses, that it is all, and that the halves do what the whole does."""

import copy

import pytest
import torch
import torch.nn.functional as F
from networks import TinyDepthwise, TinyParts, TinyResidual, images, tiny, torchvision_network
from torch import nn

import fmtc
from fmtc.network.cut import crossing, groups_at, head_of, tail_of
from fmtc.network.prepared import Prepared

STEP = fmtc.Step(0.004)


def split(model, at, images, target=STEP, **options):
    return fmtc.split(model, at, images, target, **options)


class Pyramid(nn.Module):
    """Two levels, of which a head makes two outputs; one is upsampled to the input's size."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.level1 = nn.Sequential(nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.ReLU())
        self.level2 = nn.Sequential(nn.Conv2d(6, 8, 3, stride=2, padding=1), nn.ReLU())
        self.top = nn.Conv2d(8, 5, 1)
        self.side = nn.Conv2d(6, 5, 1)

    def forward(self, x):
        one = self.level1(self.stem(x).relu())
        two = self.top(self.level2(one))
        mixed = self.side(one) + F.interpolate(two, scale_factor=2.0)
        return {"coarse": two, "fine": F.interpolate(mixed, x.shape[2:], mode="bilinear")}


class Tokens(nn.Module):
    """A map that becomes tokens [N, L, C], mixed by linear layers."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, stride=4)
        self.up, self.down, self.out = nn.Linear(8, 16), nn.Linear(16, 8), nn.Linear(8, 5)

    def forward(self, x):
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        return self.out((tokens + self.down(self.up(tokens).relu())).mean(1))


def of(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(x)


@pytest.fixture(scope="module")
def parts():
    return split(tiny(TinyDepthwise), "first.3", images(24))


def test_tail_gives_what_the_whole_network_gives(parts):
    x = images(3, seed=5)
    data = parts.head(x)
    assert isinstance(data, bytes) and fmtc.Bundle.of(data).names == ("first.3",)
    whole = parts.compressed
    for whole.mode in ("stream", "simulate"):
        assert torch.equal(parts.tail(data), whole(x))
    assert torch.equal(parts.tail(fmtc.Bundle.of(data)), whole(x))


def test_nothing_else_is_quantised():
    """Behind a cut that is coded finely, the outputs are those of the network."""
    model, x = tiny(TinyDepthwise), images(3, seed=5)
    parts = split(model, "first.3", images(24), fmtc.Step(2**-14))
    made = parts.tail(parts.head(x))
    assert torch.allclose(made, of(model, x), atol=2e-4 * float(made.abs().max()))
    assert list(parts.compressed.codecs) == ["first.3"] == list(parts.at)


def test_images_one_by_one(parts):
    x = images(4, seed=7)
    bundles = [fmtc.Bundle.of(parts.head(image[None])) for image in x]
    streams = {"first.3": [bundle[0, "first.3"] for bundle in bundles]}
    assert bytes(fmtc.Bundle(streams)) == parts.head(x)


def test_no_images(parts):
    made = parts.tail(parts.head(images(0)))
    assert made.shape == (0, *of(parts.compressed, images(1)).shape[1:])


@pytest.mark.parametrize("size", [8, 16, 21])
def test_images_of_another_size(size):
    parts = split(tiny(TinyResidual), ["conv2", "shortcut"], images(24))
    x = images(2, seed=3, size=size)
    data = parts.head(x)
    with pytest.raises(fmtc.StreamError, match=r"conv2: a tensor of \[12, .*tail\(data, size="):
        parts.tail(data)
    assert torch.equal(parts.tail(data, size=(size, size)), parts.compressed(x))
    again = images(2, seed=4)  # those of calibration are still taken
    assert torch.equal(parts.tail(parts.head(again)), parts.compressed(again))


@pytest.mark.parametrize("at", [["level1", "level2"], ["level1", "top"], "level1"])
def test_several_tensors_and_outputs(at):
    """The second is made of the first, as it is decoded."""
    model = Pyramid().eval()
    parts = split(model, at, images(24, size=16))
    x = images(3, seed=2, size=16)
    made, whole, plain = parts.tail(parts.head(x)), parts.compressed(x), of(model, x)
    for name in ("coarse", "fine"):
        assert torch.equal(made[name], whole[name])
        assert torch.nn.functional.mse_loss(made[name], plain[name]) < 0.05 * plain[name].var()


def test_tokens():
    model = Tokens().eval()
    parts = split(model, "patch", images(64, size=16))
    x = images(3, seed=2, size=16)
    assert torch.equal(parts.tail(parts.head(x)), parts.compressed(x))
    assert parts.report().tensors[0]["shape"] == [8, 4, 4]
    with pytest.raises(ValueError, match="up: no cut, as behind it the network also reads patch"):
        split(model, "up", images(64, size=16), fmtc.Step(0.01))


@pytest.mark.parametrize(
    "at, message",
    [
        ("conv2", "conv2: no cut, as behind it the network also reads shortcut; name these, too"),
        (["conv1", "conv2"], "no cut, as behind it the network also reads shortcut"),
        ("nothing", "no layer or module is called 'nothing'; the layers are: stem, conv1"),
        ([], "at least one layer"),
        ("classifier", "has no coding point"),
    ],
)
def test_what_is_no_cut(at, message):
    with pytest.raises(ValueError, match=message):
        split(tiny(), at, images(24))


def test_presets_with_bits_have_them_and_their_own_default():
    six = split(tiny(), "stem", images(24), None, config="paper", bits=6)
    assert six.compressed.setting == {"kind": "b", "value": 6}
    default = split(tiny(), "stem", images(24), None, config="paper")
    assert default.compressed.setting == {"kind": "b", "value": 8}
    with pytest.raises(ValueError, match="bits or a target, not both"):
        split(tiny(), "stem", images(24), config="paper", bits=6)


def test_a_transform_that_is_folded_into_the_tail():
    """The tail's convolution reads components, of which there are fewer than channels."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(24, 8, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).eval()  # fmt: skip
    parts = split(model, "0", images(48), fmtc.SNR(15))
    [point] = parts.graphs(()).points.values()
    assert point.inverse_folded and point.codec.components < 24
    x = images(3, seed=4)
    assert torch.equal(parts.tail(parts.head(x)), parts.compressed(x))
    with pytest.raises(fmtc.StreamError, match="where the tail takes"):
        parts.tail(parts.head(images(1, size=20)))


def test_what_a_header_names_is_not_decoded(parts, monkeypatch):
    """A right stream of a huge image is refused before anything is allocated for it."""
    [codec] = parts.compressed.codecs.values()
    data = bytes(fmtc.Bundle({"first.3": codec.streams(torch.zeros(1, 12, 500, 500))}))
    monkeypatch.setattr(type(codec), "levels_of", lambda *_: pytest.fail("decoded"))
    with pytest.raises(fmtc.StreamError, match=r"a tensor of \[4, 500, 500\] where"):
        parts.tail(data)


def test_a_network_in_parts_is_refused():
    with pytest.raises(ValueError, match="captured in parts cannot be split"):
        split(tiny(TinyParts), "one", images(24))


def test_modules_are_found_by_their_output():
    model = torchvision_network("mobilenet_v2")
    groups = Prepared.of(model, torch.randn(2, 3, 32, 32)).groups
    found = {name: groups_at(groups, [name])[0].name for name in ("features.2", "features.3")}
    assert found == {"features.2": "features.2.conv.2", "features.3": "features.3.conv.2"}
    assert groups_at(groups, ["features.2.conv.0"])[0].name == "features.2.conv.0.0"
    names = [g.name for g in groups_at(groups, ["features.3", "features.2", "features.3.conv.2"])]
    assert names == ["features.2.conv.2", "features.3.conv.2"]  # in their order, each once


def test_halves_of_a_graph_are_the_whole():
    """head and tail around any cut of one tensor, nothing coded."""
    model = torchvision_network("mobilenet_v2")
    x = torch.randn(2, 3, 32, 32)
    prepared = Prepared.of(model, x)
    graph, cuts = prepared.graph(""), 0
    for group in prepared.groups:
        if crossing(graph, [group.output]):
            continue
        [value] = head_of(graph, [group.output])(x)
        made = tail_of(graph, [group.output])(value, x.shape)
        assert torch.allclose(made, of(model, x), rtol=1e-4, atol=1e-4)
        cuts += 1
    assert cuts > 17 + 7  # behind each block, and inside of those that add nothing


def test_damaged_and_foreign_bytes(parts):
    x = images(2, seed=5)
    data = parts.head(x)
    for i in range(0, len(data), 5):
        with pytest.raises(fmtc.StreamError):
            parts.tail(data[:i])
        with pytest.raises(fmtc.StreamError):
            parts.tail(data[:i] + bytes([data[i] ^ 1]) + data[i + 1 :])
    other = split(tiny(TinyDepthwise), "first.6", images(24))
    with pytest.raises(fmtc.StreamError, match="holds first.6, and this tail takes first.3"):
        parts.tail(other.head(x))
    finer = split(tiny(TinyDepthwise), "first.3", images(24), fmtc.Step(0.001))
    with pytest.raises(fmtc.StreamError, match="stream of image 0"):
        parts.tail(finer.head(x))
    with pytest.raises(fmtc.StreamError, match="max_values"):
        parts.tail(data, max_values=100)


def test_wrong_inputs(parts):
    with pytest.raises(ValueError, match="NaN or Inf"):
        parts.head(torch.full((1, 3, 12, 12), torch.nan))
    with pytest.raises(ValueError, match="batch of inputs"):
        parts.head(images(1)[0])


def test_saved_and_loaded(parts, tmp_path):
    path, x = tmp_path / "parts.safetensors", images(3, seed=5)
    parts.save(path)
    model = tiny(TinyDepthwise)
    head, tail = fmtc.load_split(path, model), fmtc.load_split(path, model)
    data = head.head(x)
    assert data == parts.head(x) and torch.equal(tail.tail(data), parts.tail(data))
    whole = fmtc.compress(model, images(12), target=fmtc.Step(0.01))
    whole.save(path)
    with pytest.raises(fmtc.StorageError, match="is not split: fmtc.load reads it"):
        fmtc.load_split(path, model)


def test_refits_the_tail_alone(parts):
    refitted = parts.compressed.calibrated().refitted
    assert refitted and "stem" not in refitted and "first.0" not in refitted
    plain = split(tiny(TinyDepthwise), "first.3", images(24), compensate=False)
    x = images(16, seed=11)
    errors = [
        float((p.tail(p.head(x)) - of(tiny(TinyDepthwise), x)).square().sum())
        for p in (parts, plain)
    ]
    assert errors[0] < errors[1]


def test_report(parts):
    parts.compressed.reset_statistics()
    before = parts.report()
    assert not before.streams and "cross-entropy of the calibration images" in str(before)
    x = images(8, seed=6)
    data = parts.head(x)
    report = parts.report()
    sent = sum(map(len, fmtc.Bundle.of(data)["first.3"]))
    assert report.streams and report.kib == pytest.approx(sent / 8 / 1024)
    assert report.tensors[0]["shape"] == [12, 12, 12]
    assert 0 < report.multiply_adds["head"] < report.multiply_adds["all"]
    assert "real streams" in str(report) and "multiply-adds" in str(report)


def test_copied_and_moved(parts):
    x = images(2, seed=5)
    halved = split(tiny(TinyDepthwise), "first.3", images(24)).to(torch.float64)
    made = halved.tail(halved.head(x.double()))
    assert made.dtype == torch.float64
    assert torch.allclose(made.float(), parts.tail(parts.head(x)), rtol=0.1, atol=0.05)
    copied = copy.deepcopy(parts)
    assert copied.head(x) == parts.head(x)
