// fmtc_rans_encoder against the core's chunks.
#include <gtest/gtest.h>

#include <bit>
#include <random>

#include "Vrans_encoder_1.h"
#include "Vrans_encoder_16.h"
#include "Vrans_encoder_4.h"
#include "bench.h"
#include "coding_fixture.h"
#include "core/bytes.h"
#include "core/rans.h"
#include "core/rans_value.h"
#include "golden_fixture.h"
#include "real.h"
#include "runs.h"

namespace fmtc::rtl {
namespace {

// An entry (rtl/src/fmtc_rans_encoder.sv).
uint64_t entry_of(uint32_t frequency, uint32_t start, bool escaped) {
  const auto shift = static_cast<uint64_t>(std::bit_width(frequency - 1));
  const uint64_t reciprocal = ((uint64_t{1} << (32 + shift)) / frequency + 1) & 0xFFFFFFFF;
  return uint64_t{escaped} << 61 | reciprocal << 29 | shift << 25 | uint64_t{frequency} << 12 |
         start;
}

struct Chunk {
  uint32_t values = 0, log2_states = 0;
};
struct Done {
  uint32_t front = 0, back = 0;
  bool operator==(const Done&) const = default;
};

template <typename Model>
class Encoder {
 public:
  Encoder(double share, uint32_t seed)
      : chunks_(bench_->chunk_valid, bench_->chunk_ready,
                [this](const Chunk& chunk) {
                  bench_->chunk_values = static_cast<uint16_t>(chunk.values);
                  bench_->chunk_log2_states = static_cast<uint8_t>(chunk.log2_states);
                },
                {share, seed}),
        runs_(bench_->run_valid, bench_->run_ready,
              [this](const Run& run) {
                bench_->run_table = static_cast<uint8_t>(run.table);
                bench_->run_count = static_cast<uint16_t>(run.count);
              },
              {share, seed + 1}),
        levels_(bench_->in_valid, bench_->in_ready,
                [this](int16_t level) { bench_->in_level = static_cast<uint16_t>(level); },
                {share, seed + 2}),
        front_(bench_->front_valid, bench_->front_ready, [this] { return bench_->front_half; },
               {share, seed + 3}),
        back_(bench_->back_valid, bench_->back_ready, [this] { return bench_->back_half; },
              {share, seed + 4}),
        done_(bench_->done_valid, bench_->done_ready,
              [this] {
                return Done{bench_->done_front, bench_->done_back};
              },
              {share, seed + 5}) {
    for (Port* port :
         std::initializer_list<Port*>{&chunks_, &runs_, &levels_, &front_, &back_, &done_}) {
      bench_.attach(*port);
    }
    bench_->table_write = 0;
    bench_.reset();
  }

  void load(const Codebook& book) {
    const size_t width = book.symbols + 1;
    bench_->table_write = 1;
    for (size_t t = 0; t * width < book.encode.size(); ++t) {
      const std::span table = std::span(book.encode).subspan(t * width, width);
      const auto total = encode_frequency(table.back()) + encode_start(table.back());
      bench_->log2_total = static_cast<uint8_t>(std::countr_zero(total));
      bench_->table_number = static_cast<uint8_t>(t);
      bench_->table_bases = 1;
      bench_->table_data = static_cast<uint16_t>(book.lo + book.base[t]);
      bench_.edge();
      bench_->table_bases = 0;
      for (size_t i = 0; i < 256; ++i) {
        const auto symbol = static_cast<size_t>(book.base[t]) + i;
        const bool direct = i < 255 && symbol < book.symbols && encode_frequency(table[symbol]) > 0;
        const uint32_t entry = direct ? table[symbol] : table.back();
        bench_->table_index = static_cast<uint8_t>(i);
        bench_->table_data = entry_of(encode_frequency(entry), encode_start(entry), !direct);
        bench_.edge();
      }
    }
    bench_->table_write = 0;
  }

  void push(std::span<const int16_t> chunk, uint64_t first, const ComponentTables& tables,
            int states, std::mt19937* random) {
    for (const int16_t level : chunk) levels_.push(level);
    for (const Run& run : runs_of(tables, first, chunk.size(), random)) runs_.push(run);
    chunks_.push({static_cast<uint32_t>(chunk.size()),
                  static_cast<uint32_t>(std::countr_zero(static_cast<uint32_t>(states)))});
    ++expected_;
  }

  uint64_t finish() {
    const uint64_t before = bench_.cycles();
    EXPECT_TRUE(bench_.run([&] { return done_.items.size() >= expected_; },
                           300 * levels_.size() + 100000, 10));
    EXPECT_TRUE(levels_.empty() && runs_.empty());
    return bench_.cycles() - before - 10;
  }

