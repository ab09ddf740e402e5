#include <torch/csrc/stable/library.h>

#include "core/positions.h"
#include "ops/checks.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "position_activity";

Tensor position_activity(const Tensor& levels, const Tensor& weights) {
  check_dtype(kOp, "levels", levels, ScalarType::Short);
  check_dim(kOp, "levels", levels, 4, "[N, K, H, W]");
  check_dtype(kOp, "weights", weights, ScalarType::Int);
  check_dim(kOp, "weights", weights, 1, "[K]");
  check_size(kOp, "weights", weights, 0, levels.size(1), "the components K of levels");
  check_between(kOp, "the number of components", levels.size(1), 0, kMaxWeighted);
  check_between(kOp, "the height", levels.size(2), 0, std::numeric_limits<int32_t>::max());
  check_between(kOp, "the width", levels.size(3), 0, std::numeric_limits<int32_t>::max());
  const Tensor input = torch::stable::contiguous(levels);
  const Tensor factors = torch::stable::contiguous(weights);
  const Layout layout{static_cast<uint32_t>(levels.size(1)), static_cast<uint32_t>(levels.size(2)),
                      static_cast<uint32_t>(levels.size(3)), kMinPositionClasses};
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
