// fmtc_rans_decoder against the core's chunks.
#include <gtest/gtest.h>

#include <bit>
#include <random>

#include "Vrans_decoder_1.h"
#include "Vrans_decoder_16.h"
#include "Vrans_decoder_4.h"
#include "Vrans_decoder_of_12.h"
#include "bench.h"
#include "coding_fixture.h"
#include "core/bytes.h"
#include "core/rans.h"
#include "golden_fixture.h"
#include "real.h"
#include "runs.h"

namespace fmtc::rtl {
namespace {

struct Chunk {
  uint32_t values = 0, log2_states = 0, bytes = 0;
};

template <typename Model>
class Decoder {
 public:
  Decoder(double share, uint32_t seed)
      : chunks_(bench_->chunk_valid, bench_->chunk_ready,
                [this](const Chunk& chunk) {
                  bench_->chunk_values = chunk.values;
                  bench_->chunk_log2_states = static_cast<uint8_t>(chunk.log2_states);
                  bench_->chunk_bytes = chunk.bytes;
                },
                {share, seed}),
        runs_(bench_->run_valid, bench_->run_ready,
              [this](const Run& run) {
                bench_->run_table = static_cast<uint8_t>(run.table);
                bench_->run_count = run.count;
              },
              {share, seed + 1}),
        front_(bench_->front_valid, bench_->front_ready,
               [this](const Word& word) {
                 bench_->front_data = word.data;
                 bench_->front_last = word.last;
               },
               {share, seed + 2}),
        back_(bench_->back_valid, bench_->back_ready,
              [this](const Word& word) {
                bench_->back_data = word.data;
                bench_->back_last = word.last;
              },
              {share, seed + 3}),
        levels(bench_->out_valid, bench_->out_ready,
               [this] { return static_cast<int16_t>(bench_->out_level); }, {share, seed + 4}),
        done_(bench_->done_valid, bench_->done_ready, [this] { return bench_->done_bad != 0; },
              {share, seed + 5}) {
    for (Port* port :
         std::initializer_list<Port*>{&chunks_, &runs_, &front_, &back_, &levels, &done_}) {
      bench_.attach(*port);
    }
    bench_->table_write = 0;
    bench_.reset();
  }

  void load(const Codebook& book) {
    const size_t slots = book.decode_width;
    bench_->log2_total = static_cast<uint8_t>(std::countr_zero(slots));
    for (size_t t = 0; t * slots < book.decode.size(); ++t) {
      for (uint32_t slot = 0; slot < slots; ++slot) {
        const uint32_t entry = book.decode[t * slots + slot];
        const uint32_t symbol = entry & 0xFF, frequency = (entry >> 8 & 0xFFF) + 1,
                       start = slot - (entry >> 20);
        write(0, t, slot, symbol);
        write(1, t, symbol, frequency << 12 | start);
      }
      write(2, t, 0, static_cast<uint16_t>(book.lo + book.base[t]));
    }
    bench_->table_write = 0;
  }

  // Decodes a chunk; true where the module accepts it. The levels are added to `levels`.
  bool decode(std::span<const uint8_t> payload, uint64_t first, const ComponentTables& tables,
              int states, size_t values, std::mt19937& random, bool cut_runs = true) {
    std::vector<uint8_t> padded(payload.begin(), payload.end());
    while (padded.size() % 4 != 0) padded.push_back(static_cast<uint8_t>(random()));
    const size_t words = padded.size() / 4;
    for (size_t i = 0; i < words; ++i) {
      front_.push({load_le<uint32_t>(padded.data() + 4 * i), 0, 4, i + 1 == words});
      back_.push({load_le<uint32_t>(padded.data() + 4 * (words - 1 - i)), 0, 4, i + 1 == words});
    }
    for (const Run& run : runs_of(tables, first, values, cut_runs ? &random : nullptr)) {
      runs_.push(run);
    }
    chunks_.push({static_cast<uint32_t>(values),
                  static_cast<uint32_t>(std::countr_zero(static_cast<uint32_t>(states))),
                  static_cast<uint32_t>(payload.size())});
    values_ += values;
    const size_t before = done_.items.size();
    EXPECT_TRUE(bench_.run([&] { return done_.items.size() > before; }, 200 * values + 100000));
    front_.clear();
    back_.clear();
    return !done_.items.back();
  }

  // Waits for levels that are still to be taken.
  void finish() {
    EXPECT_TRUE(bench_.run([&] { return levels.items.size() >= values_; }, 100000, 20));
    EXPECT_EQ(levels.items.size(), values_);
    EXPECT_TRUE(runs_.empty());
  }
  void clear() {
    levels.items.clear();
    values_ = 0;
  }
  uint64_t cycles() const { return bench_.cycles(); }

