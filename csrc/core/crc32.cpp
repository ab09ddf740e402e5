#include "core/crc32.h"

#include <array>

#include "core/bytes.h"

namespace fmtc {
namespace {

constexpr uint32_t kCrc32Polynomial = 0xEDB88320;
constexpr size_t kWord = 8;  // bytes that are taken at once

// Table t: what a byte becomes when t zero bytes follow it.
constexpr std::array<std::array<uint32_t, 256>, kWord> make_tables() {
  std::array<std::array<uint32_t, 256>, kWord> tables{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ ((crc & 1) != 0 ? kCrc32Polynomial : 0);
    tables[0][byte] = crc;
  }
  for (size_t t = 1; t < kWord; ++t) {
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const uint32_t before = tables[t - 1][byte];
      tables[t][byte] = before >> 8 ^ tables[0][before & 0xFF];
    }
  }
  return tables;
}

constexpr std::array<std::array<uint32_t, 256>, kWord> kTables = make_tables();

}  // namespace

uint32_t crc32(std::span<const uint8_t> bytes, uint32_t seed) noexcept {
  uint32_t crc = ~seed;
  for (; bytes.size() >= kWord; bytes = bytes.subspan(kWord)) {
    const uint64_t word = load_le<uint64_t>(bytes.data()) ^ crc;
    crc = 0;
    for (size_t i = 0; i < kWord; ++i) crc ^= kTables[kWord - 1 - i][word >> 8 * i & 0xFF];
  }
  for (const uint8_t byte : bytes) crc = crc >> 8 ^ kTables[0][(crc ^ byte) & 0xFF];
  return ~crc;
}

}  // namespace fmtc
