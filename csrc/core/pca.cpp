#include "core/pca.h"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <new>
#include <numeric>
#include <vector>

namespace fmtc {
namespace {

using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// 1 or -1, so that the entry of largest magnitude becomes positive.
double sign_of(const Eigen::MatrixXd::ConstColXpr& vector) {
  Eigen::Index largest = 0;
  for (Eigen::Index i = 1; i < vector.size(); ++i) {
    if (std::abs(vector[i]) > std::abs(vector[largest])) largest = i;
  }
  return vector[largest] < 0 ? -1.0 : 1.0;
}

Status decompose(std::span<const double> covariance, Eigen::Index channels,
                 std::span<double> eigenvalues, std::span<double> basis) {
  const Eigen::Map<const RowMajor> matrix(covariance.data(), channels, channels);
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(matrix);
  if (solver.info() != Eigen::Success) return Status::kNotConverged;

  std::vector<Eigen::Index> order(static_cast<size_t>(channels));
  std::iota(order.begin(), order.end(), Eigen::Index{0});
  std::stable_sort(order.begin(), order.end(), [&](Eigen::Index a, Eigen::Index b) {
    return solver.eigenvalues()[a] > solver.eigenvalues()[b];
  });

  const Eigen::MatrixXd& vectors = solver.eigenvectors();
  Eigen::Map<RowMajor> columns(basis.data(), channels, channels);
  for (size_t k = 0; k < order.size(); ++k) {
    eigenvalues[k] = solver.eigenvalues()[order[k]];
    const auto vector = vectors.col(order[k]);
    columns.col(static_cast<Eigen::Index>(k)) = sign_of(vector) * vector;
  }
  return Status::kOk;
}

}  // namespace

Status pca(std::span<const double> covariance, size_t channels, std::span<double> eigenvalues,
           std::span<double> basis) {
  if (eigenvalues.size() != channels || covariance.size() != channels * channels ||
      basis.size() != covariance.size()) {
    return Status::kBadArgument;
  }
  if (!std::all_of(covariance.begin(), covariance.end(), [](double v) { return std::isfinite(v); }))
    return Status::kNotFinite;
  if (channels == 0) return Status::kOk;
  try {
    return decompose(covariance, static_cast<Eigen::Index>(channels), eigenvalues, basis);
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
}

}  // namespace fmtc
