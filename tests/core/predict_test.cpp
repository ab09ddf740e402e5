#include "core/predict.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "core/predict_sources.h"
#include "core/simd.h"

namespace fmtc {
#if defined(FMTC_EMULATED_AVX512)
void cross_rows_avx512_emulated(CrossRow row, size_t height) noexcept;
#endif

namespace {

using Plane = std::vector<int16_t>;

Plane predicted(const Plane& levels, uint64_t width, const PredictCoefficients& coefficients) {
  Plane residuals(levels.size());
  EXPECT_EQ(predict_plane(levels, width, coefficients, residuals), Status::kOk);
  return residuals;
}

Plane unpredicted(const Plane& residuals, uint64_t width, const PredictCoefficients& coefficients) {
  Plane levels(residuals.size());
  EXPECT_EQ(unpredict_plane(residuals, width, coefficients, levels), Status::kOk);
  return levels;
}

// Pixel by pixel, with all neighbours asked for by their coordinates.
Plane reference(const Plane& levels, int64_t width, const PredictCoefficients& coefficients) {
  const auto at = [&](int64_t h, int64_t w) -> int64_t {
    return h < 0 || w < 0 ? 0 : levels[static_cast<size_t>(h * width + w)];
  };
  Plane residuals(levels.size());
  for (size_t i = 0; i < levels.size(); ++i) {
    const int64_t h = static_cast<int64_t>(i) / width;
    const int64_t w = static_cast<int64_t>(i) % width;
    const int64_t sum = coefficients.left * at(h, w - 1) + coefficients.above * at(h - 1, w) +
                        coefficients.above_left * at(h - 1, w - 1) + kPredictUnit / 2;
    residuals[i] = static_cast<int16_t>(static_cast<uint16_t>(at(h, w) - (sum >> kPredictBits)));
  }
  return residuals;
}

Plane random_plane(size_t size, int lo, int hi, std::mt19937& random) {
  std::uniform_int_distribution<int> draw(lo, hi);
  Plane plane(size);
  for (int16_t& level : plane) level = static_cast<int16_t>(draw(random));
  return plane;
}

// Height and width: single rows and columns, narrow planes, rows beyond one tile of columns.
constexpr std::pair<uint64_t, uint64_t> kSizes[] = {
    {1, 1}, {1, 40}, {40, 1}, {2, 2}, {7, 7}, {5, 33}, {20, 3}, {3, 1024}, {2, 1025}, {3, 2500}};

TEST(Predict, WorkedExample) {
  // In units of 1/64, p of the first row: (0 + 32) >> 6 = 0, (32 * 10 + 32) >> 6 = 5, (32 * 13 +
  // 32) >> 6 = 7; of the second: (48 * 10 + 32) >> 6 = 8, (32 * 9 + 48 * 13 - 16 * 10 + 32) >> 6 =
  // 12 and (32 * -7 + 48 * -4 - 16 * 13 + 32) >> 6 = -592 >> 6 = -10, rounded down.
  const Plane levels = {10, 13, -4, 9, -7, 3};
  const PredictCoefficients coefficients = {64 * 32, 64 * 48, 64 * -16};
  const Plane residuals = predicted(levels, 3, coefficients);
  EXPECT_EQ(residuals, (Plane{10, 8, -11, 1, -19, 13}));
  EXPECT_EQ(unpredicted(residuals, 3, coefficients), levels);
}

TEST(Predict, HalvesAreRoundedUp) {
  EXPECT_EQ(predicted({1, 0, -1, 0}, 4, {kPredictUnit / 2, 0, 0}), (Plane{1, -1, -1, 0}));
}

TEST(Predict, ResidualsWrapAround) {
  // 32767 - 2 * -32768 = 98303 and -32768 - 2 * 32767 = -98302, both modulo 2^16.
  const Plane levels = {-32768, 32767, -32768};
  const Plane residuals = predicted(levels, 3, {2 * kPredictUnit, 0, 0});
  EXPECT_EQ(residuals, (Plane{-32768, 32767, -32766}));
  EXPECT_EQ(unpredicted(residuals, 3, {2 * kPredictUnit, 0, 0}), levels);
}

TEST(Predict, ZeroCoefficientsChangeNothing) {
  std::mt19937 random(1);
  const Plane levels = random_plane(35, -32768, 32767, random);
  EXPECT_EQ(predicted(levels, 7, {0, 0, 0}), levels);
  EXPECT_EQ(unpredicted(levels, 7, {0, 0, 0}), levels);
}

TEST(Predict, AgreesWithTheObviousFormula) {
  std::mt19937 random(2);
  for (const auto& [height, width] : kSizes) {
    for (int i = 0; i < 20; ++i) {
      const Plane c = random_plane(3, -kPredictLimit, kPredictLimit, random);
      const PredictCoefficients coefficients = {c[0], c[1], c[2]};
      const Plane levels = random_plane(height * width, -200, 200, random);
      const Plane residuals = predicted(levels, width, coefficients);
      ASSERT_EQ(residuals, reference(levels, static_cast<int64_t>(width), coefficients));
      ASSERT_EQ(unpredicted(residuals, width, coefficients), levels);
    }
  }
}

// Only the ends of both ranges: the largest sums that can occur, of either sign.
TEST(Predict, ExtremesComeBack) {
  std::mt19937 random(3);
  constexpr std::array<int16_t, 3> kEnds = {-kPredictLimit, 0, kPredictLimit};
  for (const auto& [height, width] : kSizes) {
    for (size_t i = 0; i < 27; ++i) {
      const PredictCoefficients coefficients = {kEnds[i % 3], kEnds[i / 3 % 3], kEnds[i / 9]};
      Plane levels = random_plane(height * width, 0, 1, random);
      for (int16_t& level : levels) level = level == 0 ? INT16_MIN : INT16_MAX;
      const Plane residuals = predicted(levels, width, coefficients);
      ASSERT_EQ(residuals, reference(levels, static_cast<int64_t>(width), coefficients));
      ASSERT_EQ(unpredicted(residuals, width, coefficients), levels);
    }
  }
}

// The map is one to one, so any residuals are those of some levels.
TEST(Predict, InvertsInEitherOrder) {
  std::mt19937 random(4);
  const PredictCoefficients coefficients = {3904, -12800, 4928};
  const Plane residuals = random_plane(45 * 31, -32768, 32767, random);
  EXPECT_EQ(predicted(unpredicted(residuals, 31, coefficients), 31, coefficients), residuals);
}

// Planes whose levels wait for their left neighbours are made eight at a time, others alone.
TEST(Predict, SeveralPlanesAreThoseOneByOne) {
  std::mt19937 random(6);
  for (const auto& [height, width] : kSizes) {
    const size_t plane = height * width;
    for (const size_t count : {1, 2, 7, 8, 9, 16, 23}) {
      std::vector<PredictCoefficients> coefficients;
      for (size_t k = 0; k < count; ++k) {
        const Plane c = random_plane(3, -kPredictLimit, kPredictLimit, random);
        const int16_t left = k % 5 == 3 ? int16_t{0} : c[0];
        coefficients.push_back(k % 7 == 5 ? PredictCoefficients{0, 0, 0}
                                          : PredictCoefficients{left, c[1], c[2]});
      }
      const Plane residuals = random_plane(count * plane, -32768, 32767, random);
      Plane levels(residuals.size());
      ASSERT_EQ(unpredict_planes(residuals, width, coefficients, levels), Status::kOk);
      for (size_t k = 0; k < count; ++k) {
        const auto begin = static_cast<std::ptrdiff_t>(k * plane);
        const auto end = begin + static_cast<std::ptrdiff_t>(plane);
        const Plane alone(levels.begin() + begin, levels.begin() + end);
        ASSERT_EQ(reference(alone, static_cast<int64_t>(width), coefficients[k]),
                  Plane(residuals.begin() + begin, residuals.begin() + end))
            << height << " x " << width << ", plane " << k << " of " << count;
      }
    }
  }
}

TEST(Predict, SeveralPlanesNeedEqualSizes) {
  const std::array<PredictCoefficients, 2> coefficients = {{{1, 2, 3}, {4, 5, 6}}};
  const Plane residuals(12);
  Plane levels(12);
  const auto call = [&](size_t size, uint64_t width) {
    return unpredict_planes(std::span(residuals).first(size), width, coefficients,
                            std::span(levels).first(size));
  };
  EXPECT_EQ(call(12, 3), Status::kOk);
  EXPECT_EQ(call(0, 0), Status::kOk);
  EXPECT_EQ(call(11, 1), Status::kBadArgument);
  EXPECT_EQ(call(12, 4), Status::kBadArgument);
  EXPECT_EQ(call(12, 0), Status::kBadArgument);
  EXPECT_EQ(unpredict_planes({}, 1, {}, {}), Status::kOk);
  EXPECT_EQ(unpredict_planes(residuals, 1, {}, levels), Status::kBadArgument);
}

// Sums of other components are added whatever they are, and planes that have them come back.
TEST(Predict, WhatOtherComponentsAdd) {
  std::mt19937 random(7);
  for (const auto& [height, width] : kSizes) {
    const size_t plane = height * width;
    for (const size_t count : {1, 2, 8, 11}) {
      std::vector<PredictCoefficients> coefficients;
      for (size_t k = 0; k < count; ++k) {
        const Plane c = random_plane(3, -kPredictLimit, kPredictLimit, random);
        coefficients.push_back(k % 3 == 2 ? PredictCoefficients{0, 0, 0}
                                          : PredictCoefficients{c[0], c[1], c[2]});
      }
      const Plane levels = random_plane(count * plane, -300, 300, random);
      std::vector<uint32_t> cross(levels.size());
      for (uint32_t& sum : cross) sum = static_cast<uint32_t>(random());
      Plane residuals(levels.size()), back(levels.size());
      for (size_t k = 0; k < count; ++k) {
        const auto part = [&](auto& all) { return std::span(all).subspan(k * plane, plane); };
        ASSERT_EQ(predict_plane(part(levels), width, coefficients[k], part(residuals), part(cross)),
                  Status::kOk);
        const Plane alone(part(levels).begin(), part(levels).end());
        for (size_t i = 0; i < plane; ++i) {
          const auto at = [&](size_t h, size_t w) -> int64_t {
            return h < height && w < width ? alone[h * width + w] : 0;  // -1 is beyond either
          };
          const size_t h = i / width, w = i % width;
          const int64_t sum =
              coefficients[k].left * at(h, w - 1) + coefficients[k].above * at(h - 1, w) +
              coefficients[k].above_left * at(h - 1, w - 1) + kPredictUnit / 2 + part(cross)[i];
          const int32_t wrapped = static_cast<int32_t>(static_cast<uint32_t>(sum));
          ASSERT_EQ(part(residuals)[i], static_cast<int16_t>(alone[i] - (wrapped >> kPredictBits)));
        }
      }
      ASSERT_EQ(unpredict_planes(residuals, width, coefficients, back, cross), Status::kOk);
      ASSERT_EQ(back, levels) << height << " x " << width << ", " << count;
    }
  }
  std::vector<uint32_t> cross(5);
  Plane levels(6), residuals(6);
  EXPECT_EQ(predict_plane(levels, 3, {}, residuals, cross), Status::kBadArgument);
  EXPECT_EQ(unpredict_plane(levels, 3, {}, residuals, cross), Status::kBadArgument);
}

// All kernels that can run here.
std::vector<CrossRows> all_cross_rows() {
  std::vector<CrossRows> all;
  for (const Simd simd : kSimds) {
    if (simd <= cpu_simd()) all.push_back(cross_rows_of(simd));
  }
#if defined(FMTC_EMULATED_AVX512)
  all.push_back(cross_rows_avx512_emulated);
#endif
  return all;
}

// Each sum value by value, by every kernel.
TEST(Sources, TellTheSumOfTheirWindows) {
  std::mt19937 random(8);
  for (const auto& [height, width] : kSizes) {
    const size_t plane = height * width;
    for (const uint32_t sources : {1U, 2U, 5U, kMostSources}) {
      const auto rows = static_cast<uint32_t>(height), columns = static_cast<uint32_t>(width);
      Plane space(Sources::space(sources, rows, columns));
      Sources known(space, rows, columns);
      const Plane levels = random_plane(sources * plane, -32768, 32767, random);
      for (uint32_t j = 0; j < sources; ++j) {
        known.set(j, std::span(levels).subspan(j * plane, plane));
      }
      const Plane coefficients = random_plane(sources * kWindow, -32768, 32767, random);
      std::vector<uint32_t> expected(plane);
      for (size_t i = 0; i < plane; ++i) {
        for (uint32_t j = 0; j < sources; ++j) {
          for (size_t tap = 0; tap < kWindow; ++tap) {
            const size_t h = i / width + tap / 3 - 1, w = i % width + tap % 3 - 1;
            if (h >= height || w >= width) continue;
            expected[i] += static_cast<uint32_t>(coefficients[j * kWindow + tap] *
                                                 levels[j * plane + h * width + w]);
          }
        }
      }
      const Plane none(sources * kWindow);
      for (const CrossRows cross_rows : all_cross_rows()) {
        std::vector<uint32_t> cross(plane);
        ASSERT_TRUE(known.tell(coefficients, cross, cross_rows));
        ASSERT_EQ(cross, expected) << height << " x " << width << ", " << sources;
        EXPECT_FALSE(known.tell(none, cross, cross_rows));
      }
    }
  }
}

TEST(Predict, EmptyPlanesHaveAnyWidth) {
  EXPECT_TRUE(predicted({}, 0, {1, 2, 3}).empty());
  EXPECT_TRUE(predicted({}, 5, {1, 2, 3}).empty());
  EXPECT_TRUE(unpredicted({}, 0, {1, 2, 3}).empty());
  EXPECT_TRUE(unpredicted({}, 5, {1, 2, 3}).empty());
}

TEST(Predict, RefusesBadArguments) {
  const Plane in(6, 1);
  Plane out(6, 5);
  const auto expect = [&](Status expected, uint64_t width, const PredictCoefficients& coefficients,
                          size_t size) {
    EXPECT_EQ(predict_plane(in, width, coefficients, std::span(out).first(size)), expected);
    EXPECT_EQ(unpredict_plane(in, width, coefficients, std::span(out).first(size)), expected);
  };
  expect(Status::kBadArgument, 3, {1, 1, 1}, 5);
  expect(Status::kBadArgument, 4, {1, 1, 1}, 6);
  expect(Status::kBadArgument, 12, {1, 1, 1}, 6);
  expect(Status::kBadArgument, 0, {1, 1, 1}, 6);
  expect(Status::kOutOfRange, 3, {kPredictLimit + 1, 0, 0}, 6);
  expect(Status::kOutOfRange, 3, {0, -kPredictLimit - 1, 0}, 6);
  expect(Status::kOutOfRange, 3, {0, 0, INT16_MIN}, 6);
  EXPECT_EQ(out, Plane(6, 5));
}

}  // namespace
}  // namespace fmtc
