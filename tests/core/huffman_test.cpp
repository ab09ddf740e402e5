#include "core/huffman.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <numeric>
#include <queue>
#include <random>
#include <tuple>
#include <utility>
#include <vector>

#include "coding_fixture.h"
#include "core/bytes.h"
#include "core/entropy.h"

namespace fmtc {
namespace {

using Counts = std::vector<int64_t>;
using Lengths = std::vector<uint8_t>;

Lengths lengths_of(const Counts& counts, int limit) {
  Lengths lengths(counts.size(), 99);
  EXPECT_EQ(huffman_lengths(counts, limit, lengths), Status::kOk);
  return lengths;
}

int64_t cost(const Counts& counts, const Lengths& lengths) {
  int64_t bits = 0;
  for (size_t i = 0; i < counts.size(); ++i) bits += counts[i] * lengths[i];
  return bits;
}

double kraft(const Lengths& lengths) {
  double sum = 0;
  for (const uint8_t length : lengths) sum += length > 0 ? std::ldexp(1.0, -length) : 0.0;
  return sum;
}

// Huffman's own algorithm: the total cost is the sum of all merged weights.
int64_t unlimited_cost(const Counts& counts) {
  std::priority_queue<int64_t, Counts, std::greater<>> heap(counts.begin(), counts.end());
  int64_t total = 0;
  while (heap.size() > 1) {
    const int64_t first = heap.top();
    heap.pop();
    const int64_t merged = first + heap.top();
    heap.pop();
    total += merged;
    heap.push(merged);
  }
  return total;
}

// The cheapest of all assignments of lengths that satisfy Kraft's inequality.
int64_t brute_force_cost(const Counts& counts, int limit, size_t symbol = 0, double room = 1) {
  if (symbol == counts.size()) return 0;
  int64_t best = std::numeric_limits<int64_t>::max() / 2;
  for (int length = 1; length <= limit && length <= static_cast<int>(counts.size()); ++length) {
    const double left = room - std::ldexp(1.0, -length);
    if (left < 0) continue;
    best =
        std::min(best, counts[symbol] * length + brute_force_cost(counts, limit, symbol + 1, left));
  }
  return best;
}

// The cheapest tree level by level: at each depth some of the open nodes become leaves of the most
// frequent symbols left, the others open two nodes each. Every symbol left pays a bit a level.
class LevelSearch {
 public:
  explicit LevelSearch(Counts counts) : counts_(std::move(counts)) {
    std::sort(counts_.rbegin(), counts_.rend());
  }
  int64_t cost(int levels, size_t done = 0, size_t open = 1) {
    const size_t left = counts_.size() - done;
    if (left == 0) return 0;
    if (levels == 0 && open < left) return std::numeric_limits<int64_t>::max() / 2;
    if (open >= left) return 0;
    const auto [known, is_new] = known_.try_emplace({levels, done, open}, 0);
    if (!is_new) return known->second;
    int64_t best = std::numeric_limits<int64_t>::max() / 2;
    for (size_t leaves = 0; leaves < open; ++leaves) {
      const int64_t paid = std::accumulate(
          counts_.begin() + static_cast<std::ptrdiff_t>(done + leaves), counts_.end(), int64_t{0});
      best = std::min(best, paid + cost(levels - 1, done + leaves, 2 * (open - leaves)));
    }
    return known_[{levels, done, open}] = best;
  }

