// The CPU operator raises for levels outside [lo, hi] and groups that are none; here they are left
// out of the counts.
#include "cuda/histogram.h"

#include "ops/cuda/device.h"
#include "ops/histogram.h"

namespace fmtc::ops {
namespace {

Tensor histogram(const Tensor& levels, int64_t lo, int64_t hi, const Tensor& groups,
                 int64_t num_groups) {
  check_histogram(levels, lo, hi, groups, num_groups);
  const OnDevice device(kHistogram, levels, {{"groups", groups}});
  const Tensor input = torch::stable::contiguous(levels);
  const Tensor group_of = torch::stable::contiguous(groups);
  const Tensor counts = device.empty({num_groups, hi - lo + 1}, ScalarType::Long);
  const int64_t images = levels.size(0), components = levels.size(1);
  const int64_t planes = images * components;
  cuda::histogram(
      device.stream(), input.const_data_ptr<int16_t>(),
      {images, components, planes == 0 ? 0 : levels.numel() / planes},
      {static_cast<int32_t>(lo), static_cast<int32_t>(hi), group_of.const_data_ptr<int64_t>(),
       num_groups, counts.mutable_data_ptr<int64_t>()});
  device.check();
  return counts;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) { m.impl("histogram", TORCH_BOX(&histogram)); }

}  // namespace fmtc::ops
