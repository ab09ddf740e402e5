"""fmtc_eval, the C++ program, beside `fmtc eval`: the same images, figures, table and errors."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import find_tool
from evaluations import Program, check_alike, check_exact, part_of, program_in, results
from PIL import Image

import fmtc
from fmtc.cli import main as cli
from fmtc.cli import packages
from fmtc.cli.demo import digits_data, digits_model
from fmtc.data.datasets import open_dataset, split
from fmtc.deploy.export import network_in
from fmtc.network.fingerprint import fingerprint
from fmtc.results.console import console, result_table
from fmtc.results.result import load_result, validate

CALIBRATION, IMAGES, BATCH = 40, 150, 16
NETWORK = "from fmtc.cli.demo import digits_model\n"


@pytest.fixture(scope="module")
def evaluate(build_tree) -> Program:
    return program_in(build_tree)


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [count, 1, 32, 32] and labels."""
    data = digits_data()
    pixels = ((data.test_images[:count] + 1) * 127.5).round().to(torch.uint8)
    return pixels.numpy(), data.test_labels[:count].numpy()


@dataclass
class Evaluated:
    """What `fmtc eval --export` left in a folder, which is worked in."""

    folder: Path
    printed: str

    @property
    def packages(self) -> list[Path]:
        return [self.folder / "packages" / f"fmtc-step={step}.pt2" for step in ("0.002", "0.001")]

    @property
    def options(self) -> list:
        return [*self.packages, "--data", "digits.npz", "--images", IMAGES, "--batch", BATCH]


@pytest.fixture(scope="module")
def evaluated(evaluate, tmp_path_factory) -> Evaluated:
    folder = tmp_path_factory.mktemp("evaluated")
    images, labels = digits(230)
    np.savez(folder / "digits.npz", images=images, labels=labels)
    (folder / "net.py").write_text(NETWORK)
    threads = torch.get_num_threads()
    before = Path.cwd()
    os.chdir(folder)
    try:
        command = ["eval", "--model", "net.py:digits_model", "--data", "digits.npz", "--preprocess"]
        command += ["mean=0.5,std=0.5", "--target", "step=0.002,0.001", "--batch", str(BATCH)]
        command += ["--calib-images", str(CALIBRATION), "--images", str(IMAGES), "--threads", "1"]
        assert cli.main([*command, "--export", "packages", "--out", "results", "--quiet"]) == 0
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)
    return Evaluated(folder, table_of(folder / "results" / "result.json"))


@pytest.fixture
def here(evaluated, monkeypatch) -> Evaluated:
    monkeypatch.chdir(evaluated.folder)
    return evaluated


@pytest.fixture(scope="module")
def whole(evaluate, evaluated) -> Path:
    """The result of one run."""
    path = evaluated.folder / "whole.json"
    evaluate(*evaluated.options, "--json", path, cwd=evaluated.folder)
    return path


def table_of(path: Path) -> str:
    """What `fmtc eval` prints of a result where its output goes to a file."""
    terminal = console()
    with terminal.capture() as capture:
        terminal.print(result_table(load_result(path)))
    return capture.get()


# -- The same figures ------------------------------------------------------------------------------


def test_figures_are_those_of_python(here, whole):
    found, expected = results(whole, here.folder / "results" / "result.json")
    check_exact(found, expected)
    check_alike(found, expected)
    point = load_result(whole)["points"][0]
    assert point["top1_interval"][0] < point["top1"] < point["top1_interval"][1]
    times = point["seconds_per_image"]
    assert all(0 < of["median"] <= of["p95"] for of in times.values())
    assert point["seconds"]["evaluate"] > 0


def test_the_table_is_that_of_python(here, evaluate):
    printed, said = evaluate(*here.options)
    assert printed == here.printed
    assert f"{IMAGES} images, {CALIBRATION} of calibration left out" in said
    assert re.search(r"[\d.]+ images a second, [\d.]+ % of the time in the networks", said)


def test_what_reads_results_reads_its_own(here, whole, tmp_path):
    assert cli.main(["plot", str(whole), "--out", str(tmp_path / "curve.png")]) == 0
    assert (
        cli.main(["plot", str(whole), "--layers", "0.001", "--out", str(tmp_path / "l.png")]) == 0
    )


