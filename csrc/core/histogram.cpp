#include "core/histogram.h"

#include <algorithm>
#include <array>
#include <cstring>

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

// Counting a level that was counted just before waits for that; so neighbours are counted apart.
constexpr size_t kParts = 8;
constexpr size_t kMaxBins = 512;  // of all parts they stay in the L1 cache
// Of a part. Not a divisor of 4 KiB: what lies that far apart looks the same to a CPU at first.
constexpr size_t kPartBins = kMaxBins + 16;
constexpr size_t kWorthParts = 4;              // levels for each bin
constexpr size_t kMaxCount = size_t{1} << 31;  // of a part, in 32 bits

// Four levels less lo, each in its 16 bits: levels are loaded together, as loads are what limits.
class FourSymbols {
 public:
  explicit FourSymbols(int32_t lo) noexcept {
    const uint64_t all = ((0u - static_cast<uint32_t>(lo)) & 0xFFFF) * 0x0001000100010001u;
    // Without its highest bit, a sum does not carry over into the next one.
    low_ = all & kLow;
    high_ = all & ~kLow;
  }

  FMTC_ALWAYS_INLINE uint64_t of(const int16_t* levels) const noexcept {
    uint64_t bits;
    std::memcpy(&bits, levels, sizeof(bits));
    return ((bits & kLow) + low_) ^ (bits & ~kLow) ^ high_;
  }

 private:
  static constexpr uint64_t kLow = 0x7FFF7FFF7FFF7FFFu;
  uint64_t low_, high_;
};

void count_in_parts(std::span<const int16_t> levels, int32_t lo,
                    std::span<int64_t> counts) noexcept {
  std::array<std::array<uint32_t, kPartBins>, kParts> parts;
  for (auto& part : parts) std::fill_n(part.begin(), counts.size(), 0u);
  const FourSymbols four(lo);
  size_t i = 0;
  for (; i + kParts <= levels.size(); i += kParts) {
    for (size_t part = 0; part < kParts; part += 4) {
      const uint64_t symbols = four.of(levels.data() + i + part);
      for (size_t k = 0; k < 4; ++k) ++parts[part + k][symbols >> 16 * k & 0xFFFF];
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
  const Range range = multiversion<range_of>(levels.data(), levels.size());
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
