#pragma once

// The one body of all vector kernels, over a thin wrapper of the instruction set (rans_neon.cpp,
// rans_avx2.cpp, rans_avx512.cpp). Files that include it may be compiled for more than the program
// may assume of its CPU. So nothing of the standard library is used here, and all is in an
// anonymous namespace: an inline function that the linker shares with other files could end up in
// those.
#include <stddef.h>
#include <stdint.h>

#include "core/rans_kernels.h"

#define FMTC_INLINE __attribute__((always_inline)) inline

// Elements and vectors of a round are counted in ints, and no product of them is above 64.
// NOLINTBEGIN(bugprone-implicit-widening-of-multiplication-result)

namespace fmtc {
namespace {

constexpr uint32_t kEscape = 255;

// Stores the levels of the lanes in `mask`, the last one first.
FMTC_INLINE uint8_t* store_escapes(uint32_t mask, const int16_t* levels, uint8_t* escapes) {
  while (mask != 0) {
    const uint32_t lane = 31 - static_cast<uint32_t>(__builtin_clz(mask));
    __builtin_memcpy(escapes, levels + lane, 2);
    escapes += 2;
    mask ^= 1u << lane;
  }
  return escapes;
}

// Gives the lanes of a round without slots of their own the entry of the escape and stores their
// levels.
template <class V, int kVectors>
__attribute__((noinline)) uint8_t* escape(typename V::Vector* entries, const uint32_t* escapes_of,
                                          const int16_t* levels, uint8_t* escapes) {
  for (int v = kVectors - 1; v >= 0; --v) {
    const auto of_lane = V::load(escapes_of + v * V::kElements);
    entries[v] =
        V::where(V::equal(V::template right<16>(entries[v]), V::all(0)), of_lane, entries[v]);
    escapes =
        store_escapes(V::bits(V::equal(entries[v], of_lane)), levels + v * V::kElements, escapes);
  }
  return escapes;
}

// Puts escaped levels where symbols are kEscape; null where they are not there.
__attribute__((noinline)) const uint8_t* load_escapes(const uint16_t* offset, size_t lanes,
                                                      int16_t* levels, const uint8_t* escapes,
                                                      const uint8_t* begin) {
  for (size_t i = 0; i < lanes; ++i) {
    if (static_cast<uint16_t>(levels[i] - offset[i]) != kEscape) continue;
    if (escapes - begin < 2) return nullptr;
    escapes -= 2;
    __builtin_memcpy(levels + i, escapes, 2);
  }
  return escapes;
}

// The lanes that must give a digit before their next value, of these entries: where the state would
// exceed 32 bits.
template <class V>
FMTC_INLINE typename V::Mask gives_digits(typename V::Vector x, typename V::Vector entry) {
  const auto most = V::sub(V::template right<16>(entry), V::all(1));
  return V::greater(V::template right<32 - kKernelLog2Total>(x), most);
}

// A value of each lane: the states x after it. The lanes in `full` have given a digit.
template <class V>
FMTC_INLINE typename V::Vector put_values(typename V::Vector x, typename V::Vector entry,
                                          typename V::Mask full) {
  using Vector = typename V::Vector;
  constexpr int kLog2 = kKernelLog2Total;
  const Vector frequency = V::template right<16>(entry);
  const Vector from = V::where(full, V::template right<16>(x), x);
  // x = M * floor(x / f) + start + x mod f, where the quotient is not known to 1 yet.
  const Vector quotient = V::quotient(from, frequency);
  const Vector rest = V::sub(from, V::multiply(quotient, frequency));
  const auto more = V::greater(rest, V::sub(frequency, V::all(1)));
  const Vector start = V::bit_and(entry, V::all(0xFFFF));
  const Vector to = V::add(V::add(V::template left<kLog2>(quotient), rest), start);
  return V::add_where(more, to, V::sub(V::all(1u << kLog2), frequency));
}

// V: the instruction set; kVectors: of V::kElements states in a round.
template <class V, int kVectors>
void encode_rounds(RansEncodeRounds& shared, const int16_t* levels, size_t rounds) {
  using Vector = typename V::Vector;
  constexpr int kElements = V::kElements, kStates = kVectors * kElements;
  const RansEncodeRounds state = shared;
  uint8_t* digits = state.digits;
  uint8_t* escapes = state.escapes;
  Vector x[kVectors];
  for (int v = 0; v < kVectors; ++v) x[v] = V::load(state.states + v * kElements);
  for (const int16_t* next = levels + rounds * kStates; next != levels;) {
    next -= kStates;
    Vector entries[kVectors];
    auto rare = V::none();
    const bool plain =
        state.one_table && V::template within<kVectors>(next, state.lo, state.direct);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      if (plain) [[likely]] {
        entries[v] =
            V::lookup_levels(state.entries + state.table[0], next + v * kElements, state.lo);
      } else {
        const Vector symbol = V::symbols(next + v * kElements, state.lo, state.direct);
        entries[v] = V::lookup(state.entries, V::add(symbol, V::load(state.table + v * kElements)));
      }
      rare = V::either(rare, V::equal(entries[v], V::all(0)));
      rare = V::either(rare, V::equal(entries[v], V::load(state.escape + v * kElements)));
    }
    if (V::some(rare)) [[unlikely]] {
      escapes = escape<V, kVectors>(entries, state.escape, next, escapes);
    }
#pragma GCC unroll 8
    for (int v = kVectors - 1; v >= 0; --v) {
      const auto full = gives_digits<V>(x[v], entries[v]);
      digits = V::push_digits(x[v], full, digits);
      x[v] = put_values<V>(x[v], entries[v], full);
    }
  }
  for (int v = 0; v < kVectors; ++v) V::store(state.states + v * kElements, x[v]);
  shared.digits = digits;
  shared.escapes = escapes;
}

// A value of each lane: the entries of the slots that the states x say; x becomes what the states
// are before they take digits.
template <class V>
FMTC_INLINE typename V::Vector take_values(typename V::Vector& x, const uint32_t* entries,
                                           const uint32_t* table) {
  using Vector = typename V::Vector;
  constexpr int kLog2 = kKernelLog2Total;
  const Vector slot = V::bit_and(x, V::all((1u << kLog2) - 1));
  const Vector entry = V::lookup(entries, V::add(slot, V::load(table)));
  const Vector less = V::bit_and(V::template right<8>(entry), V::all(0xFFF));
  const Vector frequency = V::add(less, V::all(1));
  const Vector from = V::multiply(frequency, V::template right<kLog2>(x));
  x = V::add(from, V::template right<20>(entry));
  return entry;
}

template <class V, int kVectors>
size_t decode_rounds(RansDecodeRounds& shared, int16_t* levels, size_t rounds) {
  using Vector = typename V::Vector;
  constexpr int kElements = V::kElements, kStates = kVectors * kElements;
  const RansDecodeRounds state = shared;
  const uint8_t* digits = state.digits;
  const uint8_t* escapes = state.escapes;
  Vector x[kVectors];
  for (int v = 0; v < kVectors; ++v) x[v] = V::load(state.states + v * kElements);
  size_t round = 0;
  for (; round < rounds; ++round, levels += kStates) {
    // A vector reads the 2 * kElements bytes at `digits` and takes at most these, so all vectors of
    // a round stay within 2 * kStates bytes.
    if (state.digits_end - digits < 2 * kStates) break;
    Vector symbols[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const Vector entry = take_values<V>(x[v], state.entries, state.table + v * kElements);
      x[v] = V::pull_digits(x[v], digits);
      symbols[v] = V::bit_and(entry, V::all(kEscape));
    }
    if (V::template store_levels<kVectors>(symbols, state.offset, levels, kEscape)) [[unlikely]] {
      const uint8_t* left =
          load_escapes(state.offset, kStates, levels, escapes, state.escapes_begin);
      if (left == nullptr) break;
      escapes = left;
    }
  }
  for (int v = 0; v < kVectors; ++v) V::store(state.states + v * kElements, x[v]);
  shared.digits = digits;
  shared.escapes = escapes;
  return round;
}

// kVectors: of a round.
template <class V, int kVectors>
size_t encode_group(RansGroupEncodeRounds& state, size_t rounds) {
  using Vector = typename V::Vector;
  constexpr int kElements = V::kElements, kRound = kVectors * kElements;
  uint8_t* digits = state.digits;
  uint8_t* chunks = state.chunks;
  Vector x[kVectors];
  for (int v = 0; v < kVectors; ++v) x[v] = V::load(state.states + v * kElements);
  Vector chunk_of[kVectors];
  for (int v = 0; v < kVectors; ++v) chunk_of[v] = V::load(state.chunk_of + v * kElements);
  for (const uint32_t* next = state.entries + rounds * kRound; next != state.entries;) {
    next -= kRound;
#pragma GCC unroll 4
    for (int v = kVectors - 1; v >= 0; --v) {
      const Vector entry = V::load(next + v * kElements);
      const auto full = gives_digits<V>(x[v], entry);
      digits = V::push_digits(x[v], full, digits);
      chunks = V::push_digits(chunk_of[v], full, chunks);
      x[v] = put_values<V>(x[v], entry, full);
    }
  }
  for (int v = 0; v < kVectors; ++v) V::store(state.states + v * kElements, x[v]);
  return static_cast<size_t>(state.digits - digits) / 2;
}

// What each byte of a quarter of a vector, 4 elements, is taken from; kZero: it is 0.
struct alignas(16) QuarterBytes {
  static constexpr uint8_t kZero = 0x80;
  uint8_t of[16];
};

// Each lane from the lane `distance` before, if that belongs to the same chunk of kStates states.
template <int kStates>
constexpr QuarterBytes lanes_before(int distance) {
  QuarterBytes from{};
  for (int byte = 0; byte < 16; ++byte) {
    const bool same = byte / 4 % kStates >= distance;
    from.of[byte] = static_cast<uint8_t>(same ? byte - 4 * distance : QuarterBytes::kZero);
  }
  return from;
}

// Each lane from its chunk's last one.
template <int kStates>
constexpr QuarterBytes last_lanes() {
  QuarterBytes from{};
  for (int byte = 0; byte < 16; ++byte) {
    from.of[byte] = static_cast<uint8_t>((byte / 4 | (kStates - 1)) * 4 + byte % 4);
  }
  return from;
}

// The first of its chunk's digits, of V::load_digits, for each lane.
template <int kStates>
constexpr QuarterBytes first_digits() {
  QuarterBytes from{};
  for (int byte = 0; byte < 16; ++byte) {
    const int digit = 2 * (byte / 4 & ~(kStates - 1));
    from.of[byte] = static_cast<uint8_t>(byte % 4 < 2 ? digit + byte % 4 : QuarterBytes::kZero);
  }
  return from;
}

template <int kStates>
constexpr QuarterBytes kBefore[3] = {lanes_before<kStates>(1), lanes_before<kStates>(2),
                                     lanes_before<kStates>(3)};
template <int kStates>
constexpr QuarterBytes kLast = last_lanes<kStates>();
template <int kStates>
constexpr QuarterBytes kFirstDigits = first_digits<kStates>();

// Fills up lanes below 2^16, each with the next digit of its chunk; `next` goes on.
template <class V, int kStates>
FMTC_INLINE typename V::Vector pull_digits_of_group(typename V::Vector x, const uint8_t* digits,
                                                    typename V::Vector& next) {
  using Vector = typename V::Vector;
  const Vector loaded = V::template load_digits<kStates>(digits, next);
  const auto low = V::equal(V::template right<16>(x), V::all(0));
  // In both of its lower bytes, what a lane adds to where those behind it take their digit from.
  const Vector taken = V::where(low, V::all(0x0202), V::all(0));
  Vector before = V::all(0);
  for (int i = 0; i + 1 < kStates; ++i) {
    before = V::add(before, V::shuffle_bytes(taken, V::repeat(kBefore<kStates>[i].of)));
  }
  const Vector of_chunk = V::shuffle_bytes(V::add(before, taken), V::repeat(kLast<kStates>.of));
  next = V::add(next, V::bit_and(of_chunk, V::all(0xFF)));
  const Vector digit =
      V::shuffle_bytes(loaded, V::add(V::repeat(kFirstDigits<kStates>.of), before));
  return V::where(low, V::bit_or(V::template left<16>(x), digit), x);
}

// kVectors: of a round; kStates: of each chunk.
template <class V, int kVectors, int kStates>
uint32_t decode_group(RansGroupDecodeRounds& shared, size_t rounds) {
  using Vector = typename V::Vector;
  constexpr int kElements = V::kElements, kRound = kVectors * kElements, kChunks = kRound / kStates;
  const RansGroupDecodeRounds state = shared;
  const uint32_t* table = state.table;
  const uint16_t* offset = state.offset;
  int16_t* levels[kChunks];
  for (int i = 0; i < kChunks; ++i) levels[i] = state.levels[i];
  Vector x[kVectors];
  for (int v = 0; v < kVectors; ++v) x[v] = V::load(state.states + v * kElements);
  // Where the next digits are, for each lane; or for each chunk, if its lanes are whole vectors.
  constexpr bool kWhole = kStates >= kElements;
  Vector next[kVectors];
  for (int v = 0; v < kVectors; ++v) next[v] = V::load(state.next + v * kElements);
  const uint8_t* digits[kChunks];
  for (int i = 0; i < kChunks; ++i) digits[i] = state.digits + state.next[i * kStates];
  decltype(V::none()) escaped[kVectors];
  for (int v = 0; v < kVectors; ++v) escaped[v] = V::none();
  for (size_t round = 0; round < rounds; ++round, table += kRound, offset += kRound) {
    Vector symbols[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const Vector entry = take_values<V>(x[v], state.entries, table + v * kElements);
      if constexpr (kWhole) {
        x[v] = V::pull_digits(x[v], digits[v * kElements / kStates]);
      } else {
        x[v] = pull_digits_of_group<V, kStates>(x[v], state.digits, next[v]);
      }
      symbols[v] = V::bit_and(entry, V::all(kEscape));
      escaped[v] = V::either(escaped[v], V::equal(symbols[v], V::all(kEscape)));
    }
    alignas(64) int16_t row[kRound];
    V::template store_levels<kVectors>(symbols, offset, row, kEscape);
#pragma GCC unroll 32
    for (int i = 0; i < kChunks; ++i) {
      __builtin_memcpy(levels[i] + round * kStates, row + i * kStates, 2 * kStates);
    }
  }
  for (int v = 0; v < kVectors; ++v) V::store(state.states + v * kElements, x[v]);
  for (int v = 0; v < kVectors; ++v) V::store(state.next + v * kElements, next[v]);
  for (int i = 0; kWhole && i < kChunks; ++i) {
    state.next[i * kStates] = static_cast<uint32_t>(digits[i] - state.digits);
  }
  uint32_t lanes = 0;
  for (int v = 0; v < kVectors; ++v) lanes |= V::bits(escaped[v]) << v * kElements;
  return lanes;
}

// The kernel for kVectors * V::kElements states.
template <class V, int kVectors>
constexpr RansKernel kKernel = {encode_rounds<V, kVectors>, decode_rounds<V, kVectors>};

}  // namespace
}  // namespace fmtc

// NOLINTEND(bugprone-implicit-widening-of-multiplication-result)
