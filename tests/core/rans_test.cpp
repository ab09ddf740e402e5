#include "core/rans.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "all_kernels.h"
#include "coding_fixture.h"

namespace fmtc {

namespace {

using Counts = std::vector<int64_t>;
using Frequencies = std::vector<int32_t>;
using Levels = std::vector<int16_t>;
using Bytes = std::vector<uint8_t>;

Frequencies frequencies_of(const Counts& counts, int log2_total) {
  Frequencies frequencies(counts.size() + 1);
  EXPECT_EQ(rans_frequencies(counts, log2_total, frequencies), Status::kOk);
  return frequencies;
}

// ---------------------------------------------------------------------------------------------
// References

// Expected bits of all counts.
double cost(const Counts& counts, const Frequencies& frequencies) {
  const double total = std::accumulate(frequencies.begin(), frequencies.end(), 0.0);
  double bits = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double code = frequencies[i] > 0 ? std::log2(total / frequencies[i])
                                           : 16 + std::log2(total / frequencies.back());
    bits += static_cast<double>(counts[i]) * code;
  }
  return bits;
}

// The shortest of all tables whose direct levels are the k most frequent ones, for every k: slots
// are dealt out one at a time, each to the symbol that gains most. For at most 255 levels.
double best_cost(const Counts& counts, int log2_total) {
  std::vector<size_t> order(counts.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return counts[a] > counts[b]; });
  std::vector<double> gain(size_t{1} << log2_total);
  for (size_t f = 1; f < gain.size(); ++f) gain[f] = std::log2(1 + 1 / static_cast<double>(f));
  double best = std::numeric_limits<double>::infinity();
  for (size_t direct = 0; direct <= counts.size(); ++direct) {
    std::vector<double> weights;
    double escaped = 0;
    for (size_t i = 0; i < order.size(); ++i) {
      const auto count = static_cast<double>(counts[order[i]]);
      if (i < direct) {
        weights.push_back(count);
      } else {
        escaped += count;
      }
    }
    weights.push_back(escaped);
    std::vector<size_t> slots(weights.size(), 1);
    for (int left = (1 << log2_total) - static_cast<int>(slots.size()); left > 0; --left) {
      size_t most = 0;
      for (size_t s = 1; s < slots.size(); ++s) {
        if (weights[s] * gain[slots[s]] > weights[most] * gain[slots[most]]) most = s;
      }
      ++slots[most];
    }
    double bits = 16 * escaped;
    for (size_t s = 0; s < slots.size(); ++s) {
      bits += weights[s] * (log2_total - std::log2(static_cast<double>(slots[s])));
    }
    best = std::min(best, bits);
  }
  return best;
}

// A decoder as docs/stream_format.md has it, without any table but the frequencies.
class ReferenceDecoder {
 public:
  ReferenceDecoder(const Bytes& payload, int states) : bytes_(payload), end_(payload.size()) {
    for (int i = 0; i < states; ++i) {
      const uint64_t low = digit();
      states_.push_back(low | digit() << 16);
    }
  }

  int16_t level(size_t i, const int32_t* frequencies, size_t symbols, int32_t lo) {
    uint64_t& x = states_[i % states_.size()];
    const auto total =
        static_cast<uint64_t>(std::accumulate(frequencies, frequencies + symbols + 1, int64_t{0}));
    const uint64_t slot = x % total;
    uint64_t start = 0;
    size_t symbol = 0;
    while (start + static_cast<uint64_t>(frequencies[symbol]) <= slot) {
      start += static_cast<uint64_t>(frequencies[symbol++]);
    }
    x = static_cast<uint64_t>(frequencies[symbol]) * (x / total) + slot - start;
    if (x < 65536) x = x << 16 | digit();
    if (symbol < symbols) return static_cast<int16_t>(lo + static_cast<int32_t>(symbol));
    if (end_ < next_ + 2) return fail();
    end_ -= 2;
    return static_cast<int16_t>(bytes_[end_] | bytes_[end_ + 1] << 8);
  }

  bool good() const {
    return good_ && next_ == end_ &&
           std::all_of(states_.begin(), states_.end(), [](uint64_t x) { return x == 65536; });
  }

 private:
  uint64_t digit() {
    if (end_ < next_ + 2) return static_cast<uint64_t>(fail());
    next_ += 2;
    return bytes_[next_ - 2] | uint64_t{bytes_[next_ - 1]} << 8;
  }
  int16_t fail() {
    good_ = false;
    return 0;
  }

  const Bytes& bytes_;
  size_t next_ = 0, end_;
  std::vector<uint64_t> states_;
  bool good_ = true;
};

std::optional<Levels> reference_decode(const Bytes& payload, const Codebook& book, uint64_t first,
                                       size_t count, uint64_t plane, int states) {
  ReferenceDecoder decoder(payload, states);
  Levels levels;
  for (size_t i = 0; i < count; ++i) {
    const auto table = static_cast<size_t>(book.table_of[(first + i) / plane]);
    levels.push_back(decoder.level(i, book.frequencies.data() + table * (book.symbols + 1),
                                   book.symbols, book.lo));
  }
  return decoder.good() ? std::optional(levels) : std::nullopt;
}

