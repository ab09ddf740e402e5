#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/status.h"
#include "core/words.h"

namespace fmtc {

// The coding format of DCT-CM ("Transform-Based Feature Map Compression for CNN Inference", 2021),
// as far as its abstract tells: a mask with one bit for each coefficient, and the coefficients that
// are not zero at a fixed width. The DCT itself is a transform like any other, before the quantiser
// and outside of this.
//
// A chunk's payload is one bit string (docs/stream_format.md, "DCT-CM chunks"): the mask of its
// values, 1 where one is not zero, then the words of those, in order.

// The largest payload of a chunk of `values` values, whatever the words' size.
size_t dct_cm_chunk_bound(size_t values) noexcept;

// The smallest one: the mask.
FMTC_HD inline size_t dct_cm_smallest_payload(size_t values) noexcept { return (values + 7) / 8; }

//   levels  the chunk's values;  out: dct_cm_chunk_bound bytes suffice; `used`: the payload's size
// kNoCode where a level has no word, kBufferTooSmall.
Status dct_cm_chunk_encode(std::span<const int16_t> levels, Words words, std::span<uint8_t> out,
                           size_t& used) noexcept;

// The inverse; writes all of `levels` or returns kBadCode (levels are then unspecified). Every bit
// of the payload must be used.
Status dct_cm_chunk_decode(std::span<const uint8_t> payload, Words words,
                           std::span<int16_t> levels) noexcept;

}  // namespace fmtc