 private:
  Counts counts_;
  std::map<std::tuple<int, size_t, size_t>, int64_t> known_;
};

Counts random_counts(size_t size, std::mt19937& random, double skew) {
  std::uniform_real_distribution<double> draw(0, skew);
  Counts counts(size);
  for (int64_t& count : counts) count = 1 + static_cast<int64_t>(std::exp(draw(random)));
  return counts;
}

Counts fibonacci(size_t size) {
  Counts counts = {1, 1};
  while (counts.size() < size) counts.push_back(counts.end()[-1] + counts.end()[-2]);
  return counts;
}

TEST(HuffmanLengths, OptimalWhereTheLimitDoesNotBind) {
  std::mt19937 random(1);
  for (const size_t size : {2, 3, 5, 16, 100, 500, 4096}) {
    // Steeper counts would make codes of more than 15 bits.
    for (const double skew : {0.0, size > 500 ? 1.0 : 5.0}) {
      const Counts counts = random_counts(size, random, skew);
      const Lengths lengths = lengths_of(counts, 15);
      EXPECT_EQ(cost(counts, lengths), unlimited_cost(counts));
      EXPECT_EQ(kraft(lengths), 1.0);
    }
  }
}

TEST(HuffmanLengths, OptimalUnderALimitByBruteForce) {
  std::mt19937 random(2);
  for (int round = 0; round < 60; ++round) {
    const Counts counts = random_counts(2 + random() % 5, random, 8);
    for (int limit = 3; limit <= 5; ++limit) {
      EXPECT_EQ(cost(counts, lengths_of(counts, limit)), brute_force_cost(counts, limit));
    }
  }
}

TEST(HuffmanLengths, OptimalUnderALimitByLevelSearch) {
  std::mt19937 random(3);
  std::vector<Counts> cases = {fibonacci(20), fibonacci(32)};
  for (int round = 0; round < 8; ++round) cases.push_back(random_counts(32, random, 14));
  for (const Counts& counts : cases) {
    for (const int limit : {5, 6, 8, 11, 15}) {
      const Lengths lengths = lengths_of(counts, limit);
      EXPECT_LE(*std::max_element(lengths.begin(), lengths.end()), limit);
      EXPECT_EQ(kraft(lengths), 1.0);
      EXPECT_EQ(cost(counts, lengths), LevelSearch(counts).cost(limit)) << "limit " << limit;
    }
  }
}

TEST(HuffmanLengths, RateLiesWithinOneBitOfTheEntropy) {
  std::mt19937 random(4);
  for (int round = 0; round < 40; ++round) {
    const Counts counts = random_counts(2 + random() % 500, random, 8);
    const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
    const double rate = static_cast<double>(cost(counts, lengths_of(counts, 15))) / total;
    EXPECT_GE(rate, entropy(counts) - 1e-12);
    EXPECT_LE(rate, entropy(counts) + 1);
  }
}

TEST(HuffmanLengths, UnusedSymbolsGetNoCode) {
  EXPECT_EQ(lengths_of({0, 4, 0, 4, 8, 0}, 15), (Lengths{0, 2, 0, 2, 1, 0}));
  EXPECT_EQ(lengths_of({0, 0, 9, 0}, 15), (Lengths{0, 0, 1, 0}));
  EXPECT_EQ(lengths_of({7}, 1), (Lengths{1}));
  EXPECT_EQ(lengths_of({0, 0}, 15), (Lengths{0, 0}));
  EXPECT_EQ(lengths_of({}, 15), (Lengths{}));
}

TEST(HuffmanLengths, AFullTableHasEqualLengths) {
  std::mt19937 random(5);
  for (int limit = 1; limit <= 12; ++limit) {
    const Counts counts = random_counts(size_t{1} << limit, random, 9);
    const Lengths lengths = lengths_of(counts, limit);
    EXPECT_EQ(std::count(lengths.begin(), lengths.end(), limit), std::ssize(lengths));
  }
}

TEST(HuffmanLengths, RefusesWhatHasNoCode) {
  Lengths lengths(5);
  EXPECT_EQ(huffman_lengths(Counts(5, 1), 2, lengths), Status::kBadTable);
  EXPECT_EQ(huffman_lengths(Counts{1, 1, 1, 0, 0}, 1, lengths), Status::kBadTable);
  EXPECT_EQ(huffman_lengths(Counts(5, 1), 0, lengths), Status::kBadArgument);
  EXPECT_EQ(huffman_lengths(Counts(5, 1), 16, lengths), Status::kBadArgument);
  EXPECT_EQ(huffman_lengths(Counts(4, 1), 15, lengths), Status::kBadArgument);
  EXPECT_EQ(huffman_lengths(Counts{1, -1, 1, 1, 1}, 15, lengths), Status::kOutOfRange);
  EXPECT_EQ(huffman_lengths(Counts(5, int64_t{1} << 57), 15, lengths), Status::kOutOfRange);
  EXPECT_EQ(huffman_lengths(Counts(5, INT64_MAX), 15, lengths), Status::kOutOfRange);
  Lengths many(4097);
  EXPECT_EQ(huffman_lengths(Counts(4097, 1), 15, many), Status::kBadTable);
}

TEST(HuffmanTables, CanonicalCodesAreReversed) {
  // Codes in the order of (length, symbol): 0, 10, 110, 111 for symbols 2, 1, 0, 4.
  const Lengths lengths = {3, 2, 1, 0, 3};
  std::vector<uint32_t> encode(5), decode(8);
  ASSERT_EQ(huffman_encode_table(lengths, encode), Status::kOk);
  EXPECT_EQ(encode, (std::vector<uint32_t>{3u << 16 | 0b011, 2u << 16 | 0b01, 1u << 16, 0,
                                           3u << 16 | 0b111}));
  ASSERT_EQ(huffman_decode_table(lengths, 3, decode), Status::kOk);
  // By bits, the first one lowest: 0 is symbol 2, 10 is 1, 110 is 0 and 111 is 4.
  const uint32_t one_one = 2u << 28 | 1u << 12 | 2u << 16 | 2,
                 one_two = 3u << 28 | 2u << 12 | 1u << 16 | 2;
  const uint32_t two_one = 3u << 28 | 1u << 12 | 2u << 16 | 1, two = 2u << 28 | 1;
  const uint32_t one = 1u << 28 | 2, first = 3u << 28, last = 3u << 28 | 4;
  EXPECT_EQ(decode,
            (std::vector<uint32_t>{one_one, two_one, one_two, first, one_one, two, one, last}));
}

TEST(HuffmanTables, OneSymbolUsesHalfOfTheTable) {
  std::vector<uint32_t> encode(3), decode(4);
  ASSERT_EQ(huffman_encode_table(Lengths{0, 1, 0}, encode), Status::kOk);
  EXPECT_EQ(encode, (std::vector<uint32_t>{0, 1u << 16, 0}));
  ASSERT_EQ(huffman_decode_table(Lengths{0, 1, 0}, 2, decode), Status::kOk);
  EXPECT_EQ(decode,
            (std::vector<uint32_t>{2u << 28 | 1u << 12 | 1u << 16 | 1, 0, 1u << 28 | 1, 0}));
}

TEST(HuffmanTables, RefuseLengthsThatAreNoCompleteCode) {
  std::vector<uint32_t> decode(8);
  for (const Lengths& lengths : std::vector<Lengths>{
           {}, {0, 0}, {2}, {1, 2}, {1, 1, 1}, {1, 2, 2, 3}, {16}, {255, 255}, {1, 1, 200}}) {
    std::vector<uint32_t> encode(lengths.size());
    EXPECT_EQ(huffman_encode_table(lengths, encode), Status::kBadTable);
    EXPECT_EQ(huffman_decode_table(lengths, 3, decode), Status::kBadTable);
  }
  EXPECT_EQ(huffman_decode_table(Lengths{1, 2, 2}, 1, std::span(decode).first(2)),
            Status::kBadArgument);
  EXPECT_EQ(huffman_decode_table(Lengths{1, 1}, 2, decode), Status::kBadArgument);
  EXPECT_EQ(huffman_decode_table(Lengths{1, 1}, 16, decode), Status::kBadArgument);
  EXPECT_EQ(huffman_encode_table(Lengths{1, 1}, decode), Status::kBadArgument);
}

TEST(HuffmanChunk, RoundTripOfEveryLength) {
  std::mt19937 random(6);
  const Counts counts = bell_counts(1, 40);
  const Codebook book = make_codebook(counts, 40, -20, 1, 15, random);
  for (uint64_t size = 0; size < 200; ++size) {
    const auto levels = draw_levels(book, counts, size, random);
    std::vector<uint8_t> bytes(huffman_chunk_bound(size, 1));
    size_t used = 0;
    ASSERT_EQ(huffman_chunk_encode(levels, 0, book.encode_tables(size), 1, bytes, used),
              Status::kOk);
    bytes.resize(used);
    std::vector<int16_t> decoded(size);
    ASSERT_EQ(huffman_chunk_decode(bytes, 0, book.decode_tables(size), 1, decoded), Status::kOk);
    EXPECT_EQ(decoded, levels);
    decoded.resize(size + 9);
    EXPECT_EQ(huffman_chunk_decode(bytes, 0, book.decode_tables(size + 9), 1, decoded),
              Status::kBadCode);
  }
}

TEST(HuffmanChunk, RefusesLevelsOutsideTheTable) {
  const std::vector<uint32_t> encode = {1u << 16, 1u << 16 | 1, 0};
  const std::vector<int64_t> table_of = {0};
  const ComponentTables tables = {0, 3, encode, table_of, 2};
  std::vector<uint8_t> bytes(8);
  size_t used = 0;
  for (const int16_t level : {-1, 2, 3, -32768, 32767}) {
    EXPECT_EQ(huffman_chunk_encode(std::vector<int16_t>{0, level}, 0, tables, 1, bytes, used),
              Status::kNoCode);
  }
}

struct ChunkCase {
  size_t components, plane, tables, symbols;
};

// What is behind a buffer, to see writes that go too far even without a sanitizer.
constexpr uint8_t kGuard = 0xC3;

TEST(HuffmanChunk, RoundTripOverShapesTablesAndSubstreams) {
  std::mt19937 random(7);
  const std::vector<ChunkCase> chunks = {{1, 1, 1, 1},      {1, 1, 1, 2},       {1, 5, 1, 1},
                                         {1000, 1, 1, 17},  {1000, 1, 5, 17},   {500, 2, 3, 9},
                                         {100, 49, 8, 256}, {3, 4096, 2, 4096}, {7, 999, 3, 1000}};
  for (const ChunkCase& chunk : chunks) {
    const Counts counts = bell_counts(chunk.tables, chunk.symbols);
    const Codebook book = make_codebook(counts, chunk.symbols, -static_cast<int>(chunk.symbols / 2),
                                        chunk.components, 15, random);
    const auto levels = draw_levels(book, counts, chunk.plane, random);
    for (int substreams = 1; substreams <= kMaxSubstreams; ++substreams) {
      const size_t bound = huffman_chunk_bound(levels.size(), substreams);
      std::vector<uint8_t> bytes(bound + 16, kGuard);
      size_t used = 0;
      ASSERT_EQ(huffman_chunk_encode(levels, 0, book.encode_tables(chunk.plane), substreams,
                                     std::span(bytes).first(bound), used),
                Status::kOk);
      ASSERT_LE(used, bound);
      ASSERT_EQ(std::count(bytes.begin() + static_cast<std::ptrdiff_t>(bound), bytes.end(), kGuard),
                16);
      const std::vector<uint8_t> payload(bytes.begin(),
                                         bytes.begin() + static_cast<std::ptrdiff_t>(used));
      std::vector<int16_t> decoded(levels.size());
      ASSERT_EQ(
          huffman_chunk_decode(payload, 0, book.decode_tables(chunk.plane), substreams, decoded),
          Status::kOk);
      ASSERT_EQ(decoded, levels);
    }
  }
}

TEST(HuffmanChunk, MayBeginInsideAComponent) {
  std::mt19937 random(8);
  const Counts counts = bell_counts(4, 30);
  const Codebook book = make_codebook(counts, 30, 0, 20, 15, random);
  const uint64_t plane = 37;
  const auto levels = draw_levels(book, counts, plane, random);
  for (size_t first = 0; first < levels.size(); first += 29) {
    const auto part =
        std::span(levels).subspan(first, std::min<size_t>(levels.size() - first, 401));
    std::vector<uint8_t> bytes(huffman_chunk_bound(part.size(), 4));
    size_t used = 0;
    ASSERT_EQ(huffman_chunk_encode(part, first, book.encode_tables(plane), 4, bytes, used),
              Status::kOk);
    std::vector<int16_t> decoded(part.size());
    ASSERT_EQ(huffman_chunk_decode(std::span(bytes).first(used), first, book.decode_tables(plane),
                                   4, decoded),
              Status::kOk);
    ASSERT_TRUE(std::equal(part.begin(), part.end(), decoded.begin()));
  }
}

TEST(HuffmanChunk, TheBoundIsReachedByTheLongestCodes) {
  const Lengths lengths = lengths_of(fibonacci(32), 15);
  std::vector<uint32_t> encode(32);
  ASSERT_EQ(huffman_encode_table(lengths, encode), Status::kOk);
  ASSERT_EQ(lengths[0], 15);
  const std::vector<int64_t> table_of = {0};
  const ComponentTables tables{0, 32, encode, table_of, 803};
  const std::vector<int16_t> levels(803, 0);
  for (const int substreams : {1, 3, 4, 16}) {
    const size_t bound = huffman_chunk_bound(levels.size(), substreams);
    std::vector<uint8_t> bytes(bound);
    size_t used = 0;
    EXPECT_EQ(huffman_chunk_encode(levels, 0, tables, substreams, bytes, used), Status::kOk);
    EXPECT_EQ(used, bound);
    for (size_t size = 0; size < bound; ++size) {
      ASSERT_EQ(
          huffman_chunk_encode(levels, 0, tables, substreams, std::span(bytes).first(size), used),
          Status::kBufferTooSmall);
    }
  }
}

TEST(HuffmanChunk, ReportsTheFirstLevelWithoutACode) {
  std::mt19937 random(9);
  const Counts counts = {5, 0, 3, 2, /* second table */ 1, 1, 0, 1};
  Codebook book = make_codebook(counts, 4, -1, 3, 15, random);
  book.table_of = {0, 1, 0};
  const ComponentTables tables = book.encode_tables(4);
  const std::vector<int16_t> good = {-1, 1, 2, 2, 0, 0, 2, -1, 1, 1, 1, -1};
  EXPECT_EQ(find_uncodable(good, tables), good.size());
  size_t used = 0;
  std::vector<uint8_t> bytes(huffman_chunk_bound(good.size(), 2));
  EXPECT_EQ(huffman_chunk_encode(good, 0, tables, 2, bytes, used), Status::kOk);
  for (const auto& [index, level] : std::vector<std::pair<size_t, int16_t>>{
           {0, 0}, {4, 1}, {11, 0}, {6, 3}, {7, -2}, {3, 32767}, {8, -32768}}) {
    std::vector<int16_t> levels = good;
    levels[index] = level;
    EXPECT_EQ(huffman_chunk_encode(levels, 0, tables, 2, bytes, used), Status::kNoCode);
    EXPECT_EQ(find_uncodable(levels, tables), index);
  }
}

TEST(HuffmanChunk, RefusesPayloadsThatDoNotFit) {
  std::mt19937 random(10);
  const Counts counts = bell_counts(2, 12);
  const Codebook book = make_codebook(counts, 12, 0, 10, 15, random);
  const auto levels = draw_levels(book, counts, 30, random);
  std::vector<uint8_t> bytes(huffman_chunk_bound(levels.size(), 4));
  size_t used = 0;
  ASSERT_EQ(huffman_chunk_encode(levels, 0, book.encode_tables(30), 4, bytes, used), Status::kOk);
  bytes.resize(used);
  std::vector<int16_t> decoded(levels.size());
  const auto decode = [&](std::span<const uint8_t> payload, int substreams) {
    return huffman_chunk_decode(payload, 0, book.decode_tables(30), substreams, decoded);
  };
  ASSERT_EQ(decode(bytes, 4), Status::kOk);
  for (size_t size = 0; size < used; ++size) {
    EXPECT_EQ(decode(std::span(bytes).first(size), 4), Status::kBadCode);
  }
  std::vector<uint8_t> longer = bytes;
  longer.push_back(0);
  EXPECT_EQ(decode(longer, 4), Status::kBadCode);
  EXPECT_EQ(decode(bytes, 0), Status::kBadArgument);
  EXPECT_EQ(decode(bytes, 17), Status::kBadArgument);
}

// Sub-streams may be read beyond their ends, but not used: a byte less, and the codes go on with
// what is behind it; a byte more, and it is not padding.
TEST(HuffmanChunk, RefusesSubstreamsOfOtherSizes) {
  std::mt19937 random(14);
  const Counts counts = bell_counts(1, 12);
  const Codebook book = make_codebook(counts, 12, 0, 1, 15, random);
  for (const uint64_t plane : {40u, 500u, 5000u}) {
    const auto levels = draw_levels(book, counts, plane, random);
    for (const int substreams : {2, 4, 5, 16}) {
      const size_t sizes = 4 * static_cast<size_t>(substreams - 1);
      std::vector<uint8_t> bytes(huffman_chunk_bound(levels.size(), substreams));
      size_t used = 0;
      ASSERT_EQ(huffman_chunk_encode(levels, 0, book.encode_tables(plane), substreams, bytes, used),
                Status::kOk);
      bytes.resize(used);
      std::vector<int16_t> decoded(levels.size());
      const auto decode = [&](std::span<const uint8_t> payload) {
        return huffman_chunk_decode(payload, 0, book.decode_tables(plane), substreams, decoded);
      };
      ASSERT_EQ(decode(bytes), Status::kOk);
      ASSERT_EQ(decoded, levels);
      size_t end = sizes;
      for (size_t field = 0; field < sizes; field += 4) {
        const auto size = load_le<uint32_t>(bytes.data() + field);
        end += size;
        const auto behind = static_cast<ptrdiff_t>(end);
        std::vector<uint8_t> less = bytes, more = bytes;
        less.erase(less.begin() + behind - 1);
        store_le<uint32_t>(less.data() + field, size - 1);
        EXPECT_EQ(decode(less), Status::kBadCode);
        more.insert(more.begin() + behind, 0);
        store_le<uint32_t>(more.data() + field, size + 1);
        EXPECT_EQ(decode(more), Status::kBadCode);
      }
    }
  }
}

TEST(HuffmanChunk, RefusesTheUnusedHalfOfTheOneSymbolCode) {
  std::mt19937 random(11);
  const Codebook book = make_codebook(Counts{0, 3}, 2, 0, 1, 15, random);
  for (size_t size = 1; size < 300; ++size) {
    std::vector<uint8_t> bytes((size + 7) / 8, 0);
    std::vector<int16_t> decoded(size);
    const auto tables = book.decode_tables(size);
    ASSERT_EQ(huffman_chunk_decode(bytes, 0, tables, 1, decoded), Status::kOk);
    EXPECT_EQ(decoded, std::vector<int16_t>(size, 1));
    // A set bit is no code where it is a value, and bad padding where it is not.
    for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      ASSERT_EQ(huffman_chunk_decode(bytes, 0, tables, 1, decoded), Status::kBadCode);
      bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    }
  }
}

// Nothing but memory safety is asked here: the sanitizer build is the judge, and the guard.
TEST(HuffmanChunk, SurvivesAnyPayloadAndAnyTable) {
  std::mt19937 random(12);
  const Counts counts = bell_counts(3, 50);
  Codebook book = make_codebook(counts, 50, 0, 12, 15, random);
  for (int round = 0; round < 2000; ++round) {
    const uint64_t plane = 1 + random() % 60;
    const int substreams = 1 + static_cast<int>(random() % 16);
    std::vector<uint8_t> payload(random() % 700);
    for (uint8_t& byte : payload) byte = static_cast<uint8_t>(random());
    for (size_t i = 0; i + 4 <= payload.size() && i < 64; i += 4) {
      store_le<uint32_t>(payload.data() + i, random() % 40);
    }
    if (round > 1000) {
      for (uint32_t& entry : book.decode) entry = static_cast<uint32_t>(random());
      for (uint32_t& entry : book.encode) entry = static_cast<uint32_t>(random());
    }
    std::vector<int16_t> levels(12 * plane + 1, 0x5A5A);
    const auto inside = std::span(levels).first(levels.size() - 1);
    huffman_chunk_decode(payload, 0, book.decode_tables(plane), substreams, inside);
    ASSERT_EQ(levels.back(), 0x5A5A);
    for (int16_t& level : levels) level = static_cast<int16_t>(random() % 50);
    size_t used = 0;
    huffman_chunk_encode(inside, 0, book.encode_tables(plane), substreams, payload, used);
  }
}

TEST(CheckTables, RefusesWhatCouldReachOutside) {
  const std::vector<uint32_t> entries(64);
  std::vector<int64_t> table_of = {0, 3, 1};
  const auto tables = [&](size_t width, int32_t lo) {
    return ComponentTables{lo, width, entries, table_of, 1};
  };
  EXPECT_EQ(huffman_check_encode_tables(tables(16, -8), 3), Status::kOk);
  EXPECT_EQ(huffman_check_decode_tables(tables(16, -8), 3), Status::kOk);
  EXPECT_EQ(huffman_check_encode_tables(tables(16, -8), 2), Status::kBadArgument);
  EXPECT_EQ(huffman_check_encode_tables(tables(32, -8), 3), Status::kBadArgument);
  EXPECT_EQ(huffman_check_encode_tables(tables(0, -8), 3), Status::kBadArgument);
  EXPECT_EQ(huffman_check_encode_tables(tables(15, -8), 3), Status::kBadArgument);
  EXPECT_EQ(huffman_check_encode_tables(tables(16, 40000), 3), Status::kBadArgument);
  EXPECT_EQ(huffman_check_decode_tables(tables(1, 0), 3), Status::kBadArgument);
  table_of[2] = -1;
  EXPECT_EQ(huffman_check_decode_tables(tables(16, 0), 3), Status::kBadArgument);
}

}  // namespace
}  // namespace fmtc