Bytes encode(const Codebook& book, const Levels& levels, uint64_t first, uint64_t plane, int states,
             const RansKernels* kernels) {
  Bytes out(rans_chunk_bound(levels.size(), states));
  size_t used = 0;
  EXPECT_EQ(rans_chunk_encode(levels, first, book.encode_tables(plane), states, out, used, kernels),
            Status::kOk);
  out.resize(used);
  return out;
}

// The payload, the same from all kernels.
Bytes encode(const Codebook& book, const Levels& levels, uint64_t first, uint64_t plane,
             int states) {
  const Bytes payload = encode(book, levels, first, plane, states, nullptr);
  for (const RansKernels* kernels : all_kernels()) {
    EXPECT_EQ(encode(book, levels, first, plane, states, kernels), payload) << states;
  }
  return payload;
}

// Levels and status, the same from all kernels; levels of a bad payload are not compared.
Status decode(const Codebook& book, const Bytes& payload, uint64_t first, uint64_t plane,
              int states, Levels& levels) {
  const auto run = [&](const RansKernels* kernels, Levels& out) {
    return rans_chunk_decode(payload, first, book.decode_tables(plane), states, out, kernels);
  };
  const Status status = run(nullptr, levels);
  for (const RansKernels* kernels : all_kernels()) {
    Levels other(levels.size(), 55);
    EXPECT_EQ(run(kernels, other), status) << states;
    if (status == Status::kOk) {
      EXPECT_EQ(other, levels) << states;
    }
  }
  return status;
}

void expect_round_trip(const Codebook& book, const Levels& levels, uint64_t first, uint64_t plane,
                       int states) {
  const Bytes payload = encode(book, levels, first, plane, states);
  EXPECT_GE(payload.size(), rans_smallest_payload(levels.size(), states));
  Levels decoded(levels.size(), 77);
  ASSERT_EQ(decode(book, payload, first, plane, states, decoded), Status::kOk);
  ASSERT_EQ(decoded, levels);
  const auto reference = reference_decode(payload, book, first, levels.size(), plane, states);
  ASSERT_TRUE(reference.has_value());
  ASSERT_EQ(*reference, levels);
}

// One table for one component.
Codebook single_book(const Frequencies& frequencies, int32_t lo) {
  Codebook book;
  book.lo = lo;
  book.symbols = frequencies.size() - 1;
  book.encode_width = frequencies.size();
  book.decode_width = size_t{1} << rans_log2_total(frequencies);
  book.frequencies = frequencies;
  book.encode.resize(book.encode_width);
  book.decode.resize(book.decode_width);
  book.base.resize(1);
  book.table_of = {0};
  EXPECT_EQ(rans_encode_table(frequencies, book.encode), Status::kOk);
  EXPECT_EQ(rans_decode_table(frequencies, book.decode, book.base[0]), Status::kOk);
  return book;
}

Counts laplacian_counts(int half, double scale, double total) {
  Counts counts;
  for (int level = -half; level <= half; ++level) {
    counts.push_back(static_cast<int64_t>(total * std::exp(-std::abs(level) / scale)));
  }
  return counts;
}

// ---------------------------------------------------------------------------------------------
// Frequencies

TEST(RansFrequencies, AreWithinAThousandthOfTheBest) {
  for (const int log2_total : {8, 10, 12}) {
    for (const double scale : {0.1, 0.5, 1.0, 3.0, 10.0, 30.0}) {
      const int half = log2_total == 12 ? 20 : 50;
      const Counts counts = laplacian_counts(half, scale, 1e6);
      EXPECT_LE(cost(counts, frequencies_of(counts, log2_total)),
                1.001 * best_cost(counts, log2_total))
          << log2_total << " " << scale;
    }
  }
}

TEST(RansFrequencies, OfLaplaciansAreNearTheEntropy) {
  for (const double scale : {0.3, 1.0, 3.0, 10.0, 30.0}) {
    const Counts counts = laplacian_counts(127, scale, 1e9);
    const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
    double entropy = 0;
    for (const int64_t count : counts) {
      const auto weight = static_cast<double>(count);
      if (count > 0) entropy += weight * std::log2(total / weight);
    }
    EXPECT_LE(cost(counts, frequencies_of(counts, 12)), 1.01 * entropy) << scale;
  }
}

TEST(RansFrequencies, MakeATableOfAnyCounts) {
  std::mt19937 random(1);
  std::vector<Counts> all = {{0},
                             {5},
                             {0, 0, 7, 0},
                             Counts(4096, 0),
                             Counts(4096, 1),
                             Counts(255, 3),
                             Counts(256, 3),
                             {int64_t{1} << 58, 1, 0, int64_t{1} << 57},
                             {(int64_t{1} << 59) - 1}};
  Counts wide(4096, 0);
  wide[0] = wide[4095] = 1000;
  wide[2000] = 999;
  all.push_back(wide);
  Counts noise(1000);
  for (int64_t& count : noise) count = static_cast<int64_t>(random() % 5);
  all.push_back(noise);
  for (const Counts& counts : all) {
    for (int log2_total = 8; log2_total <= 12; ++log2_total) {
      EXPECT_EQ(rans_log2_total(frequencies_of(counts, log2_total)), log2_total);
    }
  }
}

TEST(RansFrequencies, EqualCountsGetEqualShares) {
  EXPECT_EQ(frequencies_of({1, 1, 1}, 8), (Frequencies{85, 85, 85, 1}));
  EXPECT_EQ(frequencies_of({0, 0, 0}, 8), (Frequencies{85, 85, 85, 1}));
  EXPECT_EQ(frequencies_of({9}, 12), (Frequencies{4095, 1}));
}

