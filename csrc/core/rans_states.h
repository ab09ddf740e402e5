#pragma once

// What the files of the rANS coder share: its states, and the two ends of a payload, where digits
// meet escaped levels.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "core/coding.h"
#include "core/rans.h"

namespace fmtc::rans {

inline bool states_valid(int states) noexcept {
  return states >= 1 && states <= kMaxStates && std::has_single_bit(static_cast<uint32_t>(states));
}

// Calls run(std::integral_constant<size_t, count>) for a valid number of states, at most kMost.
template <size_t kMost, size_t kStates = 1, class Run>
void with_states(size_t count, const Run& run) noexcept {
  if constexpr (kStates < kMost) {
    if (count > kStates) return with_states<kMost, 2 * kStates>(count, run);
  }
  run(std::integral_constant<size_t, kStates>());
}

// log2 of the sum of frequencies of an encode table; 0 where it is none that is allowed.
int encode_log2_total(std::span<const uint32_t> entries) noexcept;

// Whether level - lo modulo 2^16 is below the number of a table's levels for these alone, so that
// vector code may compare it in 16 bits.
inline bool symbols_distinct(const ComponentTables& encode_tables) noexcept {
  return encode_tables.lo + static_cast<int64_t>(encode_tables.width) - 1 <= 32768;
}

struct EncoderState {
  alignas(64) std::array<uint32_t, kMaxStates> states;
  uint8_t* digits;   // the digits written so far begin here; they grow downwards
  uint8_t* escapes;  // the escaped levels written so far end here; they grow upwards
};

// The encoder of a chunk at its end; `out` has the bytes of rans_chunk_bound for the values.
EncoderState begin_chunk(std::span<uint8_t> out, size_t values, size_t count) noexcept;

// Encodes the values from `begin` to before `end`, at whose last one `run` stands, one by one, the
// last one first. begin: of a whole round.
void encode_values(std::span<const int16_t> levels, size_t begin, size_t end,
                   const ComponentTables& tables, size_t count, BackwardRunCursor& run,
                   EncoderState& state) noexcept;

// Puts the states in front of the digits and all of it at the beginning of `out`; returns its size.
size_t finish_chunk(std::span<uint8_t> out, size_t count, EncoderState& state) noexcept;

struct DecoderState {
  alignas(64) std::array<uint32_t, kMaxStates> states;
  const uint8_t* digits;   // the next digit
  const uint8_t* escapes;  // the next escaped level ends here

  size_t left() const noexcept { return static_cast<size_t>(escapes - digits); }
};

// Reads the states; false for a payload that does not hold them, or holds others than an encoder's.
bool load_states(std::span<const uint8_t> payload, size_t count, DecoderState& state) noexcept;

// Decodes the values from `begin` on, at which `run` stands, one by one, and looks whether that is
// all. begin: of a whole round.
bool decode_rest(std::span<int16_t> levels, size_t begin, const ComponentTables& tables,
                 size_t count, RunCursor& run, DecoderState& state) noexcept;

}  // namespace fmtc::rans
