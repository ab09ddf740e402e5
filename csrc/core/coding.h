#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>

namespace fmtc {

// What the entropy coders share. A symbol of a table is level - lo.

inline constexpr size_t kMaxSymbols = 4096;

// True for counts >= 0 whose sum is below 2^59.
bool counts_valid(std::span<const int64_t> counts) noexcept;

// Which table codes which value: value i of a contiguous [K, H, W] tensor belongs to component
// i / plane (plane = H * W) and is coded with table table_of[component].
struct ComponentTables {
  int32_t lo = 0;                      // the level of symbol 0
  size_t width = 0;                    // entries of a table, as its coder makes them; of a coder
                                       // without tables the bits of a word (core/words.h)
  std::span<const uint32_t> entries;   // [tables, width]
  std::span<const int64_t> table_of;   // [K], each below the number of tables
  uint64_t plane = 0;                  // H * W
  std::span<const int64_t> base = {};  // [tables], of rANS decode tables alone

  size_t count() const noexcept { return width == 0 ? 0 : entries.size() / width; }
  std::span<const uint32_t> table(size_t index) const noexcept {
    return entries.subspan(index * width, width);
  }
};

// False unless table_of has `components` elements that all name a table, width divides the entries,
// and lo is an int16.
bool tables_valid(const ComponentTables& tables, uint64_t components) noexcept;

// Walks along consecutive values as runs that share one table.
class RunCursor {
 public:
  RunCursor() noexcept = default;
  RunCursor(const ComponentTables& tables, uint64_t first, size_t count) noexcept
      : tables_(&tables), beyond_(count) {
    if (count == 0) return;
    component_ = first / tables.plane;
    start_run(tables.plane - first % tables.plane);
  }

  // Values left in the present run; 0 at the end.
  size_t size() const noexcept { return size_; }
  // The present run's table and its entries.
  size_t table() const noexcept { return table_; }
  const uint32_t* entries() const noexcept { return entries_; }

  void advance(size_t count) noexcept {
    size_ -= count;
    if (size_ == 0 && beyond_ > 0) start_run(tables_->plane);
  }

 private:
  // Begins a run of `in_component` values and those of the next components with the same table.
  void start_run(uint64_t in_component) noexcept {
    const int64_t table = tables_->table_of[component_];
    table_ = static_cast<size_t>(table);
    entries_ = tables_->entries.data() + table_ * tables_->width;
    uint64_t length = in_component;
    for (++component_; length < beyond_ && tables_->table_of[component_] == table; ++component_) {
      length += tables_->plane;
    }
    size_ = static_cast<size_t>(std::min<uint64_t>(length, beyond_));
    beyond_ -= size_;
  }

  const ComponentTables* tables_ = nullptr;
  uint64_t component_ = 0;  // the one after the present run
  size_t size_ = 0;
  size_t beyond_ = 0;  // values after the present run
  size_t table_ = 0;
  const uint32_t* entries_ = nullptr;
};

}  // namespace fmtc
