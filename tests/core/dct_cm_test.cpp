#include "core/dct_cm.h"

#include "word_coder_fixture.h"

namespace fmtc {
namespace {

const WordCoder kDctCm = {dct_cm_chunk_encode, dct_cm_chunk_decode, dct_cm_chunk_bound,
                          dct_cm_smallest_payload};

// Mask 0100100001, then 3 + 4 = 7, -1 + 4 = 3 and 2 + 4 = 6 in 3 bits: 111 110 011.
TEST(DctCm, ByHand) {
  const Levels levels = {0, 3, 0, 0, -1, 0, 0, 0, 0, 2};
  EXPECT_EQ(kDctCm.encoded(levels, Words(-4, 3)), (Bytes{0x12, 0x7E, 0x06}));
}

TEST(DctCm, SizeIsTheMaskAndTheOthersWords) {
  std::mt19937 random(5);
  for (const int bits : {1, 4, 8, 13}) {
    const Words words(0, bits);
    const Levels levels = draw(words, 777, 0.6, random);
    const auto others = static_cast<size_t>(
        std::count_if(levels.begin(), levels.end(), [](int16_t level) { return level != 0; }));
    EXPECT_EQ(kDctCm.encoded(levels, words).size(),
              (777 + others * static_cast<size_t>(bits) + 7) / 8);
  }
}

TEST(DctCm, ZerosWordIsRefused) {
  Levels decoded(1);
  EXPECT_EQ(kDctCm.decoded(Bytes{0b0001}, Words(0, 3), decoded), Status::kBadCode);
  EXPECT_EQ(kDctCm.decoded(Bytes{0b0011}, Words(0, 3), decoded), Status::kOk);
  EXPECT_EQ(decoded[0], 1);
}

TEST(DctCm, RoundTrip) { expect_round_trips(kDctCm); }
TEST(DctCm, BoundHolds) { expect_bound_holds(kDctCm); }
TEST(DctCm, DamageIsNoticed) { expect_damage_is_noticed(kDctCm); }
TEST(DctCm, AnyBytesAreSafe) { expect_any_bytes_are_safe(kDctCm); }
TEST(DctCm, BadArgumentsAreRefused) { expect_bad_arguments_are_refused(kDctCm); }

}  // namespace
}  // namespace fmtc
