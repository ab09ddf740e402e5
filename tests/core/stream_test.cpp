#include "core/stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <random>
#include <vector>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/huffman.h"
#include "core/rans.h"
#include "stream_fixture.h"
#include "stream_repair.h"

namespace fmtc {
namespace {

void expect_round_trip(const Case& made) {
  std::vector<int16_t> decoded;
  ASSERT_EQ(made.decode(made.stream, decoded), Status::kOk);
  ASSERT_EQ(decoded, made.levels);
}

TEST(Stream, RoundTripOverShapes) {
  for (const Coder coder : kCoders) {
    for (const auto& [k, h, w] : std::vector<std::array<uint32_t, 3>>{{1, 1, 1},
                                                                      {3, 1, 1},
                                                                      {1, 7, 5},
                                                                      {64, 7, 7},
                                                                      {10, 33, 31},
                                                                      {2000, 1, 1},
                                                                      {17, 64, 65},
                                                                      {5, 200, 300}}) {
      expect_round_trip(make_case(make_header(coder, k, h, w, 3), 3, 64, k));
    }
  }
}

TEST(Stream, RoundTripOverTables) {
  for (const Coder coder : kCoders) {
    for (const size_t symbols : {1, 2, 3, 16, 255, 1024, 4096}) {
      for (const size_t tables : {1, 8}) {
        expect_round_trip(make_case(make_header(coder, 30, 20, 20, 3), tables, symbols, 5));
      }
    }
  }
}

TEST(Stream, RoundTripOverChunksAndLanes) {
  for (const Coder coder : kCoders) {
    for (const int log2_chunk : {8, 9, 12, 23}) {
      for (int log2_lanes = 0; log2_lanes <= most_log2_lanes(coder); ++log2_lanes) {
        expect_round_trip(
            make_case(header_of(coder, 11, 13, 29, log2_chunk, log2_lanes), 4, 90, 6));
      }
    }
  }
}

// Chunks that end with the tensor, one value before it, and one behind.
TEST(Stream, RoundTripAtTheBordersOfChunks) {
  for (const Coder coder : kCoders) {
    for (const uint32_t width : {255u, 256u, 257u, 511u, 512u, 513u}) {
      const Case made = make_case(header_of(coder, 1, 1, width, 8, 2), 1, 20, width);
      expect_round_trip(made);
      EXPECT_EQ(made.header.chunks(), (width + 255) / 256);
    }
  }
}

TEST(Stream, ChunksLieBackToBackWithTheirChecksums) {
  for (const Coder coder : kCoders) {
    for (const uint32_t width : {256u, 257u, 1000u}) {
      const Case made = make_case(header_of(coder, 1, 1, width, 8, 2), 1, 20, width);
      StreamHeader header;
      size_t size = 0;
      ASSERT_EQ(read_header(made.stream, header, size), Status::kOk);
      const uint8_t* at = made.stream.data() + size - header.payload;
      for (uint64_t chunk = 0; chunk < header.chunks(); ++chunk) {
        const ChunkPayload found = find_chunk(header, made.stream, chunk);
        EXPECT_EQ(found.bytes.data(), at);
        EXPECT_EQ(found.checksum, header.chunks() > 1 ? crc32c(found.bytes) : 0);
        at += found.bytes.size();
      }
      EXPECT_EQ(at, made.stream.data() + made.stream.size());
    }
  }
}

TEST(Stream, EmptyTensorsAreAHeader) {
  for (const Coder coder : kCoders) {
    for (const auto& [k, h, w] :
         std::vector<std::array<uint32_t, 3>>{{0, 5, 5}, {3, 0, 5}, {3, 5, 0}, {0, 0, 0}}) {
      const Case made = make_case(make_header(coder, k, h, w, 3), 1, 4, 7);
      EXPECT_EQ(made.stream.size(), 14u);
      expect_round_trip(made);
    }
  }
}

TEST(Stream, SmallTensorsHaveFewSideBytes) {
  const Case made = make_case(make_header(Coder::kRans, 320, 7, 7, 3), 4, 16, 8);
  const size_t fields = RawFields(made.stream).bytes;
  EXPECT_EQ(fields + 4, 16u);
}

TEST(Stream, EncoderChoosesChunksBySize) {
  const auto huffman = [](uint32_t k, uint32_t h, uint32_t w) {
    return make_header(Coder::kHuffman, k, h, w, 0);
  };
  EXPECT_EQ(huffman(4095, 1, 1).lanes(), 1);
  EXPECT_EQ(huffman(64, 8, 8).lanes(), 4);
  EXPECT_EQ(huffman(64, 8, 8).log2_chunk, 16);
  EXPECT_EQ(huffman(UINT32_MAX, UINT32_MAX, UINT32_MAX).lanes(), 4);
  const auto rans = [](uint32_t k, uint32_t h, uint32_t w) {
    return make_header(Coder::kRans, k, h, w, 0);
  };
  EXPECT_EQ(rans(0, 8, 8).lanes(), 1);
  EXPECT_EQ(rans(8191, 1, 1).lanes(), 1);
  EXPECT_EQ(rans(8192, 1, 1).lanes(), 2);
  EXPECT_EQ(rans(64, 32, 32).lanes(), 16);
  EXPECT_EQ(rans(1, 1, 131071).lanes(), 16);
  EXPECT_EQ(rans(1, 1, 131072).lanes(), 32);
  EXPECT_EQ(rans(64, 8, 8).log2_chunk, 17);
  EXPECT_EQ(rans(UINT32_MAX, UINT32_MAX, UINT32_MAX).lanes(), 32);
}

TEST(Stream, LaneValuesSetChunksAndLanes) {
  const auto header = [](Coder coder, uint32_t values, uint32_t lane_values) {
    return make_header(coder, 1, 1, values, 0, 0, 0, 1, lane_values);
  };
  for (uint32_t lane_values = 256; lane_values <= 65536; lane_values *= 2) {
    const int log2 = std::countr_zero(lane_values);
    for (const auto& [coder, most] : std::vector<std::pair<Coder, int>>{
             {Coder::kHuffman, 4}, {Coder::kRans, 5}, {Coder::kEbpc, 0}, {Coder::kDctCm, 0}}) {
      const uint32_t chunk = lane_values << most;
      EXPECT_EQ(header(coder, 1, lane_values).log2_chunk, log2 + most);
      EXPECT_EQ(header(coder, 0, lane_values).lanes(), 1);
      EXPECT_EQ(header(coder, 2 * lane_values - 1, lane_values).lanes(), 1);
      EXPECT_EQ(header(coder, chunk, lane_values).log2_lanes, most);
      EXPECT_EQ(header(coder, 3 * chunk + 1, lane_values).log2_lanes, most);
      EXPECT_EQ(header(coder, 3 * chunk + 1, lane_values).chunks(), 4u);
      if (most > 0) {
        EXPECT_EQ(header(coder, chunk - 1, lane_values).log2_lanes, most - 1);
      }
      EXPECT_EQ(check_shape(header(coder, chunk, lane_values)), Status::kOk);
    }
  }
  for (const Coder coder : kCoders) {
    for (const uint32_t wrong : {1u, 128u, 255u, 257u, 3000u, 131072u, UINT32_MAX}) {
      EXPECT_EQ(check_shape(header(coder, 100, wrong)), Status::kBadHeader);
    }
  }
}

TEST(Stream, RoundTripOverLaneValues) {
  for (const Coder coder : kCoders) {
    for (const uint32_t lane_values : {256u, 512u, 4096u, 65536u}) {
      for (const uint32_t width : {1u, 700u, 4097u, 8192u, 20001u}) {
        expect_round_trip(
            make_case(make_header(coder, 3, 1, width, 3, 0, 0, 1, lane_values), 2, 40, width));
      }
    }
  }
}

TEST(Stream, HeaderCarriesItsFields) {
  for (const Coder coder : kCoders) {
    const Case made = make_case(make_header(coder, 6, 5, 400, 0xBEEF, 3, 0), 2, 10, 9);
    StreamHeader read;
    size_t size = 0;
    std::vector<uint8_t> more = made.stream;
    more.resize(more.size() + 100, 0x55);
    ASSERT_EQ(read_header(more, read, size), Status::kOk);
    EXPECT_EQ(size, made.stream.size());
    EXPECT_EQ(read.coder, coder);
    EXPECT_EQ(read.table_id, 0xBEEF);
    EXPECT_EQ(read.components, 6u);
    EXPECT_EQ(read.height, 5u);
    EXPECT_EQ(read.width, 400u);
    EXPECT_EQ(read.log2_chunk, made.header.log2_chunk);
    EXPECT_EQ(read.log2_lanes, made.header.log2_lanes);
    EXPECT_EQ(read.crop_h, 3);
    EXPECT_EQ(read.crop_w, 0);
    EXPECT_EQ(read.values(), 12000u);
    EXPECT_EQ(read.chunks(), 1u);
    EXPECT_EQ(read.field_bytes, RawFields(made.stream).bytes);
    EXPECT_EQ(read.payload, made.stream.size() - read.field_bytes - 4);
  }
}

// What comes out is the arrangement of some levels with the map that went in.
void expect_round_trip_of_classes(const Case& made) {
  expect_round_trip(made);
  StreamHeader header;
  size_t size = 0;
  ASSERT_EQ(read_header(made.stream, header, size), Status::kOk);
  EXPECT_EQ(header.classes, made.header.classes);
  EXPECT_EQ(header.positions, made.header.positions);
  EXPECT_EQ(header.field_bytes, RawFields(made.stream).bytes);
  std::vector<int16_t> levels(header.layout().levels());
  ASSERT_EQ(restore(made.levels, header.layout(), levels), Status::kOk);
  std::vector<int16_t> again(made.levels.size());
  ASSERT_EQ(arrange(levels, made.map, header.layout(), again), Status::kOk);
  EXPECT_EQ(again, made.levels);
}

TEST(Stream, RoundTripWithClasses) {
  for (const Coder coder : kTableCoders) {
    for (const auto& [k, h, w] : std::vector<std::array<uint32_t, 3>>{
             {1, 1, 1}, {3, 1, 5}, {2, 6, 1}, {5, 7, 7}, {64, 8, 6}, {3, 61, 90}, {300, 3, 2}}) {
      for (uint8_t classes = 2; classes <= 8; ++classes) {
        const StreamHeader header = make_header(coder, k, h, w, 3, 0, 0, classes);
        const unsigned last = 1u << (classes - 1);
        for (const unsigned without : {0u, 1u, last, last - 1}) {  // these classes are empty
          expect_round_trip_of_classes(
              make_case_with_classes(header, without, 4, 40, k + h + classes));
        }
      }
    }
  }
}

TEST(Stream, RoundTripWithClassesOverChunksAndLanes) {
  for (const Coder coder : kTableCoders) {
    for (const int log2_chunk : {8, 9, 12, 23}) {
      for (int log2_lanes = 0; log2_lanes <= (coder == Coder::kRans ? 6 : 4); ++log2_lanes) {
        StreamHeader header = header_of(coder, 11, 13, 29, log2_chunk, log2_lanes);
        header.classes = 4;
        expect_round_trip_of_classes(make_case_with_classes(header, 2, 4, 90, 6));
      }
    }
  }
}

// Among these widths are those with which the first chunk ends with the map (512), and the last one
// with the arrangement (likewise), one value before it and one behind.
TEST(Stream, RoundTripWithClassesAtTheBordersOfChunks) {
  for (const Coder coder : kTableCoders) {
    for (uint32_t width = 500; width < 520; ++width) {
      StreamHeader header = header_of(coder, 2, 1, width, 8, 2);
      header.classes = 2;
      const Case made = make_case_with_classes(header, 0, 3, 20, width);
      expect_round_trip_of_classes(made);
      EXPECT_EQ(made.header.values(), (width + 1) / 2 + 2 * width);
      EXPECT_EQ(made.header.chunks(), (made.header.values() + 255) / 256);
    }
  }
}

TEST(Stream, EncoderCountsTheMapAmongTheValues) {
  const auto lanes = [](Coder coder, uint32_t side, uint8_t classes) {
    return make_header(coder, 1, side, side, 0, 0, 0, classes).lanes();
  };
  EXPECT_EQ(lanes(Coder::kRans, 81, 1), 1);  // 6561 values
  EXPECT_EQ(lanes(Coder::kRans, 81, 2), 2);  // and a map of 41 * 41
  EXPECT_EQ(lanes(Coder::kHuffman, 60, 1), 1);
  EXPECT_EQ(lanes(Coder::kHuffman, 60, 8), 4);
  EXPECT_EQ(make_header(Coder::kRans, 3, 9, 5, 0, 0, 0, 2).values(), 3u * 45 + 15);
}

// The examples of docs/stream_format.md.
TEST(Stream, WorkedExampleOfTheFormatHuffman) {
  const std::vector<uint8_t> lengths = {2, 1, 2};
  std::vector<uint32_t> encode(3), decode(4);
  ASSERT_EQ(huffman_encode_table(lengths, encode), Status::kOk);
  ASSERT_EQ(huffman_decode_table(lengths, 2, decode), Status::kOk);
  const std::vector<int64_t> table_of = {0, 0};
  const std::vector<int16_t> levels = {0, 1, -1, 0, 0, 0, 1, 0, -1, 0, 0, 1};
  StreamHeader header = make_header(Coder::kHuffman, 2, 2, 3, 7);
  header.log2_lanes = 1;
  std::vector<uint8_t> stream(stream_bound(header));
  size_t used = 0;
  ASSERT_EQ(stream_encode(header, levels, {-1, 3, encode, table_of, 6}, stream, used), Status::kOk);
  stream.resize(used);
  const std::vector<uint8_t> expected = {0x66, 0x6D, 0x21, 0x18, 0x07, 0x00, 0x02,
                                         0x02, 0x03, 0x07,                           // fields
                                         0xE3, 0x3F, 0xAD, 0x0A,                     // checksum
                                         0x01, 0x00, 0x00, 0x00, 0x0E, 0x8B, 0x01};  // payload
  EXPECT_EQ(stream, expected);
  std::vector<int16_t> decoded(12);
  EXPECT_EQ(stream_decode(expected, header, {-1, 4, decode, table_of, 6}, decoded), Status::kOk);
  EXPECT_EQ(decoded, levels);
}

TEST(Stream, WorkedExampleOfTheFormatRans) {
  const std::vector<int32_t> frequencies = {64, 128, 63, 1};
  std::vector<uint32_t> encode(4), decode(256);
  std::vector<int64_t> base(1);
  ASSERT_EQ(rans_encode_table(frequencies, encode), Status::kOk);
  ASSERT_EQ(rans_decode_table(frequencies, decode, base[0]), Status::kOk);
  const std::vector<int64_t> table_of = {0};
  const std::vector<int16_t> levels = {0, 5, 1, -300, 0, -1};
  StreamHeader header = make_header(Coder::kRans, 1, 2, 3, 7);
  header.log2_lanes = 1;
  std::vector<uint8_t> stream(stream_bound(header));
  size_t used = 0;
  ASSERT_EQ(stream_encode(header, levels, {-1, 4, encode, table_of, 6}, stream, used), Status::kOk);
  stream.resize(used);
  const std::vector<uint8_t> expected = {
      0x66, 0x6D, 0x22, 0x19, 0x07, 0x00, 0x01, 0x02, 0x03, 0x0E,  // fields
      0x6E, 0x8E, 0xED, 0x27,                                      // checksum
      0xA1, 0x43, 0x10, 0x00, 0xFF, 0x00, 0x04, 0x00,              // states
      0xFF, 0x00, 0xD4, 0xFE, 0x05, 0x00};                         // a digit, escaped levels
  EXPECT_EQ(stream, expected);
  std::vector<int16_t> decoded(6);
  EXPECT_EQ(stream_decode(expected, header, {-1, 256, decode, table_of, 6, base}, decoded),
            Status::kOk);
  EXPECT_EQ(decoded, levels);
}

TEST(Stream, WorkedExampleOfTheFormatEbpc) {
  const std::vector<int16_t> levels = {0, 0, 0, 5, 6, 0, 7, 7, 7, 7, 7, 7};
  const StreamHeader header = make_header(Coder::kEbpc, 3, 2, 2, 7);
  std::vector<uint8_t> stream(stream_bound(header));
  size_t used = 0;
  ASSERT_EQ(stream_encode(header, levels, {0, 4, {}, {}, 4}, stream, used), Status::kOk);
  stream.resize(used);
  const std::vector<uint8_t> expected = {0x66, 0x6D, 0x23, 0x08, 0x07,
                                         0x00, 0x03, 0x02, 0x02, 0x05,   // fields
                                         0x2E, 0x3B, 0x3B, 0xF3,         // checksum
                                         0x64, 0xF0, 0x97, 0x22, 0x00};  // payload
  EXPECT_EQ(stream, expected);
  std::vector<int16_t> decoded(12);
  EXPECT_EQ(stream_decode(expected, header, {0, 4, {}, {}, 4}, decoded), Status::kOk);
  EXPECT_EQ(decoded, levels);
}

TEST(Stream, WorkedExampleOfTheFormatDctCm) {
  const std::vector<int16_t> levels = {0, 3, 0, 0, -1, 0, 0, 0, 0, 2};
  const StreamHeader header = make_header(Coder::kDctCm, 2, 1, 5, 7);
  std::vector<uint8_t> stream(stream_bound(header));
  size_t used = 0;
  ASSERT_EQ(stream_encode(header, levels, {-4, 3, {}, {}, 5}, stream, used), Status::kOk);
  stream.resize(used);
  const std::vector<uint8_t> expected = {0x66, 0x6D, 0x24, 0x08, 0x07,
                                         0x00, 0x02, 0x01, 0x05, 0x03,  // fields
                                         0x35, 0x71, 0xCF, 0x83,        // checksum
                                         0x12, 0x7E, 0x06};             // payload
  EXPECT_EQ(stream, expected);
  std::vector<int16_t> decoded(10);
  EXPECT_EQ(stream_decode(expected, header, {-4, 3, {}, {}, 5}, decoded), Status::kOk);
  EXPECT_EQ(decoded, levels);
}

TEST(Stream, WordsAreOneTo15BitsOfInt16Levels) {
  for (const Coder coder : {Coder::kEbpc, Coder::kDctCm}) {
    const StreamHeader header = make_header(coder, 1, 1, 1, 0);
    const auto status = [&](int32_t lo, size_t bits) {
      const ComponentTables tables = {lo, bits, {}, {}, 1};
      EXPECT_EQ(check_encode_tables(header, tables), check_decode_tables(header, tables));
      return check_encode_tables(header, tables);
    };
    EXPECT_EQ(status(-32768, 1), Status::kOk);
    EXPECT_EQ(status(0, 15), Status::kOk);
    EXPECT_EQ(status(32766, 1), Status::kOk);
    EXPECT_EQ(status(0, 0), Status::kBadArgument);
    EXPECT_EQ(status(-32768, 16), Status::kBadArgument);
    EXPECT_EQ(status(1, 15), Status::kBadArgument);
    EXPECT_EQ(status(-32769, 1), Status::kBadArgument);
  }
}

class Damage : public testing::TestWithParam<std::tuple<Coder, int>> {
 protected:
  static Case small_case() {
    const auto [coder, which] = GetParam();
    const auto header = [&](uint32_t k, uint32_t h, uint32_t w, int log2_chunk, int lanes,
                            uint8_t classes = 1) {
      StreamHeader made = header_of(coder, k, h, w, log2_chunk, lanes);
      made.crop_w = which == 1 || which == 5 ? 5 : 0;
      made.classes = classes;
      return made;
    };
    switch (which) {
      case 0:
        return make_case(header(2, 3, 4, 16, 0), 2, 9, 10);
      case 1:
        return make_case(header(5, 11, 13, 8, 2), 2, 30, 11);
      case 2:
        return make_case(header(3, 10, 10, 8, 4), 1, 1, 12);
      case 3:
        return make_case_with_classes(header(2, 3, 5, 16, 0, 3), 0, 2, 9, 10);
      case 4:
        return make_case_with_classes(header(1, 1, 1, 16, 1, 2), 1, 1, 9, 11);
      case 5:
        return make_case_with_classes(header(5, 11, 13, 8, 2, 8), 4, 3, 30, 12);
      case 7:  // with rANS many levels are escaped
        return make_case(header(3, 12, 15, 8, 5), 2, 700, 14);
      default:
        return make_case(header(0, 3, 4, 16, 0), 1, 2, 13);
    }
  }
  static void expect_refused(const Case& made, std::span<const uint8_t> bytes) {
    std::vector<int16_t> decoded;
    EXPECT_NE(made.decode(bytes, decoded), Status::kOk);
    EXPECT_EQ(std::count(decoded.begin(), decoded.end(), 0), std::ssize(decoded));
  }
};

TEST_P(Damage, EveryTruncationIsNoticed) {
  const Case made = small_case();
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
  const Case made = small_case();
  for (size_t bit = 0; bit < 8 * made.stream.size(); ++bit) {
    std::vector<uint8_t> bytes = made.stream;
    bytes[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    expect_refused(made, bytes);
  }
}

TEST_P(Damage, TrailingBytesAreRefused) {
  const Case made = small_case();
  std::vector<uint8_t> bytes = made.stream;
  bytes.push_back(0);
  std::vector<int16_t> decoded;
  EXPECT_EQ(made.decode(bytes, decoded), Status::kTrailingBytes);
}

// With the checksums made right again, what is behind them must hold on its own.
TEST_P(Damage, SurvivesAnyBytesWithGoodChecksums) {
  const Case made = small_case();
  std::mt19937 random(14);
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint8_t> bytes = made.stream;
    for (int change = 0; change < 3; ++change) {
      bytes[3 + random() % (bytes.size() - 3)] = static_cast<uint8_t>(random());
    }
    repair_checksums(bytes);
    std::vector<int16_t> decoded;
    const Status status = made.decode(bytes, decoded);
    EXPECT_NE(status, Status::kBadArgument);
    if (status != Status::kOk || made.header.classes == 1) continue;
    StreamHeader header;
    size_t size = 0;
    ASSERT_EQ(read_header(bytes, header, size), Status::kOk);
    std::vector<int16_t> levels(header.layout().levels());
    EXPECT_NE(restore(decoded, header.layout(), levels), Status::kBadArgument);
  }
}

INSTANTIATE_TEST_SUITE_P(OfTableCoders, Damage,
                         testing::Combine(testing::ValuesIn(kTableCoders), testing::Range(0, 8)));
INSTANTIATE_TEST_SUITE_P(OfOthers, Damage,
                         testing::Combine(testing::Values(Coder::kEbpc, Coder::kDctCm),
                                          testing::Values(0, 1, 2, 6, 7)));

TEST(Stream, EachWrongFieldHasItsStatus) {
  for (const Coder coder : kCoders) {
    const Case made = make_case(header_of(coder, 4, 16, 16, 8, 1), 2, 20, 15);
    const size_t fields = RawFields(made.stream).bytes;
    const auto status_with = [&](size_t offset, int value) {
      std::vector<uint8_t> bytes = made.stream;
      bytes[offset] = static_cast<uint8_t>(value);
      store_le(bytes.data() + fields + 32, crc32c(std::span(bytes).first(fields + 32)));
      std::vector<int16_t> decoded;
      return made.decode(bytes, decoded);
    };
    const int kind = static_cast<int>(coder);
    EXPECT_EQ(status_with(0, 'F'), Status::kBadMagic);
    EXPECT_EQ(status_with(1, 'M'), Status::kBadMagic);
    EXPECT_EQ(status_with(2, 0x10 | kind), Status::kBadVersion);
    EXPECT_EQ(status_with(2, 0x30 | kind), Status::kBadVersion);
    EXPECT_EQ(status_with(2, 0x20), Status::kBadCoder);
    EXPECT_EQ(status_with(2, 0x25), Status::kBadCoder);
    EXPECT_EQ(status_with(2, 0x27), Status::kBadCoder);
    EXPECT_EQ(status_with(2, 0x20 | (kind % 2 == 1 ? kind + 1 : kind - 1)), Status::kBadCoder);
    EXPECT_EQ(status_with(3, 0xF0), Status::kBadHeader);
    EXPECT_EQ(status_with(3, 0x70), Status::kBadHeader);
    EXPECT_EQ(status_with(3, 0x50), coder == Coder::kRans ? Status::kBadDirectory  // no room
                                                          : Status::kBadHeader);
    EXPECT_EQ(status_with(4, 78), Status::kWrongTables);
    EXPECT_EQ(status_with(6, 5), Status::kBadChecksum) << "a directory of five chunks";
    EXPECT_EQ(status_with(fields, 3), Status::kBadDirectory);
    EXPECT_EQ(status_with(fields + 1, 0xFF), Status::kBadDirectory);
    EXPECT_EQ(status_with(fields + 4, made.stream[fields + 4] + 1), Status::kBadChunkChecksum);
    EXPECT_EQ(status_with(fields + 24, 0), Status::kBadDirectory);

    std::vector<uint8_t> flipped = made.stream;
    flipped[4] ^= 1;
    std::vector<int16_t> decoded;
    EXPECT_EQ(made.decode(flipped, decoded), Status::kBadChecksum);
    flipped = made.stream;
    flipped.back() ^= 1;
    EXPECT_EQ(made.decode(flipped, decoded), Status::kBadChunkChecksum);
  }
}

// A stream of any fields with right checksums.
std::vector<uint8_t> stream_of(std::vector<uint8_t> fields, size_t directory, size_t payload) {
  std::vector<uint8_t> bytes = std::move(fields);
  bytes.resize(bytes.size() + directory);
  const uint32_t checksum = crc32c(bytes);
  bytes.resize(bytes.size() + 4 + payload);
  const auto behind = std::span<const uint8_t>(bytes).last(payload);
  store_le(bytes.data() + bytes.size() - payload - 4,
           directory > 0 ? checksum : crc32c(behind, checksum));
  return bytes;
}

Status header_status(std::vector<uint8_t> fields, size_t directory = 0, size_t payload = 0) {
  StreamHeader header;
  size_t size = 0;
  return read_header(stream_of(std::move(fields), directory, payload), header, size);
}

TEST(Stream, NumbersHaveTheirShortestForm) {
  const std::vector<uint8_t> front = {'f', 'm', 0x21, 0x08, 7, 0};
  const auto with = [&](std::vector<uint8_t> rest, uint8_t kind = 0x21) {
    std::vector<uint8_t> fields = front;
    fields[2] = kind;
    fields.insert(fields.end(), rest.begin(), rest.end());
    return fields;
  };
  EXPECT_EQ(header_status(with({0, 0, 0, 0})), Status::kOk);
  EXPECT_EQ(header_status(with({0x80, 1, 0, 0, 0})), Status::kOk);
  EXPECT_EQ(header_status(with({0xFF, 0xFF, 0xFF, 0xFF, 15, 0, 0, 0})), Status::kOk);
  EXPECT_EQ(header_status(with({0xFF, 0xFF, 0xFF, 0xFF, 16, 0, 0, 0})), Status::kBadNumber);
  EXPECT_EQ(header_status(with({0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0})), Status::kBadNumber);
  EXPECT_EQ(header_status(with({0x80, 0, 0, 0, 0})), Status::kBadNumber);
  EXPECT_EQ(header_status(with({1, 0x81, 0, 0, 0})), Status::kBadNumber);
  EXPECT_EQ(header_status(with({0, 0, 0, 0, 3, 0}, 0x29)), Status::kOk);
  EXPECT_EQ(header_status(with({0, 0, 0, 0, 0, 3}, 0x29)), Status::kOk);
  EXPECT_EQ(header_status(with({0, 0, 0, 0, 0, 0}, 0x29)), Status::kBadHeader);
  EXPECT_EQ(header_status(with({0, 0, 0, 1}), 0, 1), Status::kBadDirectory) << "payload of nothing";
}

TEST(Stream, AnotherShapeOrTableSetIsRefused) {
  for (const Coder coder : kCoders) {
    const Case made = make_case(make_header(coder, 6, 5, 4, 7), 1, 20, 16);
    std::vector<int16_t> decoded(120);
    const auto status = [&](uint32_t k, uint32_t h, uint32_t w, uint16_t id) {
      return stream_decode(made.stream, make_header(coder, k, h, w, id), made.decode_tables(),
                           decoded);
    };
    EXPECT_EQ(status(6, 5, 4, 7), Status::kOk);
    EXPECT_EQ(status(6, 4, 5, 7), Status::kWrongShape);
    EXPECT_EQ(status(5, 6, 4, 7), Status::kWrongShape);
    EXPECT_EQ(status(6, 5, 4, 8), Status::kWrongTables);
  }
}

TEST(Stream, ImpossibleSizesAreRefusedBeforeAnythingIsAllocated) {
  const auto fields = [](Coder coder, std::array<uint32_t, 4> numbers) {
    std::vector<uint8_t> made = {'f',  'm', static_cast<uint8_t>(0x20 | static_cast<int>(coder)),
                                 0x0F, 7,   0};
    for (uint32_t number : numbers) {
      for (; number >= 128; number >>= 7) made.push_back(static_cast<uint8_t>(number | 128));
      made.push_back(static_cast<uint8_t>(number));
    }
    return made;
  };
  for (const Coder coder : kCoders) {
    const auto status = [&](uint32_t k, uint32_t h, uint32_t w) {
      return header_status(fields(coder, {k, h, w, 15}), 0, 15);
    };
    EXPECT_EQ(status(UINT32_MAX, UINT32_MAX, UINT32_MAX), Status::kBadHeader);
    EXPECT_EQ(status(1u << 31, 1u << 31, 4), Status::kBadHeader);  // 2^64 values
    EXPECT_EQ(status(1u << 20, 1u << 20, 2), Status::kBadHeader);
    EXPECT_EQ(status(1u << 20, 1u << 20, 1), Status::kTruncated);
    EXPECT_EQ(status(1, 1, 1), Status::kOk);
    EXPECT_EQ(status(1u << 11, 1u << 12, 1), Status::kBadDirectory);
  }
  const auto huffman = [&](uint32_t values) {
    return header_status(fields(Coder::kHuffman, {values, 1, 1, 15}), 0, 15);
  };
  EXPECT_EQ(huffman(8 * 15), Status::kOk);
  EXPECT_EQ(huffman(8 * 15 + 1), Status::kBadDirectory);
  const auto rans = [&](uint32_t values) {  // a state, 5 digits and a byte that cannot be used
    return header_status(fields(Coder::kRans, {values, 1, 1, 15}), 0, 15);
  };
  EXPECT_EQ(rans(6 * 46000), Status::kOk);
  EXPECT_EQ(rans(6 * 46000 + 1), Status::kBadDirectory);
}

TEST(Stream, ImagesOfMoreLevelsThanTheLimitAreRefused) {
  const StreamHeader header = make_header(Coder::kRans, 2, 3, 4, 7);
  EXPECT_EQ(check_limit(header, 5, 5 * 24), Status::kOk);
  EXPECT_EQ(check_limit(header, 5, 5 * 24 - 1), Status::kOverLimit);
  EXPECT_EQ(check_limit(header, 0, 0), Status::kOk);
  const StreamHeader largest = make_header(Coder::kRans, 1, 1 << 20, 1 << 20, 7);
  EXPECT_EQ(check_limit(largest, 1, kMaxValues), Status::kOk);
  EXPECT_EQ(check_limit(largest, uint64_t{1} << 40, ~uint64_t{0}), Status::kOverLimit);  // 2^80
  EXPECT_EQ(check_limit(largest, 1, kDefaultMaxValues), Status::kOverLimit);
  const StreamHeader none = make_header(Coder::kRans, 0, ~0u, ~0u, 7);
  EXPECT_EQ(check_limit(none, ~uint64_t{0}, 0), Status::kOk);
}

TEST(Stream, EncoderRefusesBadArguments) {
  for (const Coder coder : kCoders) {
    const Case made = make_case(make_header(coder, 6, 5, 4, 7), 1, 20, 18);
    std::vector<uint8_t> out(stream_bound(made.header));
    size_t used = 0;
    const auto encode = [&](const StreamHeader& header, std::span<const int16_t> levels,
                            uint64_t plane, size_t room) {
      return stream_encode(header, levels, made.book.encode_tables(plane),
                           std::span(out).first(room), used);
    };
    EXPECT_EQ(encode(made.header, made.levels, 20, out.size()), Status::kOk);
    EXPECT_EQ(encode(made.header, made.levels, 19, out.size()), Status::kBadArgument);
    EXPECT_EQ(encode(made.header, std::span(made.levels).first(119), 20, out.size()),
              Status::kBadArgument);
    EXPECT_EQ(encode(made.header, made.levels, 20, out.size() - 1), Status::kBufferTooSmall);
    StreamHeader bad = made.header;
    bad.log2_lanes = coder == Coder::kRans ? 7 : 5;
    EXPECT_EQ(encode(bad, made.levels, 20, out.size()), Status::kBadHeader);
    bad = made.header;
    bad.log2_chunk = 24;
    EXPECT_EQ(encode(bad, made.levels, 20, out.size()), Status::kBadHeader);
    std::vector<int16_t> levels = made.levels;
    levels[60] = 1000;
    EXPECT_EQ(encode(made.header, levels, 20, out.size()),
              coder == Coder::kRans ? Status::kOk : Status::kNoCode);
  }
}

// ---------------------------------------------------------------------------------------------
// Classes of positions

// K = 1, H = W = 3, classes 1 0 / 1 1 of the cells. Values -1, 0, 1 have the codes 10, 0, 11 in
// table 0 and 0, 10, 11 in table 1, that of class 0.
//
//   levels   0  1 | -1      map (table 0)    1 - 0, 0 - 1, 1 - 1, 1 - 1    11 10 0 0
//            0  0 |  1      class 0          -1  1                         0 11
//           -1  0 |  0      class 1          0 1 0 0  -1 0  0              0 11 0 0 10 0 0
//
// The bits 11100001 10110010 00 make the bytes 87 4D 00. Class 0 has 2 positions, class 1 the rest.
TEST(Stream, WorkedExampleWithClasses) {
  const std::vector<uint8_t> lengths = {2, 1, 2, 1, 2, 2};
  std::vector<uint32_t> encode(6), decode(8);
  for (size_t t = 0; t < 2; ++t) {
    const auto table = std::span(lengths).subspan(3 * t, 3);
    ASSERT_EQ(huffman_encode_table(table, std::span(encode).subspan(3 * t, 3)), Status::kOk);
    ASSERT_EQ(huffman_decode_table(table, 2, std::span(decode).subspan(4 * t, 4)), Status::kOk);
  }
  const std::vector<int64_t> table_of = {0, 1, 0};
  const std::vector<uint8_t> map = {1, 0, 1, 1};
  const std::vector<int16_t> levels = {0, 1, -1, 0, 0, 1, -1, 0, 0};
  StreamHeader header = make_header(Coder::kHuffman, 1, 3, 3, 7, 0, 0, 2);
  Layout layout = header.layout();
  ASSERT_EQ(count_positions(map, layout), Status::kOk);
  header.positions = layout.positions;
  std::vector<int16_t> values(13);
  ASSERT_EQ(arrange(levels, map, layout, values), Status::kOk);
  EXPECT_EQ(values, (std::vector<int16_t>{1, -1, 0, 0, -1, 1, 0, 1, 0, 0, -1, 0, 0}));
  std::vector<uint8_t> stream(stream_bound(header));
  size_t used = 0;
  ASSERT_EQ(stream_encode(header, values, {-1, 3, encode, table_of, 9}, stream, used), Status::kOk);
  stream.resize(used);
  const std::vector<uint8_t> expected = {0x66, 0x6D, 0x21, 0x88, 0x07, 0x00,  // flag, 2^16, S = 1
                                         0x01, 0x03, 0x03, 0x03,              // K, H, W, P
                                         0x02, 0x02,              // classes, positions of the first
                                         0xC9, 0x6B, 0xFF, 0x2D,  // checksum
                                         0x87, 0x4D, 0x00};       // payload
  EXPECT_EQ(stream, expected);
  std::vector<int16_t> decoded(13), restored(9);
  ASSERT_EQ(stream_decode(expected, header, {-1, 4, decode, table_of, 9}, decoded), Status::kOk);
  EXPECT_EQ(decoded, values);
  StreamHeader read;
  ASSERT_EQ(read_header(expected, read, used), Status::kOk);
  EXPECT_EQ(read.positions, (std::array<uint64_t, kMaxPositionClasses>{2, 7}));
  EXPECT_EQ(restore(decoded, read.layout(), restored), Status::kOk);
  EXPECT_EQ(restored, levels);
}

// Fields of a stream with classes: K, H, W, P, C and the positions of all classes but the last.
std::vector<uint8_t> fields_with_classes(std::vector<uint32_t> numbers, uint8_t kind = 0x22,
                                         uint8_t sizes = 0x8F) {
  std::vector<uint8_t> made = {'f', 'm', kind, sizes, 7, 0};
  for (uint32_t number : numbers) {
    for (; number >= 128; number >>= 7) made.push_back(static_cast<uint8_t>(number | 128));
    made.push_back(static_cast<uint8_t>(number));
  }
  return made;
}

TEST(Stream, ClassesThatCannotBeAreRefused) {
  const auto status = [](std::vector<uint32_t> numbers) {
    return header_status(fields_with_classes(std::move(numbers)), 0, 15);
  };
  EXPECT_EQ(status({1, 3, 5, 15, 2, 4}), Status::kOk);
  EXPECT_EQ(status({1, 3, 5, 15, 2, 0}), Status::kOk);
  EXPECT_EQ(status({1, 3, 5, 15, 2, 15}), Status::kOk);
  EXPECT_EQ(status({1, 3, 5, 15, 2, 16}), Status::kBadHeader);
  EXPECT_EQ(status({1, 3, 5, 15, 3, 7, 8}), Status::kOk);
  EXPECT_EQ(status({1, 3, 5, 15, 3, 7, 9}), Status::kBadHeader);
  EXPECT_EQ(status({1, 3, 5, 15, 3, UINT32_MAX, 16}), Status::kBadHeader);
  EXPECT_EQ(status({1, 3, 5, 15, 8, 1, 2, 3, 4, 5, 0, 0}), Status::kOk);
  EXPECT_EQ(status({1, 3, 5, 15, 8, 1, 2, 3, 4, 5, 0, 1}), Status::kBadHeader);
  EXPECT_EQ(status({1, 3, 5, 15, 0}), Status::kBadHeader);
  EXPECT_EQ(status({1, 3, 5, 15, 1}), Status::kBadHeader);
  EXPECT_EQ(status({1, 3, 5, 15, 9, 1, 1, 1, 1, 1, 1, 1, 1}), Status::kBadHeader);
  EXPECT_EQ(status({0, 3, 5, 15, 2, 4}), Status::kBadHeader) << "no components";
  EXPECT_EQ(status({1, 0, 5, 15, 2, 0}), Status::kBadHeader) << "no rows";
  EXPECT_EQ(status({1, 3, 0, 15, 2, 0}), Status::kBadHeader) << "no columns";
  EXPECT_EQ(status({1, 65535, 65537, 15, 2, 0}), Status::kTruncated) << "2^32 - 1 positions";
  EXPECT_EQ(status({1, 65536, 65536, 15, 2, 0}), Status::kBadHeader) << "2^32 positions";
  EXPECT_EQ(status({1u << 8, 65536, 65535, 15, 2, 0}), Status::kTruncated);
  EXPECT_EQ(status({1u << 9, 65536, 65535, 15, 2, 0}), Status::kBadHeader) << "2^41 values";
  std::vector<uint8_t> longer = fields_with_classes({1, 3, 5, 15, 2});
  longer.insert(longer.end(), {0x84, 0x00});
  EXPECT_EQ(header_status(longer, 0, 15), Status::kBadNumber) << "not the shortest form";
}

// Cropping stands before the classes.
TEST(Stream, HeaderWithClassesCarriesItsFields) {
  std::vector<uint8_t> fields = fields_with_classes({2, 40, 50, 15}, 0x2A, 0x91);
  fields.insert(fields.end(), {3, 4, 3, 0xE8, 0x07, 10});  // crops, 3 classes, 1000 and 10
  const std::vector<uint8_t> bytes = stream_of(fields, 8 * 9, 15);
  StreamHeader header;
  size_t size = 0;
  // The directory is empty, so that only the fields are read.
  EXPECT_EQ(read_header(bytes, header, size), Status::kBadDirectory);
  EXPECT_EQ(header.crop_h, 3);
  EXPECT_EQ(header.crop_w, 4);
  EXPECT_EQ(header.classes, 3);
  EXPECT_EQ(header.positions, (std::array<uint64_t, kMaxPositionClasses>{1000, 10, 990}));
  EXPECT_EQ(header.log2_chunk, 9);
  EXPECT_EQ(header.lanes(), 2);
  EXPECT_EQ(header.values(), 500u + 4000);
  EXPECT_EQ(header.chunks(), 9u);
  EXPECT_EQ(header.field_bytes, fields.size());
}

TEST(Stream, AnotherNumberOfClassesIsRefused) {
  for (const Coder coder : kTableCoders) {
    const auto header = [&](uint8_t classes) {
      return make_header(coder, 2, 5, 4, 7, 0, 0, classes);
    };
    const Case plain = make_case(header(1), 1, 20, 16);
    const Case three = make_case_with_classes(header(3), 0, 1, 20, 16);
    StreamHeader read;
    EXPECT_EQ(open_stream(plain.stream, header(1), read), Status::kOk);
    EXPECT_EQ(open_stream(plain.stream, header(3), read), Status::kWrongShape);
    EXPECT_EQ(open_stream(three.stream, header(3), read), Status::kOk);
    for (const uint8_t classes : {1, 2, 4, 8}) {
      EXPECT_EQ(open_stream(three.stream, header(classes), read), Status::kWrongShape);
    }
    std::vector<int16_t> decoded(plain.levels.size(), -1);
    EXPECT_EQ(stream_decode(three.stream, header(1), plain.decode_tables(), decoded),
              Status::kWrongShape);
    EXPECT_EQ(decoded, std::vector<int16_t>(plain.levels.size()));
  }
}

TEST(Stream, EncoderRefusesBadClasses) {
  for (const Coder coder : kTableCoders) {
    const Case made = make_case_with_classes(make_header(coder, 2, 5, 4, 7, 0, 0, 3), 0, 1, 20, 18);
    std::vector<uint8_t> out(stream_bound(made.header));
    size_t used = 0;
    const auto encode = [&](const StreamHeader& header) {
      return stream_encode(header, made.levels, made.encode_tables(), out, used);
    };
    EXPECT_EQ(encode(made.header), Status::kOk);
    for (const uint8_t classes : {0, 9, 255}) {
      StreamHeader bad = made.header;
      bad.classes = classes;
      EXPECT_EQ(encode(bad), Status::kBadHeader) << int{classes};
    }
    StreamHeader bad = made.header;
    bad.classes = 2;  // table_of is for three
    EXPECT_NE(encode(bad), Status::kOk);
    bad = made.header;
    ++bad.positions[1];
    EXPECT_EQ(encode(bad), Status::kBadArgument);
    bad = made.header;
    bad.components = 0;
    EXPECT_EQ(encode(bad), Status::kBadHeader);
  }
}

// Streams of one shape that share the tables of the first.
std::vector<Case> batch_of(const StreamHeader& header, size_t size) {
  std::vector<Case> batch;
  for (uint32_t n = 0; n < size; ++n) {
    batch.push_back(header.classes == 1 ? make_case(header, 3, 40, n)
                                        : make_case_with_classes(header, 0, 3, 40, n));
    batch[n].book = batch[0].book;
    encode_whole(batch[n]);
  }
  return batch;
}

// What decode_chunks makes of all chunks of a batch is what decode_chunk makes of each; so many of
// them are damaged.
void expect_decoded_together(const std::vector<Case>& batch, int damaged) {
  const ComponentTables tables = batch.at(0).decode_tables();
  std::vector<StreamHeader> headers(batch.size());
  std::vector<std::vector<int16_t>> decoded(batch.size());
  std::vector<ChunkTask> tasks;
  for (size_t n = 0; n < batch.size(); ++n) {
    size_t size = 0;
    ASSERT_EQ(read_header(batch[n].stream, headers[n], size), Status::kOk);
    decoded[n].resize(batch[n].levels.size());
    for (uint64_t chunk = 0; chunk < headers[n].chunks(); ++chunk) {
      tasks.push_back({&headers[n], batch[n].stream, chunk, decoded[n], Status::kTooLarge});
    }
  }
  decode_chunks(tables, tasks);
  for (const ChunkTask& task : tasks) {
    std::vector<int16_t> expected(task.levels.size());
    ASSERT_EQ(task.status, decode_chunk(*task.header, task.bytes, tables, task.chunk, expected));
    if (task.status != Status::kOk) {
      --damaged;
      continue;
    }
    const auto first = static_cast<std::ptrdiff_t>(task.header->chunk_first(task.chunk));
    const auto end = first + static_cast<std::ptrdiff_t>(task.header->chunk_values(task.chunk));
    ASSERT_TRUE(
        std::equal(expected.begin() + first, expected.begin() + end, task.levels.begin() + first));
  }
  EXPECT_EQ(damaged, 0);
}

TEST(Stream, ChunksOfABatchAreDecodedTogether) {
  for (const Coder coder : kCoders) {
    for (const uint8_t classes : {1, 4}) {
      if (classes > 1 && coder != Coder::kHuffman && coder != Coder::kRans) continue;
      for (const int log2_chunk : {8, 17}) {
        for (const int log2_lanes : {0, 1, 2, 3}) {
          StreamHeader header = header_of(coder, 9, 15, 14, log2_chunk, log2_lanes);
          header.classes = classes;
          for (const size_t size : {1, 2, 3, 8, 9, 40}) {
            expect_decoded_together(batch_of(header, size), 0);
          }
        }
      }
    }
  }
}

// What encode_chunks makes of all chunks of a batch is what encode_chunk makes of each.
TEST(Stream, ChunksOfABatchAreEncodedTogether) {
  for (const Coder coder : kCoders) {
    for (const int log2_chunk : {8, 17}) {
      for (const int log2_lanes : {0, 1, 2, 3}) {
        const StreamHeader header = header_of(coder, 9, 15, 14, log2_chunk, log2_lanes);
        for (const size_t size : {1, 2, 3, 8, 9, 40}) {
          const std::vector<Case> batch = batch_of(header, size);
          std::vector<EncodeTask> tasks;
          std::vector<std::vector<uint8_t>> bytes;
          for (const Case& one : batch) {
            for (uint64_t chunk = 0; chunk < header.chunks(); ++chunk) {
              bytes.emplace_back(chunk_bound(header, chunk));
              tasks.push_back(
                  {&one.header, one.levels, chunk, bytes.back(), {}, Status::kTooLarge});
            }
          }
          const ComponentTables tables = batch[0].encode_tables();
          tasks.back().out = tasks.back().out.first(tasks.back().out.size() - 1);
          encode_chunks(tables, tasks);
          EXPECT_EQ(tasks.back().status, Status::kBufferTooSmall);
          tasks.pop_back();
          for (const EncodeTask& task : tasks) {
            ASSERT_EQ(task.status, Status::kOk);
            std::vector<uint8_t> expected(chunk_bound(header, task.chunk));
            ChunkPayload payload;
            ASSERT_EQ(encode_chunk(header, task.levels, tables, task.chunk, expected, payload),
                      Status::kOk);
            ASSERT_TRUE(std::ranges::equal(task.payload.bytes, payload.bytes));
            ASSERT_EQ(task.payload.checksum, payload.checksum);
          }
        }
      }
    }
  }
}

TEST(Stream, ADamagedChunkDoesNotConcernTheOthersOfItsBatch) {
  for (const int log2_chunk : {8, 17}) {
    for (const int log2_lanes : {0, 1, 2, 3}) {
      std::vector<Case> batch =
          batch_of(header_of(Coder::kRans, 9, 15, 14, log2_chunk, log2_lanes), 9);
      // The first state of the last chunk.
      StreamHeader header;
      size_t size = 0;
      std::vector<uint8_t>& stream = batch[1].stream;
      ASSERT_EQ(read_header(stream, header, size), Status::kOk);
      const auto payload = find_chunk(header, stream, header.chunks() - 1).bytes;
      stream[static_cast<size_t>(payload.data() - stream.data())] ^= 1;
      repair_checksums(stream);
      const bool directory = header.chunks() > 1;
      if (directory) batch[5].stream.back() ^= 1;
      expect_decoded_together(batch, directory ? 2 : 1);
    }
  }
}

}  // namespace
}  // namespace fmtc
