#pragma once

#include <cstdint>
#include <limits>

#include "core/positions.h"
#include "ops/checks.h"

namespace fmtc::ops {

// Images in the order in which they are coded where positions have classes (core/positions.h).
struct Arranged {
  Tensor values;     // int16 [N, values of an arrangement]
  Tensor positions;  // int64 [N, classes], how many each class has
};

// How images of the shape of levels [N, K, H, W] are cut with the maps of their classes, uint8
// [N, ceil(H / 2), ceil(W / 2)]; of both the shapes are checked, but not what the maps hold.
inline Layout check_maps(const char* op, const Tensor& levels, const Tensor& maps, int classes) {
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  for (int64_t dim = 1; dim < 4; ++dim)
    check_between(op, "a dimension", levels.size(dim), 0, kMost);
  const Layout layout{static_cast<uint32_t>(levels.size(1)), static_cast<uint32_t>(levels.size(2)),
                      static_cast<uint32_t>(levels.size(3)), classes};
  check_dtype(op, "classes", maps, ScalarType::Byte);
  check_dim(op, "classes", maps, 3, "[N, ceil(H / 2), ceil(W / 2)]");
  check_size(op, "classes", maps, 0, levels.size(0), "the images N of levels");
  check_size(op, "classes", maps, 1, static_cast<int64_t>(layout.map_height()), "ceil(H / 2)");
  check_size(op, "classes", maps, 2, static_cast<int64_t>(layout.map_width()), "ceil(W / 2)");
  return layout;
}

inline constexpr const char* kArrange = "arrange";

// The same for what the operator takes.
inline Layout check_arrange(const Tensor& levels, const Tensor& maps, int64_t num_classes) {
  check_dtype(kArrange, "levels", levels, ScalarType::Short);
  check_dim(kArrange, "levels", levels, 4, "[N, K, H, W]");
  check_between(kArrange, "num_classes", num_classes, kMinPositionClasses, kMaxPositionClasses);
  return check_maps(kArrange, levels, maps, static_cast<int>(num_classes));
}

// levels: int16 [N, K, H, W], contiguous; maps: the class of each cell, checked.
Arranged arrange_images(const char* op, const Tensor& levels, const Tensor& maps, int classes);

}  // namespace fmtc::ops
