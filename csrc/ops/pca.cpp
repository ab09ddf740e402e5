#include "ops/pca.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <tuple>

#include "core/pca.h"
#include "ops/eigh.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

// From so many channels on LAPACK is faster than Eigen, 2 to 4 times for 512 to 2048; how it rounds
// may depend on the number of threads.
constexpr int64_t kWide = 128;

// Of matrices that are found finite; LAPACK does not always come back from others.
Status check_finite(std::span<const double> matrix) {
  const auto finite = [](double value) { return std::isfinite(value); };
  return std::all_of(matrix.begin(), matrix.end(), finite) ? Status::kOk : Status::kNotFinite;
}

std::tuple<Tensor, Tensor> pca(const Tensor& covariance) {
  check_pca(covariance);
  const int64_t batch = covariance.dim() == 3 ? covariance.size(0) : 1;
  const int64_t channels = covariance.size(covariance.dim() - 1);
  const Tensor input = contiguous_of(covariance);
  const Tensor basis = torch::stable::empty(covariance.sizes(), ScalarType::Double);
  const Tensor eigenvalues =
      torch::stable::empty(covariance.sizes().slice(0, covariance.dim() - 1), ScalarType::Double);
  const auto in = values<double>(input);
  const auto out_values = mutable_values<double>(eigenvalues);
  const auto out_basis = mutable_values<double>(basis);
  const int64_t size = channels * channels;
  Failures failures;
  if (channels < kWide) {
    for_each_task(batch, failures, [&](int64_t i) {
      return fmtc::pca(row(in, i, size), static_cast<size_t>(channels),
                       row(out_values, i, channels), row(out_basis, i, size));
    });
    check_of_batch(failures.task(), failures.status());
    return {eigenvalues, basis};
  }
  for_each_task(batch, failures, [&](int64_t i) { return check_finite(row(in, i, size)); });
  check_of_batch(failures.task(), failures.status());
  const auto [found, vectors] = eigh(input);
  const Tensor columns = contiguous_of(vectors);
  const auto found_values = values<double>(found);
  const auto found_vectors = values<double>(columns);
  for_each_task(batch, failures, [&](int64_t i) {
    return order_components(row(found_values, i, channels), row(found_vectors, i, size),
                            row(out_values, i, channels), row(out_basis, i, size));
  });
  check_of_batch(failures.task(), failures.status());
  return {eigenvalues, basis};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("pca", TORCH_BOX(&pca)); }

}  // namespace fmtc::ops