def test_there_is_no_python_in_the_process(evaluate):
    listed = subprocess.run(["ldd", evaluate.path], capture_output=True, text=True, check=True)
    assert "libtorch_cpu" in listed.stdout and "libpython" not in listed.stdout


@pytest.mark.long
def test_the_example_measures_the_same_points(here, build_tree, tmp_path, evaluate):
    """Built against the installed library; two points, 100 images, 10 at a time."""
    root, cmake = Path(__file__).resolve().parents[1], find_tool("cmake")
    prefix, build = tmp_path / "installed", tmp_path / "build"
    torch_dir = Path(torch.__file__).parent
    for command in (
        [cmake, "--install", build_tree, "--component", "development", "--prefix", prefix],
        [cmake, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={find_tool('ninja')}", "-B", build,
         "-S", root / "examples" / "cpp", f"-DCMAKE_PREFIX_PATH={prefix}",
         f"-DTORCH_DIR={torch_dir}"],
        [cmake, "--build", build, "--target", "curve"],
    ):  # fmt: skip
        made = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert made.returncode == 0, made.stdout + made.stderr
    command = [build / "curve", "digits.npz", *here.packages]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=True, env=environment
    )
    options = ["--data", "digits.npz", "--images", 100, "--batch", 10]
    evaluate(*here.packages, *options, "--json", tmp_path / "r.json")
    assert done.stdout.splitlines() == [
        f"{point['bits_per_value']['stream']:.3f} bits a value, {point['snr_db']:.2f} dB"
        for point in load_result(tmp_path / "r.json")["points"]
    ]


# Values that a table shows otherwise, or not at all.
TABLES = [
    {"setting": {"kind": "rate", "value": 1.0}},
    {"setting": {"kind": "rate", "value": 0.7412345678}},
    {"setting": {"kind": "kl", "value": 0.02}, "snr_db": None, "top1": None, "agreement": None},
    {"setting": {"kind": "agreement", "value": 0.9925}, "preset": "paper-robust"},
    {"setting": {"kind": "drop", "value": 0.001}, "preset": None},
    {"setting": {"kind": "b", "value": 8}, "multiply_adds": {"plain": None, "compressed": None}},
    {"setting": {"kind": "snr_db", "value": 15}, "outputs": [
        {"name": "maps", "snr_db": 12.345}, {"name": "a long name.1", "snr_db": None}]},
    {"bits_per_value": {"entropy": 0.5, "entropy_classes": 0.4, "cross_entropy": 0.4,
                        "huffman": 0.6, "stream": 0.3}},
]  # fmt: skip


@pytest.mark.parametrize("change", TABLES)
@pytest.mark.parametrize("model", ["m", "a/long/path/" * 12 + "net.py:make é"])
def test_tables_of_other_results(change, model, here, whole, build_tree, tmp_path):
    show = build_tree / "csrc" / "infer" / "fmtc_table"
    result = load_result(whole)
    result["model"] = model
    result["dataset"]["evaluated_images"] = 1234567
    result["points"][1] |= change
    validate(result)
    (tmp_path / "r.json").write_text(json.dumps(result))
    done = subprocess.run([show, tmp_path / "r.json"], capture_output=True, text=True, check=True)
    assert done.stdout == table_of(tmp_path / "r.json")


# -- Which images ----------------------------------------------------------------------------------


