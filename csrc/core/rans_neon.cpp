// rANS kernels for 64-bit ARM, whose CPUs all have NEON; see rans_vector.h for what may be included
// here.
#include <arm_neon.h>

#include "core/rans_vector.h"

// Elements and vectors of a round are counted in ints, and no product of them is above 64.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)

namespace fmtc {
namespace {

constexpr int kLanes = 4;
constexpr int kSets = 1 << kLanes;
constexpr uint8_t kNoByte = 0xFF;  // a table look-up gives 0 there

// For each set of elements, where a table look-up takes bytes from.
template <int kBytes>
struct Shuffles {
  alignas(kBytes) uint8_t of[kSets][kBytes];
};

// Digit j of 4 goes to the j-th element of the set; other elements become 0.
constexpr Shuffles<16> make_expand() {
  Shuffles<16> expand{};
  for (int set = 0; set < kSets; ++set) {
    int taken = 0;
    for (int element = 0; element < kLanes; ++element) {
      const bool in_set = (set >> element & 1) != 0;
      uint8_t* from = expand.of[set] + 4 * element;
      from[0] = in_set ? static_cast<uint8_t>(2 * taken) : kNoByte;
      from[1] = in_set ? static_cast<uint8_t>(2 * taken + 1) : kNoByte;
      from[2] = from[3] = kNoByte;
      taken += in_set;
    }
  }
  return expand;
}

// Of 4 digits, those of the set's elements go to the end, in order.
constexpr Shuffles<8> make_compress() {
  Shuffles<8> compress{};
  for (int set = 0; set < kSets; ++set) {
    int to = kLanes;
    for (int element = kLanes - 1; element >= 0; --element) {
      if ((set >> element & 1) == 0) continue;
      --to;
      compress.of[set][2 * to] = static_cast<uint8_t>(2 * element);
      compress.of[set][2 * to + 1] = static_cast<uint8_t>(2 * element + 1);
    }
  }
  return compress;
}

constexpr Shuffles<16> kExpand = make_expand();
constexpr Shuffles<8> kCompress = make_compress();
constexpr uint32_t kBitOfLane[kLanes] = {1, 2, 4, 8};

struct Neon {
  using Vector = uint32x4_t;
  using Mask = uint32x4_t;
  static constexpr int kElements = kLanes;

  FMTC_INLINE static Vector all(uint32_t value) { return vdupq_n_u32(value); }
  FMTC_INLINE static Vector load(const uint32_t* from) { return vld1q_u32(from); }
  FMTC_INLINE static void store(uint32_t* to, Vector a) { vst1q_u32(to, a); }
  FMTC_INLINE static Vector add(Vector a, Vector b) { return vaddq_u32(a, b); }
  FMTC_INLINE static Vector sub(Vector a, Vector b) { return vsubq_u32(a, b); }
  FMTC_INLINE static Vector multiply(Vector a, Vector b) { return vmulq_u32(a, b); }
  FMTC_INLINE static Vector bit_and(Vector a, Vector b) { return vandq_u32(a, b); }
  FMTC_INLINE static Vector bit_or(Vector a, Vector b) { return vorrq_u32(a, b); }
  template <int kCount>
  FMTC_INLINE static Vector right(Vector a) {
    return vshrq_n_u32(a, kCount);
  }
  template <int kCount>
  FMTC_INLINE static Vector left(Vector a) {
    return vshlq_n_u32(a, kCount);
  }
  FMTC_INLINE static Mask equal(Vector a, Vector b) { return vceqq_u32(a, b); }
  FMTC_INLINE static Mask greater(Vector a, Vector b) { return vcgtq_u32(a, b); }
  FMTC_INLINE static uint32_t bits(Mask mask) {
    return vaddvq_u32(vandq_u32(mask, vld1q_u32(kBitOfLane)));
  }
  FMTC_INLINE static Mask none() { return all(0); }
  FMTC_INLINE static Mask either(Mask a, Mask b) { return vorrq_u32(a, b); }
  FMTC_INLINE static bool some(Mask mask) { return vmaxvq_u32(mask) != 0; }
  FMTC_INLINE static Vector where(Mask mask, Vector a, Vector b) { return vbslq_u32(mask, a, b); }
  // a + b where the mask is, else a.
  FMTC_INLINE static Vector add_where(Mask mask, Vector a, Vector b) {
    return vaddq_u32(a, vandq_u32(mask, b));
  }

