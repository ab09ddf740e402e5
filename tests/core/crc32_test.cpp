#include "core/crc32.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "core/crc32c.h"

namespace fmtc {
namespace {

std::vector<uint8_t> bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

// Bit by bit, straight from the definition.
uint32_t slow_crc32(const std::vector<uint8_t>& bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0xEDB88320u : 0u);
  }
  return ~crc;
}

TEST(Crc32, KnownVectors) {
  EXPECT_EQ(crc32({}), 0u);
  EXPECT_EQ(crc32(bytes_of("123456789")), 0xCBF43926u);
  EXPECT_EQ(crc32(std::vector<uint8_t>(32, 0x00)), 0x190A55ADu);
  EXPECT_EQ(crc32(std::vector<uint8_t>(32, 0xFF)), 0xFF6CAB0Bu);
}

TEST(Crc32, EveryLengthAgreesWithTheDefinition) {
  std::vector<uint8_t> bytes;
  for (uint32_t i = 0; i < 100; ++i) {
    EXPECT_EQ(crc32(bytes), slow_crc32(bytes)) << "length " << i;
    bytes.push_back(static_cast<uint8_t>(i * 167 + 13));
  }
}

TEST(Crc32, ContinuesFromASeed) {
  const std::vector<uint8_t> all = bytes_of("a bundle of several streams of any length");
  for (size_t cut = 0; cut <= all.size(); ++cut) {
    const std::span<const uint8_t> bytes(all);
    EXPECT_EQ(crc32(bytes.subspan(cut), crc32(bytes.first(cut))), crc32(all));
  }
}

// What it is there for: CRC-32C tells nothing of a message with its own CRC-32C behind it.
TEST(Crc32, TellsMessagesWithTheirCrc32cApart) {
  std::vector<uint8_t> a = bytes_of("66 columns"), b = bytes_of("55 rows   ");
  for (std::vector<uint8_t>* message : {&a, &b}) {
    const uint32_t checksum = crc32c(*message);
    message->resize(message->size() + 4);
    store_le(message->data() + message->size() - 4, checksum);
  }
  EXPECT_EQ(crc32c(a), crc32c(b));
  EXPECT_NE(crc32(a), crc32(b));
}

}  // namespace
}  // namespace fmtc
