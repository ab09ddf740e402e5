"""fmtc_infer, the C++ program, beside Python: the same package, images, classes and bytes."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import find_tool
from PIL import Image
from safetensors.torch import load_file, save_file
from torch._inductor.package import load_package

import fmtc
from fmtc.cli.demo import digits_data
from fmtc.data.datasets import open_images
from fmtc.data.models import load_model
from fmtc.data.preprocess import parse_preprocess
from fmtc.deploy.export import COMPRESSED
from fmtc.deploy.metadata import package_metadata
from fmtc.deploy.packages import METADATA_KEY, exported, write_package
from fmtc.deploy.streaming import Streaming
from fmtc.evaluation.snr import image_snr_db
from fmtc.results.energy import image_joules
from fmtc.results.result import load_result

CONFORMANCE = Path(__file__).parent / "data" / "conformance" / "image"
PREPROCESS = "resize=32,crop=32,mean=0.5,std=0.5"


@pytest.fixture(scope="module")
def program(build_tree) -> Path:
    path = build_tree / "csrc" / "infer" / "fmtc_infer"
    if not path.exists():
        pytest.skip(
            "fmtc_infer was not built: `make build-programs`, with nlohmann-json3-dev, "
            "libcli11-dev, libjpeg-dev and libpng-dev"
        )
    return path


@pytest.fixture
def run(program):
    """Runs the program on one thread, which must succeed or say what is wrong with ``error``."""

    def call(*arguments, error: str | None = None) -> subprocess.CompletedProcess:
        command = [program, *arguments, "--threads", 1]
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, errors="surrogateescape"
        )
        if error is None:
            assert done.returncode == 0, done.stderr
        else:
            assert done.returncode == 2, done
            last = done.stderr.splitlines()[-1]
            assert last.startswith("fmtc_infer: ") and re.search(error, last), done.stderr
        return done

    call.program = program
    return call


def pixels(count: int) -> np.ndarray:
    """Digits as uint8 [count, 32, 32]."""
    images = digits_data().test_images[:count, 0]
    return ((images + 1) * 127.5).round().to(torch.uint8).numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Digits as images of all kinds: PNG and JPEG, grey, coloured, with other sizes."""
    folder = tmp_path_factory.mktemp("images")
    for i, image in enumerate(map(Image.fromarray, pixels(24))):
        if i % 4 == 1:
            image = image.resize((40 + i, 37))
        if i % 8 == 2:
            (folder / "deeper").mkdir(exist_ok=True)
            image.save(folder / "deeper" / f"{i:02}.JPG", "JPEG", quality=95)
        elif i % 8 == 3:
            image.convert("P").save(folder / f"{i:02}.png")
        elif i % 8 == 5:
            image.convert("LA").save(folder / f"{i:02}.png")
        else:
            image.save(folder / f"{i:02}.png")
    return folder


def inputs_of(files) -> torch.Tensor:
    preprocess = parse_preprocess(PREPROCESS)
    grey = (np.array(Image.open(file).convert("L")) for file in files)
    return torch.stack([preprocess(torch.from_numpy(image)[None]) for image in grey])


def classes(printed: str) -> dict[str, int]:
    """The best class of each image."""
    return {name: int(c) for name, c in re.findall(r"^(.+?): (\d+)", printed, re.MULTILINE)}


def number(pattern: str, printed: str) -> float:
    return float(re.search(pattern, printed)[1])


def check_against_python(printed, compressed, files, x, batch=8) -> None:
    compressed.reset_statistics()
    compressed.mode = "stream"
    expected = torch.cat([compressed(part) for part in x.split(batch)]).argmax(1)
    assert classes(printed) == dict(zip(map(str, files), expected.tolist(), strict=True))
    report = compressed.report()
    rate = report.bits_per_value["stream"]
    assert number(r"bits/value +([\d.]+)", printed) == pytest.approx(rate, rel=1e-3)
    written = rate / 8 * report.values / len(x)
    assert number(r"an image +(\d+) bytes written", printed) == pytest.approx(written, rel=1e-3)
    joules = image_joules(report.layers, "stream")
    assert number(r"([\d.]+) uJ", printed) == pytest.approx(1e6 * joules, rel=1e-3)


