#pragma once

#include <cstdint>

#include "cuda/half.h"
#include "cuda/stream.h"

namespace fmtc::cuda {

// out = matrix * in + offset for the channels of each pixel, as core/transform.h has it: a product
// is summed over the columns in their order, with fused multiply-adds.
struct ChannelProduct {
  const float* matrix;  // device, [rows, columns]
  const float* offset;  // device, [rows]
  int64_t rows, columns;
  int64_t images, plane;  // of in [images, columns, plane] and out [images, rows, plane]
};

// y = min(max(matrix * x + offset, least), most).
//   x  device, [images, columns, plane]: Half, BFloat16, float or double (rounded to float)
//   y  device, [images, rows, plane]
template <typename X>
void transform_channels(Stream stream, const ChannelProduct& product, const X* x, float least,
                        float most, float* y);

// levels = quantize(matrix * x + offset).
//   x        device, [images, columns, plane]: Half, BFloat16, float or double (rounded to float)
//   levels   device, [images, rows, plane]
//   clamped  device, [1]: becomes the number of values outside lo .. hi, NaN included
template <typename X>
void transform_quantize(Stream stream, const ChannelProduct& product, const X* x, float step,
                        int32_t lo, int32_t hi, int16_t* levels, int64_t* clamped);

// x = min(max(matrix * (levels * step) + offset, least), most), rounded to X.
//   levels  device, [images, columns, plane]
//   x       device, [images, rows, plane]: Half, BFloat16, float or double
template <typename X>
void dequantize_transform(Stream stream, const ChannelProduct& product, const int16_t* levels,
                          float step, float least, float most, X* x);

}  // namespace fmtc::cuda
