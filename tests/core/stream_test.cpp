#include "core/stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <thread>
#include <vector>

#include "coding_fixture.h"
#include "core/bytes.h"
#include "core/crc32c.h"

namespace fmtc {
namespace {

// A tensor, its tables and its stream.
struct Case {
  StreamHeader header;
  Codebook book;
  std::vector<int16_t> levels;
  std::vector<uint8_t> stream;

  ComponentTables encode_tables() const { return book.encode_tables(header.plane()); }
  ComponentTables decode_tables() const { return book.decode_tables(header.plane()); }
  Status decode(std::span<const uint8_t> bytes, std::vector<int16_t>& decoded) const {
    decoded.assign(levels.size(), -1);
    return huffman_stream_decode(bytes, header, decode_tables(), decoded);
  }
};

Case make_case(StreamHeader header, size_t tables, size_t symbols, uint32_t seed) {
  std::mt19937 random(seed);
  Case made;
  made.header = header;
  const auto counts = bell_counts(tables, symbols);
  made.book =
      make_codebook(counts, symbols, -static_cast<int>(symbols / 2), header.components, 15, random);
  made.levels = draw_levels(made.book, counts, header.plane(), random);
  made.stream.resize(stream_bound(header));
  size_t used = 0;
  EXPECT_EQ(huffman_stream_encode(header, made.levels, made.encode_tables(), made.stream, used),
            Status::kOk);
  EXPECT_LE(used, made.stream.size());
  made.stream.resize(used);
  return made;
}

StreamHeader header_of(uint32_t components, uint32_t height, uint32_t width, int log2_chunk,
                       int substreams) {
  StreamHeader header = make_header(components, height, width, 77);
  header.log2_chunk = static_cast<uint8_t>(log2_chunk);
  header.substreams = static_cast<uint8_t>(substreams);
  return header;
}

void expect_round_trip(const Case& made) {
  std::vector<int16_t> decoded;
  ASSERT_EQ(made.decode(made.stream, decoded), Status::kOk);
  ASSERT_EQ(decoded, made.levels);
}

// The checksum over header and directory, made right after a change.
void repair_checksum(std::vector<uint8_t>& stream, uint64_t chunks) {
  const std::span<const uint8_t> bytes(stream);
  store_le(stream.data() + 28, crc32c(bytes.subspan(kHeaderBytes, kDirectoryEntryBytes * chunks),
                                      crc32c(bytes.first(28))));
}

TEST(Stream, RoundTripOverShapes) {
  for (const auto& [k, h, w] : std::vector<std::array<uint32_t, 3>>{{1, 1, 1},
                                                                    {3, 1, 1},
                                                                    {1, 7, 5},
                                                                    {64, 7, 7},
                                                                    {10, 33, 31},
                                                                    {2000, 1, 1},
                                                                    {17, 64, 65},
                                                                    {5, 200, 300}}) {
    expect_round_trip(make_case(make_header(k, h, w, 3), 3, 64, k));
  }
}

TEST(Stream, RoundTripOverTables) {
  for (const size_t symbols : {1, 2, 3, 16, 255, 1024, 4096}) {
    for (const size_t tables : {1, 8}) {
      expect_round_trip(make_case(make_header(30, 20, 20, 3), tables, symbols, 5));
    }
  }
}

TEST(Stream, RoundTripOverChunksAndSubstreams) {
  for (const int log2_chunk : {8, 9, 12, 24}) {
    for (const int substreams : {1, 2, 4, 7, 8, 16}) {
      expect_round_trip(make_case(header_of(11, 13, 29, log2_chunk, substreams), 4, 90, 6));
    }
  }
}

TEST(Stream, EmptyTensorsAreAHeader) {
  for (const auto& [k, h, w] :
       std::vector<std::array<uint32_t, 3>>{{0, 5, 5}, {3, 0, 5}, {3, 5, 0}, {0, 0, 0}}) {
    const Case made = make_case(make_header(k, h, w, 3), 1, 4, 7);
    EXPECT_EQ(made.stream.size(), kHeaderBytes);
    expect_round_trip(made);
  }
}

TEST(Stream, EncoderChoosesChunksBySize) {
  EXPECT_EQ(make_header(4095, 1, 1, 0).substreams, 1);
  EXPECT_EQ(make_header(64, 8, 8, 0).substreams, 4);
  EXPECT_EQ(make_header(64, 8, 8, 0).log2_chunk, 16);
  EXPECT_EQ(make_header(UINT32_MAX, UINT32_MAX, UINT32_MAX, 0).substreams, 4);
}

TEST(Stream, ChunksMayBeCodedInAnyOrderAtTheSameTime) {
  const Case made = make_case(header_of(10, 40, 41, 8, 4), 3, 50, 8);
  std::vector<uint8_t> buffer(stream_bound(made.header), 0xEE);
  const uint64_t chunks = made.header.chunks();
  const auto on_two_threads = [&](auto work) {
    std::thread other([&] {
      for (uint64_t chunk = 0; chunk < chunks; chunk += 2) work(chunk);
    });
    for (uint64_t chunk = chunks; chunk-- > 0;) {
      if (chunk % 2 == 1) work(chunk);
    }
    other.join();
  };
  on_two_threads([&](uint64_t chunk) {
    EXPECT_EQ(encode_chunk(made.header, made.levels, made.encode_tables(), chunk, buffer),
              Status::kOk);
  });
  size_t used = 0;
  ASSERT_EQ(finish_stream(made.header, buffer, used), Status::kOk);
  buffer.resize(used);
  EXPECT_EQ(buffer, made.stream);

  StreamHeader header;
  size_t size = 0;
  ASSERT_EQ(read_header(buffer, header, size), Status::kOk);
  std::vector<int16_t> decoded(made.levels.size());
  on_two_threads([&](uint64_t chunk) {
    EXPECT_EQ(decode_chunk(header, buffer, made.decode_tables(), chunk, decoded), Status::kOk);
  });
  EXPECT_EQ(decoded, made.levels);
}

TEST(Stream, HeaderCarriesItsFields) {
  StreamHeader header = make_header(6, 5, 4, 0xDEADBEEF, 3, 2);
  const Case made = make_case(header, 2, 10, 9);
  StreamHeader read;
  size_t size = 0;
  std::vector<uint8_t> more = made.stream;
  more.resize(more.size() + 100, 0x55);
  ASSERT_EQ(read_header(more, read, size), Status::kOk);
  EXPECT_EQ(size, made.stream.size());
  EXPECT_EQ(read.table_id, 0xDEADBEEF);
  EXPECT_EQ(read.components, 6u);
  EXPECT_EQ(read.height, 5u);
  EXPECT_EQ(read.width, 4u);
  EXPECT_EQ(read.crop_h, 3);
  EXPECT_EQ(read.crop_w, 2);
  EXPECT_EQ(read.values(), 120u);
  EXPECT_EQ(read.chunks(), 1u);
}

// The example of docs/stream_format.md.
TEST(Stream, WorkedExampleOfTheFormat) {
  const std::vector<uint8_t> lengths = {2, 1, 2};
  std::vector<uint32_t> encode(3), decode(4);
  ASSERT_EQ(huffman_encode_table(lengths, encode), Status::kOk);
  ASSERT_EQ(huffman_decode_table(lengths, 2, decode), Status::kOk);
  const std::vector<int64_t> table_of = {0, 0};
  const std::vector<int16_t> levels = {0, 1, -1, 0, 0, 0, 1, 0, -1, 0, 0, 1};
  StreamHeader header = make_header(2, 2, 3, 7);
  header.substreams = 2;
  std::vector<uint8_t> stream(stream_bound(header));
  size_t used = 0;
  ASSERT_EQ(huffman_stream_encode(header, levels, {-1, 3, encode, table_of, 6}, stream, used),
            Status::kOk);
  stream.resize(used);
  const std::vector<uint8_t> expected = {
      0x46, 0x4D, 0x54, 0x43, 0x01, 0x01, 0x10, 0x00, 0x07, 0x00, 0x00, 0x00,  // up to the id
      0x02, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00,  // shape
      0x10, 0x02, 0x00, 0x00, 0x09, 0x89, 0x35, 0x14,                          // up to the CRC
      0x07, 0x00, 0x00, 0x00, 0xAC, 0x9C, 0x86, 0x9A,                          // directory
      0x01, 0x00, 0x00, 0x00, 0x0E, 0x8B, 0x01};                               // payload
  EXPECT_EQ(stream, expected);
  std::vector<int16_t> decoded(12);
  EXPECT_EQ(huffman_stream_decode(expected, header, {-1, 4, decode, table_of, 6}, decoded),
            Status::kOk);
  EXPECT_EQ(decoded, levels);
}

class Damage : public testing::TestWithParam<int> {
 protected:
  static Case small_case(int which) {
    switch (which) {
      case 0:
        return make_case(header_of(2, 3, 4, 16, 1), 2, 9, 10);
      case 1:
        return make_case(header_of(5, 11, 13, 8, 4), 2, 30, 11);
      case 2:
        return make_case(header_of(3, 10, 10, 8, 16), 1, 1, 12);
      default:
        return make_case(header_of(0, 3, 4, 16, 1), 1, 2, 13);
    }
  }
  static void expect_refused(const Case& made, std::span<const uint8_t> bytes) {
    std::vector<int16_t> decoded;
    EXPECT_NE(made.decode(bytes, decoded), Status::kOk);
    EXPECT_EQ(std::count(decoded.begin(), decoded.end(), 0), std::ssize(decoded));
  }
};

TEST_P(Damage, EveryTruncationIsNoticed) {
  const Case made = small_case(GetParam());
  for (size_t size = 0; size < made.stream.size(); ++size) {
    // A copy of exactly this size, so that a sanitizer sees reads beyond it.
    const std::vector<uint8_t> bytes(made.stream.begin(),
                                     made.stream.begin() + static_cast<std::ptrdiff_t>(size));
    std::vector<int16_t> decoded;
    EXPECT_EQ(made.decode(bytes, decoded), Status::kTruncated) << size;
    expect_refused(made, bytes);
  }
}

TEST_P(Damage, EveryFlippedBitIsNoticed) {
  const Case made = small_case(GetParam());
  for (size_t bit = 0; bit < 8 * made.stream.size(); ++bit) {
    std::vector<uint8_t> bytes = made.stream;
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    expect_refused(made, bytes);
  }
}

TEST_P(Damage, TrailingBytesAreRefused) {
  const Case made = small_case(GetParam());
  std::vector<uint8_t> bytes = made.stream;
  bytes.push_back(0);
  std::vector<int16_t> decoded;
  EXPECT_EQ(made.decode(bytes, decoded), Status::kTrailingBytes);
}

// With the checksums made right again, what is behind them must hold on its own.
TEST_P(Damage, SurvivesAnyBytesWithGoodChecksums) {
  const Case made = small_case(GetParam());
  const uint64_t chunks = made.header.chunks();
  const size_t payloads = kHeaderBytes + kDirectoryEntryBytes * chunks;
  std::mt19937 random(14);
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint8_t> bytes = made.stream;
    for (int change = 0; change < 3; ++change) {
      bytes[4 + random() % (bytes.size() - 4)] = static_cast<uint8_t>(random());
    }
    for (uint64_t chunk = 0; chunk < chunks; ++chunk) {
      uint8_t* entry = bytes.data() + kHeaderBytes + kDirectoryEntryBytes * chunk;
      const size_t begin = chunk == 0 ? 0 : load_le<uint32_t>(entry - kDirectoryEntryBytes);
      const size_t end = load_le<uint32_t>(entry);
      if (begin > end || end > bytes.size() - payloads) continue;
      store_le(entry + 4, crc32c(std::span(bytes).subspan(payloads + begin, end - begin)));
    }
    repair_checksum(bytes, chunks);
    std::vector<int16_t> decoded;
    const Status status = made.decode(bytes, decoded);
    EXPECT_NE(status, Status::kBadArgument);
  }
}

INSTANTIATE_TEST_SUITE_P(Streams, Damage, testing::Range(0, 4));

TEST(Stream, EachWrongFieldHasItsStatus) {
  const Case made = make_case(header_of(4, 16, 16, 8, 2), 2, 20, 15);
  const auto status_with = [&](size_t offset, uint8_t value) {
    std::vector<uint8_t> bytes = made.stream;
    bytes[offset] = value;
    repair_checksum(bytes, made.header.chunks());
    std::vector<int16_t> decoded;
    return made.decode(bytes, decoded);
  };
  EXPECT_EQ(status_with(0, 'f'), Status::kBadMagic);
  EXPECT_EQ(status_with(4, 2), Status::kBadVersion);
  EXPECT_EQ(status_with(5, 0), Status::kBadCoder);
  EXPECT_EQ(status_with(6, 8), Status::kBadHeader);
  EXPECT_EQ(status_with(7, 1), Status::kBadFlags);
  EXPECT_EQ(status_with(8, 78), Status::kWrongTables);
  EXPECT_EQ(status_with(24, 7), Status::kBadHeader);
  EXPECT_EQ(status_with(24, 25), Status::kBadHeader);
  EXPECT_EQ(status_with(25, 0), Status::kBadHeader);
  EXPECT_EQ(status_with(25, 17), Status::kBadHeader);
  EXPECT_EQ(status_with(32, 3), Status::kBadDirectory);
  EXPECT_EQ(status_with(33, 0xFF), Status::kBadDirectory);
  EXPECT_EQ(status_with(36, static_cast<uint8_t>(made.stream[36] + 1)), Status::kBadChunkChecksum);
  EXPECT_EQ(status_with(58, 0xFF), Status::kTruncated);

  std::vector<uint8_t> flipped = made.stream;
  flipped[26] ^= 1;
  std::vector<int16_t> decoded;
  EXPECT_EQ(made.decode(flipped, decoded), Status::kBadChecksum);
  flipped = made.stream;
  flipped.back() ^= 1;
  EXPECT_EQ(made.decode(flipped, decoded), Status::kBadChunkChecksum);
}

TEST(Stream, AnotherShapeOrTableSetIsRefused) {
  const Case made = make_case(make_header(6, 5, 4, 7), 1, 20, 16);
  std::vector<int16_t> decoded(120);
  const auto status = [&](uint32_t k, uint32_t h, uint32_t w, uint32_t id) {
    return huffman_stream_decode(made.stream, make_header(k, h, w, id), made.decode_tables(),
                                 decoded);
  };
  EXPECT_EQ(status(6, 5, 4, 7), Status::kOk);
  EXPECT_EQ(status(6, 4, 5, 7), Status::kWrongShape);
  EXPECT_EQ(status(5, 6, 4, 7), Status::kWrongShape);
  EXPECT_EQ(status(6, 5, 4, 8), Status::kWrongTables);
}

TEST(Stream, ImpossibleSizesAreRefusedBeforeAnythingIsAllocated) {
  const Case made = make_case(make_header(6, 5, 4, 7), 1, 20, 17);
  const auto status_with_shape = [&](uint32_t k, uint32_t h, uint32_t w) {
    std::vector<uint8_t> bytes = made.stream;
    store_le(bytes.data() + 12, k);
    store_le(bytes.data() + 16, h);
    store_le(bytes.data() + 20, w);
    repair_checksum(bytes, 1);
    StreamHeader header;
    size_t size = 0;
    return read_header(bytes, header, size);
  };
  EXPECT_EQ(status_with_shape(UINT32_MAX, UINT32_MAX, UINT32_MAX), Status::kBadHeader);
  EXPECT_EQ(status_with_shape(1u << 31, 1u << 31, 4), Status::kBadHeader);  // 2^64 values
  EXPECT_EQ(status_with_shape(1u << 20, 1u << 20, 2), Status::kBadHeader);
  EXPECT_EQ(status_with_shape(1u << 20, 1u << 20, 1), Status::kTruncated);
  EXPECT_EQ(status_with_shape(100, 10, 60), Status::kBadDirectory);  // below a bit a value
}

TEST(Stream, EncoderRefusesBadArguments) {
  const Case made = make_case(make_header(6, 5, 4, 7), 1, 20, 18);
  std::vector<uint8_t> out(stream_bound(made.header));
  size_t used = 0;
  const auto encode = [&](const StreamHeader& header, std::span<const int16_t> levels,
                          uint64_t plane, size_t room) {
    return huffman_stream_encode(header, levels, made.book.encode_tables(plane),
                                 std::span(out).first(room), used);
  };
  EXPECT_EQ(encode(made.header, made.levels, 20, out.size()), Status::kOk);
  EXPECT_EQ(encode(made.header, made.levels, 19, out.size()), Status::kBadArgument);
  EXPECT_EQ(encode(made.header, std::span(made.levels).first(119), 20, out.size()),
            Status::kBadArgument);
  EXPECT_EQ(encode(made.header, made.levels, 20, out.size() - 1), Status::kBufferTooSmall);
  StreamHeader bad = made.header;
  bad.substreams = 17;
  EXPECT_EQ(encode(bad, made.levels, 20, out.size()), Status::kBadHeader);
  std::vector<int16_t> levels = made.levels;
  levels[60] = 1000;
  EXPECT_EQ(encode(made.header, levels, 20, out.size()), Status::kNoCode);
}

}  // namespace
}  // namespace fmtc