@pytest.mark.parametrize("batch", [1, 5, 24])
def test_classes_and_bytes_are_those_of_python(batch, package, folder, run):
    path, compressed = package
    printed = run(path, folder, "--batch", batch).stdout
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    check_against_python(printed, compressed, files, inputs_of(files))
    assert "24 images, 0 skipped" in printed
    assert 'DigitsResNet, preset fmtc, {"kind":"step","value":0.001}' in printed


@pytest.mark.parametrize("batch", [5, 24])
def test_packages_for_batches_of_one_size(batch, package, folder, run, tmp_path):
    """Its last batch is filled up, which is counted nowhere."""
    path, compressed = package
    fixed = tmp_path / "fixed.pt2"
    change_metadata(path, fixed, change_fmtc(batch=batch))
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    printed = run(fixed, folder).stdout
    check_against_python(printed, compressed, files, inputs_of(files))
    assert "24 images, 0 skipped" in printed
    error = f"fixed.pt2 takes batches of {batch} images only"
    run(fixed, folder, "--batch", 3, error=error)
    run(fixed, folder, "--batch", batch)


def test_plain_network_beside_it(package, folder, run):
    path, compressed = package
    files = sorted(file for file in folder.glob("*.png"))
    printed = run(path, *files, "--plain", "--repeat", 2, "--batch", 7).stdout
    x = inputs_of(files)
    point = fmtc.evaluate(compressed, x)
    agreeing, count = map(int, re.search(r"same top-1 (\d+) of (\d+)", printed).groups())
    assert count == len(files) and agreeing == round(point["agreement"] * count)
    assert number(r"SNR ([\d.]+) dB", printed) == pytest.approx(point["snr_db"], abs=0.02)
    times = re.findall(
        r"^(\S.*|  \w+) +([\d.]+) ms median, ([\d.]+) ms p95$", printed, re.MULTILINE
    )
    assert [name.strip() for name, *_ in times] == [
        *("time", "network", "encode", "decode", "plain time")
    ]
    assert all(0 < float(median) <= float(p95) for _, median, p95 in times)


def test_result_is_an_evaluation_of_the_same_images(package, folder, run, tmp_path):
    path, compressed = package
    files = sorted(file for file in folder.glob("*.png"))
    bad = tmp_path / "bad \udcff.png"  # a name that is no UTF-8
    bad.write_text("no image")
    run(path, *files, bad, "--plain", "--batch", 6, "--json", tmp_path / "result.json")
    assert sorted(file.name for file in tmp_path.iterdir()) == [bad.name, "result.json"]
    result = load_result(tmp_path / "result.json")  # checks it against the schema
    assert result["model"] == "DigitsResNet" and result["command"].startswith(str(run.program))
    skipped = [str(tmp_path / "bad \ufffd.png")]
    counts = {"calibration_images": 64, "evaluated_images": len(files), "skipped": skipped}
    assert result["dataset"] == {"path": result["dataset"]["path"], **counts}
    assert result["dataset"]["path"].startswith(str(files[0]))
    assert result["environment"]["threads"] == 1 and result["environment"]["torch"]
    (point,) = result["points"]
    expected = fmtc.evaluate(compressed, inputs_of(files), mode="stream")
    for key in ("preset", "weight_bits", "setting", "block", "coder", "mode", "multiply_adds",
                "values", "agreement"):  # fmt: skip
        assert point[key] == expected[key], key
    for key in ("snr_db", "snr_db_image"):
        assert point[key] == pytest.approx(expected[key], abs=0.02), key
    assert point["outputs"] == [{"name": "output", "snr_db": point["snr_db"]}]
    assert point["kl"] == pytest.approx(expected["kl"], rel=0.02)
    check_rates(point, expected)
    for layer, other in zip(point["layers"], expected["layers"], strict=True):
        check_rates(layer, other)
        rates = ("bits_per_value", "histogram")
        assert {k: layer[k] for k in layer if k not in rates} == {
            k: other[k] for k in other if k not in rates
        }
    seconds = point["seconds_per_image"]
    assert list(seconds) == sorted(["total", "network", "encode", "decode", "plain"])
    assert all(0 < times["median"] <= times["p95"] for times in seconds.values())
    assert point["seconds"]["evaluate"] > 0


