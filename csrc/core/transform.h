#pragma once

#include <cstdint>
#include <span>

#include "core/moments.h"
#include "core/status.h"

namespace fmtc {

// The channel transform (docs/method.md, "Transform"), alone or in one pass with the quantiser
// beside it: the transformed values between them are then never written to memory.
//
// A product is summed over the columns in their order and the offset is added last, for each pixel
// alone: results depend neither on the other pixels and images nor on the number of threads. Two
// CPUs may round differently, as one may have fused multiply-adds.

// out = values * in + offset for the channels of each pixel.
struct ChannelMatrix {
  std::span<const float> values;  // [rows, columns]
  std::span<const float> offset;  // [rows]

  int64_t rows() const noexcept { return static_cast<int64_t>(offset.size()); }
  int64_t columns() const noexcept {
    return rows() == 0 ? 0 : static_cast<int64_t>(values.size()) / rows();
  }
};

// y = min(max(matrix * x + offset, least), most): the product, and an activation.
//   x            [images, columns, plane], finite or not;  plane: height * width
//   least, most  least <= most; -infinity and infinity leave values as they are
//   y            [images, rows, plane], written
// kBadArgument for sizes that do not match or wrong limits; kOutOfMemory.
Status transform_channels(std::span<const float> x, int64_t images, int64_t plane,
                          const ChannelMatrix& matrix, float least, float most, std::span<float> y,
                          const ForEach& for_each = for_each_serial);

// levels = quantize(matrix * x + offset), see core/quantize.h.
//   x        [images, columns, plane], finite or not
//   step, lo, hi  as for quantize
//   levels   [images, rows, plane], written;  clamped: becomes the number of values outside
// kBadArgument for sizes that do not match or a wrong step or interval; kOutOfMemory.
Status transform_quantize(std::span<const float> x, int64_t images, int64_t plane,
                          const ChannelMatrix& matrix, float step, int32_t lo, int32_t hi,
                          std::span<int16_t> levels, int64_t& clamped,
                          const ForEach& for_each = for_each_serial);

// x = min(max(matrix * (levels * step) + offset, least), most): the way back, and an activation.
//   levels  [images, columns, plane];  step finite
//   least, most  as for transform_channels
//   x       [images, rows, plane], written
// kBadArgument for sizes that do not match or a wrong step or limits; kOutOfMemory.
Status dequantize_transform(std::span<const int16_t> levels, int64_t images, int64_t plane,
                            const ChannelMatrix& matrix, float step, float least, float most,
                            std::span<float> x, const ForEach& for_each = for_each_serial);

}  // namespace fmtc
