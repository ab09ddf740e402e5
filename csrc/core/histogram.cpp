#include "core/histogram.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "core/multiversion.h"

namespace fmtc {
namespace {

struct Range {
  int16_t lowest;
  int16_t highest;
};

FMTC_ALWAYS_INLINE Range range_of(const int16_t* levels, size_t count) noexcept {
  int16_t lowest = INT16_MAX;
  int16_t highest = INT16_MIN;
  for (size_t i = 0; i < count; ++i) {
    lowest = std::min(lowest, levels[i]);
    highest = std::max(highest, levels[i]);
  }
  return {lowest, highest};
}

// Symbols, level - lo modulo 2^16; returns the highest.
FMTC_ALWAYS_INLINE uint16_t symbols_of(const int16_t* levels, size_t count, int32_t lo,
                                       uint16_t* symbols) noexcept {
  uint16_t highest = 0;
  for (size_t i = 0; i < count; ++i) {
    symbols[i] = static_cast<uint16_t>(levels[i] - lo);
    highest = std::max(highest, symbols[i]);
  }
  return highest;
}

// Counting a level that was counted just before waits for that; so neighbours are counted apart.
constexpr size_t kParts = 8;
constexpr size_t kMaxBins = 512;  // of all parts they stay in the L1 cache
// Of a part. Not a divisor of 4 KiB: what lies that far apart looks the same to a CPU at first.
constexpr size_t kPartBins = kMaxBins + 16;
constexpr size_t kWorthParts = 12;             // levels for each bin and each part
constexpr size_t kMaxCount = size_t{1} << 31;  // of a part, in 32 bits
constexpr size_t kTile = 2048;                 // symbols, which stay in the L1 cache as well

// Whether parts are faster for so many levels and bins, and can hold them.
bool worth_parts(size_t levels, size_t bins) noexcept {
  return bins <= kMaxBins && levels >= kWorthParts * (bins + kParts) && levels <= kMaxCount;
}

// Adds to `counts`, of the levels from lo on; adds nothing and returns false where there are
// others. In a function of its own, as it takes room on the stack that few levels do not need.
__attribute__((noinline)) bool count_in_parts(std::span<const int16_t> levels, int32_t lo,
                                              std::span<int64_t> counts) noexcept {
  std::array<std::array<uint32_t, kPartBins>, kParts> parts;
  for (auto& part : parts) std::fill_n(part.begin(), counts.size(), 0u);
  std::array<uint16_t, kTile> symbols;
  while (!levels.empty()) {
    const size_t count = std::min(kTile, levels.size());
    if (multiversion<symbols_of>(levels.data(), count, lo, symbols.data()) >= counts.size()) {
      return false;
    }
    size_t i = 0;
    for (; i + kParts <= count; i += kParts) {
#pragma GCC unroll 8
      for (size_t part = 0; part < kParts; ++part) ++parts[part][symbols[i + part]];
    }
    for (; i < count; ++i) ++parts[0][symbols[i]];
    levels = levels.subspan(count);
  }
  for (const auto& part : parts) {
    for (size_t bin = 0; bin < counts.size(); ++bin) counts[bin] += part[bin];
  }
  return true;
}

}  // namespace

bool levels_within(std::span<const int16_t> levels, int32_t lo, int32_t hi) noexcept {
  if (levels.empty()) return true;
  const Range range = multiversion<range_of>(levels.data(), levels.size());
  return range.lowest >= lo && range.highest <= hi;
}

Status histogram(std::span<const int16_t> levels, int32_t lo, int32_t hi,
                 std::span<int64_t> counts) noexcept {
  if (lo > hi || counts.size() != static_cast<uint64_t>(int64_t{hi} - lo + 1)) {
    return Status::kBadArgument;
  }
  if (levels.empty()) return Status::kOk;
  if (lo >= INT16_MIN && hi <= INT16_MAX && worth_parts(levels.size(), counts.size())) {
    return count_in_parts(levels, lo, counts) ? Status::kOk : Status::kOutOfRange;
  }
  const Range range = multiversion<range_of>(levels.data(), levels.size());
  if (range.lowest < lo || range.highest > hi) return Status::kOutOfRange;
  // Levels are often few of those that they could be.
  const auto present = counts.subspan(static_cast<size_t>(range.lowest - lo),
                                      static_cast<size_t>(range.highest - range.lowest + 1));
  if (worth_parts(levels.size(), present.size())) {
    count_in_parts(levels, range.lowest, present);
  } else {
    for (const int16_t level : levels) ++counts[static_cast<size_t>(level - lo)];
  }
  return Status::kOk;
}

}  // namespace fmtc
