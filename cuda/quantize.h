#pragma once

#include <cstdint>

#include "cuda/half.h"
#include "cuda/stream.h"

namespace fmtc::cuda {

// levels[i] of y[i] as core/quantize.h defines them, divided in T.
//   y        device, [count], as aligned as Y: Half, BFloat16 or float with T = float, or double
//   levels   device, [count], aligned to 2 bytes
//   clamped  device, [1]: becomes the number of values outside lo .. hi, NaN included
template <typename Y, typename T>
void quantize(Stream stream, const Y* y, int64_t count, T step, int32_t lo, int32_t hi,
              int16_t* levels, int64_t* clamped);

}  // namespace fmtc::cuda
