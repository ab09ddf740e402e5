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

TEST(Histogram, AgreesWithCountingOneByOne) {
  std::mt19937 random(1);
  std::uniform_int_distribution<int> draw(-37, 90);
  for (const size_t size : {0, 1, 15, 16, 17, 1000}) {
    std::vector<int16_t> levels(size);
    std::vector<int64_t> expected(128, 0);
    for (int16_t& level : levels) {
      level = static_cast<int16_t>(draw(random));
      ++expected[static_cast<size_t>(level + 37)];
    }
    std::vector<int64_t> counts(128, 0);
    ASSERT_EQ(histogram(levels, -37, 90, counts), Status::kOk);
    EXPECT_EQ(counts, expected);
  }
}

TEST(Histogram, RefusesLevelsOutsideAndCountsNothing) {
  std::vector<int64_t> counts(3, 7);
  EXPECT_EQ(histogram(std::vector<int16_t>{0, 1, 2}, -1, 1, counts), Status::kOutOfRange);
  EXPECT_EQ(histogram(std::vector<int16_t>{0, -2, 1}, -1, 1, counts), Status::kOutOfRange);
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
