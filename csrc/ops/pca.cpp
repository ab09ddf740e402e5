#include "core/pca.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "ops/checks.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "pca";

void check_covariance(const Tensor& covariance) {
  check_dtype(kOp, "covariance", covariance, ScalarType::Double);
  const int64_t dim = covariance.dim();
  STD_TORCH_CHECK(dim == 2 || dim == 3,
                  "fmtc::pca: covariance must be [C, C] or [B, C, C], but has ", "the shape ",
                  shape_text(covariance));
  STD_TORCH_CHECK(covariance.size(dim - 1) == covariance.size(dim - 2),
                  "fmtc::pca: covariance must be square, but has the shape ",
                  shape_text(covariance));
}

std::tuple<Tensor, Tensor> pca(const Tensor& covariance) {
  check_covariance(covariance);
  const bool batched = covariance.dim() == 3;
  const int64_t batch = batched ? covariance.size(0) : 1;
  const int64_t channels = covariance.size(covariance.dim() - 1);
  const Tensor input = torch::stable::contiguous(covariance);
  const Tensor basis = torch::stable::empty(covariance.sizes(), ScalarType::Double);
  const Tensor eigenvalues = batched ? torch::stable::empty({batch, channels}, ScalarType::Double)
                                     : torch::stable::empty({channels}, ScalarType::Double);
  const auto in = values<double>(input);
  const auto out_values = mutable_values<double>(eigenvalues);
  const auto out_basis = mutable_values<double>(basis);
  Failures failures;
  for_each_task(batch, failures, [&](int64_t i) {
    return fmtc::pca(row(in, i, channels * channels), static_cast<size_t>(channels),
                     row(out_values, i, channels), row(out_basis, i, channels * channels));
  });
  STD_TORCH_CHECK(failures.status() == Status::kOk, "fmtc::pca: covariance ", failures.task(),
                  " of the batch: ", message(failures.status()));
  return {eigenvalues, basis};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("pca", TORCH_BOX(&pca)); }

}  // namespace fmtc::ops
