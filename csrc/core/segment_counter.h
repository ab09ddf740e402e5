#pragma once

#include <cstdint>
#include <span>

#include "core/buffer.h"
#include "core/positions.h"
#include "core/status.h"

namespace fmtc {

// Counts what images hold, by the group of each segment (core/positions.h), into histograms.
class SegmentCounter {
 public:
  // groups: of each segment, 0 .. num_groups - 1. lo, hi: levels beyond them count as the nearest.
  // May throw std::bad_alloc.
  SegmentCounter(std::span<const int64_t> groups, int64_t num_groups, int32_t lo, int32_t hi);

  // Adds an arrangement, or the levels of an image without classes: layout.values() values. May
  // throw std::bad_alloc.
  void add(std::span<const int16_t> values, const Layout& layout);

  // Adds all counts to [num_groups, hi - lo + 1], and forgets them.
  void move_to(std::span<int64_t> counts) noexcept;

 private:
  std::span<const int64_t> groups_;
  int16_t lo_, hi_;
  size_t symbols_;  // of a histogram
  size_t part_;     // counters of a part
  int parts_;
  uint64_t counted_ = 0;
  std::span<uint32_t> counts_;  // [parts, part]
  std::span<int64_t> total_;    // [num_groups, symbols], what did not fit in 32 bits
  Buffer<uint32_t> count_space_;
  Buffer<uint16_t> symbol_space_;
  Buffer<int64_t> total_space_;

  void carry() noexcept;
};

}  // namespace fmtc
