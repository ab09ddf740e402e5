// rANS kernels for CPUs with AVX-512 F, BW and VL; see rans_vector.h for what may be included here.
// FMTC_EMULATE_AVX512: compiled on SIMDe's portable intrinsics instead, for tests on other CPUs.
#if defined(FMTC_EMULATE_AVX512)
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx2.h>
#include <simde/x86/avx512.h>
#include <simde/x86/fma.h>
#else
#include <immintrin.h>
#endif

#include "core/rans_lookup.h"
#include "core/rans_vector.h"

// Elements and vectors of a round are counted in ints, and no product of them is above 64.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)

namespace fmtc {
namespace {

#if defined(FMTC_EMULATE_AVX512)  // what SIMDe lacks
__m256i narrow(__m512i a) {
  alignas(64) uint32_t wide[16];
  alignas(32) uint16_t low[16];
  _mm512_store_si512(wide, a);
  for (int i = 0; i < 16; ++i) low[i] = static_cast<uint16_t>(wide[i]);
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(low));
}

__m512i expand(__mmask16 mask, __m512i a) {
  alignas(64) uint32_t from[16];
  alignas(64) uint32_t to[16];
  _mm512_store_si512(from, a);
  for (int i = 0, next = 0; i < 16; ++i) to[i] = (mask >> i & 1) != 0 ? from[next++] : 0;
  return _mm512_load_si512(to);
}
#else
// The low 16 bits of each element.
FMTC_INLINE __m256i narrow(__m512i a) { return _mm512_cvtepi32_epi16(a); }
// Element j of a goes to the j-th element of the mask; other elements become 0.
FMTC_INLINE __m512i expand(__mmask16 mask, __m512i a) { return _mm512_maskz_expand_epi32(mask, a); }
#endif

struct Avx512 {
  using Vector = __m512i;
  using Mask = __mmask16;
  static constexpr int kElements = 16;

  FMTC_INLINE static Vector all(uint32_t value) {
    return _mm512_set1_epi32(static_cast<int>(value));
  }
  FMTC_INLINE static Vector load(const uint32_t* from) { return _mm512_load_si512(from); }
  FMTC_INLINE static void store(uint32_t* to, Vector a) { _mm512_store_si512(to, a); }
  FMTC_INLINE static Vector add(Vector a, Vector b) { return _mm512_add_epi32(a, b); }
  FMTC_INLINE static Vector sub(Vector a, Vector b) { return _mm512_sub_epi32(a, b); }
  FMTC_INLINE static Vector multiply(Vector a, Vector b) { return _mm512_mullo_epi32(a, b); }
  FMTC_INLINE static Vector bit_and(Vector a, Vector b) { return _mm512_and_si512(a, b); }
  FMTC_INLINE static Vector bit_or(Vector a, Vector b) { return _mm512_or_si512(a, b); }
  template <int kCount>
  FMTC_INLINE static Vector right(Vector a) {
    return _mm512_srli_epi32(a, kCount);
  }
  template <int kCount>
  FMTC_INLINE static Vector left(Vector a) {
    return _mm512_slli_epi32(a, kCount);
  }
  FMTC_INLINE static Mask equal(Vector a, Vector b) { return _mm512_cmpeq_epi32_mask(a, b); }
  // a > b, both below 2^31.
  FMTC_INLINE static Mask greater(Vector a, Vector b) { return _mm512_cmpgt_epi32_mask(a, b); }
  FMTC_INLINE static uint32_t bits(Mask mask) { return mask; }
  FMTC_INLINE static Mask none() { return 0; }
  FMTC_INLINE static Mask either(Mask a, Mask b) { return static_cast<Mask>(a | b); }
  FMTC_INLINE static bool some(Mask mask) { return mask != 0; }
  FMTC_INLINE static Vector where(Mask mask, Vector a, Vector b) {
    return _mm512_mask_blend_epi32(mask, b, a);
  }
  // a + b where the mask is, else a.
  FMTC_INLINE static Vector add_where(Mask mask, Vector a, Vector b) {
    return _mm512_mask_add_epi32(a, mask, a, b);
  }

  FMTC_INLINE static Vector join(__m128i a, __m128i b, __m128i c, __m128i d) {
    const __m256i low = _mm256_inserti128_si256(_mm256_castsi128_si256(a), b, 1);
    const __m256i high = _mm256_inserti128_si256(_mm256_castsi128_si256(c), d, 1);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
  }

  FMTC_INLINE static Vector lookup(const uint32_t* entries, Vector index) {
    return join(lookup_4(entries, _mm512_extracti32x4_epi32(index, 0)),
                lookup_4(entries, _mm512_extracti32x4_epi32(index, 1)),
                lookup_4(entries, _mm512_extracti32x4_epi32(index, 2)),
                lookup_4(entries, _mm512_extracti32x4_epi32(index, 3)));
  }

  FMTC_INLINE static Vector lookup_levels(const uint32_t* entries, const int16_t* levels,
                                          int32_t lo) {
    return join(lookup_levels_4(entries, levels, lo), lookup_levels_4(entries, levels + 4, lo),
                lookup_levels_4(entries, levels + 8, lo),
                lookup_levels_4(entries, levels + 12, lo));
  }

