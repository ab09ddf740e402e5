"""What is measured, against numpy, scipy and values worked out by hand."""

from __future__ import annotations

import copy
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch
from torch import nn

import fmtc
from fmtc.evaluation.evaluate import evaluate
from fmtc.evaluation.measures import bootstrap_interval, kl_divergence, wilson_interval
from fmtc.evaluation.reference import Reference
from fmtc.evaluation.snr import image_snr_db
from fmtc.model.model import CompressedModel
from fmtc.network.coverage import Coverage
from fmtc.results.result import new_result, validate


class Table(nn.Module):
    """Looks its outputs up: image i (its first pixel is i) gives row i of a table."""

    def __init__(self, rows) -> None:
        super().__init__()
        self.rows = torch.as_tensor(rows, dtype=torch.float32)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.rows[x[:, 0, 0, 0].long()]


class FakeReport:
    values = 96
    clamped_fraction = 0.25
    bits_per_value = {"entropy": 1.0, "entropy_classes": 0.9, "cross_entropy": 1.1, "huffman": 1.2,
                      "stream": None}  # fmt: skip
    joules_per_image = bits_per_written_value = bits_per_value
    written, uncoded_bits = Coverage({"convolution": 96, "norm": 4}, {"convolution": 96}), 8
    layers = [{"name": "conv1", "shape": (4, 2, 3), "components": 3, "values": 96, "reads": 1,
               "step": 0.5, "mse": 0.01, "bits_per_value": bits_per_value}]  # fmt: skip


class FakeCompressed(CompressedModel):
    """What `evaluate` needs of a compressed model, with everything it does written down."""

    mode, statistics = "stream", False  # instead of properties
    preset, weight_bits, coder, seconds_calibrate = "paper", 32, "huffman", 1.5
    block = "1,1,C"
    setting = {"kind": "b", "value": 8}
    outputs = None
    multiply_adds = {"plain": 10, "compressed": 15}

    def __init__(self, model, noise) -> None:
        nn.Module.__init__(self)
        self.__dict__["reference"] = model
        self.noise = torch.as_tensor(noise, dtype=torch.float32)
        self.events = []

    def forward(self, x):
        assert self.statistics
        self.events.append(self.mode)
        return self.reference(x) + self.noise

    def output_means(self, choice):
        return {}

    def reset_statistics(self):
        self.events.append("reset")

    def report(self, gather=None):
        self.events.append("report" if gather is None else "report of all")
        return FakeReport()


def numbered_images(count: int) -> torch.Tensor:
    return torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1)


def logits(count: int = 12, classes: int = 7, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, classes, generator=torch.Generator().manual_seed(seed))


def as_point_of_a_result(point):
    result = new_result(
        "fmtc eval",
        "model",
        {"path": "data", "calibration_images": 1, "evaluated_images": 1},
        seed=0,
        reference={"top1": None, "top5": None},
    )
    return {**result, "points": [point]}


# Formulas


@pytest.mark.parametrize(("successes", "trials"), [(0, 5), (5, 5), (1, 1), (176, 200), (7, 3000)])
def test_wilson_interval_is_scipys(successes, trials):
    expected = scipy.stats.binomtest(successes, trials).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson_interval(successes, trials), expected, atol=1e-12)


def test_bootstrap_interval_is_scipys():
    figures = np.random.default_rng(0).exponential(size=80)  # skewed, as divergences are
    expected = scipy.stats.bootstrap(
        (figures,), np.mean, n_resamples=20_000, method="percentile", rng=1
    ).confidence_interval
    low, high = bootstrap_interval(figures.tolist())
    assert low == pytest.approx(expected.low, abs=0.02)
    assert high == pytest.approx(expected.high, abs=0.02)
    assert bootstrap_interval(figures[::-1].tolist()) == [low, high]
    assert bootstrap_interval([0.25]) == [0.25, 0.25]


def test_wilson_interval_by_hand():
    # p = 1/2, n = 4, z^2 = 3.8415: centre 1/2, half width z / (2 sqrt(n + z^2)).
    half = 1.959964 / (2 * math.sqrt(4 + 3.841459))
    np.testing.assert_allclose(wilson_interval(2, 4), [0.5 - half, 0.5 + half], atol=1e-6)


