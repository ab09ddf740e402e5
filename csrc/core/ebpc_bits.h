#pragma once

// The bits of EBPC chunks (core/ebpc.h), for the core and for the CUDA kernels.
#include <algorithm>
#include <array>
#include <bit>

#include "core/bitstream.h"
#include "core/bytes.h"
#include "core/ebpc.h"

namespace fmtc::ebpc {

inline constexpr int kDeltas = kEbpcOctuple - 1;  // and bits of a plane
inline constexpr uint32_t kAllOnes = (1u << kDeltas) - 1;
inline constexpr int kLengthBits = kEbpcLengthBits;
inline constexpr int kPositionBits = 3;  // in a plane
inline constexpr int kMaxPlanes = kMaxWordBits + 1;
inline constexpr int kLongestCode = 8;  // of a plane

using Octuple = std::array<uint32_t, kEbpcOctuple>;  // words
using Planes = std::array<uint8_t, 16>;              // bit k of plane p is bit p of difference k

// Bits of the length of a run of planes, minus 2: ceil(log2 word_bits), as there are word_bits + 1.
FMTC_HD inline int run_bits(int word_bits) noexcept {
  return static_cast<int>(std::bit_width(static_cast<uint32_t>(word_bits - 1)));
}

// ---------------------------------------------------------------------------------------------
// Codes. A string of bits is a number whose lowest bit comes first.

struct Code {
  uint8_t bits;
  uint8_t length;
};

// "0" and "1" in the order of the string.
FMTC_HD constexpr uint8_t bits_of(const char* string) {
  int bits = 0;
  for (int i = 0; string[i] != 0; ++i) bits |= (string[i] - '0') << i;
  return static_cast<uint8_t>(bits);
}

inline constexpr Code kZeroPlane = {bits_of("001"), 3};
inline constexpr Code kZeroPlanes = {bits_of("01"), 2};  // followed by how many there are beyond 2
inline constexpr Code kOnes = {bits_of("00000"), 5};
inline constexpr Code kZeroDbp = {bits_of("00001"), 5};
inline constexpr Code kPair = {bits_of("00010"), 5};    // followed by the first position
inline constexpr Code kSingle = {bits_of("00011"), 5};  // followed by the position
inline constexpr Code kRaw = {bits_of("1"), 1};         // followed by the plane

FMTC_HD constexpr Code followed(Code code, uint32_t bits, int length) {
  return {static_cast<uint8_t>(code.bits | bits << code.length),
          static_cast<uint8_t>(code.length + length)};
}

FMTC_HD constexpr Code plane_code(uint32_t dbx) {
  if (dbx == kAllOnes) return kOnes;
  const auto first = static_cast<uint32_t>(std::countr_zero(dbx));
  if (dbx == 3u << first) return followed(kPair, first, kPositionBits);
  if (dbx == 1u << first) return followed(kSingle, first, kPositionBits);
  return followed(kRaw, dbx, kDeltas);
}

enum class Kind : uint8_t { kBad, kDbx, kZeroDbp, kZeroPlanes };

struct Entry {
  Kind kind = Kind::kBad;
  uint8_t dbx = 0;
  uint8_t length = 0;
};

// What begins with these bits, of which the lowest kLongestCode are looked at. Any plane may be
// written raw; an encoder does so for those without a code of their own.
FMTC_HD constexpr Entry entry_of(uint32_t bits) {
  const auto begins_with = [bits](Code code) {
    return (bits & ((1u << code.length) - 1)) == code.bits;
  };
  const auto plane = [](uint32_t dbx, int length) {
    return Entry{Kind::kDbx, static_cast<uint8_t>(dbx), static_cast<uint8_t>(length)};
  };
  if (begins_with(kRaw)) return plane(bits >> kRaw.length & kAllOnes, kRaw.length + kDeltas);
  if (begins_with(kZeroPlanes)) return {Kind::kZeroPlanes, 0, kZeroPlanes.length};
  if (begins_with(kZeroPlane)) return plane(0, kZeroPlane.length);
  if (begins_with(kOnes)) return plane(kAllOnes, kOnes.length);
  if (begins_with(kZeroDbp)) return {Kind::kZeroDbp, 0, kZeroDbp.length};
  const uint32_t position = bits >> kPair.length & ((1u << kPositionBits) - 1);
  const bool pair = begins_with(kPair);
  const uint32_t dbx = (pair ? 3u : 1u) << position;
  if (dbx > kAllOnes) return {};
  return plane(dbx, kPair.length + kPositionBits);
}

#if !defined(__CUDA_ARCH__)
// Of planes that are not zero.
inline constexpr std::array<Code, kAllOnes + 1> kPlaneCodes = [] {
  std::array<Code, kAllOnes + 1> codes{};
  for (uint32_t dbx = 1; dbx <= kAllOnes; ++dbx) codes[dbx] = plane_code(dbx);
  return codes;
}();

// By the next 8 bits of the string.
inline constexpr std::array<Entry, 1 << kLongestCode> kEntries = [] {
  std::array<Entry, 1 << kLongestCode> entries{};
  for (uint32_t i = 0; i < entries.size(); ++i) entries[i] = entry_of(i);
  return entries;
}();
#endif

// The same on the device, which has no such tables.
FMTC_HD inline Code code_of(uint32_t dbx) noexcept {
#if defined(__CUDA_ARCH__)
  return plane_code(dbx);
#else
  return kPlaneCodes[dbx];
#endif
}

FMTC_HD inline Entry find_entry(uint32_t bits) noexcept {
#if defined(__CUDA_ARCH__)
  return entry_of(bits);
#else
  return kEntries[bits];
#endif
}

FMTC_HD inline void put(BitWriter& writer, Code code) noexcept {
  writer.put(code.bits, code.length);
}

// ---------------------------------------------------------------------------------------------
// Zeros

// Writes the marks of all values.
FMTC_HD inline void put_marks(std::span<const int16_t> levels, BitWriter& writer) noexcept {
  constexpr size_t kMarks = 32;  // of values that are not zero, at a time
  for (auto next = levels.begin(); next != levels.end();) {
    const bool zeros = *next == 0;
    const size_t most =
        std::min<size_t>(zeros ? kEbpcBurst : kMarks, static_cast<size_t>(levels.end() - next));
    size_t count = 1;
    while (count < most && (next[static_cast<std::ptrdiff_t>(count)] == 0) == zeros) ++count;
    if (zeros) {
      writer.put((count - 1) << 1, 1 + kLengthBits);
    } else {
      writer.put((uint64_t{1} << count) - 1, static_cast<int>(count));
    }
    writer.flush();
    next += static_cast<std::ptrdiff_t>(count);
  }
}

// Sets levels to 0 where they are zeros, else to 1; false where the marks are not those of so many
// values.
FMTC_HD inline bool take_marks(BitReader& reader, std::span<int16_t> levels,
                               size_t& others) noexcept {
  others = 0;
  for (size_t i = 0; i < levels.size();) {
    reader.refill();
    const size_t left = levels.size() - i;
    size_t count = static_cast<size_t>(std::countr_one(reader.peek()));
    if (count > 0) {
      count = std::min({count, left, static_cast<size_t>(reader.available())});
      if (count == 0) return false;
      reader.skip(static_cast<int>(count));
      std::fill_n(levels.begin() + static_cast<std::ptrdiff_t>(i), count, int16_t{1});
      others += count;
    } else {
      if (reader.available() < 1 + kLengthBits) return false;
      count = (reader.peek() >> 1 & (kEbpcBurst - 1)) + 1;
      if (count > left) return false;
      reader.skip(1 + kLengthBits);
      std::fill_n(levels.begin() + static_cast<std::ptrdiff_t>(i), count, int16_t{0});
    }
    i += count;
  }
  return true;
}

// ---------------------------------------------------------------------------------------------
// Octuples

// Bit j of byte i becomes bit i of byte j: halves of 1, 2, 4 bits and bytes change places.
FMTC_HD constexpr uint64_t transpose(uint64_t bytes) noexcept {
  uint64_t t = (bytes ^ bytes >> 7) & 0x00AA00AA00AA00AAu;
  bytes ^= t ^ t << 7;
  t = (bytes ^ bytes >> 14) & 0x0000CCCC0000CCCCu;
  bytes ^= t ^ t << 14;
  t = (bytes ^ bytes >> 28) & 0x00000000F0F0F0F0u;
  return bytes ^ t ^ t << 28;
}

// The planes of differences of up to 16 bits.
FMTC_HD inline Planes planes_of(const std::array<uint32_t, kDeltas>& deltas) noexcept {
  Planes planes;
  for (size_t half = 0; half < 2; ++half) {
    uint64_t bytes = 0;
    for (int k = 0; k < kDeltas; ++k) {
      bytes |= uint64_t{deltas[static_cast<size_t>(k)] >> 8 * half & 0xFF} << 8 * k;
    }
    store_le(planes.data() + 8 * half, transpose(bytes));
  }
  return planes;
}

// The inverse.
FMTC_HD inline std::array<uint32_t, kDeltas> deltas_of(const Planes& planes) noexcept {
  std::array<uint32_t, kDeltas> deltas{};
  for (size_t half = 0; half < 2; ++half) {
    const uint64_t bytes = transpose(load_le<uint64_t>(planes.data() + 8 * half));
    for (int k = 0; k < kDeltas; ++k) {
      deltas[static_cast<size_t>(k)] |= static_cast<uint32_t>(bytes >> 8 * k & 0xFF) << 8 * half;
    }
  }
  return deltas;
}

FMTC_HD inline void put_zero_planes(int run, int bits, BitWriter& writer) noexcept {
  if (run == 1) {
    put(writer, kZeroPlane);
  } else if (run > 1) {
    put(writer, kZeroPlanes);
    writer.put(static_cast<uint64_t>(run - 2), bits);
  }
}

FMTC_HD inline void put_octuple(const Octuple& octuple, int word_bits, BitWriter& writer) noexcept {
  const uint32_t mask = (2u << word_bits) - 1;  // of a difference, which has a bit more
  std::array<uint32_t, kDeltas> deltas;
  for (size_t k = 0; k < kDeltas; ++k) deltas[k] = (octuple[k + 1] - octuple[k]) & mask;
  const Planes planes = planes_of(deltas);
  writer.put(octuple[0], word_bits);
  const int bits = run_bits(word_bits);
  int run = 0;
  uint8_t above = 0;
  for (int p = word_bits; p >= 0; --p) {
    const uint8_t dbp = planes[static_cast<size_t>(p)];
    const auto dbx = static_cast<uint8_t>(dbp ^ above);
    above = dbp;
    if (dbx == 0) {
      ++run;
      continue;
    }
    put_zero_planes(run, bits, writer);
    run = 0;
    put(writer, dbp == 0 && dbx != kAllOnes ? kZeroDbp : code_of(dbx));
    writer.flush();
  }
  put_zero_planes(run, bits, writer);
  writer.flush();
}

FMTC_HD inline bool take_planes(BitReader& reader, int word_bits, Planes& planes) noexcept {
  const int bits = run_bits(word_bits);
  planes.fill(0);
  uint8_t above = 0;
  for (int p = word_bits; p >= 0;) {
    reader.refill();
    const Entry entry =
        find_entry(static_cast<uint32_t>(reader.peek() & ((1u << kLongestCode) - 1)));
    int run = 1, length = entry.length;
    switch (entry.kind) {
      case Kind::kDbx:
        above ^= entry.dbx;
        break;
      case Kind::kZeroDbp:
        above = 0;
        break;
      case Kind::kZeroPlanes:
        run = 2 + static_cast<int>(reader.peek() >> length & ((1u << bits) - 1));
        length += bits;
        break;
      case Kind::kBad:
        return false;
    }
    if (length > reader.available() || run > p + 1) return false;
    reader.skip(length);
    for (; run > 0; --run, --p) planes[static_cast<size_t>(p)] = above;
  }
  return true;
}

// False for bits that are no octuple.
FMTC_HD inline bool take_octuple(BitReader& reader, int word_bits, Octuple& octuple) noexcept {
  reader.refill();
  if (reader.available() < word_bits) return false;
  octuple[0] = static_cast<uint32_t>(reader.peek() & ((1u << word_bits) - 1));
  reader.skip(word_bits);
  Planes planes;
  if (!take_planes(reader, word_bits, planes)) return false;
  const std::array<uint32_t, kDeltas> deltas = deltas_of(planes);
  const uint32_t mask = (2u << word_bits) - 1;
  uint32_t above = 0;
  for (size_t k = 0; k < kDeltas; ++k) {
    octuple[k + 1] = (octuple[k] + deltas[k]) & mask;
    above |= octuple[k + 1] >> word_bits;  // no word
  }
  return above == 0;
}

// Fills the values that are marked 1 with the words of an octuple, in order.
class Filler {
 public:
  FMTC_HD Filler(std::span<int16_t> levels, Words words, size_t others) noexcept
      : next_(levels.data()), words_(words), left_(others) {}

