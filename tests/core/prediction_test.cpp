#include "core/prediction.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>
#include <vector>

namespace fmtc {
namespace {

using Levels = std::vector<int16_t>;

Levels random_levels(size_t size, int most, uint32_t seed) {
  std::mt19937 random(seed);
  std::uniform_int_distribution<int> draw(-most, most);
  Levels levels(size);
  for (int16_t& level : levels) level = static_cast<int16_t>(draw(random));
  return levels;
}

// Images of 5 components of which 3 are sources, in planes of an odd size.
constexpr int64_t kImages = 3;
constexpr uint64_t kComponents = 5;
constexpr uint32_t kSources = 3, kHeight = 7, kWidth = 11;
constexpr size_t kColumns = kOwnCoefficients + kSources * kWindow;

// Level by level, each neighbour asked for by its coordinates.
Levels reference(const Levels& levels, const Levels& coefficients) {
  Levels residuals(levels.size());
  const int64_t plane = kHeight * kWidth;
  for (int64_t n = 0; n < kImages; ++n) {
    const auto at = [&](int64_t k, int64_t h, int64_t w) -> int64_t {
      if (h < 0 || w < 0 || h >= kHeight || w >= kWidth) return 0;
      return levels[static_cast<size_t>((n * int64_t{kComponents} + k) * plane + h * kWidth + w)];
    };
    for (int64_t k = 0; k < int64_t{kComponents}; ++k) {
      const int16_t* c = coefficients.data() + static_cast<size_t>(k) * kColumns;
      for (int64_t h = 0; h < kHeight; ++h) {
        for (int64_t w = 0; w < kWidth; ++w) {
          int64_t sum = c[0] * at(k, h, w - 1) + c[1] * at(k, h - 1, w) +
                        c[2] * at(k, h - 1, w - 1) + kPredictUnit / 2;
          for (int64_t j = 0; j < std::min<int64_t>(k, kSources); ++j) {
            for (int64_t tap = 0; tap < int64_t{kWindow}; ++tap) {
              sum += c[kOwnCoefficients + static_cast<size_t>(j) * kWindow +
                       static_cast<size_t>(tap)] *
                     at(j, h + tap / 3 - 1, w + tap % 3 - 1);
            }
          }
          const auto wrapped = static_cast<int32_t>(static_cast<uint32_t>(sum));
          const size_t i =
              static_cast<size_t>((n * int64_t{kComponents} + k) * plane + h * kWidth + w);
          residuals[i] = static_cast<int16_t>(levels[i] - (wrapped >> kPredictBits));
        }
      }
    }
  }
  return residuals;
}

TEST(Prediction, IsThatOfEachLevelAndComesBack) {
  const size_t size = kImages * kComponents * kHeight * kWidth;
  for (const int most : {3, 300, 32767}) {
    for (uint32_t seed = 0; seed < 4; ++seed) {
      Levels coefficients = random_levels(kComponents * kColumns, 4000, seed);
      // A pair of sources that tells nothing, between others that do.
      if (seed == 1) std::fill_n(coefficients.end() - 2 * kWindow, kWindow, int16_t{0});
      const Prediction prediction(coefficients, kComponents);
      EXPECT_EQ(prediction.sources, kSources);
      const Levels levels = random_levels(size, most, seed + 10);
      Levels residuals(size), back(size);
      ASSERT_EQ(predict_images(prediction, levels, kImages, kHeight, kWidth, residuals),
                Status::kOk);
      EXPECT_EQ(residuals, reference(levels, coefficients));
      ASSERT_EQ(unpredict_images(prediction, residuals, kImages, kHeight, kWidth, back),
                Status::kOk);
      EXPECT_EQ(back, levels);
    }
  }
}

TEST(Prediction, RefusesWhatDoesNotFit) {
  Levels coefficients(kComponents * kColumns);
  Levels levels(kComponents * 4), residuals(levels.size());
  const Prediction prediction(coefficients, kComponents);
  EXPECT_EQ(predict_images(prediction, levels, 2, 2, 2, residuals), Status::kBadArgument);
  EXPECT_EQ(unpredict_images(prediction, levels, -1, 2, 2, residuals), Status::kBadArgument);
  coefficients[2 * kColumns] = kPredictLimit + 1;
  const Prediction beyond(coefficients, kComponents);
  EXPECT_EQ(beyond.first_beyond_limit(), 2u);
  EXPECT_EQ(predict_images(beyond, levels, 1, 2, 2, residuals), Status::kOutOfRange);
  EXPECT_EQ(predict_images(prediction, {}, 0, 2, 2, {}), Status::kOk);
}

}  // namespace
}  // namespace fmtc
