#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/status.h"
#include "core/words.h"

namespace fmtc {

// Extended bit-plane compression (Cavigelli, Rutishauser, Benini: "EBPC: Extended Bit-Plane
// Compression for Deep Neural Network Inference and Training Accelerators", 2019), lossless: runs
// of zeros, then the other values in octuples, whose differences are coded by bit planes.
//
// A chunk's payload is one bit string (docs/stream_format.md, "EBPC chunks"): for its values in
// order, 1 for a value that is not zero, 0 and 4 bits (length - 1) for up to 16 zeros; then the
// octuples of the words that are not zero's.

inline constexpr int kEbpcOctuple = 8;     // words
inline constexpr int kEbpcBurst = 16;      // zeros in a run at most
inline constexpr int kEbpcLengthBits = 4;  // of such a run

// The largest payload of a chunk of `values` values, whatever the words' size.
size_t ebpc_chunk_bound(size_t values) noexcept;

// The smallest one: 16 values take at least the 5 bits of a run of zeros.
FMTC_HD inline size_t ebpc_smallest_payload(size_t values) noexcept {
  const size_t bursts = values / kEbpcBurst, others = values % kEbpcBurst;
  return (bursts * (1 + kEbpcLengthBits) + (others > 0) + 7) / 8;
}

//   levels  the chunk's values;  out: ebpc_chunk_bound bytes suffice; `used`: the payload's size
// kNoCode where a level has no word, kBufferTooSmall.
Status ebpc_chunk_encode(std::span<const int16_t> levels, Words words, std::span<uint8_t> out,
                         size_t& used) noexcept;

// The inverse; writes all of `levels` or returns kBadCode (levels are then unspecified). Every bit
// of the payload must be used.
Status ebpc_chunk_decode(std::span<const uint8_t> payload, Words words,
                         std::span<int16_t> levels) noexcept;

}  // namespace fmtc
