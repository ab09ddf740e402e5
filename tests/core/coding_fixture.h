#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "core/huffman.h"
#include "core/rans.h"

namespace fmtc {

// Tables for one or more distributions, with all that ComponentTables points to.
struct Codebook {
  int32_t lo = 0;
  size_t symbols = 0;
  size_t encode_width = 0, decode_width = 0;
  std::vector<uint8_t> lengths;      // [tables, symbols], of Huffman codes
  std::vector<int32_t> frequencies;  // [tables, symbols + 1], of rANS
  std::vector<uint32_t> encode, decode;
  std::vector<int64_t> table_of, base;

  ComponentTables encode_tables(uint64_t plane) const {
    return {lo, encode_width, encode, table_of, plane};
  }
  ComponentTables decode_tables(uint64_t plane) const {
    return {lo, decode_width, decode, table_of, plane, base};
  }
};

// Deals tables out to components at random.
inline void deal_tables(Codebook& book, size_t tables, size_t components, std::mt19937& random) {
  for (size_t c = 0; c < components; ++c) {
    book.table_of.push_back(static_cast<int64_t>(random() % tables));
  }
}

// Huffman tables of `counts` ([tables, symbols]) at a length limit, dealt out to components at
// random.
inline Codebook make_codebook(std::span<const int64_t> counts, size_t symbols, int32_t lo,
                              size_t components, int limit, std::mt19937& random) {
  const size_t tables = counts.size() / symbols;
  Codebook book;
  book.lo = lo;
  book.symbols = book.encode_width = symbols;
  book.lengths.resize(counts.size());
  book.encode.resize(counts.size());
  for (size_t t = 0; t < tables; ++t) {
    const std::span lengths = std::span(book.lengths).subspan(t * symbols, symbols);
    EXPECT_EQ(huffman_lengths(counts.subspan(t * symbols, symbols), limit, lengths), Status::kOk);
    EXPECT_EQ(huffman_encode_table(lengths, std::span(book.encode).subspan(t * symbols, symbols)),
              Status::kOk);
  }
  const int table_bits = *std::max_element(book.lengths.begin(), book.lengths.end());
  const size_t width = book.decode_width = size_t{1} << table_bits;
  book.decode.resize(tables * width);
  for (size_t t = 0; t < tables; ++t) {
    EXPECT_EQ(huffman_decode_table(std::span(book.lengths).subspan(t * symbols, symbols),
                                   table_bits, std::span(book.decode).subspan(t * width, width)),
              Status::kOk);
  }
  deal_tables(book, tables, components, random);
  return book;
}

// rANS tables of `counts` ([tables, symbols]), dealt out to components at random.
inline Codebook make_rans_codebook(std::span<const int64_t> counts, size_t symbols, int32_t lo,
                                   size_t components, int log2_total, std::mt19937& random) {
  const size_t tables = counts.size() / symbols, width = symbols + 1;
  const size_t slots = size_t{1} << log2_total;
  Codebook book;
  book.lo = lo;
  book.symbols = symbols;
  book.encode_width = width;
  book.decode_width = slots;
  book.frequencies.resize(tables * width);
  book.encode.resize(tables * width);
  book.decode.resize(tables * slots);
  book.base.resize(tables);
  for (size_t t = 0; t < tables; ++t) {
    const std::span frequencies = std::span(book.frequencies).subspan(t * width, width);
    EXPECT_EQ(rans_frequencies(counts.subspan(t * symbols, symbols), log2_total, frequencies),
              Status::kOk);
    EXPECT_EQ(rans_encode_table(frequencies, std::span(book.encode).subspan(t * width, width)),
              Status::kOk);
    EXPECT_EQ(rans_decode_table(frequencies, std::span(book.decode).subspan(t * slots, slots),
                                book.base[t]),
              Status::kOk);
  }
  deal_tables(book, tables, components, random);
  return book;
}

// What coders without tables need for the same levels; tables are dealt out for draw_levels alone.
inline Codebook make_word_book(std::span<const int64_t> counts, size_t symbols, int32_t lo,
                               size_t components, std::mt19937& random) {
  Codebook book;
  book.lo = lo;
  book.symbols = symbols;
  book.encode_width = book.decode_width =
      std::max<size_t>(static_cast<size_t>(std::bit_width(symbols - 1)), 1);
  deal_tables(book, counts.size() / symbols, components, random);
  return book;
}

// Counts [tables, symbols] that fall off around the middle, steeper with each table; all positive.
inline std::vector<int64_t> bell_counts(size_t tables, size_t symbols) {
  std::vector<int64_t> counts;
  for (size_t t = 0; t < tables; ++t) {
    for (size_t s = 0; s < symbols; ++s) {
      const double x = (static_cast<double>(s) - static_cast<double>(symbols) / 2) *
                       (1 + static_cast<double>(t)) * 6 / static_cast<double>(symbols);
      counts.push_back(1 + static_cast<int64_t>(1e6 * std::exp(-x * x)));
    }
  }
  return counts;
}

// Levels of a tensor with components * plane values, drawn from each component's own counts.
inline std::vector<int16_t> draw_levels(const Codebook& book, std::span<const int64_t> counts,
                                        uint64_t plane, std::mt19937& random) {
  std::vector<std::discrete_distribution<int>> draw;
  for (size_t first = 0; first < counts.size(); first += book.symbols) {
    const auto table = counts.subspan(first, book.symbols);
    draw.emplace_back(table.begin(), table.end());
  }
  std::vector<int16_t> levels;
  for (const int64_t table : book.table_of) {
    for (uint64_t i = 0; i < plane; ++i) {
      levels.push_back(static_cast<int16_t>(book.lo + draw[static_cast<size_t>(table)](random)));
    }
  }
  return levels;
}

}  // namespace fmtc
