"""The weighted KLT: its errors cost their square, and what costs nothing is not there."""

import pytest
import torch

from fmtc.codec.moments import Moments
from fmtc.codec.transform import Transform, metric_root


def spread(size, rank, seed):
    """A random covariance-like matrix of this rank, f64 [size, size]."""
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(size, rank, generator=generator, dtype=torch.float64)
    return factor @ factor.T


def moments_of(covariance, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(len(covariance), generator=generator, dtype=torch.float64)
    return Moments([(torch.tensor(50), mean, 50 * covariance)])


@pytest.mark.parametrize("size", [1, 2, 9, 32])
@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_root_of_a_metric(size, share):
    rank = max(1, round(share * size))
    metric = spread(size, rank, seed=size)
    root, inverse = metric_root(metric)
    assert root.shape == (rank, size) and inverse.shape == (size, rank)
    torch.testing.assert_close(root.T @ root, metric)
    torch.testing.assert_close(root @ inverse, torch.eye(rank, dtype=torch.float64))
    torch.testing.assert_close(inverse, torch.linalg.pinv(root), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("metric_rank", [1, 3, 8])
@pytest.mark.parametrize("covariance_rank", [2, 8])
def test_weighted_klt(metric_rank, covariance_rank):
    metric, covariance = spread(8, metric_rank, 1), spread(8, covariance_rank, 2)
    moments = moments_of(covariance)
    transform = Transform.weighted_klt(moments, metric)
    matrix, inverse = transform.matrices[0].double(), transform.inverses[0].double()
    assert transform.components == metric_rank and matrix.shape == (metric_rank, 8)
    torch.testing.assert_close(transform.means[0], moments.parts[0][1])

    # Components are uncorrelated, by falling variance.
    transformed = matrix @ covariance @ matrix.T
    variances = transformed.diagonal()
    scale = float(variances.max())
    assert (transformed - variances.diag()).abs().max() < 1e-5 * scale
    assert (variances.diff() <= 1e-5 * scale).all()

    # An error of y costs its square; what the metric sees comes back.
    torch.testing.assert_close(
        inverse.T @ metric @ inverse, torch.eye(metric_rank).double(), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(
        matrix.T @ matrix, metric, rtol=1e-4, atol=1e-4 * float(metric.max())
    )
    torch.testing.assert_close(
        matrix @ inverse, torch.eye(metric_rank).double(), rtol=1e-4, atol=1e-4
    )
    lost = inverse @ matrix - torch.eye(8)
    assert (lost.T @ metric @ lost).trace() < 1e-6 * metric.trace()


def test_weighted_errors_of_tensors():
    metric, covariance = spread(6, 3, 3), spread(6, 6, 4)
    transform = Transform.weighted_klt(moments_of(covariance), metric)
    torch.manual_seed(0)
    x, y_error = torch.randn(2, 6, 3, 4), torch.randn(2, 3, 3, 4)
    y = transform.forward(x)
    error = (transform.inverse(y + y_error) - x).double()
    cost = torch.einsum("nihw,ij,njhw->nhw", error, metric, error)
    torch.testing.assert_close(cost, y_error.double().square().sum(1), rtol=1e-3, atol=1e-3)


def test_an_identity_metric_gives_pca():
    covariance = spread(7, 7, 5)
    moments = moments_of(covariance)
    weighted = Transform.weighted_klt(moments, torch.eye(7).double())
    plain = Transform.pca(moments)
    torch.testing.assert_close(weighted.matrices[0], plain.matrices[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weighted.inverses[0], plain.inverses[0], rtol=1e-4, atol=1e-5)
    scaled = Transform.weighted_klt(moments, 9 * torch.eye(7).double())
    torch.testing.assert_close(scaled.matrices[0], 3 * plain.matrices[0], rtol=1e-4, atol=1e-5)


def test_a_metric_of_zeros_decodes_to_the_mean():
    moments = moments_of(spread(4, 4, 6))
    transform = Transform.weighted_klt(moments, torch.zeros(4, 4, dtype=torch.float64))
    assert transform.components == 1
    decoded = transform.inverse(transform.forward(torch.randn(2, 4, 3, 3)))
    expected = moments.parts[0][1].float()[:, None, None].expand(2, 4, 3, 3)
    torch.testing.assert_close(decoded, expected)


def test_a_tensor_without_variance():
    transform = Transform.weighted_klt(moments_of(torch.zeros(4, 4).double()), spread(4, 2, 7))
    assert transform.components == 2
    assert all(tensor.isfinite().all() for tensor in transform.buffers())
    assert len(list(transform.buffers())) == 6
