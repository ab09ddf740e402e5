// Compiled for AVX-512 F, BW, VL and VNNI; core/predict_sources.cpp calls it where the CPU has
// those. FMTC_EMULATE_AVX512: compiled on SIMDe's portable intrinsics instead, for tests on other
// CPUs.
#if defined(FMTC_EMULATE_AVX512)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#else
#include <immintrin.h>
#endif

#include "core/predict_sources_columns.h"
#include "core/predict_sources_rows.h"

namespace fmtc {
namespace {

// vpdpwssd adds both products in one step, modulo 2^32 as the scalar code.
struct Columns16 {
  static constexpr size_t kColumns = 16;
  using Type = __m512i;

  static __mmask16 first(size_t count) { return static_cast<__mmask16>((1U << count) - 1); }
  static Type zero() { return _mm512_setzero_si512(); }
  static Type all(int32_t factor) { return _mm512_set1_epi32(factor); }
  static Type pairs(const int16_t* from, size_t count) {
    return _mm512_mask_loadu_epi32(zero(), first(count), from);
  }
  static Type add_products(Type sums, Type two, Type factor) {
    return _mm512_dpwssd_epi32(sums, two, factor);
  }
  static void store(Type sums, uint32_t* to, size_t count) {
    _mm512_mask_storeu_epi32(to, first(count), sums);
  }
};

struct FewColumns : Columns8 {
  static Type add_products(Type sums, Type two, Type factor) {
    return _mm256_dpwssd_epi32(sums, two, factor);
  }
};

}  // namespace

void cross_rows_avx512(CrossRow row, size_t height) noexcept {
  cross_rows<Columns16, FewColumns, 8>(row, height);
}

}  // namespace fmtc