 private:
  void write(int kind, size_t table, uint32_t index, uint32_t data) {
    bench_->table_write = 1;
    bench_->table_kind = static_cast<uint8_t>(kind);
    bench_->table_number = static_cast<uint8_t>(table);
    bench_->table_index = static_cast<uint16_t>(index);
    bench_->table_data = data;
    bench_.edge();
  }

  Bench<Model> bench_;
  size_t values_ = 0;
  Source<Chunk> chunks_;
  Source<Run> runs_;
  Source<Word> front_, back_;

 public:
  Sink<int16_t> levels;

 private:
  Sink<bool> done_;
};

// A chunk of random levels, some of them escaped, under random tables.
struct Case {
  Codebook book;
  std::vector<int16_t> levels;
  uint64_t plane, first;
  std::span<const int16_t> chunk;
  int states;

  Case(size_t tables, size_t values, std::mt19937& random) {
    const size_t symbols = 1 + random() % 600;
    const size_t components = 1 + random() % 12;
    const auto lo = static_cast<int32_t>(random() % 4000) - 2000;
    const auto counts = bell_counts(tables, symbols);
    book = make_rans_codebook(counts, symbols, lo, components, 8 + static_cast<int>(random() % 5),
                              random);
    plane = 1 + values / components;
    levels = draw_levels(book, counts, plane, random);
    const uint32_t rare = 1 + random() % 200;
    for (int16_t& level : levels) {
      if (random() % rare == 0) level = static_cast<int16_t>(random());
    }
    first = random() % levels.size();
    chunk = std::span(levels).subspan(first, 1 + random() % (levels.size() - first));
    states = 1 << random() % 7;
  }

