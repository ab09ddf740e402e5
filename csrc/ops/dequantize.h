#pragma once

#include <cmath>
#include <string>

#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kDequantize = "dequantize";

// levels int16; dtype the name of a real one; step finite in the type that levels are multiplied
// in. Returns the dtype.
inline ScalarType check_dequantize(const Tensor& levels, double step, const std::string& dtype) {
  check_dtype(kDequantize, "levels", levels, ScalarType::Short);
  const ScalarType result = check_real_name(kDequantize, "dtype", dtype);
  const bool is_double = result == ScalarType::Double;
  const bool finite = is_double ? std::isfinite(step) : std::isfinite(static_cast<float>(step));
  STD_TORCH_CHECK(finite, "fmtc::dequantize: step must be finite in ",
                  is_double ? "float64" : "float32", ", but is ", step);
  return result;
}

}  // namespace fmtc::ops
