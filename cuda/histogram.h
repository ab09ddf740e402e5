#pragma once

#include <cstdint>

#include "cuda/planes.h"
#include "cuda/stream.h"

namespace fmtc::cuda {

// Groups of components or of segments, and what is counted for each.
struct Histograms {
  int32_t lo, hi;
  const int64_t*
      groups;  // device: of each component; what is none of 0 .. num_groups - 1 is left out
  int64_t num_groups;
  int64_t* counts;  // device, [num_groups, symbols()]

  int64_t symbols() const { return int64_t{hi} - lo + 1; }
};

// How often each level from lo to hi occurs in each group of components; others are left out.
//   levels  device, of planes
void histogram(Stream stream, const int16_t* levels, const Planes& planes,
               const Histograms& histograms);

}  // namespace fmtc::cuda
