// fmtc_layer_encoder and fmtc_layer_decoder against the core: transform, quantiser and coder in
// one.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "Vlayer_decoder.h"
#include "Vlayer_encoder.h"
#include "bench.h"
#include "coding_fixture.h"
#include "core/huffman.h"
#include "core/huffman_value.h"
#include "core/transform.h"
#include "huffman_table.h"
#include "quantizer_table.h"
#include "real.h"

namespace fmtc::rtl {
namespace {

constexpr size_t kChannels = 64, kMostPixels = 64, kTables = 4;

// A layer: a matrix of bytes and its transposed as the inverse, a quantiser, Huffman tables.
struct Layer {
  size_t channels, components;
  std::vector<float> forward, inverse, offset, back_offset;
  float step;
  QuantizerTable quantizer;
  Codebook book;

  explicit Layer(std::mt19937& random, size_t channels, size_t components)
      : channels(channels),
        components(components),
        forward(channels * components),
        inverse(channels * components),
        offset(components),
        back_offset(channels),
        step(static_cast<float>(500 + random() % 4000) + 0.37f),
        quantizer(*quantizer_table(step, -100, 99)) {
    for (size_t k = 0; k < components; ++k) {
      offset[k] = static_cast<float>(static_cast<int>(random() % 20000) - 10000);
      for (size_t c = 0; c < channels; ++c) {
        const auto value = static_cast<float>(static_cast<int>(random() % 256) - 128);
        forward[k * channels + c] = inverse[c * components + k] = value;
      }
    }
    for (float& value : back_offset) value = static_cast<float>(random() % 3000);
    const size_t symbols = 200;
    book = make_codebook(bell_counts(kTables, symbols), symbols, -100, components, 14, random);
  }

