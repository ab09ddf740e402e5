#pragma once

// Eight sums, for core/predict_sources_rows.h; to be included where the intrinsics of AVX2 are, or
// their emulation.
#include <cstddef>
#include <cstdint>

namespace fmtc {
namespace {

struct Columns8 {
  static constexpr size_t kColumns = 8;
  using Type = __m256i;

  static Type zero() { return _mm256_setzero_si256(); }
  static Type all(int32_t factor) { return _mm256_set1_epi32(factor); }
  // Rows go on behind their width, so that all may be read.
  static Type pairs(const int16_t* from, size_t) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static Type add_products(Type sums, Type two, Type factor) {
    return _mm256_add_epi32(sums, _mm256_madd_epi16(two, factor));
  }
  static void store(Type sums, uint32_t* to, size_t count) {
    if (count == kColumns) return _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), sums);
    __m128i left = _mm256_castsi256_si128(sums);
    if ((count & 4) != 0) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), left);
      left = _mm256_extracti128_si256(sums, 1);
      to += 4;
    }
    if ((count & 2) != 0) {
      _mm_storel_epi64(reinterpret_cast<__m128i*>(to), left);
      left = _mm_unpackhi_epi64(left, left);
      to += 2;
    }
    if ((count & 1) != 0) *to = static_cast<uint32_t>(_mm_cvtsi128_si32(left));
  }
};

}  // namespace
}  // namespace fmtc
