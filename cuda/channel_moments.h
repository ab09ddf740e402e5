#pragma once

#include <cstdint>

#include "cuda/half.h"
#include "cuda/planes.h"
#include "cuda/stream.h"

namespace fmtc::cuda {

// How the work on planes is split into parts that are summed apart: by the shape alone, so that the
// same tensor always gives the same moments. The memory for the parts' sums is the caller's.
struct MomentsPlan {
  explicit MomentsPlan(const Planes& planes);

  int64_t mean_parts;     // of each channel's values
  int64_t product_parts;  // of the pixels
  int64_t mean_sums;      // how many doubles: [channels, mean_parts]
  int64_t product_sums;   // [product_parts, channels, channels]
};

// The moments of channels as core/moments.h defines them, in double.
//   x           device, of planes, as aligned as T: Half, BFloat16, float or double
//   sums        device, room for the larger of plan.mean_sums and plan.product_sums
//   count [1], mean [channels], m2 [channels, channels]: device, written
template <typename T>
void channel_moments(Stream stream, const T* x, const Planes& planes, const MomentsPlan& plan,
                     double* sums, int64_t* count, double* mean, double* m2);

}  // namespace fmtc::cuda