  FMTC_INLINE static __m256i load_levels(const int16_t* levels) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(levels));
  }

  // Whether all levels of a round are from lo to lo + direct - 1; direct > 0.
  template <int kVectors>
  FMTC_INLINE static bool within(const int16_t* levels, int32_t lo, uint32_t direct) {
    const __m256i lowest = _mm256_set1_epi16(static_cast<int16_t>(lo));
    __m256i most = _mm256_setzero_si256();
    for (int v = 0; v < kVectors; ++v) {
      const __m256i symbol = _mm256_sub_epi16(load_levels(levels + v * kElements), lowest);
      most = _mm256_max_epu16(most, symbol);
    }
    const __m256i last = _mm256_set1_epi16(static_cast<int16_t>(direct - 1));
    const __m256i beyond = _mm256_subs_epu16(most, last);
    return _mm256_testz_si256(beyond, beyond) != 0;
  }

  // level - lo of 16 levels, at most `direct`: what is below lo wraps around to the top.
  FMTC_INLINE static Vector symbols(const int16_t* levels, int32_t lo, uint32_t direct) {
    const __m256i lowest = _mm256_set1_epi16(static_cast<int16_t>(lo));
    const __m256i symbol = _mm256_sub_epi16(load_levels(levels), lowest);
    const __m256i most = _mm256_set1_epi16(static_cast<int16_t>(direct));
    return _mm512_cvtepu16_epi32(_mm256_min_epu16(symbol, most));
  }

  // floor(x / f) or 1 less, for x < f * 2^20 and 1 <= f <= 2^12; as for AVX2.
  FMTC_INLINE static Vector quotient(Vector x, Vector f) {
    const __m512 reciprocal = _mm512_div_ps(_mm512_set1_ps(1), _mm512_cvtepi32_ps(f));
    return _mm512_cvttps_epi32(
        _mm512_fmsub_ps(_mm512_cvtepu32_ps(x), reciprocal, _mm512_set1_ps(0.25f)));
  }

  // Writes the low 16 bits of the elements in the mask in front of `digits`; 32 bytes there are
  // overwritten.
  FMTC_INLINE static uint8_t* push_digits(Vector x, Mask mask, uint8_t* digits) {
    const auto count = static_cast<size_t>(__builtin_popcount(mask));
    const __m256i packed = narrow(_mm512_maskz_compress_epi32(mask, x));
    // To the end: digit j becomes digit j - count, modulo 16.
    const __m256i first = _mm256_set_epi16(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m256i from = _mm256_add_epi16(first, _mm256_set1_epi16(static_cast<int16_t>(count)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(digits - 32),
                        _mm256_permutexvar_epi16(from, packed));
    return digits - 2 * count;
  }

  // Fills up elements below 2^16, each with the next digit; 32 bytes at `digits` are read.
  FMTC_INLINE static Vector pull_digits(Vector x, const uint8_t*& digits) {
    const Mask low = equal(right<16>(x), all(0));
    const __m256i next = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(digits));
    const Vector filling = expand(low, _mm512_cvtepu16_epi32(next));
    digits += 2 * static_cast<size_t>(__builtin_popcount(low));
    return _mm512_mask_or_epi32(x, low, _mm512_slli_epi32(x, 16), filling);
  }

  template <int kStates>
  FMTC_INLINE static Vector load_digits(const uint8_t* digits, Vector next) {
    return join(load_digits_4<kStates>(digits, _mm512_extracti32x4_epi32(next, 0)),
                load_digits_4<kStates>(digits, _mm512_extracti32x4_epi32(next, 1)),
                load_digits_4<kStates>(digits, _mm512_extracti32x4_epi32(next, 2)),
                load_digits_4<kStates>(digits, _mm512_extracti32x4_epi32(next, 3)));
  }

  // Bytes of `a` within each quarter of a vector, as QuarterBytes says; 16 bytes in all of them.
  FMTC_INLINE static Vector shuffle_bytes(Vector a, Vector from) {
    return _mm512_shuffle_epi8(a, from);
  }
  FMTC_INLINE static Vector repeat(const uint8_t* quarter) {
    return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(quarter)));
  }

  // Stores the levels of a round; returns whether any symbol is `escape`.
  template <int kVectors>
  FMTC_INLINE static bool store_levels(const Vector* symbols, const uint16_t* offset,
                                       int16_t* levels, uint32_t escape) {
    Mask found = 0;
    for (int v = 0; v < kVectors; ++v) {
      found = either(found, equal(symbols[v], all(escape)));
      const __m256i add =
          _mm256_load_si256(reinterpret_cast<const __m256i*>(offset + v * kElements));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(levels + v * kElements),
                          _mm256_add_epi16(narrow(symbols[v]), add));
    }
    return found != 0;
  }
};

}  // namespace

// 8 states or elements are half a vector: the kernels for AVX2 take them.
const RansKernels kRansAvx512 = {
    {{nullptr, nullptr}, kKernel<Avx512, 1>, kKernel<Avx512, 2>, kKernel<Avx512, 4>},
    {nullptr, encode_group<Avx512, 1>, encode_group<Avx512, 2>},
    {{nullptr, decode_group<Avx512, 1, 1>, decode_group<Avx512, 2, 1>},
     {nullptr, decode_group<Avx512, 1, 2>, decode_group<Avx512, 2, 2>},
     {nullptr, decode_group<Avx512, 1, 4>, decode_group<Avx512, 2, 4>},
     {nullptr, nullptr, nullptr}}};

}  // namespace fmtc

// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)
