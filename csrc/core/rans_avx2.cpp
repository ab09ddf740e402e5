// rANS kernels for CPUs with AVX2, BMI2 and FMA; see rans_rounds.h for what may be included here.
#include <immintrin.h>

#include "core/rans_rounds.h"

namespace fmtc {
namespace {

// For each set of lanes, where pshufb takes the 8 words of a vector from.
struct Shuffles {
  // Word j goes to the j-th lane of the set; other lanes become 0.
  alignas(16) uint8_t expand[256][16];
  // The words of the set's lanes go to the end, in order.
  alignas(16) uint8_t compress[256][16];

  constexpr Shuffles() : expand(), compress() {
    for (int set = 0; set < 256; ++set) {
      int taken = 0;
      for (int lane = 0; lane < 8; ++lane) {
        const bool in_set = (set >> lane & 1) != 0;
        expand[set][2 * lane] = static_cast<uint8_t>(in_set ? 2 * taken : 0x80);
        expand[set][2 * lane + 1] = static_cast<uint8_t>(in_set ? 2 * taken + 1 : 0x80);
        taken += in_set;
      }
      int to = 8 - taken;
      for (int lane = 0; lane < 8; ++lane) {
        if ((set >> lane & 1) == 0) continue;
        compress[set][2 * to] = static_cast<uint8_t>(2 * lane);
        compress[set][2 * to + 1] = static_cast<uint8_t>(2 * lane + 1);
        ++to;
      }
    }
  }
};

constexpr Shuffles kShuffles;

// entries[index] of 4 indices.
FMTC_INLINE __m128i lookup_4(const uint32_t* entries, __m128i index) {
  const auto pair = [entries](int64_t indices) __attribute__((always_inline)) {
    const auto i = static_cast<uint64_t>(indices);
    const __m128i first = _mm_cvtsi32_si128(static_cast<int>(entries[static_cast<uint32_t>(i)]));
    return _mm_insert_epi32(first, static_cast<int>(entries[i >> 32]), 1);
  };
  return _mm_unpacklo_epi64(pair(_mm_cvtsi128_si64(index)), pair(_mm_extract_epi64(index, 1)));
}

struct Avx2 {
  using Vector = __m256i;
  using Mask = __m256i;
  static constexpr int kLanes = 8;

