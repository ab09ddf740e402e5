"""Which calibration images are looked at where all would tell hardly more."""

import pytest
import torch

from fmtc.calibration.sample import sampled


def numbered(*sizes, values=10):
    """Batches of so many images; each has its number, ``values`` times."""
    numbers = torch.arange(sum(sizes)).float()
    return list(numbers[:, None].expand(-1, values).split(list(sizes)))


def test_all_images_where_they_are_few():
    batches = numbered(4, 4, 2)
    found = sampled(batches, 100)
    assert len(found) == 3 and all(a is b for a, b in zip(found, batches, strict=True))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (99, [0, 1, 2, 3, 4, 5, 6, 7, 8]),
        (50, [0, 2, 4, 6, 8]),
        (35, [0, 3, 6]),
        (19, [0]),
        (1, [0]),  # less than an image
    ],
)
def test_images_evenly_apart(values, expected):
    found = sampled(numbered(4, 1, 5), values)
    assert torch.cat(found)[:, 0].tolist() == expected


def test_batches_without_values():
    empty = torch.zeros(3, 0)
    assert sampled([empty], 5) == []
    assert [len(x) for x in sampled([empty, *numbered(2), empty], 20)] == [2]
    assert [len(x) for x in sampled([empty, *numbered(2), empty], 10)] == [1]
