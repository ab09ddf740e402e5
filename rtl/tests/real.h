#pragma once

// Levels of real networks, where they are: rtl/tests/real_levels.py writes them to the folder named
// by FMTC_RTL_LEVELS, a file a tensor:
//   magic "fmtl", then u32 K, H, W, then i32 lo and u32 symbols, tables; K bytes table_of;
//   tables * symbols u64 counts of calibration; K * H * W i16 levels; all little-endian.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "coding_fixture.h"
#include "core/words.h"

namespace fmtc::rtl {

inline constexpr const char* kNoRealLevels =
    "no levels of real networks: make rtl-test writes them where ../shared/data is";

struct RealTensor {
  std::string name;
  uint32_t k = 0, h = 0, w = 0, symbols = 0, tables = 0;
  int32_t lo = 0;
  std::vector<uint8_t> table_of;
  std::vector<int64_t> counts;
  std::vector<int16_t> levels;

  uint64_t plane() const { return uint64_t{h} * w; }

  Words words() const { return {lo, std::max<int>(1, std::bit_width(symbols - 1))}; }
  std::vector<std::span<const int16_t>> chunks(size_t values) const {
    std::vector<std::span<const int16_t>> chunks;
    for (size_t first = 0; first < levels.size(); first += values) {
      chunks.push_back(std::span(levels).subspan(first, std::min(values, levels.size() - first)));
    }
    return chunks;
  }

  Codebook huffman_book() const {
    std::mt19937 none;
    const int limit = std::min(15, static_cast<int>(std::bit_width(symbols - 1)) + 6);
    Codebook book = make_codebook(counts, symbols, lo, 0, limit, none);
    book.table_of.assign(table_of.begin(), table_of.end());
    return book;
  }
  Codebook rans_book() const {
    std::mt19937 none;
    Codebook book = make_rans_codebook(counts, symbols, lo, 0, 12, none);
    book.table_of.assign(table_of.begin(), table_of.end());
    return book;
  }
};

inline std::vector<RealTensor> real_tensors() {
  std::vector<RealTensor> tensors;
  const char* folder = std::getenv("FMTC_RTL_LEVELS");
  if (folder == nullptr || !std::filesystem::is_directory(folder)) return tensors;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".levels") continue;
    std::ifstream file(entry.path(), std::ios::binary);
    const auto read = [&](auto* data, size_t count) {
      file.read(reinterpret_cast<char*>(data), static_cast<std::streamsize>(count * sizeof(*data)));
    };
    RealTensor t;
    t.name = entry.path().stem();
    char magic[4];
    read(magic, 4);
    EXPECT_EQ(std::memcmp(magic, "fmtl", 4), 0) << t.name;
    for (uint32_t* number : {&t.k, &t.h, &t.w}) read(number, 1);
    read(&t.lo, 1);
    for (uint32_t* number : {&t.symbols, &t.tables}) read(number, 1);
    t.table_of.resize(t.k);
    t.counts.resize(size_t{t.tables} * t.symbols);
    t.levels.resize(t.k * t.plane());
    read(t.table_of.data(), t.table_of.size());
    read(t.counts.data(), t.counts.size());
    read(t.levels.data(), t.levels.size());
    EXPECT_TRUE(file) << t.name;
    tensors.push_back(std::move(t));
  }
  std::ranges::sort(tensors, {}, &RealTensor::name);
  return tensors;
}

// Cycles a value, printed and as a line of the file FMTC_RTL_CYCLES for rtl/report.py.
inline void report_cycles(const std::string& module, uint64_t cycles, uint64_t values) {
  const double each = static_cast<double>(cycles) / static_cast<double>(values);
  std::cout << module << ": " << each << " cycles a value, " << values << " values\n";
  const char* path = std::getenv("FMTC_RTL_CYCLES");
  if (path != nullptr)
    std::ofstream(path, std::ios::app) << module << " " << cycles << " " << values << "\n";
}

}  // namespace fmtc::rtl
