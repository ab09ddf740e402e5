#include "core/simd.h"

namespace fmtc {

const char* simd_level() noexcept {
#if defined(FMTC_HAS_MULTIVERSION)
  if (__builtin_cpu_supports("x86-64-v4")) return "avx512";
  if (__builtin_cpu_supports("x86-64-v3")) return "avx2";
#endif
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return "sse4.2";
#endif
  return "baseline";
}

}  // namespace fmtc