  FMTC_INLINE static Vector lookup(const uint32_t* entries, Vector index) {
    Vector found = all(entries[vgetq_lane_u32(index, 0)]);
    found = vld1q_lane_u32(entries + vgetq_lane_u32(index, 1), found, 1);
    found = vld1q_lane_u32(entries + vgetq_lane_u32(index, 2), found, 2);
    return vld1q_lane_u32(entries + vgetq_lane_u32(index, 3), found, 3);
  }

  FMTC_INLINE static Vector lookup_levels(const uint32_t* entries, const int16_t* levels,
                                          int32_t lo) {
    const auto entry = [=](int i) __attribute__((always_inline)) {
      return entries + (int64_t{levels[i]} - lo);
    };
    Vector found = vld1q_dup_u32(entry(0));
    found = vld1q_lane_u32(entry(1), found, 1);
    found = vld1q_lane_u32(entry(2), found, 2);
    return vld1q_lane_u32(entry(3), found, 3);
  }

  // Whether all levels of a round are from lo to lo + direct - 1; direct > 0.
  template <int kVectors>
  FMTC_INLINE static bool within(const int16_t* levels, int32_t lo, uint32_t direct) {
    static_assert(kVectors % 2 == 0);
    const uint16x8_t lowest = vdupq_n_u16(static_cast<uint16_t>(lo));
    uint16x8_t most = vdupq_n_u16(0);
    for (int v = 0; v < kVectors; v += 2) {
      const uint16x8_t level = vreinterpretq_u16_s16(vld1q_s16(levels + v * kElements));
      most = vmaxq_u16(most, vsubq_u16(level, lowest));
    }
    return vmaxvq_u16(most) < direct;
  }

  // level - lo of 4 levels, at most `direct`: what is below lo wraps around to the top.
  FMTC_INLINE static Vector symbols(const int16_t* levels, int32_t lo, uint32_t direct) {
    const uint16x4_t level = vreinterpret_u16_s16(vld1_s16(levels));
    const uint16x4_t symbol = vsub_u16(level, vdup_n_u16(static_cast<uint16_t>(lo)));
    return vmovl_u16(vmin_u16(symbol, vdup_n_u16(static_cast<uint16_t>(direct))));
  }

  // floor(x / f) or 1 less, for x < f * 2^20 and 1 <= f <= 2^12.
  FMTC_INLINE static Vector quotient(Vector x, Vector f) {
    const float32x4_t reciprocal = vdivq_f32(vdupq_n_f32(1), vcvtq_f32_u32(f));
    // Rounded, x and the reciprocal are off by at most 2^-24 of them, so the product, below 2^20,
    // by 1/8, and by 1/32 more when it is rounded itself.
    const float32x4_t below = vfmaq_f32(vdupq_n_f32(-0.25f), vcvtq_f32_u32(x), reciprocal);
    return vcvtq_u32_f32(below);  // what is below 0 becomes 0
  }

  // Writes the low 16 bits of the elements in the mask in front of `digits`; 8 bytes there are
  // overwritten.
  FMTC_INLINE static uint8_t* push_digits(Vector x, Mask mask, uint8_t* digits) {
    const uint32_t set = bits(mask);
    const uint8x8_t packed = vreinterpret_u8_u16(vmovn_u32(x));
    vst1_u8(digits - 8, vtbl1_u8(packed, vld1_u8(kCompress.of[set])));
    return digits - 2 * static_cast<size_t>(__builtin_popcount(set));
  }

