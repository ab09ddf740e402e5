"""Networks with several outputs: their names, which of them count, SNRs by a slow reference."""

from __future__ import annotations

import copy
import math
import pickle
from collections import namedtuple

import numpy as np
import pytest
import torch
from networks import TinyResidual, images, tiny
from torch import nn

import fmtc
from fmtc.calibration.balance import ENOUGH, balanced, reweighted
from fmtc.calibration.units import LEAST_DEVIATION, measure_units
from fmtc.errors import TraceError
from fmtc.evaluation.snr import OutputNoise, Sums, deviations, mean_of
from fmtc.network.outputs import (
    as_choice,
    chosen_outputs,
    named_outputs,
    relative_difference,
    tensors,
)


class Heads(nn.Module):
    """A backbone whose features go to a dense head and, much deeper, to a classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU())
        self.deep = nn.Sequential(
            *[nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()) for _ in range(4)]
        )
        self.dense, self.classes = nn.Conv2d(8, 4, 1), nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.deep(x)
        return {"maps": (self.dense(x), self.dense(y)), "classes": self.classes(y.mean((2, 3)))}


class Regression(nn.Module):
    """One number an image."""

    def __init__(self, flat: bool):
        super().__init__()
        self.conv, self.flat = nn.Conv2d(3, 8, 3), flat
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        y = self.head(self.conv(x).relu().mean((2, 3))) + 40
        return y[:, 0] if self.flat else y


class Pyramid(nn.Module):
    """A feature pyramid: maps of three sizes."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(c, 8, 3, 2, 1) for c in (3, 8, 8))
        self.side = nn.ModuleList(nn.Conv2d(8, 6, 1) for _ in range(3))

    def forward(self, x):
        found = []
        for down, side in zip(self.down, self.side, strict=True):
            x = down(x).relu()
            found.append(side(x))
        return found


def made(model, target=None, x=None, **options):
    torch.manual_seed(0)
    return fmtc.compress(model, images(32) if x is None else x, target=target, **options)


def heads(kind=Heads, *args) -> nn.Module:
    torch.manual_seed(0)
    return kind(*args).eval()


def snrs(point) -> dict[str, float]:
    return {output["name"]: output["snr_db"] for output in point["outputs"]}


def expected_snr(reference, output, calibration, dims) -> float:
    """The measure, image by image; dims: over which m is a mean."""
    f, g, c = (x.double().numpy() for x in (reference, output, calibration))
    m = c.mean(dims, keepdims=True)[0]
    signal = [((a - m) ** 2).sum() for a in f]
    noise = [((b - a) ** 2).sum() for a, b in zip(f, g, strict=True)]
    if f[0].size == 1:
        return 10 * math.log10(sum(signal) / sum(noise))
    return float(np.mean([10 * math.log10(s / n) for s, n in zip(signal, noise, strict=True)]))


# Names


def test_names_are_the_paths_of_float_tensors():
    x, whole = torch.ones(2, 3), torch.ones(2, dtype=torch.int64)
    pair = namedtuple("Pair", "boxes scores")(x, whole)
    for output, names in [
        (x, ["output"]),
        ((x, None, x.half(), 3), ["0", "2"]),
        ({"out": x, "aux": None, "n": whole}, ["out"]),
        ({"b": [x, {"a": x}], "a": (x,)}, ["b.0", "b.1.a", "a.0"]),
        (pair, ["boxes"]),
        ({0: x, "0": x}, ["0", "0_"]),
        (None, []),
    ]:
        assert list(named_outputs(output)) == names
    assert [t.dtype for t in tensors((x, whole, "text"))] == [x.dtype, whole.dtype]
    assert tensors(None) == []


