#include "core/ebpc.h"

#include <string>

#include "word_coder_fixture.h"

namespace fmtc {
namespace {

const WordCoder kEbpc = {ebpc_chunk_encode, ebpc_chunk_decode, ebpc_chunk_bound,
                         ebpc_smallest_payload};

// A string of "0" and "1", others ignored, as bytes.
Bytes bits(const std::string& string) {
  Bytes bytes;
  size_t count = 0;
  for (const char c : string) {
    if (c != '0' && c != '1') continue;
    if (count % 8 == 0) bytes.push_back(0);
    bytes.back() |= static_cast<uint8_t>((c - '0') << count % 8);
    ++count;
  }
  return bytes;
}

TEST(Ebpc, ByHand) {
  // Words 5 6 7 7 7 7 7 7 have the differences 1 1 0 0 0 0 0: four planes of zeros, then 1100000.
  EXPECT_EQ(kEbpc.encoded({0, 0, 0, 5, 6, 0, 7, 7, 7, 7, 7, 7}, Words(0, 4)),
            bits("0 0100  1 1  0 0000  111111 | 1010  01 01  00010 000"));
  // Runs end at 16 zeros. A run of 20 is one of 16 and one of 4.
  Levels levels(21, 0);
  levels[20] = 1;  // an octuple of words 1: all 9 planes are zero
  EXPECT_EQ(kEbpc.encoded(levels, Words(0, 8)), bits("0 1111  0 1100  1 | 10000000  01 111"));
}

// Every code of a plane, for words of 2 bits (3 planes, runs with 1 bit). Differences by plane:
// the strings below are planes 2, 1 and 0, the bit of the first difference first.
TEST(Ebpc, EachCodeByHand) {
  const auto payload = [](const Levels& words) { return kEbpc.encoded(words, Words(-1, 2)); };
  // Words 0 2 ... as levels -1 and up; level 0 is word 1 and takes no part.
  const std::string marks = "11111111 | ";
  // 0 0 2 3 3 3 3 3: differences 0 2 1 0 0 0 0; planes 0000000, 0100000, 0010000; changes
  // 0000000, 0100000 (single at 1), 0110000 (pair at 1).
  EXPECT_EQ(payload({-1, -1, 1, 2, 2, 2, 2, 2}), bits(marks + "00  001  00011 100  00010 100"));
  // 3 0 3 0 3 0 3 0: differences -3 3 -3 3 ... = 101 011 101 ...; planes 1010101, 0101010,
  // 1111111; changes 1010101 (raw), 1111111 (all ones), 1010101 (raw).
  EXPECT_EQ(payload({2, -1, 2, -1, 2, -1, 2, -1}), bits(marks + "11  1 1010101  00000  1 1010101"));
  // 3 2 2 2 2 2 2 2: -1 0 ...: all planes 1000000; changes single at 0, then two of zeros.
  EXPECT_EQ(payload({2, 1, 1, 1, 1, 1, 1, 1}), bits(marks + "11  00011 000  01 0"));
  // 2 0 2 2 2 2 2 2: -2 2 0 ... = 110 010; planes 1000000, 1100000, 0000000 (zero after not).
  EXPECT_EQ(payload({1, -1, 1, 1, 1, 1, 1, 1}), bits(marks + "01  00011 000  00011 100  00001"));
}

TEST(Ebpc, LastOctupleRepeatsItsLastWord) {
  const Words words(0, 8);
  EXPECT_EQ(kEbpc.encoded({9, 9, 9}, words), bits("111 | 10010000 01 111"));
  Levels decoded(3);
  EXPECT_EQ(kEbpc.decoded(bits("111 | 10010000 01 111"), words, decoded), Status::kOk);
  // The eighth word is 10: no encoder writes that.
  EXPECT_EQ(kEbpc.decoded(bits("111 | 10010000 01 011 00011 011"), words, decoded),
            Status::kBadCode);
}

TEST(Ebpc, WrongCodesAreRefused) {
  const auto status = [](const std::string& string, size_t values = 8, int word_bits = 2) {
    Levels decoded(values);
    return kEbpc.decoded(bits(string), Words(-1, word_bits), decoded);
  };
  EXPECT_EQ(status("11111111 | 00  01 1"), Status::kOk);
  EXPECT_EQ(status("11111111 | 00  001 001 001"), Status::kOk);     // not the shortest, but right
  EXPECT_EQ(status("11111111 | 00  1 0000000 01 0"), Status::kOk);  // nor this
  EXPECT_EQ(status("11111111 | 10  01 1"), Status::kBadCode);       // the word of zero
  EXPECT_EQ(status("11111111 | 00  001 01 1"), Status::kBadCode);   // four planes of three
  EXPECT_EQ(status("11111111 | 00  00011 111"), Status::kBadCode);  // a single one at 7
  EXPECT_EQ(status("11111111 | 00  00010 011"), Status::kBadCode);  // a pair at 6
  EXPECT_EQ(status("11111111 | 00  00011 000 01 0"), Status::kBadCode);  // 0 - 1 is no word
  EXPECT_EQ(status("0 1111", 8), Status::kBadCode);                      // 16 zeros of 8
  EXPECT_EQ(status("0 1110", 8), Status::kOk);
}

TEST(Ebpc, ConstantsTakeLittle) {
  const Words words(0, 8);
  EXPECT_EQ(kEbpc.encoded(Levels(1600, 0), words).size(), (100u * 5 + 7) / 8);
  EXPECT_EQ(kEbpc.encoded(Levels(800, 200), words).size(), (800u + 100 * (8 + 5) + 7) / 8);
}

TEST(Ebpc, RoundTrip) { expect_round_trips(kEbpc); }
TEST(Ebpc, BoundHolds) { expect_bound_holds(kEbpc); }
TEST(Ebpc, DamageIsNoticed) { expect_damage_is_noticed(kEbpc); }
TEST(Ebpc, AnyBytesAreSafe) { expect_any_bytes_are_safe(kEbpc); }
TEST(Ebpc, BadArgumentsAreRefused) { expect_bad_arguments_are_refused(kEbpc); }

}  // namespace
}  // namespace fmtc
