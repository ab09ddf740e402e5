#pragma once

#include <cmath>

#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kQuantize = "quantize";

// y real; lo <= hi, both int16; step positive and finite in the type that y is divided in.
inline void check_quantize(const Tensor& y, double step, int64_t lo, int64_t hi) {
  check_real(kQuantize, "y", y);
  check_interval(kQuantize, lo, hi);
  const bool is_double = y.scalar_type() == ScalarType::Double;
  const double step_of_y = is_double ? step : static_cast<float>(step);
  STD_TORCH_CHECK(std::isfinite(step_of_y) && step_of_y > 0, "fmtc::quantize: step must be a ",
                  "positive finite number in ",
                  dtype_name(is_double ? ScalarType::Double : ScalarType::Float), ", but is ",
                  step);
}

}  // namespace fmtc::ops