TEST(RansFrequencies, TheWindowHoldsMostCounts) {
  Counts counts(600, 0);
  counts[0] = 100;
  counts[300] = 60;
  counts[554] = 60;
  const Frequencies frequencies = frequencies_of(counts, 12);
  EXPECT_EQ(frequencies[0], 0);
  EXPECT_GT(frequencies[300], 0);
  EXPECT_GT(frequencies[554], 0);
}

TEST(RansFrequencies, BadArgumentsAreRefused) {
  Frequencies out(3);
  EXPECT_EQ(rans_frequencies(Counts{1, -1}, 12, out), Status::kOutOfRange);
  EXPECT_EQ(rans_frequencies(Counts{int64_t{1} << 59, 1}, 12, out), Status::kOutOfRange);
  EXPECT_EQ(rans_frequencies(Counts{1, 1}, 7, out), Status::kBadArgument);
  EXPECT_EQ(rans_frequencies(Counts{1, 1}, 13, out), Status::kBadArgument);
  EXPECT_EQ(rans_frequencies(Counts{1}, 12, out), Status::kBadArgument);
  Frequencies one(1), many(4098);
  EXPECT_EQ(rans_frequencies(Counts{}, 12, one), Status::kBadArgument);
  EXPECT_EQ(rans_frequencies(Counts(4097, 1), 12, many), Status::kBadArgument);
}

// ---------------------------------------------------------------------------------------------
// Tables

TEST(RansTables, HoldFrequenciesStartsAndSlots) {
  const Codebook book = single_book({0, 0, 100, 0, 150, 0, 6}, -3);
  EXPECT_EQ(book.encode,
            (std::vector<uint32_t>{0, 0, 100 << 16, 0, 150 << 16 | 100, 0, 6 << 16 | 250}));
  EXPECT_EQ(book.base[0], 2);
  EXPECT_EQ(book.decode[0], 99u << 8);
  EXPECT_EQ(book.decode[99], 99u << 20 | 99u << 8);
  EXPECT_EQ(book.decode[100], 149u << 8 | 2u);
  EXPECT_EQ(book.decode[250], 5u << 8 | 255u);
  EXPECT_EQ(book.decode[255], 5u << 20 | 5u << 8 | 255u);
}

TEST(RansTables, WrongFrequenciesAreRefused) {
  const auto log2_total = [](Frequencies frequencies) { return rans_log2_total(frequencies); };
  EXPECT_EQ(log2_total({255, 1}), 8);
  EXPECT_EQ(log2_total({0, 4096}), 12);
  EXPECT_EQ(log2_total({256, 0}), 0);   // no escape
  EXPECT_EQ(log2_total({254, 1}), 0);   // no power of two
  EXPECT_EQ(log2_total({127, 1}), 0);   // too small
  EXPECT_EQ(log2_total({8191, 1}), 0);  // too large
  EXPECT_EQ(log2_total({-1, 256, 1}), 0);
  EXPECT_EQ(log2_total({std::numeric_limits<int32_t>::max(), 1}), 0);
  EXPECT_EQ(log2_total({256}), 0);
  Frequencies wide(258, 0);
  wide[0] = 100;
  wide[254] = 155;
  wide[257] = 1;
  EXPECT_EQ(rans_log2_total(wide), 8);
  std::swap(wide[254], wide[255]);
  EXPECT_EQ(rans_log2_total(wide), 0);
  std::vector<uint32_t> entries(2), slots(256);
  int64_t base = 0;
  EXPECT_EQ(rans_encode_table(Frequencies{254, 1}, entries), Status::kBadTable);
  EXPECT_EQ(rans_decode_table(Frequencies{254, 1}, slots, base), Status::kBadTable);
  EXPECT_EQ(rans_decode_table(Frequencies{511, 1}, slots, base), Status::kBadArgument);
  EXPECT_EQ(rans_encode_table(Frequencies{100, 155, 1}, entries), Status::kBadArgument);
}

TEST(RansTables, AreCheckedBeforeCoding) {
  Codebook book = single_book({100, 150, 6}, 0);
  const auto encode_status = [&] { return rans_check_encode_tables(book.encode_tables(4), 1); };
  const auto decode_status = [&] { return rans_check_decode_tables(book.decode_tables(4), 1); };
  EXPECT_EQ(encode_status(), Status::kOk);
  EXPECT_EQ(decode_status(), Status::kOk);
  EXPECT_EQ(rans_check_encode_tables(book.encode_tables(4), 2), Status::kBadArgument);
  EXPECT_EQ(rans_check_decode_tables(book.decode_tables(4), 2), Status::kBadArgument);
  for (const int64_t base : {-1, 4096}) {
    book.base = {base};
    EXPECT_EQ(decode_status(), Status::kBadArgument);
  }
  book.base = {};
  EXPECT_EQ(decode_status(), Status::kBadArgument);
  book.encode[2] = 0;
  EXPECT_EQ(encode_status(), Status::kBadTable);
  book.encode = {100 << 16, 150 << 16, 6 << 16 | 250, 1, 1, 500 << 16 | 12};
  EXPECT_EQ(encode_status(), Status::kBadTable);  // 256 and 512 slots
  book.decode_width = book.encode_width = 1;
  EXPECT_EQ(encode_status(), Status::kBadArgument);
  EXPECT_EQ(decode_status(), Status::kBadArgument);
}

