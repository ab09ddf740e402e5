#pragma once

// Look-ups of the kernels for x86; the including file brings the intrinsics, see rans_vector.h.
// Loads one by one: on no AMD CPU so far is a gather faster, nor on those of Intel whose microcode
// keeps gathers from leaking data.
#include "core/rans_vector.h"

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

template <class T>
FMTC_INLINE T load_as(const uint8_t* from) {
  T value;
  __builtin_memcpy(&value, from, sizeof(T));
  return value;
}

// The next kStates digits of each chunk that has lanes here, 8 bytes in all; 4 / kStates chunks of
// kStates lanes, which all say where their chunk's digits are.
template <int kStates>
FMTC_INLINE __m128i load_digits_4(const uint8_t* digits, __m128i next) {
  const auto low = static_cast<uint64_t>(_mm_cvtsi128_si64(next));
  const uint8_t* first = digits + static_cast<uint32_t>(low);
  if constexpr (kStates == 4) {
    return _mm_cvtsi64_si128(load_as<int64_t>(first));
  } else {
    const auto high = static_cast<uint64_t>(_mm_extract_epi64(next, 1));
    const uint8_t* third = digits + static_cast<uint32_t>(high);
    if constexpr (kStates == 2) {
      return _mm_insert_epi32(_mm_cvtsi32_si128(load_as<int>(first)), load_as<int>(third), 1);
    } else {
      __m128i result = _mm_cvtsi32_si128(load_as<uint16_t>(first));
      result = _mm_insert_epi16(result, load_as<uint16_t>(digits + (low >> 32)), 1);
      result = _mm_insert_epi16(result, load_as<uint16_t>(third), 2);
      return _mm_insert_epi16(result, load_as<uint16_t>(digits + (high >> 32)), 3);
    }
  }
}

}  // namespace
}  // namespace fmtc
