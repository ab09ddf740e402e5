// fmtc_ebpc_encoder against the core's chunks.
#include <gtest/gtest.h>

#include <random>

#include "Vfmtc_ebpc_encoder.h"
#include "bench.h"
#include "ebpc_cases.h"
#include "golden_fixture.h"
#include "real.h"

namespace fmtc::rtl {
namespace {

class Encoder {
 public:
  Encoder(double share, uint32_t seed)
      : chunks_(bench_->chunk_valid, bench_->chunk_ready,
                [this](uint32_t values) { bench_->chunk_values = static_cast<uint16_t>(values); },
                {share, seed}),
        levels_(bench_->in_valid, bench_->in_ready,
                [this](int16_t level) { bench_->in_level = static_cast<uint16_t>(level); },
                {share, seed + 1}),
        words_(bench_->out_valid, bench_->out_ready,
               [this] {
                 return Word{bench_->out_data, bench_->out_begin, bench_->out_end,
                             bench_->out_last != 0};
               },
               {share, seed + 2}),
        done_(bench_->done_valid, bench_->done_ready, [this] { return bench_->done_bad != 0; },
              {share, seed + 3}) {
    for (Port* port : std::initializer_list<Port*>{&chunks_, &levels_, &words_, &done_}) {
      bench_.attach(*port);
    }
    bench_.reset();
  }

  void set(Words words) {
    bench_->word_bits = static_cast<uint8_t>(words.bits);
    bench_->lo = static_cast<uint16_t>(words.lo);
  }
  void push(std::span<const int16_t> chunk) {
    chunks_.push(static_cast<uint32_t>(chunk.size()));
    for (const int16_t level : chunk) levels_.push(level);
    ++expected_;
  }
  uint64_t finish() {
    const uint64_t before = bench_.cycles();
    EXPECT_TRUE(
        bench_.run([&] { return done_.items.size() >= expected_; }, 300 * levels_.size() + 100000));
    EXPECT_TRUE(levels_.empty());
    return bench_.cycles() - before;
  }

  struct Chunk {
    std::vector<uint8_t> payload;
    bool bad;
  };
  // All chunks since the last call.
  std::vector<Chunk> chunks() {
    std::vector<Chunk> chunks;
    size_t next = 0;
    for (const bool bad : done_.items) {
      const size_t first = next;
      while (next < words_.items.size() && !words_.items[next].last) ++next;
      next = std::min(next + 1, words_.items.size());
      chunks.push_back({to_bytes(std::span(words_.items).subspan(first, next - first)), bad});
    }
    EXPECT_EQ(next, words_.items.size());
    words_.items.clear();
    done_.items.clear();
    expected_ = 0;
    return chunks;
  }