def check_rates(point, expected) -> None:
    """Only streams were counted; a level that comes out otherwise may change one by some bytes."""
    for kind in {"bits_per_value", "joules_per_image"} & set(point):
        rates = dict(point[kind])
        assert rates.pop("stream") == pytest.approx(expected[kind]["stream"], rel=1e-3)
        assert not any(rates.values())


class Heads(torch.nn.Module):
    """Maps, classes, a number, and what is no output to measure."""

    def __init__(self):
        super().__init__()
        self.stem = torch.nn.Conv2d(1, 8, 3, stride=4)
        self.maps, self.classes = torch.nn.Conv2d(8, 4, 1), torch.nn.Linear(8, 10)

    def forward(self, x):
        y = self.stem(x).relu()
        pooled = y.mean((2, 3))
        found = self.classes(pooled)
        return {"best": found.argmax(1), "maps": self.maps(y), "all": (found, pooled.mean(1))}


def test_coloured_images_for_a_grey_network(package, run, tmp_path):
    path, compressed = package
    change_metadata(path, tmp_path / "grey.pt2", change_fmtc(preprocess=f"grey,{PREPROCESS}"))
    (tmp_path / "coloured").mkdir()
    generator = np.random.default_rng(3)
    for i in range(8):
        rgb = generator.integers(0, 256, 3) * pixels(8)[i, :, :, None] // 255
        Image.fromarray(rgb.astype(np.uint8)).save(tmp_path / "coloured" / f"{i}.png")
    files = sorted((tmp_path / "coloured").iterdir())
    x, _ = open_images(files, parse_preprocess(f"grey,{PREPROCESS}")).tensor()
    assert x.shape == (8, 1, 32, 32)
    printed = run(tmp_path / "grey.pt2", *files, "--batch", 4).stdout
    check_against_python(printed, compressed, files, x, batch=4)


def test_every_output_that_counts_is_measured(folder, run, tmp_path):
    torch.manual_seed(0)
    train, files = digits_data().train_images[:32], sorted(folder.glob("*.png"))
    compressed = fmtc.compress(
        Heads().eval(), train, target=fmtc.Step(0.1), outputs=["maps", "all.1"]
    )
    path = tmp_path / "heads.pt2"
    fmtc.export(compressed, path, train[:2], preprocess=PREPROCESS)
    run(path, *files, "--plain", "--batch", 5, "--json", tmp_path / "result.json")
    (point,) = load_result(tmp_path / "result.json")["points"]
    expected = fmtc.evaluate(compressed, inputs_of(files), mode="stream")
    assert [output["name"] for output in point["outputs"]] == ["maps", "all.1"]
    for output, other in zip(point["outputs"], expected["outputs"], strict=True):
        assert output["snr_db"] == pytest.approx(other["snr_db"], abs=0.1)
    assert point["snr_db"] == min(output["snr_db"] for output in point["outputs"])
    assert point["snr_db_image"] == pytest.approx(expected["snr_db_image"], abs=0.1)
    assert point["agreement"] is None  # classes do not count here


