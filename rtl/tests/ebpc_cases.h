#pragma once

// Random levels with words, and what the core makes of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "core/ebpc.h"
#include "core/words.h"

namespace fmtc::rtl {

// Words of 1 to 12 bits, with that of level 0 among them.
inline Words random_words(std::mt19937& random) {
  const int bits = 1 + static_cast<int>(random() % 12);
  return {-static_cast<int32_t>(random() % (1u << bits)), bits};
}

// Zeros in runs, and others that are near each other, or not.
inline std::vector<int16_t> random_levels(Words words, size_t size, std::mt19937& random) {
  std::vector<int16_t> levels;
  const uint32_t zeros = random() % 11;  // of 10
  const uint32_t spread = 1 + random() % words.count();
  const uint32_t longest = 1 + random() % 40;
  while (levels.size() < size) {
    const size_t run = std::min<size_t>(size - levels.size(), 1 + random() % longest);
    const bool zero = random() % 10 < zeros;
    const auto first = static_cast<int32_t>(random() % words.count());
    for (size_t i = 0; i < run; ++i) {
      const auto word =
          static_cast<uint32_t>(first + static_cast<int32_t>(random() % spread)) % words.count();
      levels.push_back(zero ? int16_t{0} : words.level(word));
    }
  }
  return levels;
}

inline std::vector<uint8_t> ebpc_payload(std::span<const int16_t> levels, Words words) {
  std::vector<uint8_t> out(ebpc_chunk_bound(levels.size()));
  size_t used = 0;
  EXPECT_EQ(ebpc_chunk_encode(levels, words, out, used), Status::kOk);
  out.erase(out.begin() + static_cast<std::ptrdiff_t>(used), out.end());
  return out;
}

}  // namespace fmtc::rtl
