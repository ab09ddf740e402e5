#pragma once

#include "core/positions.h"
#include "cuda/kernel.h"

namespace fmtc::cuda {

// A block of an image's plane: row and column of its first position, and how much lies inside.
struct BlockAt {
  int64_t y, x;
  uint32_t rows, columns;
};

// Block `index` of a map, row by row.
FMTC_DEVICE inline BlockAt block_at(const Layout& layout, int64_t index) {
  const auto map_width = static_cast<int64_t>(layout.map_width());
  const int64_t y = index / map_width * kBlockSide, x = index % map_width * kBlockSide;
  return {y, x, y + kBlockSide <= layout.height ? kBlockSide : 1,
          x + kBlockSide <= layout.width ? kBlockSide : 1};
}

// Calls body(plane[...]) for each position of a block, row by row.
template <typename T, typename Body>
FMTC_DEVICE void for_each_in_block(const BlockAt& block, T* plane, int64_t width,
                                   const Body& body) {
  for (uint32_t y = 0; y < block.rows; ++y) {
    for (uint32_t x = 0; x < block.columns; ++x) {
      body(plane[(block.y + y) * width + block.x + x]);
    }
  }
}

// The class of a block; what is none counts as the last.
FMTC_DEVICE inline uint32_t class_of(const Layout& layout, const uint8_t* map, int64_t block) {
  const auto last = static_cast<uint32_t>(layout.classes - 1);
  return map[block] < last ? map[block] : last;
}

// What stands for the class of a block of a map in an arrangement.
FMTC_DEVICE inline int16_t map_residual(const Layout& layout, const uint8_t* map, int64_t block) {
  const auto width = static_cast<int64_t>(layout.map_width());
  const bool has_left = block % width != 0, has_above = block >= width;
  const auto level = [&](int64_t at) { return static_cast<int32_t>(class_of(layout, map, at)); };
  constexpr PredictCoefficients kCoefficients = kMapPrediction;
  static_assert(kCoefficients.above_left == 0);
  return residual_of(kCoefficients, level(block), has_left ? level(block - 1) : 0,
                     has_above ? level(block - width) : 0, 0);
}

}  // namespace fmtc::cuda
