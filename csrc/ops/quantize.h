#pragma once

#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kQuantize = "quantize";

// y real; lo <= hi, both int16; step positive and finite in the type that y is divided in.
inline void check_quantize(const Tensor& y, double step, int64_t lo, int64_t hi) {
  check_real(kQuantize, "y", y);
  check_interval(kQuantize, lo, hi);
  const bool is_double = y.scalar_type() == ScalarType::Double;
  check_quantizer_step(kQuantize, step, is_double ? ScalarType::Double : ScalarType::Float);
}

}  // namespace fmtc::ops