def test_result_needs_a_folder(package, folder, run, tmp_path):
    error = "missing is no folder"
    run(package[0], folder, "--json", tmp_path / "missing" / "result.json", error=error)
    for path, why in (
        (tmp_path, "cannot be written: it is a folder; name a file"),
        ("", "the file to be written has no name"),
        ("/proc/none.json", "/proc/none.json cannot be written"),
    ):
        done = run(package[0], folder, "--json", path, error=why)
        assert done.stdout == ""  # before anything is run
    run(package[0], folder / "none.png", "--json", tmp_path / "result.json", error="none of the")
    assert not list(tmp_path.iterdir())
    run(package[0], folder / "00.png", "--json", tmp_path / "result.json")
    (point,) = load_result(tmp_path / "result.json")["points"]
    assert point["snr_db"] is None and point["seconds_per_image"]["plain"] is None
    (tmp_path / "result.json").unlink()
    (tmp_path / "taken").mkdir()
    error = "taken cannot be written"
    run(package[0], folder / "00.png", "--json", tmp_path / "taken", error=error)
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


def test_energy_is_that_of_the_package(package, folder, run, tmp_path):
    changed = tmp_path / "changed.pt2"
    change_metadata(package[0], changed, change_fmtc(joules_per_bit={"write": 1e-6, "read": 0}))
    printed = run(changed, folder).stdout
    written, joules = re.search(r"(\d+) bytes written, .*, ([\d.e+]+) uJ", printed).groups()
    assert float(joules) == pytest.approx(8 * float(written), rel=1e-3)


def test_devices(package, folder, run, tmp_path):
    path, image = package[0], folder / "00.png"
    assert "1 images, 0 skipped" in run(path, image, "--device", "cpu").stdout
    run(path, image, "--device", "cuda", error="compiled for the device 'cpu', not 'cuda'")
    other = tmp_path / "other.pt2"
    change_metadata(path, other, change_fmtc(device="cuda"))
    run(other, image, "--device", "cpu", error="compiled for the device 'cuda', not 'cpu'")
    if not torch.cuda.is_available():
        run(other, image, error="compiled for CUDA, and there is no GPU")
    change_metadata(path, other, change_fmtc(device="abacus"))
    run(other, image, error="unknown device, 'abacus'")


@pytest.fixture(scope="module")
def reference(package, folder, tmp_path_factory) -> Path:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    path = tmp_path_factory.mktemp("reference") / "reference.safetensors"
    fmtc.export_reference(package[1], path, inputs_of(files))
    return path


@pytest.mark.parametrize("batch", [1, 7])
def test_runs_are_checked_against_python(batch, package, folder, reference, run):
    printed = run(package[0], folder, "--check", reference, "--batch", batch).stdout
    count, others, decibels, of_plain, differing, bytes_ = re.search(
        r"check +(\d+) images, (\d+) of another class, SNR ([\d.]+) dB \(of the reference's own "
        r"noise ([\d.]+) dB\), (\d+) of (\d+) bytes differ",
        printed,
    ).groups()
    assert (int(count), int(others)) == (24, 0) and float(decibels) > float(of_plain) + 3
    tensors = load_file(reference)
    noise = image_snr_db(tensors["plain"], tensors["output"]).mean()
    assert float(of_plain) == pytest.approx(float(noise), abs=0.06)
    assert int(differing) <= 1e-3 * int(bytes_)
    assert int(bytes_) == int(tensors["used"].sum())


def swapped(output, used, plain):
    """The first two images of another class than their neighbours, in the other order."""
    best = output.argmax(1)
    second = int((best != best[0]).nonzero()[0])
    output[[0, second]] = output[[second, 0]]


