// Compiled for AVX2; core/predict_sources.cpp calls it where the CPU has that.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "core/predict_sources.h"

namespace fmtc {
namespace {

constexpr size_t kVector = 8;

// `vectors` times kVector sums from column `begin` on, which stay in registers.
template <size_t vectors>
inline void sum_columns(const CrossRow& row, size_t begin, __m256i* sums) noexcept {
  for (size_t v = 0; v < vectors; ++v) sums[v] = _mm256_setzero_si256();
  const int32_t* factor = row.factors;
  for (size_t pair = 0; pair < row.count; ++pair) {
    const int16_t* q = row.pairs + pair * row.plane + 2 * begin;
    for (size_t y = 0; y < 3; ++y, q += row.row) {
      for (size_t x = 0; x < 3; ++x) {
        const __m256i two = _mm256_set1_epi32(*factor++);
        for (size_t v = 0; v < vectors; ++v) {
          const auto* from = reinterpret_cast<const __m256i*>(q + 2 * (x + v * kVector));
          // Both products and their sum are modulo 2^32, as the scalar code's.
          sums[v] = _mm256_add_epi32(sums[v], _mm256_madd_epi16(_mm256_loadu_si256(from), two));
        }
      }
    }
  }
}

}  // namespace

void cross_row_avx2(const CrossRow& row) noexcept {
  size_t w = 0;
  constexpr size_t kTogether = 4;
  __m256i sums[kTogether];
  for (; w + kTogether * kVector <= row.width; w += kTogether * kVector) {
    sum_columns<kTogether>(row, w, sums);
    std::memcpy(row.cross + w, sums, sizeof sums);
  }
  for (; w < row.width; w += kVector) {
    sum_columns<1>(row, w, sums);
    std::memcpy(row.cross + w, sums, std::min(kVector, row.width - w) * sizeof(uint32_t));
  }
}

}  // namespace fmtc
