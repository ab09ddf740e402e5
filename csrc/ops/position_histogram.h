#pragma once

#include "core/positions.h"
#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kPositionHistogram = "position_histogram";

// levels int16 [N, K, H, W], num_classes of positions, lo <= hi, groups int64
// [1 + K * num_classes].
inline void check_position_histogram(const Tensor& levels, int64_t num_classes, int64_t lo,
                                     int64_t hi, const Tensor& groups, int64_t num_groups) {
  constexpr const char* kOp = kPositionHistogram;
  check_dtype(kOp, "levels", levels, ScalarType::Short);
  check_dim(kOp, "levels", levels, 4, "[N, K, H, W]");
  check_between(kOp, "num_classes", num_classes, kMinPositionClasses, kMaxPositionClasses);
  check_interval(kOp, lo, hi);
  check_groups(kOp, groups, 1 + levels.size(1) * num_classes,
               "a map and each class of the components K of levels", num_groups);
}

}  // namespace fmtc::ops
