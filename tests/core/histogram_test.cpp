#include "core/histogram.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

namespace fmtc {
namespace {

TEST(Histogram, CountsAndAccumulates) {
  const std::vector<int16_t> levels = {-2, 0, 0, 1, -2, 0};
  std::vector<int64_t> counts(4, 0);
  ASSERT_EQ(histogram(levels, -2, 1, counts), Status::kOk);
  ASSERT_EQ(histogram(levels, -2, 1, counts), Status::kOk);
  EXPECT_EQ(counts, (std::vector<int64_t>{4, 0, 6, 2}));
}

TEST(Histogram, CoversAllOfInt16) {
  std::vector<int64_t> counts(65536, 0);
  ASSERT_EQ(histogram(std::vector<int16_t>{-32768, 32767, 32767}, -32768, 32767, counts),
            Status::kOk);
  EXPECT_EQ(counts.front(), 1);
  EXPECT_EQ(counts.back(), 2);
}

// Of few levels and many, far from the ends and at them, in as many bins and in more.
TEST(Histogram, AgreesWithCountingOneByOne) {
  std::mt19937 random(1);
  for (const int bins : {1, 2, 128, 511, 512, 513, 4096}) {
    for (const int drawn : {1, 2, 30, bins}) {
      for (const int size : {0, 1, 15, 16, 17, 350, 1000, 2047, 2049, 20000}) {
        if (drawn > bins) continue;
        const int lo = std::uniform_int_distribution(-32768, 32767 - bins + 1)(random);
        std::uniform_int_distribution first(0, bins - drawn), draw(0, drawn - 1);
        const int lowest = lo + first(random);
        std::vector<int16_t> levels(static_cast<size_t>(size));
        std::vector<int64_t> expected(static_cast<size_t>(bins), 5);
        for (int16_t& level : levels) {
          level = static_cast<int16_t>(lowest + draw(random));
          ++expected[static_cast<size_t>(level - lo)];
        }
        std::vector<int64_t> counts(static_cast<size_t>(bins), 5);
        ASSERT_EQ(histogram(levels, lo, lo + bins - 1, counts), Status::kOk);
        ASSERT_EQ(counts, expected) << bins << ' ' << drawn << ' ' << size;
        // One level outside, wherever it is.
        for (const int outside : {lo - 1, lo + bins}) {
          if (size == 0 || outside < -32768 || outside > 32767) continue;
          std::vector<int16_t> wrong = levels;
          wrong[random() % wrong.size()] = static_cast<int16_t>(outside);
          ASSERT_EQ(histogram(wrong, lo, lo + bins - 1, counts), Status::kOutOfRange);
          ASSERT_EQ(counts, expected);
        }
      }
    }
  }
}

TEST(Histogram, RefusesLevelsOutsideAndCountsNothing) {
  std::vector<int64_t> counts(3, 7);
  EXPECT_EQ(histogram(std::vector<int16_t>{0, 1, 2}, -1, 1, counts), Status::kOutOfRange);
  EXPECT_EQ(histogram(std::vector<int16_t>{0, -2, 1}, -1, 1, counts), Status::kOutOfRange);
  EXPECT_EQ(counts, (std::vector<int64_t>{7, 7, 7}));
  // Levels that lo .. hi would hold modulo 2^16.
  const std::vector<int16_t> many(1000, -32767);
  EXPECT_EQ(histogram(many, 32768, 32770, counts), Status::kOutOfRange);
  EXPECT_EQ(histogram(many, -98304, -98302, counts), Status::kOutOfRange);
  EXPECT_EQ(counts, (std::vector<int64_t>{7, 7, 7}));
}

TEST(Histogram, RefusesWrongSizes) {
  std::vector<int64_t> counts(3, 0);
  EXPECT_EQ(histogram({}, 0, 3, counts), Status::kBadArgument);
  EXPECT_EQ(histogram({}, 1, 0, counts), Status::kBadArgument);
  EXPECT_EQ(histogram({}, INT32_MIN, INT32_MAX, counts), Status::kBadArgument);
}

TEST(LevelsWithin, ChecksBothEnds) {
  const std::vector<int16_t> levels = {-5, 0, 9};
  EXPECT_TRUE(levels_within(levels, -5, 9));
  EXPECT_FALSE(levels_within(levels, -4, 9));
  EXPECT_FALSE(levels_within(levels, -5, 8));
  EXPECT_TRUE(levels_within({}, 0, 0));
}

}  // namespace
}  // namespace fmtc
