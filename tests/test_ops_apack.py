"""apack_frequencies: ranges of one frequency, against all ways to cut and share out slots."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fmtc import ops

pytestmark = pytest.mark.usefixtures("backend")

SAMPLES = [
    ("apack_frequencies", (torch.randint(0, 99, (3, 40)), 9)),
    ("apack_frequencies", (torch.randint(0, 9, (2, 600)), 12)),
    ("apack_frequencies", (torch.empty(0, 5, dtype=torch.int64), 12)),
    ("apack_frequencies", (torch.zeros(1, 256, dtype=torch.int64), 8)),
]


def bits_of(counts, frequencies, log2_total):
    """Of all counts, with these frequencies of levels and, last, of the escape."""
    *levels, escape = frequencies
    return sum(
        n * (log2_total - math.log2(f) if f else log2_total - math.log2(escape) + 16)
        for n, f in zip(counts, levels, strict=True)
    )


def runs(frequencies):
    """Sizes and frequencies of the ranges: runs of levels with the same."""
    return [(f, len(list(group))) for f, group in itertools.groupby(frequencies)]


def cuts(levels):
    """All lists of sizes 2^k that make up so many levels, the last of any size."""
    yield [levels]
    for size in (2**k for k in range(levels.bit_length())):
        if size < levels:
            yield from ([size, *rest] for rest in cuts(levels - size))


def fewest_bits(counts, log2_total):
    """Of all cuts, of all choices of what is escaped, of all numbers of slots."""
    total, best = 2**log2_total, math.inf
    slots = np.arange(1, total + 1)
    for sizes in cuts(len(counts)):
        ends = np.cumsum([0, *sizes])
        sums = [sum(counts[a:b]) for a, b in itertools.pairwise(ends)]
        for direct in itertools.product((True, False), repeat=len(sizes)):
            kept = [(n, size) for n, size, d in zip(sums, sizes, direct, strict=True) if d]
            escaped = sum(counts) - sum(n for n, _ in kept)
            # least[s]: bits with s slots given away; the escape's are added first.
            least = np.full(total + 1, np.inf)
            least[1:] = escaped * (log2_total - np.log2(slots) + 16)
            for n, size in kept:
                before, least = least, np.full(total + 1, np.inf)
                for f in range(1, total // size + 1):
                    made = before[: total + 1 - f * size] + n * (log2_total - math.log2(f))
                    np.minimum(least[f * size :], made, out=least[f * size :])
            best = min(best, least[total])
    return best


@settings(max_examples=12)
@given(st.lists(st.integers(0, 2000), min_size=1, max_size=6), st.data())
def test_nearly_the_fewest_bits(counts, data):
    for i in range(len(counts)):  # some are rare
        counts[i] >>= data.draw(st.integers(0, 11))
    counts = [64 * n + 1 for n in counts]  # as a coder smooths them
    found = ops.apack_frequencies(torch.tensor([counts]), 8)[0].tolist()
    assert bits_of(counts, found, 8) <= 1.01 * fewest_bits(counts, 8) + 1e-6


@given(st.lists(st.integers(0, 10**6) | st.just(0), min_size=1, max_size=700), st.integers(8, 12))
def test_ranges(counts, log2_total):
    frequencies = ops.apack_frequencies(torch.tensor([counts]), log2_total)
    assert frequencies.dtype == torch.int32
    *levels, escape = frequencies[0].tolist()
    assert sum(levels) + escape == 2**log2_total and escape >= 1 and min(levels) >= 0
    found = [(f, size) for f, size in runs(levels) if f]
    # Ranges side by side may happen to have the same frequency: as few of 2^k levels as can be.
    assert sum(size.bit_count() for _, size in found) <= 16 + 7
    assert sum(size for _, size in found) <= 255
    ops.rans_tables(frequencies)  # takes them


def test_ranges_by_hand():
    """Eight equal levels are one range; a frequent one is its own."""
    even = ops.apack_frequencies(torch.full((1, 8), 1000), 8)[0].tolist()
    assert even == [31] * 8 + [8]
    one = ops.apack_frequencies(torch.tensor([[900, 10, 10, 10, 10]]), 8)[0].tolist()
    assert one[0] > 200 and len(set(one[1:5])) == 1 and one[1] >= 1


def test_smooth_distributions_cost_little_more_than_their_entropy():
    """As APack's authors find: with 16 ranges a few percent are lost."""
    levels = torch.arange(-127, 128).double()
    for scale in (1, 4, 16, 40):
        p = torch.exp(-levels.abs() / scale)
        counts = (p / p.sum() * 10**7).long() + 1
        found = ops.apack_frequencies(counts[None], 12)[0].tolist()
        bits = bits_of(counts.tolist(), found, 12) / int(counts.sum())
        entropy = float(ops.entropy(counts))
        assert entropy <= bits <= 1.02 * entropy + 0.01


def test_the_same_as_one_table_of_each():
    counts = torch.randint(0, 1000, (5, 256))
    together = ops.apack_frequencies(counts, 12)
    assert all(torch.equal(together[[t]], ops.apack_frequencies(counts[[t]], 12)) for t in range(5))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ops.apack_frequencies(torch.ones(2, 5), 12), "counts must be int64"),
        (lambda: ops.apack_frequencies(torch.ones(5).long(), 12), "counts must have 2 dimensions"),
        (lambda: ops.apack_frequencies(torch.ones(2, 5).long(), 7), "log2_total must be from 8"),
        (lambda: ops.apack_frequencies(torch.ones(1, 4097).long(), 12), "dimension 1 of counts"),
        (
            lambda: ops.apack_frequencies(-torch.ones(1, 2).long(), 12),
            "counts must not be negative .* table 0",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(RuntimeError, match=f"fmtc::apack_frequencies: {message}"):
        call()
