#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/device.h"
#include "core/simd.h"
#include "core/status.h"

namespace fmtc {

// What the first components of an image, its sources, tell of the components behind them. For
// component k, with its coefficients c [sources, 3, 3] in 1 / kPredictUnit (core/predict.h):
//   cross[h, w] = sum of c[j, dy + 1, dx + 1] * q_j[h + dy, w + dx]   modulo 2^32
// over the sources j < k and dy, dx in {-1, 0, 1}; levels outside the plane are 0. A decoder has
// whole planes of the sources before it comes to k, so that the window may lie around the position.

inline constexpr uint32_t kMostSources = 16;
inline constexpr size_t kWindow = 9;

// The sources of component k: those before it.
FMTC_HD inline uint32_t sources_of(uint64_t k, uint32_t sources) noexcept {
  return k < sources ? static_cast<uint32_t>(k) : sources;
}

// A row of such sums, as the kernels of core/predict_sources.cpp take it.
struct CrossRow {
  const int16_t* pairs;    // of the first two sources, at the upper left corner of the row's window
  size_t row;              // numbers between rows
  const size_t* planes;    // [count], numbers from `pairs` to each pair of sources
  size_t count;            // pairs of sources
  const int32_t* factors;  // [count, kWindow], two coefficients each, the first in the low half
  size_t width;
  uint32_t* cross;  // [width]
};
// The kernels: that row and those below it, `height` in all.
using CrossRows = void (*)(CrossRow row, size_t height) noexcept;
void cross_rows_scalar(CrossRow row, size_t height) noexcept;
void cross_rows_neon(CrossRow row, size_t height) noexcept;
void cross_rows_avx2(CrossRow row, size_t height) noexcept;
void cross_rows_avx512(CrossRow row, size_t height) noexcept;

// The best of them for a CPU with these instructions, of which this one must have all.
CrossRows cross_rows_of(Simd simd) noexcept;

// Planes [height, width] of sources with a border of zeros, two and two interleaved, so that a
// multiply-add takes a pair.
class Sources {
 public:
  // Numbers of `space`: of so many sources.
  static size_t space(uint32_t sources, uint32_t height, uint32_t width) noexcept;

  // space: zeros, of that size. height, width: 2^31 at most.
  Sources(std::span<int16_t> space, uint32_t height, uint32_t width) noexcept;

  // Takes the levels [height * width] of source `index`.
  void set(uint32_t index, std::span<const int16_t> levels) noexcept;

  // cross [height * width], written, of coefficients [sources, 3, 3], kMostSources at most, all of
  // them set. False, with nothing written, where all are 0.
  bool tell(std::span<const int16_t> coefficients, std::span<uint32_t> cross,
            CrossRows cross_rows = cross_rows_of(cpu_simd())) const noexcept;

 private:
  std::span<int16_t> space_;
  uint32_t height_, width_;
};

}  // namespace fmtc
