// rANS kernels for CPUs with AVX2, BMI2 and FMA; see rans_vector.h for what may be included here.
#include <immintrin.h>

#include "core/rans_lookup.h"
#include "core/rans_vector.h"

// Elements and vectors of a round are counted in ints, and no product of them is above 64.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)

namespace fmtc {
namespace {

// For each set of elements, where pshufb takes digits of a vector from.
template <int kBytes>
struct Shuffles {
  alignas(kBytes) uint8_t of[256][kBytes];
};

// Digit j of 8 goes to the j-th element of the set; other elements become 0. Twice the bytes that
// the digits need, but a shuffle of whole elements, which takes the states a step less to be ready.
constexpr Shuffles<32> make_expand() {
  Shuffles<32> expand{};
  for (int set = 0; set < 256; ++set) {
    int taken = 0;
    for (int element = 0; element < 8; ++element) {
      const bool in_set = (set >> element & 1) != 0;
      uint8_t* from = expand.of[set] + 4 * element;
      from[0] = static_cast<uint8_t>(in_set ? 2 * taken : 0x80);
      from[1] = static_cast<uint8_t>(in_set ? 2 * taken + 1 : 0x80);
      from[2] = from[3] = 0x80;
      taken += in_set;
    }
  }
  return expand;
}

// Of 8 digits, those of the set's elements go to the end, in order.
constexpr Shuffles<16> make_compress() {
  Shuffles<16> compress{};
  for (int set = 0; set < 256; ++set) {
    int to = 8;
    for (int element = 7; element >= 0; --element) {
      if ((set >> element & 1) == 0) continue;
      --to;
      compress.of[set][2 * to] = static_cast<uint8_t>(2 * element);
      compress.of[set][2 * to + 1] = static_cast<uint8_t>(2 * element + 1);
    }
  }
  return compress;
}

constexpr Shuffles<32> kExpand = make_expand();
constexpr Shuffles<16> kCompress = make_compress();

struct Avx2 {
  using Vector = __m256i;
  using Mask = __m256i;
  static constexpr int kElements = 8;

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
  FMTC_INLINE static Vector bit_or(Vector a, Vector b) { return _mm256_or_si256(a, b); }
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
  FMTC_INLINE static Mask none() { return _mm256_setzero_si256(); }
  FMTC_INLINE static Mask either(Mask a, Mask b) { return _mm256_or_si256(a, b); }
  FMTC_INLINE static bool some(Mask mask) { return _mm256_testz_si256(mask, mask) == 0; }
  FMTC_INLINE static Vector where(Mask mask, Vector a, Vector b) {
    return _mm256_blendv_epi8(b, a, mask);
  }
  // a + b where the mask is, else a.
  FMTC_INLINE static Vector add_where(Mask mask, Vector a, Vector b) {
    return _mm256_add_epi32(a, _mm256_and_si256(mask, b));
  }

  FMTC_INLINE static Vector lookup(const uint32_t* entries, Vector index) {
    const __m128i low = _mm256_castsi256_si128(index);
    const __m128i high = _mm256_extracti128_si256(index, 1);
    return _mm256_set_m128i(lookup_4(entries, high), lookup_4(entries, low));
  }

  FMTC_INLINE static Vector lookup_levels(const uint32_t* entries, const int16_t* levels,
                                          int32_t lo) {
    return _mm256_set_m128i(lookup_levels_4(entries, levels + 4, lo),
                            lookup_levels_4(entries, levels, lo));
  }

  // Whether all levels of a round are from lo to lo + direct - 1; direct > 0.
  template <int kVectors>
  FMTC_INLINE static bool within(const int16_t* levels, int32_t lo, uint32_t direct) {
    const __m128i lowest = _mm_set1_epi16(static_cast<int16_t>(lo));
    __m128i most = _mm_setzero_si128();
    for (int v = 0; v < kVectors; ++v) {
      const __m128i level = _mm_loadu_si128(reinterpret_cast<const __m128i*>(levels) + v);
      most = _mm_max_epu16(most, _mm_sub_epi16(level, lowest));
    }
    const __m128i last = _mm_set1_epi16(static_cast<int16_t>(direct - 1));
    return _mm_testz_si128(_mm_subs_epu16(most, last), _mm_set1_epi16(-1)) != 0;
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

  // Writes the low 16 bits of the elements in the mask in front of `digits`; 16 bytes there are
  // overwritten.
  FMTC_INLINE static uint8_t* push_digits(Vector x, Mask mask, uint8_t* digits) {
    const uint32_t set = bits(mask);
    const __m256i low = _mm256_and_si256(x, all(0xFFFF));
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
    const __m128i shuffle = _mm_load_si128(reinterpret_cast<const __m128i*>(kCompress.of[set]));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(digits - 16), _mm_shuffle_epi8(packed, shuffle));
    return digits - 2 * static_cast<size_t>(__builtin_popcount(set));
  }

