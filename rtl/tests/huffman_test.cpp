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
#include "golden_fixture.h"
#include "huffman_bench.h"
#include "real.h"
#include "runs.h"

namespace fmtc::rtl {
namespace {

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
