#pragma once

#include <cstdint>

#include "core/scaled.h"
#include "cuda/half.h"
#include "cuda/stream.h"

namespace fmtc::cuda {

// Images [channels, positions] and their planes of levels.
struct ScaledShape {
  int64_t images;
  int64_t channels;
  int64_t positions;
};

// Levels as core/scaled.h defines them.
//   y        device, [images, channels, positions], as aligned as Y: Half, BFloat16, float, double
//   scaled   valid
//   levels   device, written: [images, channels + scales_of(channels, block), positions]
//   clamped  device, [1]: becomes the number of values outside the levels
template <typename Y>
void quantize_scaled(Stream stream, const Y* y, const ScaledShape& shape, const Scaled& scaled,
                     int16_t* levels, int64_t* clamped);

// The inverse: y is written.
template <typename Y>
void dequantize_scaled(Stream stream, const int16_t* levels, const ScaledShape& shape,
                       const Scaled& scaled, Y* y);

}  // namespace fmtc::cuda