  FMTC_HD size_t left() const noexcept { return left_; }

  // False where a word is that of zero, or what fills up the last octuple does not repeat its last
  // word.
  FMTC_HD bool fill(const Octuple& octuple) noexcept {
    const size_t count = std::min<size_t>(left_, kEbpcOctuple);
    for (size_t k = 0; k < count; ++k) {
      while (*next_ == 0) ++next_;
      *next_ = words_.level(octuple[k]);
      if (*next_++ == 0) return false;
    }
    left_ -= count;
    return std::all_of(octuple.begin() + static_cast<std::ptrdiff_t>(count), octuple.end(),
                       [&](uint32_t word) { return word == octuple[count - 1]; });
  }

 private:
  int16_t* next_;
  Words words_;
  size_t left_;
};

FMTC_HD inline Status encode(std::span<const int16_t> levels, Words words, std::span<uint8_t> out,
                             size_t& used) noexcept {
  if (!words.all_have_words(levels)) return Status::kNoCode;
  BitWriter writer(out);
  put_marks(levels, writer);
  Octuple octuple;
  size_t filled = 0;
  for (const int16_t level : levels) {
    if (level == 0) continue;
    octuple[filled++] = words.word(level);
    if (filled == kEbpcOctuple) {
      put_octuple(octuple, words.bits, writer);
      filled = 0;
    }
  }
  if (filled > 0) {
    std::fill(octuple.begin() + static_cast<std::ptrdiff_t>(filled), octuple.end(),
              octuple[filled - 1]);
    put_octuple(octuple, words.bits, writer);
  }
  return writer.finish(used);
}

FMTC_HD inline Status decode(std::span<const uint8_t> payload, Words words,
                             std::span<int16_t> levels) noexcept {
  BitReader reader(payload);
  size_t others = 0;
  if (!take_marks(reader, levels, others)) return Status::kBadCode;
  Filler filler(levels, words, others);
  while (filler.left() > 0) {
    Octuple octuple;
    if (!take_octuple(reader, words.bits, octuple) || !filler.fill(octuple))
      return Status::kBadCode;
  }
  reader.refill();
  return reader.at_end() ? Status::kOk : Status::kBadCode;
}

}  // namespace fmtc::ebpc
