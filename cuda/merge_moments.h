#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace fmtc::cuda {

// A set of moments as core/moments.h has them; device.
struct Moments {
  const int64_t* count;  // [1]
  const double* mean;    // [channels]
  const double* m2;      // [channels, channels]
};

// The moments of both sets; written: count [1], mean [channels], m2 [channels, channels]. Where a
// count is negative or their sum too large, count becomes -1 and the rest NaN.
void merge_moments(Stream stream, const Moments& a, const Moments& b, int64_t channels,
                   int64_t* count, double* mean, double* m2);

}  // namespace fmtc::cuda