def test_outputs_are_chosen_by_names_patterns_and_functions():
    x = torch.ones(2, 3)
    output = {"boxes": x, "head.a": 2 * x, "head.b": 3 * x}
    for given, names in [
        (None, ["boxes", "head.a", "head.b"]),
        ("boxes", ["boxes"]),
        (["head.*"], ["head.a", "head.b"]),
        (("head.b", "boxes"), ["boxes", "head.b"]),
        (lambda found: found["boxes"].sum(1), ["output"]),
        (lambda found: (found["boxes"], found["head.a"]), ["0", "1"]),
    ]:
        assert list(chosen_outputs(output, as_choice(given))) == names
    with pytest.raises(ValueError, match="no output matches 'box'; the outputs are: boxes, head.a"):
        chosen_outputs(output, ("boxes", "box"))
    for nothing in (None, (), {}, "text", 3, x.long()):
        with pytest.raises(ValueError, match="has no float tensor to measure"):
            chosen_outputs(nothing)
    for wrong in (3, [], ["a", 1], ()):
        with pytest.raises(ValueError, match="names of outputs, or a function"):
            as_choice(wrong)


def test_relative_difference_is_the_worst_of_each_by_its_own_norm():
    large, small = torch.full((2, 3), 1e6), torch.full((2, 3), 1e-3)
    outputs = {"large": large, "small": small}
    assert relative_difference(outputs, outputs) == 0
    assert relative_difference(outputs | {"small": 1.5 * small}, outputs) == pytest.approx(0.5)
    assert relative_difference({"large": large}, outputs) == math.inf
    assert relative_difference(outputs | {"small": small[:1]}, outputs) == math.inf
    broken = {"a": torch.tensor([math.nan, math.inf, 1.0])}
    assert relative_difference(broken, broken) == 0
    assert relative_difference({"a": torch.zeros(3)}, broken) > 0.5


# The measure


@pytest.mark.parametrize(
    ("shape", "dims"),
    [((7, 5), 0), ((7, 4, 3, 2), (0, 2, 3)), ((7, 6, 5), (0, 1)), ((7, 2, 3, 4, 2), (0, 2, 3, 4)),
     ((7,), 0), ((7, 1), 0), ((7, 1, 1, 1), 0)],
)  # fmt: skip
def test_snr_is_numpys(shape, dims):
    generator = torch.Generator().manual_seed(0)
    f, c, noise = (torch.randn(shape, generator=generator) for _ in range(3))
    f, c = f + 3, c + 3
    for calibration in (c, f):  # m of other images; of those that are measured
        collected = OutputNoise(mean_of(Sums.of(c)) if calibration is c else None)
        for part in (slice(0, 3), slice(3, 7)):
            collected.add(f[part], (f + 0.1 * noise)[part])
        expected = expected_snr(f, f + 0.1 * noise, calibration, dims)
        assert collected.snr_db() == pytest.approx(expected, abs=1e-4)


def test_means_of_parts_are_those_of_the_whole():
    x = torch.randn(9, 3, 4, 5) + torch.randn(3, 1, 1)
    parts = Sums.joined(Sums.of(part).total() for part in x.split(4)).total()
    np.testing.assert_allclose(mean_of(parts), x.double().mean((0, 2, 3))[:, None, None])
    total = (x - x.double().mean((0, 2, 3), keepdim=True)).square().sum()
    np.testing.assert_allclose(deviations(parts), [total])


def test_large_outputs_are_taken_in_parts(monkeypatch):
    f, g = torch.randn(2, 7, 3, 4, 5)
    found = []
    for most in (2**22, 100, 1):
        monkeypatch.setattr("fmtc.evaluation.snr.AT_A_TIME", most)
        collected = OutputNoise()
        collected.add(f, g)
        found.append((collected.snr_db(), mean_of(Sums.of(f)).tolist()))
    assert found[0] == found[1] == found[2]


