#pragma once

// Look-ups of the kernels for x86; the including file brings the intrinsics, see rans_rounds.h.
// Loads one by one: on no AMD CPU so far is a gather faster, nor on those of Intel whose microcode
// keeps gathers from leaking data.
#include "core/rans_rounds.h"

namespace fmtc {
namespace {

// entries[level - lo] of 4 levels.
FMTC_INLINE __m128i lookup_levels_4(const uint32_t* entries, const int16_t* levels, int32_t lo) {
  const auto entry = [=](int i) __attribute__((always_inline)) {
    return static_cast<int>(entries[int64_t{levels[i]} - lo]);
  };
  const __m128i low = _mm_insert_epi32(_mm_cvtsi32_si128(entry(0)), entry(1), 1);
  const __m128i high = _mm_insert_epi32(_mm_cvtsi32_si128(entry(2)), entry(3), 1);
  return _mm_unpacklo_epi64(low, high);
}

// entries[index] of 4 indices.
FMTC_INLINE __m128i lookup_4(const uint32_t* entries, __m128i index) {
  const auto pair = [entries](int64_t indices) __attribute__((always_inline)) {
    const auto i = static_cast<uint64_t>(indices);
    const __m128i first = _mm_cvtsi32_si128(static_cast<int>(entries[static_cast<uint32_t>(i)]));
    return _mm_insert_epi32(first, static_cast<int>(entries[i >> 32]), 1);
  };
  return _mm_unpacklo_epi64(pair(_mm_cvtsi128_si64(index)), pair(_mm_extract_epi64(index, 1)));
}

}  // namespace
}  // namespace fmtc