  // Cycles from where a chunk has come in to its end.
  uint64_t finish_encoding() {
    EXPECT_TRUE(bench_.run([&] { return levels_.empty(); }, 100000));
    return finish();
  }

  // The payloads of all chunks since the last call.
  std::vector<std::vector<uint8_t>> payloads() {
    std::vector<std::vector<uint8_t>> payloads;
    size_t front = 0, back = 0;
    const auto put = [&](uint16_t half) {
      payloads.back().push_back(static_cast<uint8_t>(half));
      payloads.back().push_back(static_cast<uint8_t>(half >> 8));
    };
    for (const Done& done : done_.items) {
      payloads.emplace_back();
      if (front + done.front > front_.items.size() || back + done.back > back_.items.size()) {
        ADD_FAILURE() << "fewer half words than told";
        return payloads;
      }
      for (size_t i = done.front; i-- > 0;) put(front_.items[front + i]);
      for (size_t i = 0; i < done.back; ++i) put(back_.items[back + i]);
      front += done.front;
      back += done.back;
    }
    EXPECT_EQ(front, front_.items.size());
    EXPECT_EQ(back, back_.items.size());
    front_.items.clear();
    back_.items.clear();
    done_.items.clear();
    expected_ = 0;
    return payloads;
  }

 private:
  Bench<Model> bench_;
  size_t expected_ = 0;
  Source<Chunk> chunks_;
  Source<Run> runs_;
  Source<int16_t> levels_;
  Sink<uint16_t> front_, back_;
  Sink<Done> done_;
};

std::vector<uint8_t> encode(std::span<const int16_t> chunk, uint64_t first,
                            const ComponentTables& tables, int states) {
  std::vector<uint8_t> out(rans_chunk_bound(chunk.size(), states));
  size_t used = 0;
  EXPECT_EQ(rans_chunk_encode(chunk, first, tables, states, out, used), Status::kOk);
  out.resize(used);
  return out;
}

template <typename Model>
void test_random(size_t most_tables) {
  const uint64_t values = work();
  uint64_t done = 0;
  for (uint32_t round = 0; done < values; ++round) {
    std::mt19937 random(round + 1);
    Encoder<Model> encoder(kShares[round % std::size(kShares)], round);
    for (int i = 0; i < 4; ++i) {
      const size_t tables = 1 + random() % most_tables, symbols = 1 + random() % 600;
      const size_t components = 1 + random() % 12;
      const auto counts = bell_counts(tables, symbols);
      const auto lo = static_cast<int32_t>(random() % 4000) - 2000;
      const Codebook book = make_rans_codebook(counts, symbols, lo, components,
                                               8 + static_cast<int>(random() % 5), random);
      const uint64_t plane = 1 + random() % (most_values() / 5);
      auto levels = draw_levels(book, counts, plane, random);
      const uint32_t rare = 1 + random() % 200;
      for (int16_t& level : levels) {
        if (random() % rare == 0) level = static_cast<int16_t>(random());
      }
      encoder.load(book);
      const ComponentTables tables_of = book.encode_tables(plane);
      // Several chunks behind each other, of which some have only a few values.
      std::vector<std::vector<uint8_t>> expected;
      for (size_t first = 0; first < levels.size();) {
        const size_t most = i == 0 ? 1 + random() % 5 : 1 + random() % 4096;
        const auto chunk = std::span(levels).subspan(first, std::min(most, levels.size() - first));
        const int states = 1 << random() % 7;
        encoder.push(chunk, first, tables_of, states, &random);
        expected.push_back(encode(chunk, first, tables_of, states));
        first += i == 0 ? levels.size() / 20 + 1 : chunk.size();
      }
      encoder.finish();
      const auto payloads = encoder.payloads();
      ASSERT_EQ(payloads.size(), expected.size());
      for (size_t j = 0; j < expected.size(); ++j) {
        ASSERT_EQ(payloads[j], expected[j]) << "round " << round << " case " << i << " chunk " << j;
      }
      done += levels.size();
    }
  }
}

TEST(RansEncoder, OneTable) { test_random<Vrans_encoder_1>(1); }
TEST(RansEncoder, FourTables) { test_random<Vrans_encoder_4>(4); }
TEST(RansEncoder, SixteenTables) { test_random<Vrans_encoder_16>(16); }

// The reciprocals are exact: every frequency, at the largest states and those around multiples.
TEST(RansEncoder, ReciprocalsAreExact) {
  std::mt19937 random(9);
  for (uint32_t frequency = 1; frequency <= 4096; ++frequency) {
    const uint64_t entry = entry_of(frequency, 0, false);
    const uint64_t reciprocal = entry >> 29 & 0xFFFFFFFF;
    const int shift = static_cast<int>(entry >> 25 & 15);
    const auto check = [&](uint64_t x) {
      ASSERT_EQ((x + (x * reciprocal >> 32)) >> shift, x / frequency) << x << " / " << frequency;
    };
    for (uint64_t i = 0; i < 300; ++i) {
      const uint64_t multiple = (0xFFFFFFFF / frequency -
                                 (i < 100 ? i : random() % (1 << 19) % (0xFFFFFFFF / frequency))) *
                                frequency;
      check(multiple);
      if (multiple > 0) check(multiple - 1);
      check(0xFFFFFFFF - i);
    }
  }
}

TEST(RansEncoder, WritesTheGoldenStreams) {
  std::mt19937 random(4);
  size_t written = 0;
  for (const Golden& golden : golden_streams(Coder::kRans)) {
    Encoder<Vrans_encoder_4> encoder(0.1, 1);
    encoder.load(golden.book);
    const StreamHeader& header = golden.header;
    for (uint64_t i = 0; i < header.chunks(); ++i) {
      std::vector<int16_t> levels(header.chunk_values(i));
      const auto payload = golden.payload(i);
      const uint64_t first = header.chunk_first(i);
      if (levels.size() > 4096 || rans_chunk_decode(payload, first, golden.tables(), header.lanes(),
                                                    levels) != Status::kOk) {
        continue;
      }
      encoder.push(levels, first, golden.encode_tables(), header.lanes(), &random);
      encoder.finish();
      EXPECT_TRUE(std::ranges::equal(encoder.payloads()[0], payload)) << golden.name;
      ++written;
    }
  }
  EXPECT_GE(written, 10u);
}

TEST(RansEncoder, RealLevels) {
  const auto tensors = real_tensors();
  if (tensors.empty()) GTEST_SKIP() << kNoRealLevels;
  constexpr size_t kChunk = 4096;
  uint64_t values = 0, cycles = 0;
  for (const RealTensor& tensor : tensors) {
    const Codebook book = tensor.rans_book();
    Encoder<Vrans_encoder_16> encoder(0, 1);
    encoder.load(book);
    const std::span<const int16_t> all(tensor.levels);
    const ComponentTables tables = book.encode_tables(tensor.plane());
    std::vector<std::vector<uint8_t>> expected;
    for (size_t first = 0; first < all.size(); first += kChunk) {
      const auto chunk = all.subspan(first, std::min(kChunk, all.size() - first));
      encoder.push(chunk, first, tables, 32, nullptr);
      expected.push_back(encode(chunk, first, tables, 32));
    }
    // The first chunk comes in before anything is encoded; the others meanwhile.
    cycles += encoder.finish() - tensor.chunks(kChunk)[0].size();
    EXPECT_EQ(encoder.payloads(), expected) << tensor.name;
    values += all.size();
  }
  report_cycles("rans_encoder", cycles, values);
  EXPECT_LE(cycles, 1.05 * static_cast<double>(values));
}

TEST(RansEncoder, CyclesByStates) {
  std::mt19937 random(6);
  const auto counts = bell_counts(1, 200);
  for (const int states : {1, 2, 4, 8, 16, 32, 64}) {
    const Codebook book = make_rans_codebook(counts, 200, -100, 4, 12, random);
    const auto levels = draw_levels(book, counts, 1024, random);
    const ComponentTables tables = book.encode_tables(1024);
    Encoder<Vrans_encoder_4> encoder(0, 1);
    encoder.load(book);
    encoder.push(levels, 0, tables, states, nullptr);
    const auto cycles = static_cast<double>(encoder.finish_encoding());
    EXPECT_EQ(encoder.payloads()[0], encode(levels, 0, tables, states));
    const double each = std::max(1.0, 9.0 / states);
    EXPECT_LE(cycles, each * 4096 + 2 * states + 50) << states << " states";
    if (states == 16 || states == 32) {
      EXPECT_LE(cycles, 1.05 * 4096);
    }
    // Chunks one after the other: the next comes in meanwhile.
    for (int i = 0; i < 10; ++i) encoder.push(levels, 0, tables, states, nullptr);
    EXPECT_LE(static_cast<double>(encoder.finish()), 11 * (each * 4096 + 2 * states + 50));
  }
}

}  // namespace
}  // namespace fmtc::rtl
