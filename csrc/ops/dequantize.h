#pragma once

#include <cmath>

#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kDequantize = "dequantize";

// levels int16; dtype real; step finite in the type that levels are multiplied in.
inline void check_dequantize(const Tensor& levels, double step, ScalarType dtype) {
  check_dtype(kDequantize, "levels", levels, ScalarType::Short);
  STD_TORCH_CHECK(is_real(dtype), "fmtc::dequantize: dtype must be float16, bfloat16, float32 or ",
                  "float64, but is ", dtype_name(dtype));
  const bool is_double = dtype == ScalarType::Double;
  const bool finite = is_double ? std::isfinite(step) : std::isfinite(static_cast<float>(step));
  STD_TORCH_CHECK(finite, "fmtc::dequantize: step must be finite in ",
                  is_double ? "float64" : "float32", ", but is ", step);
}

}  // namespace fmtc::ops
