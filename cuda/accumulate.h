#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace fmtc::cuda {

// total[i] += part[i], modulo 2^64, each atomically: kernels on other streams may add to the same
// total at the same time.
//   part, total  device, [count]
void accumulate(Stream stream, const int64_t* part, int64_t count, int64_t* total);

}  // namespace fmtc::cuda
