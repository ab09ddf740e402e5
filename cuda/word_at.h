#pragma once

#include "cuda/kernel.h"

namespace fmtc::cuda {

// The four bytes from `offset` on as a little-endian number, with zeros for those behind `size`.
// Words are loaded as such, wherever the bytes begin, but for the last few of them.
FMTC_DEVICE inline uint32_t word_at(const uint8_t* bytes, uint64_t size, uint64_t offset) {
  const uint8_t* const from = bytes + offset;
  const auto misaligned = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(from) % 4);
  if (offset >= misaligned && offset + 8 <= size) {
    const auto* const words = reinterpret_cast<const uint32_t*>(from - misaligned);
    return static_cast<uint32_t>((uint64_t{words[1]} << 32 | words[0]) >> 8 * misaligned);
  }
  uint32_t word = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    if (offset + i < size) word |= uint32_t{from[i]} << 8 * i;
  }
  return word;
}

}  // namespace fmtc::cuda
