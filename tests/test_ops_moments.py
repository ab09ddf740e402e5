"""channel_moments, merge_moments and pca against numpy and scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from fmtc import ops

pytestmark = pytest.mark.usefixtures("backend")

SHAPES = [
    (3, 5, 7, 6),
    (2, 1, 9, 4),  # one channel
    (1, 70, 3, 3),  # more channels than a block of the kernel
    (5, 8, 40, 40),  # many pixels
    (2, 3, 1, 1),
    (0, 4, 3, 3),  # batch 0
    (2, 0, 3, 3),
    (2, 3, 0, 5),
    (1, 2, 1, 1),
]
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def random_tensor(*shape, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(*shape, generator=generator, dtype=torch.float64)
    if len(shape) == 4 and shape[1] > 1:
        x = x + x.roll(1, 1) / 2 + 3  # correlated channels with a mean
    return x.to(dtype)


def random_covariance(*batch, channels, seed=0):
    a = random_tensor(*batch, channels, 2 * channels + 1, dtype=torch.float64, seed=seed)
    return a @ a.mT / a.shape[-1]


def reference_moments(x):
    """Count, mean and sum of centred products by their definitions, in float64."""
    count = x.shape[0] * x.shape[2] * x.shape[3]
    samples = x.double().numpy().transpose(1, 0, 2, 3).reshape(x.shape[1], count)
    mean = samples.sum(1) / max(count, 1)
    centred = samples - mean[:, None]
    return count, mean, centred @ centred.T


def assert_moments(actual, expected):
    assert [t.dtype for t in actual] == [torch.int64, torch.float64, torch.float64]
    assert int(actual[0]) == expected[0]
    np.testing.assert_allclose(actual[1].numpy(), expected[1], rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(actual[2].numpy(), expected[2], rtol=1e-11, atol=1e-9)


def sample_inputs():
    """Operator name and arguments, for the tests that treat all operators alike."""
    for shape in SHAPES:
        yield "channel_moments", (random_tensor(*shape),)
    a = ops.channel_moments(random_tensor(3, 5, 7, 6))
    empty = ops.channel_moments(random_tensor(0, 5, 7, 6))
    yield "merge_moments", (*a, *ops.channel_moments(random_tensor(2, 5, 4, 4, seed=1)))
    yield "merge_moments", (*a, *empty)
    yield "merge_moments", (*empty, *empty)
    yield "pca", (random_covariance(channels=7),)
    yield "pca", (random_covariance(4, channels=5),)
    yield "pca", (random_covariance(channels=1),)
    yield "pca", (random_covariance(2, channels=130),)  # another solver
    yield "pca", (torch.empty(0, 3, 3, dtype=torch.float64),)
    yield "pca", (torch.empty(2, 0, 0, dtype=torch.float64),)


SAMPLES = list(sample_inputs())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_channel_moments(shape, dtype):
    x = random_tensor(*shape, dtype=dtype)
    assert_moments(ops.channel_moments(x), reference_moments(x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_channel_moments_of_any_strides(layout, dtype):
    x = random_tensor(3, 5, 7, 6, dtype=dtype)
    assert_moments(ops.channel_moments(layout(x)), reference_moments(x))


def test_channel_moments_do_not_cancel():
    x = random_tensor(2, 3, 30, 30, dtype=torch.float64) + 1e6
    np.testing.assert_allclose(
        ops.channel_moments(x)[2], ops.channel_moments(x - 1e6)[2], rtol=1e-8, atol=1e-6
    )


def test_channel_moments_show_non_finite_values():
    x = random_tensor(2, 3, 4, 4)
    x[0, 1, 2, 3] = float("nan")
    _, mean, m2 = ops.channel_moments(x)
    assert mean.isnan().tolist() == [False, True, False]
    assert bool(m2[0, 0].isfinite()) and bool(m2[1, 2].isnan())


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(1, 6))
def test_merged_moments_are_those_of_all_samples(sizes, channels):
    x = random_tensor(sum(sizes), channels, 3, 4)
    merged = ops.channel_moments(x[:0])
    for part in x.split(sizes):
        merged = ops.merge_moments(*merged, *ops.channel_moments(part))
    assert_moments(merged, reference_moments(x))


def test_merge_of_counts_that_cannot_be(backend):
    _, mean, m2 = moments = ops.channel_moments(random_tensor(1, 3, 2, 2))
    for count in (-1, 2**63 - 4):
        wrong = torch.tensor(count), mean, m2
        if backend == "cpu":
            with pytest.raises(RuntimeError, match="merge_moments: "):
                ops.merge_moments(*wrong, *moments)
            continue
        merged_count, *merged = ops.merge_moments(*moments, *wrong)
        assert int(merged_count) == -1 and all(bool(x.isnan().all()) for x in merged)


@pytest.mark.parametrize("channels", [1, 2, 7, 64])
def test_pca_against_scikit_learn(channels):
    samples = random_tensor(500, channels, 1, 1, dtype=torch.float64)
    count, _, m2 = ops.channel_moments(samples)
    eigenvalues, basis = ops.pca(m2 / (count - 1))
    expected = PCA().fit(samples[:, :, 0, 0].numpy())
    np.testing.assert_allclose(eigenvalues.numpy(), expected.explained_variance_, rtol=1e-9)
    similarity = (basis.T.numpy() * expected.components_).sum(1)  # the signs may differ
    np.testing.assert_allclose(abs(similarity), 1, rtol=1e-9)


@pytest.mark.parametrize("covariance", [a[0] for name, a in SAMPLES if name == "pca"])
def test_pca_decomposes(covariance):
    eigenvalues, basis = ops.pca(covariance)
    assert eigenvalues.shape == covariance.shape[:-1] and basis.shape == covariance.shape
    torch.testing.assert_close(basis @ torch.diag_embed(eigenvalues) @ basis.mT, covariance)
    identity = torch.eye(covariance.shape[-1], dtype=torch.float64).expand(covariance.shape)
    torch.testing.assert_close(basis.mT @ basis, identity)
    assert bool((eigenvalues.diff(dim=-1) <= 0).all())


@pytest.mark.parametrize("covariance", [a[0] for name, a in SAMPLES if name == "pca"])
def test_pca_signs(covariance):
    _, basis = ops.pca(covariance)
    if basis.numel() > 0:
        largest = basis.gather(-2, basis.abs().argmax(-2, keepdim=True))
        assert bool((largest > 0).all())


def test_pca_of_equal_eigenvalues_is_reproducible():
    covariance = 2 * torch.eye(6, dtype=torch.float64)
    first, second = ops.pca(covariance), ops.pca(covariance.clone())
    assert torch.equal(first[0], torch.full((6,), 2.0, dtype=torch.float64))
    assert torch.equal(first[1], second[1])


def test_pca_of_any_strides(layout):
    covariance = random_covariance(channels=6)
    for actual, expected in zip(ops.pca(layout(covariance)), ops.pca(covariance), strict=True):
        assert torch.equal(actual, expected)


MOMENTS = ops.channel_moments(random_tensor(1, 3, 2, 2))
ERRORS = [
    (lambda: ops.channel_moments(torch.zeros(2, 3, 4)), r"channel_moments: x .*4 dim.*\[2, 3, 4\]"),
    (
        lambda: ops.channel_moments(torch.zeros(1, 1, 1, 1, dtype=torch.int32)),
        "channel_moments: x must be float16, .* but is int32",
    ),
    (
        lambda: ops.merge_moments(*MOMENTS, *ops.channel_moments(torch.zeros(1, 2, 1, 1))),
        r"merge_moments: dimension 0 of mean_b must be 3 .* \[2\]",
    ),
    (
        lambda: ops.merge_moments(MOMENTS[0].int(), *MOMENTS[1:], *MOMENTS),
        "merge_moments: count_a must be int64, but is int32",
    ),
    (
        lambda: ops.merge_moments(*MOMENTS[:2], MOMENTS[2].float(), *MOMENTS),
        "merge_moments: m2_a must be float64, but is float32",
    ),
    (lambda: ops.pca(torch.zeros(3, 4).double()), r"pca: covariance must be square.*\[3, 4\]"),
    (lambda: ops.pca(torch.zeros(3).double()), r"pca: covariance must be \[C, C\] or .*\[3\]"),
    (lambda: ops.pca(torch.zeros(3, 3)), "pca: covariance must be float64, but is float32"),
    (
        lambda: ops.pca(torch.stack([torch.eye(2), torch.eye(2) * torch.inf]).double()),
        "pca: covariance 1 of the batch: .*(NaN|infin)",
    ),
]


@pytest.mark.parametrize("call, message", ERRORS)
def test_errors(call, message):
    with pytest.raises(RuntimeError, match=f"fmtc::{message}"):
        call()