  std::vector<uint8_t> payload() const {
    std::vector<uint8_t> out(rans_chunk_bound(chunk.size(), states));
    size_t used = 0;
    EXPECT_EQ(rans_chunk_encode(chunk, first, book.encode_tables(plane), states, out, used),
              Status::kOk);
    out.resize(used);
    return out;
  }
  bool core_accepts(std::span<const uint8_t> payload) const {
    std::vector<int16_t> decoded(chunk.size());
    return rans_chunk_decode(payload, first, book.decode_tables(plane), states, decoded) ==
           Status::kOk;
  }
};

void damage(std::vector<uint8_t>& payload, std::mt19937& random) {
  switch (random() % 4) {
    case 0:
      payload.erase(payload.begin() + static_cast<ptrdiff_t>(random() % payload.size()),
                    payload.end());
      break;
    case 1: {  // more of them, also behind all that is needed
      const size_t at = random() % 2 == 0 ? payload.size() : random() % payload.size();
      payload.insert(payload.begin() + static_cast<ptrdiff_t>(at), 1 + random() % 4,
                     static_cast<uint8_t>(random()));
      break;
    }
    default:
      payload[random() % payload.size()] ^= static_cast<uint8_t>(1 << random() % 8);
  }
}

template <typename Model>
void test_random(size_t tables) {
  const uint64_t values = work();
  uint64_t done = 0;
  for (uint32_t round = 0; done < values; ++round) {
    std::mt19937 random(round + 1);
    Decoder<Model> decoder(kShares[round % std::size(kShares)], round);
    for (int i = 0; i < 4; ++i) {
      const Case c(1 + random() % tables, i == 0 ? 1 + random() % 3 : random() % most_values(),
                   random);
      decoder.load(c.book);
      const ComponentTables tables_of = c.book.decode_tables(c.plane);
      const auto payload = c.payload();
      ASSERT_TRUE(decoder.decode(payload, c.first, tables_of, c.states, c.chunk.size(), random))
          << "round " << round << " case " << i;
      decoder.finish();
      ASSERT_TRUE(std::ranges::equal(decoder.levels.items, c.chunk))
          << "round " << round << " case " << i;
      decoder.clear();
      for (int j = 0; j < 3; ++j) {
        // Damage: refused where the core refuses, and the next chunk is not concerned.
        auto damaged = payload;
        damage(damaged, random);
        EXPECT_EQ(decoder.decode(damaged, c.first, tables_of, c.states, c.chunk.size(), random),
                  c.core_accepts(damaged));
        decoder.finish();
        decoder.clear();
      }
      done += 4 * c.chunk.size();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST(RansDecoder, OneTable) { test_random<Vrans_decoder_1>(1); }
TEST(RansDecoder, FourTables) { test_random<Vrans_decoder_4>(4); }
TEST(RansDecoder, SixteenTables) { test_random<Vrans_decoder_16>(16); }

// Random damage hardly ever makes a state that is too small and ends as it should.
TEST(RansDecoder, StatesBelowTheLowestAreRefused) {
  std::mt19937 random(7);
  const Codebook book = make_rans_codebook(bell_counts(1, 8), 8, 0, 1, 12, random);
  uint32_t slot = 0;
  while (book.decode[slot] >> 20 != 1) ++slot;  // the second of a symbol: 1 is left of the state
  const ComponentTables tables = book.decode_tables(1);
  Decoder<Vrans_decoder_1> decoder(0, 1);
  decoder.load(book);
  for (const uint32_t high : {0U, 16U}) {
    // One value leaves 1 or more, a digit of 0 makes the lowest state of 1.
    std::vector<uint8_t> payload(6);
    store_le<uint32_t>(payload.data(), high << 12 | slot);
    std::vector<int16_t> levels(1);
    EXPECT_NE(rans_chunk_decode(payload, 0, tables, 1, levels), Status::kOk);
    EXPECT_FALSE(decoder.decode(payload, 0, tables, 1, 1, random));
    decoder.finish();
    decoder.clear();
  }
}

TEST(RansDecoder, GoldenStreams) {
  std::mt19937 random(4);
  size_t refused = 0;
  for (const Golden& golden : golden_streams(Coder::kRans)) {
    Decoder<Vrans_decoder_4> decoder(0.1, 1);
    decoder.load(golden.book);
    const StreamHeader& header = golden.header;
    const ComponentTables tables = golden.tables();
    for (uint64_t i = 0; i < header.chunks(); ++i) {
      std::vector<int16_t> levels(header.chunk_values(i));
      const auto payload = golden.payload(i);
      const bool good = rans_chunk_decode(payload, header.chunk_first(i), tables, header.lanes(),
                                          levels) == Status::kOk;
      refused += good ? 0 : 1;
      EXPECT_EQ(decoder.decode(payload, header.chunk_first(i), tables, header.lanes(),
                               levels.size(), random),
                good)
          << golden.name;
      decoder.finish();
      if (good) {
        EXPECT_EQ(decoder.levels.items, levels) << golden.name;
      }
      decoder.clear();
    }
  }
  EXPECT_GE(refused, 6u);
}

TEST(RansDecoder, RealLevels) {
  const auto tensors = real_tensors();
  if (tensors.empty()) GTEST_SKIP() << kNoRealLevels;
  constexpr size_t kChunk = 1 << 16;
  uint64_t values = 0, cycles = 0;
  for (const RealTensor& tensor : tensors) {
    std::mt19937 random(5);
    const Codebook book = tensor.rans_book();
    Decoder<Vrans_decoder_16> decoder(0, 1);
    decoder.load(book);
    const std::span<const int16_t> all(tensor.levels);
    for (size_t first = 0; first < all.size(); first += kChunk) {
      const auto chunk = all.subspan(first, std::min(kChunk, all.size() - first));
      const int states = 32;
      std::vector<uint8_t> payload(rans_chunk_bound(chunk.size(), states));
      size_t used = 0;
      ASSERT_EQ(rans_chunk_encode(chunk, first, book.encode_tables(tensor.plane()), states, payload,
                                  used),
                Status::kOk);
      payload.resize(used);
      const uint64_t before = decoder.cycles();
      ASSERT_TRUE(decoder.decode(payload, first, book.decode_tables(tensor.plane()), states,
                                 chunk.size(), random, false));
      cycles += decoder.cycles() - before;
      decoder.finish();
      EXPECT_TRUE(std::ranges::equal(decoder.levels.items, chunk)) << tensor.name;
      decoder.clear();
      values += chunk.size();
    }
  }
  report_cycles("rans_decoder", cycles, values);
  EXPECT_LE(cycles, 1.02 * static_cast<double>(values));
}

// A value a cycle from 16 states on, also where each needs a digit; nine cycles with one state.
TEST(RansDecoder, CyclesByStates) {
  std::mt19937 random(6);
  const auto counts =
      std::vector<int64_t>(200, 1);  // almost 8 bits a value: a digit each second one
  for (const int states : {1, 2, 4, 8, 16, 32, 64}) {
    const Codebook book = make_rans_codebook(counts, 200, -100, 3, 12, random);
    const auto levels = draw_levels(book, counts, 2730, random);
    std::vector<uint8_t> payload(rans_chunk_bound(levels.size(), states));
    size_t used = 0;
    ASSERT_EQ(rans_chunk_encode(levels, 0, book.encode_tables(2730), states, payload, used),
              Status::kOk);
    payload.resize(used);
    Decoder<Vrans_decoder_of_12> decoder(0, 1);
    decoder.load(book);
    const uint64_t before = decoder.cycles();
    ASSERT_TRUE(
        decoder.decode(payload, 0, book.decode_tables(2730), states, levels.size(), random, false));
    const auto values = static_cast<double>(levels.size());
    const auto cycles = static_cast<double>(decoder.cycles() - before);
    if (::testing::Test::HasFailure()) return;
    if (states == 32) {
      EXPECT_LE(cycles, 1.01 * values);
    }
    EXPECT_LE(cycles, std::max(1.0, 9.0 / states) * 1.01 * values + 50) << states << " states";
  }
}

}  // namespace
}  // namespace fmtc::rtl