def choice_of(names: list[str]) -> int:
    return zlib.crc32("".join(f"{name}\n" for name in names).encode())


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
@pytest.mark.parametrize("images", [1, 33, None])
def test_a_seed_chooses_the_images_that_python_chooses(seed, images, here, evaluate, tmp_path):
    """Those of calibration are left out, wherever another seed puts them."""
    limit = [] if images is None else ["--images", images]
    part = tmp_path / "part.json"
    options = ["--batch", 230, "--seed", seed, "--shard", "1/1", "--json", part]
    evaluate(here.packages[0], "--data", "digits.npz", *limit, *options)
    dataset = open_dataset("digits.npz", preprocess="")
    calibration = set(split(dataset, CALIBRATION, seed=0)[0])
    order = np.random.RandomState(seed).permutation(230).tolist()
    expected = [str(i) for i in order if i not in calibration][:images]
    run = part_of(part)["run"]
    assert run["choice"] == choice_of(expected)
    assert (run["images"], run["left_out"], run["seed"]) == (len(expected), CALIBRATION, seed)


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory) -> Path:
    """Digits by class, at several depths, behind links, and files that are no images."""
    folder = tmp_path_factory.mktemp("folders") / "classes"
    images, labels = digits(60)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        deeper = ["", "b", "a-b", "a/c", "a"][i % 5]
        (folder / str(label) / deeper).mkdir(parents=True, exist_ok=True)
        name = f"{i % 7}{i}.png" if i % 3 else f"{i}.PNG"
        Image.fromarray(image[0]).save(folder / str(label) / deeper / name, "PNG")
    (folder / "3" / "loop").symlink_to(folder)
    (folder / "4" / "link").symlink_to(folder / "5", target_is_directory=True)
    (folder / ".hidden").mkdir()
    (folder / "2" / ".hidden.png").write_bytes(b"")
    (folder / "2" / "notes.txt").write_text("no image")
    return folder