  std::vector<int16_t> levels(std::span<const float> x, size_t pixels) const {
    std::vector<int16_t> levels(components * pixels);
    int64_t clamped;
    EXPECT_EQ(transform_quantize(x, 1, static_cast<int64_t>(pixels), {forward, offset}, step, -100,
                                 99, levels, clamped),
              Status::kOk);
    return levels;
  }
  std::vector<float> values(std::span<const int16_t> levels, size_t pixels) const {
    std::vector<float> values(channels * pixels);
    EXPECT_EQ(dequantize_transform(levels, 1, static_cast<int64_t>(pixels), {inverse, back_offset},
                                   1.0f, 0.0f, 4e6f, values),
              Status::kOk);
    return values;
  }
  std::vector<uint8_t> payload(std::span<const int16_t> levels, size_t pixels) const {
    std::vector<uint8_t> out(huffman_chunk_bound(levels.size(), 1));
    size_t used = 0;
    EXPECT_EQ(huffman_chunk_encode(levels, 0, book.encode_tables(pixels), 1, out, used),
              Status::kOk);
    out.erase(out.begin() + static_cast<std::ptrdiff_t>(used), out.end());
    return out;
  }
};

uint32_t masked(int32_t value) { return static_cast<uint32_t>(value) & 0x1FFFFFF; }

// What both modules have alike of their tables.
template <typename Model>
void write(Bench<Model>& bench, int kind, size_t row, size_t column, int32_t data) {
  bench->table_write = 1;
  bench->table_kind = static_cast<uint8_t>(kind);
  bench->table_row = static_cast<uint16_t>(row);
  bench->table_column = static_cast<uint16_t>(column);
  bench->table_data = masked(data);
  bench.edge();
  bench->table_write = 0;
}
template <typename Model>
void load_matrix(Bench<Model>& bench, std::span<const float> values,
                 std::span<const float> offset) {
  const size_t columns = values.size() / offset.size();
  for (size_t r = 0; r < offset.size(); ++r) {
    for (size_t c = 0; c < kChannels; ++c) {
      write(bench, 0, r, c, c < columns ? static_cast<int32_t>(values[r * columns + c]) : 0);
    }
    write(bench, 1, r, 0, static_cast<int32_t>(offset[r]));
  }
  bench->rows = static_cast<uint8_t>(offset.size());
  bench->columns = static_cast<uint8_t>(columns);
}

class Encoder {
 public:
  Encoder(const Layer& layer, double share, uint32_t seed)
      : tiles(bench_->tile_valid, bench_->tile_ready,
              [this](uint32_t pixels) { bench_->tile_pixels = static_cast<uint8_t>(pixels); },
              {share, seed}),
        in(bench_->in_valid, bench_->in_ready,
           [this](int32_t value) { bench_->in_value = static_cast<uint16_t>(value & 0x1FF); },
           {share, seed + 1}),
        words(bench_->out_valid, bench_->out_ready,
              [this] {
                return Word{bench_->out_data, bench_->out_begin, bench_->out_end,
                            bench_->out_last != 0};
              },
              {share, seed + 2}),
        bad(bench_->done_valid, bench_->done_ready, [this] { return bench_->done_bad != 0; },
            {share, seed + 3}) {
    for (Port* port : std::initializer_list<Port*>{&tiles, &in, &words, &bad}) bench_.attach(*port);
    bench_->table_write = bench_->code_write = 0;
    bench_.reset();
    load_matrix(bench_, layer.forward, layer.offset);
    const QuantizerTable& table = layer.quantizer;
    for (size_t v = 1; v < table.thresholds.size(); ++v)
      write(bench_, 2, v, 0, table.thresholds[v]);
    bench_->first_threshold = masked(table.thresholds[1]);
    bench_->last_threshold = masked(table.thresholds.back());
    bench_->last_index = static_cast<uint8_t>(table.last_index());
    bench_->reciprocal = table.reciprocal;
    bench_->shift = static_cast<uint8_t>(table.shift);
    bench_->lo = static_cast<uint16_t>(table.lo);
    for (size_t k = 0; k < layer.components; ++k) {
      write(bench_, 3, k, 0, static_cast<int32_t>(layer.book.table_of[k]));
    }
    bench_->code_write = 1;
    for (size_t i = 0; i < layer.book.encode.size(); ++i) {
      const uint32_t entry = layer.book.encode[i];
      bench_->code_table = static_cast<uint8_t>(i / layer.book.symbols);
      bench_->code_symbol = static_cast<uint8_t>(i % layer.book.symbols);
      bench_->code_entry = encode_length(entry) << 15 | (entry & 0x7FFF);
      bench_.edge();
    }
    bench_->code_write = 0;
  }

  uint64_t run(size_t count) {
    const uint64_t before = bench_.cycles();
    EXPECT_TRUE(bench_.run([&] { return bad.items.size() >= count; }, 100 * in.size() + 100000));
    const uint64_t cycles = bench_.cycles() - before;
    bench_.run([] { return true; }, 1, 20);
    return cycles;
  }

 private:
  Bench<Vlayer_encoder> bench_;

 public:
  Source<uint32_t> tiles;
  Source<int32_t> in;
  Sink<Word> words;
  Sink<bool> bad;
};

class Decoder {
 public:
  Decoder(const Layer& layer, double share, uint32_t seed)
      : tiles(bench_->tile_valid, bench_->tile_ready,
              [this](uint32_t pixels) { bench_->tile_pixels = static_cast<uint8_t>(pixels); },
              {share, seed}),
        words(bench_->in_valid, bench_->in_ready,
              [this](const Word& word) {
                bench_->in_data = word.data;
                bench_->in_begin = word.begin;
                bench_->in_end = word.end;
                bench_->in_last = word.last;
              },
              {share, seed + 1}),
        out(bench_->out_valid, bench_->out_ready,
            [this] { return static_cast<int32_t>(bench_->out_value << 7) >> 7; },
            {share, seed + 2}),
        bad(bench_->done_valid, bench_->done_ready, [this] { return bench_->done_bad != 0; },
            {share, seed + 3}) {
    for (Port* port : std::initializer_list<Port*>{&tiles, &words, &out, &bad})
      bench_.attach(*port);
    bench_->table_write = bench_->code_write = 0;
    bench_.reset();
    load_matrix(bench_, layer.inverse, layer.back_offset);
    bench_->least = 0;
    bench_->most = 4000000;
    for (size_t k = 0; k < layer.components; ++k) {
      write(bench_, 3, k, 0, static_cast<int32_t>(layer.book.table_of[k]));
    }
    write_codes(layer.book);
  }

