"""Preprocessing, datasets and splits: pixels against Pillow, labels and every error message."""

from __future__ import annotations

import json
import os
import re
import sys
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from fmtc.data.datasets import open_dataset, parse_preprocess, split

RAW = "mean=0,std=1"


def random_image(height: int = 12, width: int = 10, seed: int = 0) -> np.ndarray:
    """uint8 [H,W,3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write_images(folder, names, **size) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        Image.fromarray(random_image(**size, seed=seed)).save(folder / name)


def write_labels(file, rows, header="file,label") -> None:
    file.write_text("\n".join([header, *(f"{name},{label}" for name, label in rows)]) + "\n")


@pytest.fixture
def flat(tmp_path):
    write_images(tmp_path / "flat", ["a.png", "b.png", "c.png"])
    return tmp_path / "flat"


@pytest.fixture
def image_folder(tmp_path):
    for name in ("cat", "dog"):
        write_images(tmp_path / "classes" / name, ["1.png", "2.png"])
    return tmp_path / "classes"


# Preprocessing


def test_default_preprocess_is_torchvisions():
    image = torch.from_numpy(random_image(300, 400)).permute(2, 0, 1)
    ours = parse_preprocess()(image)
    smaller = Image.fromarray(random_image(300, 400)).resize((341, 256), Image.Resampling.BILINEAR)
    pixels = np.asarray(smaller)[16:240, 58:282] / 255
    expected = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert ours.dtype == torch.float32 and ours.shape == (3, 224, 224)
    one_level = 1.01 / 255 / 0.224
    np.testing.assert_allclose(ours.permute(1, 2, 0).numpy(), expected, atol=one_level)


def test_steps_act_in_the_order_given():
    image = torch.arange(3 * 4 * 6, dtype=torch.uint8).view(3, 4, 6)
    raw = parse_preprocess(RAW)(image)
    torch.testing.assert_close(raw, image / 255)
    torch.testing.assert_close(parse_preprocess("hflip")(image), raw.flip(2))
    torch.testing.assert_close(parse_preprocess("vflip, hflip")(image), raw.flip(1, 2))
    torch.testing.assert_close(parse_preprocess("crop=2")(image), raw[:, 1:3, 2:4])
    torch.testing.assert_close(parse_preprocess("crop=2x4")(image), raw[:, 1:3, 1:5])
    assert parse_preprocess("resize=2")(image).shape == (3, 2, 3)
    assert parse_preprocess("resize=8x5,crop=5")(image).shape == (3, 5, 5)
    assert parse_preprocess("resize=8")(image).shape == (3, 8, 12)


def test_grey_is_that_of_pillow():
    image = torch.from_numpy(random_image(seed=5)).permute(2, 0, 1)
    luma = np.array(Image.fromarray(random_image(seed=5)).convert("L"))
    grey = parse_preprocess("grey,mean=.5,std=.25")
    torch.testing.assert_close(grey(image)[0], (torch.from_numpy(luma) / 255 - 0.5) / 0.25)
    assert torch.equal(grey(torch.from_numpy(luma)[None]), grey(image))
    corners = torch.tensor([0, 255], dtype=torch.uint8).expand(3, -1)[..., None]
    assert parse_preprocess("grey")(corners).flatten().tolist() == [0, 1]


@pytest.mark.parametrize("channels", [2, 4])
def test_grey_of_other_images_is_refused(channels):
    image = torch.zeros(channels, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match=f"made of 3 channels, the image has {channels}"):
        parse_preprocess("grey")(image)


def test_mean_and_std_act_on_unit_values_one_a_channel():
    image = torch.full((3, 2, 2), 51, dtype=torch.uint8)
    normalized = parse_preprocess("mean=.1/.2/.3,std=.5/.25/.1")(image)
    torch.testing.assert_close(normalized[:, 0, 0], torch.tensor([0.2, 0.0, -1.0]))
    same = parse_preprocess("std=.5/.25/.1,mean=.1/.2/.3")(image)
    torch.testing.assert_close(same, normalized)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resize=256,rotate=3", "unknown step 'rotate=3'; known steps: resize=S"),
        ("hflip=1", "unknown step 'hflip=1'"),
        ("crop=big", "'crop=big' needs a size in pixels"),
        ("crop=0", "'crop=0' needs a size in pixels"),
        ("resize=1x2x3", "'resize=1x2x3' needs a size"),
        ("mean=a/b", "'mean=a/b' needs one number"),
        ("mean=inf", "'mean=inf' needs one number"),
        ("mean=0.5,mean=0.4", "mean is given twice"),
        ("std=1/0/1", "std must not be 0"),
    ],
)
def test_preprocess_errors_name_the_step(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_preprocess(text)


def test_preprocess_that_does_not_fit_the_image_names_it(flat):
    with pytest.raises(ValueError, match=r"a\.png: a crop of 224x224 does not fit into 12x10"):
        next(open_dataset(flat, preprocess="crop=224").batches(3))
    grey = torch.zeros(1, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match="mean has 3 values, the image has 1 channel"):
        parse_preprocess("mean=.1/.2/.3")(grey)


@pytest.mark.parametrize("size", [(4, 6), (5, 6), (6, 5), (7, 7), (8, 9)])
def test_crops_are_torchvisions(size):
    functional = pytest.importorskip("torchvision.transforms.v2.functional")
    image = torch.from_numpy(random_image(*size)).permute(2, 0, 1)
    for text, crop in (("crop=4", [4, 4]), ("crop=3x2", [3, 2])):
        ours = parse_preprocess(f"{text},{RAW}")(image)
        torch.testing.assert_close(ours, functional.center_crop(image, crop) / 255)


# Folders


def test_flat_folder_has_no_labels_and_gives_the_pixels(flat):
    dataset = open_dataset(flat, preprocess=RAW)
    assert dataset.names == ["a.png", "b.png", "c.png"] and dataset.labels is None
    parts = list(dataset.batches(2))
    assert [len(images) for images, _ in parts] == [2, 1]
    assert all(labels is None for _, labels in parts)
    expected = torch.from_numpy(random_image(seed=2)).permute(2, 0, 1) / 255
    torch.testing.assert_close(parts[1][0][0], expected)


def test_labels_choose_and_order_the_images(flat):
    write_labels(flat / "labels.csv", [("c.png", 7), ("a.png", 0)])
    with pytest.warns(UserWarning, match="labels.csv lists 2 of the 3 images in .*flat"):
        dataset = open_dataset(flat, labels="labels.csv", preprocess=RAW, num_classes=8)
    assert dataset.names == ["c.png", "a.png"] and dataset.labels == [7, 0]
    images, labels = dataset.tensor()
    assert images.shape == (2, 3, 12, 10)
    assert labels.tolist() == [7, 0] and labels.dtype == torch.int64
    view = dataset.subset([1])
    assert view.names == ["a.png"] and view.tensor()[1].tolist() == [0]


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([("a.png", 0)], "image,class", "first line must be 'file,label', not 'image,class'"),
        ([("z.png", 0)], "file,label", "line 2: there is no image z.png"),
        ([("a.png", "cat")], "file,label", "line 2: a.png has label 'cat', not a class index"),
        ([("a.png", -1)], "file,label", "line 2: a.png has label '-1'"),
        ([("a.png", 0), ("a.png", 1)], "file,label", "line 3: a.png is listed twice"),
        ([], "file,label", "lists no images"),
        ([("a.png", 3)], "file,label", "a.png has label 3, outside 0...2"),
    ],
)
def test_label_file_errors(flat, rows, header, message):
    write_labels(flat / "labels.csv", rows, header)
    with pytest.raises(ValueError, match=re.escape(message)):
        open_dataset(flat, labels=flat / "labels.csv", num_classes=3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\nä.png,1\n".encode("latin-1"), "labels.csv cannot be read as CSV in UTF-8"),
        (b"file,label\n\na.png,0\n\nz.png,0\n", "labels.csv, line 5: there is no image z.png"),
        (b"file,label\na.png,0\n./a.png,1\n", "labels.csv, line 3: a.png is listed twice"),
        (b"file,label\nb/../a.png,0\na.png,1\n", "labels.csv, line 3: a.png is listed twice"),
    ],
)
def test_label_files_as_people_write_them(flat, content, message):
    (flat / "labels.csv").write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        open_dataset(flat, labels="labels.csv")


def test_a_name_in_a_label_file_is_normalised(flat):
    (flat / "labels.csv").write_text("\ufefffile,label\n./c.png,1\n.//a.png,0\nb.png,2\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # all three are listed
        dataset = open_dataset(flat, labels="labels.csv")
    assert dataset.names == ["c.png", "a.png", "b.png"]


def test_labels_as_a_list(flat, image_folder, tmp_path):
    for labels in ([2, 0, 1], (2, 0, 1), np.array([2, 0, 1]), torch.tensor([2, 0, 1])):
        dataset = open_dataset(flat, labels=labels, num_classes=3)
        assert dataset.names == ["a.png", "b.png", "c.png"] and dataset.labels == [2, 0, 1]
    assert open_dataset(image_folder, labels=[7, 8, 9, 9], num_classes=10).labels == [7, 8, 9, 9]
    np.savez(tmp_path / "d.npz", images=np.zeros((2, 3, 8, 8), np.uint8))
    assert open_dataset(tmp_path / "d.npz", labels=[4, 3]).labels == [4, 3]
    for labels, message in [
        ([0, 1], "flat: there are 2 labels for 3 images"),
        ([0, 1, -2], "flat: image 2 has label -2"),
        ([0, 1, 1.5], "flat: labels must be integers, one an image"),
        ([0, 1, 3], "c.png has label 3, outside 0...2"),
    ]:
        with pytest.raises(ValueError, match=re.escape(message)):
            open_dataset(flat, labels=labels, num_classes=3)
    with pytest.raises(ValueError, match="a list of labels or a class index, not both"):
        (tmp_path / "index.json").write_text('{"cat": 0, "dog": 1}')
        open_dataset(image_folder, labels=[0] * 4, class_index=tmp_path / "index.json")
    np.savez(tmp_path / "own.npz", images=np.zeros((2, 3, 8, 8), np.uint8), labels=[0, 1])
    with pytest.raises(ValueError, match="carries its own labels"):
        open_dataset(tmp_path / "own.npz", labels=[4, 3])


def test_image_folder_is_torchvisions(tmp_path):
    """Folders in folders, names that sort in another way than their paths, links, capitals."""
    datasets = pytest.importorskip("torchvision.datasets")
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    write_images(root / "b", ["2.png", "1.PNG", "10.jpeg"])
    write_images(root / "b" / "sub", ["0.png"])
    write_images(root / "b" / "sub-2", ["0.png"])
    write_images(root / "b" / "sub" / "deep", ["9.png", "8.bmp"])
    write_images(root / "A" / "only" / "below", ["x.png"])
    (root / "b" / "notes.txt").write_text("no image")
    write_images(elsewhere / "more", ["linked.png"])
    (root / "b" / "link").symlink_to(elsewhere)
    (root / "c").symlink_to(elsewhere)
    theirs = datasets.ImageFolder(str(root))
    ours = open_dataset(root)
    assert ours.labels == theirs.targets and len(ours.names) == 10
    assert [os.path.join(root, name) for name in ours.names] == [name for name, _ in theirs.samples]
    assert ours.folders == theirs.classes
    # Into a circle of links torchvision goes until the system stops it.
    (root / "A" / "only" / "round").symlink_to(root / "A")
    (root / "A" / ".hidden").mkdir()
    assert open_dataset(root).names == ours.names


def test_a_class_without_images_is_said(image_folder):
    (image_folder / "ant").mkdir()
    with pytest.raises(ValueError, match="no image in the class folder ant; remove it"):
        open_dataset(image_folder)


def test_image_folder_classes_are_sorted_subfolders(image_folder):
    dataset = open_dataset(image_folder, num_classes=2)
    assert dataset.names == ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"]
    assert dataset.labels == [0, 0, 1, 1]


def test_image_folder_of_another_class_count_needs_a_class_index(image_folder, tmp_path):
    with pytest.raises(ValueError, match=r"has 2 class folders, the model has 1000.*--class-index"):
        open_dataset(image_folder, num_classes=1000)
    plain = tmp_path / "index.json"
    plain.write_text(json.dumps({"cat": 281, "dog": 207, "fox": 277}))
    keras = tmp_path / "imagenet_class_index.json"
    keras.write_text(json.dumps({"281": ["cat", "tabby"], "207": ["dog", "golden_retriever"]}))
    table = tmp_path / "index.csv"
    table.write_text("folder,index\ncat,281\ndog,207\n")
    for file in (plain, keras, table):
        dataset = open_dataset(image_folder, class_index=file, num_classes=1000)
        assert dataset.labels == [281, 281, 207, 207]


def test_class_index_errors(image_folder, flat, tmp_path):
    file = tmp_path / "index.json"
    file.write_text('{"cat": 281}')
    with pytest.raises(ValueError, match="no class index for the folder 'dog'"):
        open_dataset(image_folder, class_index=file)
    with pytest.raises(ValueError, match="no class folders"):
        open_dataset(flat, class_index=file)
    file.write_text('["cat"]')
    with pytest.raises(ValueError, match="must map folder names to class indices"):
        open_dataset(image_folder, class_index=file)
    file.write_text('{"cat": 0, "dog": 1000}')
    with pytest.raises(ValueError, match=r"dog/1\.png has label 1000, outside 0\.\.\.999"):
        open_dataset(image_folder, class_index=file, num_classes=1000)


def test_folder_errors(tmp_path, image_folder):
    with pytest.raises(FileNotFoundError, match="no such file or folder: .*nowhere"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty: no image files"):
        open_dataset(tmp_path / "empty")
    (tmp_path / "empty" / "a.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="no readable image among 1 files"):
        open_dataset(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no such file: labels.csv"):
        open_dataset(tmp_path / "empty", labels="labels.csv")
    write_images(image_folder, ["stray.png"])
    with pytest.raises(ValueError, match=r"has images \(stray\.png\) beside subfolders"):
        open_dataset(image_folder)
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match="neither a folder of images nor an .npz"):
        open_dataset(tmp_path / "a.txt")


def test_corrupt_images_are_skipped_and_named(flat):
    whole = (flat / "b.png").read_bytes()
    (flat / "b.png").write_bytes(whole[: len(whole) // 2])
    (flat / "0.jpg").write_bytes(b"")
    write_labels(flat / "labels.csv", [("0.jpg", 0), ("a.png", 1), ("b.png", 2), ("c.png", 3)])
    dataset = open_dataset(flat, labels="labels.csv", preprocess=RAW)
    for _ in range(2):
        labels = torch.cat([labels for _, labels in dataset.batches(1)])
        assert labels.tolist() == [1, 3]
        assert dataset.skipped == ["0.jpg", "b.png"]
    assert dataset.subset([0, 1]).tensor()[1].tolist() == [1]
    with pytest.raises(ValueError, match="no readable image among 1"):
        dataset.subset([2]).tensor()


def test_without_pillow_a_folder_is_refused_with_what_to_install(flat, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(ImportError, match=re.escape("pillow is needed") + r".*'fmtc\[eval\]'"):
        open_dataset(flat)


def test_a_picture_that_could_be_a_bomb_is_unreadable(flat, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    with pytest.raises(ValueError, match="no readable image among 3 files"):
        open_dataset(flat)


def test_images_of_different_sizes_need_resize_or_crop(flat):
    Image.fromarray(random_image(5, 5)).save(flat / "b.png")
    with pytest.raises(ValueError, match=r"a\.png is 3 x 12 x 10, b\.png is 3 x 5 x 5; add resize"):
        list(open_dataset(flat, preprocess=RAW).batches(3))
    assert open_dataset(flat, preprocess="resize=8x8").tensor()[0].shape == (3, 3, 8, 8)


def test_grey_and_transparent_files_become_rgb(tmp_path):
    Image.fromarray(random_image()[:, :, 0]).save(tmp_path / "grey.png")
    Image.fromarray(random_image()).convert("RGBA").save(tmp_path / "rgba.png")
    images, _ = open_dataset(tmp_path, preprocess=RAW).tensor()
    assert images.shape == (2, 3, 12, 10)
    torch.testing.assert_close(images[0, 0], images[0, 2])


# Arrays


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", [1, 3])
def test_npz_layouts(tmp_path, layout, channels):
    images = np.random.default_rng(0).integers(0, 256, (5, channels, 8, 7), dtype=np.uint8)
    stored = images if layout == "NCHW" else images.transpose(0, 2, 3, 1)
    np.savez(tmp_path / "d.npz", images=stored, labels=np.arange(5, dtype=np.uint8))
    dataset = open_dataset(tmp_path / "d.npz", preprocess=RAW, num_classes=5)
    found, labels = dataset.tensor()
    torch.testing.assert_close(found, torch.from_numpy(images) / 255)
    assert labels.tolist() == [0, 1, 2, 3, 4]


def test_npz_without_labels(tmp_path):
    np.savez(tmp_path / "d.npz", images=np.zeros((2, 3, 8, 8), np.uint8))
    assert open_dataset(tmp_path / "d.npz").labels is None


IMAGES = np.zeros((4, 3, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES}, "no array 'images' (it has x)"),
        ({"images": IMAGES.astype(np.float32)}, "must be uint8 with 4 dimensions, not float32"),
        ({"images": IMAGES[0]}, "must be uint8 with 4 dimensions, not uint8 3 x 8 x 8"),
        ({"images": IMAGES[:, :2]}, "(4 x 2 x 8 x 8) must be NCHW or NHWC with 1 or 3 channels"),
        ({"images": IMAGES, "labels": np.arange(3)}, "'labels' must be 4 integers, not int64 3"),
        ({"images": IMAGES, "labels": np.zeros(4)}, "'labels' must be 4 integers, not float64 4"),
        ({"images": IMAGES, "labels": np.array([0, 1, -2, 0])}, "image 2 has label -2"),
        ({"images": IMAGES, "labels": np.array([0, 9, 10, 0])}, "2 has label 10, outside 0...9"),
        ({"images": IMAGES[:0]}, "no readable image among 0"),
    ],
)
def test_npz_errors(tmp_path, arrays, message):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(ValueError, match=re.escape(message)):
        open_dataset(tmp_path / "d.npz", num_classes=10)


def test_npz_that_is_none_or_has_label_files(tmp_path, flat):
    (tmp_path / "d.npz").write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"d\.npz"):
        open_dataset(tmp_path / "d.npz")
    with pytest.raises(ValueError, match="carries its own labels"):
        open_dataset(tmp_path / "d.npz", labels="labels.csv")


# Splits


def test_split_is_disjoint_reproducible_and_stable(tmp_path):
    np.savez(tmp_path / "d.npz", images=np.zeros((50, 3, 8, 8), np.uint8))
    dataset = open_dataset(tmp_path / "d.npz")
    calibration, evaluation = split(dataset, 10, 30, seed=3)
    assert len(calibration) == 10 and len(evaluation) == 30
    assert len(set(calibration) | set(evaluation)) == 40
    assert split(dataset, 10, 30, seed=3) == (calibration, evaluation)
    assert split(dataset, 10, 30, seed=4) != (calibration, evaluation)
    everything = split(dataset, 10, seed=3)
    assert everything[0] == calibration and everything[1][:30] == evaluation
    assert sorted(everything[0] + everything[1]) == list(range(50))
    # The first images of seed 3, written down: results of other days stay comparable.
    assert calibration[:4] == [12, 39, 9, 47]


@pytest.mark.parametrize(
    ("calibration", "images", "message"),
    [
        (40, 20, "has 50 images: too few for 40 to calibrate and 20 other to evaluate"),
        (50, None, "has 50 images: too few for 50 to calibrate and at least 1"),
        (0, 10, "at least 1 image is needed for calibration, not 0"),
        (10, 0, "at least 1 image is needed for evaluation, not 0"),
    ],
)
def test_split_errors_say_how_many_there_are(tmp_path, calibration, images, message):
    np.savez(tmp_path / "d.npz", images=np.zeros((50, 3, 8, 8), np.uint8))
    with pytest.raises(ValueError, match=message):
        split(open_dataset(tmp_path / "d.npz"), calibration, images)


# -- Files that ask for much memory ----------------------------------------------------------------


def test_an_npz_of_packed_zeros_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "zeros.npz"
    np.savez_compressed(path, images=np.zeros((8, 3, 64, 64), np.uint8))
    assert len(open_dataset(path, preprocess="mean=0")) == 8
    monkeypatch.setattr("fmtc.data.datasets.MAX_BYTES", 50_000)
    with pytest.raises(ValueError, match="zeros.npz: its arrays take .* bytes, more than 50000"):
        open_dataset(path, preprocess="mean=0")
    np.savez(path, images=np.zeros((8, 3, 64, 64), np.uint8))  # as large as its arrays
    assert len(open_dataset(path, preprocess="mean=0")) == 8


def test_a_thin_image_does_not_become_huge(tmp_path):
    image = torch.zeros(3, 20_000, 1, dtype=torch.uint8)
    with pytest.raises(ValueError, match="resizing would make it larger than 178956970 pixels"):
        parse_preprocess("resize=256")(image)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_pixels_of_32_bits_are_skipped_and_named(tmp_path, dtype):
    """Pillow would cut them to 0 ... 255, whatever their range."""
    Image.fromarray(np.linspace(0, 60000, 64).reshape(8, 8).astype(dtype)).save(tmp_path / "a.tif")
    Image.fromarray(np.full((8, 8), 7, np.uint8)).save(tmp_path / "b.tif")
    dataset = open_dataset(tmp_path, preprocess=RAW)
    pixels, _ = dataset.tensor()
    assert dataset.skipped == ["a.tif"] and len(pixels) == 1
