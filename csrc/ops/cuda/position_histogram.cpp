// The CPU operator raises for what is no class or group; here a class counts as the last, and what
// has no group is left out of the counts.
#include "cuda/position_histogram.h"

#include "ops/arrange.h"
#include "ops/cuda/device.h"
#include "ops/position_histogram.h"

namespace fmtc::ops {
namespace {

Tensor position_histogram(const Tensor& levels, const Tensor& classes, int64_t num_classes,
                          int64_t lo, int64_t hi, const Tensor& groups, int64_t num_groups) {
  constexpr const char* kOp = kPositionHistogram;
  check_position_histogram(levels, num_classes, lo, hi, groups, num_groups);
  const Layout layout = check_maps(kOp, levels, classes, static_cast<int>(num_classes));
  const OnDevice device(kOp, levels, {{"classes", classes}, {"groups", groups}});
  const Tensor input = torch::stable::contiguous(levels);
  const Tensor maps = torch::stable::contiguous(classes);
  const Tensor group_of = torch::stable::contiguous(groups);
  const Tensor counts = device.empty({num_groups, hi - lo + 1}, ScalarType::Long);
  cuda::position_histogram(
      device.stream(), input.const_data_ptr<int16_t>(), maps.const_data_ptr<uint8_t>(),
      levels.size(0), layout,
      {static_cast<int32_t>(lo), static_cast<int32_t>(hi), group_of.const_data_ptr<int64_t>(),
       num_groups, counts.mutable_data_ptr<int64_t>()});
  device.check();
  return counts;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) {
  m.impl("position_histogram", TORCH_BOX(&position_histogram));
}

}  // namespace fmtc::ops
