#pragma once

#include <cstdint>

#include "cuda/half.h"
#include "cuda/stream.h"

namespace fmtc::cuda {

// As core/frequencies.h has them, with tables on the device.
struct DctShape {
  int64_t images, components, height, width;
  int64_t size;    // of the blocks: 2 or 4
  int64_t planes;  // of levels

  FMTC_HD int64_t rows() const { return (height + size - 1) / size; }
  FMTC_HD int64_t columns() const { return (width + size - 1) / size; }
};

// Levels [images, planes, rows, columns] of y [images, components, height, width].
//   y        device, as aligned as Y: Half, BFloat16, float or double
//   places   device, [components, size * size]: planes of frequencies, -1 for none; others are
//            taken for none
//   steps    device, [size * size], > 0
//   levels   device, written;  clamped  device, [1]: becomes the number of values outside
template <typename Y>
void dct_quantize(Stream stream, const Y* y, const DctShape& shape, const int32_t* places,
                  const float* steps, int32_t lo, int32_t hi, int16_t* levels, int64_t* clamped);

// The inverse: y is written.
template <typename Y>
void dequantize_dct(Stream stream, const int16_t* levels, const DctShape& shape,
                    const int32_t* places, const float* steps, Y* y);

}  // namespace fmtc::cuda
