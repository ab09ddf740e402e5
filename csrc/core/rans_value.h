#pragma once

#include <cstdint>

#include "core/device.h"

namespace fmtc {

// One value of the rANS coder (core/rans.h), as the scalar code and the CUDA kernels do it: what
// happens to a state and which digits it exchanges with the payload. The caller keeps the order.

inline constexpr uint32_t kRansLowest = 1u << 16;  // of a state between two values

FMTC_HD constexpr uint32_t encode_frequency(uint32_t entry) noexcept { return entry >> 16; }
FMTC_HD constexpr uint32_t encode_start(uint32_t entry) noexcept { return entry & 0xFFFF; }

// The entry that codes a level: its own, or the escape's where it has no slots.
//   entries  [direct + 1] of rans_encode_table, the last one of the escape
FMTC_HD inline uint32_t encode_entry(int16_t level, int32_t lo, const uint32_t* entries,
                                     size_t direct) noexcept {
  const auto symbol = static_cast<uint32_t>(level - lo);
  const uint32_t entry = symbol < direct ? entries[symbol] : entries[direct];
  return encode_frequency(entry) == 0 ? entries[direct] : entry;
}

// Whether a state must give its low 16 bits to the payload, as a digit, before this entry.
FMTC_HD constexpr bool gives_digit(uint32_t state, uint32_t entry, int log2_total) noexcept {
  return state >> (32 - log2_total) >= encode_frequency(entry);
}

FMTC_HD constexpr uint32_t encode_value(uint32_t state, uint32_t entry, int log2_total) noexcept {
  const uint32_t frequency = encode_frequency(entry);
  return (state / frequency << log2_total) + state % frequency + encode_start(entry);
}

FMTC_HD constexpr uint32_t decode_symbol(uint32_t entry) noexcept { return entry & 0xFF; }

// The state after a value with this entry of rans_decode_table, before it takes a digit, which it
// does where it is below kRansLowest.
FMTC_HD constexpr uint32_t decode_value(uint32_t state, uint32_t entry, int log2_total) noexcept {
  return ((entry >> 8 & 0xFFF) + 1) * (state >> log2_total) + (entry >> 20);
}

FMTC_HD constexpr uint32_t take_digit(uint32_t state, uint16_t digit) noexcept {
  return state << 16 | digit;
}

}  // namespace fmtc
