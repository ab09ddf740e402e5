"""accumulate_ adds in place, and loses nothing where several threads add to one total."""

import re
import threading

import pytest
import torch

from fmtc import ops

pytestmark = pytest.mark.usefixtures("backend")


@pytest.fixture
def device(backend) -> str:
    return "cuda" if backend == "cuda" else "cpu"


def accumulate(total, part):
    # Backend `cuda` works on copies of what it gets.
    operators = torch.ops.fmtc if total.is_cuda else ops._ops
    assert operators.accumulate_(total, part) is None


def integers(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-(2**62), 2**62, shape, generator=generator)


SAMPLES = [
    ("accumulate_", (integers(*shape), integers(*shape, seed=1)))
    for shape in [(), (1,), (6,), (3, 5), (2, 3, 4, 5), (0,), (3, 0, 2)]
]


@pytest.mark.parametrize("shape", [(), (1,), (6,), (3, 5), (100_003,), (0,), (3, 0, 2)])
def test_adds_in_place(device, shape):
    total, part = integers(*shape), integers(*shape, seed=1)
    result, added = total.clone().to(device), part.clone().to(device)
    accumulate(result, added)
    assert torch.equal(result.cpu(), total + part)
    assert torch.equal(added.cpu(), part)
    accumulate(result, added)
    assert torch.equal(result.cpu(), total + 2 * part)


def test_sums_are_modulo_2_to_the_64(device):
    total = torch.tensor([2**63 - 1, -(2**63), 5], device=device)
    accumulate(total, torch.tensor([1, -1, -7], device=device))
    assert total.tolist() == [-(2**63), 2**63 - 1, -2]


def test_adds_to_a_part_of_a_tensor(device):
    rows = torch.zeros(3, 4, dtype=torch.int64, device=device)
    accumulate(rows[1], torch.arange(4, device=device))
    assert rows.tolist() == [[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 0, 0]]


def test_a_total_may_be_its_own_part(device):
    total = torch.arange(7, device=device)
    accumulate(total, total)
    assert torch.equal(total.cpu(), 2 * torch.arange(7))


def test_threads_lose_nothing(device):
    count, times = 8, 500
    total = torch.zeros(40, dtype=torch.int64, device=device)
    parts = [torch.arange(40, device=device) + index for index in range(count)]
    start = threading.Barrier(count)
    errors = []

    def add(part):
        try:
            start.wait()
            for _ in range(times):
                accumulate(total, part)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=add, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    expected = count * times * torch.arange(40) + times * sum(range(count))
    assert torch.equal(total.cpu(), expected)


LONG = torch.zeros(2, 3, dtype=torch.int64)
ERRORS = [
    (LONG.int(), LONG, "accumulate_: total must be int64, but is int32"),
    (LONG.double(), LONG, "accumulate_: total must be int64, but is float64"),
    (LONG, LONG.int(), "accumulate_: part must be int64, but is int32"),
    (LONG, LONG[:1], "accumulate_: part must have the shape of total, [2, 3], but has [1, 3]"),
    (LONG, LONG[0], "accumulate_: part must have the shape of total, [2, 3], but has [3]"),
    (LONG, LONG.T, "accumulate_: part must have the shape of total, [2, 3], but has [3, 2]"),
    (torch.zeros(3, 2, dtype=torch.int64).T, LONG, "accumulate_: total must be contiguous"),
    (LONG, torch.zeros(3, 2, dtype=torch.int64).T, "accumulate_: part must be contiguous"),
]


@pytest.mark.parametrize("total, part, message", ERRORS)
def test_errors_name_what_is_wrong(device, total, part, message):
    with pytest.raises(RuntimeError, match=re.escape(message)):
        accumulate(total.to(device), part.to(device))