def plain_top1(dataset) -> float:
    """Of the digits' network, with the files as grey images."""
    files = [Path(dataset.path) / name for name in dataset.names]
    pixels = np.stack([np.asarray(Image.open(file).convert("L")) for file in files])
    x = (torch.from_numpy(pixels)[:, None].float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        found = digits_model().eval()(x).argmax(1)
    return float((found == torch.tensor(dataset.labels)).double().mean())


def check_folder(program, package, dataset, *options, **files):
    part = Path("part.json")
    program(package, "--data", dataset.path, "--batch", 64, *options, "--json", "r.json")
    program(package, "--data", dataset.path, "--batch", 64, *options, "--shard", "1/1",
            "--json", part)  # fmt: skip
    order = np.random.RandomState(0).permutation(len(dataset))
    assert part_of(part)["run"]["choice"] == choice_of([dataset.names[i] for i in order])
    result = load_result("r.json")
    assert result["dataset"]["evaluated_images"] == len(dataset)
    assert result["reference"]["top1"] == (dataset.labels and plain_top1(dataset))


def test_image_folders(evaluated, image_folder, evaluate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package = evaluated.packages[0]
    check_folder(evaluate, package, open_dataset(image_folder))
    index = {str(c): (c * 3) % 10 for c in range(10)}
    (tmp_path / "index.json").write_text(json.dumps(index))
    dataset = open_dataset(image_folder, class_index="index.json")
    check_folder(evaluate, package, dataset, "--class-index", "index.json")
    lines = [f"{name},{label}" for name, label in index.items()]
    (tmp_path / "index.csv").write_text("\ufefffolder,index\r\n" + "\r\n".join(lines))
    check_folder(evaluate, package, dataset, "--class-index", "index.csv")


def test_flat_folders_with_labels_and_without(evaluated, evaluate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, labels = digits(20)
    Path("flat").mkdir()
    rows = []
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = f'{i % 4} "a",{i}.png' if i % 2 else f"{i}.png"
        Image.fromarray(image[0]).save(Path("flat") / name)
        quoted = '"' + name.replace('"', '""') + '"'
        rows.append(f"{quoted if i % 2 else './' + name}, {label}")
    Path("flat/labels.csv").write_text("file,label,more\n\n" + "\n".join(rows) + "\n")
    package = evaluated.packages[0]
    check_folder(evaluate, package, open_dataset("flat"))
    dataset = open_dataset("flat", labels="labels.csv")
    check_folder(evaluate, package, dataset, "--labels", "labels.csv")


def write(path: str, text: str | bytes) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_bytes(text if isinstance(text, bytes) else text.encode())


def picture(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits(1)[0][0, 0]).save(path)


PIXELS = np.zeros((4, 1, 32, 32), np.uint8)
# What makes a data set, and the options of both programs.
BAD_DATA = {
    "missing": (lambda: None, {"data": "d"}),
    "a file": (lambda: write("d", "x"), {"data": "d"}),
    "empty": (lambda: Path("d").mkdir(), {"data": "d"}),
    "mixed": (lambda: picture("d/1.png", "d/a/2.png"), {"data": "d"}),
    "a class without images": (
        lambda: (picture("d/a/1.png"), Path("d/b").mkdir(), Path("d/c").mkdir()), {"data": "d"}),
    "no folders for an index": (
        lambda: (picture("d/1.png"), write("i.csv", "a,1\n")), {"data": "d", "class_index": "i.csv"}
    ),
    "no index file": (lambda: picture("d/a/1.png"), {"data": "d", "class_index": "i.csv"}),
    "another index": (
        lambda: (picture("d/a/1.png"), write("i.json", '{"b": 1}')),
        {"data": "d", "class_index": "i.json"}),
    "no labels file": (lambda: picture("d/1.png"), {"data": "d", "labels": "l.csv"}),
    "another header": (
        lambda: (picture("d/1.png"), write("l.csv", "name,label\n1.png,1\n")),
        {"data": "d", "labels": "l.csv"}),
    "an empty file of labels": (
        lambda: (picture("d/1.png"), write("l.csv", "")), {"data": "d", "labels": "l.csv"}),
    "a header alone": (
        lambda: (picture("d/1.png"), write("l.csv", "file,label\n\n")),
        {"data": "d", "labels": "l.csv"}),
    "no class index": (
        lambda: (picture("d/1.png"), write("l.csv", "file,label\n\n1.png,cat\n")),
        {"data": "d", "labels": "l.csv"}),
    "a negative label": (
        lambda: (picture("d/1.png"), write("l.csv", "file,label\n1.png,-1\n")),
        {"data": "d", "labels": "l.csv"}),
    "listed twice": (
        lambda: (picture("d/1.png"), write("l.csv", "file,label\n1.png,1\n./1.png,2\n")),
        {"data": "d", "labels": "l.csv"}),
    "an image that is not there": (
        lambda: (picture("d/1.png"), write("l.csv", "file,label\n1.png,1\n2.png,2\n")),
        {"data": "d", "labels": "l.csv"}),
    "no image that can be read": (
        lambda: (write("d/1.png", "x"), write("d/2.jpg", b"\xff\xd8")), {"data": "d"}),
    "no archive": (lambda: write("d.npz", "no archive at all, but text"), {"data": "d.npz"}),
    "labels of an archive": (
        lambda: np.savez("d.npz", images=PIXELS), {"data": "d.npz", "labels": "l.csv"}),
    "no images": (lambda: np.savez("d.npz", x=PIXELS, y=PIXELS), {"data": "d.npz"}),
    "images of floats": (
        lambda: np.savez("d.npz", images=PIXELS.astype(np.float32)), {"data": "d.npz"}),
    "one image": (lambda: np.savez("d.npz", images=PIXELS[0]), {"data": "d.npz"}),
    "two channels": (
        lambda: np.savez("d.npz", images=np.zeros((4, 2, 8, 8), np.uint8)), {"data": "d.npz"}),
    "labels of others": (
        lambda: np.savez_compressed("d.npz", images=PIXELS, labels=np.arange(3)),
        {"data": "d.npz"}),
    "labels of floats": (
        lambda: np.savez("d.npz", images=PIXELS, labels=np.zeros(4)), {"data": "d.npz"}),
    "a label below 0": (
        lambda: np.savez("d.npz", images=PIXELS, labels=np.array([0, 1, -2, 0], np.int8)),
        {"data": "d.npz"}),
    "no image in it": (lambda: np.savez("d.npz", images=PIXELS[:0]), {"data": "d.npz"}),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
def test_data_that_python_refuses(case, evaluated, evaluate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, options = BAD_DATA[case]
    make()
    words = [w for key, value in options.items() for w in (f"--{key.replace('_', '-')}", value)]
    with pytest.raises((ValueError, OSError)) as raised:
        open_dataset(options.pop("data"), **options)
    evaluate(evaluated.packages[0], *words, error=f"^fmtc_eval: {re.escape(str(raised.value))}$")


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"labels": np.array([0, 1, 10, 2])}, "d.npz: 2 has label 10, outside 0...9"),
        ({"images": np.zeros((4, 3, 32, 32), np.uint8)}, r"shape \[3, 32, 32\], the package"),
    ],
)
def test_data_that_the_network_does_not_fit(arrays, message, evaluated, evaluate, tmp_path):
    np.savez(tmp_path / "d.npz", **{"images": PIXELS, **arrays})
    evaluate(evaluated.packages[0], "--data", "d.npz", cwd=tmp_path, error=message)


def test_folders_of_another_number_of_classes(evaluated, evaluate, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture("d/a/1.png", "d/b/1.png")
    with pytest.raises(ValueError) as raised:
        open_dataset("d").check_classes(10)
    message = re.escape(str(raised.value))
    evaluate(evaluated.packages[0], "--data", "d", error=message)


def test_too_few_images(here, evaluate):
    message = "digits.npz has 230 images: too few for 40 to calibrate and 191 other to evaluate"
    evaluate(here.packages[0], "--data", "digits.npz", "--images", 191, error=message)


def test_unreadable_images_are_named_counted_and_skipped(evaluated, evaluate, tmp_path):
    folder = tmp_path / "d"
    picture(*(str(folder / f"{i}.png") for i in range(6)))
    (folder / "bad.png").write_text("no image")
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:60])
    Image.fromarray(digits(1)[0][0, 0]).save(folder / "x.gif")
    _, said = evaluate(
        evaluated.packages[0], "--data", folder, "--batch", 2, "--json", tmp_path / "r.json"
    )
    for name in ("bad.png", "cut.png", "x.gif"):
        assert re.search(rf"^{name} skipped: ", said, re.M)
    dataset = load_result(tmp_path / "r.json")["dataset"]
    assert dataset["skipped"] == ["bad.png", "cut.png", "x.gif"]
    assert dataset["evaluated_images"] == 6