def test_channels_are_where_means_leave_least():
    """Of [N, L, C] the last dimension, of maps the first, but where the other one is far better."""
    noise = torch.randn(8, 5, 6)
    assert mean_of(Sums.of(noise)).shape == (1, 6)
    assert mean_of(Sums.of(noise + torch.arange(6))).shape == (1, 6)
    assert mean_of(Sums.of(noise + torch.arange(5)[:, None])).shape == (5, 1)
    maps = torch.randn(8, 3, 4, 5)
    assert mean_of(Sums.of(maps)).shape == (3, 1, 1)
    assert mean_of(Sums.of(maps + torch.arange(5))).shape == (1, 1, 5)  # channels last


def test_dimensions_whose_size_differs_have_positions():
    parts = [Sums.of(torch.randn(4, 3, size, size)) for size in (5, 7)]
    assert mean_of(Sums.joined(parts)).shape == (3, 1, 1)
    tokens = [Sums.of(torch.randn(4, 3, size)) for size in (5, 7)]
    assert mean_of(Sums.joined(tokens)).shape == (3, 1)
    assert mean_of(Sums.joined([Sums.of(torch.randn(4, size)) for size in (5, 7)])) is None


def test_outputs_that_are_the_same_for_all_images():
    """As of one image alone: one mean of all elements, or 0 where these are the same, too."""
    rows = torch.arange(4.0).expand(6, 4)
    assert mean_of(Sums.of(rows)).item() == 1.5 and mean_of(Sums.of(rows[:1])).item() == 1.5
    assert mean_of(Sums.of(torch.full((6, 4), 3.0))).item() == 0
    assert mean_of(Sums.of(torch.full((1,), 3.0))).item() == 0
    constant = OutputNoise(torch.tensor(3.0))
    constant.add(torch.full((6, 4), 3.0), torch.full((6, 4), 3.1))
    assert constant.snr_db() is None
    constant = OutputNoise()
    constant.add(rows, rows)
    assert constant.snr_db() == 200


# Compressed networks


def test_every_output_is_measured_and_the_worst_counts():
    model, x, test = heads(), images(32), images(9, seed=3)
    compressed = made(model, "snr_db=12")
    point = fmtc.evaluate(compressed, test, batch=4)
    found = snrs(point)
    names = {"maps.0": (0, 2, 3), "maps.1": (0, 2, 3), "classes": 0}
    assert list(found) == list(names)
    with torch.no_grad():
        calibration, f, g = (named_outputs(y) for y in (model(x), model(test), compressed(test)))
    for name, dims in names.items():
        expected = expected_snr(f[name], g[name], calibration[name], dims)
        assert found[name] == pytest.approx(expected, abs=0.01)
    assert point["snr_db"] == min(found.values())
    assert point["agreement"] is not None  # of the first that is a classifier's
    x, y = f["maps.0"].double(), g["maps.0"].double()
    signal = (x - x.mean((1, 2, 3), keepdim=True)).square().sum((1, 2, 3))
    own = (10 * (signal / (y - x).square().sum((1, 2, 3))).log10()).mean()
    assert point["snr_db_image"] == pytest.approx(float(own), abs=0.01)


@pytest.mark.parametrize("kind", [Heads, Pyramid])
def test_each_output_reaches_the_target(kind):
    x = images(64, size=16)
    point = fmtc.evaluate(made(heads(kind), x=x), x[-16:])
    found = snrs(point)
    assert min(found.values()) > 14
    # No bits are spent on what is good anyway; what comes out of an average over positions is:
    # errors of high frequencies cancel there.
    assert max(found[name] for name in found if name != "classes") < 18
    assert max(found.values()) < 25


def test_balanced_outputs_take_fewer_bits(monkeypatch):
    x, rates = images(64, size=16), []
    for rounds in (0, 2):
        monkeypatch.setattr("fmtc.calibration.balance.ROUNDS", rounds)
        point = fmtc.evaluate(made(heads(), x=x), x[-16:])
        rates.append(point["bits_per_value"]["stream"])
        assert point["snr_db"] > 14
    assert rates[1] < 0.98 * rates[0]


