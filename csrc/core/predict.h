#pragma once

#include <cstdint>
#include <span>

#include "core/device.h"
#include "core/status.h"

namespace fmtc {

// Lossless linear prediction of the levels of one component's plane [height, width]:
//   p = (left * q[h, w-1] + above * q[h-1, w] + above_left * q[h-1, w-1] + 32) >> 6
//   r[h, w] = q[h, w] - p modulo 2^16, as int16
// Neighbours outside the plane are 0 and >> rounds down, so that every plane comes back exactly.

// The coefficients are whole numbers of 1/64. This limit keeps all sums within int32.
inline constexpr int32_t kPredictLimit = 256;

// Coefficients of 1 component, each from -kPredictLimit to kPredictLimit.
struct PredictCoefficients {
  int16_t left;
  int16_t above;
  int16_t above_left;

  friend bool operator==(const PredictCoefficients&, const PredictCoefficients&) = default;
};

// The residual of one level, for coefficients within the limit.
FMTC_HD inline int16_t residual_of(const PredictCoefficients& c, int32_t level, int32_t left,
                                   int32_t above, int32_t above_left) noexcept {
  const int32_t sum = c.left * left + c.above * above + c.above_left * above_left + 32;
  return static_cast<int16_t>(level - (sum >> 6));
}

// The level of one residual, in two steps, as the second has to wait for the level before: all but
// the left neighbour, times 64 (r * 64 under the shift is r after it), and then the level.
FMTC_HD inline int32_t sum_without_left(const PredictCoefficients& c, int32_t residual,
                                        int32_t above, int32_t above_left) noexcept {
  return c.above * above + c.above_left * above_left + 32 + residual * 64;
}
FMTC_HD inline int16_t level_of(int32_t sum, int32_t left_coefficient, int32_t left) noexcept {
  return static_cast<int16_t>((left_coefficient * left + sum) >> 6);
}

// Whether each coefficient lies within the limit.
bool valid(const PredictCoefficients& coefficients) noexcept;

// residuals of levels.
//   levels     [height * width], row by row
//   width      > 0 and a divisor of the size; any where there are no levels
//   residuals  same size, sharing no memory with levels
// kBadArgument where sizes disagree, kOutOfRange where a coefficient exceeds the limit; then
// nothing is written.
Status predict_plane(std::span<const int16_t> levels, uint64_t width,
                     const PredictCoefficients& coefficients,
                     std::span<int16_t> residuals) noexcept;

// levels of residuals: the inverse, of several planes of one size.
//   residuals, levels  [coefficients.size(), height * width], sharing no memory
// The same errors.
Status unpredict_planes(std::span<const int16_t> residuals, uint64_t width,
                        std::span<const PredictCoefficients> coefficients,
                        std::span<int16_t> levels) noexcept;
// The same for one plane.
inline Status unpredict_plane(std::span<const int16_t> residuals, uint64_t width,
                              const PredictCoefficients& coefficients,
                              std::span<int16_t> levels) noexcept {
  return unpredict_planes(residuals, width, std::span(&coefficients, 1), levels);
}

}  // namespace fmtc
