#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "core/device.h"
#include "core/predict.h"
#include "core/status.h"

namespace fmtc {

// Classes of positions: an image is busy in some places and quiet in others, in all components at
// once. Each cell, 2 x 2 positions, gets a class by how much is going on there, and each class a
// table of its own in every component. The map of classes is coded along with the levels.
//
// An image [K, height, width] is then coded as its arrangement: first the map, a class for each
// cell, row by row, as residuals of kMapPrediction (core/predict.h); then for each component the
// levels of all cells of class 0, of all cells of class 1, ..., cells of a class row by row, and
// the levels of a cell row by row. Cells at the right and lower border may be cut.

inline constexpr int kMinPositionClasses = 2;
inline constexpr int kMaxPositionClasses = 8;
inline constexpr uint32_t kCellSide = 2;

// A class is expected half way between those on the left and above.
inline constexpr PredictCoefficients kMapPrediction = {kPredictUnit / 2, kPredictUnit / 2, 0};

// How an image [components, height, width] is cut: into parts of a plane, the positions of each
// class. Without classes: one part and no map.
struct Layout {
  uint32_t components = 0;
  uint32_t height = 0;
  uint32_t width = 0;
  int classes = 1;
  std::array<uint64_t, kMaxPositionClasses> positions = {};  // of each class

  FMTC_HD uint64_t plane() const noexcept { return uint64_t{height} * width; }
  FMTC_HD uint64_t map_height() const noexcept { return (uint64_t{height} + 1) / kCellSide; }
  FMTC_HD uint64_t map_width() const noexcept { return (uint64_t{width} + 1) / kCellSide; }
  // Cells in the map; 0 without classes.
  FMTC_HD uint64_t map_size() const noexcept {
    return classes > 1 ? map_height() * map_width() : 0;
  }
  // Values of the image, and of its arrangement.
  FMTC_HD uint64_t levels() const noexcept { return components * plane(); }
  FMTC_HD uint64_t values() const noexcept { return map_size() + levels(); }
  // Consecutive pieces of the arrangement that have a table each.
  FMTC_HD uint64_t segments() const noexcept {
    return (classes > 1 ? 1u : 0u) + uint64_t{components} * static_cast<uint64_t>(classes);
  }
};

// What goes on in each cell: the mean over its positions, rounded down, of
// sum_k min(|level_k| * weights_k, kMostActivity).
//   levels    [K, height, width];  weights: [K], 0 .. kMaxWeight, K up to kMaxWeighted
//   activity  written: [map_height, map_width]
// kBadArgument for sizes, kOutOfRange for weights, kOutOfMemory.
inline constexpr int32_t kMaxWeight = 1 << 15;
inline constexpr int32_t kMostActivity = 1 << 14;
inline constexpr size_t kMaxWeighted = 1 << 14;

// The share of one level.
FMTC_HD inline int32_t activity_of(int16_t level, int32_t weight) noexcept {
  // |level| <= 2^15 and weight <= 2^15: the product fits into 31 bits.
  const int32_t magnitude = level < 0 ? -level : level;
  const auto product = static_cast<uint32_t>(magnitude) * static_cast<uint32_t>(weight);
  return product < uint32_t{kMostActivity} ? static_cast<int32_t>(product) : kMostActivity;
}

Status position_activity(std::span<const int16_t> levels, uint32_t height, uint32_t width,
                         std::span<const int32_t> weights, std::span<int64_t> activity) noexcept;

// Counts the positions of each class of a map [layout.map_size()]; kOutOfRange for a class that is
// not below layout.classes.
Status count_positions(std::span<const uint8_t> map, Layout& layout) noexcept;

// The arrangement of an image.
//   levels  [layout.levels()];  map: [layout.map_size()], as count_positions counted it
//   values  written: [layout.values()]
// kBadArgument for sizes, kOutOfMemory.
Status arrange(std::span<const int16_t> levels, std::span<const uint8_t> map, const Layout& layout,
               std::span<int16_t> values) noexcept;

// The inverse. kBadCode where the map holds other than classes, or not as many positions of each
// as layout says; levels are then unspecified.
Status restore(std::span<const int16_t> values, const Layout& layout,
               std::span<int16_t> levels) noexcept;

}  // namespace fmtc