  FMTC_INLINE static Vector all(uint32_t value) {
    return _mm256_set1_epi32(static_cast<int>(value));
  }
  FMTC_INLINE static Vector load(const uint32_t* from) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
  }
  FMTC_INLINE static void store(uint32_t* to, Vector a) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), a);
  }
  FMTC_INLINE static Vector add(Vector a, Vector b) { return _mm256_add_epi32(a, b); }
  FMTC_INLINE static Vector sub(Vector a, Vector b) { return _mm256_sub_epi32(a, b); }
  FMTC_INLINE static Vector multiply(Vector a, Vector b) { return _mm256_mullo_epi32(a, b); }
  FMTC_INLINE static Vector bit_and(Vector a, Vector b) { return _mm256_and_si256(a, b); }
  template <int kCount>
  FMTC_INLINE static Vector right(Vector a) {
    return _mm256_srli_epi32(a, kCount);
  }
  template <int kCount>
  FMTC_INLINE static Vector left(Vector a) {
    return _mm256_slli_epi32(a, kCount);
  }
  FMTC_INLINE static Mask equal(Vector a, Vector b) { return _mm256_cmpeq_epi32(a, b); }
  // a > b, both below 2^31.
  FMTC_INLINE static Mask greater(Vector a, Vector b) { return _mm256_cmpgt_epi32(a, b); }
  FMTC_INLINE static uint32_t bits(Mask mask) {
    return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(mask)));
  }
  FMTC_INLINE static Vector where(Mask mask, Vector a, Vector b) {
    return _mm256_blendv_epi8(b, a, mask);
  }
  // a + b where the mask is, else a.
  FMTC_INLINE static Vector add_where(Mask mask, Vector a, Vector b) {
    return _mm256_add_epi32(a, _mm256_and_si256(mask, b));
  }
  FMTC_INLINE static Vector right_16_where(Mask mask, Vector a) {
    return _mm256_srlv_epi32(a, _mm256_and_si256(mask, all(16)));
  }

  // entries[index]. Loads one by one: no gather is faster on any AMD CPU so far, nor on Intel ones
  // whose microcode keeps gathers from leaking data.
  FMTC_INLINE static Vector lookup(const uint32_t* entries, Vector index) {
    const __m128i low = _mm256_castsi256_si128(index);
    const __m128i high = _mm256_extracti128_si256(index, 1);
    return _mm256_set_m128i(lookup_4(entries, high), lookup_4(entries, low));
  }

  // level - lo of 8 levels, at most `direct`: what is below lo wraps around to the top.
  FMTC_INLINE static Vector symbols(const int16_t* levels, int32_t lo, uint32_t direct) {
    const __m128i level = _mm_loadu_si128(reinterpret_cast<const __m128i*>(levels));
    const __m128i symbol = _mm_sub_epi16(level, _mm_set1_epi16(static_cast<int16_t>(lo)));
    return _mm256_cvtepu16_epi32(
        _mm_min_epu16(symbol, _mm_set1_epi16(static_cast<int16_t>(direct))));
  }

  // floor(x / f) or 1 less, for x < f * 2^20 and 1 <= f <= 2^12.
  FMTC_INLINE static Vector quotient(Vector x, Vector f) {
    const __m256 reciprocal = _mm256_div_ps(_mm256_set1_ps(1), _mm256_cvtepi32_ps(f));
    const __m256 low = _mm256_cvtepi32_ps(x);
    const __m256 high = _mm256_add_ps(low, _mm256_set1_ps(0x1p32f));
    const __m256 value = _mm256_blendv_ps(low, high, _mm256_castsi256_ps(x));
    // Rounded, value is off by at most 2^-23 of it and the reciprocal by 2^-24, so the product,
    // below 2^20, by less than 3/16, and by 1/16 more when it is rounded itself.
    return _mm256_cvttps_epi32(_mm256_fmsub_ps(value, reciprocal, _mm256_set1_ps(0.25f)));
  }

  // Writes the low 16 bits of the lanes in the mask in front of `words`; 16 bytes there are
  // overwritten.
  FMTC_INLINE static uint8_t* push_words(Vector x, Mask mask, uint8_t* words) {
    const uint32_t set = bits(mask);
    const __m256i low = _mm256_and_si256(x, all(0xFFFF));
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    const __m128i shuffle =
        _mm_load_si128(reinterpret_cast<const __m128i*>(kShuffles.compress[set]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(words - 16), _mm_shuffle_epi8(packed, shuffle));
    return words - 2 * _mm_popcnt_u32(set);
  }

  // Fills up lanes below 2^16, each with the next word; 16 bytes at `words` are read.
  FMTC_INLINE static Vector pull_words(Vector x, const uint8_t*& words) {
    const Mask low = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), _mm256_setzero_si256());
    const uint32_t set = bits(low);
    const __m128i next = _mm_loadu_si128(reinterpret_cast<const __m128i*>(words));
    const __m128i shuffle = _mm_load_si128(reinterpret_cast<const __m128i*>(kShuffles.expand[set]));
    const __m256i filling = _mm256_cvtepu16_epi32(_mm_shuffle_epi8(next, shuffle));
    words += 2 * _mm_popcnt_u32(set);
    return _mm256_or_si256(_mm256_sllv_epi32(x, _mm256_and_si256(low, all(16))), filling);
  }

  FMTC_INLINE static void store_levels(Vector symbols, const uint16_t* offset, int16_t* levels) {
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(symbols), _mm256_extracti128_si256(symbols, 1));
    const __m128i add = _mm_load_si128(reinterpret_cast<const __m128i*>(offset));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(levels), _mm_add_epi16(packed, add));
  }

  // Whether any lane is `value`.
  template <int kVectors>
  FMTC_INLINE static bool any(const Vector* a, uint32_t value) {
    Mask found = equal(a[0], all(value));
    for (int v = 1; v < kVectors; ++v) found = _mm256_or_si256(found, equal(a[v], all(value)));
    return _mm256_testz_si256(found, found) == 0;
  }
};

}  // namespace

const RansKernels kRansAvx2 = {
    {kKernel<Avx2, 1>, kKernel<Avx2, 2>, kKernel<Avx2, 4>, kKernel<Avx2, 8>}};

}  // namespace fmtc
