// fmtc_huffman_decoder and fmtc_huffman_encoder against the core's chunks.
#include "core/huffman.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

#include "Vhuffman_decoder_1.h"
#include "Vhuffman_decoder_16.h"
#include "Vhuffman_decoder_4.h"
#include "Vhuffman_encoder_1.h"
#include "Vhuffman_encoder_16.h"
#include "Vhuffman_encoder_4.h"
#include "bench.h"
#include "coding_fixture.h"
#include "core/huffman_value.h"
#include "golden.h"
#include "huffman_table.h"
#include "real.h"
#include "runs.h"

namespace fmtc::rtl {
namespace {

template <typename Model>
class Decoder {
 public:
  Decoder(double share, uint32_t seed)
      : runs(bench_->run_valid, bench_->run_ready,
             [this](const Run& run) {
               bench_->run_table = static_cast<uint8_t>(run.table);
               bench_->run_count = run.count;
               bench_->run_last = run.last;
             },
             {share, seed}),
        words(bench_->in_valid, bench_->in_ready,
              [this](const Word& word) {
                bench_->in_data = word.data;
                bench_->in_begin = word.begin;
                bench_->in_end = word.end;
                bench_->in_last = word.last;
              },
              {share, seed + 1}),
        levels(bench_->out_valid, bench_->out_ready,
               [this] { return static_cast<int16_t>(bench_->out_level); }, {share, seed + 2}),
        done(bench_->done_valid, bench_->done_ready, [this] { return bench_->done_bad != 0; },
             {share, seed + 3}) {
    for (Port* port : std::initializer_list<Port*>{&runs, &words, &levels, &done}) {
      bench_.attach(*port);
    }
    bench_->table_write = 0;
    bench_.reset();
  }

  void load(const Codebook& book) {
    write_huffman_tables(book, [this](int kind, size_t table, uint32_t index, uint32_t data) {
      write(kind, table, index, data);
    });
    bench_->table_write = 0;
  }

  // Gives the sub-streams of a chunk to the module; false where its sizes do not fit.
  bool push(std::span<const uint8_t> payload, uint64_t first, const ComponentTables& tables,
            int substreams, size_t values, std::mt19937& random) {
    std::array<std::span<const uint8_t>, kMaxSubstreams> parts;
    if (!split_payload(payload, substreams, parts)) return false;
    for (int i = 0; i < substreams; ++i) {
      const Substream part(values, substreams, i);
      const auto bytes = parts[static_cast<size_t>(i)];
      for (const Word& word : to_words(bytes, static_cast<int>(random() % 4), &random)) {
        words.push(word);
      }
      for (const Run& run : runs_of(tables, first + part.first, part.size, &random)) runs.push(run);
      ++substreams_;
      values_ += part.size;
    }
    return true;
  }

  // Runs until all sub-streams are done; the cycles that took.
  uint64_t finish() {
    const uint64_t begin = bench_.cycles();
    const uint64_t most = 100 * (values_ + words.size()) + 1000000;
    EXPECT_TRUE(bench_.run(
        [&] { return done.items.size() >= substreams_ && levels.items.size() >= values_; }, most,
        20))
        << done.items.size() << " of " << substreams_ << " sub-streams, " << levels.items.size()
        << " of " << values_ << " levels";
    EXPECT_EQ(levels.items.size(), values_);
    EXPECT_TRUE(words.empty() && runs.empty());
    return bench_.cycles() - begin;
  }

  void clear() {
    levels.items.clear();
    done.items.clear();
    substreams_ = values_ = 0;
  }
  uint64_t cycles() const { return bench_.cycles(); }
  bool run_until(size_t values) {
    return bench_.run([&] { return levels.items.size() >= values && !done.items.empty(); },
                      100 * values);
  }
  bool any_bad() const { return std::count(done.items.begin(), done.items.end(), true) > 0; }