def longer(output, used, plain):
    used[5, 0] += int(used.sum() // 500)


@pytest.mark.parametrize(
    "change, error",
    [
        (swapped, "bad.safetensors: 2 images are of another class"),
        (longer, r"bad.safetensors: the streams have other sizes \(\d+ bytes\)$"),
    ],
)
def test_differences_are_found(change, error, package, folder, reference, run, tmp_path):
    tensors = load_file(reference)
    change(**tensors)
    bad = tmp_path / "bad.safetensors"
    save_file(tensors, bad, {"schema": "fmtc.reference/1"})
    done = run(package[0], folder, "--check", bad, "--json", tmp_path / "r.json", error=error)
    assert len(re.findall(r": class \d, in the reference \d$", done.stderr, re.M)) == (
        2 if change is swapped else 0
    )
    assert "bits/value" in done.stdout and (tmp_path / "r.json").exists()


def test_other_inputs_are_found(package, folder, reference, run, tmp_path):
    other = tmp_path / "other.pt2"
    change_metadata(package[0], other, change_fmtc(preprocess=PREPROCESS.replace("0.5", "0.3")))
    error = "outputs are farther away than quantisation explains"
    run(other, folder, "--check", reference, error=error)


def test_references_of_something_else_are_refused(package, folder, reference, run, tmp_path):
    path, _ = package
    run(path, folder / "00.png", "--check", reference, error="is of 24 images, this run of 1$")
    run(path, folder, folder / "00.png", "--check", reference, error="24 images, this run of 25$")
    bad = tmp_path / "bad.safetensors"
    tensors = load_file(reference)
    output, used, plain = (tensors[name] for name in ("output", "used", "plain"))
    fewer = {"output": output[:, 1:].clone(), "plain": plain[:, 1:].clone()}
    for change, error in (
        ({"used": used.int()}, "used holds I32, not I64"),
        ({"plain": plain.int()}, "plain holds I32, not floating-point numbers"),
        ({"output": output[1:]}, "do not fit together"),
        ({"used": used[1:]}, "do not fit together"),
        (fewer, "another network"),
        ({"used": used[:, 1:].clone()}, "another network"),
    ):
        save_file(tensors | change, bad, {"schema": "fmtc.reference/1"})
        run(path, folder, "--check", bad, error=error)
    save_file({"output": output}, bad, {"schema": "fmtc.reference/1"})
    run(path, folder, "--check", bad, error="it has no tensor 'plain'")
    save_file(tensors, bad, {"schema": "fmtc.codec/3"})
    run(path, folder, "--check", bad, error="its schema is 'fmtc.codec/3'")
    bad.write_bytes(reference.read_bytes()[:300])
    run(path, folder, "--check", bad, error="bad.safetensors is no reference to check against")
    run(path, folder, "--check", tmp_path / "none", error="none cannot be read")


def test_progress_is_shown_on_a_terminal_alone(package, folder, run):
    ours, theirs = pty.openpty()
    command = [run.program, package[0], folder, "--batch", "8", "--threads", "1"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, text=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode == 0 and "images" not in run(package[0], folder).stderr
    line = r"\r\x1b\[K(\d+)/24 images, [\d.]+ a second, 0:\d\d:\d\d left"
    assert re.findall(line, shown) == [str(n) for n in range(1, 25)]
    assert shown.endswith("\r\x1b[K")  # nothing of it stays


def test_names_of_classes(package, folder, run, tmp_path):
    path, _ = package
    file = folder / "00.png"
    printed = run(path, file, "--topk", 2).stdout.splitlines()[0]
    assert re.fullmatch(rf"{file}: (\d) \1 [01]\.\d+, (\d) \2 0\.\d+", printed)
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"digit {i}" for i in range(10)))
    printed = run(path, file, "--topk", 99, "--labels", names).stdout.splitlines()[0]
    assert re.search(r": (\d) digit \1 ", printed) and printed.count(" digit ") == 10


