#pragma once

#include "core/positions.h"
#include "cuda/kernel.h"

namespace fmtc::cuda {

// A cell of an image's plane: row and column of its first position, and how much lies inside.
struct CellAt {
  int64_t y, x;
  uint32_t rows, columns;
};

// Cell `index` of a map, row by row.
template <typename Index>
FMTC_DEVICE CellAt cell_at(const Layout& layout, Index index) {
  const auto map_width = static_cast<Index>(layout.map_width());
  const auto y = static_cast<int64_t>(index / map_width * kCellSide);
  const auto x = static_cast<int64_t>(index % map_width * kCellSide);
  return {y, x, y + kCellSide <= layout.height ? kCellSide : 1,
          x + kCellSide <= layout.width ? kCellSide : 1};
}

// Calls body(plane[...]) for each position of a cell, row by row.
template <typename T, typename Body>
FMTC_DEVICE void for_each_in_cell(const CellAt& cell, T* plane, int64_t width, const Body& body) {
  for (uint32_t y = 0; y < cell.rows; ++y) {
    for (uint32_t x = 0; x < cell.columns; ++x) {
      body(plane[(cell.y + y) * width + cell.x + x]);
    }
  }
}

// The class of a cell; what is none counts as the last.
FMTC_DEVICE inline uint32_t class_of(const Layout& layout, const uint8_t* map, int64_t cell) {
  const auto last = static_cast<uint32_t>(layout.classes - 1);
  return map[cell] < last ? map[cell] : last;
}

// What stands for the class of a cell of a map in an arrangement.
template <typename Index>
FMTC_DEVICE int16_t map_residual(const Layout& layout, const uint8_t* map, Index cell) {
  const auto width = static_cast<Index>(layout.map_width());
  const bool has_left = cell % width != 0, has_above = cell >= width;
  const auto level = [&](int64_t at) { return static_cast<int32_t>(class_of(layout, map, at)); };
  constexpr PredictCoefficients kCoefficients = kMapPrediction;
  static_assert(kCoefficients.above_left == 0);
  return residual_of(kCoefficients, level(cell), has_left ? level(cell - 1) : 0,
                     has_above ? level(cell - width) : 0, 0);
}

}  // namespace fmtc::cuda
