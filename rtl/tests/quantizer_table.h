#pragma once

// What fmtc_quantizer needs of a step: thresholds by the core's own arithmetic, and a guess that is
// proved right or one too small.
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "core/quantize.h"

namespace fmtc::rtl {

struct QuantizerTable {
  int32_t lo = 0;                   // the lowest level that a sum has
  std::vector<int32_t> thresholds;  // of index 1 on, at [1]
  uint32_t reciprocal = 0;
  int shift = 0;

  int32_t last_index() const { return static_cast<int32_t>(thresholds.size()) - 1; }
  int64_t guess(int64_t y) const {
    return 1 + (((y - thresholds[1]) * static_cast<int64_t>(reciprocal)) >> shift);
  }
};

// None where a guess would be wrong: steps below about 1. Sums are integers of a magnitude below
// 2^24.
inline std::optional<QuantizerTable> quantizer_table(float step, int32_t lo, int32_t hi) {
  constexpr int32_t kMost = (1 << 24) - 1;
  bool clamped;
  QuantizerTable table;
  table.lo = lo = quantize_one(static_cast<float>(-kMost), step, lo, hi, clamped);
  hi = quantize_one(static_cast<float>(kMost), step, lo, hi, clamped);
  if (lo == hi) return std::nullopt;
  table.thresholds.push_back(0);
  for (int32_t level = lo + 1; level <= hi; ++level) {
    int32_t below = -kMost, at = kMost;  // the threshold is in (below, at]
    while (at - below > 1) {
      const int32_t y = below + (at - below) / 2;
      (quantize_one(static_cast<float>(y), step, lo, hi, clamped) >= level ? at : below) = y;
    }
    table.thresholds.push_back(at);
  }
  // The largest reciprocal of 17 bits that is not too large.
  while (std::ldexp(1.0, table.shift + 1) / step < (1 << 17) - 1) ++table.shift;
  table.reciprocal = static_cast<uint32_t>(std::floor(std::ldexp(1.0, table.shift) / step));
  // A threshold may be up to 1 above its place, the first one, too: a guess is made smaller by
  // that.
  for (; table.reciprocal > 0; --table.reciprocal) {
    bool good = true;
    for (int32_t v = 1; v < table.last_index() && good; ++v) {
      const int64_t first = table.guess(table.thresholds[static_cast<size_t>(v)]);
      const int64_t last = table.guess(table.thresholds[static_cast<size_t>(v) + 1] - 1);
      good = first >= v - 1 && last <= v;
      if (first < v - 1) return std::nullopt;
    }
    if (good) return table;
  }
  return std::nullopt;
}

}  // namespace fmtc::rtl
