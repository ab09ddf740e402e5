#include "core/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace fmtc {
namespace {

template <typename T>
class Quantize : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(Quantize, Types);

template <typename T>
struct Result {
  std::vector<int16_t> levels;
  int64_t clamped = -1;
};

template <typename T>
Result<T> run(const std::vector<T>& y, T step, int32_t lo, int32_t hi) {
  Result<T> result;
  result.levels.resize(y.size());
  EXPECT_EQ(quantize(std::span<const T>(y), step, lo, hi, result.levels, result.clamped),
            Status::kOk);
  return result;
}

TYPED_TEST(Quantize, TiesGoToTheEvenLevel) {
  const auto result = run<TypeParam>({-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5}, 1, -10, 10);
  EXPECT_EQ(result.levels, (std::vector<int16_t>{-2, -2, 0, 0, 2, 2, 4}));
  EXPECT_EQ(result.clamped, 0);
}

TYPED_TEST(Quantize, CountsWhatTheRoundedLevelExceeds) {
  // 2.5 rounds to 2 and is not clamped; 2.6 rounds to 3 and is.
  const auto result = run<TypeParam>({2.4, 2.5, 2.6, 100, -1.5, -1.4, -1.6}, 1, -1, 2);
  EXPECT_EQ(result.levels, (std::vector<int16_t>{2, 2, 2, 2, -1, -1, -1}));
  EXPECT_EQ(result.clamped, 4);
}

TYPED_TEST(Quantize, NaNAndInfinity) {
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  const TypeParam inf = std::numeric_limits<TypeParam>::infinity();
  const auto around = run<TypeParam>({nan, inf, -inf, -nan}, 0.5, -7, 9);
  EXPECT_EQ(around.levels, (std::vector<int16_t>{0, 9, -7, 0}));
  EXPECT_EQ(around.clamped, 4);
  EXPECT_EQ(run<TypeParam>({nan}, 1, 3, 9).levels[0], 3);
  EXPECT_EQ(run<TypeParam>({nan}, 1, -9, -3).levels[0], -3);
}

TYPED_TEST(Quantize, WholeRangeOfLevels) {
  const TypeParam max = std::numeric_limits<TypeParam>::max();
  const auto result = run<TypeParam>({-32768, 32767, -32769, 32768, -max, max}, 1, -32768, 32767);
  EXPECT_EQ(result.levels, (std::vector<int16_t>{-32768, 32767, -32768, 32767, -32768, 32767}));
  EXPECT_EQ(result.clamped, 4);
}

TYPED_TEST(Quantize, TheQuotientMayOverflow) {
  const TypeParam max = std::numeric_limits<TypeParam>::max();
  const auto result = run<TypeParam>({max, -max, 0}, std::numeric_limits<TypeParam>::min(), -4, 4);
  EXPECT_EQ(result.levels, (std::vector<int16_t>{4, -4, 0}));
  EXPECT_EQ(result.clamped, 2);
}

TYPED_TEST(Quantize, AgreesWithTheObviousFormula) {
  std::mt19937 random(2);
  std::normal_distribution<TypeParam> draw(0, 40);
  const TypeParam step = static_cast<TypeParam>(0.37);
  for (const size_t size : {0, 1, 7, 31, 1023, 1024, 1025, 5000}) {
    std::vector<TypeParam> y(size);
    for (TypeParam& value : y) value = draw(random);
    const auto result = run<TypeParam>(y, step, -100, 127);
    int64_t clamped = 0;
    for (size_t i = 0; i < size; ++i) {
      const TypeParam level = std::nearbyint(y[i] / step);
      const TypeParam limited = std::clamp<TypeParam>(level, -100, 127);
      ASSERT_EQ(result.levels[i], static_cast<int16_t>(limited)) << y[i];
      clamped += limited != level;
    }
    EXPECT_EQ(result.clamped, clamped);
  }
}

TYPED_TEST(Quantize, RefusesBadParameters) {
  const std::vector<TypeParam> y(2);
  std::vector<int16_t> levels(2, 5);
  int64_t clamped = 0;
  const TypeParam nan = std::numeric_limits<TypeParam>::quiet_NaN();
  const TypeParam inf = std::numeric_limits<TypeParam>::infinity();
  const auto status = [&](TypeParam step, int32_t lo, int32_t hi, size_t size) {
    return quantize(std::span<const TypeParam>(y), step, lo, hi, std::span(levels).first(size),
                    clamped);
  };
  for (const TypeParam step : {TypeParam{0}, TypeParam{-1}, nan, inf}) {
    EXPECT_EQ(status(step, 0, 1, 2), Status::kBadArgument) << step;
  }
  EXPECT_EQ(status(1, 1, 0, 2), Status::kBadArgument);
  EXPECT_EQ(status(1, -32769, 0, 2), Status::kBadArgument);
  EXPECT_EQ(status(1, 0, 32768, 2), Status::kBadArgument);
  EXPECT_EQ(status(1, 0, 1, 1), Status::kBadArgument);
  EXPECT_EQ(levels, (std::vector<int16_t>{5, 5}));
}

TEST(Dequantize, MultipliesByTheStep) {
  std::vector<int16_t> levels(100);
  for (size_t i = 0; i < levels.size(); ++i) levels[i] = static_cast<int16_t>(i * 331 - 15000);
  std::vector<float> y(levels.size());
  ASSERT_EQ(dequantize(levels, 0.1f, y), Status::kOk);
  for (size_t i = 0; i < levels.size(); ++i) {
    EXPECT_EQ(y[i], static_cast<float>(levels[i]) * 0.1f);
  }
  EXPECT_EQ(dequantize(levels, 0.1f, std::span(y).first(5)), Status::kBadArgument);
  EXPECT_EQ(dequantize(levels, std::numeric_limits<float>::infinity(), y), Status::kBadArgument);
}

}  // namespace
}  // namespace fmtc
