"""Trained networks on real images, where the shared data is there."""

import pytest
import torch

import fmtc
from fmtc.data.datasets import open_dataset, split
from fmtc.data.models import load_model


def prepared(folder, model, weights, data, preprocess, calibration, images, **options):
    network = load_model(model, folder / weights, options.pop("num_classes", None))
    dataset = open_dataset(folder / data, preprocess=preprocess, **options)
    calibration_indices, test_indices = split(dataset, calibration, images, seed=0)
    return network, dataset.subset(calibration_indices).tensor()[0], dataset.subset(test_indices)


@pytest.fixture(scope="module")
def mobilenet(shared_data):
    return prepared(
        shared_data,
        "mobilenet_v2",
        "mobilenet_v2_imagenet_w8.safetensors",
        "imagenet_sample",
        "crop=224,mean=0.5,std=0.5,hflip,vflip",
        64,
        75,
        labels=shared_data / "imagenet_sample" / "labels.csv",
    )


def test_mobilenet_at_nine_bits_keeps_its_accuracy(mobilenet):
    model, calibration, test = mobilenet
    reference = fmtc.Reference(model, test)
    assert reference.top1 > 0.8
    compressed = fmtc.compress(model, calibration, "paper", bits=9)
    point = fmtc.evaluate(compressed, test, reference=reference)
    assert point["top1"] >= reference.top1 - 0.01
    assert point["snr_db"] > 15 and point["agreement"] >= 0.97
    rates = point["bits_per_value"]
    assert rates["entropy"] < 3.3
    assert rates["entropy"] <= rates["cross_entropy"] <= rates["huffman"] <= rates["stream"]
    assert rates["stream"] < 1.02 * rates["huffman"]
    # Expand convolutions have at most the rank of their input.
    assert compressed.codecs["features.2.conv.0.0"].components <= 16
    simulated = fmtc.evaluate(compressed, test, reference=reference, mode="simulate")
    for key in ("top1", "agreement", "kl", "snr_db"):
        assert simulated[key] == point[key]


def test_resnet18_on_cifar(shared_data):
    model, calibration, test = prepared(
        shared_data,
        "resnet18",
        "resnet18_cifar10.safetensors",
        "cifar10_test.npz",
        "resize=64,mean=.485/.456/.406,std=.229/.224/.225",
        256,
        200,
        num_classes=10,
    )
    plain = fmtc.evaluate(fmtc.compress(model, calibration, "paper", bits=7), test, mode="simulate")
    robust = fmtc.evaluate(fmtc.compress(model, calibration, "paper-robust", bits=6), test)
    # 0.95 on a CPU without AVX-512; an image is 0.005.
    assert robust["agreement"] > 0.94 and robust["snr_db"] > 20
    assert robust["bits_per_value"]["entropy"] < 2.6
    assert len(robust["layers"]) == 21
    # Outliers of this network's last layers make the farthest value a bad measure of the range.
    assert robust["bits_per_value"]["entropy"] < plain["bits_per_value"]["entropy"] + 0.1
    assert robust["snr_db"] > plain["snr_db"] + 10


@pytest.mark.slow
def test_calibration_order_does_not_matter_beyond_rounding(shared_data, mobilenet):
    model, calibration, _ = mobilenet
    order = torch.randperm(8, generator=torch.Generator().manual_seed(1))
    a = fmtc.compress(model, calibration[:8], "paper", bits=8)
    b = fmtc.compress(model, calibration[:8][order], "paper", bits=8)
    steps = [
        (codec.quantizer.step, b.codecs[name].quantizer.step) for name, codec in a.codecs.items()
    ]
    assert all(y == pytest.approx(x, rel=1e-4) for x, y in steps[:2])
    # Rounding tips a level here and there, and each later layer sees it.
    assert all(y == pytest.approx(x, rel=0.2) for x, y in steps)
    rates = [compressed.report().bits_per_value["entropy"] for compressed in (a, b)]
    assert rates[0] == pytest.approx(rates[1], rel=0.01)


def assert_streams_are_what_is_simulated(compressed, images):
    compressed.mode = "stream"
    streamed = compressed(images)
    compressed.mode = "simulate"
    assert torch.equal(compressed(images), streamed)
    compressed.mode = "stream"


@pytest.mark.slow
def test_mobilenet_takes_less_than_half_of_the_paper(mobilenet):
    model, calibration, test = mobilenet
    x = test.tensor()[0][:20]
    compressed = fmtc.compress(model, calibration[:32], target=fmtc.Step(0.0003))
    assert_streams_are_what_is_simulated(compressed, x[:2])
    compressed.reset_statistics()
    reference = fmtc.Reference(model, x)
    point = fmtc.evaluate(compressed, x, reference=reference)
    rates = point["bits_per_value"]
    assert rates["cross_entropy"] <= rates["stream"] <= 1.02 * rates["cross_entropy"]
    paper = fmtc.compress(model, calibration[:32], "paper", bits=9)
    paper = fmtc.evaluate(paper, x, reference=reference, mode="simulate")
    assert point["snr_db"] > paper["snr_db"] - 1 > 15
    assert rates["stream"] < 0.5 * paper["bits_per_value"]["entropy"]


@pytest.mark.slow
def test_resnet18_takes_less_than_half_of_the_paper(shared_data):
    model, calibration, test = prepared(
        shared_data,
        "resnet18",
        "resnet18_cifar10.safetensors",
        "cifar10_test.npz",
        "resize=64,mean=.485/.456/.406,std=.229/.224/.225",
        64,
        100,
        num_classes=10,
    )
    reference = fmtc.Reference(model, test)
    compressed = fmtc.compress(model, calibration, target=fmtc.Step(0.0012))
    assert_streams_are_what_is_simulated(compressed, test.tensor()[0][:4])
    compressed.reset_statistics()
    point = fmtc.evaluate(compressed, test, reference=reference)
    rates = point["bits_per_value"]
    # 20 headers for small images
    assert rates["cross_entropy"] <= rates["stream"] <= 1.05 * rates["cross_entropy"]
    paper = fmtc.compress(model, calibration, "paper", bits=6)
    paper = fmtc.evaluate(paper, test, reference=reference, mode="simulate")
    assert point["snr_db"] > paper["snr_db"] - 1 > 12
    assert rates["stream"] < 0.5 * paper["bits_per_value"]["entropy"]
