#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "core/words.h"

namespace fmtc {

using Levels = std::vector<int16_t>;
using Bytes = std::vector<uint8_t>;

// A coder without tables, by its functions.
struct WordCoder {
  Status (*encode)(std::span<const int16_t>, Words, std::span<uint8_t>, size_t&) noexcept;
  Status (*decode)(std::span<const uint8_t>, Words, std::span<int16_t>) noexcept;
  size_t (*bound)(size_t) noexcept;
  size_t (*smallest)(size_t) noexcept;

  // The payload of levels, which must fit into exactly its bound.
  Bytes encoded(const Levels& levels, Words words) const {
    Bytes out(bound(levels.size()), 0xEE);
    size_t used = 0;
    EXPECT_EQ(encode(levels, words, out, used), Status::kOk);
    EXPECT_GE(used, smallest(levels.size()));
    EXPECT_LE(used, out.size());
    out.resize(used);
    return out;
  }

  // A copy of exactly the payload's size, so that a sanitizer sees what is read beyond it.
  Status decoded(std::span<const uint8_t> payload, Words words, Levels& levels) const {
    const Bytes exact(payload.begin(), payload.end());
    return decode(exact, words, levels);
  }
};

// Levels for all words, where zero has its one: a share of zeros, and walks of small steps and
// jumps between them.
inline Levels draw(Words words, size_t count, double zeros, std::mt19937& random) {
  std::uniform_real_distribution<double> share(0, 1);
  Levels levels(count);
  uint32_t word = static_cast<uint32_t>(random()) % words.count();
  for (int16_t& level : levels) {
    if (share(random) < 0.3) {
      word = static_cast<uint32_t>(random()) % words.count();
    } else if (share(random) < 0.5) {
      word = (word + 1) % words.count();
    }
    level = share(random) < zeros ? int16_t{0} : words.level(word);
  }
  return levels;
}

// -- Tests that hold for each of them

inline void expect_round_trips(const WordCoder& coder) {
  std::mt19937 random(1);
  for (int bits = 1; bits <= kMaxWordBits; ++bits) {
    for (const int32_t lo : {0, -(1 << bits) + 1, -(1 << (bits - 1))}) {
      const Words words(lo, bits);
      for (const double zeros : {0.0, 0.1, 0.5, 0.95, 1.0}) {
        for (const size_t count : {0, 1, 2, 7, 8, 9, 16, 17, 31, 33, 100, 1000}) {
          const Levels levels = draw(words, count, zeros, random);
          const Bytes payload = coder.encoded(levels, words);
          Levels decoded(count, -1);
          ASSERT_EQ(coder.decoded(payload, words, decoded), Status::kOk);
          ASSERT_EQ(decoded, levels) << bits << " bits, " << count << " values";
        }
      }
    }
  }
}

// The most that any levels take must fit; those that alternate come nearest.
inline void expect_bound_holds(const WordCoder& coder) {
  std::mt19937 random(2);
  for (const int bits : {1, 2, 3, 8, 15}) {
    const Words words(0, bits);
    for (size_t count = 1; count < 70; ++count) {
      for (int round = 0; round < 20; ++round) {
        Levels levels = draw(words, count, 0, random);
        for (size_t i = static_cast<size_t>(round % 3); i < count && round > 10; i += 2) {
          levels[i] = 0;
        }
        coder.encoded(levels, words);
      }
    }
  }
}

inline void expect_damage_is_noticed(const WordCoder& coder) {
  std::mt19937 random(3);
  const Words words(-3, 5);
  const Levels levels = draw(words, 90, 0.4, random);
  const Bytes payload = coder.encoded(levels, words);
  Levels decoded(levels.size());
  for (size_t size = 0; size < payload.size(); ++size) {
    EXPECT_EQ(coder.decoded(std::span(payload).first(size), words, decoded), Status::kBadCode);
  }
  for (const uint8_t more : {0, 1, 0x80}) {
    Bytes longer = payload;
    longer.push_back(more);
    EXPECT_EQ(coder.decoded(longer, words, decoded), Status::kBadCode);
  }
  for (size_t bit = 0; bit < 8 * payload.size(); ++bit) {
    Bytes flipped = payload;
    flipped[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    if (coder.decoded(flipped, words, decoded) == Status::kOk) {
      EXPECT_NE(decoded, levels) << bit;
    }
  }
}

inline void expect_any_bytes_are_safe(const WordCoder& coder) {
  std::mt19937 random(4);
  for (int round = 0; round < 20000; ++round) {
    const Words words(-static_cast<int>(random() % 3), 1 + static_cast<int>(random() % 15));
    Bytes payload(random() % 40);
    const bool sparse = random() % 2 == 0;
    for (uint8_t& byte : payload) {
      byte = static_cast<uint8_t>(sparse ? random() & random() & random() : random());
    }
    Levels decoded(random() % 100);
    const Status status = coder.decoded(payload, words, decoded);
    ASSERT_TRUE(status == Status::kOk || status == Status::kBadCode);
    if (status != Status::kOk) continue;
    for (const int16_t level : decoded) {
      ASSERT_TRUE(level == 0 || words.word(level) < words.count());
    }
  }
}

inline void expect_bad_arguments_are_refused(const WordCoder& coder) {
  const Levels levels = {1, 2, 3, 0, 4, 5, 6, 7, 1, 2};
  const Words words(0, 3);
  const Bytes payload = coder.encoded(levels, words);
  size_t used = 0;
  for (size_t room = 0; room < payload.size(); ++room) {
    Bytes out(room);
    EXPECT_EQ(coder.encode(levels, words, out, used), Status::kBufferTooSmall);
  }
  Bytes out(coder.bound(1));
  for (const int16_t level : {-1, 8, -32768, 32767}) {
    EXPECT_EQ(coder.encode(Levels{level}, words, out, used), Status::kNoCode);
  }
}

}  // namespace fmtc
