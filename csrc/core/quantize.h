#pragma once

#include <cmath>
#include <cstdint>
#include <span>

#include "core/device.h"
#include "core/status.h"

namespace fmtc {

// The uniform mid-tread quantiser: level = clamp(round_half_even(y / step), lo, hi).
// T is float or double; the division is a true division in T.

// The level before it is limited to [lo, hi], as a number of type T: cut off at one beyond either
// end, which is all that clamping and counting need and always fits an integer. NaN stays NaN.
template <typename T>
FMTC_HD inline T nearest_level(T y, T step, T lo, T hi) noexcept {
  T scaled = y / step;
  scaled = scaled < lo - 1 ? lo - 1 : scaled;
  scaled = scaled > hi + 1 ? hi + 1 : scaled;
  return std::nearbyint(scaled);
}

// One value; `clamped` tells whether it was outside the levels or NaN, which gives the level
// nearest to 0.
template <typename T>
FMTC_HD inline int16_t quantize_one(T y, T step, int32_t lo, int32_t hi, bool& clamped) noexcept {
  const T low = static_cast<T>(lo);
  const T high = static_cast<T>(hi);
  T level = nearest_level(y, step, low, high);
  clamped = !(level >= low && level <= high);
  level = level == level ? level : T{0};
  level = level < low ? low : level;
  level = level > high ? high : level;
  return static_cast<int16_t>(static_cast<int32_t>(level));
}

// T is float or double.
template <typename T>
FMTC_HD inline T dequantize_one(int16_t level, T step) noexcept {
  return static_cast<T>(level) * step;
}

// levels[i] of y[i]; `clamped` becomes the number of values outside the levels, NaN included.
//   y       finite or not; levels: same size
//   step    finite and > 0 in the type of y
//   lo, hi  -32768 <= lo <= hi <= 32767
// kBadArgument where one of these does not hold; then nothing is written.
Status quantize(std::span<const float> y, float step, int32_t lo, int32_t hi,
                std::span<int16_t> levels, int64_t& clamped) noexcept;
Status quantize(std::span<const double> y, double step, int32_t lo, int32_t hi,
                std::span<int16_t> levels, int64_t& clamped) noexcept;

// y[i] = float(levels[i]) * step. kBadArgument where the sizes differ or step is not finite.
Status dequantize(std::span<const int16_t> levels, float step, std::span<float> y) noexcept;

}  // namespace fmtc