def test_shares_follow_the_errors():
    shares = {"a": 0.5, "b": 0.5}
    assert reweighted(shares, {"a": 0.1, "b": 0.3}) == pytest.approx({"a": 0.25, "b": 0.75})
    assert reweighted(shares, {}) == shares
    assert 0 < reweighted(shares, {"a": 0.0, "b": 1.0})["a"] < 1e-2
    seen = []

    def metrics_of(given):
        seen.append(dict(given))
        return given

    def errors_of(metrics):  # an output's error falls as its share grows
        return {"a": 0.02 / metrics["a"], "b": 0.06 / metrics["b"]}

    assert balanced(shares, metrics_of, errors_of) == pytest.approx({"a": 0.25, "b": 0.75})
    assert len(seen) == 2
    assert balanced({"a": 1.0}, metrics_of, None) == {"a": 1.0}
    near = {"a": 1 / ENOUGH, "b": 1 - 1 / ENOUGH}
    assert balanced(near, metrics_of, lambda _: {"a": 1.0, "b": 1.0}) == near


@pytest.mark.parametrize("flat", [False, True])
def test_one_number_an_image(flat):
    model, x, test = heads(Regression, flat), images(32), images(20, seed=3)
    compressed = made(model, "snr_db=20", x)
    point = fmtc.evaluate(compressed, test, batch=6)
    with torch.no_grad():
        expected = expected_snr(model(test), compressed(test), model(x), 0)
    assert point["snr_db"] == pytest.approx(expected, abs=0.01) and 14 < expected < 30
    assert point["bits_per_value"]["stream"] < 4
    assert point["snr_db_image"] is None and point["agreement"] is None
    step = fmtc.evaluate(made(model, fmtc.Step(0.1), x), test)
    assert step["bits_per_value"]["stream"] < 4  # the step is in units of the numbers' deviation


def test_the_bias_of_a_class_is_no_signal():
    torch.manual_seed(0)
    head = nn.Conv2d(8, 6, 1)
    with torch.no_grad():
        head.bias.copy_(torch.tensor([5.0, -1, -1, -1, -1, -1]))
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), head).eval()
    x = images(64)
    compressed = made(model, x=x)
    point = fmtc.evaluate(compressed, x[-16:])
    assert point["snr_db"] == pytest.approx(15, abs=1)
    assert point["snr_db_image"] > point["snr_db"] + 5
    plain = copy.deepcopy(model)
    plain[2].bias.data.zero_()
    rate = fmtc.evaluate(made(plain, x=x), x[-16:])["bits_per_value"]["stream"]
    assert point["bits_per_value"]["stream"] == pytest.approx(rate, rel=0.05)


def test_names_choose_what_is_probed_and_measured():
    model, x = heads(), images(32)
    only = made(model, "snr_db=12", outputs="maps.0")
    point = fmtc.evaluate(only, x)
    assert list(snrs(point)) == ["maps.0"] and point["agreement"] is None
    # What only the others depend on is not coded at all.
    levels = only.points["deep.0.0"].codec.histogram
    assert only.points["deep.0.0"].codec.components <= 1 and int((levels > 0).sum()) <= 1
    assert list(snrs(fmtc.evaluate(only, x, outputs="classes"))) == ["classes"]
    assert list(snrs(fmtc.evaluate(only, x, reference=model))) == ["maps.0"]
    every = fmtc.Reference(model, x)
    assert snrs(fmtc.evaluate(only, x, reference=every, outputs="maps.0")) == snrs(point)
    maps = fmtc.evaluate(only, x, reference=fmtc.Reference(model, outputs="maps.*"))
    assert list(snrs(maps)) == ["maps.0", "maps.1"]
    with pytest.raises(fmtc.CalibrationError, match="no output matches 'boxes'; the outputs are: "):
        made(model, outputs=["classes", "boxes"])
    with pytest.raises(ValueError, match="no output matches 'boxes'"):
        fmtc.evaluate(only, x, outputs="boxes")


