#include "core/bitstream.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <utility>
#include <vector>

namespace fmtc {
namespace {

using Fields = std::vector<std::pair<uint64_t, int>>;  // value, bits

Fields random_fields(size_t count, uint32_t seed) {
  std::mt19937_64 random(seed);
  Fields fields(count);
  for (auto& [value, bits] : fields) {
    bits = static_cast<int>(random() % 16);
    value = random() & ((uint64_t{1} << bits) - 1);
  }
  return fields;
}

size_t total_bits(const Fields& fields) {
  size_t bits = 0;
  for (const auto& field : fields) bits += static_cast<size_t>(field.second);
  return bits;
}

Status write(const Fields& fields, std::span<uint8_t> out, size_t& used) {
  BitWriter writer(out);
  for (const auto& [value, bits] : fields) {
    writer.put(value, bits);
    writer.flush();
  }
  return writer.finish(used);
}

TEST(BitWriter, FirstBitIsTheLowestOfTheFirstByte) {
  std::vector<uint8_t> out(2);
  size_t used = 0;
  ASSERT_EQ(write({{1, 1}, {0b10, 2}, {0x7F, 7}}, out, used), Status::kOk);
  EXPECT_EQ(used, 2u);
  EXPECT_EQ(out, (std::vector<uint8_t>{0b11111101, 0b00000011}));
}

TEST(BitWriter, NothingWrittenIsNoByte) {
  size_t used = 1;
  EXPECT_EQ(write({}, {}, used), Status::kOk);
  EXPECT_EQ(used, 0u);
}

TEST(BitWriter, StaysInsideItsSpan) {
  const Fields fields = random_fields(60, 3);
  const size_t needed = (total_bits(fields) + 7) / 8;
  for (size_t size = 0; size <= needed + 9; ++size) {
    std::vector<uint8_t> memory(size + 8, 0xA5);
    size_t used = 0;
    const Status status = write(fields, std::span(memory).first(size), used);
    EXPECT_EQ(status, size < needed ? Status::kBufferTooSmall : Status::kOk) << size;
    EXPECT_LE(used, size);
    for (size_t i = size; i < memory.size(); ++i) ASSERT_EQ(memory[i], 0xA5);
  }
}

TEST(BitReader, ReadsWhatWasWrittenWithOrWithoutChecks) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    const Fields fields = random_fields(seed * 3, seed);
    std::vector<uint8_t> bytes((total_bits(fields) + 7) / 8);
    size_t used = 0;
    ASSERT_EQ(write(fields, bytes, used), Status::kOk);
    ASSERT_EQ(used, bytes.size());
    BitReader reader(bytes);
    for (size_t i = 0; i < fields.size(); ++i) {
      const auto& [value, bits] = fields[i];
      // Now and then the next fields are looked at without checks on the way.
      if (i % 3 == 0 && reader.left() >= 16 && i + 1 < fields.size()) {
        UncheckedBitReader unchecked(reader);
        unchecked.refill();
        ASSERT_EQ(unchecked.peek() & ((uint64_t{1} << bits) - 1), value);
        unchecked.skip(bits);
        if (i % 2 == 0) unchecked.refill();
        unchecked.store(reader);
        continue;
      }
      reader.refill();
      ASSERT_LE(bits, reader.available());
      ASSERT_EQ(reader.peek() & ((uint64_t{1} << bits) - 1), value);
      reader.skip(bits);
    }
    reader.refill();
    EXPECT_TRUE(reader.at_end());
  }
}

TEST(BitReader, TheEndIsZeroPaddingOfLessThanAByte) {
  const auto at_end_after = [](std::vector<uint8_t> bytes, int bits) {
    BitReader reader(bytes);
    reader.refill();
    reader.skip(bits);
    return reader.at_end();
  };
  EXPECT_TRUE(at_end_after({}, 0));
  EXPECT_TRUE(at_end_after({0x01}, 1));
  EXPECT_TRUE(at_end_after({0x80}, 8));
  EXPECT_FALSE(at_end_after({0x80}, 7));
  EXPECT_FALSE(at_end_after({0x00}, 0));
  EXPECT_FALSE(at_end_after({0x01, 0x00}, 1));
}

TEST(BitReader, TheEndMayBeBeforeWhatCanBeTaken) {
  for (size_t behind : {0, 1, 3, 20}) {
    std::vector<uint8_t> bytes = {0xFF, 0xFF, 0x1F};
    const size_t size = bytes.size();
    bytes.resize(size + behind, 0xFF);
    for (int bits = 0; bits <= 56 && bits <= static_cast<int>(8 * bytes.size()); ++bits) {
      BitReader reader(bytes);
      reader.refill();
      reader.skip(bits);
      for (int refills = 0; refills < 2; ++refills, reader.refill()) {
        EXPECT_EQ(reader.at_end(bytes.data() + size), bits >= 21 && bits <= 24) << bits;
      }
    }
  }
}

}  // namespace
}  // namespace fmtc
