#include "ops/pca.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "core/pca.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor> pca(const Tensor& covariance) {
  check_pca(covariance);
  const int64_t batch = covariance.dim() == 3 ? covariance.size(0) : 1;
  const int64_t channels = covariance.size(covariance.dim() - 1);
  const Tensor input = torch::stable::contiguous(covariance);
  const Tensor basis = torch::stable::empty(covariance.sizes(), ScalarType::Double);
  const Tensor eigenvalues =
      torch::stable::empty(covariance.sizes().slice(0, covariance.dim() - 1), ScalarType::Double);
  const auto in = values<double>(input);
  const auto out_values = mutable_values<double>(eigenvalues);
  const auto out_basis = mutable_values<double>(basis);
  Failures failures;
  for_each_task(batch, failures, [&](int64_t i) {
    return fmtc::pca(row(in, i, channels * channels), static_cast<size_t>(channels),
                     row(out_values, i, channels), row(out_basis, i, channels * channels));
  });
  check_of_batch(failures.task(), failures.status());
  return {eigenvalues, basis};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("pca", TORCH_BOX(&pca)); }

}  // namespace fmtc::ops
