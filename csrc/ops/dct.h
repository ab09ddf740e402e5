#pragma once

// Checks of the operators that fuse the DCT over positions with the quantiser.
#include <string>
#include <vector>

#include "core/frequencies.h"
#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kDctQuantize = "dct_quantize";
inline constexpr const char* kDequantizeDct = "dequantize_dct";

// planes int32 [P] and steps float32 [size * size], of blocks of 2 or 4 rows and columns.
inline void check_frequencies(const char* op, int64_t size, const Tensor& planes,
                              const Tensor& steps) {
  STD_TORCH_CHECK(size == 2 || size == 4, "fmtc::", op, ": size must be 2 or 4, but is ", size);
  check_dtype(op, "planes", planes, ScalarType::Int);
  check_dim(op, "planes", planes, 1, "[P]");
  check_dtype(op, "steps", steps, ScalarType::Float);
  check_dim(op, "steps", steps, 1, "[size * size]");
  check_size(op, "steps", steps, 0, size * size, "the frequencies of a block");
}

// Their values, those of contiguous tensors on the CPU.
inline Frequencies frequencies_of(const char* op, int64_t size, const Tensor& planes,
                                  const Tensor& steps, int64_t components) {
  const auto all = values<int32_t>(planes);
  std::vector<bool> seen(static_cast<size_t>(components * size * size));
  for (size_t p = 0; p < all.size(); ++p) {
    const bool known = 0 <= all[p] && static_cast<size_t>(all[p]) < seen.size();
    STD_TORCH_CHECK(known && !seen[static_cast<size_t>(all[p])], "fmtc::", op,
                    ": planes must be different numbers below components * size * size = ",
                    seen.size(), ", but number ", p, " is ", all[p]);
    seen[static_cast<size_t>(all[p])] = true;
  }
  const auto each = values<float>(steps);
  for (size_t f = 0; f < each.size(); ++f) check_quantizer_step(op, each[f], ScalarType::Float);
  return {size, all, each};
}

inline void check_dct_quantize(const Tensor& y, int64_t size, const Tensor& planes,
                               const Tensor& steps, int64_t lo, int64_t hi) {
  check_real(kDctQuantize, "y", y);
  check_dim(kDctQuantize, "y", y, 4, "[N, K, H, W]");
  check_frequencies(kDctQuantize, size, planes, steps);
  check_interval(kDctQuantize, lo, hi);
}

// Returns the dtype that `dtype` names.
inline ScalarType check_dequantize_dct(const Tensor& levels, int64_t components, int64_t height,
                                       int64_t width, int64_t size, const Tensor& planes,
                                       const Tensor& steps, const std::string& dtype) {
  check_dtype(kDequantizeDct, "levels", levels, ScalarType::Short);
  check_dim(kDequantizeDct, "levels", levels, 4, "[N, P, rows, columns]");
  check_frequencies(kDequantizeDct, size, planes, steps);
  check_size(kDequantizeDct, "levels", levels, 1, planes.size(0), "the planes");
  check_between(kDequantizeDct, "components", components, 0, int64_t{1} << 30);
  check_between(kDequantizeDct, "height", height, 0, int64_t{1} << 32);
  check_between(kDequantizeDct, "width", width, 0, int64_t{1} << 32);
  check_size(kDequantizeDct, "levels", levels, 2, (height + size - 1) / size, "height / size");
  check_size(kDequantizeDct, "levels", levels, 3, (width + size - 1) / size, "width / size");
  return check_real_name(kDequantizeDct, "dtype", dtype);
}

}  // namespace fmtc::ops
