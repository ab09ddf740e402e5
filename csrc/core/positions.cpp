#include "core/positions.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "core/multiversion.h"

namespace fmtc {
namespace {

// A cell of the plane: where it begins, and how much of it lies inside.
struct Cell {
  uint32_t rows, columns;
  uint64_t begin;
};

// The cells of a plane in the order of the arrangement.
std::vector<Cell> arranged_cells(std::span<const uint8_t> map, const Layout& layout) {
  std::array<uint64_t, kMaxPositionClasses + 1> next = {};
  for (const uint8_t c : map) ++next[c + 1u];
  for (size_t c = 1; c < next.size(); ++c) next[c] += next[c - 1];
  std::vector<Cell> cells(map.size());
  size_t i = 0;
  for (uint64_t y = 0; y < layout.height; y += kCellSide) {
    const auto rows = static_cast<uint32_t>(std::min<uint64_t>(kCellSide, layout.height - y));
    for (uint64_t x = 0; x < layout.width; x += kCellSide) {
      const auto columns = static_cast<uint32_t>(std::min<uint64_t>(kCellSide, layout.width - x));
      cells[next[map[i++]]++] = {rows, columns, y * layout.width + x};
    }
  }
  return cells;
}

constexpr size_t kPair = kCellSide * sizeof(int16_t);
constexpr size_t kCellLevels = size_t{kCellSide} * kCellSide;

// Copies a plane's cells one behind the other.
void gather(const int16_t* plane, const std::vector<Cell>& cells, uint64_t width,
            int16_t* values) noexcept {
  for (const Cell& cell : cells) {
    const int16_t* row = plane + cell.begin;
    if (cell.rows == kCellSide && cell.columns == kCellSide) {
      std::memcpy(values, row, kPair);
      std::memcpy(values + kCellSide, row + width, kPair);
      values += kCellLevels;
      continue;
    }
    for (uint32_t y = 0; y < cell.rows; ++y, row += width) {
      values = std::copy_n(row, cell.columns, values);
    }
  }
}

// The inverse.
void scatter(const int16_t* values, const std::vector<Cell>& cells, uint64_t width,
             int16_t* plane) noexcept {
  for (const Cell& cell : cells) {
    int16_t* row = plane + cell.begin;
    if (cell.rows == kCellSide && cell.columns == kCellSide) {
      std::memcpy(row, values, kPair);
      std::memcpy(row + width, values + kCellSide, kPair);
      values += kCellLevels;
      continue;
    }
    for (uint32_t y = 0; y < cell.rows; ++y, row += width) {
      std::copy_n(values, cell.columns, row);
      values += cell.columns;
    }
  }
}

// Adds a component's share to the activity of each position.
FMTC_ALWAYS_INLINE void add_activity(const int16_t* levels, size_t count, int32_t weight,
                                     int32_t* sums) noexcept {
  for (size_t i = 0; i < count; ++i) sums[i] += activity_of(levels[i], weight);
}

bool weights_valid(std::span<const int32_t> weights) noexcept {
  return std::ranges::all_of(weights, [](int32_t w) { return w >= 0 && w <= kMaxWeight; });
}

// Positions whose sums are made together; they stay in the L1 cache.
constexpr uint64_t kTogether = 2048;

// What goes on at each position of the rows from y on, summed up for their cells. sums: a number
// for each position of these rows.
void activity_of_rows(std::span<const int16_t> levels, uint32_t height, uint32_t width,
                      std::span<const int32_t> weights, uint64_t y, std::span<int32_t> sums,
                      std::span<int64_t> cells) noexcept {
  const uint64_t plane = uint64_t{height} * width;
  std::ranges::fill(sums, 0);
  for (size_t k = 0; k < weights.size(); ++k) {
    if (weights[k] == 0) continue;
    multiversion<add_activity>(levels.data() + k * plane + y * width, sums.size(), weights[k],
                               sums.data());
  }
  size_t cell = 0;
  for (uint64_t begin = 0; begin < sums.size(); begin += uint64_t{kCellSide} * width) {
    const uint64_t rows = std::min<uint64_t>(kCellSide, (sums.size() - begin) / width);
    for (uint64_t x = 0; x < width; x += kCellSide) {
      const uint64_t columns = std::min<uint64_t>(kCellSide, width - x);
      int64_t sum = 0;
      for (uint64_t row = 0; row < rows; ++row) {
        for (uint64_t i = x; i < x + columns; ++i) sum += sums[begin + row * width + i];
      }
      cells[cell++] = sum / static_cast<int64_t>(rows * columns);
    }
  }
}

}  // namespace

Status position_activity(std::span<const int16_t> levels, uint32_t height, uint32_t width,
                         std::span<const int32_t> weights, std::span<int64_t> activity) noexcept {
  const Layout layout{static_cast<uint32_t>(weights.size()), height, width, kMinPositionClasses};
  if (weights.size() > kMaxWeighted || levels.size() != layout.levels() ||
      activity.size() != layout.map_size()) {
    return Status::kBadArgument;
  }
  if (!weights_valid(weights)) return Status::kOutOfRange;
  try {
    const uint64_t pairs = std::max<uint64_t>(kTogether / kCellSide / std::max(width, 1u), 1);
    const uint64_t band = pairs * kCellSide;  // rows that are made together
    std::vector<int32_t> space(std::min<uint64_t>(band, height) * width);
    const uint64_t cells = layout.map_width();
    for (uint64_t y = 0; y < height && width > 0; y += band) {
      const uint64_t rows = std::min<uint64_t>(band, height - y);
      const auto map_rows = (rows + 1) / kCellSide;
      activity_of_rows(levels, height, width, weights, y, std::span(space).first(rows * width),
                       activity.subspan(y / kCellSide * cells, map_rows * cells));
    }
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
  return Status::kOk;
}

Status count_positions(std::span<const uint8_t> map, Layout& layout) noexcept {
  layout.positions = {};
  if (map.size() != layout.map_size()) return Status::kBadArgument;
  size_t i = 0;
  for (uint64_t y = 0; y < layout.height; y += kCellSide) {
    const uint64_t rows = std::min<uint64_t>(kCellSide, layout.height - y);
    for (uint64_t x = 0; x < layout.width; x += kCellSide) {
      const uint8_t c = map[i++];
      if (c >= layout.classes) return Status::kOutOfRange;
      layout.positions[c] += rows * std::min<uint64_t>(kCellSide, layout.width - x);
    }
  }
  return Status::kOk;
}

Status arrange(std::span<const int16_t> levels, std::span<const uint8_t> map, const Layout& layout,
               std::span<int16_t> values) noexcept {
  const auto cells_of_map = static_cast<size_t>(layout.map_size());
  if (layout.classes < kMinPositionClasses || levels.size() != layout.levels() ||
      map.size() != cells_of_map || values.size() != layout.values()) {
    return Status::kBadArgument;
  }
  try {
    const std::vector<int16_t> classes(map.begin(), map.end());
    const Status status =
        predict_plane(classes, layout.map_width(), kMapPrediction, values.first(cells_of_map));
    if (status != Status::kOk) return status;
    const std::vector<Cell> cells = arranged_cells(map, layout);
    for (uint32_t k = 0; k < layout.components; ++k) {
      gather(levels.data() + k * layout.plane(), cells, layout.width,
             values.data() + cells_of_map + k * layout.plane());
    }
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
  return Status::kOk;
}

Status restore(std::span<const int16_t> values, const Layout& layout,
               std::span<int16_t> levels) noexcept {
  const auto cells_of_map = static_cast<size_t>(layout.map_size());
  if (layout.classes < kMinPositionClasses || levels.size() != layout.levels() ||
      values.size() != layout.values()) {
    return Status::kBadArgument;
  }
  try {
    std::vector<int16_t> classes(cells_of_map);
    const Status status =
        unpredict_plane(values.first(cells_of_map), layout.map_width(), kMapPrediction, classes);
    if (status != Status::kOk) return status;
    const bool valid =
        std::ranges::all_of(classes, [&](int16_t c) { return c >= 0 && c < layout.classes; });
    if (!valid) return Status::kBadCode;
    const std::vector<uint8_t> map(classes.begin(), classes.end());
    Layout counted = layout;
    if (count_positions(map, counted) != Status::kOk || counted.positions != layout.positions) {
      return Status::kBadCode;
    }
    const std::vector<Cell> cells = arranged_cells(map, layout);
    for (uint32_t k = 0; k < layout.components; ++k) {
      scatter(values.data() + cells_of_map + k * layout.plane(), cells, layout.width,
              levels.data() + k * layout.plane());
    }
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
  return Status::kOk;
}

}  // namespace fmtc