def deep_maps(output):
    return output["maps"][1]


def test_a_function_chooses_and_is_not_saved(tmp_path):
    model, test = heads(), images(9, seed=3)
    compressed = made(model, "snr_db=12", outputs=deep_maps)
    named = made(model, "snr_db=12", outputs="maps.1")
    point = fmtc.evaluate(compressed, test)
    assert list(snrs(point)) == ["output"]
    assert point["snr_db"] == fmtc.evaluate(named, test)["snr_db"]
    moved = copy.deepcopy(compressed)
    assert moved.outputs is deep_maps and snrs(fmtc.evaluate(moved, test)) == snrs(point)
    compressed.save(tmp_path / "codec.safetensors")
    names = ["maps.0", "maps.1", "classes"]
    for again in (
        fmtc.load(tmp_path / "codec.safetensors", model),
        pickle.loads(pickle.dumps(made(model, fmtc.Step(0.1), outputs=lambda y: y["classes"]))),
    ):
        assert again.outputs is None and list(snrs(fmtc.evaluate(again, test))) == names
    given = fmtc.load(tmp_path / "codec.safetensors", model, outputs=deep_maps)
    assert snrs(fmtc.evaluate(given, test)) == snrs(point)
    again = fmtc.load(tmp_path / "codec.safetensors", model)
    other = fmtc.evaluate(again, test, outputs=lambda y: y["maps"][1])  # m of these images
    assert other["snr_db"] != point["snr_db"]
    assert other["snr_db"] == pytest.approx(point["snr_db"], abs=1)
    with pytest.raises(ValueError, match="give both the same outputs="):
        fmtc.evaluate(compressed, test, reference=fmtc.Reference(model))


def test_means_and_names_are_saved(tmp_path):
    model, x, test = heads(), images(32), images(9, seed=3)
    compressed = made(model, "snr_db=12", outputs=["maps.*"])
    compressed.save(tmp_path / "codec.safetensors")
    loaded = fmtc.load(tmp_path / "codec.safetensors", model)
    assert loaded.outputs == compressed.outputs == loaded.config.outputs == ("maps.*",)
    with torch.no_grad():
        expected = named_outputs(model(x))
    for name, mean in loaded.output_means(None).items():
        dims = (0, 2, 3) if name.startswith("maps") else 0
        wanted = expected[name].double().mean(dims)
        np.testing.assert_allclose(mean.flatten(), wanted, atol=1e-6)
        assert torch.equal(mean, compressed.output_means(None)[name])
    for outputs in (None, "classes"):  # known of all outputs, chosen or not
        points = [fmtc.evaluate(cm, test, outputs=outputs) for cm in (compressed, loaded)]
        assert points[0]["outputs"] == points[1]["outputs"]
    assert list(snrs(points[0])) == ["classes"]
    loaded.outputs = None
    assert list(snrs(fmtc.evaluate(loaded, test))) == ["maps.0", "maps.1", "classes"]