def test_unreadable_images_are_named_and_skipped(package, folder, run, tmp_path):
    path, _ = package
    good = folder / "00.png"
    for file in (good, folder / "deeper" / "02.JPG"):
        data = file.read_bytes()
        for size in (0, 5, 30, len(data) // 2):
            (tmp_path / f"cut{size}{file.suffix.lower()}").write_bytes(data[:size])
    (tmp_path / "text.png").write_text("this is no image")
    Image.fromarray(pixels(1)[0][:8, :]).save(tmp_path / "wide.png")  # 8x32: resized to 32x128
    done = run(path, good, tmp_path, tmp_path / "none.jpg")
    skipped = re.findall(r"^(.+) skipped: (.+)$", done.stderr, re.MULTILINE)
    assert len(skipped) == 10 and dict(skipped)[str(tmp_path / "none.jpg")] == "it cannot be opened"
    assert "neither JPEG nor PNG" in dict(skipped)[str(tmp_path / "text.png")]
    assert "2 images, 10 skipped" in done.stdout
    run(path, tmp_path / "text.png", error="none of the images could be read")
    (tmp_path / "empty").mkdir()
    run(path, tmp_path / "empty", error="there are no images")


def test_folders_are_searched_as_in_python(package, folder, run, tmp_path):
    path, _ = package
    image = (folder / "00.png").read_bytes()
    for name in ("b.png", ".hidden.png", "a/c.png", ".hidden/d.png", "dir.jpg/e.png", "ab/f.PNG"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / "in" / name).write_bytes(image)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "g.png").write_bytes(image)
    (tmp_path / "in" / "link").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "round").symlink_to(tmp_path / "in")
    done = run(path, tmp_path / "in")
    expected = open_images([tmp_path / "in"], parse_preprocess(PREPROCESS)).names
    assert len(expected) == 5 and list(classes(done.stdout)) == expected
    assert done.stderr == ""


def peak_memory(command) -> int:
    code = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], capture_output=True); "
        "print(1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    command = [sys.executable, "-S", "-c", code, *map(str, command)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


def test_images_that_are_too_large_cost_next_to_nothing(package, folder, run, tmp_path):
    path, good = package[0], folder / "00.png"
    large = [file for file in CONFORMANCE.iterdir() if file.name.startswith("bad-large")]
    assert len(large) > 5
    done = run(path, good, *large)
    assert done.stderr.count("larger than --max-pixels 178956970") >= 5
    assert f"1 images, {len(large)} skipped" in done.stdout
    command = [run.program, path, good, "--threads", "1"]
    assert peak_memory([*command, *large]) - peak_memory(command) <= 32 << 20


def test_limits_of_images_can_be_set(package, folder, run, tmp_path):
    path, good = package[0], folder / "00.png"
    assert "1 images" in run(path, good, "--max-pixels", 32 * 32).stdout
    done = run(path, good, "--max-pixels", 32 * 32 - 1, error="none of the images could be read")
    assert "an image of 32x32 pixels is larger than --max-pixels 1023" in done.stderr
    Image.new("L", (2, 2000)).save(tmp_path / "thin.png")  # 32x32000 when resized
    done = run(path, good, tmp_path / "thin.png", "--max-pixels", 500_000)
    assert "thin.png skipped: resizing would make it larger than --max-pixels 500000" in done.stderr


@pytest.mark.parametrize("option", ["--batch", "--topk", "--threads", "--repeat", "--max-pixels"])
@pytest.mark.parametrize("wrong", ["0", "-3", "1.5", "many", "99999999999999999999"])
def test_numbers_outside_their_range_are_refused_in_a_sentence(option, wrong, program):
    command = [program, "m.pt2", "x.png", option, wrong]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    sentence = rf"{option}: expected a whole number from 1 to \d{{4,13}}, not '{wrong}'\n"
    assert done.returncode == 2 and re.match(sentence, done.stderr), done.stderr


