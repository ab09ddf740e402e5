#pragma once

#include "core/prediction.h"
#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kPredict = "predict";
inline constexpr const char* kUnpredict = "unpredict";

inline constexpr auto kOwn = static_cast<int64_t>(kOwnCoefficients);
inline int64_t predict_sources(const Tensor& coefficients) {
  return (coefficients.size(1) - kOwn) / static_cast<int64_t>(kWindow);
}

// values, the first argument of `op` by this name: int16 [N, K, H, W]; coefficients: int16
// [K, 3 + 9 * sources].
inline void check_predict(const char* op, const char* name, const Tensor& values,
                          const Tensor& coefficients) {
  check_dtype(op, name, values, ScalarType::Short);
  check_dim(op, name, values, 4, "[N, K, H, W]");
  check_dtype(op, "coefficients", coefficients, ScalarType::Short);
  check_dim(op, "coefficients", coefficients, 2, "[K, 3 + 9 * sources]");
  check_size(op, "coefficients", coefficients, 0, values.size(1),
             (std::string("dimension 1 of ") + name).c_str());
  const int64_t sources = predict_sources(coefficients);
  STD_TORCH_CHECK(
      sources >= 0 && sources <= kMostSources &&
          coefficients.size(1) == kOwn + sources * static_cast<int64_t>(kWindow),
      "fmtc::", op, ": dimension 1 of coefficients must be 3 (left, above, above-left) ",
      "and 9 for each of up to ", kMostSources, " sources, but is ", coefficients.size(1));
}

// The prediction of contiguous coefficients, checked, which must outlive it. Throws where they
// exceed the limit.
Prediction prediction_of(const char* op, const Tensor& contiguous);

}  // namespace fmtc::ops