def test_kl_divergence_is_scipys():
    reference, output = logits(seed=1), logits(seed=2) * 3
    p = scipy.special.softmax(reference.double().numpy(), axis=1)
    q = scipy.special.softmax(output.double().numpy(), axis=1)
    expected = scipy.stats.entropy(p, q, axis=1)
    np.testing.assert_allclose(kl_divergence(reference, output).numpy(), expected, rtol=1e-9)
    assert kl_divergence(reference, reference).tolist() == [0.0] * 12
    far = torch.tensor([[1000.0, -1000.0]])
    np.testing.assert_allclose(kl_divergence(far, -far).item(), 2000.0)


def test_snr_of_an_image_alone_is_numpys_and_capped():
    reference, noise = logits(5, 30, seed=1), 0.01 * logits(5, 30, seed=2)
    x, y = reference.double().numpy(), (reference + noise).double().numpy()
    signal = ((x - x.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
    expected = 10 * np.log10(signal / ((y - x) ** 2).sum(axis=1))
    np.testing.assert_allclose(
        image_snr_db(reference, reference + noise).numpy(), expected, rtol=1e-9
    )
    maps = reference.view(5, 2, 3, 5)
    found = image_snr_db(maps, maps + noise.view_as(maps))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    assert image_snr_db(reference, reference).tolist() == [200.0] * 5
    nearly = reference.double()
    assert (image_snr_db(nearly, nearly * (1 + 1e-15)) == 200).all()


def test_snr_of_a_constant_reference_is_undefined():
    constant = torch.ones(1, 4)
    assert image_snr_db(constant, constant).item() == 200
    assert math.isnan(image_snr_db(constant, constant + 1).item())


# Evaluation


def test_accuracy_agreement_and_averages():
    reference_rows = torch.eye(8)[[0, 1, 2, 3]]
    rows = reference_rows + 0.25 * logits(4, 8)
    rows[3] = torch.eye(8)[0] + torch.linspace(0, 0.1, 8)  # the fourth goes elsewhere
    model, data = Table(rows), (numbered_images(4), torch.tensor([0, 1, 5, 3]))
    point = evaluate(model, data, reference=Table(reference_rows), batch=3)
    guess = rows.argmax(1)
    assert point["top1"] == (guess == data[1]).double().mean().item()
    best = np.argsort(-rows.numpy(), axis=1)[:, :5]
    assert point["top5"] == np.mean([y in b for y, b in zip(data[1].tolist(), best, strict=True)])
    assert point["agreement"] == (guess == reference_rows.argmax(1)).double().mean().item()
    assert point["top1_interval"] == wilson_interval(int(point["top1"] * 4), 4)
    assert point["kl_interval"][0] <= point["kl"] <= point["kl_interval"][1]
    np.testing.assert_allclose(point["kl"], kl_divergence(reference_rows, rows).mean().item())
    images_own = image_snr_db(reference_rows, rows).mean().item()
    np.testing.assert_allclose(point["snr_db_image"], images_own)
    x, y = reference_rows.double().numpy(), rows.double().numpy()
    signal, noise = ((x - x.mean(0)) ** 2).sum(1), ((y - x) ** 2).sum(1)
    np.testing.assert_allclose(point["snr_db"], np.mean(10 * np.log10(signal / noise)))
    assert point["outputs"] == [{"name": "output", "snr_db": point["snr_db"]}]


def test_figures_do_not_depend_on_the_batch():
    rows, noisy = logits(11), logits(11) + 0.1 * logits(11, seed=3)
    data = (numbered_images(11), torch.arange(11) % 7)
    points = [evaluate(Table(noisy), data, reference=Table(rows), batch=b) for b in (1, 4, 100)]
    for point in points:
        point["seconds"] = None
    assert points[0] == points[1] == points[2]


def test_compressed_model_is_reset_run_and_reported():
    model = Table(logits(6))
    compressed = FakeCompressed(model, 0.01 * logits(1)[0])
    data = (numbered_images(6), torch.zeros(6, dtype=torch.int64))
    point = evaluate(compressed, data, batch=4, mode="simulate")
    assert compressed.events == ["reset", "simulate", "simulate", "report"]
    assert compressed.mode == "stream" and not compressed.statistics
    assert point["mode"] == "simulate" and point["setting"] == {"kind": "b", "value": 8}
    assert point["preset"] == "paper" and point["weight_bits"] == 32 and point["coder"] == "huffman"
    assert point["values"] == 96 and point["clamped_fraction"] == 0.25
    assert point["bits_per_value"] == FakeReport.bits_per_value
    kinds = {
        "convolution": {"values": 96, "coded": 96}, "norm": {"values": 4, "coded": 0}
    }  # fmt: skip
    assert point["written"] == {"values": 100, "coded": 96, "uncoded_bits": 8, "kinds": kinds}
    assert point["multiply_adds"] == {"plain": 10, "compressed": 15}
    assert point["seconds"]["calibrate"] == 1.5 and point["seconds"]["evaluate"] > 0
    assert point["layers"][0]["shape"] == [4, 2, 3]
    validate(as_point_of_a_result(point))


def test_reference_is_run_once_and_shared():
    model = Table(logits(6))
    data = (numbered_images(6), torch.zeros(6, dtype=torch.int64))
    reference = Reference(model, data, batch=6)
    assert model.calls == 1 and reference.seconds > 0 and len(reference.outputs) == 6
    assert reference.top1 == evaluate(model, data)["top1"]
    calls = model.calls
    for scale in (0.1, 0.2):
        evaluate(Table(logits(6) * scale), data, reference=reference)
    assert model.calls == calls


# Which output an image's is compared with


class Counting(torch.utils.data.Dataset):
    """Images and labels that are counted as they are read, and may be others each time."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, noise: float = 0.0) -> None:
        self.images, self.labels, self.noise, self.reads = images, labels, noise, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.reads += 1
        image = self.images[index]
        return image + self.noise * torch.rand(image.shape), self.labels[index]


def small_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36, 10)).eval()


def small_images(count: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(count, 1, 5, 5, generator=generator)
    return images, small_network()(images).argmax(1)


def figures(point):
    return [point[key] for key in ("top1", "agreement", "kl", "snr_db")]


def slightly_noisy(network: nn.Module) -> nn.Module:
    noisy = copy.deepcopy(network)
    with torch.no_grad():
        noisy[3].bias += 0.01
    return noisy


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_shuffled_loader_is_compared_image_by_image(noise):
    network, (images, labels) = small_network(), small_images()
    noisy, expected = slightly_noisy(network), figures(
        evaluate(slightly_noisy(network), (images, labels), reference=network)
    )  # fmt: skip
    for reference in (network, Reference(network, (images, labels)), Reference(network)):
        dataset = Counting(images, labels, noise)
        loader = torch.utils.data.DataLoader(dataset, batch_size=6, shuffle=True)
        for passes in (1, 2):
            found = figures(evaluate(noisy, loader, reference=reference))
            # Augmented at random, images are others in each pass; each is compared with its own.
            assert found[1] > 0.9 and found[3] > 20
            if not noise:
                np.testing.assert_allclose(found, expected, rtol=1e-4)
            assert dataset.reads == passes * len(dataset)


def test_one_pass_is_one_and_alternates_between_the_networks():
    model, order = Table(logits(6)), []
    compressed = FakeCompressed(model, 0.01 * logits(1)[0])

    def generated():
        for images in numbered_images(6).split(2):
            order.append((model.calls, len(compressed.events)))
            yield images, [0, 0]

    point = evaluate(compressed, generated())
    # The reset comes first; FakeCompressed calls the model, too.
    assert order == [(0, 1), (2, 2), (4, 3)] and model.calls == 6
    assert point["top1"] is not None and point["snr_db"] > 20
    with pytest.raises(ValueError, match="read already"):
        spent = generated()
        list(spent)
        evaluate(compressed, spent)


def test_labels_as_lists_dictionaries_and_input_fn_are_measured():
    model, images = Table(torch.eye(6)), numbered_images(6)
    for data, input_fn in [
        ((images, list(range(6))), None),
        ([{"pixel_values": images, "labels": torch.arange(6)}], None),
        ([(range(6), images, "more")], lambda batch: (batch[1], list(batch[0]))),
    ]:
        assert evaluate(model, data, input_fn=input_fn)["top1"] == 1.0
        assert Reference(model, data, input_fn=input_fn).top1 == 1.0


def test_reference_runs_on_what_it_has_not_seen():
    model, images = Table(logits(6)), numbered_images(6)
    reference = Reference(model)
    assert (reference.images, reference.outputs, reference.top1, model.calls) == (0, [], None, 0)
    for seen, calls in [(images[2:4], 1), (images[:4], 2), (images[[3, 1, 2]], 2), (images, 3)]:
        [output] = reference.outputs_of(seen).values()
        assert torch.equal(output, logits(6)[seen.flatten().long()])
        assert model.calls == calls
    assert len(reference.outputs) == 6
    # Each under its own content: neither another type nor another shape is the same image.
    reference.outputs_of(images.double())
    reference.outputs_of(images.expand(6, 1, 2, 1))
    assert model.calls == 5 and len(reference.outputs) == 18


def test_reference_counts_equal_images_as_the_data_does():
    data = (torch.zeros(5, 1, 1, 1), torch.tensor([0, 1, 1, 1, 1]))
    reference = Reference(Table([[1.0, 0.0]]), data, batch=2)
    assert reference.images == 5 and len(reference.outputs) == 1
    assert reference.top1 == evaluate(reference.model, data)["top1"] == 0.2


def test_threads_may_share_a_reference_and_a_network_in_training():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(25, 10)).train()
    images, _ = small_images(40)
    reference = Reference(model)
    barrier = threading.Barrier(4)

    def measured(seed):
        order = torch.randperm(40, generator=torch.Generator().manual_seed(seed))
        barrier.wait()
        return evaluate(model, images[order], reference=reference, batch=1 + seed)["snr_db"]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(measured, range(4)))
    assert min(found) > 100 and len(reference.outputs) == 40
    assert [module.training for module in model.modules()] == [True] * 4


def test_progress_is_told_to_a_function():
    told = []
    evaluate(Table(logits(5)), numbered_images(5), batch=2, progress=lambda *at: told.append(at))
    assert told == [("evaluate", done, 5) for done in (0, 2, 4, 5)]
    told.clear()
    Reference(Table(logits(5)), [numbered_images(5)], progress=lambda *at: told.append(at))
    assert told == [("uncompressed", 0, None), ("uncompressed", 5, None)]


def test_plain_model_is_its_own_reference_and_has_no_rates():
    model = Table(logits(6))
    point = evaluate(model, (numbered_images(6), torch.zeros(6, dtype=torch.int64)), batch=6)
    assert model.calls == 1
    assert (point["agreement"], point["kl"], point["snr_db"]) == (1.0, 0.0, 200.0)
    assert point["preset"] is None and point["layers"] == [] and point["values"] is None
    assert set(point["bits_per_value"].values()) == {None}
    validate(as_point_of_a_result(point))


def test_without_labels_accuracy_is_none_and_the_rest_is_not():
    point = evaluate(Table(logits(4)), numbered_images(4))
    assert point["top1"] is None and point["top1_interval"] is None and point["top5"] is None
    assert point["agreement"] == 1.0 and point["snr_db"] == 200.0


@pytest.mark.parametrize("shape", [(4, 3, 2, 2), (4, 1), (4, 5, 1, 1)])
def test_no_classifier_is_measured_by_snr_alone(shape):
    rows = torch.randn(shape)
    labels = torch.zeros(4, dtype=torch.int64)
    point = evaluate(Table(rows), (numbered_images(4), labels), reference=Table(2 * rows))
    assert point["top1"] is point["agreement"] is point["kl"] is point["kl_interval"] is None
    # The image's own mean leaves nothing of one number.
    assert (point["snr_db_image"] is None) == (shape == (4, 1))
    assert point["snr_db"] is not None
    validate(as_point_of_a_result(point))


def test_top5_needs_more_than_five_classes():
    labels = torch.zeros(4, dtype=torch.int64)
    assert evaluate(Table(logits(4, 5)), (numbered_images(4), labels))["top5"] is None
    assert evaluate(Table(logits(4, 6)), (numbered_images(4), labels))["top5"] is not None


def test_data_may_be_a_loader_a_list_or_a_dataset(tmp_path):
    np.savez(tmp_path / "d.npz", images=np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1),
             labels=np.arange(6))  # fmt: skip
    from fmtc.data.datasets import open_dataset

    model, labels = Table(torch.eye(6)), torch.arange(6)
    pairs = torch.utils.data.TensorDataset(numbered_images(6), labels)
    for data in (
        torch.utils.data.DataLoader(pairs, batch_size=4),
        [(numbered_images(6), labels)],
        open_dataset(tmp_path / "d.npz", preprocess="std=0.00392156862745098"),
    ):
        assert evaluate(model, data, batch=4)["top1"] == 1.0
    batches = [numbered_images(6)[:4], numbered_images(6)[4:]]
    assert evaluate(model, batches)["top1"] is None


def test_training_mode_is_left_as_it_was():
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 3), nn.Dropout(0.5))
    model.train()
    model[1].eval()
    point = evaluate(model, numbered_images(3))
    assert point["agreement"] == 1.0
    assert [m.training for m in model.modules()] == [True, True, False, True]
    for data in (torch.full((3, 1, 1, 1), math.nan), torch.zeros(3, 2, 1, 1)):
        for run in (evaluate, Reference):
            with pytest.raises((ValueError, RuntimeError)):
                run(model, data)
    assert [m.training for m in model.modules()] == [True, True, False, True]


def test_evaluation_errors():
    model, labels = Table(logits(4)), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"label 9 is outside 0\.\.\.6: the model has 7 classes"):
        evaluate(model, (numbered_images(4), labels + 9))
    with pytest.raises(ValueError, match="there are 4 images and 3 labels"):
        evaluate(model, (numbered_images(4), labels[:3]))
    with pytest.raises(ValueError, match="there are no images"):
        evaluate(model, numbered_images(0))
    with pytest.raises(ValueError, match="labels must be class indices"):
        evaluate(model, (numbered_images(4), labels.double()))
    with pytest.raises(ValueError, match=r"got one image \[1, 1, 1\]"):
        evaluate(model, numbered_images(4)[0])
    with pytest.raises(ValueError, match="they are not the same network"):
        evaluate(model, numbered_images(4), reference=Table(logits(4, 5)))
    broken = logits(4)
    broken[2, 0] = math.nan
    for data in (numbered_images(4), [numbered_images(4)[:2], numbered_images(4)[2:]]):
        with pytest.raises(ValueError, match=r"output of Table for image 2 has NaN or Inf"):
            evaluate(Table(broken), data, batch=2)
        with pytest.raises(ValueError, match=r"output of Table for image 2 has NaN or Inf"):
            Reference(Table(broken), data, batch=2)
    with pytest.raises(ValueError, match=r"output is \[12\] for 4 images"):
        evaluate(nn.Flatten(0), torch.zeros(4, 1, 1, 3))


def test_real_compressed_model(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 6, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10),
    ).eval()  # fmt: skip
    images, labels = torch.randn(12, 3, 16, 16), torch.arange(12) % 10
    compressed = fmtc.compress(model, images[:4], "paper", bits=8)
    data = (images[4:], labels[4:])
    streamed = fmtc.evaluate(compressed, data, batch=3)
    simulated = fmtc.evaluate(compressed, data, batch=8, mode="simulate")
    validate(as_point_of_a_result(streamed))
    validate(as_point_of_a_result(simulated))
    assert streamed["values"] == 8 * (8 * 16 * 16 + 6 * 7 * 7)
    assert streamed["snr_db"] > 15 and streamed["mode"] == "stream"
    assert streamed["bits_per_value"]["stream"] > streamed["bits_per_value"]["huffman"]
    assert simulated["bits_per_value"]["stream"] is None
    for figure in ("top1", "agreement", "clamped_fraction", "values"):
        assert streamed[figure] == simulated[figure]
    # Batches of another size may round convolutions differently, by the last bit of a float.
    np.testing.assert_allclose(streamed["snr_db"], simulated["snr_db"], atol=0.1)
