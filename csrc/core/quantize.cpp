#include "core/quantize.h"

#include <cstddef>
#include <limits>

#include "core/multiversion.h"

namespace fmtc {
namespace {

// Tiles keep the count of clamped values in a narrow counter, which vectorises best.
constexpr size_t kTile = 1024;

template <typename T>
FMTC_ALWAYS_INLINE int64_t quantize_loop(const T* y, size_t count, T step, int32_t lo, int32_t hi,
                                         int16_t* levels) noexcept {
  int64_t total = 0;
  for (size_t begin = 0; begin < count; begin += kTile) {
    const size_t end = count - begin < kTile ? count : begin + kTile;
    int32_t in_tile = 0;
    for (size_t i = begin; i < end; ++i) {
      bool clamped;
      levels[i] = quantize_one(y[i], step, lo, hi, clamped);
      in_tile += clamped;
    }
    total += in_tile;
  }
  return total;
}

FMTC_ALWAYS_INLINE void dequantize_loop(const int16_t* levels, size_t count, float step,
                                        float* y) noexcept {
  for (size_t i = 0; i < count; ++i) y[i] = dequantize_one(levels[i], step);
}

template <typename T>
bool valid(size_t values, T step, int32_t lo, int32_t hi, size_t levels) noexcept {
  return values == levels && step > 0 && std::isfinite(step) && lo <= hi &&
         lo >= std::numeric_limits<int16_t>::min() && hi <= std::numeric_limits<int16_t>::max();
}

}  // namespace

Status quantize(std::span<const float> y, float step, int32_t lo, int32_t hi,
                std::span<int16_t> levels, int64_t& clamped) noexcept {
  if (!valid(y.size(), step, lo, hi, levels.size())) return Status::kBadArgument;
  clamped = multiversion<quantize_loop<float>>(y.data(), y.size(), step, lo, hi, levels.data());
  return Status::kOk;
}

Status quantize(std::span<const double> y, double step, int32_t lo, int32_t hi,
                std::span<int16_t> levels, int64_t& clamped) noexcept {
  if (!valid(y.size(), step, lo, hi, levels.size())) return Status::kBadArgument;
  clamped = multiversion<quantize_loop<double>>(y.data(), y.size(), step, lo, hi, levels.data());
  return Status::kOk;
}

Status dequantize(std::span<const int16_t> levels, float step, std::span<float> y) noexcept {
  if (levels.size() != y.size() || !std::isfinite(step)) return Status::kBadArgument;
  multiversion<dequantize_loop>(levels.data(), levels.size(), step, y.data());
  return Status::kOk;
}

}  // namespace fmtc
