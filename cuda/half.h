#pragma once

// float16 and bfloat16: what kernels read and write. Each is converted to float exactly, and from
// it to the nearest number, ties to even.
#include <bit>
#include <cmath>
#include <cstdint>

#include "core/device.h"

#if defined(__CUDACC__)
#include <cuda_fp16.h>
#endif

namespace fmtc::cuda {

struct Half {
  uint16_t bits;
};

struct BFloat16 {
  uint16_t bits;
};

FMTC_HD inline float to_float(Half x) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(x.bits));
#else
  const uint32_t sign = (x.bits & 0x8000u) << 16;
  const uint32_t magnitude = x.bits & 0x7FFFu;
  // As a float its exponent is too low by 112; a float can hold all that comes of putting it right.
  const float finite = std::bit_cast<float>(magnitude << 13) * 0x1p112f;
  const uint32_t bits = magnitude < 0x7C00u ? std::bit_cast<uint32_t>(finite)
                                            : 0x7F800000u | (magnitude & 0x3FFu) << 13;
  return std::bit_cast<float>(sign | bits);
#endif
}

FMTC_HD inline float to_float(BFloat16 x) { return std::bit_cast<float>(uint32_t{x.bits} << 16); }
FMTC_HD inline float to_float(float x) { return x; }

template <typename T>
FMTC_HD inline double to_double(T x) {
  return static_cast<double>(to_float(x));
}
FMTC_HD inline double to_double(double x) { return x; }

FMTC_HD inline void from_float(float x, Half& result) {
#if defined(__CUDA_ARCH__)
  result.bits = __half_as_ushort(__float2half_rn(x));
#else
  constexpr uint32_t kLeastNormal = 0x38800000;  // 2^-14, as the bits of a float
  constexpr uint32_t kBeyond = 0x47800000;       // 2^16, the first power of two that has no float16
  constexpr uint32_t kInfinity = 0x7F800000;
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const uint32_t sign = bits >> 16 & 0x8000u;
  uint32_t magnitude = bits & 0x7FFFFFFFu;
  if (magnitude > kInfinity) {
    magnitude = 0x7E00;
  } else if (magnitude >= kBeyond) {
    magnitude = 0x7C00;
  } else if (magnitude < kLeastNormal) {
    // Whole multiples of the least number, 2^-24.
    magnitude = static_cast<uint32_t>(std::nearbyint(std::bit_cast<float>(magnitude) * 0x1p24f));
  } else {
    magnitude = (magnitude - (112u << 23) + 0xFFFu + (magnitude >> 13 & 1u)) >> 13;
  }
  result.bits = static_cast<uint16_t>(sign | magnitude);
#endif
}

FMTC_HD inline void from_float(float x, BFloat16& result) {
  const uint32_t bits = std::bit_cast<uint32_t>(x);
  const bool is_nan = (bits & 0x7FFFFFFFu) > 0x7F800000u;
  result.bits =
      static_cast<uint16_t>((is_nan ? bits | 0x400000u : bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16);
}

FMTC_HD inline void from_float(float x, float& result) { result = x; }

}  // namespace fmtc::cuda
