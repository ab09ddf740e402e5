#include "core/scaled.h"

#include <algorithm>
#include <array>

#include "core/multiversion.h"

namespace fmtc {
namespace {

constexpr size_t kTile = 512;  // positions whose scales are at hand

using Scales = std::array<float, kTile>;

// Raises most[i] to what y[i] needs.
FMTC_ALWAYS_INLINE void raise(const float* y, size_t count, bool negative, float* most) noexcept {
  for (size_t i = 0; i < count; ++i) {
    const float magnitude = magnitude_of(y[i], negative);
    most[i] = magnitude > most[i] ? magnitude : most[i];
  }
}

FMTC_ALWAYS_INLINE int32_t quantize_integers(const float* y, const float* scales, size_t count,
                                             int32_t lo, int32_t hi, int16_t* levels) noexcept {
  int32_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    bool clamped;
    levels[i] = quantize_integer(y[i], scales[i], lo, hi, clamped);
    total += clamped;
  }
  return total;
}

FMTC_ALWAYS_INLINE int32_t quantize_fp4s(const float* y, const float* scales, size_t count,
                                         int16_t* levels) noexcept {
  int32_t total = 0;
  for (size_t i = 0; i < count; ++i) {
    bool clamped;
    levels[i] = quantize_fp4(y[i], scales[i], clamped);
    total += clamped;
  }
  return total;
}

FMTC_ALWAYS_INLINE void dequantize_elements(bool integers, const int16_t* levels,
                                            const float* scales, size_t count, float* y) noexcept {
  for (size_t i = 0; i < count; ++i) y[i] = dequantize_element(integers, levels[i], scales[i]);
}

// Calls body(first channel, the one behind the last, plane of scales, first position, positions)
// for each block and tile.
template <typename Body>
void for_each_tile(uint64_t channels, uint64_t block, size_t first, size_t count, Body body) {
  const uint64_t scales = scales_of(channels, block);
  const uint64_t size = block == 0 ? channels : block;
  for (uint64_t s = 0; s < scales; ++s) {
    for (size_t at = first; at < first + count; at += kTile) {
      const size_t positions = std::min(kTile, first + count - at);
      body(s * size, std::min(channels, (s + 1) * size), channels + s, at, positions);
    }
  }
}

// Whether spans of values and of levels are those of so many channels, and the positions exist.
bool sizes_fit(size_t values, size_t levels, uint64_t channels, const Scaled& scaled, size_t first,
               size_t count) noexcept {
  if (!scaled_valid(scaled)) return false;
  if (channels == 0) return values == 0 && levels == 0;
  const size_t positions = values / channels;
  return values == positions * channels &&
         levels == positions * (channels + scales_of(channels, scaled.block)) &&
         first <= positions && count <= positions - first;
}

}  // namespace

bool scaled_valid(const Scaled& scaled) noexcept {
  if (!(scaled.layer_scale > 0 && std::isfinite(scaled.layer_scale))) return false;
  switch (scaled.format) {
    case ScaledFormat::kIntegers:
      return 1 <= scaled.hi && scaled.hi <= kMostScaledLevel &&
             (scaled.lo == 0 || scaled.lo == -scaled.hi);
    case ScaledFormat::kMxfp4:
      if (scaled.layer_scale != 1) return false;
      [[fallthrough]];
    case ScaledFormat::kNvfp4:
      return scaled.lo == -kFp4Codes && scaled.hi == kFp4Codes;
  }
  return false;
}

Status quantize_scaled(std::span<const float> y, uint64_t channels, const Scaled& scaled,
                       size_t first, size_t count, std::span<int16_t> levels,
                       int64_t& clamped) noexcept {
  if (!sizes_fit(y.size(), levels.size(), channels, scaled, first, count)) {
    return Status::kBadArgument;
  }
  const size_t plane = channels == 0 ? 0 : y.size() / channels;
  clamped = 0;
  for_each_tile(
      channels, scaled.block, first, count,
      [&](uint64_t begin, uint64_t end, uint64_t scale, size_t at, size_t positions) {
        Scales scales{};
        for (uint64_t c = begin; c < end; ++c) {
          multiversion<raise>(&y[c * plane + at], positions, scaled.lo < 0, scales.data());
        }
        int16_t* const codes = &levels[scale * plane + at];
        for (size_t i = 0; i < positions; ++i) {
          const int32_t code = scale_code(scaled, scales[i]);
          codes[i] = static_cast<int16_t>(code);
          scales[i] = scale_value(scaled, code);
        }
        for (uint64_t c = begin; c < end; ++c) {
          const float* const from = &y[c * plane + at];
          int16_t* const to = &levels[c * plane + at];
          clamped += scaled.format == ScaledFormat::kIntegers
                         ? multiversion<quantize_integers>(from, scales.data(), positions,
                                                           scaled.lo, scaled.hi, to)
                         : multiversion<quantize_fp4s>(from, scales.data(), positions, to);
        }
      });
  return Status::kOk;
}

Status dequantize_scaled(std::span<const int16_t> levels, uint64_t channels, const Scaled& scaled,
                         size_t first, size_t count, std::span<float> y) noexcept {
  if (!sizes_fit(y.size(), levels.size(), channels, scaled, first, count)) {
    return Status::kBadArgument;
  }
  const size_t plane = channels == 0 ? 0 : y.size() / channels;
  for_each_tile(channels, scaled.block, first, count,
                [&](uint64_t begin, uint64_t end, uint64_t scale, size_t at, size_t positions) {
                  Scales scales;
                  for (size_t i = 0; i < positions; ++i) {
                    scales[i] = scale_value(scaled, levels[scale * plane + at + i]);
                  }
                  for (uint64_t c = begin; c < end; ++c) {
                    multiversion<dequantize_elements>(scaled.format == ScaledFormat::kIntegers,
                                                      &levels[c * plane + at], scales.data(),
                                                      positions, &y[c * plane + at]);
                  }
                });
  return Status::kOk;
}

}  // namespace fmtc
