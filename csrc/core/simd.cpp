#include "core/simd.h"

#if defined(FMTC_X86_KERNELS)
#include <cpuid.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <string_view>

namespace fmtc {
namespace {

#if defined(FMTC_X86_KERNELS)
// Not a name that __builtin_cpu_supports has with all compilers.
bool has_lzcnt() noexcept {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_LZCNT) != 0;
}
#endif

Simd detect() noexcept {
#if defined(FMTC_X86_KERNELS)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                    __builtin_cpu_supports("popcnt") && has_lzcnt();
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (avx2 && avx512) return Simd::kAvx512;
  if (avx2) return Simd::kAvx2;
#elif defined(FMTC_NEON_KERNELS)
  return Simd::kNeon;  // all CPUs of this architecture have it
#endif
  return Simd::kScalar;
}

Simd allowed() noexcept {
  const char* wanted = std::getenv("FMTC_SIMD");
  for (const Simd simd : kSimds) {
    if (wanted != nullptr && std::string_view(wanted) == name(simd)) return simd;
  }
  return kSimds.back();
}

}  // namespace

Simd cpu_simd() noexcept {
  static const Simd best = std::min(detect(), allowed());
  return best;
}

const char* name(Simd simd) noexcept {
  switch (simd) {
    case Simd::kNeon:
      return "neon";
    case Simd::kAvx2:
      return "avx2";
    case Simd::kAvx512:
      return "avx512";
    case Simd::kScalar:
      break;
  }
  return "scalar";
}

}  // namespace fmtc
