#include "core/segment_counter.h"

#include <algorithm>
#include <cstring>

#include "core/multiversion.h"

namespace fmtc {
namespace {

// Counting a value that was counted just before waits for that, so neighbours are counted apart,
// where all counters stay in the L1 cache.
constexpr int kParts = 4;
constexpr size_t kMostCounters = size_t{1} << 13;
// Between parts, so that equal symbols do not lie a multiple of 4 KiB apart.
constexpr size_t kGap = 16;
constexpr uint64_t kMostCounted = uint64_t{1} << 31;

FMTC_ALWAYS_INLINE void symbols_of(const int16_t* levels, size_t count, int16_t lo, int16_t hi,
                                   uint16_t* symbols) noexcept {
  for (size_t i = 0; i < count; ++i) {
    const int16_t raised = levels[i] < lo ? lo : levels[i];
    const int16_t within = raised > hi ? hi : raised;
    symbols[i] = static_cast<uint16_t>(within - lo);
  }
}

// counts of a group begin at `counts`, those of the next part `part` behind.
FMTC_ALWAYS_INLINE void count_in_parts(const uint16_t* symbols, size_t count, uint32_t* counts,
                                       size_t part) noexcept {
  size_t i = 0;
  for (; i + kParts <= count; i += kParts) {
    uint64_t four;  // loaded together, as loads are what limits
    std::memcpy(&four, symbols + i, sizeof(four));
    ++counts[four & 0xFFFF];
    ++counts[part + (four >> 16 & 0xFFFF)];
    ++counts[2 * part + (four >> 32 & 0xFFFF)];
    ++counts[3 * part + (four >> 48)];
  }
  for (; i < count; ++i) ++counts[part * (i % kParts) + symbols[i]];
}

}  // namespace

SegmentCounter::SegmentCounter(std::span<const int64_t> groups, int64_t num_groups, int32_t lo,
                               int32_t hi)
    : groups_(groups),
      lo_(static_cast<int16_t>(lo)),
      hi_(static_cast<int16_t>(hi)),
      symbols_(static_cast<size_t>(int64_t{hi} - lo + 1)),
      part_(static_cast<size_t>(num_groups) * symbols_ + kGap),
      parts_(part_ * kParts <= kMostCounters ? kParts : 1) {
  counts_ = count_space_.take(part_ * static_cast<size_t>(parts_));
  total_ = total_space_.take(static_cast<size_t>(num_groups) * symbols_);
  std::ranges::fill(counts_, 0U);
  std::ranges::fill(total_, 0);
}

void SegmentCounter::add(std::span<const int16_t> values, const Layout& layout) {
  if (values.empty()) return;
  if (counted_ + values.size() > kMostCounted) carry();
  counted_ += values.size();
  const std::span<uint16_t> symbols = symbol_space_.take(values.size());
  multiversion<symbols_of>(values.data(), values.size(), lo_, hi_, symbols.data());
  const uint16_t* next = symbols.data();
  size_t segment = 0;
  const auto count = [&](size_t size) {
    uint32_t* const counts = counts_.data() + static_cast<size_t>(groups_[segment++]) * symbols_;
    if (parts_ == kParts) {
      count_in_parts(next, size, counts, part_);
    } else {
      for (size_t i = 0; i < size; ++i) ++counts[next[i]];
    }
    next += size;
  };
  if (layout.classes == 1) {
    for (uint32_t k = 0; k < layout.components; ++k) count(static_cast<size_t>(layout.plane()));
    return;
  }
  count(static_cast<size_t>(layout.map_size()));
  for (uint32_t k = 0; k < layout.components; ++k) {
    for (int c = 0; c < layout.classes; ++c) {
      count(static_cast<size_t>(layout.positions[static_cast<size_t>(c)]));
    }
  }
}

void SegmentCounter::carry() noexcept {
  const size_t groups = symbols_ == 0 ? 0 : total_.size() / symbols_;
  for (size_t part = 0; part < static_cast<size_t>(parts_); ++part) {
    for (size_t i = 0; i < groups * symbols_; ++i) total_[i] += counts_[part * part_ + i];
  }
  std::ranges::fill(counts_, 0U);
  counted_ = 0;
}

void SegmentCounter::move_to(std::span<int64_t> counts) noexcept {
  carry();
  for (size_t i = 0; i < counts.size(); ++i) counts[i] += total_[i];
  std::ranges::fill(total_, 0);
}

}  // namespace fmtc
