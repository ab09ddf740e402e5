#pragma once

#include <cstdint>
#include <span>

#include "core/moments.h"
#include "core/status.h"

namespace fmtc {

// The DCT over positions and the quantiser in one pass (docs/method.md, "Frequencies").
//
// Each component of an image is cut into blocks of size x size positions, of which the last ones
// are completed by mirroring their rows and columns. Of a block of 1 or 2 rows, or columns,
// frequencies are then 0 that the way back leaves 0 as well: what was decoded has the same levels
// again. Of a block, frequency fy * size + fx is the coefficient of the orthonormal DCT-II; the
// frequencies that are coded each make a plane of levels, a value a block. Sums are float32, in one
// order; two CPUs may round differently, as one may have fused multiply-adds.

// What becomes a plane of levels.
struct Frequencies {
  int64_t size;    // of the blocks: 2 or 4
  int64_t planes;  // P
  // [components, size * size]: the plane of each frequency, -1 where it is not coded. Each of the
  // planes is there once.
  std::span<const int32_t> places;
  std::span<const float> steps;  // [size * size]: of the quantiser, > 0

  int64_t count() const noexcept { return size * size; }
};

// A tensor of components [images, components, height, width].
struct ComponentShape {
  int64_t images, components, height, width;

  int64_t plane() const noexcept { return height * width; }
};

// levels [images, P, ceil(height / size), ceil(width / size)] of y, see core/quantize.h.
//   y        of this shape, finite or not;  lo, hi  as for quantize
//   clamped  becomes the number of values outside
// kBadArgument for sizes that do not match, frequencies that are none or a wrong interval;
// kOutOfMemory. Then nothing is written.
Status dct_quantize(std::span<const float> y, const ComponentShape& shape,
                    const Frequencies& frequencies, int32_t lo, int32_t hi,
                    std::span<int16_t> levels, int64_t& clamped,
                    const ForEach& for_each = for_each_serial);

// The way back: y of this shape from such levels, planes that are not coded being 0. What completed
// the last blocks is cut off. Errors as above.
Status dequantize_dct(std::span<const int16_t> levels, const ComponentShape& shape,
                      const Frequencies& frequencies, std::span<float> y,
                      const ForEach& for_each = for_each_serial);

}  // namespace fmtc
