"""What users give as data: every form that is understood, and a sentence for what is not."""

from __future__ import annotations

from collections import UserDict, namedtuple

import pytest
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from fmtc.evaluation.batches import batches, count, images

X = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 2, 3, 3).contiguous()
Y = torch.tensor([4, 3, 2, 1, 0])


class Map(Dataset):
    """Images one by one, as torch's datasets have them."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        if index >= 5:
            raise IndexError(index)
        return X[index], int(Y[index])


class Stream(IterableDataset):
    def __iter__(self):
        return iter([Map()[i] for i in range(5)])


class Ours:
    """Brings its own batches."""

    def __len__(self):
        return 5

    def batches(self, batch):
        return zip(X.split(batch), Y.split(batch), strict=True)


def joined(parts):
    found = list(parts)
    assert all(len(x) for x, _ in found)
    labels = [y for _, y in found]
    return torch.cat([x for x, _ in found]), None if None in labels else torch.cat(labels)


Pair = namedtuple("Pair", "image label")
LABELLED = {
    "dataset of ours": Ours(),
    "pair": (X, Y),
    "pair in a list": [X, Y],
    "int32 labels": (X, Y.int()),
    "labels as a list": (X, Y.tolist()),
    "labels as a tuple of tensors": (X, tuple(Y)),
    "labels as an array": (X, Y.numpy()),
    "arrays": (X.numpy(), Y.numpy()),
    "float64 array": (X.double().numpy(), Y.numpy()),
    "loader": DataLoader(Map(), batch_size=2),
    "loader of an iterable": DataLoader(Stream(), batch_size=3),
    "loader of a TensorDataset": DataLoader(TensorDataset(X, Y), batch_size=4),
    "list of pairs": [(X[:3], Y[:3]), (X[3:], Y[3:].tolist())],
    "list of one pair": [(X, Y)],
    "named tuples": [Pair(X[:3], Y[:3]), Pair(X[3:], Y[3:])],
    "with an empty batch": [(X[:0], []), (X, Y), (X[:0], Y[:0])],
    "dictionary": {"images": X, "labels": Y},
    "dictionaries": [{"image": X, "label": Y}],
    "as transformers have them": [UserDict(pixel_values=X, labels=Y, pixel_mask=None)],
    "x and y": [{"x": X[:1], "y": Y[:1]}, {"x": X[1:], "y": Y[1:]}],
    "input and target": [{"input": X, "target": Y.tolist(), "path": ["a"] * 5}],
}
UNLABELLED = {
    "tensor": X,
    "array": X.numpy(),
    "two batches": [X[:2], X[2:]],
    "tuple of batches": (X[:2], X[2:4], X[4:]),
    "loader": DataLoader(TensorDataset(X), batch_size=2),
    "dictionary": [{"image": X}],
    "no labels": [(X, None)],
    "no labels in a dictionary": [{"image": X, "label": None}],
}


@pytest.mark.parametrize("data", LABELLED.values(), ids=list(LABELLED))
def test_labelled(data):
    found, labels = joined(batches(data, 2))
    assert torch.equal(found, X) and found.dtype == torch.float32
    assert torch.equal(labels, Y) and labels.dtype == torch.int64
    assert torch.equal(torch.cat(list(images(data, 2))), X)


@pytest.mark.parametrize("data", UNLABELLED.values(), ids=list(UNLABELLED))
def test_unlabelled(data):
    found, labels = joined(batches(data, 2))
    assert torch.equal(found, X) and labels is None
    assert torch.equal(torch.cat(list(images(data, 2))), X)


@pytest.mark.parametrize("data", [*LABELLED.values(), *UNLABELLED.values()])
def test_a_generator_of_the_same_is_read_once(data):
    def generated():
        yield from batches(data, 2)

    found, _ = joined(batches(generated(), 1))
    assert torch.equal(found, X)


def test_size_is_for_what_has_no_batches_of_its_own():
    for data in (X, (X, Y), {"x": X, "y": Y}, Ours()):
        assert [len(x) for x, _ in batches(data, 2)] == [2, 2, 1]
    assert [len(x) for x, _ in batches([X[:4], X[4:]], 2)] == [4, 1]
    for size in (0, -1, 2.5, True):
        with pytest.raises(ValueError, match=f"at least 1 image, not {size}"):
            list(batches(X, size))


def test_input_fn_makes_batches_of_anything():
    triples = [(Y[:2], X[:2], "a"), (Y[2:], X[2:], "b")]
    found, labels = joined(batches(triples, 2, lambda batch: (batch[1], batch[0])))
    assert torch.equal(found, X) and torch.equal(labels, Y)
    strange = [{"picture": (255 * X).byte(), "class_id": Y}]
    found, labels = joined(
        batches(strange, 2, lambda batch: (batch["picture"] / 255, batch["class_id"].tolist()))
    )
    assert torch.equal(found, (255 * X).byte() / 255) and torch.equal(labels, Y)
    assert joined(batches(strange, 2, lambda batch: batch["picture"].float()))[1] is None
    # Of tensors and datasets, too: pixels may be preprocessed there.
    assert [x.max() for x, _ in batches(X.byte(), 3, lambda x: x / 2)] == [1, 2]
    assert joined(batches((X, Y), 3, lambda batch: batch[0]))[1] is None
    assert torch.equal(joined(batches(Ours(), 3, lambda batch: (batch[0], batch[1])))[1], Y)


def test_images_do_not_mind_what_stands_beside_them():
    for labels in (Y.double(), X[:, 0], ["a"] * 5, Y[:2], None):
        for data in ([(X, labels)], (X, labels), [{"image": X, "y": labels}]):
            assert torch.equal(torch.cat(list(images(data, 2))), X)
    assert torch.equal(torch.cat(list(images([{"image": X, "masks": 1}], 2))), X)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, Y.float()), r"data: labels must be class indices, .*\[5\]; got torch.float32 \[5\]"),
        ([(X, Y), (X, Y.double())], r"batch 1: labels must be .* got torch.float64"),
        ((X, [0.5] * 5), "labels must be class indices, whole numbers"),
        ((X, Y > 2), "got torch.bool"),
        ((X, torch.eye(5).long()), r"got torch.int64 \[5, 5\]"),
        ([(X, X[:, 0])], r"input_fn=lambda batch: batch\[0\]"),
        ((X, ["cat"] * 5), r"got a list of 5 \(str, str, str, str, \.\.\.\)"),
        ((X, 3), "labels must be class indices"),
        ((X, Y[:3]), "data: there are 5 images and 3 labels"),
        ([(X, Y), (X, [1, 2])], "batch 1: there are 5 images and 2 labels"),
        ({"x": X, "y": [1]}, "there are 5 images and 1 labels"),
        (X[0], r"data: expected a batch .* got one image \[2, 3, 3\]: give image\[None\]"),
        ((X[0], 3), r"got one image \[2, 3, 3\]"),
        ([X[0], X[1]], r"batch 0: .* got one image \[2, 3, 3\]: .* a stack of images"),
        (Map(), r"batch 0: .* got one image \[2, 3, 3\]: .* or a DataLoader"),
        (X[:, 0, 0, 0], r"expected a batch of images \[N, C, H, W\], or of .*, got \[5\]"),
        (X.byte(), "data: expected preprocessed floating-point images, got torch.uint8"),
        ([(X.byte(), Y)], "batch 0: expected preprocessed floating-point images"),
        (X[:0], "there are no images$"),
        ((X[:0], []), "there are no images$"),
        ([], "there are no images$"),
        ([X[:0], X[:0]], "there are no images$"),
        (iter([]), "there are no images, or they have been read already: a generator"),
        ([{"img": X, "cls": Y}], "images are not found: its keys are 'img', 'cls', known are .*"
         "input_fn="),
        ([{"image": X, "class_id": Y}], "labels are not found: its keys are 'image', 'class_id', "
         "known are labels, label, target, y.*input_fn="),
        ([{}], "its keys are none"),
        ([(X, Y, "path")], r"batch 0: expected .* got a tuple of 3 \(Tensor, Tensor, str\).*"
         "input_fn="),
        ([(X, X)], r"got a tuple of 2 \(Tensor, Tensor\)"),
        ([None], "batch 0: expected .* got NoneType"),
        (["cat.png"], "batch 0: .* got the text 'cat.png'"),
        ("imagenet/val", "got the path 'imagenet/val'; fmtc.data.datasets.open_dataset opens it"),
        (7, r"data: expected .* an iterable of batches such as a DataLoader; got int"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_said(data, message):
    with pytest.raises(ValueError, match=message):
        list(batches(data, 2))


def test_a_spent_generator_and_what_input_fn_makes_are_said():
    once = iter([X])
    assert len(list(batches(once, 2))) == 1
    with pytest.raises(ValueError, match="a generator can be only once"):
        list(batches(once, 2))
    with pytest.raises(ValueError, match="what input_fn made of batch 0: .* got NoneType"):
        list(batches([X], 2, lambda batch: None))
    with pytest.raises(KeyError):  # the user's own error is the user's
        list(batches([{"a": X}], 2, lambda batch: batch["b"]))


def test_images_are_counted_where_that_is_known():
    loader = DataLoader(Map(), batch_size=2, shuffle=True)
    for data in (X, X.numpy(), (X, Y), (X, Y.tolist()), Ours(), loader):
        assert count(data) == 5
    for data in ([X], iter([X]), DataLoader(Stream(), batch_size=2), {"x": X}):
        assert count(data) is None
    assert count(DataLoader(Map(), batch_size=2, drop_last=True)) is None
