#pragma once

#include <cstring>

#include "input.h"

// What the targets of tables share.

namespace fmtc {

// The rest of the input as numbers, a byte each or as many as T has.
template <typename T>
std::vector<T> numbers(Input& input, bool small, size_t most) {
  const auto bytes = input.rest();
  const size_t size = small ? 1 : sizeof(T);
  std::vector<T> result(std::min(bytes.size() / size, most));
  for (size_t i = 0; i < result.size(); ++i) {
    if (small) {
      result[i] = static_cast<T>(bytes[i]);
    } else {
      std::memcpy(&result[i], bytes.data() + size * i, size);
    }
  }
  return result;
}

// Both tables, or neither.
inline bool huffman_tables(std::span<const uint8_t> lengths, int table_bits) {
  std::vector<uint32_t> encode(lengths.size()), decode(size_t{1} << table_bits);
  const Status status = huffman_encode_table(lengths, encode);
  FMTC_REQUIRE(huffman_decode_table(lengths, table_bits, decode) == status);
  FMTC_REQUIRE(status == Status::kOk || status == Status::kBadTable);
  return status == Status::kOk;
}

inline bool rans_tables(std::span<const int32_t> frequencies) {
  const int log2_total = rans_log2_total(frequencies);
  std::vector<uint32_t> encode(frequencies.size()), decode(size_t{1} << std::max(log2_total, 8));
  int64_t base = -1;
  const Status expected = log2_total == 0 ? Status::kBadTable : Status::kOk;
  FMTC_REQUIRE(rans_encode_table(frequencies, encode) == expected);
  FMTC_REQUIRE(rans_decode_table(frequencies, decode, base) == expected);
  if (expected != Status::kOk) return false;
  FMTC_REQUIRE(base >= 0 && base < std::ssize(frequencies));
  for (const uint32_t entry : decode) {  // each slot lies within its symbol's
    const uint32_t symbol = entry & 255;
    const size_t index =
        symbol == kEscapeSymbol ? frequencies.size() - 1 : static_cast<size_t>(base) + symbol;
    FMTC_REQUIRE(entry >> 20 < static_cast<uint32_t>(frequencies[index]));
    FMTC_REQUIRE((entry >> 8 & 4095) + 1 == static_cast<uint32_t>(frequencies[index]));
  }
  return true;
}

}  // namespace fmtc
