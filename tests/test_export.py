"""Packages: what a compressed network computes, as a graph of tensors and compiled."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from networks import TinyDepthwise, TinyOdd, TinyResidual, first_tensor, images, tiny
from safetensors import safe_open
from torch import nn

import fmtc
from fmtc import ops
from fmtc.cli.demo import digits_data, digits_model
from fmtc.deploy.metadata import package_metadata
from fmtc.deploy.packages import METADATA_KEY, exported, write_package
from fmtc.deploy.streaming import Streaming
from fmtc.results.energy import access_joules

KINDS = [TinyResidual, TinyDepthwise, TinyOdd]
SETTINGS = {
    "fmtc": {"target": fmtc.Step(0.01)},
    "paper": {"bits": 6},
    "aciq": {"bits": 4},
    "ebpc": {"bits": 6},
    "dct-cm": {"bits": 6},
    "apack": {},
    "nvfp4-vlc": {},
    "int4-token": {},
}


def compressed_tiny(kind=TinyResidual, preset="fmtc", **options):
    return fmtc.compress(tiny(kind), images(), preset, **SETTINGS[preset], **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", SETTINGS)
def test_the_graph_computes_what_stream_mode_computes(kind, preset):
    compressed = compressed_tiny(kind, preset)
    x = images(3, seed=1)
    expected = compressed(x)
    before = compressed.report().to_dict()
    *outputs, used, status = Streaming(compressed)(x)
    tensors = list(expected.values()) if isinstance(expected, dict) else [expected]
    assert all(torch.equal(a, b) for a, b in zip(outputs, tensors, strict=True))
    assert not status.any() and status.shape == used.shape == (3, len(compressed.points))
    sizes = [point.counted.stream_bytes for point in compressed.points.values()]
    assert used.sum(0).tolist() == sizes
    assert compressed.report().to_dict() == before  # nothing was counted


@pytest.mark.parametrize("block", ["1,1,C", "2,2,3"])
def test_exported_graphs_take_any_batch(block):
    compressed = compressed_tiny(TinyDepthwise, "paper", block=block, exclude=["stem"])
    streaming = Streaming(compressed)
    graph = exported(streaming, (images(2),), dynamic_batch=True).module()
    for n in (1, 2, 5):
        x = images(n, seed=n)
        with torch.no_grad():
            expected = streaming(x)
        assert all(torch.equal(a, b) for a, b in zip(graph(x), expected, strict=True))


@pytest.mark.parametrize("preset", ["mxfp4", "nvfp4-vlc", "int6-token-vlc", "apack"])
def test_exported_graphs_of_formats(preset):
    streaming = Streaming(fmtc.compress(tiny(TinyDepthwise), images(), preset))
    graph = exported(streaming, (images(2),), dynamic_batch=True).module()
    for n in (1, 3):
        x = images(n, seed=n)
        with torch.no_grad():
            expected = streaming(x)
        assert all(torch.equal(a, b) for a, b in zip(graph(x), expected, strict=True))


def test_exported_graphs_keep_the_values_of_a_lane():
    streaming = Streaming(compressed_tiny(lane_values=512))
    graph = exported(streaming, (images(2),), dynamic_batch=True)
    encoders = [node for node in graph.graph.nodes if "encode_point" in str(node.target)]
    assert encoders and all(512 in node.args for node in encoders)


def test_left_out_layers_count_their_plain_width():
    compressed = compressed_tiny(exclude=["conv1"])
    streaming = Streaming(compressed)
    *_, used, _ = streaming(images(2))
    at = streaming.names.index("conv1")
    assert streaming.shapes[at] == (12, 6, 6) and used[:, at].tolist() == [12 * 6 * 6] * 2


# -- The package ----------------------------------------------------------------------------------


def load(path, name):
    from torch._inductor.package import load_package

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return load_package(str(path), name)


def check_point(point, compressed) -> None:
    """What an evaluation says of the network, without what it measures."""
    measured = fmtc.evaluate(compressed, digits_data().test_images[:2], mode="stream")
    for layer, other in zip(point["layers"], measured["layers"], strict=True):
        assert not any(layer["bits_per_value"].values())
        assert (
            layer | {key: other[key] for key in ("values", "bits_per_value", "histogram")} == other
        )
    settings = (
        "preset",
        "weight_bits",
        "setting",
        "block",
        "coder",
        "mode",
        "multiply_adds",
        "written",
    )
    assert [point[key] for key in settings] == [measured[key] for key in settings]
    assert point["outputs"] == []
    rates = ("bits_per_value", "bits_per_written_value", "joules_per_image")
    known = (*settings, *rates, "outputs", "layers", "seconds")
    assert all(point[key] is None for key in measured if key not in known)
    assert not any(any(point[key].values()) for key in rates)
    assert point["seconds"]["evaluate"] is None


def test_package_has_both_networks_and_says_what_they_are(package):
    path, compressed = package
    coded, plain = load(path, "compressed"), load(path, "plain")
    metadata = coded.get_metadata()[METADATA_KEY]
    assert plain.get_metadata()[METADATA_KEY] == metadata
    metadata = json.loads(metadata)
    assert metadata["schema"] == "fmtc.package/2" and metadata["device"] == "cpu"
    assert metadata["input_shape"] == [1, 32, 32] and metadata["outputs"] == [[10]]
    assert metadata["classes"] == list("0123456789")
    assert metadata["preprocess"] == "resize=32,crop=32,mean=0.5,std=0.5"
    assert metadata["calibration_images"] == 64
    (measured,), shown = metadata["measured"], metadata["shown"]
    assert shown == 0
    assert (measured["name"], measured["index"], measured["mean"]["shape"]) == ("output", 0, [10])
    assert measured["mean"]["values"] == compressed.output_means(None)["output"].tolist()
    bits = metadata["joules_per_bit"]
    assert 1000 * (bits["write"] + 3 * bits["read"]) == pytest.approx(access_joules(1000, 3))
    check_point(metadata["point"], compressed)
    test = digits_data().test_images[:24]
    for x in test.split([1, 3, 20]):
        with torch.no_grad():
            expected, *_ = outputs = Streaming(compressed)(x)
            uncompressed = compressed.reference(x)
        got, used, status = coded(x)
        assert not status.any()
        torch.testing.assert_close(plain(x)[0], uncompressed)
        assert torch.equal(got.argmax(1), expected.argmax(1))
        # A level that comes out otherwise may change a stream by some bytes.
        assert (used - outputs[1]).abs().sum() <= 1e-3 * outputs[1].sum()


class WithLevels(Streaming):
    """Gives the levels of every coding point, too."""

    def __init__(self, compressed):
        super().__init__(compressed)
        self.notes.keeps_levels = True

    def forward(self, x):
        outputs = super().forward(x)
        return *outputs, *(self.notes.levels[name] for name in self.names)


@pytest.mark.slow
def test_levels_of_a_package_are_those_of_eager_mode(tmp_path):
    compressed = fmtc.compress(
        digits_model(), digits_data().train_images[:64], target=fmtc.Step(0.001)
    )
    x = digits_data().test_images[:200]
    model = WithLevels(compressed)
    write_package(tmp_path / "levels.pt2", {"compressed": exported(model, (x,), True)}, {})
    with torch.no_grad():
        output, used, _, *levels = model(x)
    got_output, got_used, status, *got_levels = load(tmp_path / "levels.pt2", "compressed")(x)
    assert not status.any() and torch.equal(got_output.argmax(1), output.argmax(1))
    differences = [(a.int() - b.int()).abs() for a, b in zip(levels, got_levels, strict=True)]
    assert max(int(d.max()) for d in differences) <= 1
    changed = sum(int((d != 0).sum()) for d in differences)
    assert changed <= sum(d.numel() for d in differences) / 10_000
    for i, (a, b) in enumerate(zip(levels, got_levels, strict=True)):
        same = (a == b).flatten(1).all(1)  # images
        assert torch.equal(used[same, i], got_used[same, i])


def test_references_hold_what_stream_mode_makes(tmp_path):
    compressed = compressed_tiny(TinyOdd, "paper")
    x = images(5, seed=1)
    fmtc.export_reference(compressed, tmp_path / "r.safetensors", x, batch=2)
    with safe_open(tmp_path / "r.safetensors", "pt") as file:
        assert file.metadata() == {"schema": "fmtc.reference/1"}
        output, plain, used = map(file.get_tensor, ("output", "plain", "used"))
    compressed.reset_statistics()
    assert torch.equal(output, torch.cat([first_tensor(compressed(part)) for part in x.split(2)]))
    torch.testing.assert_close(plain, first_tensor(compressed.reference(x)))
    assert used.shape == (5, len(compressed.points))
    sizes = [point.counted.stream_bytes for point in compressed.points.values()]
    assert used.sum(0).tolist() == sizes
    with pytest.raises(ValueError, match="must be a float32 tensor with images"):
        fmtc.export_reference(compressed, tmp_path / "r.safetensors", x[:0])


# -- What cannot be exported ----------------------------------------------------------------------


class Deciding(nn.Module):
    """A network whose forward depends on values."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) if bool(x.sum() > -1e9) else x