def test_a_result_is_written_into_devices_and_pipes(package, folder, run, tmp_path):
    path, image = package[0], folder / "00.png"
    printed = run(path, image, "--json", "/dev/stdout").stdout
    (point,) = json.loads(printed[printed.index("{\n") :])["points"]
    assert point["mode"] == "stream"
    run(path, image, "--json", "/dev/null")
    assert not Path("/dev/null").is_file()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True) as cat:
        run(path, image, "--json", pipe)
        assert json.loads(cat.stdout.read())["points"]
    assert pipe.is_fifo()
    (tmp_path / "link.json").symlink_to("there.json")
    for _ in range(2):  # new, then replaced
        run(path, image, "--json", tmp_path / "link.json")
        assert (tmp_path / "link.json").is_symlink()
        assert json.loads((tmp_path / "there.json").read_text())["points"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["link.json", "pipe", "there.json"]


def change_metadata(source: Path, to: Path, change) -> None:
    """A copy of a package with other metadata."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(to, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename.endswith("_metadata.json"):
                metadata = json.loads(data)
                change(metadata)
                data = json.dumps(metadata)
            new.writestr(info, data)


def change_fmtc(**entries):
    """A change of entries in fmtc's own metadata."""

    def change(metadata):
        metadata["fmtc"] = json.dumps(json.loads(metadata["fmtc"]) | entries)

    return change


@pytest.mark.parametrize(
    "change, error",
    [
        (change_fmtc(point={}), "damaged metadata: .*layers"),
        (change_fmtc(joules_per_bit=None), "damaged metadata"),
        (lambda m: m.pop("fmtc"), "not one that fmtc exported"),
        (lambda m: m.update(fmtc='{"schema": "fmtc.package/9"}'), "schema 'fmtc.package/9'"),
        (lambda m: m.update(fmtc='{"schema": "fmtc.package/2"}'), "damaged metadata"),
        (lambda m: m.update(fmtc="{"), "parse error"),
        (lambda m: m.update(fmtc="[" * 20_000 + "]" * 20_000), "nested too deeply"),
        (change_fmtc(input_shape=[1, 2**40, 2**40]), "damaged metadata: a tensor of the shape"),
        (change_fmtc(input_shape=[0]), "damaged metadata"),
        (change_fmtc(input_shape=[]), "damaged metadata"),
        (change_fmtc(batch=2**40), "damaged metadata"),
        (change_fmtc(batch=-1), "damaged metadata"),
    ],
)
def test_packages_of_others_are_refused(change, error, package, folder, run, tmp_path):
    bad = tmp_path / "bad.pt2"
    change_metadata(package[0], bad, change)
    run(bad, folder, error=error)


def test_whole_networks_are_no_halves(package, folder, run):
    error = "is a compressed network, not the {} of a split network: give it to fmtc_infer as MODEL"
    run("--tail", package[0], "--listen", 0, error=error.format("tail"))
    send = ("--send", "http://127.0.0.1:1", folder)
    run("--head", package[0], *send, error=error.format("head"))


def test_bad_files_are_refused(package, folder, run, tmp_path):
    path, _ = package
    run(tmp_path / "none.pt2", folder, error="none.pt2 is no file")
    bad = tmp_path / "bad.pt2"
    for data in (b"", b"no zip file", path.read_bytes()[:1000]):
        bad.write_bytes(data)
        run(bad, folder, error="bad.pt2 is no package")
    run(path, folder, "--labels", tmp_path / "none.txt", error="none.txt cannot be read")


# -- A network of real size -----------------------------------------------------------------------


class WithStreams(Streaming):
    """Gives the levels and the streams of every coding point, too, as further outputs."""

    def __init__(self, compressed):
        super().__init__(compressed)
        self.notes.keeps_levels = True

    def forward(self, x):
        *outputs, used, status = super().forward(x)
        levels = (self.notes.levels[name] for name in self.names)
        streams = (self.notes.streams[name] for name in self.names)
        return *outputs, *levels, *streams, used, status


@dataclass
class Compiled:
    """A compressed network and its package, which gives levels and streams."""

    compressed: fmtc.CompressedModel
    path: Path
    files: list[Path]
    x: torch.Tensor

    def batches(self, size: int):
        """What eager mode and the package make of each batch."""
        eager, compiled = WithStreams(self.compressed), load_package(str(self.path), COMPRESSED)
        for x in self.x.split(size):
            with torch.no_grad():
                yield self._parts(eager(x)), self._parts(compiled(x))

    def _parts(self, results):
        *outputs, used, status = results
        assert not status.any()
        points = len(self.compressed.points)
        return outputs[0], outputs[1 : points + 1], outputs[points + 1 :], used


@pytest.fixture(scope="module")
def mobilenet(shared_data, tmp_path_factory) -> Compiled:
    """MobileNetV2 at some 14 dB, and 100 images that it was not calibrated with."""
    data, preprocess = shared_data / "imagenet_sample", "crop=224,mean=0.5,std=0.5,hflip,vflip"
    model = load_model("mobilenet_v2", shared_data / "mobilenet_v2_imagenet_w8.safetensors")
    files = sorted(data.glob("*.jpg"))[:124]
    rgb = (np.array(Image.open(file).convert("RGB")) for file in files)
    x = torch.stack(
        [parse_preprocess(preprocess)(torch.from_numpy(image).permute(2, 0, 1)) for image in rgb]
    )
    compressed = fmtc.compress(model, x[:24], target=fmtc.Step(0.0007))
    streaming = WithStreams(compressed)
    programs = {COMPRESSED: exported(streaming, (x[:2],), dynamic_batch=True)}
    metadata = package_metadata(compressed, streaming, x[:2], preprocess=preprocess)
    metadata["outputs"] *= 1 + 2 * len(compressed.points)
    path = tmp_path_factory.mktemp("mobilenet") / "m.pt2"
    write_package(path, programs, {METADATA_KEY: json.dumps(metadata)})
    return Compiled(compressed, path, files[24:], x[24:])


@pytest.mark.long
def test_mobilenet_v2_on_real_images(mobilenet, run, threads, tmp_path):
    """Equal batches on one thread: others round otherwise, which can tip a close decision."""
    batch, compressed = 10, mobilenet.compressed
    with threads(1):
        fmtc.export_reference(compressed, tmp_path / "r.safetensors", mobilenet.x, batch=batch)
        options = ("--batch", batch, "--check", tmp_path / "r.safetensors")
        printed = run(mobilenet.path, *mobilenet.files, *options).stdout
        check_against_python(printed, compressed, mobilenet.files, mobilenet.x, batch)
    assert "100 images, 0 of another class" in printed


@pytest.mark.long
def test_levels_of_mobilenet_v2(mobilenet):
    """At most one of 10^4 differs, by one step; each decodes the streams that the other made."""
    moved = values = 0
    for (_, levels, streams, used), (_, got_levels, got_streams, got_used) in mobilenet.batches(10):
        for i, point in enumerate(mobilenet.compressed.points.values()):
            difference = (levels[i].int() - got_levels[i].int()).abs()
            assert difference.max() <= 1
            moved += int((difference != 0).sum())
            values += difference.numel()
            decoded = point.codec.decode_levels(
                got_streams[i], got_used[:, i], *levels[i].shape[2:]
            )
            assert torch.equal(decoded, got_levels[i])
            # Equal levels are equal bytes, so what eager mode made decodes in the package as well.
            same = (difference == 0).flatten(1).all(1)
            assert torch.equal(used[same, i], got_used[same, i])
            inside = torch.arange(streams[i].shape[1]) < used[:, i, None]
            equal = (streams[i] == got_streams[i]) | ~inside
            assert equal[same].all()
    assert 0 < values and moved <= values / 10_000


def test_installed_program_finds_its_operators(package, folder, build_tree, program, tmp_path):
    """And says which library is missing."""

    def install(component):
        command = [find_tool("cmake"), "--install", build_tree, "--prefix", tmp_path]
        done = subprocess.run([*command, "--component", component], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def infer():
        command = [tmp_path / "bin" / "fmtc_infer", package[0], folder / "00.png"]
        return subprocess.run([*command, "--threads", "1"], capture_output=True, text=True)

    install("programs")
    missing = infer()
    assert missing.returncode != 0 and "libfmtc_infer.so" in missing.stderr
    install("development")
    found = infer()
    assert found.returncode == 0, found.stderr
    assert "1 images, 0 skipped" in found.stdout