  uint64_t run(size_t values) {
    const uint64_t before = bench_.cycles();
    EXPECT_TRUE(bench_.run([&] { return out.items.size() >= values; }, 100 * values + 100000));
    const uint64_t cycles = bench_.cycles() - before;
    bench_.run([] { return true; }, 1, 50);
    EXPECT_EQ(out.items.size(), values);
    return cycles;
  }

 private:
  void write_codes(const Codebook& book) {
    const auto put = [&](int kind, size_t table, uint32_t index, uint32_t data) {
      bench_->code_write = 1;
      bench_->code_kind = static_cast<uint8_t>(kind);
      bench_->code_table = static_cast<uint8_t>(table);
      bench_->code_index = static_cast<uint16_t>(index);
      bench_->code_data = static_cast<uint16_t>(data);
      bench_.edge();
    };
    write_huffman_tables(book, put);
    bench_->code_write = 0;
  }

  Bench<Vlayer_decoder> bench_;

 public:
  Source<uint32_t> tiles;
  Source<Word> words;
  Sink<int32_t> out;
  Sink<bool> bad;
};

struct Tile {
  size_t pixels;
  std::vector<float> x;  // [channels][pixels]
};

std::vector<Tile> random_tiles(const Layer& layer, size_t count, std::mt19937& random, bool full) {
  std::vector<Tile> tiles;
  for (size_t i = 0; i < count; ++i) {
    const size_t pixels = full ? kMostPixels : 1 + random() % kMostPixels;
    Tile tile{pixels, std::vector<float>(layer.channels * pixels)};
    for (float& value : tile.x) value = static_cast<float>(random() % 256);
    tiles.push_back(tile);
  }
  return tiles;
}

TEST(Layer, ThereAndBack) {
  const uint64_t values = work();
  uint64_t done = 0;
  for (uint32_t round = 0; done < values; ++round) {
    std::mt19937 random(round + 1);
    const size_t channels = round == 0 ? kChannels : 1 + random() % kChannels;
    const size_t components = round == 0 ? kChannels : 1 + random() % channels;
    const Layer layer(random, channels, components);
    const double share = kShares[round % std::size(kShares)];
    Encoder encoder(layer, share, round);
    Decoder decoder(layer, share, round);
    const auto tiles = random_tiles(layer, 12, random, false);
    std::vector<std::vector<uint8_t>> payloads;
    std::vector<int32_t> expected;
    for (const Tile& tile : tiles) {
      encoder.tiles.push(static_cast<uint32_t>(tile.pixels));
      for (size_t p = 0; p < tile.pixels; ++p) {
        for (size_t c = 0; c < channels; ++c) {
          encoder.in.push(static_cast<int32_t>(tile.x[c * tile.pixels + p]));
        }
      }
      const auto levels = layer.levels(tile.x, tile.pixels);
      payloads.push_back(layer.payload(levels, tile.pixels));
      const auto back = layer.values(levels, tile.pixels);
      for (size_t p = 0; p < tile.pixels; ++p) {
        for (size_t c = 0; c < channels; ++c) {
          expected.push_back(static_cast<int32_t>(back[c * tile.pixels + p]));
        }
      }
      done += levels.size();
    }
    encoder.run(tiles.size());
    size_t next = 0;
    for (size_t i = 0; i < tiles.size(); ++i) {
      const size_t first = next;
      while (next < encoder.words.items.size() && !encoder.words.items[next].last) ++next;
      ASSERT_LT(next, encoder.words.items.size());
      ++next;
      const auto bytes = to_bytes(std::span(encoder.words.items).subspan(first, next - first));
      ASSERT_EQ(bytes, payloads[i]) << "round " << round << " tile " << i;
      EXPECT_FALSE(encoder.bad.items[i]);
      // The decoder reads what the encoder wrote.
      decoder.tiles.push(static_cast<uint32_t>(tiles[i].pixels));
      for (const Word& word : to_words(bytes, static_cast<int>(random() % 4), &random)) {
        decoder.words.push(word);
      }
    }
    decoder.run(expected.size());
    ASSERT_EQ(decoder.out.items, expected) << "round " << round;
    EXPECT_EQ(std::count(decoder.bad.items.begin(), decoder.bad.items.end(), true), 0);
  }
}

TEST(Layer, ADamagedTileConcernsNoOther) {
  std::mt19937 random(3);
  const Layer layer(random, kChannels, kChannels);
  Decoder decoder(layer, 0.1, 1);
  std::vector<bool> refused;
  size_t values = 0;
  std::vector<int32_t> last;
  const auto tiles = random_tiles(layer, 41, random, false);
  for (size_t i = 0; i < tiles.size(); ++i) {
    const Tile& tile = tiles[i];
    const auto levels = layer.levels(tile.x, tile.pixels);
    auto payload = layer.payload(levels, tile.pixels);
    if (i + 1 < tiles.size())
      payload[random() % payload.size()] ^= static_cast<uint8_t>(1 << random() % 8);
    std::vector<int16_t> decoded(levels.size());
    refused.push_back(huffman_chunk_decode(payload, 0, layer.book.decode_tables(tile.pixels), 1,
                                           decoded) != Status::kOk);
    decoder.tiles.push(static_cast<uint32_t>(tile.pixels));
    for (const Word& word : to_words(payload, 0, &random)) decoder.words.push(word);
    values += layer.channels * tile.pixels;
    if (i + 1 == tiles.size()) {
      const auto back = layer.values(levels, tile.pixels);
      for (size_t p = 0; p < tile.pixels; ++p) {
        for (size_t c = 0; c < layer.channels; ++c) {
          last.push_back(static_cast<int32_t>(back[c * tile.pixels + p]));
        }
      }
    }
  }
  decoder.run(values);
  EXPECT_EQ(decoder.bad.items, refused);
  EXPECT_TRUE(std::equal(last.rbegin(), last.rend(), decoder.out.items.rbegin()));
}

TEST(Layer, AComponentOfAPixelACycle) {
  std::mt19937 random(4);
  const Layer layer(random, kChannels, kChannels);
  Encoder encoder(layer, 0, 1);
  Decoder decoder(layer, 0, 1);
  const auto tiles = random_tiles(layer, 40, random, true);
  for (const Tile& tile : tiles) {
    encoder.tiles.push(kMostPixels);
    decoder.tiles.push(kMostPixels);
    for (size_t p = 0; p < kMostPixels; ++p) {
      for (size_t c = 0; c < kChannels; ++c) {
        encoder.in.push(static_cast<int32_t>(tile.x[c * kMostPixels + p]));
      }
    }
    const auto payload = layer.payload(layer.levels(tile.x, kMostPixels), kMostPixels);
    for (const Word& word : to_words(payload, 0, nullptr)) decoder.words.push(word);
  }
  // But for the first tile, which comes in before anything leaves.
  const size_t tile = kChannels * kMostPixels, values = tiles.size() * tile;
  const uint64_t encoded = encoder.run(tiles.size()) - tile;
  const uint64_t decoded = decoder.run(values) - tile;
  report_cycles("layer_encoder", encoded, values);
  report_cycles("layer_decoder", decoded, values);
  EXPECT_LE(encoded, 1.01 * static_cast<double>(values));
  EXPECT_LE(decoded, 1.02 * static_cast<double>(values));
}

}  // namespace
}  // namespace fmtc::rtl
