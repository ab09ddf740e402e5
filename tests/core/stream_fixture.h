#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "coding_fixture.h"
#include "core/stream.h"

namespace fmtc {

// A tensor, its tables and its stream.
struct Case {
  StreamHeader header;
  Codebook book;
  std::vector<int16_t> levels;  // or their arrangement, with the map of its classes
  std::vector<uint8_t> map;
  std::vector<uint8_t> stream;

  ComponentTables encode_tables() const { return book.encode_tables(header.plane()); }
  ComponentTables decode_tables() const { return book.decode_tables(header.plane()); }
  Status decode(std::span<const uint8_t> bytes, std::vector<int16_t>& decoded) const {
    decoded.assign(levels.size(), -1);
    return stream_decode(bytes, header, decode_tables(), decoded);
  }
};

// Those that positions can have classes with.
inline constexpr std::array kTableCoders = {Coder::kHuffman, Coder::kRans};
inline constexpr std::array kCoders = {Coder::kHuffman, Coder::kRans, Coder::kEbpc, Coder::kDctCm};

inline int most_log2_lanes(Coder coder) {
  if (coder == Coder::kHuffman) return 4;
  return coder == Coder::kRans ? 6 : 0;
}

inline Codebook book_of(Coder coder, std::span<const int64_t> counts, size_t symbols,
                        size_t segments, std::mt19937& random) {
  const int lo = -static_cast<int>(symbols / 2);
  switch (coder) {
    case Coder::kHuffman:
      return make_codebook(counts, symbols, lo, segments, 15, random);
    case Coder::kRans:
      return make_rans_codebook(counts, symbols, lo, segments, 12, random);
    default:
      return make_word_book(counts, symbols, lo, segments, random);
  }
}

inline void encode_whole(Case& made) {
  made.stream.resize(stream_bound(made.header));
  size_t used = 0;
  EXPECT_EQ(stream_encode(made.header, made.levels, made.encode_tables(), made.stream, used),
            Status::kOk);
  EXPECT_LE(used, made.stream.size());
  made.stream.resize(used);
}

inline Case make_case(StreamHeader header, size_t tables, size_t symbols, uint32_t seed) {
  std::mt19937 random(seed);
  Case made;
  made.header = header;
  const auto counts = bell_counts(tables, symbols);
  made.book = book_of(header.coder, counts, symbols, header.components, random);
  made.levels = draw_levels(made.book, counts, header.plane(), random);
  encode_whole(made);
  return made;
}

// With classes of positions but those of which `without` has the bit; levels are the arrangement.
inline Case make_case_with_classes(StreamHeader header, unsigned without, size_t tables,
                                   size_t symbols, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> allowed;
  for (uint8_t c = 0; c < header.classes; ++c) {
    if ((without >> c & 1) == 0) allowed.push_back(c);
  }
  Layout layout = header.layout();
  std::vector<uint8_t> map(layout.map_size());
  for (uint8_t& c : map) c = allowed[random() % allowed.size()];
  EXPECT_EQ(count_positions(map, layout), Status::kOk);
  header.positions = layout.positions;
  std::vector<uint64_t> sizes;
  for (uint32_t k = 0; k < header.components; ++k) {
    sizes.insert(sizes.end(), layout.positions.begin(), layout.positions.begin() + header.classes);
  }
  sizes.insert(sizes.begin(), layout.map_size());
  Case made;
  made.header = header;
  made.map = map;
  const auto counts = bell_counts(tables, symbols);
  made.book = book_of(header.coder, counts, symbols, sizes.size(), random);
  made.levels = draw_levels(made.book, counts, sizes, random);
  // In place of what was drawn for the map: the map itself.
  std::vector<int16_t> values(layout.values());
  const std::vector<int16_t> nothing(layout.levels());
  EXPECT_EQ(arrange(nothing, map, layout, values), Status::kOk);
  std::copy_n(values.begin(), map.size(), made.levels.begin());
  encode_whole(made);
  return made;
}

// With so many lanes, or as many as the coder has.
inline StreamHeader header_of(Coder coder, uint32_t components, uint32_t height, uint32_t width,
                              int log2_chunk, int log2_lanes) {
  StreamHeader header = make_header(coder, components, height, width, 77);
  header.log2_chunk = static_cast<uint8_t>(log2_chunk);
  header.log2_lanes = static_cast<uint8_t>(std::min(log2_lanes, most_log2_lanes(coder)));
  return header;
}

}  // namespace fmtc
