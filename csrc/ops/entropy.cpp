#include "ops/entropy.h"

#include <torch/csrc/stable/library.h>

#include <cmath>

#include "core/entropy.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

Tensor entropy(const Tensor& counts) {
  check_entropy(counts);
  const Tensor input = contiguous_of(counts);
  const int64_t symbols = counts.size(counts.dim() - 1);
  const Tensor bits =
      torch::stable::empty(counts.sizes().slice(0, counts.dim() - 1), ScalarType::Double);
  const auto in = values<int64_t>(input);
  const auto out = mutable_values<double>(bits);
  Failures failures;
  for_each_task(bits.numel(), failures, [&](int64_t i) {
    out[static_cast<size_t>(i)] = fmtc::entropy(row(in, i, symbols));
    return std::isnan(out[static_cast<size_t>(i)]) ? Status::kOutOfRange : Status::kOk;
  });
  STD_TORCH_CHECK(failures.status() == Status::kOk,
                  "fmtc::entropy: counts must not be negative, but histogram ", failures.task(),
                  " has a negative count");
  return bits;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("entropy", TORCH_BOX(&entropy)); }

}  // namespace fmtc::ops
