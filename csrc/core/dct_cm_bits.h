#pragma once

// The bits of DCT-CM chunks (core/dct_cm.h), for the core and for the CUDA kernels.
#include <algorithm>

#include "core/bitstream.h"
#include "core/dct_cm.h"

namespace fmtc::dct_cm {

inline constexpr size_t kMaskBits = 32;  // at a time

// The mask of up to kMaskBits values.
FMTC_HD inline uint64_t mask_of(std::span<const int16_t> levels) noexcept {
  uint64_t mask = 0;
  for (size_t i = 0; i < levels.size(); ++i) mask |= uint64_t{levels[i] != 0} << i;
  return mask;
}

FMTC_HD inline Status encode(std::span<const int16_t> levels, Words words, std::span<uint8_t> out,
                             size_t& used) noexcept {
  if (!words.all_have_words(levels)) return Status::kNoCode;
  BitWriter writer(out);
  for (size_t i = 0; i < levels.size(); i += kMaskBits) {
    const size_t count = std::min(size_t{kMaskBits}, levels.size() - i);
    writer.put(mask_of(levels.subspan(i, count)), static_cast<int>(count));
    writer.flush();
  }
  for (const int16_t level : levels) {
    if (level == 0) continue;
    writer.put(words.word(level), words.bits);
    writer.flush();
  }
  return writer.finish(used);
}

FMTC_HD inline Status decode(std::span<const uint8_t> payload, Words words,
                             std::span<int16_t> levels) noexcept {
  BitReader reader(payload);
  for (size_t i = 0; i < levels.size(); i += kMaskBits) {
    const size_t count = std::min(size_t{kMaskBits}, levels.size() - i);
    reader.refill();
    if (reader.available() < static_cast<int>(count)) return Status::kBadCode;
    for (size_t k = 0; k < count; ++k) {
      levels[i + k] = static_cast<int16_t>(reader.peek() >> k & 1);
    }
    reader.skip(static_cast<int>(count));
  }
  for (int16_t& level : levels) {
    if (level == 0) continue;
    reader.refill();
    if (reader.available() < words.bits) return Status::kBadCode;
    level = words.level(static_cast<uint32_t>(reader.peek() & (words.count() - 1)));
    if (level == 0) return Status::kBadCode;
    reader.skip(words.bits);
  }
  reader.refill();
  return reader.at_end() ? Status::kOk : Status::kBadCode;
}

}  // namespace fmtc::dct_cm
