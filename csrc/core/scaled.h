#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "core/device.h"
#include "core/quantize.h"
#include "core/status.h"

namespace fmtc {

// Quantisers with a scale for each position and each block of channels, made of the values there:
// scale = what the largest magnitude of the block needs, element = value / scale, rounded. The
// level of an element is an integer; those of scales are codes of 8 bits and planes of their own.
// Everything is computed in float32.
//
// Sources: "OCP Microscaling Formats (MX) Specification", version 1.0, 2023, sections 5 and 6.3
// (MXFP4, E2M1, E8M0); NVIDIA: "Pretraining Large Language Models with NVFP4", 2025,
// arXiv:2509.25149, section 2 and appendix C; "OCP 8-bit Floating Point Specification", 2023
// (E4M3).

enum class ScaledFormat : int32_t {
  // Integers lo .. hi and scales of 5 bits of exponent and 3 of mantissa, without a sign (E5M3):
  // E4M3 with the sign's bit as one more of the exponent, of the same bias. Rounded up, so that
  // the block's largest magnitude is not cut off. E5M3 counts in units of layer_scale.
  kIntegers = 0,
  // E2M1 elements, and powers of two as scales (E8M0): 2^(floor(log2 of the largest magnitude) -
  // 2).
  kMxfp4 = 1,
  // E2M1 elements, and E4M3 scales in units of layer_scale: the nearest of largest magnitude / 6.
  kNvfp4 = 2,
};

struct Scaled {
  ScaledFormat format = ScaledFormat::kIntegers;
  uint64_t block = 0;     // channels with one scale, the last block may have fewer; 0: all
  float layer_scale = 1;  // positive and finite; 1 with kMxfp4
  int32_t lo = 0;         // with kIntegers 0 or -hi, otherwise -kFp4Codes
  int32_t hi = 0;         // with kIntegers 1 .. 2047, otherwise kFp4Codes
};

inline constexpr int32_t kFp4Codes = 7;  // magnitudes of E2M1 above 0; a level counts them
inline constexpr float kFp4Most = 6;
inline constexpr int32_t kMostScaledLevel = 2047;
inline constexpr int32_t kE8M0Bias = 127, kE8M0Last = 254;  // 255 is NaN
inline constexpr int32_t kE4M3Last = 126;                   // 448; 127 is NaN
inline constexpr int32_t kE5M3Last = 255;

// -------------------------------------------------------------------------------------------------
// One scale, one element

// What a code of 3 bits of mantissa stands for, E4M3 up to 126: 2^-9 of bias 7 and subnormals.
FMTC_HD inline float minifloat_value(int32_t code) noexcept {
  const int32_t mantissa = code < 8 ? code : 8 + code % 8;
  const int32_t shift = code < 8 ? 0 : code / 8 - 1;
  return std::scalbn(static_cast<float>(mantissa), shift - 9);
}

// The code of the nearest such number, ties to even, or of the least that is not below x; at most
// `last`. x >= 0, finite or not.
FMTC_HD inline int32_t minifloat_code(float x, bool up, int32_t last) noexcept {
  if (!(x < 0x1p26f)) return last;  // above all codes
  const float units = x * 0x1p9f;
  const int32_t shift = units < 16 ? 0 : std::ilogb(units) - 3;
  const float mantissa = std::scalbn(units, -shift);
  const float rounded = up ? std::ceil(mantissa) : std::nearbyint(mantissa);
  const int32_t code = 8 * shift + static_cast<int32_t>(rounded);
  return code < last ? code : last;
}

// What a code of a scale stands for; codes beyond those of the format count as the nearest.
FMTC_HD inline float scale_value(const Scaled& scaled, int32_t code) noexcept {
  const bool power = scaled.format == ScaledFormat::kMxfp4;
  const bool integers = scaled.format == ScaledFormat::kIntegers;
  const int32_t last = power ? kE8M0Last : integers ? kE5M3Last : kE4M3Last;
  code = code < 0 ? 0 : code > last ? last : code;
  if (power) return std::scalbn(1.0f, code - kE8M0Bias);
  return minifloat_value(code) * scaled.layer_scale;
}

// The code of a block's scale. most: the largest of magnitude_of its values; of 0 the code is 0.
FMTC_HD inline int32_t scale_code(const Scaled& scaled, float most) noexcept {
  if (!(most > 0)) return 0;
  if (scaled.format == ScaledFormat::kMxfp4) {
    const int32_t code = std::ilogb(most) - 2 + kE8M0Bias;
    return code < 0 ? 0 : code;  // at most 252
  }
  if (scaled.format == ScaledFormat::kNvfp4) {
    return minifloat_code(most / kFp4Most / scaled.layer_scale, false, kE4M3Last);
  }
  const auto top = static_cast<float>(scaled.hi);
  return minifloat_code(most / top / scaled.layer_scale, true, kE5M3Last);
}

// What counts of a value for its block's scale: NaN and infinity do not, nor do negative values
// where levels are not.
FMTC_HD inline float magnitude_of(float y, bool negative) noexcept {
  const float magnitude = negative && y < 0 ? -y : y;
  return magnitude <= std::numeric_limits<float>::max() && magnitude > 0 ? magnitude : 0.0f;
}

// The level of the nearest of 0, 0.5, 1, 1.5, 2, 3, 4, 6, ties to the even code, saturating.
FMTC_HD inline int32_t fp4_level(float magnitude) noexcept {
  return (magnitude > 0.25f) + (magnitude >= 0.75f) + (magnitude > 1.25f) + (magnitude >= 1.75f) +
         (magnitude > 2.5f) + (magnitude >= 3.5f) + (magnitude > 5.0f);
}

FMTC_HD inline float fp4_value(int32_t level) noexcept {
  level = level < 0 ? 0 : level > kFp4Codes ? kFp4Codes : level;
  const int32_t halves = level <= 4 ? level : level == kFp4Codes ? 12 : 2 * level - 4;
  return 0.5f * static_cast<float>(halves);
}

// `clamped` tells whether y was beyond the levels (for E2M1 where it would round to 8), or NaN,
// which gives the level 0. Where the scale is 0, so is every level.
FMTC_HD inline int16_t quantize_fp4(float y, float scale, bool& clamped) noexcept {
  const float magnitude = scale > 0 ? std::fabs(y) / scale : y - y;
  clamped = !(magnitude < 7.0f);
  const int32_t level = fp4_level(magnitude);
  return static_cast<int16_t>(y < 0 ? -level : level);
}

FMTC_HD inline int16_t quantize_integer(float y, float scale, int32_t lo, int32_t hi,
                                        bool& clamped) noexcept {
  return quantize_one(scale > 0 ? y / scale : y - y, 1.0f, lo, hi, clamped);
}

FMTC_HD inline float dequantize_element(bool integers, int32_t level, float scale) noexcept {
  if (integers) return static_cast<float>(level) * scale;
  return level < 0 ? -fp4_value(-level) * scale : fp4_value(level) * scale;
}

// -------------------------------------------------------------------------------------------------
// Planes

// Scales of so many channels.
FMTC_HD inline uint64_t scales_of(uint64_t channels, uint64_t block) noexcept {
  if (channels == 0) return 0;
  return block == 0 ? 1 : (channels + block - 1) / block;
}

// The channels whose planes, and those of their scales, are so many.
FMTC_HD inline uint64_t channels_of(uint64_t planes, uint64_t block) noexcept {
  if (planes == 0) return 0;
  return planes - (block == 0 ? 1 : (planes + block) / (block + 1));
}

// Whether the parameters are what Scaled says.
bool scaled_valid(const Scaled& scaled) noexcept;

// Quantises the positions first .. first + count - 1 of one image.
//   y        [channels, positions], finite or not
//   levels   [channels + scales_of(channels, block), positions]: written at these positions, those
//            of the channels, then the codes of the scales
//   clamped  becomes the number of values outside the levels, NaN and infinity included
// kBadArgument where sizes disagree or the parameters are not valid; then nothing is written.
Status quantize_scaled(std::span<const float> y, uint64_t channels, const Scaled& scaled,
                       size_t first, size_t count, std::span<int16_t> levels,
                       int64_t& clamped) noexcept;

// The inverse. levels: any; those of E2M1 beyond +-kFp4Codes and codes of scales beyond the
// format's count as the nearest.
Status dequantize_scaled(std::span<const int16_t> levels, uint64_t channels, const Scaled& scaled,
                         size_t first, size_t count, std::span<float> y) noexcept;

}  // namespace fmtc
