#pragma once

#include <cstdint>

#include "core/positions.h"
#include "ops/checks.h"

namespace fmtc::ops {

// Images in the order in which they are coded where positions have classes (core/positions.h).
struct Arranged {
  Tensor values;     // int16 [N, values of an arrangement]
  Tensor positions;  // int64 [N, classes], how many each class has
};

// levels: int16 [N, K, H, W], contiguous; maps: the class of each block, uint8
// [N, ceil(H / 2), ceil(W / 2)], checked.
Arranged arrange_images(const char* op, const Tensor& levels, const Tensor& maps, int classes);

}  // namespace fmtc::ops
