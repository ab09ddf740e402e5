"""What holds for every operator, on the sample inputs that the operators' own tests use."""

import pytest
import test_ops_accumulate
import test_ops_apack
import test_ops_dct
import test_ops_huffman
import test_ops_levels
import test_ops_moments
import test_ops_points
import test_ops_positions
import test_ops_predict
import test_ops_rans
import test_ops_scaled
import test_ops_transform
import test_ops_words
import torch
from test_ops_library import OPERATORS, outcome, registered
from torch import library

MODULES = (
    test_ops_accumulate,
    test_ops_apack,
    test_ops_dct,
    test_ops_huffman,
    test_ops_levels,
    test_ops_moments,
    test_ops_points,
    test_ops_positions,
    test_ops_predict,
    test_ops_rans,
    test_ops_scaled,
    test_ops_transform,
    test_ops_words,
)
SAMPLES = [sample for module in MODULES for sample in module.SAMPLES]
# Sums of floating-point numbers, which are taken in another order, and another solver.
CPU_ALONE = {"encode_point", "decode_point", "simulate_point"}
CLOSE = {"channel_moments", "merge_moments", "entropy", "pca"}


def test_no_operator_is_without_samples():
    assert {name for name, _ in SAMPLES} == set(OPERATORS)


@pytest.mark.parametrize("name, args", SAMPLES)
def test_opcheck(name, args):
    library.opcheck(registered(name), args)


@pytest.mark.parametrize("name, args", SAMPLES)
def test_any_number_of_threads_gives_the_same(name, args, threads):
    results = []
    for count in (1, 2, 3):
        with threads(count):
            results.append(outcome(name, args))
    # LAPACK's eigenvectors of wide matrices are rounded otherwise by other numbers of threads.
    tolerance = 1e-11 if name == "pca" and args[0].shape[-1] >= 128 else 0
    for a, b in [pair for other in results[1:] for pair in zip(results[0], other, strict=True)]:
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "backend", ["emulated", pytest.param("cuda", marks=pytest.mark.cuda)], indirect=True
)
@pytest.mark.parametrize("name, args", SAMPLES)
def test_every_backend_gives_the_same_as_the_cpu(name, args, backend):
    if name in CPU_ALONE:
        pytest.skip("an operator for the CPU alone")
    results = outcome(name, args)
    expected = outcome(name, args, registered(name))
    for result, of_cpu in zip(results, expected, strict=True):
        tolerance = 1e-11 if name in CLOSE else 0
        torch.testing.assert_close(result, of_cpu, rtol=tolerance, atol=10 * tolerance)
        assert result.stride() == of_cpu.stride()
