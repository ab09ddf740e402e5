#include "core/histogram.h"

#include <algorithm>
#include <array>

#include "core/simd.h"

namespace fmtc {
namespace {

struct Range {
  int16_t lowest;
  int16_t highest;
};

FMTC_MULTIVERSION Range range_of(const int16_t* levels, size_t count) noexcept {
  int16_t lowest = INT16_MAX;
  int16_t highest = INT16_MIN;
  for (size_t i = 0; i < count; ++i) {
    lowest = std::min(lowest, levels[i]);
    highest = std::max(highest, levels[i]);
  }
  return {lowest, highest};
}

// Counting a level that was counted just before waits for that; so neighbours are counted apart.
constexpr size_t kParts = 8;
constexpr size_t kMaxBins = 512;               // of all parts they stay in the L1 cache
constexpr size_t kWorthParts = 4;              // levels for each bin
constexpr size_t kMaxCount = size_t{1} << 31;  // of a part, in 32 bits

void count_in_parts(std::span<const int16_t> levels, int32_t lo,
                    std::span<int64_t> counts) noexcept {
  std::array<std::array<uint32_t, kMaxBins>, kParts> parts;
  for (auto& part : parts) std::fill_n(part.begin(), counts.size(), 0u);
  size_t i = 0;
  for (; i + kParts <= levels.size(); i += kParts) {
    for (size_t part = 0; part < kParts; ++part) {
      ++parts[part][static_cast<size_t>(levels[i + part] - lo)];
    }
  }
  for (; i < levels.size(); ++i) ++parts[0][static_cast<size_t>(levels[i] - lo)];
  for (const auto& part : parts) {
    for (size_t bin = 0; bin < counts.size(); ++bin) counts[bin] += part[bin];
  }
}

}  // namespace

bool levels_within(std::span<const int16_t> levels, int32_t lo, int32_t hi) noexcept {
  if (levels.empty()) return true;
  const Range range = range_of(levels.data(), levels.size());
  return range.lowest >= lo && range.highest <= hi;
}

Status histogram(std::span<const int16_t> levels, int32_t lo, int32_t hi,
                 std::span<int64_t> counts) noexcept {
  if (lo > hi || counts.size() != static_cast<uint64_t>(int64_t{hi} - lo + 1)) {
    return Status::kBadArgument;
  }
  if (!levels_within(levels, lo, hi)) return Status::kOutOfRange;
  if (counts.size() <= kMaxBins && levels.size() >= kWorthParts * counts.size()) {
    for (; !levels.empty(); levels = levels.subspan(std::min(levels.size(), kMaxCount))) {
      count_in_parts(levels.first(std::min(levels.size(), kMaxCount)), lo, counts);
    }
    return Status::kOk;
  }
  for (const int16_t level : levels) ++counts[static_cast<size_t>(level - lo)];
  return Status::kOk;
}

}  // namespace fmtc
