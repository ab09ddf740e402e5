// Where a count is negative or their sum too large, for which the CPU operator raises, the count
// becomes -1 and the rest NaN.
#include "cuda/merge_moments.h"

#include <tuple>

#include "ops/cuda/device.h"
#include "ops/merge_moments.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor, Tensor> merge_moments(const Tensor& count_a, const Tensor& mean_a,
                                                 const Tensor& m2_a, const Tensor& count_b,
                                                 const Tensor& mean_b, const Tensor& m2_b) {
  const int64_t channels = check_merge_moments({count_a, mean_a, m2_a}, {count_b, mean_b, m2_b});
  const OnDevice device(kMergeMoments, count_a,
                        {{"mean_a", mean_a},
                         {"m2_a", m2_a},
                         {"count_b", count_b},
                         {"mean_b", mean_b},
                         {"m2_b", m2_b}});
  const Moments a = {count_a, torch::stable::contiguous(mean_a), torch::stable::contiguous(m2_a)};
  const Moments b = {count_b, torch::stable::contiguous(mean_b), torch::stable::contiguous(m2_b)};
  const auto pointers = [](const Moments& moments) -> cuda::Moments {
    return {moments.count.const_data_ptr<int64_t>(), moments.mean.const_data_ptr<double>(),
            moments.m2.const_data_ptr<double>()};
  };
  const Tensor count = device.empty({}, ScalarType::Long);
  const Tensor mean = device.empty({channels}, ScalarType::Double);
  const Tensor m2 = device.empty({channels, channels}, ScalarType::Double);
  cuda::merge_moments(device.stream(), pointers(a), pointers(b), channels,
                      count.mutable_data_ptr<int64_t>(), mean.mutable_data_ptr<double>(),
                      m2.mutable_data_ptr<double>());
  device.check();
  return {count, mean, m2};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) {
  m.impl("merge_moments", TORCH_BOX(&merge_moments));
}

}  // namespace fmtc::ops
