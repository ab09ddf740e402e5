#pragma once

// Words of csrc, cuda and their tests; each means one thing:
//   block     h x w x c values that the transform turns into components at a time
//   cell      2 x 2 positions, which share a class (core/positions.h)
//   segment   consecutive values of a stream that share a table
//   chunk     consecutive values of a stream that are coded on their own
//   lane      a rANS state or a Huffman sub-stream of a chunk
//   round     a value of each lane
//   digit     16 bits that a rANS state gives to the payload or takes from it, in base 2^16
//   word      level - lo in a fixed number of bits, for EBPC and DCT-CM (core/words.h)
//   octuple   8 words, whose differences EBPC codes by bit planes
//   tile      what a loop works on at a time, so that it stays in a cache or in registers
//   element   one of the numbers in a vector register
//   warp, thread block, grid   as in CUDA
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/device.h"
#include "core/status.h"

namespace fmtc {

// What the entropy coders share. A symbol of a table is level - lo.

inline constexpr size_t kMaxSymbols = 4096;

// True for counts >= 0 whose sum is below 2^59.
bool counts_valid(std::span<const int64_t> counts) noexcept;

// Which table codes which value: the values of a stream are consecutive segments, and those of
// segment s are coded with table table_of[s]. Segments are the components of a contiguous [K, H, W]
// tensor, plane = H * W values each; or, with classes of positions (core/positions.h), a map and
// then the parts of each component, one for each class.
struct ComponentTables {
  int32_t lo = 0;                      // the level of symbol 0
  size_t width = 0;                    // entries of a table, as its coder makes them; of a coder
                                       // without tables the bits of a word (core/words.h)
  std::span<const uint32_t> entries;   // [tables, width]
  std::span<const int64_t> table_of;   // [segments], each below the number of tables
  uint64_t plane = 0;                  // H * W
  std::span<const int64_t> base = {};  // [tables], of rANS decode tables alone
  // With classes of positions: the values of the map, and the sizes of a plane's parts.
  uint64_t map = 0;
  std::span<const uint64_t> parts = {};

  FMTC_HD bool has_map() const noexcept { return !parts.empty(); }
  FMTC_HD uint64_t segments(uint64_t components) const noexcept {
    return has_map() ? 1 + components * parts.size() : components;
  }
  FMTC_HD uint64_t segment_size(uint64_t segment) const noexcept {
    if (!has_map()) return plane;
    return segment == 0 ? map : parts[(segment - 1) % parts.size()];
  }
  // The segment that value `index` belongs to; `begin` becomes the index of its first value.
  FMTC_HD uint64_t segment_at(uint64_t index, uint64_t& begin) const noexcept {
    begin = 0;
    if (index < map) return 0;
    const uint64_t component = (index - map) / plane;
    begin = map + component * plane;
    if (!has_map()) return component;
    uint64_t part = 0;
    while (index - begin >= parts[part]) begin += parts[part++];
    return 1 + component * parts.size() + part;
  }

  FMTC_HD size_t count() const noexcept { return width == 0 ? 0 : entries.size() / width; }
  FMTC_HD std::span<const uint32_t> table(size_t index) const noexcept {
    return entries.subspan(index * width, width);
  }
};

// False unless table_of has an element for each segment of that many components and all name a
// table, width divides the entries, and lo is an int16.
bool tables_valid(const ComponentTables& tables, uint64_t components) noexcept;

// A chunk to encode.
struct UncodedChunk {
  std::span<const int16_t> levels;  // of the chunk alone
  uint64_t first = 0;               // the index of its first value in the tensor
  ComponentTables tables;
  std::span<uint8_t> out;
  size_t used = 0;              // bytes of `out` that its payload takes
  Status status = Status::kOk;  // what came of it
};

// A chunk to decode.
struct CodedChunk {
  std::span<const uint8_t> payload;
  uint64_t first = 0;  // the index of its first value in the tensor
  ComponentTables tables;
  std::span<int16_t> levels;    // of the chunk alone
  Status status = Status::kOk;  // what came of it
};

// Walks along consecutive values as runs that share one table.
class RunCursor {
 public:
  RunCursor() noexcept = default;
  FMTC_HD RunCursor(const ComponentTables& tables, uint64_t first, size_t count) noexcept
      : tables_(&tables), beyond_(count) {
    if (count == 0) return;
    uint64_t begin = 0;
    segment_ = tables.segment_at(first, begin);
    start_run(begin + tables.segment_size(segment_) - first);
  }

  // Values left in the present run; 0 at the end.
  FMTC_HD size_t size() const noexcept { return size_; }
  // The present run's table and its entries.
  FMTC_HD size_t table() const noexcept { return table_; }
  FMTC_HD const uint32_t* entries() const noexcept { return entries_; }

  FMTC_HD void advance(size_t count) noexcept {
    size_ -= count;
    while (size_ == 0 && beyond_ > 0) start_run(tables_->segment_size(segment_));
  }

 private:
  // Begins a run of `in_segment` values and those of the next segments with the same table.
  FMTC_HD void start_run(uint64_t in_segment) noexcept {
    const int64_t table = tables_->table_of[segment_];
    table_ = static_cast<size_t>(table);
    entries_ = tables_->entries.data() + table_ * tables_->width;
    uint64_t length = in_segment;
    for (++segment_; length < beyond_ && tables_->table_of[segment_] == table; ++segment_) {
      length += tables_->segment_size(segment_);
    }
    size_ = static_cast<size_t>(std::min<uint64_t>(length, beyond_));
    beyond_ -= size_;
  }

  const ComponentTables* tables_ = nullptr;
  uint64_t segment_ = 0;  // the one after the present run
  size_t size_ = 0;
  size_t beyond_ = 0;  // values after the present run
  size_t table_ = 0;
  const uint32_t* entries_ = nullptr;
};

// The same from the end towards the beginning.
class BackwardRunCursor {
 public:
  BackwardRunCursor(const ComponentTables& tables, uint64_t first, size_t count) noexcept
      : tables_(&tables), before_(count) {
    if (count == 0) return;
    uint64_t begin = 0;
    segment_ = tables.segment_at(first + count - 1, begin);
    start_run(first + count - begin);
  }

  size_t size() const noexcept { return size_; }
  size_t table() const noexcept { return table_; }

  void advance(size_t count) noexcept {
    size_ -= count;
    while (size_ == 0 && before_ > 0) {
      --segment_;
      start_run(tables_->segment_size(segment_));
    }
  }

 private:
  // Begins a run of `in_segment` values and those of the segments before with the same table.
  void start_run(uint64_t in_segment) noexcept {
    const int64_t table = tables_->table_of[segment_];
    table_ = static_cast<size_t>(table);
    uint64_t length = in_segment;
    for (; length < before_ && tables_->table_of[segment_ - 1] == table; --segment_) {
      length += tables_->segment_size(segment_ - 1);
    }
    size_ = static_cast<size_t>(std::min<uint64_t>(length, before_));
    before_ -= size_;
  }

  const ComponentTables* tables_;
  uint64_t segment_ = 0;  // the first of the present run
  size_t size_ = 0;
  size_t before_ = 0;  // values before the present run
  size_t table_ = 0;
};

}  // namespace fmtc
