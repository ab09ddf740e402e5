"""The compressed model: sequential calibration, streams, reports, bad input."""

import copy

import pytest
import torch
import torch.nn.functional as F
from networks import TinyDepthwise, TinyOdd, TinyResidual, first_tensor, images, tiny
from torch import nn

import fmtc
from fmtc import ops
from fmtc.codec import transform
from fmtc.codec.transform import limited

KINDS = [TinyResidual, TinyDepthwise, TinyOdd]


def codec_state(compressed):
    """Everything that defines the streams."""
    state = {}
    for name, codec in compressed.codecs.items():
        scalars, tensors = codec.packed()
        state[name] = {**scalars, "table_id": codec.coder.table_id}, tensors
    return state


def assert_same_codec(a, b):
    a, b = codec_state(a), codec_state(b)
    assert list(a) == list(b)
    for name in a:
        (scalars, tensors), (others, parts) = a[name], b[name]
        assert scalars == others and list(tensors) == list(parts), name
        assert all(torch.equal(tensors[key], parts[key]) for key in tensors), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize("block", ["1,1,C", "2,3,C", "2,2,3"])
def test_stream_equals_simulate_bit_for_bit(kind, bits, block):
    compressed = fmtc.compress(tiny(kind), images(), "paper", bits=bits, block=block)
    x = images(3, seed=1)
    outputs, histograms = [], []
    for mode in ("stream", "simulate"):
        compressed.mode = mode
        compressed.reset_statistics()
        outputs.append(first_tensor(compressed(x)))
        histograms.append([p.counted.histogram for p in compressed.points.values()])
    assert torch.equal(*outputs)
    assert all(torch.equal(a, b) for a, b in zip(*histograms, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_points_apply_the_activations_behind_them(kind, monkeypatch):
    """The same network, bit for bit, as with the activations left where they were."""

    def compressed():
        return fmtc.compress(tiny(kind), images(), "paper")

    fused, x = compressed(), images(3, seed=1)
    monkeypatch.setattr("fmtc.model.assemble._take_activation", lambda *args: None)
    apart = compressed()
    taken = [p for p in fused.points.values() if p.limits != (None, None)]
    assert taken and all(p.limits == (None, None) for p in apart.points.values())
    assert len(apart.network.graph.nodes) - len(fused.network.graph.nodes) == len(taken)
    for mode in ("stream", "simulate", "float"):
        fused.mode = apart.mode = mode
        assert torch.equal(first_tensor(fused(x)), first_tensor(apart(x)))


@pytest.mark.parametrize("kind", KINDS)
def test_report_counts_the_bytes_that_were_produced(kind, monkeypatch):
    compressed = fmtc.compress(tiny(kind), images(), "paper")
    produced = []
    encode = ops.encode_point

    def spy(*args):
        data, used, *others = encode(*args)
        produced.append(int(used.sum()))
        return data, used, *others

    monkeypatch.setattr(ops, "encode_point", spy)
    compressed(images(5, seed=1))
    compressed(images(2, seed=2))
    report = compressed.report()
    assert len(produced) == 2 * len(compressed.points)
    assert report.bits_per_value["stream"] == pytest.approx(
        8 * sum(produced) / report.values, abs=0
    )
    assert report.values == sum(layer["values"] for layer in report.layers)
    for layer in report.layers:
        shape = layer["shape"]
        assert layer["values"] == 7 * shape[0] * shape[1] * shape[2]


def test_rates_are_ordered():
    compressed = fmtc.compress(tiny(), images(20), "paper", bits=6)
    compressed(images(20, seed=1))
    rates = compressed.report().bits_per_value
    assert rates["entropy_classes"] <= rates["entropy"] <= rates["cross_entropy"]
    assert rates["cross_entropy"] - 1e-9 <= rates["huffman"] + 0.1
    assert rates["huffman"] < rates["stream"]
    assert rates["huffman"] <= rates["entropy"] + 1


def test_calibration_report_before_anything_ran():
    compressed = fmtc.compress(tiny(), images(), "paper", bits=6)
    report = compressed.report()
    assert report.calibration and report.bits_per_value["stream"] is None
    compressed.mode = "simulate"
    compressed(images())  # the calibration images again give the calibration's histograms
    again = compressed.report()
    assert not again.calibration and again.values == report.values
    assert again.bits_per_value["entropy"] == pytest.approx(
        report.bits_per_value["entropy"], rel=1e-3
    )
    assert "stem" in str(report) and "multiply-adds" in str(report)


def test_more_bits_mean_less_error_and_more_rate():
    model, x = tiny(), images(16)
    snr, rate = [], []
    for bits in (3, 5, 7, 9):
        point = fmtc.evaluate(fmtc.compress(model, x, "paper", bits=bits), images(16, seed=1))
        snr.append(point["snr_db"])
        rate.append(point["bits_per_value"]["entropy"])
    assert snr == sorted(snr) and rate == sorted(rate)
    assert snr[-1] > 25


def test_calibration_sees_quantised_predecessors():
    """The second layer's mean must be that of its output from decoded inputs."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3, padding=1)).eval()
    x = images(8)
    compressed = fmtc.compress(model, x, "paper", bits=2)  # coarse, so that the difference is large
    with torch.no_grad():
        decoded = compressed.codecs["0"].simulate(model[0](x))
        seen = model[2](decoded.relu())
        plain = model[2](model[0](x).relu())
    mean = compressed.codecs["2"].transform.means[0]
    torch.testing.assert_close(mean, seen.double().mean((0, 2, 3)), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(mean, plain.double().mean((0, 2, 3)), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_calibrating_twice_gives_the_same_codec(kind):
    model = tiny(kind)
    assert_same_codec(*(fmtc.compress(model, images(), "paper", bits=6) for _ in range(2)))


def test_micro_batches_do_not_matter_beyond_rounding():
    model, x = tiny(), images(7)
    codecs = [fmtc.compress(model, x, "paper", bits=6, micro_batch=m).codecs for m in (1, 3, 16)]
    iterated = fmtc.compress(model, list(x.split(2)), "paper", bits=6).codecs
    for other in (*codecs[1:], iterated):
        for name, codec in codecs[0].items():
            got = other[name].transform.means[0]
            torch.testing.assert_close(got, codec.transform.means[0], rtol=1e-4, atol=1e-5)
            assert other[name].quantizer.step == pytest.approx(codec.quantizer.step, rel=1e-3)


def test_the_model_is_left_as_it_was():
    model = tiny().train()
    before = copy.deepcopy(model.state_dict())
    compressed = fmtc.compress(model, images(), "paper")
    compressed(images())
    assert model.training and not compressed.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert compressed.train() is compressed
    assert not any(module.training for module in compressed.modules())
    assert not any(module.training for module in compressed.reference.modules())


def test_dropped_components_are_those_without_levels():
    model = tiny(TinyDepthwise)
    compressed = fmtc.compress(model, images(16), "paper", bits=9)
    expand = compressed.codecs["first.0"]
    assert expand.channels == 12 and expand.components <= 4  # the rank of its 4 input channels
    for codec in compressed.codecs.values():
        assert codec.coder.table_of.numel() == codec.components
    everything = fmtc.BitsPreset(name="all", drop_components=False)
    full = fmtc.compress(model, images(16), everything, bits=9)
    assert full.codecs["first.0"].components == 12
    assert compressed.multiply_adds["compressed"] < full.multiply_adds["compressed"]


def test_multiply_adds_are_those_of_convolutions(monkeypatch):
    """Whether a product is one of fmtc's operators or torch's."""
    compressed = fmtc.compress(tiny(TinyDepthwise), images(16), target=fmtc.Step(0.03))
    by_convolution = lambda x, matrix, offset, limits=(None, None): limited(  # noqa: E731
        F.conv2d(x, matrix[:, :, None, None], offset), limits
    )
    monkeypatch.setattr(transform, "multiply", by_convolution)
    again = fmtc.CompressedModel(compressed.reference, compressed.calibrated())
    assert compressed.multiply_adds == again.multiply_adds
    assert not all(point.forward_folded for point in compressed.points.values())


class ReadTwice(nn.Module):
    """A convolution whose result an activation reads beside another reader."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x):
        y = self.conv(x)
        return F.relu(y) + y


def test_activations_write_over_what_they_alone_read():
    def operators(compressed):
        return [str(node.target) for node in compressed.network.graph.nodes]

    twice = fmtc.compress(tiny(ReadTwice), images(8), "paper", bits=8)
    assert "aten.relu.default" in operators(twice)
    once = fmtc.compress(tiny(TinyDepthwise), images(16), target=fmtc.Step(0.03))
    assert {"aten.relu_.default", "aten.hardtanh_.default"} <= set(operators(once))
    x = images(2)
    once.mode = "float"
    output = once(x)
    torch.testing.assert_close(output, tiny(TinyDepthwise)(x), rtol=1e-3, atol=1e-3)
    assert torch.equal(x, images(2)) and torch.equal(once(x), output)


def test_components_are_not_dropped_for_want_of_samples():
    """20 samples span at most 19 directions of 64 channels; the others are not empty."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(64, 64, 1), nn.ReLU(), nn.Conv2d(64, 8, 1)).eval()
    x = torch.randn(6, 64, 10, 10)
    with pytest.warns(UserWarning, match=r"1 layer\(s\).*20 for 64.*with 26 images or more"):
        few = fmtc.compress(model, x[:4, :, :1, :5], "paper", bits=9)
    assert few.codecs["0"].components == 64
    assert fmtc.evaluate(few, x)["snr_db"] > 25
    many = fmtc.compress(model, x, "paper", bits=9)
    assert many.multiply_adds["compressed"] >= many.multiply_adds["plain"]


def test_stream_rate_only_where_everything_was_streamed():
    compressed = fmtc.compress(tiny(), images(), "paper", mode="simulate")
    compressed(images())
    compressed.mode = "stream"
    compressed(images())
    assert compressed.report().bits_per_value["stream"] is None
    compressed.reset_statistics()
    compressed(images())
    assert compressed.report().bits_per_value["stream"] > 0


def test_nan_input_is_refused():
    with pytest.raises(ValueError, match="input contains NaN"):
        fmtc.compress(tiny(), images(), "paper")(images() * float("nan"))


def test_float_mode_counts_nothing():
    """It is evaluated as any other; its rates are those of calibration."""
    compressed = fmtc.compress(tiny(), images(), "paper", mode="float")
    expected = compressed.report().to_dict()
    point = fmtc.evaluate(compressed, images(4, seed=1))
    assert point["mode"] == "float" and point["snr_db"] > 15
    report = compressed.report()
    assert report.calibration and report.to_dict() == expected
    assert all(p.counted is None for p in compressed.points.values())


def test_excluded_layers_are_quantised_and_counted_at_eight_bits():
    model = tiny()
    everything = fmtc.compress(model, images(), "paper", bits=4)
    some = fmtc.compress(model, images(), "paper", bits=4, exclude=["conv*"])
    x = images(4, seed=1)
    some(x)
    layers = {layer["name"]: layer for layer in some.report().layers}
    assert layers["conv1"]["components"] is None
    assert set(layers["conv1"]["bits_per_value"].values()) == {8.0}
    assert layers["stem"]["bits_per_value"]["stream"] != 8.0
    same = fmtc.compress(model, images(), "paper", bits=4, include=["stem", "shortcut"])
    assert_plain = [name for name, layer in layers.items() if layer["components"] is None]
    assert assert_plain == ["conv1", "conv2"]
    assert torch.equal(same(x), some(x))
    assert not torch.equal(everything(x), some(x))
    levels = some.codecs["conv1"].simulate(torch.randn(2, 12, 3, 3)).unique()
    assert len(levels) <= 256


def test_patterns_that_match_nothing_are_refused():
    with pytest.raises(ValueError, match=r"no layer matches 'layer9\.\*'.*stem, conv1"):
        fmtc.compress(tiny(), images(), "paper", exclude=["layer9.*"])


def test_values_outside_the_calibrated_range_are_clamped_and_counted():
    compressed = fmtc.compress(tiny(), images(), "paper", bits=6)
    compressed(10 * images(seed=3))
    report = compressed.report()
    assert report.clamped_fraction > 0.01
    compressed.reset_statistics()
    compressed(images())
    assert compressed.report().clamped_fraction == 0


@pytest.mark.parametrize(
    "bad,message",
    [
        (torch.zeros(0, 3, 12, 12), "there are no images"),
        (torch.zeros(2, 3, 0, 12), r"batch 0: images without pixels, \[2, 3, 0, 12\]"),
        (["images"], "batch 0: expected images .* got the text 'images'"),
        (torch.zeros(3, 12, 12), r"expected a batch of images .* got one image \[3, 12, 12\]"),
        (torch.zeros(2, 3, 12, 12, dtype=torch.uint8), "preprocessed floating-point.*uint8"),
        (torch.full((2, 3, 12, 12), float("nan")), "batch 0 contains NaN or Inf"),
        ([torch.zeros(1, 3, 12, 12), torch.full((2, 3, 12, 12), float("inf"))], "batch 1 contains"),
        (
            [torch.zeros(2, 3, 12, 12), torch.zeros(2, 3, 12, 14)],
            r"batch 1 has images of another size, \[3, 12, 14\], than batch 0, \[3, 12, 12\]",
        ),
        ([], "there are no images"),
        (iter([]), "a generator can be only once"),
    ],
)
def test_bad_calibration_images(bad, message):
    with pytest.raises(fmtc.CalibrationError, match=message):
        fmtc.compress(tiny(), bad, "paper")


def test_nan_inside_the_network_names_the_layer():
    model = tiny()
    with torch.no_grad():
        model.conv1.weight[0, 0] = float("inf")
    with pytest.raises((fmtc.CalibrationError, fmtc.TraceError)):
        fmtc.compress(model, images(), "paper")


@pytest.mark.parametrize(
    "options,message",
    [
        ({"bits": 1}, "bits must be 2 to 12"),
        ({"bits": 13}, "bits must be 2 to 12"),
        ({"bits": 11, "preset": "q", "exclude": ["*"]}, "bits must be 2 to 10"),  # none uses it
        (
            {"preset": "papper"},
            r"unknown preset 'papper': did you mean 'paper'\? known are fmtc, paper",
        ),
        ({"coder": "zip"}, "unknown coder 'zip': known are huffman, fixed, rans"),
        ({"lane_values": 100}, "lane_values must be a power of two from 256 to 65536, .* got 100"),
        ({"block": "1,1"}, "expected h,w,c"),
        ({"block": (0, 1, None)}, "expected h,w,c"),
        ({"mode": "strean"}, "mode must be one of"),
        ({"weight_bits": 7}, "weight_bits"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        fmtc.compress(tiny(), images(), **{"preset": "paper", **options})


def test_constant_images_compress():
    compressed = fmtc.compress(tiny(), torch.zeros(2, 3, 12, 12), "paper")
    out = compressed(torch.zeros(2, 3, 12, 12))
    assert out.isfinite().all()
    assert compressed.report().bits_per_value["stream"] > 0


def test_one_image_and_empty_batch():
    compressed = fmtc.compress(tiny(), images(1), "paper")
    assert compressed(images(1)).shape == (1, 5)
    assert compressed(images(0)).shape == (0, 5)


def test_continued_calibration_uses_all_moments():
    model, a, b = tiny(), images(8), images(8, seed=5) + 0.5
    first = fmtc.compress(model, a, "paper", bits=8, keep_moments=True)
    both = fmtc.compress(model, torch.cat([a, b]), "paper", bits=8)
    continued = fmtc.compress(model, b, "paper", bits=8, start=first)
    # The first layer's input is not quantised, so there the moments must be the same.
    torch.testing.assert_close(
        continued.codecs["stem"].transform.means[0], both.codecs["stem"].transform.means[0]
    )
    assert continued.calibration_images == 16
    with pytest.raises(fmtc.CalibrationError, match="keep_moments=True"):
        fmtc.compress(model, b, "paper", start=both)
    with pytest.raises(fmtc.CalibrationError, match="stem: .*same layer and block"):
        fmtc.compress(model, b, "paper", block="2,2,C", start=first)
    without = fmtc.compress(model, a, "paper", exclude=["conv1"], keep_moments=True)
    with pytest.raises(fmtc.CalibrationError, match="to continue has no layer conv1"):
        fmtc.compress(model, b, "paper", start=without)


def test_the_result_does_not_depend_on_threads():
    model, x = tiny(), images()
    before = torch.get_num_threads()
    try:
        outputs = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            outputs.append(
                fmtc.compress(model, x, "paper", bits=6).report().bits_per_value["entropy"]
            )
        assert outputs[0] == pytest.approx(outputs[1], rel=1e-3)
    finally:
        torch.set_num_threads(before)
