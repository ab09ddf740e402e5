#pragma once

#include <limits>

#include "core/positions.h"
#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kPositionActivity = "position_activity";

// levels int16 [N, K, H, W], weights int32 [K]; how the images are cut.
inline Layout check_position_activity(const Tensor& levels, const Tensor& weights) {
  constexpr const char* kOp = kPositionActivity;
  check_dtype(kOp, "levels", levels, ScalarType::Short);
  check_dim(kOp, "levels", levels, 4, "[N, K, H, W]");
  check_dtype(kOp, "weights", weights, ScalarType::Int);
  check_dim(kOp, "weights", weights, 1, "[K]");
  check_size(kOp, "weights", weights, 0, levels.size(1), "the components K of levels");
  check_between(kOp, "the number of components", levels.size(1), 0, kMaxWeighted);
  check_between(kOp, "the height", levels.size(2), 0, std::numeric_limits<int32_t>::max());
  check_between(kOp, "the width", levels.size(3), 0, std::numeric_limits<int32_t>::max());
  return {static_cast<uint32_t>(levels.size(1)), static_cast<uint32_t>(levels.size(2)),
          static_cast<uint32_t>(levels.size(3)), kMinPositionClasses};
}

}  // namespace fmtc::ops
