#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace fmtc::cuda {

// The entropy of histograms in bits/symbol, as core/entropy.h defines it but for the order of the
// sums; NaN where a count is negative.
//   counts  device, [histograms, symbols];  bits: device, [histograms]
void entropy(Stream stream, const int64_t* counts, int64_t histograms, int64_t symbols,
             double* bits);

}  // namespace fmtc::cuda
