#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "core/coding.h"
#include "core/device.h"

namespace fmtc {

// What the coders without tables share. A word is level - lo, a number of `word_bits` bits; each
// level from lo to lo + 2^word_bits - 1 has one, and that of level 0 is never stored: zeros are
// marked instead.

inline constexpr int kMaxWordBits = 15;

struct Words {
  int32_t lo = 0;
  int bits = 1;  // 1..kMaxWordBits

  // Of tables that words_valid accepted.
  FMTC_HD explicit Words(const ComponentTables& tables) noexcept
      : lo(tables.lo), bits(static_cast<int>(tables.width)) {}
  FMTC_HD Words(int32_t lowest, int word_bits) noexcept : lo(lowest), bits(word_bits) {}

  FMTC_HD uint32_t count() const noexcept { return uint32_t{1} << bits; }
  // At least count() for a level without a word.
  FMTC_HD uint32_t word(int16_t level) const noexcept { return static_cast<uint32_t>(level - lo); }
  FMTC_HD int16_t level(uint32_t word) const noexcept {
    return static_cast<int16_t>(static_cast<int32_t>(word) + lo);
  }
  FMTC_HD bool all_have_words(std::span<const int16_t> levels) const noexcept {
    return std::all_of(levels.begin(), levels.end(),
                       [this](int16_t level) { return word(level) < count(); });
  }
};

// False unless there is a word of 1..kMaxWordBits bits (in `width`), and every one is an int16
// level.
inline bool words_valid(const ComponentTables& tables) noexcept {
  return tables.width >= 1 && tables.width <= kMaxWordBits && tables.lo >= -32768 &&
         tables.lo + (1 << tables.width) - 1 <= 32767;
}

}  // namespace fmtc
