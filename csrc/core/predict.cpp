#include "core/predict.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>

#include "core/simd.h"

namespace fmtc {
namespace {

// Columns whose sums over the row above are kept at a time; they stay in the first-level cache.
constexpr size_t kBlock = 1024;

// All neighbours lie at fixed distances before a value, so that rows follow each other without a
// break in the loop, however narrow they are. The first column, whose left neighbours are outside,
// is put right afterwards.
FMTC_MULTIVERSION void predict_values(const int16_t* __restrict q, size_t count, size_t width,
                                      PredictCoefficients c, int16_t* __restrict r) noexcept {
  r[0] = q[0];
  for (size_t i = 1; i < width; ++i) r[i] = residual_of(c, q[i], q[i - 1], 0, 0);
  for (size_t i = width + 1; i < count; ++i) {
    r[i] = residual_of(c, q[i], q[i - 1], q[i - width], q[i - width - 1]);
  }
  for (size_t i = width; i < count; i += width) r[i] = residual_of(c, q[i], 0, q[i - width], 0);
}

// levels[i] of sums[i]; `left` is the level before the first. Each level waits for the one before
// it, so the loop holds nothing but that.
FMTC_ALWAYS_INLINE void add_left(const int32_t* sums, size_t count, int32_t coefficient,
                                 int16_t left, int16_t* levels) noexcept {
  for (size_t i = 0; i < count; ++i) {
    left = level_of(sums[i], coefficient, left);
    levels[i] = left;
  }
}

// One row; above points to the row above it, or to any row where its coefficients are 0.
FMTC_ALWAYS_INLINE void unpredict_row(const int16_t* __restrict r, const int16_t* __restrict above,
                                      size_t width, const PredictCoefficients& c,
                                      int16_t* __restrict q) noexcept {
  std::array<int32_t, kBlock> sums;
  q[0] = level_of(sum_without_left(c, r[0], above[0], 0), c.left, 0);
  for (size_t begin = 1; begin < width; begin += kBlock) {
    const size_t count = std::min(width - begin, kBlock);
    for (size_t i = 0; i < count; ++i) {
      const size_t w = begin + i;
      sums[i] = sum_without_left(c, r[w], above[w], above[w - 1]);
    }
    if (c.left == 0) {
      add_left(sums.data(), count, 0, 0, q + begin);  // nothing to wait for: this vectorises
    } else {
      add_left(sums.data(), count, c.left, q[begin - 1], q + begin);
    }
  }
}

FMTC_MULTIVERSION void unpredict_values(const int16_t* r, size_t count, size_t width,
                                        PredictCoefficients c, int16_t* q) noexcept {
  unpredict_row(r, r, width, {c.left, 0, 0}, q);
  for (size_t begin = width; begin < count; begin += width) {
    unpredict_row(r + begin, q + begin - width, width, c, q + begin);
  }
}

bool valid_sizes(size_t input, uint64_t width, size_t output) noexcept {
  return input == output && (input == 0 || (width > 0 && input % width == 0));
}

bool is_zero(const PredictCoefficients& c) noexcept { return c == PredictCoefficients{0, 0, 0}; }

bool within_limit(int32_t coefficient) noexcept { return std::abs(coefficient) <= kPredictLimit; }

}  // namespace

bool valid(const PredictCoefficients& coefficients) noexcept {
  return within_limit(coefficients.left) && within_limit(coefficients.above) &&
         within_limit(coefficients.above_left);
}

Status predict_plane(std::span<const int16_t> levels, uint64_t width,
                     const PredictCoefficients& coefficients,
                     std::span<int16_t> residuals) noexcept {
  if (!valid_sizes(levels.size(), width, residuals.size())) return Status::kBadArgument;
  if (!valid(coefficients)) return Status::kOutOfRange;
  if (is_zero(coefficients)) {
    std::copy(levels.begin(), levels.end(), residuals.begin());
  } else if (!levels.empty()) {
    predict_values(levels.data(), levels.size(), width, coefficients, residuals.data());
  }
  return Status::kOk;
}

Status unpredict_plane(std::span<const int16_t> residuals, uint64_t width,
                       const PredictCoefficients& coefficients,
                       std::span<int16_t> levels) noexcept {
  if (!valid_sizes(residuals.size(), width, levels.size())) return Status::kBadArgument;
  if (!valid(coefficients)) return Status::kOutOfRange;
  if (is_zero(coefficients)) {
    std::copy(residuals.begin(), residuals.end(), levels.begin());
  } else if (!residuals.empty()) {
    unpredict_values(residuals.data(), residuals.size(), width, coefficients, levels.data());
  }
  return Status::kOk;
}

}  // namespace fmtc
