#pragma once

// What the core and the CUDA kernels share of the Huffman coder (core/huffman.h): entries, how a
// chunk is cut, and decoding code by code.
#include <algorithm>
#include <cstdint>
#include <span>

#include "core/bitstream.h"
#include "core/bytes.h"
#include "core/huffman.h"

namespace fmtc {

// Decode entries: first symbol in bits 0..11, length of the second code in 12..15, second symbol in
// 16..27, length of both codes in 28..31.
inline constexpr int kLengthShift = 12;
inline constexpr int kSecondShift = 16;
inline constexpr int kTotalShift = 28;
static_assert(kMaxSymbols == 1u << kLengthShift);

// Entries are first looked up by this many bits, so that what is used stays in the L1 cache; two
// codes are in one entry where they have no more bits together.
inline constexpr int kPairBits = 11;

// Tables are data that a caller may have read from a file, so whatever the entries are, lengths
// are limited to what the bit buffers can take.
FMTC_HD FMTC_ALWAYS_INLINE int encode_length(uint32_t entry) noexcept {
  return static_cast<int>(entry >> 16 & 15);
}
FMTC_HD FMTC_ALWAYS_INLINE int total_length(uint32_t entry) noexcept {
  return static_cast<int>(entry >> kTotalShift);
}
FMTC_HD FMTC_ALWAYS_INLINE int second_length(uint32_t entry) noexcept {
  return static_cast<int>(entry >> kLengthShift & 15);
}
FMTC_HD FMTC_ALWAYS_INLINE bool has_second(uint32_t entry) noexcept {
  return (entry & 15u << kLengthShift) != 0;
}
FMTC_HD FMTC_ALWAYS_INLINE int first_length(uint32_t entry) noexcept {
  return (total_length(entry) - second_length(entry)) & 15;
}
FMTC_HD FMTC_ALWAYS_INLINE int16_t first_level(uint32_t entry, int32_t lo) noexcept {
  return static_cast<int16_t>(lo + static_cast<int32_t>(entry & (kMaxSymbols - 1)));
}

// Decodes with checks at every code; false where the bits are none or are not there.
FMTC_HD inline bool decode_levels(BitReader& reader, int32_t lo, const uint32_t* entries,
                                  size_t mask, int16_t* levels, size_t count) noexcept {
  for (size_t i = 0; i < count; ++i) {
    reader.refill();
    const uint32_t entry = entries[reader.peek() & mask];
    const int length = first_length(entry);
    if (length == 0 || length > reader.available()) return false;
    reader.skip(length);
    levels[i] = first_level(entry, lo);
  }
  return true;
}

// Sub-stream `index` of a chunk of `values` values.
struct Substream {
  FMTC_HD Substream(size_t values, int substreams, int index) noexcept {
    const auto count = static_cast<size_t>(substreams);
    const size_t full = values / count + (values % count != 0);
    first = std::min(values, full * static_cast<size_t>(index));
    size = std::min(full, values - first);
  }
  size_t first;
  size_t size;
};

// Cuts a chunk's payload into its sub-streams; false where the sizes do not fit into it.
FMTC_HD inline bool split_payload(std::span<const uint8_t> payload, int substreams,
                                  std::span<std::span<const uint8_t>> parts) noexcept {
  const auto count = static_cast<size_t>(substreams);
  const size_t sizes = kSubstreamSizeBytes * (count - 1);
  if (payload.size() < sizes) return false;
  std::span<const uint8_t> rest = payload.subspan(sizes);
  for (size_t i = 0; i + 1 < count; ++i) {
    const size_t size = load_le<uint32_t>(payload.data() + kSubstreamSizeBytes * i);
    if (size > rest.size()) return false;
    parts[i] = rest.first(size);
    rest = rest.subspan(size);
  }
  parts[count - 1] = rest;
  return true;
}

// One of these parts; false where not all of them fit.
FMTC_HD inline bool find_part(std::span<const uint8_t> payload, int substreams, int index,
                              std::span<const uint8_t>& part) noexcept {
  const auto count = static_cast<size_t>(substreams), wanted = static_cast<size_t>(index);
  const size_t sizes = kSubstreamSizeBytes * (count - 1);
  if (payload.size() < sizes) return false;
  std::span<const uint8_t> rest = payload.subspan(sizes);
  for (size_t i = 0; i + 1 < count; ++i) {
    const size_t size = load_le<uint32_t>(payload.data() + kSubstreamSizeBytes * i);
    if (size > rest.size()) return false;
    if (i == wanted) part = rest.first(size);
    rest = rest.subspan(size);
  }
  if (wanted + 1 == count) part = rest;
  return true;
}

}  // namespace fmtc