@pytest.mark.filterwarnings("ignore:.*cannot capture")
def test_networks_in_parts_are_refused():
    torch.manual_seed(0)
    model = Deciding(nn.Conv2d(3, 4, 3)).eval()
    compressed = fmtc.compress(model, images(), "paper", bits=6)
    with pytest.raises(fmtc.ExportError, match="Deciding could be captured in parts alone"):
        fmtc.export(compressed, "m.pt2", images(2))


def test_what_torch_export_cannot_express_is_named(tmp_path):
    compressed = compressed_tiny()
    compressed.__dict__["reference"] = Deciding(compressed.reference)
    with pytest.raises(fmtc.ExportError, match="torch.export cannot express the network: .*guard"):
        fmtc.export(compressed, tmp_path / "m.pt2", images(2))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "path, example, options, message",
    [
        ("m.zip", images(2), {}, r"must be named \*.pt2"),
        ("m.pt2", images(2).double(), {}, "float32 tensor with images, got torch.float64"),
        ("m.pt2", images(2)[:0], {}, "float32 tensor with images"),
        ("m.pt2", [1], {}, "got list"),
        ("m.pt2", torch.zeros(1, 5, 8, 8), {}, r"does not take the example \[1, 5, 8, 8\]"),
        ("m.pt2", images(2), {"preprocess": "blur=3"}, "unknown step 'blur=3'"),
        ("m.pt2", images(2), {"preprocess": "grey"}, "grey makes one channel, the network takes 3"),
        ("m.pt2", images(2), {"preprocess": "std=1/2"}, "std has 2 values, .* 3 channel"),
    ],
)
def test_bad_arguments(path, example, options, message, tmp_path):
    compressed = compressed_tiny()
    with pytest.raises(ValueError, match=message):
        fmtc.export(compressed, tmp_path / path, example, **options)
    with pytest.raises(ValueError, match="expected a compressed model, got TinyResidual"):
        fmtc.export(compressed.reference, tmp_path / "m.pt2", images(2))


def test_images_of_calibration_are_counted_with_those_held_back():
    x = images(24)
    compressed = fmtc.compress(tiny(), x, target=fmtc.SNR(15))
    assert compressed.calibration_images == 18

    class Given(list):
        def contents(self):
            return [(1, 2)] * len(self)

    streaming = Streaming(compressed)
    streaming(x[:2])
    for given, count in ((None, 18), (Given(x), 24)):
        metadata = package_metadata(compressed, streaming, x[:2], calibration=given)
        assert metadata["calibration_images"] == count


def test_damage_is_a_status(monkeypatch):
    compressed = compressed_tiny()
    encode = ops.encode_point

    def damage(*args):
        data, *others = encode(*args)
        data[0, 3] ^= 1
        return data, *others

    monkeypatch.setattr(ops, "encode_point", damage)
    output, used, status = Streaming(compressed)(images(2))
    assert status[0].all() and not status[1].any() and first_tensor(output).isfinite().all()
