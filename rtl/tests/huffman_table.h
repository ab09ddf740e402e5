#pragma once

// What fmtc_huffman_decoder needs of code lengths.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "coding_fixture.h"

namespace fmtc::rtl {

inline constexpr int kLongest = 15;

// What the decoder needs of a table (rtl/src/fmtc_huffman_decoder.sv).
struct CanonicalTable {
  std::array<uint32_t, kLongest + 1> limit{}, offset{};
  std::vector<int16_t> levels;

  //   place  where its levels begin in the memory of all tables
  CanonicalTable(std::span<const uint8_t> lengths, int32_t lo, uint32_t place) {
    uint32_t code = 0;
    for (uint32_t length = 1; length <= kLongest; ++length) {
      const uint32_t before = static_cast<uint32_t>(levels.size());
      for (size_t symbol = 0; symbol < lengths.size(); ++symbol) {
        if (lengths[symbol] != length) continue;
        levels.push_back(static_cast<int16_t>(lo + static_cast<int32_t>(symbol)));
      }
      offset[length] = place + before - code;
      code += static_cast<uint32_t>(levels.size()) - before;
      limit[length] = code;
      code <<= 1;
    }
  }
};

// Writes all tables of a book: put(kind, table, index, data), as the module takes them.
template <typename Put>
void write_huffman_tables(const Codebook& book, const Put& put) {
  uint32_t place = 0;
  for (size_t t = 0; t * book.symbols < book.lengths.size(); ++t) {
    const CanonicalTable table(std::span(book.lengths).subspan(t * book.symbols, book.symbols),
                               book.lo, place);
    for (uint32_t l = 1; l <= kLongest; ++l) {
      put(0, t, l, table.limit[l]);
      put(1, t, l, table.offset[l]);
    }
    for (const int16_t level : table.levels) put(2, t, place++, static_cast<uint16_t>(level));
  }
}

}  // namespace fmtc::rtl
