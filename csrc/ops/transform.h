#pragma once

// Checks of the operators of the channel transform, alone and fused with the quantiser.
#include <cmath>
#include <limits>
#include <optional>
#include <string>

#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kTransformChannels = "transform_channels";
inline constexpr const char* kTransformQuantize = "transform_quantize";
inline constexpr const char* kDequantizeTransform = "dequantize_transform";

// matrix [rows, columns] and offset [rows], float32, for `in` [N, columns, H, W].
inline void check_transform(const char* op, const char* argument, const Tensor& in,
                            const Tensor& matrix, const Tensor& offset) {
  check_dim(op, argument, in, 4, "[N, columns, H, W]");
  check_dtype(op, "matrix", matrix, ScalarType::Float);
  check_dim(op, "matrix", matrix, 2, "[rows, columns]");
  check_size(op, "matrix", matrix, 1, in.size(1),
             (std::string("the channels of ") + argument).c_str());
  check_dtype(op, "offset", offset, ScalarType::Float);
  check_dim(op, "offset", offset, 1, "[rows]");
  check_size(op, "offset", offset, 0, matrix.size(0), "the rows of matrix");
}

inline void check_transform_quantize(const Tensor& x, const Tensor& matrix, const Tensor& offset,
                                     double step, int64_t lo, int64_t hi) {
  check_real(kTransformQuantize, "x", x);
  check_transform(kTransformQuantize, "x", x, matrix, offset);
  check_interval(kTransformQuantize, lo, hi);
  check_quantizer_step(kTransformQuantize, step, ScalarType::Float);
}

// What the values of a tensor are limited to.
struct Limits {
  Limits(std::optional<double> least, std::optional<double> most)
      : least(static_cast<float>(least.value_or(-kInfinity))),
        most(static_cast<float>(most.value_or(kInfinity))) {}

  static constexpr double kInfinity = std::numeric_limits<double>::infinity();
  float least, most;
};

inline Limits check_limits(const char* op, std::optional<double> least,
                           std::optional<double> most) {
  const Limits limits(least, most);
  STD_TORCH_CHECK(limits.least <= limits.most, "fmtc::", op, ": least must not exceed most, but ",
                  limits.least, " and ", limits.most, " were given");
  return limits;
}

inline void check_transform_channels(const Tensor& x, const Tensor& matrix, const Tensor& offset,
                                     const Limits& limits) {
  check_real(kTransformChannels, "x", x);
  check_transform(kTransformChannels, "x", x, matrix, offset);
  check_limits(kTransformChannels, limits.least, limits.most);
}

// Returns the dtype that `dtype` names.
inline ScalarType check_dequantize_transform(const Tensor& levels, const Tensor& matrix,
                                             const Tensor& offset, double step,
                                             const Limits& limits, const std::string& dtype) {
  check_dtype(kDequantizeTransform, "levels", levels, ScalarType::Short);
  check_transform(kDequantizeTransform, "levels", levels, matrix, offset);
  STD_TORCH_CHECK(std::isfinite(static_cast<float>(step)), "fmtc::dequantize_transform: step must ",
                  "be finite in float32, but is ", step);
  check_limits(kDequantizeTransform, limits.least, limits.most);
  return check_real_name(kDequantizeTransform, "dtype", dtype);
}

}  // namespace fmtc::ops
