#pragma once

namespace fmtc {

// The instruction sets that vector code is written and loops are compiled for
// (core/multiversion.h), each better than those before.
enum class Simd : int { kScalar = 0, kAvx2 = 1, kAvx512 = 2 };

// The best of them that this CPU has, or that the environment variable FMTC_SIMD names (scalar,
// avx2, avx512) if that is less. Looked up once.
Simd cpu_simd() noexcept;

const char* name(Simd simd) noexcept;

}  // namespace fmtc