 private:
  void write(int kind, size_t table, uint32_t index, uint32_t data) {
    bench_->table_write = 1;
    bench_->table_kind = static_cast<uint8_t>(kind);
    bench_->table_number = static_cast<uint8_t>(table);
    bench_->table_index = index;
    bench_->table_data = static_cast<uint16_t>(data);
    bench_.edge();
  }

  Bench<Model> bench_;
  size_t substreams_ = 0, values_ = 0;

 public:
  Source<Run> runs;
  Source<Word> words;
  Sink<int16_t> levels;
  Sink<bool> done;
};

struct Done {
  uint32_t bytes = 0;
  bool bad = false;
  bool operator==(const Done&) const = default;
};

template <typename Model>
class Encoder {
 public:
  Encoder(double share, uint32_t seed)
      : runs(bench_->run_valid, bench_->run_ready,
             [this](const Run& run) {
               bench_->run_table = static_cast<uint8_t>(run.table);
               bench_->run_count = run.count;
               bench_->run_last = run.last;
               bench_->run_join = run.join;
             },
             {share, seed}),
        levels(bench_->in_valid, bench_->in_ready,
               [this](int16_t level) { bench_->in_level = static_cast<uint16_t>(level); },
               {share, seed + 1}),
        words(bench_->out_valid, bench_->out_ready,
              [this] {
                return Word{bench_->out_data, bench_->out_begin, bench_->out_end,
                            bench_->out_last != 0};
              },
              {share, seed + 2}),
        done(bench_->done_valid, bench_->done_ready,
             [this] {
               return Done{bench_->done_bytes, bench_->done_bad != 0};
             },
             {share, seed + 3}) {
    for (Port* port : std::initializer_list<Port*>{&runs, &levels, &words, &done}) {
      bench_.attach(*port);
    }
    bench_->table_write = 0;
    bench_.reset();
  }

  void load(const Codebook& book, size_t symbols_of_module) {
    bench_->lo = static_cast<uint16_t>(book.lo);
    bench_->table_write = 1;
    for (size_t t = 0; t * book.symbols < book.encode.size(); ++t) {
      for (size_t s = 0; s < symbols_of_module; ++s) {
        const uint32_t entry = s < book.symbols ? book.encode[t * book.symbols + s] : 0;
        bench_->table_number = static_cast<uint8_t>(t);
        bench_->table_symbol = static_cast<uint16_t>(s);
        bench_->table_entry = encode_length(entry) << kLongest | (entry & 0x7FFF);
        bench_.edge();
      }
    }
    bench_->table_write = 0;
  }

  void push(std::span<const int16_t> chunk, uint64_t first, const ComponentTables& tables,
            int substreams, std::mt19937& random) {
    for (int i = 0; i < substreams; ++i) {
      const Substream part(chunk.size(), substreams, i);
      for (const int16_t level : chunk.subspan(part.first, part.size)) levels.push(level);
      for (Run run : runs_of(tables, first + part.first, part.size, &random)) {
        run.join = i > 0;
        runs.push(run);
      }
      ++substreams_;
    }
  }

  // Runs until all sub-streams are done; the cycles that took.
  uint64_t finish() {
    const uint64_t begin = bench_.cycles();
    EXPECT_TRUE(bench_.run([&] { return done.items.size() >= substreams_; },
                           100 * levels.size() + 1000000, 20));
    EXPECT_TRUE(levels.empty() && runs.empty());
    return bench_.cycles() - begin;
  }

  // The payload of a chunk: the sizes, and the words where they say that they are.
  std::vector<uint8_t> payload(int substreams) const {
    std::vector<uint8_t> bytes(kSubstreamSizeBytes * static_cast<size_t>(substreams - 1));
    for (size_t i = 0; i + 1 < static_cast<size_t>(substreams); ++i) {
      store_le<uint32_t>(bytes.data() + kSubstreamSizeBytes * i, done.items[i].bytes);
    }
    const size_t sizes = bytes.size();
    for (const Word& word : words.items) {
      EXPECT_EQ((bytes.size() - sizes) % 4, word.begin);
      for (int i = word.begin; i < word.end; ++i) {
        bytes.push_back(static_cast<uint8_t>(word.data >> 8 * i));
      }
    }
    return bytes;
  }

