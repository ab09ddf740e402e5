// Compiled for AVX2; core/predict_sources.cpp calls it where the CPU has that.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "core/predict_sources.h"

namespace fmtc {
namespace {

constexpr size_t kVector = 8;  // columns of a vector
constexpr size_t kSide = 3;    // of a window

// kVector sums of each of kRows rows from column `begin` on, which stay in registers: a row of the
// sources is loaded once for all of the rows that it is a neighbour of.
template <size_t kRows>
inline void sum_rows(const CrossRow& row, size_t begin, __m256i* sums) noexcept {
  for (size_t r = 0; r < kRows; ++r) sums[r] = _mm256_setzero_si256();
  const int32_t* factors = row.factors;
  for (size_t pair = 0; pair < row.count; ++pair, factors += kWindow) {
    const int16_t* plane = row.pairs + row.planes[pair] + 2 * begin;
    for (size_t x = 0; x < kSide; ++x) {
      __m256i factor[kSide];
      for (size_t y = 0; y < kSide; ++y) factor[y] = _mm256_set1_epi32(factors[y * kSide + x]);
#pragma GCC unroll 8
      for (size_t from = 0; from < kRows + kSide - 1; ++from) {
        const __m256i two =
            _mm256_loadu_si256(reinterpret_cast<const __m256i*>(plane + from * row.row + 2 * x));
#pragma GCC unroll 8
        for (size_t y = 0; y < kSide; ++y) {
          if (from < y || from - y >= kRows) continue;
          // Both products and their sum are modulo 2^32, as the scalar code's.
          sums[from - y] = _mm256_add_epi32(sums[from - y], _mm256_madd_epi16(two, factor[y]));
        }
      }
    }
  }
}

template <size_t kRows>
void cross_some(const CrossRow& row) noexcept {
  __m256i sums[kRows];
  for (size_t w = 0; w < row.width; w += kVector) {
    sum_rows<kRows>(row, w, sums);
    const size_t size = std::min(kVector, row.width - w) * sizeof(uint32_t);
    for (size_t r = 0; r < kRows; ++r) {
      uint32_t* const to = row.cross + r * row.width + w;
      if (size == sizeof(__m256i)) {
        std::memcpy(to, &sums[r], sizeof(__m256i));
      } else {
        std::memcpy(to, &sums[r], size);
      }
    }
  }
}

}  // namespace

void cross_rows_avx2(CrossRow row, size_t height) noexcept {
  constexpr size_t kTogether = 4;
  for (; height >= kTogether; height -= kTogether) {
    cross_some<kTogether>(row);
    row.pairs += kTogether * row.row;
    row.cross += kTogether * row.width;
  }
  if (height == 3) cross_some<3>(row);
  if (height == 2) cross_some<2>(row);
  if (height == 1) cross_some<1>(row);
}

}  // namespace fmtc
