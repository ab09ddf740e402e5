"""Points behind 1x1 convolutions of levels: coded once, counted as often as they are written."""

import copy
from dataclasses import replace

import pytest
import torch
from networks import TinyDepthwise, first_tensor, images, passing, tiny
from torch import nn

import fmtc
from fmtc.codec.archive import Archive
from fmtc.deploy.streaming import Streaming
from fmtc.errors import StorageError
from fmtc.model.assemble import Back
from fmtc.model.model import CompressedModel
from fmtc.model.points import ReusingPoint
from fmtc.targets import Step

# By the layer whose levels they are: first.6 has a residual, too, second.0 reads what first.6 gave.
REUSED = {"first.6": "first.3", "second.0": "first.6"}


class Tokens(nn.Module):
    """Linear layers one behind the other, on tokens."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, stride=4)
        self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 9), nn.Linear(9, 5)
        for layer in (self.a, self.b):
            nn.init.orthogonal_(layer.weight)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return self.c(self.b(self.a(x)).relu()).mean(1)


@pytest.fixture(scope="module")
def compressed():
    made = fmtc.compress(tiny(TinyDepthwise), images(24), target=Step(0.03), micro_batch=4)
    assert made.calibrated().reused == REUSED
    return made


def reusing(compressed):
    return {name: p for name, p in compressed.points.items() if isinstance(p, ReusingPoint)}


def one_by_one(compressed):
    """The same network, in which each point codes for itself."""
    calibrated = replace(compressed.calibrated(), reused={})
    calibrated.weights = {n: w for n, w in calibrated.weights.items() if n not in REUSED}
    return CompressedModel(compressed.reference, calibrated)


@pytest.mark.parametrize("size", [12, 17, 5])
def test_streams_are_those_of_the_source_and_decode_to_what_leaves(compressed, size):
    compressed = copy.deepcopy(compressed)
    seen = passing(compressed, images(3, size=18, seed=1)[..., :size, :size])
    names = {id(point): name for name, point in compressed.points.items()}
    assert reusing(compressed).keys() == REUSED.keys()
    for name, point in reusing(compressed).items():
        assert names[id(point.source)] == REUSED[name]
        x, y = seen[name]
        streams = point.encode(x)
        assert streams == point.source.encode(seen[REUSED[name]][0])
        assert torch.equal(point.decode(streams, x, 2**20), y)


def test_report_counts_what_each_point_would_code_for_itself():
    model = tiny(TinyDepthwise)
    made = fmtc.compress(model, images(24), target=Step(0.03), micro_batch=4, compensate=False)
    alone = one_by_one(made)
    assert not reusing(alone)
    x, reports = images(5, seed=3), []
    for mode in ("stream", "simulate"):
        for network in (made, alone):
            network.mode = mode
            network.reset_statistics()
            y = network(x)
            reports.append((network.report().to_dict(), y))
        (ours, y), (theirs, expected) = reports[-2:]
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
        assert ours.pop("multiply_adds")["compressed"] < theirs.pop("multiply_adds")["compressed"]
        assert ours == theirs
    made.reset_statistics()
    assert all(point.counted is None for point in made.points.values())


def test_report_names_them(compressed):
    report = compressed.report()
    assert report.reused == REUSED
    [line] = [line for line in str(report).splitlines() if "coded once" in line]
    assert line.startswith("2 layer(s)") and "first.6 those of first.3, and others" in line
    alone = one_by_one(compressed).report()
    assert not alone.reused and "coded once" not in str(alone)


def test_what_clamps_is_counted_at_the_source():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 9, 1), nn.ReLU(), nn.Conv2d(9, 4, 3)
    nn.init.orthogonal_(layers[1].weight)
    model = nn.Sequential(*layers)
    made = fmtc.compress(model, images(24), target=Step(0.01), micro_batch=4)
    assert made.calibrated().reused == {"1": "0"}
    made.reset_statistics()
    made(1e9 * images(2, seed=2))
    source, of = made.points["0"].counted, made.points["1"].counted
    assert source.clamped > 0 and (of.clamped, of.nans) == (0, 0)
    assert of.stream_bytes == source.stream_bytes
    assert (source.shape, of.shape) == ((6, 10, 10), (9, 10, 10))
    assert (source.values, of.values) == (2 * 600, 2 * 900)
    assert torch.equal(of.histogram, source.histogram)


def test_nothing_is_computed_twice(compressed):
    called = {str(node.target) for node in compressed.network.graph.nodes}
    for name in REUSED:
        assert f"fmtc_folded.{name}" not in called
        assert f"fmtc_folded.{name}.weight" not in compressed.state_dict()
    # The residual around the second block is a product of what is still transformed.
    assert not any(isinstance(module, Back) for module in compressed.network.modules())
    residual = compressed.network.get_submodule("fmtc_residual0.second.6").weight
    assert residual.shape[1] == compressed.codecs["first.6"].transform.inverses[0].shape[1]


class Forked(nn.Module):
    """What a 1x1 convolution reads is read by others, too, one of them a residual add."""

    def __init__(self, pooled):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 1)
        self.c, self.pooled = nn.Conv2d(6, 4, 3, padding=1), pooled
        nn.init.orthogonal_(self.b.weight)

    def forward(self, x):
        x = self.a(x) + 3  # a mean that the residual must have, too
        y = self.c(self.b(x).relu()) + x
        return torch.cat([y.relu().mean((2, 3)), x.amax((2, 3))], 1) if self.pooled else y


@pytest.mark.parametrize("pooled", [True, False])
@pytest.mark.parametrize("compensate", [True, False])
def test_others_read_what_levels_stand_for(pooled, compensate):
    torch.manual_seed(0)
    model = Forked(pooled).eval()
    fine = fmtc.compress(model, images(24), target=Step(1e-3), micro_batch=4, compensate=compensate)
    assert fine.calibrated().reused == {"b": "a"} and list(reusing(fine)) == ["b"]
    backs = [name for name, m in fine.network.named_modules() if isinstance(m, Back)]
    assert backs == (["fmtc_back.a"] if pooled else [])
    x = images(3, seed=1)
    with torch.no_grad():
        expected = model(x)
    assert (fine(x) - expected).norm() < 0.01 * expected.norm()
    for mode in ("simulate", "float"):
        fine.mode = mode
        assert (fine(x) - expected).norm() < 0.01 * expected.norm()


def test_it_survives_files_states_copies_and_types(compressed, tmp_path):
    x = images(4, seed=4)
    expected = first_tensor(compressed(x))
    compressed.save(tmp_path / "codec.safetensors")
    loaded = fmtc.load(tmp_path / "codec.safetensors", tiny(TinyDepthwise))
    other = fmtc.compress(tiny(TinyDepthwise), images(4), target=Step(0.3), micro_batch=4)
    other.load_state_dict(compressed.state_dict())
    for made in (loaded, other, copy.deepcopy(compressed)):
        assert reusing(made).keys() == REUSED.keys()
        assert all(p.source in made.points.values() for p in reusing(made).values())
        assert torch.equal(first_tensor(made(x)), expected)
    half = loaded.to(torch.bfloat16)
    half.reset_statistics()
    y = first_tensor(half(x.bfloat16()))
    assert y.dtype == torch.bfloat16
    assert (y.float() - expected).norm() < 0.2 * expected.norm()


def test_a_file_without_the_table_codes_each_point_for_itself(compressed, tmp_path):
    """As files were before there was one."""
    path = tmp_path / "codec.safetensors"
    made = fmtc.compress(
        tiny(TinyDepthwise), images(24), target=Step(0.03), micro_batch=4, compensate=False
    )
    made.save(path)
    assert reusing(made)
    archive = Archive.read(path)
    del archive.header["reused"]
    archive.write(path)
    loaded = fmtc.load(path, tiny(TinyDepthwise))
    assert not reusing(loaded)
    x = images(4, seed=4)
    torch.testing.assert_close(loaded(x), made(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "table",
    [
        {"first.6": "nothing"},
        {"nothing": "first.3"},
        {"first.0": "first.3"},  # other levels
        {"first.3": "first.6", "second.6": "stem"},
        ["first.6"],
        None,
    ],
)
def test_damaged_tables_are_refused(compressed, tmp_path, table):
    path = tmp_path / "codec.safetensors"
    compressed.save(path)
    archive = Archive.read(path)
    archive.header["reused"] = table
    archive.write(path)
    with pytest.raises(StorageError):
        fmtc.load(path, tiny(TinyDepthwise))


def test_exported_networks_say_the_same(compressed):
    compressed = copy.deepcopy(compressed)
    x = images(3, seed=5)
    compressed.reset_statistics()
    expected = compressed(x)
    streaming = Streaming(compressed, statistics=True)
    y, used, status, clamped, *histograms = streaming(x)
    assert torch.equal(y, expected) and not status.any()
    counted = [point.counted for point in compressed.points.values()]
    assert used.sum(0).tolist() == [c.stream_bytes for c in counted]
    assert clamped.tolist() == [c.clamped for c in counted]
    assert all(torch.equal(h, c.histogram) for h, c in zip(histograms, counted, strict=True))


def test_a_cut_at_both(compressed):
    model, x = tiny(TinyDepthwise), images(3, seed=6)
    parts = fmtc.split(model, ["first.3", "first.6"], images(24), target=Step(0.03))
    bundle = fmtc.Bundle.of(parts.head(x))
    assert list(bundle.names) == ["first.3", "first.6"]
    torch.testing.assert_close(parts.tail(bundle), parts.compressed(x), rtol=1e-4, atol=1e-4)


def test_tokens():
    torch.manual_seed(0)
    made = fmtc.compress(Tokens(), images(24), target=Step(0.01), micro_batch=4)
    assert "b" in reusing(made) and made.calibrated().reused["b"] == "a"
    seen = passing(made, images(3, seed=1))
    for name, point in reusing(made).items():
        x, y = seen[name]
        assert torch.equal(point.decode(point.encode(x), x, 2**20), y)


def test_a_convolution_with_a_stride_has_levels_of_its_own():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 1, stride=2), nn.ReLU(), nn.Conv2d(6, 4, 3)
    made = fmtc.compress(nn.Sequential(*layers), images(24), target=Step(0.03), micro_batch=4)
    assert made.calibrated().reused == {"1": "0"} and not reusing(made)
    seen = passing(made, images(3, seed=1))
    x, y = seen["1"]
    assert torch.equal(made.points["1"].decode(made.points["1"].encode(x), x, 2**20), y)