// ---------------------------------------------------------------------------------------------
// Chunks

// The example of docs/stream_format.md.
TEST(RansChunk, WorkedExampleOfTheFormat) {
  const Codebook book = single_book({64, 128, 63, 1}, -1);
  const Levels levels = {0, 5, 1, -300, 0, -1};
  const Bytes expected = {0xA1, 0x43, 0x10, 0x00, 0xFF, 0x00, 0x04,
                          0x00, 0xFF, 0x00, 0xD4, 0xFE, 0x05, 0x00};
  EXPECT_EQ(encode(book, levels, 0, 6, 2), expected);
  Levels decoded(6);
  EXPECT_EQ(decode(book, expected, 0, 6, 2, decoded), Status::kOk);
  EXPECT_EQ(decoded, levels);
}

TEST(RansChunk, RoundTripOverSizesAndStates) {
  std::mt19937 random(2);
  for (const auto& [components, plane, tables, symbols] :
       std::vector<std::array<size_t, 4>>{{1, 1, 1, 1},
                                          {1, 7, 1, 3},
                                          {5, 1, 2, 16},
                                          {3, 49, 3, 64},
                                          {64, 9, 8, 300},
                                          {4, 1000, 2, 4096}}) {
    const Counts counts = bell_counts(tables, symbols);
    const Codebook book =
        make_rans_codebook(counts, symbols, -static_cast<int>(symbols / 2), components, 12, random);
    const Levels levels = draw_levels(book, counts, plane, random);
    for (int states = 1; states <= 64; states *= 2) {
      expect_round_trip(book, levels, 0, plane, states);
    }
  }
}

TEST(RansChunk, RoundTripOverTotals) {
  std::mt19937 random(3);
  const Counts counts = bell_counts(3, 90);
  for (int log2_total = 8; log2_total <= 12; ++log2_total) {
    const Codebook book = make_rans_codebook(counts, 90, -45, 6, log2_total, random);
    expect_round_trip(book, draw_levels(book, counts, 333, random), 0, 333, 8);
  }
}

TEST(RansChunk, MayBeginAnywhere) {
  std::mt19937 random(4);
  const Counts counts = bell_counts(4, 30);
  const Codebook book = make_rans_codebook(counts, 30, -15, 11, 12, random);
  const Levels all = draw_levels(book, counts, 13, random);
  for (size_t first = 0; first < all.size(); first += 5) {
    for (const size_t size : {size_t{1}, size_t{13}, size_t{40}, all.size()}) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
      const size_t count = std::min(size, all.size() - first);
      expect_round_trip(book, Levels(begin, begin + static_cast<std::ptrdiff_t>(count)), first, 13,
                        4);
    }
  }
}

TEST(RansChunk, AnyLevelsCanBeEncoded) {
  std::mt19937 random(5);
  for (const Frequencies& frequencies :
       {Frequencies{64, 128, 63, 1}, Frequencies{0, 0, 0, 256}, Frequencies{4095, 1}}) {
    const Codebook book = single_book(frequencies, -1);
    Levels levels(3000);
    for (int16_t& level : levels) level = static_cast<int16_t>(random());
    levels[0] = 32767;
    levels[1] = -32768;
    for (const int states : {1, 4, 8, 16, 32, 64}) expect_round_trip(book, levels, 0, 3000, states);
    std::fill(levels.begin(), levels.end(), int16_t{999});
    expect_round_trip(book, levels, 0, 3000, 2);
    std::fill(levels.begin(), levels.end(), int16_t{-1});
    expect_round_trip(book, levels, 0, 3000, 2);
  }
}

TEST(RansChunk, LevelsAtTheEndsOfTheirRange) {
  for (const int32_t lo : {-32768, 32765, 32766, 32767}) {
    const Codebook book = single_book({1024, 2048, 1023, 1}, lo);
    Levels levels = {-32768, -32767, -32766, 32765, 32766, 32767, 0};
    expect_round_trip(book, levels, 0, 7, 2);
    for (int16_t i = 0; i < 100; ++i) levels.push_back(levels[i % 7u]);
    expect_round_trip(book, levels, 0, 107, 8);
  }
}

TEST(RansChunk, EmptyIsItsStates) {
  const Codebook book = single_book({64, 128, 63, 1}, -1);
  const Bytes payload = encode(book, {}, 0, 0, 2);
  EXPECT_EQ(payload, (Bytes{0, 0, 1, 0, 0, 0, 1, 0}));
  Levels none;
  EXPECT_EQ(decode(book, payload, 0, 0, 2, none), Status::kOk);
}

// The bound that keeps a small input from claiming a huge tensor.
TEST(RansChunk, NoPayloadIsSmallerThanTheSmallest) {
  const Codebook book = single_book({4095, 1}, 0);
  const size_t longest = 3 * kMaxValuesPerDigit;
  const Levels levels(longest, 0);
  for (const size_t size : {size_t{1}, size_t{45000}, size_t{92000}, longest}) {
    for (const int states : {1, 2}) {
      const Levels part(levels.begin(), levels.begin() + static_cast<std::ptrdiff_t>(size));
      EXPECT_GE(encode(book, part, 0, longest, states).size(), rans_smallest_payload(size, states));
    }
  }
  // The decoder's side of it: from the highest state, values until a digit is needed.
  uint64_t x = 0xFFFFFFFF;
  size_t values = 0;
  for (; x >= 65536; ++values) x = x - x / 4096;
  EXPECT_LE(values, kMaxValuesPerDigit);
  EXPECT_GE(values, kMaxValuesPerDigit - 1000);
}

