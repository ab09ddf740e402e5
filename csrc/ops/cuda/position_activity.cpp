// Weights outside their range, for which the CPU operator raises, count as the nearest in it.
#include "cuda/position_activity.h"

#include "ops/cuda/device.h"
#include "ops/position_activity.h"

namespace fmtc::ops {
namespace {

Tensor position_activity(const Tensor& levels, const Tensor& weights) {
  const Layout layout = check_position_activity(levels, weights);
  const OnDevice device(kPositionActivity, levels, {{"weights", weights}});
  const Tensor input = torch::stable::contiguous(levels);
  const Tensor factors = torch::stable::contiguous(weights);
  const Tensor activity = device.empty({levels.size(0), static_cast<int64_t>(layout.map_height()),
                                        static_cast<int64_t>(layout.map_width())},
                                       ScalarType::Long);
  cuda::position_activity(device.stream(), input.const_data_ptr<int16_t>(), levels.size(0), layout,
                          factors.const_data_ptr<int32_t>(), activity.mutable_data_ptr<int64_t>());
  device.check();
  return activity;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) {
  m.impl("position_activity", TORCH_BOX(&position_activity));
}

}  // namespace fmtc::ops
