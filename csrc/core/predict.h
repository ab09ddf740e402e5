#pragma once

#include <cstdint>
#include <span>

#include "core/device.h"
#include "core/status.h"

namespace fmtc {

// Lossless linear prediction of the levels of one component's plane [height, width]:
//   s = left * q[h, w-1] + above * q[h-1, w] + above_left * q[h-1, w-1] + cross[h, w]
//   r[h, w] = q[h, w] - ((s + kPredictUnit / 2) >> kPredictBits) modulo 2^16, as int16
// Neighbours outside the plane are 0, sums are modulo 2^32, taken as int32, and >> rounds down, so
// that every plane comes back exactly. cross: what other components add (core/predict_sources.h).

// The coefficients are whole numbers of 1 / kPredictUnit. The limit keeps sums without `cross`
// within int32.
inline constexpr int kPredictBits = 12;
inline constexpr int32_t kPredictUnit = 1 << kPredictBits;
inline constexpr int32_t kPredictLimit = 4 * kPredictUnit;

// Coefficients of 1 component, each from -kPredictLimit to kPredictLimit.
struct PredictCoefficients {
  int16_t left;
  int16_t above;
  int16_t above_left;

  friend bool operator==(const PredictCoefficients&, const PredictCoefficients&) = default;
};

// The residual of one level, for coefficients within the limit.
FMTC_HD inline int16_t residual_of(const PredictCoefficients& c, int32_t level, int32_t left,
                                   int32_t above, int32_t above_left, uint32_t cross = 0) noexcept {
  const int32_t own = c.left * left + c.above * above + c.above_left * above_left;
  const uint32_t sum = static_cast<uint32_t>(own + kPredictUnit / 2) + cross;
  return static_cast<int16_t>(level - (static_cast<int32_t>(sum) >> kPredictBits));
}

// The level of one residual, in two steps, as the second has to wait for the level before: all but
// the left neighbour (r * kPredictUnit under the shift is r after it), and then the level.
FMTC_HD inline uint32_t sum_without_left(const PredictCoefficients& c, int32_t residual,
                                         int32_t above, int32_t above_left,
                                         uint32_t cross = 0) noexcept {
  const int32_t own = c.above * above + c.above_left * above_left;
  return static_cast<uint32_t>(own + kPredictUnit / 2 + residual * kPredictUnit) + cross;
}
FMTC_HD inline int16_t level_of(uint32_t sum, int32_t left_coefficient, int32_t left) noexcept {
  sum += static_cast<uint32_t>(left_coefficient * left);
  return static_cast<int16_t>(static_cast<int32_t>(sum) >> kPredictBits);
}

// Whether each coefficient lies within the limit.
bool valid(const PredictCoefficients& coefficients) noexcept;

// residuals of levels.
//   levels     [height * width], row by row
//   width      > 0 and a divisor of the size; any where there are no levels
//   residuals  same size, sharing no memory with levels
//   cross      same size, or empty for zeros
// kBadArgument where sizes disagree, kOutOfRange where a coefficient exceeds the limit; then
// nothing is written.
Status predict_plane(std::span<const int16_t> levels, uint64_t width,
                     const PredictCoefficients& coefficients, std::span<int16_t> residuals,
                     std::span<const uint32_t> cross = {}) noexcept;

// levels of residuals: the inverse, of several planes of one size.
//   residuals, levels  [coefficients.size(), height * width], sharing no memory
//   cross              same size, or empty for zeros
// The same errors.
Status unpredict_planes(std::span<const int16_t> residuals, uint64_t width,
                        std::span<const PredictCoefficients> coefficients,
                        std::span<int16_t> levels, std::span<const uint32_t> cross = {}) noexcept;
// The same for one plane.
inline Status unpredict_plane(std::span<const int16_t> residuals, uint64_t width,
                              const PredictCoefficients& coefficients, std::span<int16_t> levels,
                              std::span<const uint32_t> cross = {}) noexcept {
  return unpredict_planes(residuals, width, std::span(&coefficients, 1), levels, cross);
}

}  // namespace fmtc