TEST(RansChunk, RateIsThatOfTheFrequencies) {
  std::mt19937 random(6);
  const Counts counts = bell_counts(1, 100);
  const Codebook book = make_rans_codebook(counts, 100, -50, 1, 12, random);
  const Levels levels = draw_levels(book, counts, 100000, random);
  Counts drawn(100, 0);
  for (const int16_t level : levels) ++drawn[static_cast<size_t>(level + 50)];
  const double bits = cost(drawn, book.frequencies);
  for (const int states : {1, 8, 64}) {
    const auto size = static_cast<double>(encode(book, levels, 0, 100000, states).size());
    EXPECT_LE(8 * size, 1.0001 * bits + 32 * states);
    EXPECT_GE(8 * size, bits);
  }
}

// ---------------------------------------------------------------------------------------------
// Damage

TEST(RansChunk, TruncatedPayloadsAreRefused) {
  std::mt19937 random(7);
  const Counts counts = bell_counts(2, 20);
  const Codebook book = make_rans_codebook(counts, 20, -5, 4, 12, random);
  Levels levels = draw_levels(book, counts, 30, random);
  levels[17] = 1000;
  levels[100] = -1000;
  const Bytes payload = encode(book, levels, 0, 30, 4);
  Levels decoded(levels.size());
  for (size_t size = 0; size < payload.size(); ++size) {
    const Bytes part(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(size));
    EXPECT_EQ(decode(book, part, 0, 30, 4, decoded), Status::kBadCode);
  }
  Bytes longer = payload;
  longer.insert(longer.end(), 2, 0);
  EXPECT_EQ(decode(book, longer, 0, 30, 4, decoded), Status::kBadCode);
  longer.pop_back();
  EXPECT_EQ(decode(book, longer, 0, 30, 4, decoded), Status::kBadCode);
}

TEST(RansChunk, StatesBelowTheLowestAreRefused) {
  const Codebook book = single_book({64, 128, 63, 1}, -1);
  Levels none;
  EXPECT_EQ(decode(book, {0, 0, 1, 0}, 0, 0, 1, none), Status::kOk);
  EXPECT_EQ(decode(book, {255, 255, 0, 0}, 0, 0, 1, none), Status::kBadCode);
  EXPECT_EQ(decode(book, {1, 0, 1, 0}, 0, 0, 1, none), Status::kBadCode);
}

TEST(RansChunk, AgreesWithTheReferenceOnAnyBytes) {
  std::mt19937 random(8);
  const Counts counts = bell_counts(2, 20);
  for (const auto& [log2_total, states, plane] :
       std::vector<std::array<int, 3>>{{8, 2, 30}, {12, 8, 30}, {12, 16, 11}, {12, 32, 50}}) {
    const auto values = static_cast<uint64_t>(plane);
    const Codebook book = make_rans_codebook(counts, 20, -5, 4, log2_total, random);
    Levels levels = draw_levels(book, counts, values, random);
    levels[20] = 1000;
    const Bytes payload = encode(book, levels, 0, values, states);
    for (int round = 0; round < 3000; ++round) {
      Bytes bytes = payload;
      for (int change = 0; change < 2; ++change) {
        bytes[random() % bytes.size()] = static_cast<uint8_t>(random());
      }
      Levels decoded(levels.size());
      const Status status = decode(book, bytes, 0, values, states, decoded);
      const auto reference = reference_decode(bytes, book, 0, levels.size(), values, states);
      bool lowest = true;
      for (int i = 0; i < states; ++i) {
        const auto state = static_cast<size_t>(4 * i);
        lowest = lowest && bytes[state + 2] + bytes[state + 3] > 0;
      }
      ASSERT_EQ(status == Status::kOk, reference.has_value() && lowest);
      if (status == Status::kOk) {
        ASSERT_EQ(decoded, *reference);
      }
    }
  }
}

// Every single bit and every length of a small chunk, where digits, escaped levels and the end of
// the payload are all within one round of each other.
TEST(RansChunk, EveryFlippedBitAndEveryTruncation) {
  std::mt19937 random(10);
  const Counts counts = bell_counts(3, 20);
  for (const int states : {1, 8, 16, 32, 64}) {
    const Codebook book = make_rans_codebook(counts, 20, -5, 7, 12, random);
    Levels levels = draw_levels(book, counts, 29, random);
    levels[17] = 1000;
    levels[63] = -1000;
    const Bytes payload = encode(book, levels, 0, 29, states);
    Levels decoded(levels.size());
    for (size_t bit = 0; bit < 8 * payload.size(); ++bit) {
      Bytes bytes = payload;
      bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      if (decode(book, bytes, 0, 29, states, decoded) == Status::kOk) {
        ASSERT_NE(decoded, levels);
        ASSERT_EQ(encode(book, decoded, 0, 29, states), bytes);
      }
    }
    for (size_t size = 0; size < payload.size(); ++size) {
      const Bytes part(payload.begin(), payload.begin() + static_cast<std::ptrdiff_t>(size));
      ASSERT_EQ(decode(book, part, 0, 29, states, decoded), Status::kBadCode);
    }
  }
}

