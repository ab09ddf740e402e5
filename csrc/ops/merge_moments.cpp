#include <torch/csrc/stable/library.h>

#include <tuple>

#include "core/moments.h"
#include "ops/checks.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "merge_moments";

// One of the two sets of moments, checked and contiguous.
struct Moments {
  Tensor count, mean, m2;

  int64_t samples() const { return *count.const_data_ptr<int64_t>(); }
};

struct Names {
  const char *count, *mean, *m2;
};

Moments checked(const Names& names, const Tensor& count, const Tensor& mean, const Tensor& m2,
                int64_t channels) {
  check_dtype(kOp, names.count, count, ScalarType::Long);
  check_dtype(kOp, names.mean, mean, ScalarType::Double);
  check_dtype(kOp, names.m2, m2, ScalarType::Double);
  check_dim(kOp, names.count, count, 0, "[]");
  check_dim(kOp, names.mean, mean, 1, "[C]");
  check_dim(kOp, names.m2, m2, 2, "[C, C]");
  check_size(kOp, names.mean, mean, 0, channels, "the channels of mean_a");
  check_size(kOp, names.m2, m2, 0, channels, "the channels of mean_a");
  check_size(kOp, names.m2, m2, 1, channels, "the channels of mean_a");
  return {count, torch::stable::contiguous(mean), torch::stable::contiguous(m2)};
}

std::tuple<Tensor, Tensor, Tensor> merge_moments(const Tensor& count_a, const Tensor& mean_a,
                                                 const Tensor& m2_a, const Tensor& count_b,
                                                 const Tensor& mean_b, const Tensor& m2_b) {
  check_dim(kOp, "mean_a", mean_a, 1, "[C]");
  const int64_t channels = mean_a.size(0);
  const Moments a = checked({"count_a", "mean_a", "m2_a"}, count_a, mean_a, m2_a, channels);
  const Moments b = checked({"count_b", "mean_b", "m2_b"}, count_b, mean_b, m2_b, channels);
  const Tensor mean = torch::stable::empty({channels}, ScalarType::Double);
  const Tensor m2 = torch::stable::empty({channels, channels}, ScalarType::Double);
  int64_t count = 0;
  check_status(kOp,
               fmtc::merge_moments(a.samples(), values<double>(a.mean), values<double>(a.m2),
                                   b.samples(), values<double>(b.mean), values<double>(b.m2), count,
                                   mutable_values<double>(mean), mutable_values<double>(m2)));
  return {scalar(count), mean, m2};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("merge_moments", TORCH_BOX(&merge_moments)); }

}  // namespace fmtc::ops
