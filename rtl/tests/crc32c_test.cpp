// fmtc_crc32c against the core's checksum, and that of the golden streams' chunks.
#include "core/crc32c.h"

#include <gtest/gtest.h>

#include <random>
#include <string_view>

#include "Vfmtc_crc32c.h"
#include "bench.h"
#include "golden_fixture.h"

namespace fmtc::rtl {
namespace {

class Checksum {
 public:
  Checksum(double share, uint32_t seed)
      : words_(bench_->in_valid, bench_->in_ready,
               [this](const Word& word) {
                 bench_->in_data = word.data;
                 bench_->in_begin = word.begin;
                 bench_->in_end = word.end;
                 bench_->in_last = word.last;
               },
               {share, seed}),
        sums_(bench_->out_valid, bench_->out_ready, [this] { return bench_->out_checksum; },
              {share, seed + 1}) {
    bench_.attach(words_);
    bench_.attach(sums_);
    bench_.reset();
  }

  // Checksums of strings, one after the other.
  std::vector<uint32_t> of(const std::vector<std::vector<uint8_t>>& strings, std::mt19937& random) {
    sums_.items.clear();
    for (const auto& bytes : strings) {
      for (const Word& word : to_words(bytes, static_cast<int>(random() % 4), &random)) {
        words_.push(word);
      }
    }
    const uint64_t before = bench_.cycles();
    const size_t words = words_.size();
    EXPECT_TRUE(
        bench_.run([&] { return sums_.items.size() >= strings.size(); }, 100 * words + 10000, 10));
    cycles_a_word_ = static_cast<double>(bench_.cycles() - before) / static_cast<double>(words);
    return sums_.items;
  }
  double cycles_a_word() const { return cycles_a_word_; }

 private:
  Bench<Vfmtc_crc32c> bench_;
  Source<Word> words_;
  Sink<uint32_t> sums_;
  double cycles_a_word_ = 0;
};

TEST(Crc32c, TheKnownAnswer) {
  std::mt19937 random(1);
  const std::string_view digits = "123456789";
  EXPECT_EQ(Checksum(0, 1).of({{digits.begin(), digits.end()}}, random),
            std::vector<uint32_t>{0xE3069283});
}

TEST(Crc32c, OfRandomBytes) {
  for (const double share : kShares) {
    std::mt19937 random(2);
    std::vector<std::vector<uint8_t>> strings(300);
    std::vector<uint32_t> expected;
    for (auto& bytes : strings) {
      bytes.resize(random() % 60);
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
      expected.push_back(crc32c(bytes));
    }
    EXPECT_EQ(Checksum(share, 1).of(strings, random), expected);
  }
}

TEST(Crc32c, OfGoldenChunks) {
  std::mt19937 random(3);
  Checksum checksum(0.2, 1);
  size_t wrong = 0;
  for (const Coder coder : {Coder::kHuffman, Coder::kRans, Coder::kEbpc, Coder::kDctCm}) {
    for (const Golden& golden : golden_streams(coder)) {
      if (golden.header.chunks() < 2) continue;  // no checksums of their own
      for (uint64_t i = 0; i < golden.header.chunks(); ++i) {
        const ChunkPayload chunk = find_chunk(golden.header, golden.bytes, i);
        const std::vector<uint8_t> bytes(chunk.bytes.begin(), chunk.bytes.end());
        const uint32_t found = checksum.of({bytes}, random)[0];
        EXPECT_EQ(found, crc32c(bytes));
        wrong += found == chunk.checksum ? 0 : 1;
      }
    }
  }
  EXPECT_EQ(wrong, 3u) << "bad-chunk-of-*";
}

TEST(Crc32c, AWordACycle) {
  std::mt19937 random(4);
  Checksum checksum(0, 1);
  checksum.of({std::vector<uint8_t>(40000, 7)}, random);
  EXPECT_LE(checksum.cycles_a_word(), 1.002);
}

}  // namespace
}  // namespace fmtc::rtl