  void clear() {
    words.items.clear();
    done.items.clear();
    substreams_ = 0;
  }
  bool any_bad() const {
    return std::any_of(done.items.begin(), done.items.end(), [](const Done& d) { return d.bad; });
  }

 private:
  Bench<Model> bench_;
  size_t substreams_ = 0;

 public:
  Source<Run> runs;
  Source<int16_t> levels;
  Sink<Word> words;
  Sink<Done> done;
};

// A chunk of random levels under random tables.
struct Case {
  Codebook book;
  std::vector<int16_t> levels;
  uint64_t plane, first;  // of the chunk in the tensor
  std::span<const int16_t> chunk;
  int substreams;

  Case(size_t tables, size_t most_symbols, size_t values, std::mt19937& random) {
    const size_t symbols = 1 + random() % most_symbols;
    const size_t components = 1 + random() % 12;
    const auto counts = bell_counts(tables, symbols);
    const int needed = std::bit_width(symbols - 1);
    const int limit = std::min(15, std::max(1, needed + static_cast<int>(random() % 8)));
    const auto lo = static_cast<int32_t>(random() % 4000) - 2000;
    book = make_codebook(counts, symbols, lo, components, limit, random);
    plane = 1 + values / components;
    levels = draw_levels(book, counts, plane, random);
    first = random() % levels.size();
    const size_t size = 1 + random() % (levels.size() - first);
    chunk = std::span(levels).subspan(first, size);
    substreams = 1 << random() % 5;
  }
};

std::vector<uint8_t> encode(const Case& c) {
  std::vector<uint8_t> out(huffman_chunk_bound(c.chunk.size(), c.substreams));
  size_t used = 0;
  EXPECT_EQ(huffman_chunk_encode(c.chunk, c.first, c.book.encode_tables(c.plane), c.substreams, out,
                                 used),
            Status::kOk);
  out.resize(used);
  return out;
}

// What the core makes of a payload.
bool core_refuses(std::span<const uint8_t> payload, const Case& c) {
  std::vector<int16_t> levels(c.chunk.size());
  return huffman_chunk_decode(payload, c.first, c.book.decode_tables(c.plane), c.substreams,
                              levels) != Status::kOk;
}

template <typename DecoderModel, typename EncoderModel>
void test_random(size_t tables, size_t symbols, size_t symbols_of_encoder) {
  const uint64_t values = work();
  uint64_t done = 0;
  for (uint32_t round = 0; done < values; ++round) {
    const double share = kShares[round % std::size(kShares)];
    std::mt19937 random(round + 1);
    Decoder<DecoderModel> decoder(share, round);
    Encoder<EncoderModel> encoder(share, round);
    for (int i = 0; i < 6; ++i) {
      const Case c(1 + random() % tables, symbols, i == 0 ? 1 : random() % most_values(), random);
      const auto payload = encode(c);
      encoder.load(c.book, symbols_of_encoder);
      encoder.push(c.chunk, c.first, c.book.encode_tables(c.plane), c.substreams, random);
      encoder.finish();
      EXPECT_FALSE(encoder.any_bad());
      ASSERT_EQ(encoder.payload(c.substreams), payload) << "round " << round << " case " << i;
      encoder.clear();

      decoder.load(c.book);
      const auto tables_of = c.book.decode_tables(c.plane);
      ASSERT_TRUE(decoder.push(payload, c.first, tables_of, c.substreams, c.chunk.size(), random));
      decoder.finish();
      EXPECT_FALSE(decoder.any_bad());
      ASSERT_TRUE(std::ranges::equal(decoder.levels.items, c.chunk))
          << "round " << round << " case " << i;
      decoder.clear();

      // Damage: refused where the core refuses, and the next chunk is not concerned.
      auto damaged = payload;
      damaged[random() % damaged.size()] ^= static_cast<uint8_t>(1 << random() % 8);
      if (random() % 4 == 0) damaged.pop_back();
      if (decoder.push(damaged, c.first, tables_of, c.substreams, c.chunk.size(), random)) {
        decoder.finish();
        EXPECT_EQ(decoder.any_bad(), core_refuses(damaged, c)) << "round " << round;
        decoder.clear();
      } else {
        EXPECT_TRUE(core_refuses(damaged, c));
      }
      done += c.chunk.size();
      if (::testing::Test::HasFailure()) return;
    }
  }
}

TEST(Huffman, OneTable) { test_random<Vhuffman_decoder_1, Vhuffman_encoder_1>(1, 4096, 4096); }
TEST(Huffman, FourTables) { test_random<Vhuffman_decoder_4, Vhuffman_encoder_4>(4, 256, 256); }
TEST(Huffman, SixteenTables) {
  test_random<Vhuffman_decoder_16, Vhuffman_encoder_16>(16, 512, 512);
}

TEST(Huffman, EncoderRefusesLevelsWithoutCode) {
  std::mt19937 random(3);
  Encoder<Vhuffman_encoder_4> encoder(0.3, 1);
  for (int i = 0; i < 200; ++i) {
    Case c(4, 200, 100, random);
    encoder.load(c.book, 256);
    const int32_t hi = c.book.lo + static_cast<int32_t>(c.book.symbols) - 1;
    const size_t where = c.first + random() % c.chunk.size();
    const int32_t outside[] = {c.book.lo - 1, hi + 1, hi + 256, c.book.lo - 256, -32768, 32767};
    c.levels[where] = static_cast<int16_t>(outside[random() % 6]);
    encoder.push(c.chunk, c.first, c.book.encode_tables(c.plane), c.substreams, random);
    encoder.finish();
    EXPECT_TRUE(encoder.any_bad());
    encoder.clear();
  }
}

TEST(Huffman, GoldenStreams) {
  std::mt19937 random(4);
  size_t refused = 0;
  for (const Golden& golden : golden_streams(Coder::kHuffman)) {
    Decoder<Vhuffman_decoder_4> decoder(0.1, 1);
    decoder.load(golden.book);
    const StreamHeader& header = golden.header;
    const ComponentTables tables = golden.tables();
    for (uint64_t i = 0; i < header.chunks(); ++i) {
      std::vector<int16_t> levels(header.chunk_values(i));
      const auto payload = golden.payload(i);
      const bool good = huffman_chunk_decode(payload, header.chunk_first(i), tables, header.lanes(),
                                             levels) == Status::kOk;
      refused += good ? 0 : 1;
      if (!decoder.push(payload, header.chunk_first(i), tables, header.lanes(), levels.size(),
                        random)) {
        EXPECT_FALSE(good) << golden.name;
        continue;
      }
      decoder.finish();
      EXPECT_EQ(decoder.any_bad(), !good) << golden.name;
      if (good) {
        EXPECT_EQ(decoder.levels.items, levels) << golden.name;
      }
      decoder.clear();
    }
  }
  EXPECT_GE(refused, 6u);
}

TEST(Huffman, EncoderWritesTheGoldenStreams) {
  std::mt19937 random(4);
  size_t written = 0;
  for (const Golden& golden : golden_streams(Coder::kHuffman)) {
    Encoder<Vhuffman_encoder_16> encoder(0.1, 1);
    encoder.load(golden.book, 512);
    const StreamHeader& header = golden.header;
    for (uint64_t i = 0; i < header.chunks(); ++i) {
      std::vector<int16_t> levels(header.chunk_values(i));
      const auto payload = golden.payload(i);
      const uint64_t first = header.chunk_first(i);
      if (huffman_chunk_decode(payload, first, golden.tables(), header.lanes(), levels) !=
          Status::kOk) {
        continue;
      }
      encoder.push(levels, first, golden.encode_tables(), header.lanes(), random);
      encoder.finish();
      EXPECT_FALSE(encoder.any_bad());
      EXPECT_TRUE(std::ranges::equal(encoder.payload(header.lanes()), payload)) << golden.name;
      encoder.clear();
      ++written;
    }
  }
  EXPECT_GE(written, 15u);
}

TEST(Huffman, RealLevels) {
  const auto tensors = real_tensors();
  if (tensors.empty()) GTEST_SKIP() << kNoRealLevels;
  uint64_t values = 0, decode_cycles = 0, encode_cycles = 0;
  for (const RealTensor& tensor : tensors) {
    std::mt19937 random(5);
    const Codebook book = tensor.huffman_book();
    Decoder<Vhuffman_decoder_16> decoder(0, 1);
    Encoder<Vhuffman_encoder_16> encoder(0, 1);
    decoder.load(book);
    encoder.load(book, 512);
    const std::span<const int16_t> chunk(tensor.levels);
    std::vector<uint8_t> payload(huffman_chunk_bound(chunk.size(), 4));
    size_t used = 0;
    ASSERT_EQ(huffman_chunk_encode(chunk, 0, book.encode_tables(tensor.plane()), 4, payload, used),
              Status::kOk);
    payload.resize(used);
    encoder.push(chunk, 0, book.encode_tables(tensor.plane()), 4, random);
    encode_cycles += encoder.finish();
    EXPECT_EQ(encoder.payload(4), payload) << tensor.name;
    ASSERT_TRUE(
        decoder.push(payload, 0, book.decode_tables(tensor.plane()), 4, chunk.size(), random));
    decode_cycles += decoder.finish();
    EXPECT_FALSE(decoder.any_bad());
    EXPECT_TRUE(std::ranges::equal(decoder.levels.items, chunk)) << tensor.name;
    values += chunk.size();
  }
  report_cycles("huffman_decoder", decode_cycles, values);
  report_cycles("huffman_encoder", encode_cycles, values);
  EXPECT_LE(decode_cycles, 1.01 * static_cast<double>(values));
  EXPECT_LE(encode_cycles, 1.01 * static_cast<double>(values));
}

// A change of table at each value, codes of any length: still a value a cycle.
TEST(Huffman, NoBubbles) {
  std::mt19937 random(6);
  const size_t components = 20000;
  const auto counts = bell_counts(4, 256);
  Codebook book = make_codebook(counts, 256, -128, components, 15, random);
  const auto levels = draw_levels(book, counts, 1, random);
  std::vector<uint8_t> payload(huffman_chunk_bound(levels.size(), 1));
  size_t used = 0;
  ASSERT_EQ(huffman_chunk_encode(levels, 0, book.encode_tables(1), 1, payload, used), Status::kOk);
  payload.resize(used);
  Decoder<Vhuffman_decoder_4> decoder(0, 1);
  decoder.load(book);
  for (const Word& word : to_words(payload, 0, nullptr)) decoder.words.push(word);
  for (size_t i = 0; i < components; ++i) {
    decoder.runs.push({static_cast<uint32_t>(book.table_of[i]), 1, i + 1 == components});
  }
  Encoder<Vhuffman_encoder_4> encoder(0, 1);
  encoder.load(book, 256);
  encoder.push(levels, 0, book.encode_tables(1), 1, random);
  EXPECT_LE(encoder.finish(), components * 1.3);  // runs cut in two take a cycle more
  EXPECT_EQ(encoder.payload(1), payload);
  const uint64_t before = decoder.cycles();
  ASSERT_TRUE(decoder.run_until(components));
  EXPECT_LE(decoder.cycles() - before, components + 20);
  EXPECT_TRUE(std::ranges::equal(decoder.levels.items, levels));
}

}  // namespace
}  // namespace fmtc::rtl
