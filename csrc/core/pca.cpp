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
double sign_of(const Eigen::Ref<const Eigen::VectorXd, 0, Eigen::InnerStride<>>& vector) {
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
  const Eigen::VectorXd& found = solver.eigenvalues();
  const RowMajor vectors = solver.eigenvectors();
  return order_components({found.data(), eigenvalues.size()}, {vectors.data(), basis.size()},
                          eigenvalues, basis);
}

}  // namespace

Status order_components(std::span<const double> found, std::span<const double> vectors,
                        std::span<double> eigenvalues, std::span<double> basis) {
  const size_t channels = found.size();
  if (vectors.size() != channels * channels || eigenvalues.size() != channels ||
      basis.size() != vectors.size()) {
    return Status::kBadArgument;
  }
  if (std::any_of(found.begin(), found.end(), [](double v) { return std::isnan(v); }))
    return Status::kNotConverged;
  std::vector<size_t> order(channels);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return found[a] > found[b]; });
  const auto size = static_cast<Eigen::Index>(channels);
  const Eigen::Map<const RowMajor> from(vectors.data(), size, size);
  Eigen::Map<RowMajor> to(basis.data(), size, size);
  for (size_t k = 0; k < channels; ++k) {
    eigenvalues[k] = found[order[k]];
    const auto vector = from.col(static_cast<Eigen::Index>(order[k]));
    to.col(static_cast<Eigen::Index>(k)) = sign_of(vector) * vector;
  }
  return Status::kOk;
}

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