  // Fills up elements below 2^16, each with the next digit; 8 bytes at `digits` are read.
  FMTC_INLINE static Vector pull_digits(Vector x, const uint8_t*& digits) {
    const Mask low = equal(right<16>(x), all(0));
    const uint32_t set = bits(low);
    const uint8x16_t next = vcombine_u8(vld1_u8(digits), vdup_n_u8(0));
    const Vector filling = vreinterpretq_u32_u8(vqtbl1q_u8(next, vld1q_u8(kExpand.of[set])));
    digits += 2 * static_cast<size_t>(__builtin_popcount(set));
    return where(low, bit_or(left<16>(x), filling), x);
  }

  // The next kStates digits of each chunk that has lanes here; 4 / kStates chunks of kStates lanes,
  // which all say where their chunk's digits are.
  template <int kStates>
  FMTC_INLINE static Vector load_digits(const uint8_t* digits, Vector next) {
    static_assert(kStates == 1 || kStates == 2);
    uint8_t loaded[16] = {};
    __builtin_memcpy(loaded, digits + vgetq_lane_u32(next, 0), 2 * kStates);
    if constexpr (kStates == 1) {
      __builtin_memcpy(loaded + 2, digits + vgetq_lane_u32(next, 1), 2);
      __builtin_memcpy(loaded + 6, digits + vgetq_lane_u32(next, 3), 2);
    }
    __builtin_memcpy(loaded + 4, digits + vgetq_lane_u32(next, 2), 2 * kStates);
    return vreinterpretq_u32_u8(vld1q_u8(loaded));
  }

  // Bytes of `a`, as QuarterBytes says.
  FMTC_INLINE static Vector shuffle_bytes(Vector a, Vector from) {
    return vreinterpretq_u32_u8(vqtbl1q_u8(vreinterpretq_u8_u32(a), vreinterpretq_u8_u32(from)));
  }
  FMTC_INLINE static Vector repeat(const uint8_t* quarter) {
    return vreinterpretq_u32_u8(vld1q_u8(quarter));
  }

  // Stores the levels of a round; returns whether any symbol is `escape`.
  template <int kVectors>
  FMTC_INLINE static bool store_levels(const Vector* symbols, const uint16_t* offset,
                                       int16_t* levels, uint32_t escape) {
    static_assert(kVectors % 2 == 0);
    const uint16x8_t wanted = vdupq_n_u16(static_cast<uint16_t>(escape));
    uint16x8_t found = vdupq_n_u16(0);
    for (int v = 0; v < kVectors; v += 2) {
      const uint16x8_t symbol = vcombine_u16(vmovn_u32(symbols[v]), vmovn_u32(symbols[v + 1]));
      found = vorrq_u16(found, vceqq_u16(symbol, wanted));
      const uint16x8_t level = vaddq_u16(symbol, vld1q_u16(offset + v * kElements));
      vst1q_s16(levels + v * kElements, vreinterpretq_s16_u16(level));
    }
    return vmaxvq_u16(found) != 0;
  }
};

}  // namespace

const RansKernels kRansNeon = {
    {kKernel<Neon, 2>, kKernel<Neon, 4>, kKernel<Neon, 8>, kKernel<Neon, 16>},
    {encode_group<Neon, 2>, encode_group<Neon, 4>, encode_group<Neon, 8>},
    {{decode_group<Neon, 2, 1>, decode_group<Neon, 4, 1>, decode_group<Neon, 8, 1>},
     {decode_group<Neon, 2, 2>, decode_group<Neon, 4, 2>, decode_group<Neon, 8, 2>},
     {decode_group<Neon, 2, 4>, decode_group<Neon, 4, 4>, decode_group<Neon, 8, 4>},
     {decode_group<Neon, 2, 8>, decode_group<Neon, 4, 8>, decode_group<Neon, 8, 8>}}};

}  // namespace fmtc

// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)
