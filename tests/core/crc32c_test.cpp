#include "core/crc32c.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string_view>
#include <vector>

namespace fmtc {
namespace {

std::vector<uint8_t> bytes_of(std::string_view text) { return {text.begin(), text.end()}; }

// Bit by bit, straight from the definition.
uint32_t slow_crc32c(const std::vector<uint8_t>& bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const uint8_t byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0u);
  }
  return ~crc;
}

// The vectors of RFC 3720, appendix B.4, and the usual check value.
TEST(Crc32c, KnownVectors) {
  std::vector<uint8_t> ascending(32);
  std::iota(ascending.begin(), ascending.end(), uint8_t{0});
  std::vector<uint8_t> descending(ascending.rbegin(), ascending.rend());
  EXPECT_EQ(crc32c({}), 0u);
  EXPECT_EQ(crc32c(bytes_of("123456789")), 0xE3069283u);
  EXPECT_EQ(crc32c(std::vector<uint8_t>(32, 0x00)), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::vector<uint8_t>(32, 0xFF)), 0x62A8AB43u);
  EXPECT_EQ(crc32c(ascending), 0x46DD794Eu);
  EXPECT_EQ(crc32c(descending), 0x113FDB5Cu);
}

TEST(Crc32c, EveryLengthAgreesWithTheDefinition) {
  std::vector<uint8_t> bytes;
  for (uint32_t i = 0; i < 100; ++i) {
    EXPECT_EQ(crc32c(bytes), slow_crc32c(bytes)) << "length " << i;
    bytes.push_back(static_cast<uint8_t>(i * 167 + 13));
  }
}

// Long enough for the tiles that are done three at a time, whole and with all kinds of rests.
TEST(Crc32c, LongOnesAgreeWithTheDefinition) {
  std::vector<uint8_t> bytes;
  for (uint32_t i = 0; i < 10000; ++i) bytes.push_back(static_cast<uint8_t>(i * i * 31 + i / 7));
  for (const size_t size : {1024u, 2048u, 3071u, 3072u, 3073u, 3085u, 6143u, 6144u, 9999u}) {
    const std::vector<uint8_t> part(bytes.begin(), bytes.begin() + static_cast<int64_t>(size));
    EXPECT_EQ(crc32c(part), slow_crc32c(part)) << "length " << size;
    EXPECT_EQ(crc32c(std::span(part).subspan(5), crc32c(std::span(part).first(5))),
              slow_crc32c(part));
  }
}

TEST(Crc32c, ContinuesFromASeed) {
  const std::vector<uint8_t> all = bytes_of("a stream of several parts of any length");
  for (size_t cut = 0; cut <= all.size(); ++cut) {
    const std::span<const uint8_t> bytes(all);
    EXPECT_EQ(crc32c(bytes.subspan(cut), crc32c(bytes.first(cut))), crc32c(all));
  }
}

}  // namespace
}  // namespace fmtc
