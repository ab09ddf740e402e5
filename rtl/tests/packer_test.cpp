// fmtc_packer and fmtc_unpacker against the core's BitWriter and BitReader.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "Vfmtc_packer.h"
#include "Vfmtc_unpacker.h"
#include "bench.h"
#include "core/bitstream.h"

namespace fmtc::rtl {
namespace {

struct Code {
  uint32_t bits = 0;
  int length = 0;
  bool join = false, last = false;
};

// Codes of strings, a join of some of them to the one before, and the bytes of each by the core.
struct Strings {
  std::vector<Code> codes;
  std::vector<std::vector<uint8_t>> bytes;
  std::vector<int> begin;  // the first byte of each in its word

  Strings(size_t count, std::mt19937& random) {
    int ended = 0;
    for (size_t i = 0; i < count; ++i) {
      const size_t size = i % 5 == 0 ? 1 : random() % 40;
      const bool join = random() % 2 == 1;
      std::vector<uint8_t> out(2 * size + 16);
      BitWriter writer(out);
      for (size_t j = 0; j < std::max<size_t>(size, 1); ++j) {
        // A string of no bits is one code of none.
        const int length = size == 0 ? 0 : static_cast<int>(random() % 17);
        const uint32_t bits = static_cast<uint32_t>(random()) & ((1u << length) - 1);
        codes.push_back({bits, length, join, j + 1 >= size});
        writer.put(bits, length);
        writer.flush();
      }
      size_t used = 0;
      EXPECT_EQ(writer.finish(used), Status::kOk);
      out.resize(used);
      begin.push_back(join ? ended : 0);
      ended = static_cast<int>((static_cast<size_t>(begin.back()) + used) % 4);
      bytes.push_back(out);
    }
  }
};

TEST(Packer, WritesTheBytesOfTheCore) {
  for (const double share : kShares) {
    std::mt19937 random(1);
    const Strings strings(400, random);
    Bench<Vfmtc_packer> bench;
    Source<Code> codes(bench->in_valid, bench->in_ready,
                       [&](const Code& code) {
                         bench->in_bits = static_cast<uint16_t>(code.bits);
                         bench->in_length = static_cast<uint8_t>(code.length);
                         bench->in_join = code.join;
                         bench->in_last = code.last;
                       },
                       {share, 1});
    Sink<Word> words(
        bench->out_valid, bench->out_ready,
        [&] {
          return Word{bench->out_data, bench->out_begin, bench->out_end, bench->out_last != 0};
        },
        {share, 2});
    bench.attach(codes);
    bench.attach(words);
    bench.reset();
    for (const Code& code : strings.codes) codes.push(code);
    ASSERT_TRUE(bench.run([&] { return codes.empty(); }, 1000000, 200));

    size_t next = 0;
    for (size_t i = 0; i < strings.bytes.size(); ++i) {
      const size_t first = next;
      while (next < words.items.size() && !words.items[next].last) ++next;
      ASSERT_LT(next, words.items.size()) << "string " << i << " has no end";
      ++next;
      const std::span<const Word> own(words.items.data() + first, next - first);
      EXPECT_EQ(own[0].begin, strings.begin[i]) << "string " << i;
      ASSERT_EQ(to_bytes(own), strings.bytes[i]) << "string " << i;
      for (size_t j = 0; j < own.size(); ++j) {
        if (j > 0) {
          EXPECT_EQ(own[j].begin, 0);
        }
        if (j + 1 < own.size()) {
          EXPECT_EQ(own[j].end, 4);
        }
        const uint64_t mask = ((uint64_t{1} << 8 * own[j].end) - 1) >> 8 * own[j].begin
                                                                           << 8 * own[j].begin;
        EXPECT_EQ(own[j].data & ~mask, 0u) << "bits outside the string";
      }
    }
    EXPECT_EQ(next, words.items.size());
  }
}

TEST(Packer, TakesACodeACycle) {
  Bench<Vfmtc_packer> bench;
  bench.reset();
  bench->in_valid = bench->out_ready = 1;
  bench->in_length = 16;
  for (int i = 0; i < 1000; ++i) {
    bench.edge();
    ASSERT_TRUE(bench->in_ready);
  }
}

// Takes what is there in random lengths, as a decoder does.
std::vector<bool> take_all(Bench<Vfmtc_unpacker>& bench, Source<Word>& words, std::mt19937& random,
                           bool discard_rest) {
  std::vector<bool> taken;
  bool discarding = false;
  for (int i = 0; i < 20000; ++i) {
    bench->take = 0;
    bench->next = 0;
    bench->discard = discarding;
    words.drive();
    bench->clk = 0;
    bench->eval();
    const int count = static_cast<int8_t>(bench->count << 1) / 2;
    const bool over = bench->ended && (count == 0 || discarding);
    if (over) {
      EXPECT_TRUE(bench->rest_is_zero || discarding);
      bench->next = 1;
    } else if (!discarding && random() % 4 != 0) {
      const int length = std::min<int>(count, static_cast<int>(random() % 17));
      for (int j = 0; j < length; ++j) taken.push_back(bench->bits >> j & 1);
      if (count < 16) {
        EXPECT_EQ(bench->bits >> count, 0) << "bits beyond the end";
      }
      bench->take = static_cast<uint8_t>(length);
    }
    discarding = discarding || (discard_rest && random() % 16 == 0);
    bench->eval();
    words.sample();
    bench->clk = 1;
    bench->eval();
    if (over) return taken;
  }
  ADD_FAILURE() << "a string has no end";
  return taken;
}

TEST(Unpacker, ReadsTheBitsOfTheCore) {
  for (const double share : kShares) {
    std::mt19937 random(2);
    Bench<Vfmtc_unpacker> bench;
    Source<Word> words(bench->in_valid, bench->in_ready,
                       [&](const Word& word) {
                         bench->in_data = word.data;
                         bench->in_begin = word.begin;
                         bench->in_end = word.end;
                         bench->in_last = word.last;
                       },
                       {share, 1});
    bench->discard = bench->next = bench->take = 0;
    bench.reset();
    std::vector<std::vector<uint8_t>> strings;
    for (int i = 0; i < 300; ++i) {
      std::vector<uint8_t> bytes(i % 7 == 0 ? random() % 2 : random() % 50);
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
      for (const Word& word : to_words(bytes, static_cast<int>(random() % 4), &random))
        words.push(word);
      strings.push_back(bytes);
    }
    for (size_t i = 0; i < strings.size(); ++i) {
      const bool discard_rest = i % 3 == 2;
      const std::vector<bool> taken = take_all(bench, words, random, discard_rest);
      BitReader reader(strings[i]);
      for (const bool bit : taken) {
        reader.refill();
        ASSERT_GT(reader.available(), 0) << "more bits than string " << i << " has";
        ASSERT_EQ(bit, (reader.peek() & 1) != 0) << "string " << i;
        reader.skip(1);
      }
      if (!discard_rest) {
        ASSERT_EQ(taken.size(), 8 * strings[i].size());
      }
    }
    EXPECT_TRUE(words.empty());
  }
}

TEST(Unpacker, GivesFifteenBitsACycle) {
  Bench<Vfmtc_unpacker> bench;
  bench->discard = bench->next = bench->take = 0;
  bench.reset();
  bench->in_valid = 1;
  bench->in_begin = 0;
  bench->in_end = 4;
  bench->in_last = 0;
  for (int i = 0; i < 4; ++i) bench.edge();
  for (int i = 0; i < 1000; ++i) {
    ASSERT_GE(bench->count, 15);
    bench->take = i % 3 == 0 ? 1 : 15;
    bench.edge();
  }
}

}  // namespace
}  // namespace fmtc::rtl
