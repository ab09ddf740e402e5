"""fmtc_infer, the C++ program, beside Python: the same package, images, classes and bytes."""

from __future__ import annotations

import json
import re
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import fmtc
from fmtc.demo import digits_data
from fmtc.energy import image_joules
from fmtc.preprocess import parse_preprocess

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
    """Runs the program on one thread, which must succeed or say what is wrong."""

    def call(*arguments, error: str | None = None) -> subprocess.CompletedProcess:
        command = [program, *arguments, "--threads", 1]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if error is None:
            assert done.returncode == 0, done.stderr
        else:
            assert done.returncode == 1 and re.search(error, done.stderr), done
            assert done.stderr.splitlines()[-1].startswith("fmtc_infer: ")
        return done

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


def check_against_python(printed, compressed, files, x) -> None:
    compressed.reset_statistics()
    compressed.mode = "stream"
    expected = torch.cat([compressed(part) for part in x.split(8)]).argmax(1)
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
    assert "DigitsResNet, preset fmtc" in printed


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


@pytest.mark.parametrize(
    "change, error",
    [
        (lambda m: m.pop("fmtc"), "not one that fmtc exported"),
        (lambda m: m.update(fmtc='{"schema": "fmtc.package/9"}'), "schema 'fmtc.package/9'"),
        (lambda m: m.update(fmtc='{"schema": "fmtc.package/1"}'), "damaged metadata"),
        (lambda m: m.update(fmtc="{"), "parse error"),
    ],
)
def test_packages_of_others_are_refused(change, error, package, folder, run, tmp_path):
    bad = tmp_path / "bad.pt2"
    change_metadata(package[0], bad, change)
    run(bad, folder, error=error)


def test_bad_files_are_refused(package, folder, run, tmp_path):
    path, _ = package
    run(tmp_path / "none.pt2", folder, error="none.pt2 is no file")
    bad = tmp_path / "bad.pt2"
    for data in (b"", b"no zip file", path.read_bytes()[:1000]):
        bad.write_bytes(data)
        run(bad, folder, error="bad.pt2 is no package")
    run(path, folder, "--labels", tmp_path / "none.txt", error="none.txt cannot be read")
