#pragma once

#include <string>

#include "core/scaled.h"
#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kQuantizeScaled = "quantize_scaled";
inline constexpr const char* kDequantizeScaled = "dequantize_scaled";

inline ScaledFormat check_scaled_format(const char* op, const std::string& format) {
  if (format == "integers") return ScaledFormat::kIntegers;
  if (format == "mxfp4") return ScaledFormat::kMxfp4;
  STD_TORCH_CHECK(format == "nvfp4", "fmtc::", op,
                  ": format must be integers, mxfp4 or nvfp4, but is ", format);
  return ScaledFormat::kNvfp4;
}

// Whatever lo and hi are with formats that have levels of their own.
inline Scaled check_scaled(const char* op, const std::string& format, int64_t block,
                           double layer_scale, int64_t lo, int64_t hi) {
  check_between(op, "block", block, 0, std::numeric_limits<int32_t>::max());
  const Scaled scaled = {check_scaled_format(op, format), static_cast<uint64_t>(block),
                         static_cast<float>(layer_scale), static_cast<int32_t>(lo),
                         static_cast<int32_t>(hi)};
  STD_TORCH_CHECK(scaled.layer_scale > 0 && std::isfinite(scaled.layer_scale), "fmtc::", op,
                  ": layer_scale must be a positive finite number in float32, but is ",
                  layer_scale);
  return scaled;
}

// y real [N, C, H, W].
inline Scaled check_quantize_scaled(const Tensor& y, const std::string& format, int64_t block,
                                    double layer_scale, int64_t lo, int64_t hi) {
  constexpr const char* kOp = kQuantizeScaled;
  check_real(kOp, "y", y);
  check_dim(kOp, "y", y, 4, "[N, C, H, W]");
  check_interval(kOp, lo, hi);
  const Scaled scaled = check_scaled(kOp, format, block, layer_scale, lo, hi);
  STD_TORCH_CHECK(scaled_valid(scaled), "fmtc::", kOp, ": ", format, " with lo = ", lo,
                  ", hi = ", hi, " and layer_scale = ", layer_scale,
                  " is none: integers have lo = 0 or -hi ", "and hi from 1 to ", kMostScaledLevel,
                  ", the others -7 and 7, and mxfp4 ", "layer_scale = 1");
  return scaled;
}

// levels int16 [N, K, H, W], the planes of some channels and of their scales; dtype the name of a
// real one. `result` becomes the dtype.
inline Scaled check_dequantize_scaled(const Tensor& levels, const std::string& format,
                                      int64_t block, double layer_scale, const std::string& dtype,
                                      ScalarType& result) {
  constexpr const char* kOp = kDequantizeScaled;
  check_dtype(kOp, "levels", levels, ScalarType::Short);
  check_dim(kOp, "levels", levels, 4, "[N, K, H, W]");
  result = check_real_name(kOp, "dtype", dtype);
  const bool integers = check_scaled_format(kOp, format) == ScaledFormat::kIntegers;
  const Scaled scaled =
      check_scaled(kOp, format, block, layer_scale, integers ? 0 : -kFp4Codes, kFp4Codes);
  STD_TORCH_CHECK(scaled_valid(scaled), "fmtc::", kOp, ": mxfp4 has layer_scale = 1, not ",
                  layer_scale);
  const auto planes = static_cast<uint64_t>(levels.size(1));
  const uint64_t channels = channels_of(planes, scaled.block);
  const bool fits =
      planes == 0 || (channels > 0 && channels + scales_of(channels, scaled.block) == planes);
  STD_TORCH_CHECK(fits, "fmtc::", kOp, ": no channels with a scale for each ", block,
                  " of them have so many planes: levels are ", shape_text(levels));
  return scaled;
}

}  // namespace fmtc::ops
