#pragma once

#include <cstdint>

#include "core/device.h"

namespace fmtc {

// The orthonormal DCT-II of kSize values and its inverse.
template <int kSize>
struct Dct;

template <>
struct Dct<2> {
  static constexpr float kHalf = 0.70710678118654752f;  // sqrt(1/2)
  FMTC_HD static inline void forward(const float* x, float* f) noexcept {
    f[0] = (x[0] + x[1]) * kHalf;
    f[1] = (x[0] - x[1]) * kHalf;
  }
  FMTC_HD static inline void inverse(const float* f, float* x) noexcept { forward(f, x); }
};

template <>
struct Dct<4> {
  static constexpr float kOdd = 0.65328148243818826f;   // cos(pi/8) / sqrt(2)
  static constexpr float kEven = 0.27059805007309849f;  // sin(pi/8) / sqrt(2)
  FMTC_HD static inline void forward(const float* x, float* f) noexcept {
    const float outer = x[0] + x[3], inner = x[1] + x[2];
    const float across = x[0] - x[3], between = x[1] - x[2];
    f[0] = (outer + inner) * 0.5f;
    f[2] = (outer - inner) * 0.5f;
    f[1] = across * kOdd + between * kEven;
    f[3] = across * kEven - between * kOdd;
  }
  FMTC_HD static inline void inverse(const float* f, float* x) noexcept {
    const float outer = (f[0] + f[2]) * 0.5f, inner = (f[0] - f[2]) * 0.5f;
    const float across = f[1] * kOdd + f[3] * kEven, between = f[1] * kEven - f[3] * kOdd;
    x[0] = outer + across;
    x[3] = outer - across;
    x[1] = inner + between;
    x[2] = inner - between;
  }
};

// What stands at place i of a block of which the first `count` are there: the others mirror these.
FMTC_HD inline int64_t mirrored(int64_t i, int64_t count) noexcept {
  if (i < count) return i;
  const int64_t mirror = 2 * count - 1 - i;
  return mirror < 0 ? 0 : mirror;
}

}  // namespace fmtc
