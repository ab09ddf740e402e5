#pragma once

#include <vector>

#include "core/rans.h"
#include "core/rans_kernels.h"

namespace fmtc {

#if defined(FMTC_EMULATED_AVX512)
extern const RansKernels kRansAvx512Emulated;
#endif

// The rANS kernels that this machine can run, first none: the scalar code.
inline std::vector<const RansKernels*> all_kernels() {
  std::vector<const RansKernels*> all;
  for (const Simd simd : kSimds) {
    if (simd <= cpu_simd()) all.push_back(rans_kernels(simd));
  }
#if defined(FMTC_EMULATED_AVX512)
  all.push_back(&kRansAvx512Emulated);
#endif
  return all;
}

}  // namespace fmtc