def test_images_are_left_out_whatever_they_are_called(evaluated, evaluate, tmp_path):
    """Files of a folder that a network was calibrated with, in another one."""
    images = tmp_path / "images"
    picture(*(str(images / f"{i}.png") for i in range(3)))
    for i, image in enumerate(digits(12)[0]):
        Image.fromarray(image[0]).save(images / f"{i}.png")
    stored = open_dataset(images).contents()
    package = tmp_path / "point.pt2"
    shutil.copy(evaluated.folder / "packages" / "plain.pt2", tmp_path)
    change_metadata(evaluated.packages[0], package, calibration={"seed": 0, "contents": stored[:5]})
    other = tmp_path / "other"
    other.mkdir()
    for i in range(12):
        shutil.copy(images / f"{i}.png", other / f"x{i}.png")
    _, said = evaluate(package, "--data", other, "--batch", 4)
    assert "7 images, 5 of calibration left out" in said


# -- Parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 3])
def test_shards_together_are_the_whole(shards, here, whole, evaluate, tmp_path):
    parts = [tmp_path / f"part{i}.json" for i in range(1, shards + 1)]
    for i, part in enumerate(parts):
        printed, _ = evaluate(*here.options, "--shard", f"{i + 1}/{shards}", "--json", part)
        assert printed == ""
    printed, _ = evaluate("--merge", *reversed(parts), "--json", tmp_path / "all.json")
    assert printed == here.printed
    found, expected = results(tmp_path / "all.json", whole)
    check_exact(found, expected)
    check_alike(found, expected)
    for point, other in zip(found["points"], expected["points"], strict=True):
        assert point["kl"] == other["kl"] and point["snr_db"] == other["snr_db"]
        assert point["bits_per_value"] == other["bits_per_value"]


def test_an_interrupted_run_is_gone_on_with(here, whole, evaluate, tmp_path):
    path = tmp_path / "r.json"
    options = [*here.options, "--json", path, "--resume"]
    running = evaluate.start(*options)
    for line in running.stderr:
        if "left out" in line:
            break
    running.send_signal(signal.SIGINT)
    _, said = running.communicate()
    assert running.returncode == 130, said
    assert re.search(r"interrupted after \d+ of 10 batches; the same command with --resume", said)
    assert not path.exists()
    part = part_of(tmp_path / "r.json.part")
    assert part["done"] < part["batches"] == 10
    other = [*here.packages, "--data", "digits.npz", "--images", IMAGES, "--json", path]
    evaluate(*other, "--batch", 15, "--resume", error="is of another evaluation.* in --batch")
    evaluate("--merge", tmp_path / "r.json.part", error=r"is not finished \(\d+ of 10 batches\)")
    printed, _ = evaluate(*options)
    assert printed == here.printed
    found, expected = results(path, whole)
    check_exact(found, expected)
    check_alike(found, expected)
    assert not (tmp_path / "r.json.part").exists()


