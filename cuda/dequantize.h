#pragma once

#include <cstdint>

#include "cuda/half.h"
#include "cuda/stream.h"

namespace fmtc::cuda {

// y[i] = levels[i] * step, computed in T and rounded to Y.
//   levels  device, [count], aligned to 2 bytes
//   y       device, [count], as aligned as Y: Half, BFloat16 or float with T = float, or double
template <typename Y, typename T>
void dequantize(Stream stream, const int16_t* levels, int64_t count, T step, Y* y);

}  // namespace fmtc::cuda
