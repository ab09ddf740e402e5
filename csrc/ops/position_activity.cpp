#include "ops/position_activity.h"

#include <torch/csrc/stable/library.h>

#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = kPositionActivity;

Tensor position_activity(const Tensor& levels, const Tensor& weights) {
  const Layout layout = check_position_activity(levels, weights);
  const Tensor input = contiguous_of(levels);
  const Tensor factors = contiguous_of(weights);
  const auto rows = static_cast<int64_t>(layout.map_height());
  const auto columns = static_cast<int64_t>(layout.map_width());
  const Tensor activity = torch::stable::empty({levels.size(0), rows, columns}, ScalarType::Long);
  Failures failures;
  for_each_task(levels.size(0), failures, [&](int64_t n) {
    return fmtc::position_activity(
        row(values<int16_t>(input), n, static_cast<int64_t>(layout.levels())), layout.height,
        layout.width, values<int32_t>(factors),
        row(mutable_values<int64_t>(activity), n, rows * columns));
  });
  STD_TORCH_CHECK(failures.status() != Status::kOutOfRange,
                  "fmtc::position_activity: weights must be from 0 to ", kMaxWeight);
  check_status(kOp, failures.status());
  return activity;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) {
  m.impl("position_activity", TORCH_BOX(&position_activity));
}

}  // namespace fmtc::ops
