#pragma once

// What those share that make frequencies of counts. They are compiled without fused multiply-adds
// and use no mathematical library, so that frequencies are the same everywhere.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/rans.h"

namespace fmtc {

inline constexpr double kEscapedBits = 16;  // of an escaped level, besides its symbol

// log2(f) for f from 1, and log2((f + 1) / f), which is what one slot more saves for each count.
// Evaluated by the compiler from the series log((f + 1) / f) = 2 atanh(1 / (2 f + 1)).
struct Logarithms {
  std::array<double, kMaxTotal + 1> of{};
  std::array<double, kMaxTotal + 1> gain{};

  consteval Logarithms() {
    constexpr double kLog2E = 1.4426950408889634;
    for (size_t f = 1; f < of.size(); ++f) {
      const double z = 1.0 / (2.0 * static_cast<double>(f) + 1.0);
      double power = z;
      double sum = 0;
      int k = 1;
      while (power > 1e-18) {
        sum += power / k;
        k += 2;
        power *= z * z;
      }
      gain[f] = 2 * kLog2E * sum;
      if (f + 1 < of.size()) of[f + 1] = of[f] + gain[f];
    }
  }
};

inline constexpr Logarithms kLog2;

inline double total_of(std::span<const int64_t> counts) noexcept {
  double sum = 0;
  for (const int64_t count : counts) sum += static_cast<double>(count);
  return sum;
}

// The kMaxDirectLevels consecutive levels with most counts, or all where there are fewer. Without
// any counts all are taken as 1.
class Window {
 public:
  explicit Window(std::span<const int64_t> counts) noexcept
      : first_(best(counts)), size_(std::min(counts.size() - first_, kMaxDirectLevels)) {
    std::copy_n(counts.begin() + static_cast<std::ptrdiff_t>(first_), size_, counts_.begin());
    outside_ = total_of(counts.first(first_)) + total_of(counts.subspan(first_ + size_));
    if (total_of(counts) == 0) {
      counts_.fill(1);
      outside_ = static_cast<double>(counts.size() - size_);
    }
  }

  size_t first() const noexcept { return first_; }
  std::span<const int64_t> counts() const noexcept { return {counts_.data(), size_}; }
  // The sum of all other counts.
  double outside() const noexcept { return outside_; }

 private:
  static size_t best(std::span<const int64_t> counts) noexcept {
    int64_t sum = 0;
    int64_t most = -1;
    size_t first = 0;
    for (size_t end = 1; end <= counts.size(); ++end) {
      sum += counts[end - 1];
      if (end > kMaxDirectLevels) sum -= counts[end - 1 - kMaxDirectLevels];
      if (sum > most) {
        most = sum;
        first = end > kMaxDirectLevels ? end - kMaxDirectLevels : 0;
      }
    }
    return first;
  }

  size_t first_;
  size_t size_;
  std::array<int64_t, kMaxDirectLevels> counts_;
  double outside_ = 0;
};

}  // namespace fmtc
