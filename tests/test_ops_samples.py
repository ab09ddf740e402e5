"""What holds for every operator, on the sample inputs that the operators' own tests use."""

import pytest
import test_ops_huffman
import test_ops_levels
import test_ops_moments
import test_ops_positions
import test_ops_predict
import test_ops_rans
import test_ops_words
import torch
from test_ops_library import OPERATORS, registered
from torch.library import opcheck

from fmtc import ops

MODULES = (
    test_ops_huffman,
    test_ops_levels,
    test_ops_moments,
    test_ops_positions,
    test_ops_predict,
    test_ops_rans,
    test_ops_words,
)
SAMPLES = [sample for module in MODULES for sample in module.SAMPLES]


def test_no_operator_is_without_samples():
    assert {name for name, _ in SAMPLES} == set(OPERATORS)


@pytest.mark.parametrize("name, args", SAMPLES)
def test_opcheck(name, args):
    opcheck(registered(name), args)


@pytest.mark.parametrize("name, args", SAMPLES)
def test_any_number_of_threads_gives_the_same(name, args, threads):
    results = []
    for count in (1, 2, 3):
        with threads(count):
            result = getattr(ops, name)(*args)
        results.append(result if isinstance(result, tuple) else (result,))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
