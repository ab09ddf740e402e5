#include "core/scaled.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace fmtc {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr Scaled kToken = {ScaledFormat::kIntegers, 0, 0.01f, -7, 7};
constexpr Scaled kUnsigned = {ScaledFormat::kIntegers, 0, 0.01f, 0, 15};
constexpr Scaled kMx = {ScaledFormat::kMxfp4, 32, 1, -7, 7};
constexpr Scaled kNv = {ScaledFormat::kNvfp4, 16, 0.01f, -7, 7};

// Levels of one position.
std::vector<int16_t> levels_of(const Scaled& scaled, const std::vector<float>& y,
                               int64_t& clamped) {
  std::vector<int16_t> levels(y.size() + scales_of(y.size(), scaled.block), -1000);
  EXPECT_EQ(quantize_scaled(y, y.size(), scaled, 0, 1, levels, clamped), Status::kOk);
  return levels;
}

TEST(Scaled, CodesOfThreeBitsOfMantissaRise) {
  for (int32_t code = 0; code < kE5M3Last; ++code) {
    const float value = minifloat_value(code), next = minifloat_value(code + 1);
    EXPECT_LT(value, next);
    for (const bool up : {false, true}) {
      EXPECT_EQ(minifloat_code(value, up, kE5M3Last), code);
    }
    const float middle = (value + next) / 2;
    EXPECT_EQ(minifloat_code(middle, false, kE5M3Last), code + code % 2);
    EXPECT_EQ(minifloat_code(std::nextafter(middle, 0.0f), false, kE5M3Last), code);
    EXPECT_EQ(minifloat_code(std::nextafter(middle, kInf), false, kE5M3Last), code + 1);
    EXPECT_EQ(minifloat_code(std::nextafter(value, kInf), true, kE5M3Last), code + 1);
  }
  EXPECT_EQ(minifloat_value(kE4M3Last), 448.0f);
  EXPECT_EQ(minifloat_value(1), 0x1p-9f);
  EXPECT_EQ(minifloat_code(1e30f, false, kE4M3Last), kE4M3Last);
  EXPECT_EQ(minifloat_code(kInf, true, kE5M3Last), kE5M3Last);
}

TEST(Scaled, Fp4RoundsTiesToTheEvenCode) {
  const std::vector<float> ties = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  for (size_t i = 0; i < ties.size(); ++i) {
    const auto below = static_cast<int32_t>(i);
    EXPECT_EQ(fp4_level(ties[i]), below + below % 2);
    EXPECT_EQ(fp4_level(std::nextafter(ties[i], 0.0f)), below);
    EXPECT_EQ(fp4_level(std::nextafter(ties[i], 9.0f)), below + 1);
    EXPECT_EQ((fp4_value(below) + fp4_value(below + 1)) / 2, ties[i]);
  }
  EXPECT_EQ(fp4_value(100), kFp4Most);
}

TEST(Scaled, SpecialValues) {
  for (const Scaled& scaled : {kToken, kMx, kNv}) {
    int64_t clamped = 0;
    const auto levels = levels_of(scaled, {kNaN, kInf, -kInf, 1.0f, -0.0f}, clamped);
    EXPECT_EQ(levels[0], 0);
    EXPECT_EQ(levels[1], 7);
    EXPECT_EQ(levels[2], -7);
    EXPECT_GT(levels[3], 5);
    EXPECT_EQ(levels[4], 0);
    EXPECT_EQ(clamped, 3);
  }
  int64_t clamped = 0;
  const auto levels = levels_of(kUnsigned, {-9.0f, 1.5f, 0.7f}, clamped);
  EXPECT_EQ(levels[0], 0);
  EXPECT_EQ(levels[1], 15);
  EXPECT_EQ(clamped, 1);
}

TEST(Scaled, ZerosAreZeros) {
  for (const Scaled& scaled : {kToken, kUnsigned, kMx, kNv}) {
    int64_t clamped = 0;
    const auto levels = levels_of(scaled, std::vector<float>(40, 0.0f), clamped);
    EXPECT_EQ(levels, std::vector<int16_t>(levels.size(), 0));
    EXPECT_EQ(clamped, 0);
  }
}

