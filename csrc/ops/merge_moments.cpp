#include "ops/merge_moments.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "core/moments.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor, Tensor> merge_moments(const Tensor& count_a, const Tensor& mean_a,
                                                 const Tensor& m2_a, const Tensor& count_b,
                                                 const Tensor& mean_b, const Tensor& m2_b) {
  const int64_t channels = check_merge_moments({count_a, mean_a, m2_a}, {count_b, mean_b, m2_b});
  const Moments a = {count_a, contiguous_of(mean_a), contiguous_of(m2_a)};
  const Moments b = {count_b, contiguous_of(mean_b), contiguous_of(m2_b)};
  const Tensor mean = torch::stable::empty({channels}, ScalarType::Double);
  const Tensor m2 = torch::stable::empty({channels, channels}, ScalarType::Double);
  int64_t count = 0;
  check_status(kMergeMoments,
               fmtc::merge_moments(*a.count.const_data_ptr<int64_t>(), values<double>(a.mean),
                                   values<double>(a.m2), *b.count.const_data_ptr<int64_t>(),
                                   values<double>(b.mean), values<double>(b.m2), count,
                                   mutable_values<double>(mean), mutable_values<double>(m2)));
  return {scalar(count), mean, m2};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("merge_moments", TORCH_BOX(&merge_moments)); }

}  // namespace fmtc::ops