// What a round can meet: borders between tables at any lane, rounds that are cut off, escapes in
// every lane, hardly any digits.
TEST(RansChunk, RoundsWithAnyTablesAndEscapes) {
  std::mt19937 random(11);
  const Counts counts = bell_counts(5, 40);
  for (const uint64_t plane : {uint64_t{1}, uint64_t{3}, uint64_t{7}, uint64_t{49}, uint64_t{65}}) {
    const Codebook book = make_rans_codebook(counts, 40, -20, 230, 12, random);
    for (const unsigned escapes : {0u, 50u, 2u}) {
      Levels levels = draw_levels(book, counts, plane, random);
      for (int16_t& level : levels) {
        if (escapes != 0 && random() % escapes == 0) level = static_cast<int16_t>(random());
      }
      for (int states = 1; states <= 64; states *= 2) {
        expect_round_trip(book, levels, 0, plane, states);
        const Levels part(levels.begin() + 5, levels.end() - 3);
        expect_round_trip(book, part, 5, plane, states);
      }
    }
  }
  const Codebook quiet = single_book({1, 4094, 1}, -1);
  Levels zeros(20000, 0);
  for (const int states : {8, 16, 32, 64}) expect_round_trip(quiet, zeros, 0, 20000, states);
  zeros[19999] = 7;
  for (const int states : {8, 16, 32, 64}) expect_round_trip(quiet, zeros, 0, 20000, states);
}

// Quotients at the edge of what the kernels' approximation allows: every frequency, with states
// next to the multiples of it that are left behind by the values before.
TEST(RansChunk, EveryFrequency) {
  std::mt19937 random(12);
  for (int32_t frequency = 1; frequency < 4096; frequency += frequency < 64 ? 1 : 37) {
    const Codebook book = single_book({frequency, 4095 - frequency, 1}, 0);
    Levels levels(4000);
    for (int16_t& level : levels) level = random() % 2 == 0 ? 0 : 1;
    expect_round_trip(book, levels, 0, 4000, 8);
  }
}

// Nothing is read or written outside the spans, which the sanitizer build would see.
TEST(RansChunk, AnyTablesAndBytesAreSafe) {
  std::mt19937 random(9);
  for (int round = 0; round < 3000; ++round) {
    const int log2_total = 8 + static_cast<int>(random() % 5);
    Codebook book = make_rans_codebook(bell_counts(2, 20), 20, -5, 3, log2_total, random);
    for (uint32_t& entry : book.decode) entry = static_cast<uint32_t>(random());
    for (size_t i = 0; i < book.encode.size(); ++i) {
      if (i % 21 != 20) book.encode[i] = static_cast<uint32_t>(random());
    }
    ASSERT_EQ(rans_check_encode_tables(book.encode_tables(33), 3), Status::kOk);
    const int states = 1 << random() % 7;
    Bytes payload(4 * static_cast<size_t>(states) + random() % 200);
    for (uint8_t& byte : payload) byte = static_cast<uint8_t>(random());
    for (int i = 0; i < states; ++i) payload[4 * static_cast<size_t>(i) + 3] |= 1;
    Levels levels(99);
    decode(book, payload, 0, 33, states, levels);
    for (int16_t& level : levels) level = static_cast<int16_t>(random() % 30 - 10);
    for (const RansKernels* kernels : all_kernels()) encode(book, levels, 0, 33, states, kernels);
  }
}

TEST(RansChunk, BadArgumentsAreRefused) {
  const Codebook book = single_book({64, 128, 63, 1}, -1);
  Levels levels(10);
  Bytes out(rans_chunk_bound(10, 64));
  size_t used = 0;
  for (const int states : {-1, 0, 3, 65, 128}) {
    EXPECT_EQ(rans_chunk_encode(levels, 0, book.encode_tables(10), states, out, used),
              Status::kBadArgument);
    EXPECT_EQ(rans_chunk_decode(out, 0, book.decode_tables(10), states, levels),
              Status::kBadArgument);
  }
  EXPECT_EQ(rans_chunk_encode(levels, 0, book.encode_tables(10), 64,
                              std::span(out).first(out.size() - 1), used),
            Status::kBufferTooSmall);
}

// ---------------------------------------------------------------------------------------------
// Chunks of several streams

// Tables for tensors with classes of positions, and chunks of some that share them.
struct Group {
  static constexpr size_t kComponents = 9, kClasses = 3, kSymbols = 30;
  static constexpr uint64_t kPlane = 50, kMap = 13;
  static constexpr size_t kValues = kMap + kComponents * kPlane;

  struct Member {
    std::vector<uint64_t> parts;  // of a plane, one for each class
    Levels levels;                // of the tensor
    uint64_t first = 0;           // of the chunk
    Bytes payload;
  };

  std::mt19937 random;
  Counts counts = bell_counts(4, kSymbols);
  int states;
  Codebook book;
  std::vector<Member> members;

  Group(uint32_t seed, int states, int log2_total = 12)
      : random(seed),
        states(states),
        book(make_rans_codebook(counts, kSymbols, -12, 1 + kComponents * kClasses, log2_total,
                                random)) {}

