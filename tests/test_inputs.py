"""Networks of several inputs, of one that is no image, wrapped, and given what they do not take."""

import copy

import pytest
import torch
from networks import images, randomize_norms, tiny
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import fmtc


class Two(nn.Module):
    """A map and one number for each of its channels."""

    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 5, 1)

    def forward(self, image, gains, bias=None):
        y = (self.conv(image) * gains[:, :, None, None]).relu()
        return self.last(y).mean((2, 3))


def pair(count=8, seed=0):
    generator = torch.Generator().manual_seed(seed + 10)
    return images(count, seed=seed), 1 + torch.rand(count, 8, generator=generator)


def two():
    torch.manual_seed(0)
    return Two().eval()


LABELS = torch.arange(8) % 5
GIVEN = {
    "tuple": lambda x, y: (x, y),
    "with labels": lambda x, y: (x, y, LABELS),
    "nested": lambda x, y: [((x, y), LABELS)],
    "loader": lambda x, y: DataLoader(TensorDataset(x, y, LABELS), batch_size=3),
    "generator": lambda x, y: zip(x.split(4), y.split(4), strict=True),
    "names": lambda x, y: {"gains": y, "image": x},
}


def test_several_inputs_by_their_names():
    model, (image, gains) = two(), pair()
    compressed = fmtc.compress(model, (image, gains), target=fmtc.Step(0.01))
    expected = compressed(image, gains)
    assert torch.equal(compressed(image, gains=gains), expected)
    with pytest.raises(TypeError, match="missing a required argument: 'gains'"):
        compressed(image)
    with pytest.raises(ValueError, match="takes inputs of shapes"):
        compressed(image, gains=gains[:, :3])


@pytest.mark.parametrize("form", GIVEN)
def test_several_inputs_however_they_are_given(form):
    model, inputs = two(), pair()
    compressed = fmtc.compress(model, GIVEN[form](*inputs), target=fmtc.Step(0.01))
    expected = fmtc.compress(model, GIVEN["tuple"](*inputs), target=fmtc.Step(0.01))
    # Moments round otherwise in other batches.
    torch.testing.assert_close(compressed(*inputs), expected(*inputs), rtol=0, atol=0.05)
    assert list(compressed.points) == ["conv", "mul", "last"]
    point = fmtc.evaluate(compressed, GIVEN[form](*inputs))
    assert point["snr_db"] > 18
    assert (point["top1"] is None) == (form in ("tuple", "generator", "names"))
    assert fmtc.Reference(model, GIVEN[form](*inputs)).images == 8
    assert fmtc.evaluate(model, GIVEN[form](*inputs))["agreement"] == 1


def test_several_inputs_are_saved_loaded_and_copied(tmp_path):
    model, inputs = two(), pair()
    compressed = fmtc.compress(model, inputs)
    other = pair(3, seed=1)
    with torch.no_grad():
        assert (compressed(*other) - model(*other)).abs().max() < 0.5
    compressed.save(tmp_path / "codec.safetensors")
    loaded = fmtc.load(tmp_path / "codec.safetensors", two())
    assert torch.equal(loaded(*other), compressed(*other))
    assert torch.equal(copy.deepcopy(compressed)(*other), compressed(*other))