def test_parts_that_do_not_belong_together(here, evaluate, tmp_path):
    def part(name, shard, *packages, batch=BATCH):
        options = ["--data", "digits.npz", "--images", 40, "--batch", batch, "--shard", shard]
        evaluate(*(packages or here.packages[:1]), *options, "--json", tmp_path / name)
        return tmp_path / name

    first, second = part("1.json", "1/2"), part("2.json", "2/2")
    evaluate("--merge", second, error="shard 1 of 2 is missing")
    evaluate("--merge", first, error="shard 2 of 2 is missing")
    evaluate("--merge", first, first, error="are the same shard, 1")
    other = part("3.json", "2/2", batch=8)
    evaluate(
        "--merge", first, other, error="3.json is of another evaluation: it differs in --batch"
    )
    other = part("3.json", "2/2", here.packages[1])
    evaluate("--merge", first, other, error="it differs in the packages")
    evaluate("--merge", first, second, "--json", tmp_path / "all.json")
    damaged = part_of(second)
    for change in (
        {"points": []},
        {"done": 99},
        {"shard": 3},
        {"run": 3},
        {"points": [{**damaged["points"][0], "counts": []}]},
    ):
        (tmp_path / "bad.json").write_text(json.dumps({**damaged, **change}))
        evaluate("--merge", first, tmp_path / "bad.json", error="bad.json is damaged: ")
    for text, error in (("{", "bad.json: "), ('{"schema": "x"}', "is no part of an evaluation")):
        (tmp_path / "bad.json").write_text(text)
        evaluate("--merge", tmp_path / "bad.json", error=error)


# -- Packages and options --------------------------------------------------------------------------


