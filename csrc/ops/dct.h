#pragma once

// Checks of the operators that fuse the DCT over positions with the quantiser.
#include <cmath>
#include <string>
#include <vector>

#include "core/frequencies.h"
#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kDctQuantize = "dct_quantize";
inline constexpr const char* kDequantizeDct = "dequantize_dct";
inline constexpr int64_t kMostPositions = int64_t{1} << 32;

// places int32 [K, size * size] of blocks of 2 or 4 rows and columns, and steps float32
// [size * size]. Returns the size.
inline int64_t check_frequencies(const char* op, const Tensor& places, const Tensor& steps) {
  check_dtype(op, "places", places, ScalarType::Int);
  check_dim(op, "places", places, 2, "[K, size * size]");
  const int64_t count = places.size(1);
  STD_TORCH_CHECK(count == 4 || count == 16, "fmtc::", op, ": places must be of the 4 or 16 ",
                  "frequencies of a block, but its shape is ", shape_text(places));
  check_dtype(op, "steps", steps, ScalarType::Float);
  check_dim(op, "steps", steps, 1, "[size * size]");
  check_size(op, "steps", steps, 0, count, "the frequencies of a block");
  return count == 4 ? 2 : 4;
}

// The values of contiguous ones on the CPU.
inline Frequencies frequencies_of(const char* op, int64_t size, int64_t planes,
                                  const Tensor& places, const Tensor& steps) {
  std::vector<bool> seen(static_cast<size_t>(planes));
  int64_t found = 0;
  for (const int32_t place : values<int32_t>(places)) {
    if (place == -1) continue;
    STD_TORCH_CHECK(0 <= place && place < planes && !seen[static_cast<size_t>(place)], "fmtc::", op,
                    ": places must be -1 or different numbers below ", planes,
                    ", the planes, but one is ", place);
    seen[static_cast<size_t>(place)] = true;
    ++found;
  }
  STD_TORCH_CHECK(found == planes, "fmtc::", op, ": places must have each of the ", planes,
                  " planes, but has ", found);
  for (const float step : values<float>(steps)) check_quantizer_step(op, step, ScalarType::Float);
  return {size, planes, values<int32_t>(places), values<float>(steps)};
}

// Returns the size of the blocks.
inline int64_t check_dct_quantize(const Tensor& y, const Tensor& places, int64_t planes,
                                  const Tensor& steps, int64_t lo, int64_t hi) {
  check_real(kDctQuantize, "y", y);
  check_dim(kDctQuantize, "y", y, 4, "[N, K, H, W]");
  const int64_t size = check_frequencies(kDctQuantize, places, steps);
  check_size(kDctQuantize, "places", places, 0, y.size(1), "the components of y");
  check_between(kDctQuantize, "planes", planes, 0, places.numel());
  check_interval(kDctQuantize, lo, hi);
  return size;
}

// Returns the size of the blocks; `dtype` becomes what `name` names.
inline int64_t check_dequantize_dct(const Tensor& levels, const Tensor& places, int64_t height,
                                    int64_t width, const Tensor& steps, const std::string& name,
                                    ScalarType& dtype) {
  check_dtype(kDequantizeDct, "levels", levels, ScalarType::Short);
  check_dim(kDequantizeDct, "levels", levels, 4, "[N, P, rows, columns]");
  const int64_t size = check_frequencies(kDequantizeDct, places, steps);
  check_between(kDequantizeDct, "the planes of levels", levels.size(1), 0, places.numel());
  check_between(kDequantizeDct, "height", height, 0, kMostPositions);
  check_between(kDequantizeDct, "width", width, 0, kMostPositions);
  check_size(kDequantizeDct, "levels", levels, 2, (height + size - 1) / size, "height / size");
  check_size(kDequantizeDct, "levels", levels, 3, (width + size - 1) / size, "width / size");
  dtype = check_real_name(kDequantizeDct, "dtype", name);
  return size;
}

}  // namespace fmtc::ops
