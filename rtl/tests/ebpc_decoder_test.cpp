// fmtc_ebpc_decoder against the core's chunks.
#include <gtest/gtest.h>

#include <random>

#include "Vfmtc_ebpc_decoder.h"
#include "bench.h"
#include "ebpc_cases.h"
#include "golden_fixture.h"
#include "real.h"

namespace fmtc::rtl {
namespace {

class Decoder {
 public:
  Decoder(double share, uint32_t seed)
      : chunks_(bench_->chunk_valid, bench_->chunk_ready,
                [this](uint32_t values) { bench_->chunk_values = static_cast<uint16_t>(values); },
                {share, seed}),
        words_(bench_->in_valid, bench_->in_ready,
               [this](const Word& word) {
                 bench_->in_data = word.data;
                 bench_->in_begin = word.begin;
                 bench_->in_end = word.end;
                 bench_->in_last = word.last;
               },
               {share, seed + 1}),
        levels(bench_->out_valid, bench_->out_ready,
               [this] { return static_cast<int16_t>(bench_->out_level); }, {share, seed + 2}),
        bad(bench_->done_valid, bench_->done_ready, [this] { return bench_->done_bad != 0; },
            {share, seed + 3}) {
    for (Port* port : std::initializer_list<Port*>{&chunks_, &words_, &levels, &bad}) {
      bench_.attach(*port);
    }
    bench_.reset();
  }

  void set(Words words) {
    bench_->word_bits = static_cast<uint8_t>(words.bits);
    bench_->lo = static_cast<uint16_t>(words.lo);
  }
  void push(std::span<const uint8_t> payload, size_t values, std::mt19937& random) {
    chunks_.push(static_cast<uint32_t>(values));
    for (const Word& word : to_words(payload, static_cast<int>(random() % 4), &random)) {
      words_.push(word);
    }
    ++expected_;
    values_ += values;
  }
  uint64_t finish() {
    const uint64_t before = bench_.cycles();
    EXPECT_TRUE(
        bench_.run([&] { return bad.items.size() >= expected_ && levels.items.size() >= values_; },
                   300 * (values_ + words_.size()) + 100000))
        << bad.items.size() << " of " << expected_ << " chunks, " << levels.items.size() << " of "
        << values_ << " levels";
    const uint64_t cycles = bench_.cycles() - before;
    bench_.run([] { return true; }, 1, 30);
    EXPECT_EQ(levels.items.size(), values_);
    EXPECT_EQ(bad.items.size(), expected_);
    EXPECT_TRUE(words_.empty());
    return cycles;
  }
  void clear() {
    levels.items.clear();
    bad.items.clear();
    expected_ = values_ = 0;
  }

 private:
  Bench<Vfmtc_ebpc_decoder> bench_;
  size_t expected_ = 0, values_ = 0;
  Source<uint32_t> chunks_;
  Source<Word> words_;

