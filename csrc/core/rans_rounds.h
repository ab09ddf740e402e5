#pragma once

// The one body of all vector kernels, over a thin wrapper of the instruction set (rans_avx2.cpp,
// rans_avx512.cpp). The files that include it are compiled for more than the program may assume of
// its CPU. So nothing of the standard library is used here, and all is in an anonymous namespace:
// an inline function that the linker shares with other files could end up in those.
#include <stddef.h>
#include <stdint.h>

#include "core/rans_kernels.h"

#define FMTC_INLINE __attribute__((always_inline)) inline

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
    const auto of_lane = V::load(escapes_of + v * V::kLanes);
    entries[v] =
        V::where(V::equal(V::template right<16>(entries[v]), V::all(0)), of_lane, entries[v]);
    escapes =
        store_escapes(V::bits(V::equal(entries[v], of_lane)), levels + v * V::kLanes, escapes);
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

// V: the instruction set; kVectors: of V::kLanes states in a round.
template <class V, int kVectors>
void encode_rounds(RansEncodeRounds& shared, const int16_t* levels, size_t rounds) {
  using Vector = typename V::Vector;
  constexpr int kLanes = V::kLanes, kStates = kVectors * kLanes, kLog2 = kKernelLog2Total;
  const RansEncodeRounds state = shared;
  uint8_t* words = state.words;
  uint8_t* escapes = state.escapes;
  const Vector total = V::all(1u << kLog2);
  Vector x[kVectors];
  for (int v = 0; v < kVectors; ++v) x[v] = V::load(state.states + v * kLanes);
  for (const int16_t* next = levels + rounds * kStates; next != levels;) {
    next -= kStates;
    Vector entries[kVectors];
    auto rare = V::none();
    const bool plain =
        state.one_table && V::template within<kVectors>(next, state.lo, state.direct);
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      if (plain) [[likely]] {
        entries[v] = V::lookup_levels(state.entries + state.table[0], next + v * kLanes, state.lo);
      } else {
        const Vector symbol = V::symbols(next + v * kLanes, state.lo, state.direct);
        entries[v] = V::lookup(state.entries, V::add(symbol, V::load(state.table + v * kLanes)));
      }
      rare = V::either(rare, V::equal(entries[v], V::all(0)));
      rare = V::either(rare, V::equal(entries[v], V::load(state.escape + v * kLanes)));
    }
    if (V::some(rare)) [[unlikely]] {
      escapes = escape<V, kVectors>(entries, state.escape, next, escapes);
    }
#pragma GCC unroll 8
    for (int v = kVectors - 1; v >= 0; --v) {
      const Vector frequency = V::template right<16>(entries[v]);
      const Vector most = V::sub(frequency, V::all(1));
      // Where the state would exceed 32 bits, a word goes out first.
      const auto full = V::greater(V::template right<32 - kLog2>(x[v]), most);
      words = V::push_words(x[v], full, words);
      const Vector from = V::where(full, V::template right<16>(x[v]), x[v]);
      // x = M * floor(x / f) + start + x mod f, where the quotient is not known to 1 yet.
      const Vector quotient = V::quotient(from, frequency);
      const Vector rest = V::sub(from, V::multiply(quotient, frequency));
      const auto more = V::greater(rest, most);
      const Vector start = V::bit_and(entries[v], V::all(0xFFFF));
      const Vector to = V::add(V::add(V::template left<kLog2>(quotient), rest), start);
      x[v] = V::add_where(more, to, V::sub(total, frequency));
    }
  }
  for (int v = 0; v < kVectors; ++v) V::store(state.states + v * kLanes, x[v]);
  shared.words = words;
  shared.escapes = escapes;
}

template <class V, int kVectors>
size_t decode_rounds(RansDecodeRounds& shared, int16_t* levels, size_t rounds) {
  using Vector = typename V::Vector;
  constexpr int kLanes = V::kLanes, kStates = kVectors * kLanes, kLog2 = kKernelLog2Total;
  const RansDecodeRounds state = shared;
  const uint8_t* words = state.words;
  const uint8_t* escapes = state.escapes;
  Vector x[kVectors];
  for (int v = 0; v < kVectors; ++v) x[v] = V::load(state.states + v * kLanes);
  size_t round = 0;
  for (; round < rounds; ++round, levels += kStates) {
    if (state.words_end - words < 2 * kStates) break;
    Vector symbols[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const Vector slot = V::bit_and(x[v], V::all((1u << kLog2) - 1));
      const Vector index = V::add(slot, V::load(state.table + v * kLanes));
      const Vector entry = V::lookup(state.entries, index);
      const Vector less = V::bit_and(V::template right<8>(entry), V::all(0xFFF));
      const Vector frequency = V::add(less, V::all(1));
      const Vector from = V::multiply(frequency, V::template right<kLog2>(x[v]));
      x[v] = V::pull_words(V::add(from, V::template right<20>(entry)), words);
      symbols[v] = V::bit_and(entry, V::all(kEscape));
    }
    if (V::template store_levels<kVectors>(symbols, state.offset, levels, kEscape)) [[unlikely]] {
      const uint8_t* left =
          load_escapes(state.offset, kStates, levels, escapes, state.escapes_begin);
      if (left == nullptr) break;
      escapes = left;
    }
  }
  for (int v = 0; v < kVectors; ++v) V::store(state.states + v * kLanes, x[v]);
  shared.words = words;
  shared.escapes = escapes;
  return round;
}

// The kernel for kVectors * V::kLanes states.
template <class V, int kVectors>
constexpr RansKernel kKernel = {encode_rounds<V, kVectors>, decode_rounds<V, kVectors>};

}  // namespace
}  // namespace fmtc