  ComponentTables tables(ComponentTables of_book, const Member& member) const {
    of_book.map = kMap;
    of_book.parts = member.parts;
    return of_book;
  }

  // A chunk of these values, one of `escapes` of which has no slots (0: none).
  void add(uint64_t first, size_t count, unsigned escapes) {
    Member member;
    const uint64_t some = random() % kPlane, more = some + random() % (kPlane - some);
    member.parts = {some, more - some, kPlane - more};
    std::vector<uint64_t> sizes = {kMap};
    for (size_t k = 0; k < kComponents; ++k) {
      sizes.insert(sizes.end(), member.parts.begin(), member.parts.end());
    }
    const Levels all = draw_levels(book, counts, sizes, random);
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
    member.first = first;
    member.levels.assign(begin, begin + static_cast<std::ptrdiff_t>(count));
    for (int16_t& level : member.levels) {
      if (escapes != 0 && random() % escapes == 0) level = static_cast<int16_t>(random());
    }
    encode(member);
    members.push_back(member);
  }

  // The payload of its levels, by the scalar code.
  void encode(Member& member) const {
    member.payload.resize(rans_chunk_bound(member.levels.size(), states));
    size_t used = 0;
    EXPECT_EQ(
        rans_chunk_encode(member.levels, member.first, tables(book.encode_tables(kPlane), member),
                          states, member.payload, used, nullptr),
        Status::kOk);
    member.payload.resize(used);
  }

  // All chunks together become the bytes that the scalar code made of each, with all kernels.
  void expect_same_bytes() const {
    for (const RansKernels* kernels : all_kernels()) {
      std::vector<Bytes> bytes;
      for (const Member& member : members) {
        bytes.emplace_back(rans_chunk_bound(member.levels.size(), states), 55);
      }
      std::vector<UncodedChunk> chunks;
      for (size_t i = 0; i < members.size(); ++i) {
        chunks.push_back({members[i].levels, members[i].first,
                          tables(book.encode_tables(kPlane), members[i]), bytes[i], 77,
                          Status::kTooLarge});
      }
      rans_chunks_encode(chunks, states, kernels);
      for (size_t i = 0; i < members.size(); ++i) {
        ASSERT_EQ(chunks[i].status, Status::kOk) << i << " of " << members.size();
        bytes[i].resize(chunks[i].used);
        ASSERT_EQ(bytes[i], members[i].payload) << i << " of " << members.size();
      }
    }
  }

  // Of all chunks together, the same from all kernels as of each chunk from the scalar code; what
  // became of them.
  std::vector<Status> decode() const {
    std::vector<Status> expected;
    std::vector<Levels> levels;
    for (const Member& member : members) {
      levels.emplace_back(member.levels.size(), 77);
      expected.push_back(rans_chunk_decode(member.payload, member.first,
                                           tables(book.decode_tables(kPlane), member), states,
                                           levels.back(), nullptr));
    }
    for (const RansKernels* kernels : all_kernels()) {
      std::vector<Levels> decoded;
      for (const Member& member : members) decoded.emplace_back(member.levels.size(), 55);
      std::vector<CodedChunk> chunks;
      for (size_t i = 0; i < members.size(); ++i) {
        chunks.push_back({members[i].payload, members[i].first,
                          tables(book.decode_tables(kPlane), members[i]), decoded[i],
                          Status::kTooLarge});
      }
      rans_chunks_decode(chunks, states, kernels);
      for (size_t i = 0; i < members.size(); ++i) {
        EXPECT_EQ(chunks[i].status, expected[i]) << i << " of " << members.size();
        if (expected[i] == Status::kOk) {
          EXPECT_EQ(decoded[i], levels[i]) << i << " of " << members.size();
        }
      }
    }
    return expected;
  }

  void expect_round_trip() const {
    expect_same_bytes();
    for (const Status status : decode()) ASSERT_EQ(status, Status::kOk);
    for (const Member& member : members) {
      Levels levels(member.levels.size());
      ASSERT_EQ(rans_chunk_decode(member.payload, member.first,
                                  tables(book.decode_tables(kPlane), member), states, levels),
                Status::kOk);
      ASSERT_EQ(levels, member.levels);
    }
  }
};

TEST(RansChunks, GroupsOfAnySize) {
  for (int states = 1; states <= 16; states *= 2) {
    for (size_t size = 0; size <= 37; ++size) {
      Group group(20 + static_cast<uint32_t>(size), states);
      for (size_t i = 0; i < size; ++i) group.add(0, Group::kValues, i % 3 == 0 ? 0 : 100);
      group.expect_round_trip();
    }
  }
}

TEST(RansChunks, OfAnyLength) {
  for (const int states : {1, 2, 4, 8}) {
    for (size_t count = 0; count <= 140; ++count) {
      Group group(21 + static_cast<uint32_t>(count), states);
      for (size_t i = 0; i < 9; ++i) group.add(3 * i, count, 50);
      group.expect_round_trip();
    }
  }
}

// Payloads of a few bytes beside some that are longer than the levels.
TEST(RansChunks, PayloadsOfAnySize) {
  for (const int states : {1, 2, 4, 8}) {
    Group group(22, states);
    for (const unsigned escapes : {1u, 0u, 2u, 1000u, 0u, 1u, 7u}) {
      group.add(0, Group::kValues, escapes);
    }
    EXPECT_GT(group.members[0].payload.size(), 4 * group.members[1].payload.size());
    group.expect_round_trip();
  }
}

