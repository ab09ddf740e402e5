#pragma once

// The golden streams (tests/golden.py) of one coder, as far as their header and directory are
// valid: what is behind those is for those that code chunks.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "coding_fixture.h"
#include "core/stream.h"

namespace fmtc {

// status: what its decoder must say.
struct Golden {
  std::string name;
  Status status;
  std::vector<uint8_t> bytes;
  StreamHeader header;
  Codebook book;

  std::span<const uint8_t> payload(uint64_t chunk) const {
    return find_chunk(header, bytes, chunk).bytes;
  }
  ComponentTables tables() const { return with_classes(book.decode_tables(header.plane())); }
  ComponentTables encode_tables() const { return with_classes(book.encode_tables(header.plane())); }

 private:
  ComponentTables with_classes(ComponentTables tables) const {
    if (header.classes > 1) {
      tables.map = header.layout().map_size();
      tables.parts = std::span(header.positions).first(header.classes);
    }
    return tables;
  }
};

inline std::vector<uint8_t> read_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

// Tables of a golden codec, made as those of random counts are.
inline Codebook golden_book(const nlohmann::json& codec) {
  Codebook book;
  book.lo = codec.at("lo");
  if (codec.contains("table_of")) book.table_of = codec["table_of"].get<std::vector<int64_t>>();
  if (codec.contains("word_bits")) {
    book.encode_width = book.decode_width = codec["word_bits"];
  } else if (codec.contains("lengths")) {
    for (const auto& table : codec["lengths"]) {
      book.symbols = table.size();
      for (const auto& length : table) book.lengths.push_back(length);
    }
    const auto rows = book.lengths.size() / book.symbols;
    book.encode_width = book.symbols;
    book.encode.resize(book.lengths.size());
    for (size_t t = 0; t < rows; ++t) {
      EXPECT_EQ(
          huffman_encode_table(std::span(book.lengths).subspan(t * book.symbols, book.symbols),
                               std::span(book.encode).subspan(t * book.symbols, book.symbols)),
          Status::kOk);
    }
    const int bits = *std::max_element(book.lengths.begin(), book.lengths.end());
    book.decode_width = size_t{1} << bits;
    book.decode.resize(rows * book.decode_width);
    for (size_t t = 0; t < rows; ++t) {
      EXPECT_EQ(huffman_decode_table(
                    std::span(book.lengths).subspan(t * book.symbols, book.symbols), bits,
                    std::span(book.decode).subspan(t * book.decode_width, book.decode_width)),
                Status::kOk);
    }
  } else {
    for (const auto& table : codec["frequencies"]) {
      book.symbols = table.size() - 1;
      int32_t total = 0;
      for (const auto& frequency : table) {
        book.frequencies.push_back(frequency);
        total += frequency.get<int32_t>();
      }
      book.decode_width = static_cast<size_t>(total);
    }
    const size_t width = book.symbols + 1, rows = book.frequencies.size() / width;
    book.decode.resize(rows * book.decode_width);
    book.base.resize(rows);
    book.encode_width = width;
    book.encode.resize(book.frequencies.size());
    for (size_t t = 0; t < rows; ++t) {
      EXPECT_EQ(rans_encode_table(std::span(book.frequencies).subspan(t * width, width),
                                  std::span(book.encode).subspan(t * width, width)),
                Status::kOk);
    }
    for (size_t t = 0; t < rows; ++t) {
      EXPECT_EQ(rans_decode_table(
                    std::span(book.frequencies).subspan(t * width, width),
                    std::span(book.decode).subspan(t * book.decode_width, book.decode_width),
                    book.base[t]),
                Status::kOk);
    }
  }
  return book;
}

inline std::vector<Golden> golden_streams(Coder coder) {
  const std::string folder = FMTC_GOLDEN;
  const auto index = nlohmann::json::parse(std::ifstream(folder + "/golden.json"));
  std::vector<Golden> streams;
  const auto add = [&](const std::string& name, const nlohmann::json& codec, Status status) {
    if (codec.at("coder") != static_cast<int>(coder)) return;
    Golden golden{name, status, read_bytes(folder + "/" + name + ".stream"), {}, {}};
    size_t size = 0;
    if (read_header(golden.bytes, golden.header, size) != Status::kOk ||
        golden.header.coder != coder) {
      return;
    }
    golden.book = golden_book(codec);
    const bool has_tables = coder == Coder::kHuffman || coder == Coder::kRans;
    if (has_tables &&
        golden.book.table_of.size() != golden.tables().segments(golden.header.components)) {
      return;  // of another shape, which the container's reader refuses
    }
    streams.push_back(golden);
  };
  const auto& valid = index.at("valid");
  for (const auto& [name, entry] : valid.items()) add(name, entry.at("codec"), Status::kOk);
  for (const auto& [name, entry] : index.at("malformed").items()) {
    add(name, valid.at(entry.at("of").get<std::string>()).at("codec"),
        Status{entry.at("status").get<int32_t>()});
  }
  EXPECT_GE(streams.size(), 5u);
  return streams;
}

}  // namespace fmtc