def test_other_sizes_than_calibrated():
    """Means of channels serve any size; those of elements are replaced by means over the images."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten()).eval()
    for kind in (model, model[:2]):
        point = fmtc.evaluate(made(kind, fmtc.Step(0.02), images(16)), images(4, size=15))
        assert point["snr_db"] > 10


def test_figures_do_not_depend_on_the_batch():
    compressed, test = made(heads(), fmtc.Step(0.05)), images(7, seed=3)
    for reference in (None, heads()):
        points = [fmtc.evaluate(compressed, test, batch=b, reference=reference) for b in (7, 3)]
        assert snrs(points[0]) == pytest.approx(snrs(points[1]), abs=0.1)
    plain = [fmtc.evaluate(compressed.network, test, batch=b, reference=heads()) for b in (7, 3)]
    assert snrs(plain[0]) == pytest.approx(snrs(plain[1]), abs=0.1)


# What cannot be measured


class Anchors(Heads):
    def forward(self, x):
        return {**super().forward(x), "anchors": self.classes.weight.flatten()}


class Sick(Heads):
    def forward(self, x):
        found = super().forward(x)
        return {**found, "sick": found["classes"] / (x.mean((1, 2, 3)) > 0)[:, None]}


def test_an_output_that_is_no_batch_is_named():
    message = r"the model's output 'anchors' is \[40\] for \d+ images; its first dimension must be"
    with pytest.raises(fmtc.CalibrationError, match=message):
        made(heads(Anchors))
    with pytest.raises(ValueError, match=message + r" the batch\. Leave it out with outputs="):
        fmtc.evaluate(heads(Anchors), images(3))
    compressed = made(heads(Anchors), fmtc.Step(0.1), outputs=["maps.*", "classes"])
    assert list(snrs(fmtc.evaluate(compressed, images(3)))) == ["maps.0", "maps.1", "classes"]


def test_an_output_with_nan_is_named():
    message = r"the output 'sick' of Sick for image \d+ has NaN or Inf"
    with pytest.raises(fmtc.CalibrationError, match="calibration images: " + message):
        made(heads(Sick))
    with pytest.raises(ValueError, match=message):
        fmtc.evaluate(heads(Sick), images(8))
    compressed = made(heads(Sick), fmtc.Step(0.1), outputs=["maps.*", "classes"])
    assert fmtc.evaluate(compressed, images(8))["snr_db"] > 0


def test_each_output_of_the_graph_is_checked():
    class Turned(nn.Module):
        """Its second output, a small one, depends on Python state that a trace does not see."""

        def __init__(self):
            super().__init__()
            self.inner, self.calls = tiny(TinyResidual), 0

        def forward(self, x):
            self.calls += 1
            return 1e6 * self.inner(x), x.mean((2, 3)) * self.calls

    with pytest.raises(TraceError, match="does not compute what the model computes"):
        made(Turned().eval(), fmtc.Step(0.1))


def test_a_load_for_another_head_is_refused(tmp_path):
    model, other = heads(), heads()
    made(model, fmtc.Step(0.1)).save(tmp_path / "codec.safetensors")
    with torch.no_grad():
        other.classes.weight.mul_(1.01)
    with pytest.raises(fmtc.StorageError, match="was made for another model"):
        fmtc.load(tmp_path / "codec.safetensors", other)


# Units


def test_units_are_means_and_deviations_of_the_calibration_images():
    model, x = heads(), images(20)
    units = measure_units(model, list(x.split(6)))
    with torch.no_grad():
        outputs = named_outputs(model(x))
    assert units.shares == dict.fromkeys(outputs, 1 / 3)
    for name, output in outputs.items():
        dims = (0, 2, 3) if output.dim() == 4 else 0
        deviation = output.double() - output.double().mean(dims, keepdim=True)
        norms = deviation.flatten(1).norm(dim=1)
        rms = float(norms.square().mean().sqrt())
        assert units.outputs[name].deviation == pytest.approx(rms)
        expected = norms.clamp(min=LEAST_DEVIATION * rms).float()
        torch.testing.assert_close(units.outputs[name].deviations(output), expected)


def test_directions_are_in_units_of_each_output_and_its_share():
    x = images(400)
    model = heads()
    units = measure_units(model, [x]).shared({"maps.0": 0.8, "classes": 0.2})
    with torch.no_grad():
        output = model(x)
    probed = units.directions(output, 50, torch.Generator().manual_seed(0))
    assert [of.shape[1:] for of, _ in probed] == [(4, 12, 12), (5,)]
    for (of, directions), (name, share) in zip(probed, units.shares.items(), strict=True):
        assert directions.shape == (400, 50, *of.shape[1:])
        scaled = directions.flatten(1).double() * units.outputs[name].deviations(of)[:, None]
        assert float(scaled.square().mean()) == pytest.approx(share, rel=0.05)
