#pragma once

// Plain loops that vectorise, compiled once for each instruction set and chosen at run time, so
// that one binary serves all CPUs without -march flags. A loop is a function that is always
// inlined,
//
//   FMTC_ALWAYS_INLINE void add(const float* x, size_t count, float* y) noexcept { ... }
//   multiversion<add>(x, count, y);
//
// and so must be the helpers that it calls, to profit. Loops are the same everywhere but for the
// rounding of floating-point sums, which a fused multiply-add rounds once.
#include "core/simd.h"

#define FMTC_ALWAYS_INLINE __attribute__((always_inline)) inline

namespace fmtc {
namespace {

#if defined(__x86_64__)
// As the vector kernels of core/CMakeLists.txt are compiled, and cpu_simd() asks for.
template <auto loop, typename... Args>
__attribute__((target("avx2,fma,bmi,bmi2,lzcnt,popcnt"))) auto run_avx2(Args... args) {
  return loop(static_cast<Args>(args)...);
}
template <auto loop, typename... Args>
__attribute__((target("avx2,fma,bmi,bmi2,lzcnt,popcnt,avx512f,avx512bw,avx512dq,avx512vl"))) auto
run_avx512(Args... args) {
  return loop(static_cast<Args>(args)...);
}
#endif

// Runs a loop as it was compiled for the best instructions of this CPU.
template <auto loop, typename... Args>
auto multiversion(Args&&... args) {
#if defined(__x86_64__)
  switch (cpu_simd()) {
    case Simd::kAvx512:
      return run_avx512<loop, Args&&...>(static_cast<Args&&>(args)...);
    case Simd::kAvx2:
      return run_avx2<loop, Args&&...>(static_cast<Args&&>(args)...);
    case Simd::kNeon:  // another architecture's
    case Simd::kScalar:
      break;
  }
#endif
  return loop(static_cast<Args&&>(args)...);
}

}  // namespace
}  // namespace fmtc
