#pragma once

#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kPredict = "predict";
inline constexpr const char* kUnpredict = "unpredict";

// values, the first argument of `op` by this name: int16 [N, K, H, W]; coefficients: int16 [K, 3].
inline void check_predict(const char* op, const char* name, const Tensor& values,
                          const Tensor& coefficients) {
  check_dtype(op, name, values, ScalarType::Short);
  check_dim(op, name, values, 4, "[N, K, H, W]");
  check_dtype(op, "coefficients", coefficients, ScalarType::Short);
  check_dim(op, "coefficients", coefficients, 2, "[K, 3]");
  check_size(op, "coefficients", coefficients, 0, values.size(1),
             (std::string("dimension 1 of ") + name).c_str());
  check_size(op, "coefficients", coefficients, 1, 3, "left, above, above-left");
}

}  // namespace fmtc::ops