TEST(RansChunks, OfSeveralLengthsAndTotals) {
  for (const int log2_total : {8, 11, 12}) {
    for (const int states : {1, 2, 4, 8}) {
      Group group(23, states, log2_total);
      for (const size_t count : {200, 200, 200, 200, 199, 199, 199, 0, 0, 0, 0, 300, 64, 64, 64}) {
        group.add(1, count, 60);
      }
      group.expect_round_trip();
    }
  }
}

// One of a group is damaged: the others come out, and it is refused where the scalar code does.
TEST(RansChunks, EveryFlippedBitAndEveryTruncation) {
  for (const int states : {1, 2, 4, 8}) {
    Group group(24, states);
    for (size_t i = 0; i < 8; ++i) group.add(40, 150, 40);
    const Group whole = group;
    const auto expect_others = [&](size_t damaged) {
      const std::vector<Status> status = group.decode();
      for (size_t i = 0; i < status.size(); ++i) {
        ASSERT_TRUE(i == damaged || status[i] == Status::kOk);
      }
      group.members[damaged] = whole.members[damaged];
    };
    for (size_t bit = 0; bit < 8 * whole.members[3].payload.size(); ++bit) {
      group.members[3].payload[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      expect_others(3);
    }
    for (size_t size = 0; size < whole.members[7].payload.size(); ++size) {
      group.members[7].payload.resize(size);
      expect_others(7);
    }
    for (const size_t more : {1, 2, 3, 4, 300}) {
      Bytes& payload = group.members[0].payload;
      payload.insert(payload.end(), more, 0);
      expect_others(0);
    }
  }
}

// Nothing is read or written outside the spans, which the sanitizer build would see.
TEST(RansChunks, AnyTablesAndBytesAreSafe) {
  for (uint32_t round = 0; round < 1000; ++round) {
    Group group(1000 + round, 1 << round % 4);
    const size_t count = group.random() % 200;
    for (size_t i = 0; i < 5; ++i) {
      group.add(0, count, 0);
      Bytes& payload = group.members.back().payload;
      payload.resize(group.random() % 300);
      for (uint8_t& byte : payload) byte = static_cast<uint8_t>(group.random());
    }
    if (round % 2 == 0) {
      for (uint32_t& entry : group.book.decode) entry = static_cast<uint32_t>(group.random());
    }
    group.decode();
  }
}

// Levels at the ends of int16, in tables at its ends: none is taken for another one.
TEST(RansChunks, LevelsAtTheEndsOfTheirRange) {
  for (const int32_t lo : {-32768, -12, 32767 - 29, 32767}) {
    for (const int states : {1, 2, 4, 8}) {
      Group group(26, states);
      group.book.lo = lo;
      for (size_t i = 0; i < 9; ++i) group.add(0, 200, 3);
      for (Group::Member& member : group.members) {
        for (size_t i = 0; i < member.levels.size(); i += 5) {
          member.levels[i] = static_cast<int16_t>(i % 2 == 0 ? -32768 : 32767);
        }
        group.encode(member);
      }
      group.expect_same_bytes();
    }
  }
}

// A chunk that has too little room, or whose tables are none, does not concern the others.
TEST(RansChunks, OneThatCannotBeEncoded) {
  for (const int states : {1, 2, 4, 8}) {
    Group group(27, states);
    for (size_t i = 0; i < 9; ++i) group.add(0, 150, 40);
    for (const RansKernels* kernels : all_kernels()) {
      std::vector<Bytes> bytes(9, Bytes(rans_chunk_bound(150, states)));
      std::vector<UncodedChunk> chunks;
      for (size_t i = 0; i < 9; ++i) {
        chunks.push_back({group.members[i].levels, 0,
                          group.tables(group.book.encode_tables(Group::kPlane), group.members[i]),
                          bytes[i]});
      }
      chunks[3].out = chunks[3].out.first(bytes[3].size() - 1);
      chunks[6].tables.entries = {};
      rans_chunks_encode(chunks, states, kernels);
      for (size_t i = 0; i < 9; ++i) {
        const Status expected = i == 3   ? Status::kBufferTooSmall
                                : i == 6 ? Status::kBadArgument
                                         : Status::kOk;
        ASSERT_EQ(chunks[i].status, expected) << i;
        if (expected != Status::kOk) continue;
        bytes[i].resize(chunks[i].used);
        EXPECT_EQ(bytes[i], group.members[i].payload) << i;
      }
    }
  }
}

TEST(RansChunks, BadNumbersOfStatesAreRefused) {
  Group group(25, 1);
  for (size_t i = 0; i < 4; ++i) group.add(0, 100, 0);
  for (const int states : {-1, 0, 3, 65, 128}) {
    group.states = states;
    for (const Status status : group.decode()) EXPECT_EQ(status, Status::kBadArgument);
    std::vector<UncodedChunk> chunks(
        4, {group.members[0].levels, 0, group.book.encode_tables(Group::kPlane), {}});
    rans_chunks_encode(chunks, states);
    for (const UncodedChunk& chunk : chunks) EXPECT_EQ(chunk.status, Status::kBadArgument);
  }
}

}  // namespace
}  // namespace fmtc