TEST(Scaled, EveryMagnitudeOfFloat) {
  for (int exponent = -149; exponent < 128; ++exponent) {
    int64_t clamped = 0;
    const float y = std::scalbn(1.5f, exponent);
    const auto levels = levels_of(kMx, {y}, clamped);
    std::vector<float> back(1);
    ASSERT_EQ(dequantize_scaled(levels, 1, kMx, 0, 1, back), Status::kOk);
    if (exponent > -126) {
      EXPECT_EQ(back[0], y);  // 1.5 * 2^n is a number of the format
    }
    EXPECT_EQ(clamped, 0);
  }
}

TEST(Scaled, PartsOfPositions) {
  constexpr size_t kChannels = 19, kPositions = 1500;
  std::vector<float> y(kChannels * kPositions);
  for (size_t i = 0; i < y.size(); ++i) y[i] = std::sin(static_cast<float>(i)) * (i % 977);
  for (const Scaled& scaled : {kToken, kUnsigned, kMx, kNv}) {
    const size_t planes = kChannels + scales_of(kChannels, scaled.block);
    std::vector<int16_t> whole(planes * kPositions), parts(whole.size());
    std::vector<float> back(y.size()), back_parts(y.size());
    int64_t clamped = 0, sum = 0;
    ASSERT_EQ(quantize_scaled(y, kChannels, scaled, 0, kPositions, whole, clamped), Status::kOk);
    ASSERT_EQ(dequantize_scaled(whole, kChannels, scaled, 0, kPositions, back), Status::kOk);
    for (size_t first = 0; first < kPositions; first += 700) {
      const size_t count = std::min<size_t>(700, kPositions - first);
      int64_t here = 0;
      ASSERT_EQ(quantize_scaled(y, kChannels, scaled, first, count, parts, here), Status::kOk);
      ASSERT_EQ(dequantize_scaled(parts, kChannels, scaled, first, count, back_parts), Status::kOk);
      sum += here;
    }
    EXPECT_EQ(parts, whole);
    EXPECT_EQ(back_parts, back);
    EXPECT_EQ(sum, clamped);
  }
}

TEST(Scaled, PlanesAndChannels) {
  for (uint64_t block : {0, 1, 5, 16, 32}) {
    for (uint64_t channels = 0; channels < 100; ++channels) {
      EXPECT_EQ(channels_of(channels + scales_of(channels, block), block), channels);
    }
  }
}

TEST(Scaled, RefusesWhatDoesNotFit) {
  std::vector<float> y(34);
  std::vector<int16_t> levels(38);  // 17 channels and 2 scales, at 2 positions
  int64_t clamped = 0;
  EXPECT_EQ(quantize_scaled(y, 17, kNv, 0, 2, levels, clamped), Status::kOk);
  EXPECT_EQ(quantize_scaled(y, 17, kNv, 1, 2, levels, clamped), Status::kBadArgument);
  EXPECT_EQ(quantize_scaled(y, 17, kNv, 3, 0, levels, clamped), Status::kBadArgument);
  EXPECT_EQ(quantize_scaled(y, 34, kNv, 0, 1, levels, clamped), Status::kBadArgument);
  EXPECT_EQ(quantize_scaled(y, 17, kMx, 0, 2, levels, clamped), Status::kBadArgument);
  EXPECT_EQ(dequantize_scaled(levels, 16, kNv, 0, 1, y), Status::kBadArgument);
  EXPECT_EQ(quantize_scaled({}, 0, kNv, 0, 0, {}, clamped), Status::kOk);
  for (const Scaled& wrong :
       {Scaled{ScaledFormat::kMxfp4, 32, 2, -7, 7}, Scaled{ScaledFormat::kNvfp4, 16, kInf, -7, 7},
        Scaled{ScaledFormat::kNvfp4, 16, 0, -7, 7}, Scaled{ScaledFormat::kNvfp4, 16, 1, -8, 7},
        Scaled{ScaledFormat::kIntegers, 0, 1, -8, 7}, Scaled{ScaledFormat::kIntegers, 0, 1, 0, 0},
        Scaled{ScaledFormat::kIntegers, 0, 1, 0, 2048}}) {
    EXPECT_FALSE(scaled_valid(wrong));
    EXPECT_EQ(quantize_scaled(y, 17, wrong, 0, 2, levels, clamped), Status::kBadArgument);
  }
}

}  // namespace
}  // namespace fmtc