@pytest.mark.parametrize(
    "given,message",
    [
        (images(8), r"takes 2 inputs \(image, gains\): expected tuples of 2 tensors"),
        ([(images(8), images(8))] * 2, None),
        ((images(8), torch.zeros(7, 8)), "takes inputs of shapes"),
        ((images(8), torch.zeros(8, 8, dtype=torch.int64)), "must be floating point"),
        ([], "no inputs"),
    ],
)
def test_wrong_inputs_are_told(given, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        fmtc.compress(two(), given)


def test_calls_with_other_shapes_are_told():
    compressed = fmtc.compress(two(), pair(), target=fmtc.Step(0.01))
    with pytest.raises(ValueError, match=r"takes inputs of shapes \[N, 3, 12, 12\], \[N, 8\]"):
        compressed(images(2, size=15), torch.zeros(2, 8))


def test_several_inputs_have_no_package(tmp_path):
    compressed = fmtc.compress(two(), pair(), target=fmtc.Step(0.01))
    with pytest.raises(fmtc.ExportError, match="networks of one input"):
        fmtc.export(compressed, tmp_path / "net.pt2", images(2))


def test_vectors_as_of_a_generator():
    torch.manual_seed(0)
    layers = nn.Unflatten(1, (4, 2, 2)), nn.ConvTranspose2d(4, 8, 4, 2, 1), nn.BatchNorm2d(8)
    model = randomize_norms(nn.Sequential(*layers, nn.ReLU(), nn.ConvTranspose2d(8, 3, 4, 2, 1)))
    compressed = fmtc.compress(model, torch.randn(8, 16))
    assert fmtc.evaluate(compressed, torch.randn(4, 16))["snr_db"] > 10


WRAPPED = {
    "data parallel": nn.DataParallel,
    "compiled": torch.compile,
    "exported": lambda m: torch.export.export(
        m, (images(2),), dynamic_shapes=({0: torch.export.Dim.AUTO},)
    ),
}


@pytest.mark.parametrize("wrapper", WRAPPED)
def test_wrapped_models_are_unwrapped(wrapper, tmp_path):
    model = tiny()
    plain = fmtc.compress(model, images(), target=fmtc.Step(0.01))
    compressed = fmtc.compress(WRAPPED[wrapper](model), images(), target=fmtc.Step(0.01))
    assert torch.equal(compressed(images(3)), plain(images(3)))
    plain.save(tmp_path / "codec.safetensors")
    loaded = fmtc.load(tmp_path / "codec.safetensors", WRAPPED[wrapper](model))
    assert torch.equal(loaded(images(3)), plain(images(3)))


def test_what_is_no_model_is_told():
    with pytest.raises(TypeError, match=r"TorchScript.* give the nn\.Module"):
        fmtc.compress(torch.jit.trace(tiny(), images()), images())
    with pytest.raises(TypeError, match="expected a model, a torch.nn.Module; got function"):
        fmtc.compress(lambda x: x, images())


@pytest.mark.parametrize("model_type", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("image_type", [torch.float16, torch.float32, torch.float64])
def test_any_float_type(model_type, image_type):
    model, x = tiny().to(model_type), images(8).to(image_type)
    compressed = fmtc.compress(model, x, target=fmtc.Step(0.01))
    assert compressed(x.to(model_type)).dtype == model_type
    assert fmtc.evaluate(compressed, x)["snr_db"] > 15


def test_default_type_float64():
    torch.set_default_dtype(torch.float64)
    try:
        compressed = fmtc.compress(tiny().float(), images(8), target=fmtc.Step(0.01))
        assert compressed(images(2).float()).dtype == torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.filterwarnings("ignore:.*cannot capture")
def test_a_module_may_have_the_name_of_a_keyword(tmp_path):
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.add_module("class", nn.Conv2d(3, 4, 1))

        def forward(self, x):
            return getattr(self, "class")(x).relu()

    model = Named().eval()
    compressed = fmtc.compress(model, images(), target=fmtc.Step(0.01))
    assert list(compressed.points) == ["class"]
    compressed.save(tmp_path / "codec.safetensors")
    loaded = fmtc.load(tmp_path / "codec.safetensors", model)
    assert torch.equal(loaded(images()), compressed(images()))


def test_nan_from_inside_is_counted_and_told():
    class Root(nn.Module):
        """NaN of images that are too bright."""

        def __init__(self):
            super().__init__()
            self.conv, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)

        def forward(self, x):
            bright = x.abs().amax((1, 2, 3), keepdim=True)
            return self.last(self.conv(x) * (100 - bright).sqrt())

    compressed = fmtc.compress(Root().eval(), images(), target=fmtc.Step(0.01))
    x = images(2)
    compressed(x)
    assert compressed.report().nan_values == 0
    x[1] *= 1000
    assert compressed(x).isfinite().all()
    with pytest.warns(UserWarning, match=r"576 of the values .* were NaN.*layers: mul"):
        report = compressed.report()
    assert report.nan_values == 4 * 12 * 12 and report.to_dict()["nan_values"] == 576
