#include "core/histogram.h"

#include <algorithm>

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
  for (const int16_t level : levels) ++counts[static_cast<size_t>(level - lo)];
  return Status::kOk;
}

}  // namespace fmtc
