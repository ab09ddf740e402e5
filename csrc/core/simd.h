#pragma once

#include <array>

namespace fmtc {

// The instruction sets that vector code is written and loops are compiled for
// (core/multiversion.h), each better than those before that the same machine may have.
enum class Simd : int { kScalar = 0, kNeon = 1, kAvx2 = 2, kAvx512 = 3 };

// Those that a CPU of this architecture may have, best last.
#if defined(__x86_64__)
inline constexpr std::array kSimds = {Simd::kScalar, Simd::kAvx2, Simd::kAvx512};
#elif defined(__aarch64__)
inline constexpr std::array kSimds = {Simd::kScalar, Simd::kNeon};
#else
inline constexpr std::array kSimds = {Simd::kScalar};
#endif

// The best of them that this CPU has, or that the environment variable FMTC_SIMD names (scalar,
// neon, avx2, avx512) if that is less. Looked up once.
Simd cpu_simd() noexcept;

const char* name(Simd simd) noexcept;

}  // namespace fmtc
