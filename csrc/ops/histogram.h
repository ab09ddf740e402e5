#pragma once

#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kHistogram = "histogram";

// levels int16 [N, K, ...], lo <= hi, groups int64 [K].
inline void check_histogram(const Tensor& levels, int64_t lo, int64_t hi, const Tensor& groups,
                            int64_t num_groups) {
  constexpr const char* kOp = kHistogram;
  check_dtype(kOp, "levels", levels, ScalarType::Short);
  STD_TORCH_CHECK(levels.dim() >= 2, "fmtc::histogram: levels must be [N, K, ...], but has the ",
                  "shape ", shape_text(levels));
  check_interval(kOp, lo, hi);
  check_groups(kOp, groups, levels.size(1), "dimension 1 of levels", num_groups);
}

}  // namespace fmtc::ops