  // Fills up elements below 2^16, each with the next digit; 16 bytes at `digits` are read.
  FMTC_INLINE static Vector pull_digits(Vector x, const uint8_t*& digits) {
    const Mask low = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), _mm256_setzero_si256());
    const uint32_t set = bits(low);
    const __m256i next =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(digits)));
    const __m256i filling = _mm256_shuffle_epi8(
        next, _mm256_load_si256(reinterpret_cast<const __m256i*>(kExpand.of[set])));
    digits += 2 * static_cast<size_t>(__builtin_popcount(set));
    return _mm256_or_si256(_mm256_sllv_epi32(x, _mm256_and_si256(low, all(16))), filling);
  }

  template <int kStates>
  FMTC_INLINE static Vector load_digits(const uint8_t* digits, Vector next) {
    return _mm256_set_m128i(load_digits_4<kStates>(digits, _mm256_extracti128_si256(next, 1)),
                            load_digits_4<kStates>(digits, _mm256_castsi256_si128(next)));
  }

  // Bytes of `a` within each quarter of a vector, as QuarterBytes says; 16 bytes in all of them.
  FMTC_INLINE static Vector shuffle_bytes(Vector a, Vector from) {
    return _mm256_shuffle_epi8(a, from);
  }
  FMTC_INLINE static Vector repeat(const uint8_t* quarter) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(quarter)));
  }

  // Stores the levels of a round; returns whether any symbol is `escape`.
  template <int kVectors>
  FMTC_INLINE static bool store_levels(const Vector* symbols, const uint16_t* offset,
                                       int16_t* levels, uint32_t escape) {
    __m256i found = _mm256_setzero_si256();
    const __m256i wanted = _mm256_set1_epi16(static_cast<int16_t>(escape));
    for (int v = 0; v < kVectors; v += 2) {
      // Packing works within halves: the four quarters come out in the order 0 2 1 3.
      const Vector second = v + 1 < kVectors ? symbols[v + 1] : _mm256_setzero_si256();
      const __m256i packed = _mm256_packus_epi32(symbols[v], second);
      const __m256i symbol = _mm256_permute4x64_epi64(packed, 0xD8);
      found = _mm256_or_si256(found, _mm256_cmpeq_epi16(symbol, wanted));
      int16_t* to = levels + v * kElements;
      if (v + 1 < kVectors) {
        const __m256i add =
            _mm256_load_si256(reinterpret_cast<const __m256i*>(offset + v * kElements));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_add_epi16(symbol, add));
      } else {
        const __m128i add =
            _mm_load_si128(reinterpret_cast<const __m128i*>(offset + v * kElements));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                         _mm_add_epi16(_mm256_castsi256_si128(symbol), add));
      }
    }
    return some(found);
  }
};

}  // namespace

const RansKernels kRansAvx2 = {
    {kKernel<Avx2, 1>, kKernel<Avx2, 2>, kKernel<Avx2, 4>, kKernel<Avx2, 8>},
    {encode_group<Avx2, 1>, encode_group<Avx2, 2>, encode_group<Avx2, 4>},
    {{decode_group<Avx2, 1, 1>, decode_group<Avx2, 2, 1>, decode_group<Avx2, 4, 1>},
     {decode_group<Avx2, 1, 2>, decode_group<Avx2, 2, 2>, decode_group<Avx2, 4, 2>},
     {decode_group<Avx2, 1, 4>, decode_group<Avx2, 2, 4>, decode_group<Avx2, 4, 4>},
     {decode_group<Avx2, 1, 8>, decode_group<Avx2, 2, 8>, decode_group<Avx2, 4, 8>}}};

}  // namespace fmtc

// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)