def change_metadata(source: Path, to: Path, **entries) -> None:
    """A copy of a package with other entries in fmtc's own metadata."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(to, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename.endswith("_metadata.json"):
                metadata = json.loads(data)
                metadata["fmtc"] = json.dumps(json.loads(metadata["fmtc"]) | entries)
                data = json.dumps(metadata)
            new.writestr(info, data)


def test_packages_that_do_not_belong_together(here, evaluate, tmp_path):
    point, plain = tmp_path / "point.pt2", here.folder / "packages" / "plain.pt2"
    data = ("--data", "digits.npz")
    change_metadata(here.packages[0], point, counted=None)
    evaluate(point, *data, error="does not count its levels; export it with statistics=True")
    shutil.copy(here.packages[0], point)
    evaluate(point, *data, error="needs the plain network, .*plain.pt2, which is not there")
    change_metadata(plain, tmp_path / "plain.pt2", network="another")
    evaluate(point, *data, error="plain.pt2 is not the plain network of .*point.pt2")
    change_metadata(here.packages[1], point, network="another")
    evaluate(here.packages[0], point, *data, error="are of different networks, inputs or devices")
    change_metadata(here.packages[0], point, counted=[{}])
    evaluate(point, *data, error="damaged metadata")
    counted = [{"kind_of_class": [7], "table_of_class": [0], "cross_entropy_bits": [[1.0]],
                "huffman_bits": [[1]]}]  # fmt: skip
    change_metadata(here.packages[0], point, counted=counted)
    evaluate(point, *data, error="damaged metadata: its tables do not fit together")
    point = here.packages[0]
    evaluate(point, *data, "--device", "cuda", error="compiled for the device 'cpu', not 'cuda'")


@pytest.mark.parametrize(
    "options, error",
    [
        (["--data", "digits.npz"], "give at least one package"),
        (["p.pt2"], "give --data"),
        (["p.pt2", "--data", "digits.npz"], "p.pt2 is no file"),
        (["p.pt2", "--data", "digits.npz", "--merge", "x"], "not both"),
        (["p.pt2", "--data", "digits.npz", "--shard", "3/2", "--json", "x"], "--shard: expected"),
        (["p.pt2", "--data", "digits.npz", "--shard", "1", "--json", "x"], "--shard: expected"),
        (["p.pt2", "--data", "digits.npz", "--shard", "1/2"], "--shard needs --json"),
        (["p.pt2", "--data", "digits.npz", "--json", "no/x"], "no is no folder"),
        (["p.pt2", "--data", "digits.npz", "--json", "."], ". cannot be written: it is a folder"),
        (["p.pt2", "--data", "digits.npz", "--json", ""], "the file to be written has no name"),
        (["p.pt2", "--data", "digits.npz", "--json", "/proc/x"], "/proc/x cannot be written"),
        (
            ["packages/plain.pt2", "--data", "digits.npz"],
            "plain.pt2 is a plain network, not a compressed network: give a compressed one",
        ),
    ],
)
def test_options_that_say_nothing_to_do(options, error, here, evaluate):
    evaluate(*options, error=error)


def test_packages_are_written_once(here, capsys, monkeypatch):
    """By the command in a result; of which network they are can be read from them."""
    monkeypatch.setattr("fmtc.cli.eval.SAME_ENVIRONMENT", ("fmtc", "torch"))  # files may change
    plain = here.folder / "packages" / "plain.pt2"
    assert network_in(plain) == (fingerprint(digits_model().eval()), "cpu")
    assert network_in(here.folder / "net.py") is None and network_in("none.pt2") is None
    before = {file.name: file.stat().st_mtime_ns for file in plain.parent.iterdir()}
    result = load_result("results/result.json")
    command = ["eval", *result["command"].split()[2:], "--out", "results"]
    assert "--export packages" in result["command"]
    assert cli.main(command) == 0
    assert "kept" in capsys.readouterr().err
    assert before == {file.name: file.stat().st_mtime_ns for file in plain.parent.iterdir()}


def test_a_point_without_its_package_is_measured_again(tmp_path, monkeypatch):
    """And no other."""
    written = []

    def stub(compressed, path, example, **options):
        written.append(path.name)
        path.write_bytes(b"")

    monkeypatch.setattr(packages, "export", stub)
    monkeypatch.setattr(packages, "export_plain", stub)
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))\n"
    )
    np.savez("d.npz", images=digits(12)[0])
    command = ["eval", "--model", "net.py:make", "--data", "d.npz", "--preprocess", "std=0.5"]
    command += ["--calib-images", "8", "--preset", "paper", "--bits", "5", "6", "--quiet"]
    points = ["paper-b=5.pt2", "paper-b=6.pt2"]
    assert cli.main(command) == 0 and not written
    assert cli.main([*command, "--export", "p"]) == 0
    assert written == ["plain.pt2", points[0], "plain.pt2", points[1]]  # a stub is no package
    (Path("p") / points[1]).unlink()
    written.clear()
    assert cli.main([*command, "--export", "p"]) == 0
    assert written == ["plain.pt2", points[1]]
    result = load_result("fmtc-results/result.json")
    assert [point["setting"]["value"] for point in result["points"]] == [5, 6]
    Path("file").write_bytes(b"")
    assert cli.main([*command, "--export", "file"]) == 2


def test_export_refuses_what_cannot_be_measured(tmp_path):
    compressed = fmtc.compress(torch.nn.Conv2d(1, 4, 3), torch.randn(8, 1, 8, 8), bits=8,
                               preset="paper")  # fmt: skip
    example = torch.randn(2, 1, 8, 8)
    with pytest.raises(ValueError, match="statistics are for packages that take any batch"):
        fmtc.export(compressed, tmp_path / "p.pt2", example, statistics=True, dynamic_batch=False)
    with pytest.raises(ValueError, match="must be in the folder of"):
        fmtc.export(compressed, tmp_path / "p.pt2", example, plain="elsewhere/plain.pt2")
    with pytest.raises(ValueError, match=r"must be named \*.pt2"):
        fmtc.export_plain(compressed, tmp_path / "plain.pth", example)
