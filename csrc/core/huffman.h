#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/coding.h"
#include "core/device.h"
#include "core/status.h"

namespace fmtc {

// Canonical, length-limited Huffman codes, stage by stage: counts -> code lengths -> encode and
// decode tables -> chunks. A symbol is level - lo.
//
// Canonical code: among the symbols with a length, ordered by (length, symbol), the first has the
// code 0, and each next one the code of the one before plus 1, shifted left by the growth in
// length. A code is written most significant bit first into the LSB-first bit string, so tables
// hold codes with their bits reversed.

inline constexpr int kMaxCodeLength = 15;
inline constexpr int kMaxSubstreams = 16;
inline constexpr size_t kSubstreamSizeBytes = 4;  // in a chunk

// The optimal code lengths under a limit (package-merge).
//   counts      [symbols], >= 0, sum below 2^59; a symbol of count 0 gets length 0 (no code);
//               exactly one symbol with a count gets length 1
//   max_length  1..15
//   lengths     [symbols], written
// kBadTable where more than 2^max_length (or kMaxSymbols) symbols are to be coded, kOutOfRange for
// a negative or too large count, kBadArgument for sizes and limits.
Status huffman_lengths(std::span<const int64_t> counts, int max_length,
                       std::span<uint8_t> lengths) noexcept;

// entries[symbol] = length << 16 | bit-reversed code; 0 for a symbol without a code.
// kBadTable unless the lengths are those of a complete prefix code (Kraft sum exactly 1), or of the
// one-symbol code (a single length 1).
Status huffman_encode_table(std::span<const uint8_t> lengths, std::span<uint32_t> entries) noexcept;

// entries[the next table_bits bits]: the first symbol in bits 0..11 and the length of its code in
// bits 28..31, the first bit read in bit 0 of the index. Where the second code, too, lies within
// the first min(table_bits, 11) bits, its symbol is in bits 16..27, its length in 12..15,
// and 28..31 hold the length of both. The unused half of the one-symbol code is 0.
//   table_bits  from the longest length to 15;  entries: [2^table_bits]
Status huffman_decode_table(std::span<const uint8_t> lengths, int table_bits,
                            std::span<uint32_t> entries) noexcept;

// kBadArgument unless tables_valid and a table has at most kMaxSymbols entries. To be called once
// before coding.
Status huffman_check_encode_tables(const ComponentTables& tables, uint64_t components) noexcept;
// kBadArgument unless tables_valid and a table has 2^1 .. 2^15 entries.
Status huffman_check_decode_tables(const ComponentTables& tables, uint64_t components) noexcept;

// The largest payload of a chunk of `values` values: 15 bits a value and the sizes of sub-streams.
size_t huffman_chunk_bound(size_t values, int substreams) noexcept;

// The smallest one: no code is shorter than a bit.
FMTC_HD inline size_t huffman_smallest_payload(size_t values, int substreams) noexcept {
  return (values + 7) / 8 + kSubstreamSizeBytes * static_cast<size_t>(substreams - 1);
}

// A chunk of n values is `substreams` (1..16) consecutive runs of ceil(n / substreams) values, the
// last ones shorter or empty. Its payload: the byte sizes of all runs but the last as u32, then
// each run's bit string. It may begin inside a component and span any number of them.
//   levels  the chunk's values, of which the first has index `first` in the tensor
//   tables  checked by huffman_check_encode_tables, first + levels.size() <= components * plane
//   out     huffman_chunk_bound bytes suffice; `used` becomes the payload's size
// kNoCode where a level has no code, kBufferTooSmall.
Status huffman_chunk_encode(std::span<const int16_t> levels, uint64_t first,
                            const ComponentTables& tables, int substreams, std::span<uint8_t> out,
                            size_t& used) noexcept;

// The inverse; writes all of `levels` or returns kBadCode (levels are then unspecified). Every
// bit of the payload must be used.
Status huffman_chunk_decode(std::span<const uint8_t> payload, uint64_t first,
                            const ComponentTables& tables, int substreams,
                            std::span<int16_t> levels) noexcept;

// The index of the first level without a code, or levels.size(): for the message after kNoCode.
//   levels  all values of the tensor;  tables: checked by huffman_check_encode_tables
size_t find_uncodable(std::span<const int16_t> levels, const ComponentTables& tables) noexcept;

}  // namespace fmtc
