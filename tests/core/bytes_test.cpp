#include "core/bytes.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>

namespace fmtc {
namespace {

TEST(Bytes, LittleEndianAtAnyAlignment) {
  std::array<uint8_t, 16> bytes{};
  for (size_t offset = 0; offset < 8; ++offset) {
    store_le<uint64_t>(bytes.data() + offset, 0x0123456789ABCDEFu);
    EXPECT_EQ(bytes[offset], 0xEF);
    EXPECT_EQ(bytes[offset + 7], 0x01);
    EXPECT_EQ(load_le<uint64_t>(bytes.data() + offset), 0x0123456789ABCDEFu);
    EXPECT_EQ(load_le<uint32_t>(bytes.data() + offset), 0x89ABCDEFu);
  }
}

}  // namespace
}  // namespace fmtc