 public:
  Sink<int16_t> levels;
  Sink<bool> bad;
};

bool core_refuses(std::span<const uint8_t> payload, Words words, size_t values) {
  std::vector<int16_t> levels(values);
  return ebpc_chunk_decode(payload, words, levels) != Status::kOk;
}

TEST(EbpcDecoder, RandomLevels) {
  const uint64_t values = work();
  uint64_t done = 0;
  for (uint32_t round = 0; done < 2 * values; ++round) {
    std::mt19937 random(round + 1);
    Decoder decoder(kShares[round % std::size(kShares)], round);
    for (int i = 0; i < 4; ++i) {
      const Words words = random_words(random);
      decoder.set(words);
      std::vector<int16_t> expected;
      std::vector<bool> refused;
      std::vector<std::pair<size_t, size_t>> good;  // where levels must be equal
      for (int j = 0; j < 12; ++j) {
        const size_t size = j % 3 == 0 ? 1 + random() % 20 : 1 + random() % 1000;
        const auto levels = random_levels(words, size, random);
        auto payload = ebpc_payload(levels, words);
        // Damage: refused where the core refuses, and the next chunk is not concerned.
        if (random() % 2 == 0) {
          payload[random() % payload.size()] ^= static_cast<uint8_t>(1 << random() % 8);
          if (random() % 4 == 0) payload.pop_back();
          if (random() % 4 == 0) payload.push_back(static_cast<uint8_t>(random() % 2));
        }
        std::vector<int16_t> decoded(size);
        const bool is_good = ebpc_chunk_decode(payload, words, decoded) == Status::kOk;
        refused.push_back(!is_good);
        if (is_good) good.emplace_back(expected.size(), size);
        expected.insert(expected.end(), decoded.begin(), decoded.end());
        decoder.push(payload, size, random);
        done += size;
      }
      decoder.finish();
      EXPECT_EQ(decoder.bad.items, refused) << "round " << round << " case " << i;
      for (const auto& [first, size] : good) {
        const auto part = [&](const std::vector<int16_t>& all) {
          return std::vector<int16_t>(all.begin() + static_cast<std::ptrdiff_t>(first),
                                      all.begin() + static_cast<std::ptrdiff_t>(first + size));
        };
        ASSERT_EQ(part(decoder.levels.items), part(expected))
            << "round " << round << " case " << i << ", " << words.bits << " bits";
      }
      decoder.clear();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

// Any bytes at all: what the core accepts is decoded, the rest refused.
TEST(EbpcDecoder, RandomBytes) {
  std::mt19937 random(2);
  Decoder decoder(0.1, 1);
  size_t accepted = 0;
  for (int i = 0; i < 4000; ++i) {
    const Words words = random_words(random);
    decoder.set(words);
    std::vector<uint8_t> payload(1 + random() % 6);
    for (uint8_t& byte : payload) byte = static_cast<uint8_t>(random() & random());
    const size_t size = 1 + random() % 20;
    const bool refused = core_refuses(payload, words, size);
    accepted += refused ? 0 : 1;
    decoder.push(payload, size, random);
    decoder.finish();
    ASSERT_EQ(decoder.bad.items[0], refused) << "case " << i;
    decoder.clear();
  }
  EXPECT_GT(accepted, 10u);
}

TEST(EbpcDecoder, GoldenStreams) {
  std::mt19937 random(4);
  size_t refused = 0;
  for (const Golden& golden : golden_streams(Coder::kEbpc)) {
    const Words words(golden.tables());
    if (words.bits > 12) continue;
    Decoder decoder(0.1, 1);
    decoder.set(words);
    for (uint64_t i = 0; i < golden.header.chunks(); ++i) {
      const size_t values = golden.header.chunk_values(i);
      if (values > 4096) continue;
      std::vector<int16_t> levels(values);
      const auto payload = golden.payload(i);
      const bool good = ebpc_chunk_decode(payload, words, levels) == Status::kOk;
      refused += good ? 0 : 1;
      decoder.push(payload, values, random);
      decoder.finish();
      EXPECT_EQ(decoder.bad.items[0], !good) << golden.name;
      if (good) {
        EXPECT_EQ(decoder.levels.items, levels) << golden.name;
      }
      decoder.clear();
    }
  }
  EXPECT_GE(refused, 6u);
}

TEST(EbpcDecoder, RealLevels) {
  const auto tensors = real_tensors();
  if (tensors.empty()) GTEST_SKIP() << kNoRealLevels;
  uint64_t values = 0, cycles = 0;
  for (const RealTensor& tensor : tensors) {
    std::mt19937 random(5);
    const Words words = tensor.words();
    Decoder decoder(0, 1);
    decoder.set(words);
    for (const auto chunk : tensor.chunks(4096)) {
      decoder.push(ebpc_payload(chunk, words), chunk.size(), random);
    }
    cycles += decoder.finish();
    EXPECT_EQ(decoder.levels.items, tensor.levels) << tensor.name;
    values += tensor.levels.size();
  }
  report_cycles("ebpc_decoder", cycles, values);
  EXPECT_LE(cycles, 1.15 * static_cast<double>(values));
}

}  // namespace
}  // namespace fmtc::rtl
