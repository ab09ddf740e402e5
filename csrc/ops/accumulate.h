#pragma once

#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kAccumulate = "accumulate_";

// total and part int64 of one shape, contiguous: a copy of total would not be the caller's.
inline void check_accumulate(const Tensor& total, const Tensor& part) {
  constexpr const char* kOp = kAccumulate;
  check_dtype(kOp, "total", total, ScalarType::Long);
  check_dtype(kOp, "part", part, ScalarType::Long);
  STD_TORCH_CHECK(total.sizes().equals(part.sizes()), "fmtc::", kOp, ": part must have the shape ",
                  "of total, ", shape_text(total), ", but has ", shape_text(part));
  STD_TORCH_CHECK(total.is_contiguous(), "fmtc::", kOp, ": total must be contiguous");
  STD_TORCH_CHECK(part.is_contiguous(), "fmtc::", kOp, ": part must be contiguous");
}

}  // namespace fmtc::ops
