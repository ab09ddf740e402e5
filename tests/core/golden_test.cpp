// The golden streams chunk by chunk: every machine and instruction set must read them, write the
// same bytes again, and refuse the same ones.
#include <gtest/gtest.h>

#include <functional>

#include "all_kernels.h"
#include "core/dct_cm.h"
#include "core/ebpc.h"
#include "golden_fixture.h"

namespace fmtc {
namespace {

using Levels = std::vector<int16_t>;

// One chunk of a golden stream: the values from `first` on.
struct Chunk {
  const Golden& golden;
  std::span<const uint8_t> payload;
  uint64_t first;
  size_t values;

  int lanes() const { return golden.header.lanes(); }
};

struct ChunkCoder {
  std::function<Status(const Chunk&, std::span<int16_t>)> decode;
  std::function<Status(const Chunk&, std::span<const int16_t>, std::span<uint8_t>, size_t&)> encode;
  std::function<size_t(const Chunk&)> bound;
};

// Whether all chunks of a stream decode; those that do must be written again as they are.
bool all_decode(const Golden& golden, const ChunkCoder& coder) {
  bool all = true;
  for (uint64_t i = 0; i < golden.header.chunks(); ++i) {
    const Chunk chunk = {golden, golden.payload(i), golden.header.chunk_first(i),
                         golden.header.chunk_values(i)};
    Levels levels(chunk.values);
    if (coder.decode(chunk, levels) != Status::kOk) {
      all = false;
      continue;
    }
    std::vector<uint8_t> made(coder.bound(chunk));
    size_t used = 0;
    EXPECT_EQ(coder.encode(chunk, levels, made, used), Status::kOk) << golden.name;
    made.resize(used);
    EXPECT_TRUE(std::ranges::equal(made, chunk.payload)) << golden.name << ", chunk " << i;
  }
  return all;
}

void test_golden(Coder of, const ChunkCoder& coder) {
  size_t good = 0, refused = 0;
  for (const Golden& golden : golden_streams(of)) {
    const bool decodes = all_decode(golden, coder);
    if (golden.status == Status::kOk) {
      EXPECT_TRUE(decodes) << golden.name;
      ++good;
    }
    if (golden.status == Status::kBadCode && !golden.name.starts_with("bad-map")) {
      EXPECT_FALSE(decodes) << golden.name;
      ++refused;
    }
  }
  EXPECT_GE(good, 5u);
  EXPECT_GE(refused, 4u);
}

TEST(Golden, Huffman) {
  const ChunkCoder coder = {
      [](const Chunk& chunk, std::span<int16_t> levels) {
        return huffman_chunk_decode(chunk.payload, chunk.first, chunk.golden.tables(),
                                    chunk.lanes(), levels);
      },
      [](const Chunk& chunk, std::span<const int16_t> levels, std::span<uint8_t> out,
         size_t& used) {
        return huffman_chunk_encode(levels, chunk.first, chunk.golden.encode_tables(),
                                    chunk.lanes(), out, used);
      },
      [](const Chunk& chunk) { return huffman_chunk_bound(chunk.values, chunk.lanes()); }};
  test_golden(Coder::kHuffman, coder);
}

TEST(Golden, Rans) {
  for (const RansKernels* kernels : all_kernels()) {
    const ChunkCoder coder = {
        [&](const Chunk& chunk, std::span<int16_t> levels) {
          return rans_chunk_decode(chunk.payload, chunk.first, chunk.golden.tables(), chunk.lanes(),
                                   levels, kernels);
        },
        [&](const Chunk& chunk, std::span<const int16_t> levels, std::span<uint8_t> out,
            size_t& used) {
          return rans_chunk_encode(levels, chunk.first, chunk.golden.encode_tables(), chunk.lanes(),
                                   out, used, kernels);
        },
        [](const Chunk& chunk) { return rans_chunk_bound(chunk.values, chunk.lanes()); }};
    test_golden(Coder::kRans, coder);
  }
}

// Coders of words, which have no lanes.
template <auto decode, auto encode, auto bound>
ChunkCoder word_coder() {
  return {
      [](const Chunk& chunk, std::span<int16_t> levels) {
        return decode(chunk.payload, Words(chunk.golden.tables()), levels);
      },
      [](const Chunk& chunk, std::span<const int16_t> levels, std::span<uint8_t> out,
         size_t& used) { return encode(levels, Words(chunk.golden.encode_tables()), out, used); },
      [](const Chunk& chunk) { return bound(chunk.values); }};
}

TEST(Golden, Ebpc) {
  test_golden(Coder::kEbpc, word_coder<ebpc_chunk_decode, ebpc_chunk_encode, ebpc_chunk_bound>());
}

TEST(Golden, DctCm) {
  test_golden(Coder::kDctCm,
              word_coder<dct_cm_chunk_decode, dct_cm_chunk_encode, dct_cm_chunk_bound>());
}

}  // namespace
}  // namespace fmtc
