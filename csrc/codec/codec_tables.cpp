#include "codec/codec_tables.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "core/apack.h"
#include "core/bytes.h"
#include "core/huffman.h"
#include "core/rans.h"

namespace fmtc::codec {
namespace {

// What Python derives tables with (fmtc/codec/coders.py), the same here or streams would differ.
constexpr int64_t kSmoothing = 64;
constexpr int kHeadroom = 6;
constexpr int kRansLog2Total = 12;
constexpr int64_t kMostTableEntries = int64_t{1} << 26;  // a few counts become a table of 16 KiB
constexpr int64_t kMostCount = int64_t{1} << 50;  // what smoothing multiplies must not overflow

int bits_for(size_t values) {
  return static_cast<int>(std::bit_width(std::max<size_t>(values, 2) - 1));
}

// The length limit of the Huffman codes of so many levels.
int longest_code(size_t levels) { return std::min(kMaxCodeLength, bits_for(levels) + kHeadroom); }

struct Counts {
  size_t tables = 0;
  size_t levels = 0;
  std::vector<int64_t> smoothed;  // [tables, levels], 0 outside of a table's alphabet
  // First and last symbol of each table, where they differ.
  std::vector<std::array<size_t, 2>> alphabets;

  std::span<const int64_t> of(size_t table) const {
    return std::span(smoothed).subspan(table * levels, levels);
  }
};

Counts load_counts(const Layer& layer) {
  const Array array = layer.tensor("counts");
  check(array.shape.size() == 2 && array.shape[0] > 0 && array.shape[1] > 0 &&
            array.shape[1] <= static_cast<int64_t>(kMaxSymbols),
        "its counts make no tables");
  const int most = std::max(kRansLog2Total, longest_code(static_cast<size_t>(array.shape[1])));
  check(array.shape[0] <= kMostTableEntries >> most, "it has too many tables");
  Counts counts = {static_cast<size_t>(array.shape[0]),
                   static_cast<size_t>(array.shape[1]),
                   array.values<int64_t>("counts"),
                   {}};
  for (int64_t& count : counts.smoothed) {
    check(count >= 0 && count <= kMostCount, "a count is outside its range");
    count = count * kSmoothing + 1;
  }
  return counts;
}

// Takes what lies outside of each table's alphabet from the counts, whose first level is lo.
void load_alphabets(const Layer& layer, int64_t lo, Counts& counts) {
  if (!layer.has("alphabets")) return;
  const Array array = layer.tensor("alphabets");
  const std::vector<int64_t> ends = array.values<int64_t>("alphabets");
  check(array.shape == std::vector<int64_t>{static_cast<int64_t>(counts.tables), 2},
        "its alphabets do not fit");
  const int64_t hi = lo + static_cast<int64_t>(counts.levels) - 1;
  for (size_t t = 0; t < counts.tables; ++t) {
    check(lo <= ends[2 * t] && ends[2 * t] <= ends[2 * t + 1] && ends[2 * t + 1] <= hi,
          "its alphabets do not fit");
    const int64_t first = ends[2 * t] - lo, last = ends[2 * t + 1] - lo;
    counts.alphabets.push_back({static_cast<size_t>(first), static_cast<size_t>(last)});
    const auto of_table = std::span(counts.smoothed).subspan(t * counts.levels, counts.levels);
    std::ranges::fill(of_table.first(counts.alphabets[t][0]), 0);
    std::ranges::fill(of_table.subspan(counts.alphabets[t][1] + 1), 0);
  }
}

// Code lengths [tables, levels].
std::vector<uint8_t> code_lengths(const Counts& counts) {
  const int most = longest_code(counts.levels);
  std::vector<uint8_t> lengths(counts.smoothed.size());
  for (size_t t = 0; t < counts.tables; ++t) {
    check(huffman_lengths(counts.of(t), most,
                          std::span(lengths).subspan(t * counts.levels, counts.levels)));
  }
  return lengths;
}

void set_huffman_tables(std::span<const uint8_t> lengths, size_t symbols, Tables& tables) {
  const int longest = *std::ranges::max_element(lengths);
  tables.encode_width = symbols;
  tables.decode_width = size_t{1} << longest;
  const size_t count = lengths.size() / symbols;
  tables.encode_entries.resize(lengths.size());
  tables.decode_entries.resize(count * tables.decode_width);
  for (size_t t = 0; t < count; ++t) {
    const auto of_table = lengths.subspan(t * symbols, symbols);
    check(huffman_encode_table(of_table,
                               std::span(tables.encode_entries).subspan(t * symbols, symbols)));
    check(huffman_decode_table(
        of_table, longest,
        std::span(tables.decode_entries).subspan(t * tables.decode_width, tables.decode_width)));
  }
}

// Huffman codes whose lengths are all the same in a table.
void set_fixed_tables(const Counts& counts, Tables& tables) {
  size_t symbols = size_t{1} << bits_for(counts.levels);
  if (!counts.alphabets.empty()) symbols = 0;
  for (const auto& [first, last] : counts.alphabets) {
    symbols = std::max(symbols, first + (size_t{1} << bits_for(last - first + 1)));
  }
  check(symbols <= kMaxSymbols, "its words are too wide");
  std::vector<uint8_t> lengths(counts.tables * symbols,
                               static_cast<uint8_t>(bits_for(counts.levels)));
  for (size_t t = 0; t < counts.alphabets.size(); ++t) {
    const auto [first, last] = counts.alphabets[t];
    const int bits = bits_for(last - first + 1);
    const auto of_table = std::span(lengths).subspan(t * symbols, symbols);
    std::ranges::fill(of_table, uint8_t{0});
    std::ranges::fill(of_table.subspan(first, size_t{1} << bits), static_cast<uint8_t>(bits));
  }
  set_huffman_tables(lengths, symbols, tables);
}

// Returns the frequencies [tables, levels + 1] that `make` makes.
std::vector<int32_t> set_rans_tables(const Counts& counts, decltype(rans_frequencies) make,
                                     Tables& tables) {
  const size_t width = counts.levels + 1;
  std::vector<int32_t> frequencies(counts.tables * width);
  tables.encode_width = width;
  tables.decode_width = size_t{1} << kRansLog2Total;
  tables.encode_entries.resize(frequencies.size());
  tables.decode_entries.resize(counts.tables * tables.decode_width);
  tables.base.resize(counts.tables);
  for (size_t t = 0; t < counts.tables; ++t) {
    const auto of_table = std::span(frequencies).subspan(t * width, width);
    check(make(counts.of(t), kRansLog2Total, of_table));
    check(rans_encode_table(of_table, std::span(tables.encode_entries).subspan(t * width, width)));
    check(rans_decode_table(
        of_table,
        std::span(tables.decode_entries).subspan(t * tables.decode_width, tables.decode_width),
        tables.base[t]));
  }
  return frequencies;
}

template <typename T>
uint32_t crc32_of_values(std::span<const T> values, uint32_t seed) {
  std::vector<uint8_t> bytes(values.size_bytes());
  for (size_t i = 0; i < values.size(); ++i) store_le(bytes.data() + i * sizeof(T), values[i]);
  return crc32_of(bytes, seed);
}

// The table-set identifier: from all that decides how a stream is decoded.
template <typename T>
uint16_t identifier(const std::string& coder, const Tables& tables, const std::vector<T>& codes) {
  uint32_t crc = crc32_of(coder, 0);
  crc = crc32_of_values<int32_t>(std::span(&tables.lo, 1), crc);
  crc = crc32_of_values<int64_t>(tables.table_of, crc);
  return static_cast<uint16_t>(crc32_of_values<T>(codes, crc));
}

}  // namespace

Tables load_tables(const Layer& layer, const TensorCodec& codec) {
  Counts counts = load_counts(layer);
  const std::string coder = layer.setting("coder");
  const int64_t lo = layer.integer_setting("symbols_from");
  check(lo >= std::numeric_limits<int16_t>::min() && lo <= std::numeric_limits<int16_t>::max(),
        "its symbols begin beyond the levels");
  check(!layer.has("alphabets") || coder == "huffman" || coder == "fixed",
        "its coder has no alphabets of tables");
  load_alphabets(layer, lo, counts);
  Tables tables;
  tables.lo = static_cast<int32_t>(lo);
  const int64_t lane_values =
      layer.has_setting("lane_values") ? layer.integer_setting("lane_values") : 0;
  check(lane_values_valid(lane_values), "its lanes cannot have so many values");
  tables.lane_values = static_cast<uint32_t>(lane_values);
  tables.table_of = layer.vector<int64_t>("table_of");
  const int64_t segments =
      codec.classes() > 1 ? 1 + codec.planes() * codec.classes() : codec.planes();
  check(static_cast<int64_t>(tables.table_of.size()) == segments &&
            std::ranges::all_of(tables.table_of,
                                [&](int64_t table) {
                                  return table >= 0 && table < static_cast<int64_t>(counts.tables);
                                }),
        "its tables do not fit the components");
  check(coder == "rans" || codec.classes() == 1, "its coder has no classes of positions");
  if (coder == "rans" || coder == "apack") {
    const auto make = coder == "rans" ? rans_frequencies : apack_frequencies;
    tables.coder = Coder::kRans;
    tables.id = identifier(coder, tables, set_rans_tables(counts, make, tables));
    return tables;
  }
  const std::vector<uint8_t> lengths = code_lengths(counts);
  tables.id = identifier(coder, tables, lengths);
  const int word_bits = bits_for(counts.levels);
  if (coder == "huffman") {
    set_huffman_tables(lengths, counts.levels, tables);
  } else if (coder == "fixed") {
    set_fixed_tables(counts, tables);
  } else if (coder == "ebpc" || coder == "dct-cm") {  // which have no tables
    tables.coder = coder == "ebpc" ? Coder::kEbpc : Coder::kDctCm;
    tables.encode_width = tables.decode_width = static_cast<size_t>(word_bits);
    tables.table_of.clear();
  } else {
    throw Error("its coder '" + coder + "' is not known here");
  }
  return tables;
}

}  // namespace fmtc::codec
