// Compiled without fused multiply-adds, as rans_frequencies.cpp.
#include "core/apack.h"

#include <algorithm>
#include <array>
#include <limits>

#include "core/rans_counts.h"

namespace fmtc {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
// Slots that the escape may get, for each of which ranges are sought.
constexpr std::array<uint32_t, 5> kEscapeSlots = {1, 4, 16, 64, 256};

// Consecutive levels of one frequency, or none where they are escaped.
struct Range {
  size_t first = 0;
  size_t size = 0;
  double count = 0;
  uint32_t frequency = 0;

  double gain() const noexcept { return count * kLog2.gain[frequency] / static_cast<double>(size); }
};

class Ranges {
 public:
  // counts: of the levels that may be direct; outside: the sum of all others.
  Ranges(std::span<const int64_t> counts, double outside, int log2_total) noexcept
      : size_(counts.size()), log2_total_(log2_total), escape_{0, 1, outside, 0} {
    sums_[0] = 0;
    for (size_t i = 0; i < size_; ++i) sums_[i + 1] = sums_[i] + static_cast<double>(counts[i]);
    sum_ = sums_[size_] + outside;
  }

  // The ranges of least bits where the escape has so many slots.
  void choose(uint32_t escape_slots) noexcept {
    for (auto& row : best_) row.fill({kNever, 0, false});
    best_[0][0].bits = 0;
    for (size_t ranges = 1; ranges <= kMostApackRanges; ++ranges) {
      for (size_t end = 1; end <= size_; ++end) {
        best_[ranges][end] = last_range(ranges, end, escape_slots);
      }
    }
    size_t used = 1;
    for (size_t ranges = 2; ranges <= kMostApackRanges; ++ranges) {
      if (best_[ranges][size_].bits < best_[used][size_].bits) used = ranges;
    }
    trace(used);
  }

  // Gives each level of the ranges and the escape a slot, and others where a slot saves most.
  void deal() noexcept {
    int left = 1 << log2_total_;
    for (Range& range : all()) {
      range.frequency = 1;
      left -= static_cast<int>(range.size);
    }
    while (left > 0) {
      Range* most = nullptr;
      for (Range& range : all()) {
        if (static_cast<int>(range.size) > left) continue;
        if (most == nullptr || range.gain() > most->gain()) most = &range;
      }
      ++most->frequency;  // the escape, of size 1, always fits
      left -= static_cast<int>(most->size);
    }
  }

  // Of all counts, with the slots that were dealt out.
  double bits() const noexcept {
    double bits = 0;
    for (size_t i = 0; i < used_; ++i) {
      bits += ranges_[i].count * (log2_total_ - kLog2.of[ranges_[i].frequency]);
    }
    const Range& escape = ranges_[used_];
    return bits + escape.count * (log2_total_ - kLog2.of[escape.frequency] + kEscapedBits);
  }

  // frequencies: [L + 1], of which the levels here begin at `first`.
  void store(size_t first, std::span<int32_t> frequencies) const noexcept {
    std::fill(frequencies.begin(), frequencies.end(), 0);
    for (size_t i = 0; i < used_; ++i) {
      const auto begin =
          frequencies.begin() + static_cast<std::ptrdiff_t>(first + ranges_[i].first);
      std::fill_n(begin, ranges_[i].size, static_cast<int32_t>(ranges_[i].frequency));
    }
    frequencies.back() = static_cast<int32_t>(ranges_[used_].frequency);
  }

 private:
  struct Choice {
    double bits;  // of all levels before the end
    size_t size;  // of the last range
    bool escaped;
  };

  // The best last range of so many that end there.
  Choice last_range(size_t ranges, size_t end, uint32_t escape_slots) const noexcept {
    Choice best = {kNever, 0, false};
    for (size_t size = 1; size < 2 * size_; size *= 2) {
      // What the window's end cuts off may have any smaller size.
      const size_t least = end == size_ ? size / 2 + 1 : size;
      for (size_t cut = least; cut <= size && cut <= end; ++cut) {
        const Choice& before = best_[ranges - 1][end - cut];
        if (before.bits == kNever) continue;
        const double count = sums_[end] - sums_[end - cut];
        const double direct = before.bits + direct_bits(count, cut);
        const double escaped = before.bits + escaped_bits(count, escape_slots);
        if (std::min(direct, escaped) < best.bits) {
          best = {std::min(direct, escaped), cut, escaped < direct};
        }
      }
    }
    return best;
  }

  // A slot costs the bits that it would save where all symbols have their share: 1 / ln 2 of what
  // it stands for.
  double slot_bits() const noexcept {
    constexpr double kLog2E = 1.4426950408889634;
    return kLog2E * sum_ / (1 << log2_total_);
  }

  // Of so many values in a range of `size` levels, and of its slots.
  double direct_bits(double count, size_t size) const noexcept {
    const double share = count / sum_ * (1 << log2_total_) / static_cast<double>(size);
    const int whole_slots = (1 << log2_total_) / static_cast<int>(size);
    const auto most = static_cast<double>(whole_slots);
    const auto frequency = static_cast<size_t>(std::clamp(share + 0.5, 1.0, most));
    return count * (log2_total_ - kLog2.of[frequency]) +
           slot_bits() * static_cast<double>(frequency * size);
  }

  double escaped_bits(double count, uint32_t slots) const noexcept {
    return count * (log2_total_ - kLog2.of[slots] + kEscapedBits);
  }

  // Takes the ranges of `used` choices that are not escaped, and the escape behind them.
  void trace(size_t used) noexcept {
    Range escape = escape_;
    used_ = 0;
    size_t end = size_;
    for (size_t ranges = used; ranges > 0; --ranges) {
      const Choice& choice = best_[ranges][end];
      end -= choice.size;
      const double count = sums_[end + choice.size] - sums_[end];
      if (choice.escaped) {
        escape.count += count;
      } else {
        ranges_[used_++] = {end, choice.size, count, 0};
      }
    }
    ranges_[used_] = escape;
  }

  std::span<Range> all() noexcept { return std::span(ranges_).first(used_ + 1); }

  size_t size_;
  int log2_total_;
  Range escape_;  // of what lies outside
  double sum_ = 0;
  std::array<double, kMaxDirectLevels + 1> sums_;
  // [ranges][end]: the levels before `end` in so many ranges.
  std::array<std::array<Choice, kMaxDirectLevels + 1>, kMostApackRanges + 1> best_;
  std::array<Range, kMostApackRanges + 1> ranges_;
  size_t used_ = 0;
};

}  // namespace

Status apack_frequencies(std::span<const int64_t> counts, int log2_total,
                         std::span<int32_t> frequencies) noexcept {
  if (log2_total < kMinLog2Total || log2_total > kMaxLog2Total || counts.empty() ||
      counts.size() > kMaxSymbols || frequencies.size() != counts.size() + 1) {
    return Status::kBadArgument;
  }
  if (!counts_valid(counts)) return Status::kOutOfRange;
  const Window window(counts);
  Ranges ranges(window.counts(), window.outside(), log2_total);
  double least = kNever;
  for (const uint32_t slots : kEscapeSlots) {
    ranges.choose(slots);
    ranges.deal();
    if (ranges.bits() >= least) continue;
    least = ranges.bits();
    ranges.store(window.first(), frequencies);
  }
  return Status::kOk;
}

}  // namespace fmtc
