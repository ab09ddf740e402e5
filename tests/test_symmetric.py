"""Symmetric matrices in strips against plain ones."""

import pytest
import torch

from fmtc.calibration.symmetric import ROWS, Symmetric


@pytest.mark.parametrize("size", [1, 7, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS + 5])
@pytest.mark.parametrize("groups", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sums_of_products(size, groups, dtype):
    sums = Symmetric(groups, size, dtype)
    samples = [torch.randint(-9, 9, (groups, size, count)).to(dtype) for count in (1, 0, 20)]
    for x in samples:
        sums.add_products(x)
    expected = sum(torch.einsum("gip,gjp->gij", x, x) for x in samples)
    assert torch.equal(sums.whole(), expected) and sums.whole().dtype == dtype
    again = Symmetric.of(expected)
    expected += 1  # what was taken is a copy
    assert torch.equal(again.whole() + 1, expected)