 private:
  Bench<Vfmtc_ebpc_encoder> bench_;
  size_t expected_ = 0;
  Source<uint32_t> chunks_;
  Source<int16_t> levels_;
  Sink<Word> words_;
  Sink<bool> done_;
};

TEST(EbpcEncoder, RandomLevels) {
  const uint64_t values = work();
  uint64_t done = 0;
  for (uint32_t round = 0; done < 2 * values; ++round) {
    std::mt19937 random(round + 1);
    Encoder encoder(kShares[round % std::size(kShares)], round);
    for (int i = 0; i < 4; ++i) {
      const Words words = random_words(random);
      encoder.set(words);
      std::vector<std::vector<uint8_t>> expected;
      for (int j = 0; j < 5; ++j) {
        const size_t size = j == 0 ? 1 + random() % 20 : 1 + random() % 4096;
        const auto levels = random_levels(words, size, random);
        encoder.push(levels);
        expected.push_back(ebpc_payload(levels, words));
        done += size;
      }
      encoder.finish();
      const auto chunks = encoder.chunks();
      ASSERT_EQ(chunks.size(), expected.size());
      for (size_t j = 0; j < expected.size(); ++j) {
        EXPECT_FALSE(chunks[j].bad);
        ASSERT_EQ(chunks[j].payload, expected[j]) << "round " << round << " case " << i << " chunk "
                                                  << j << ", " << words.bits << " bits";
      }
    }
  }
}

TEST(EbpcEncoder, RefusesLevelsWithoutWord) {
  std::mt19937 random(2);
  Encoder encoder(0.2, 1);
  for (int i = 0; i < 300; ++i) {
    const Words words = random_words(random);
    encoder.set(words);
    auto levels = random_levels(words, 1 + random() % 100, random);
    const int32_t outside[] = {words.lo - 1, words.lo + static_cast<int32_t>(words.count()), -32768,
                               32767};
    levels[random() % levels.size()] = static_cast<int16_t>(outside[random() % 4]);
    encoder.push(levels);
    encoder.finish();
    std::vector<uint8_t> out(ebpc_chunk_bound(levels.size()));
    size_t used;
    const bool refused = ebpc_chunk_encode(levels, words, out, used) == Status::kNoCode;
    EXPECT_EQ(encoder.chunks()[0].bad, refused);
  }
  // Zeros need a word of theirs, too.
  encoder.set(Words(1, 4));
  encoder.push(std::vector<int16_t>{1, 0, 2});
  encoder.finish();
  EXPECT_TRUE(encoder.chunks()[0].bad);
}

TEST(EbpcEncoder, WritesTheGoldenStreams) {
  size_t written = 0;
  for (const Golden& golden : golden_streams(Coder::kEbpc)) {
    const Words words(golden.tables());
    if (words.bits > 12) continue;
    Encoder encoder(0.1, 1);
    encoder.set(words);
    for (uint64_t i = 0; i < golden.header.chunks(); ++i) {
      std::vector<int16_t> levels(golden.header.chunk_values(i));
      const auto payload = golden.payload(i);
      if (levels.size() > 4096 || ebpc_chunk_decode(payload, words, levels) != Status::kOk) {
        continue;
      }
      encoder.push(levels);
      encoder.finish();
      EXPECT_TRUE(std::ranges::equal(encoder.chunks()[0].payload, payload)) << golden.name;
      ++written;
    }
  }
  EXPECT_GE(written, 5u);
}

TEST(EbpcEncoder, RealLevels) {
  const auto tensors = real_tensors();
  if (tensors.empty()) GTEST_SKIP() << kNoRealLevels;
  uint64_t values = 0, cycles = 0;
  for (const RealTensor& tensor : tensors) {
    const Words words = tensor.words();
    Encoder encoder(0, 1);
    encoder.set(words);
    std::vector<std::vector<uint8_t>> expected;
    for (const auto chunk : tensor.chunks(4096)) {
      encoder.push(chunk);
      expected.push_back(ebpc_payload(chunk, words));
    }
    cycles += encoder.finish();
    const auto chunks = encoder.chunks();
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(chunks[i].payload, expected[i]) << tensor.name;
    }
    values += tensor.levels.size();
  }
  report_cycles("ebpc_encoder", cycles, values);
  EXPECT_LE(cycles, 1.15 * static_cast<double>(values));
}

// All values another than 0 and of the widest words: the octuples keep up, their bits follow.
TEST(EbpcEncoder, CyclesOfTheWorst) {
  std::mt19937 random(3);
  const Words words(-2048, 12);
  std::vector<int16_t> levels(4096);
  for (int16_t& level : levels) level = static_cast<int16_t>(random() % 2047 + 1);
  Encoder encoder(0, 1);
  encoder.set(words);
  encoder.push(levels);
  const uint64_t cycles = encoder.finish();
  const auto payload = ebpc_payload(levels, words);
  EXPECT_EQ(encoder.chunks()[0].payload, payload);
  EXPECT_LE(cycles, 4096 + payload.size() / 4 + 40);
}

}  // namespace
}  // namespace fmtc::rtl
