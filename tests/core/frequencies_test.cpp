#include "core/frequencies.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numbers>
#include <numeric>
#include <random>
#include <vector>

namespace fmtc {
namespace {

// Position i of a block that begins at `first`, mirrored where it lies beyond the end.
int64_t place(int64_t first, int64_t i, int64_t end) {
  return first + i < end ? first + i : std::max(first, 2 * end - 1 - (first + i));
}

// The coefficient of frequency (fy, fx) of the block at (row, column), by its definition.
double coefficient(const std::vector<float>& plane, int64_t height, int64_t width, int64_t size,
                   int64_t row, int64_t column, int64_t frequency) {
  const auto basis = [&](int64_t f, int64_t i) {
    const double n = static_cast<double>(size);
    const double angle = std::numbers::pi / n * (static_cast<double>(i) + 0.5);
    return std::sqrt((f == 0 ? 1.0 : 2.0) / n) * std::cos(angle * static_cast<double>(f));
  };
  double sum = 0;
  for (int64_t y = 0; y < size; ++y) {
    for (int64_t x = 0; x < size; ++x) {
      const int64_t at_y = place(row * size, y, height), at_x = place(column * size, x, width);
      sum += basis(frequency / size, y) * basis(frequency % size, x) *
             static_cast<double>(plane[static_cast<size_t>(at_y * width + at_x)]);
    }
  }
  return sum;
}

// The frequencies of `planes`, component * size * size + frequency of each, and what holds them.
struct Coded {
  Coded(int64_t size, int64_t components, const std::vector<int32_t>& planes,
        const std::vector<float>& steps)
      : places(static_cast<size_t>(components * size * size), -1), steps(steps) {
    for (size_t p = 0; p < planes.size(); ++p) {
      places[static_cast<size_t>(planes[p])] = static_cast<int32_t>(p);
    }
    frequencies = {size, static_cast<int64_t>(planes.size()), places, this->steps};
  }
  Coded(const Coded&) = delete;
  Coded& operator=(const Coded&) = delete;

  std::vector<int32_t> places;
  std::vector<float> steps;
  Frequencies frequencies;
};

struct Case {
  int64_t size;
  ComponentShape shape;
};

class Dct : public testing::TestWithParam<Case> {
 protected:
  int64_t count() const { return GetParam().size * GetParam().size; }
  int64_t rows() const { return (GetParam().shape.height + GetParam().size - 1) / GetParam().size; }
  int64_t columns() const {
    return (GetParam().shape.width + GetParam().size - 1) / GetParam().size;
  }
  size_t values() const {
    const ComponentShape& shape = GetParam().shape;
    return static_cast<size_t>(shape.images * shape.components * shape.plane());
  }
  std::vector<float> random_values(float scale) const {
    std::mt19937 random(7);
    std::normal_distribution<float> normal(0, scale);
    std::vector<float> y(values());
    std::ranges::generate(y, [&] { return normal(random); });
    return y;
  }
  // All frequencies of all components but every third, shuffled.
  std::vector<int32_t> some_planes() const {
    std::vector<int32_t> planes(static_cast<size_t>(GetParam().shape.components * count()));
    std::iota(planes.begin(), planes.end(), 0);
    std::erase_if(planes, [](int32_t p) { return p % 3 == 1; });
    std::shuffle(planes.begin(), planes.end(), std::mt19937(3));
    return planes;
  }
  std::vector<float> some_steps() const {
    std::vector<float> steps(static_cast<size_t>(count()));
    for (size_t f = 0; f < steps.size(); ++f) steps[f] = 0.5f + 0.125f * static_cast<float>(f);
    return steps;
  }
};

TEST_P(Dct, LevelsAreOfTheCoefficients) {
  const auto& [size, shape] = GetParam();
  const std::vector<float> y = random_values(4);
  const std::vector<int32_t> planes = some_planes();
  const std::vector<float> steps = some_steps();
  const Coded coded(size, shape.components, planes, steps);
  const size_t blocks = static_cast<size_t>(rows() * columns());
  std::vector<int16_t> levels(static_cast<size_t>(shape.images) * planes.size() * blocks);
  int64_t clamped = -1;
  ASSERT_EQ(dct_quantize(y, shape, coded.frequencies, -5, 6, levels, clamped), Status::kOk);
  int64_t outside = 0;
  for (int64_t image = 0; image < shape.images; ++image) {
    for (size_t p = 0; p < planes.size(); ++p) {
      const int64_t component = planes[p] / count(), frequency = planes[p] % count();
      const int64_t first = (image * shape.components + component) * shape.plane();
      const std::vector<float> plane(y.begin() + first, y.begin() + first + shape.plane());
      for (size_t block = 0; block < blocks; ++block) {
        const auto b = static_cast<int64_t>(block);
        const double scaled = coefficient(plane, shape.height, shape.width, size, b / columns(),
                                          b % columns(), frequency) /
                              static_cast<double>(steps[static_cast<size_t>(frequency)]);
        const double level = std::clamp(std::nearbyint(scaled), -5.0, 6.0);
        outside += level != std::nearbyint(scaled);
        const double found =
            levels[(static_cast<size_t>(image) * planes.size() + p) * blocks + block];
        if (found != level) {  // only where float32 may round to the other side
          EXPECT_EQ(std::abs(found - level), 1);
          EXPECT_NEAR(std::abs(scaled - std::floor(scaled)), 0.5, 1e-4);
        }
      }
    }
  }
  EXPECT_EQ(clamped, outside);
}

TEST_P(Dct, TheWayBackIsTheInverse) {
  const auto& [size, shape] = GetParam();
  const std::vector<float> y = random_values(4);
  std::vector<int32_t> planes(static_cast<size_t>(shape.components * count()));
  std::iota(planes.rbegin(), planes.rend(), 0);
  const std::vector<float> steps(static_cast<size_t>(count()), 1.0f / 1024);
  std::vector<int16_t> levels(static_cast<size_t>(shape.images) * planes.size() *
                              static_cast<size_t>(rows() * columns()));
  int64_t clamped = -1;
  const Coded coded(size, shape.components, planes, steps);
  const Frequencies& all = coded.frequencies;
  ASSERT_EQ(dct_quantize(y, shape, all, -32768, 32767, levels, clamped), Status::kOk);
  EXPECT_EQ(clamped, 0);
  std::vector<float> back(y.size(), std::numeric_limits<float>::quiet_NaN());
  ASSERT_EQ(dequantize_dct(levels, shape, all, back), Status::kOk);
  // An orthonormal transform: half a step of each of the block's frequencies at most.
  for (size_t i = 0; i < y.size(); ++i) EXPECT_NEAR(back[i], y[i], 4.0 * 0.5 / 1024 + 1e-4);
}

TEST_P(Dct, WhatWasDecodedHasTheSameLevels) {
  const auto& [size, shape] = GetParam();
  if (shape.height % size == 3 || shape.width % size == 3) return;  // of three, none is 0
  const std::vector<float> y = random_values(4);
  const std::vector<int32_t> planes = some_planes();
  const std::vector<float> steps = some_steps();
  const Coded coded(size, shape.components, planes, steps);
  const Frequencies& some = coded.frequencies;
  std::vector<int16_t> levels(static_cast<size_t>(shape.images) * planes.size() *
                              static_cast<size_t>(rows() * columns()));
  std::vector<int16_t> again(levels.size());
  std::vector<float> decoded(y.size());
  int64_t clamped = -1;
  ASSERT_EQ(dct_quantize(y, shape, some, -90, 90, levels, clamped), Status::kOk);
  ASSERT_EQ(dequantize_dct(levels, shape, some, decoded), Status::kOk);
  ASSERT_EQ(dct_quantize(decoded, shape, some, -90, 90, again, clamped), Status::kOk);
  EXPECT_EQ(again, levels);
}

TEST_P(Dct, FrequenciesThatAreNotCodedAreZero) {
  const auto& [size, shape] = GetParam();
  if (shape.components == 0) return;
  // Of component 0 the mean of each block alone: what comes back is the same over a block.
  const std::vector<int32_t> planes = {0};
  const std::vector<float> steps(static_cast<size_t>(count()), 1.0f);
  const Coded coded(size, shape.components, planes, steps);
  std::vector<int16_t> levels(static_cast<size_t>(shape.images * rows() * columns()));
  for (size_t i = 0; i < levels.size(); ++i) levels[i] = static_cast<int16_t>(i + 1);
  std::vector<float> y(values(), -1);
  ASSERT_EQ(dequantize_dct(levels, shape, coded.frequencies, y), Status::kOk);
  for (size_t i = 0; i < y.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    const int64_t position = at % shape.plane(), task = at / shape.plane();
    const int64_t block =
        (task / shape.components * rows() + position / shape.width / size) * columns() +
        position % shape.width / size;
    const double mean = static_cast<double>(block + 1) / static_cast<double>(size);
    EXPECT_NEAR(y[i], task % shape.components == 0 ? mean : 0.0, 1e-5 * (1 + mean));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Dct,
                         testing::Values(Case{2, {2, 3, 6, 8}}, Case{4, {2, 3, 8, 12}},
                                         Case{2, {1, 2, 7, 5}}, Case{4, {3, 2, 7, 9}},
                                         Case{4, {1, 1, 1, 1}}, Case{2, {1, 1, 1, 3}},
                                         Case{4, {1, 5, 3, 33}}, Case{2, {0, 3, 4, 4}},
                                         Case{4, {2, 0, 4, 4}}, Case{4, {1, 2, 0, 4}}));

TEST(DctArguments, AreChecked) {
  const ComponentShape shape = {1, 1, 4, 4};
  const std::vector<float> y(16, 1), steps(4, 1);
  std::vector<float> back(16);
  const std::vector<int32_t> places = {0, -1, -1, 1};
  std::vector<int16_t> levels(8, 9);
  int64_t clamped = 77;
  const auto both = [&](const ComponentShape& sizes, const Frequencies& of) {
    const Status there = dct_quantize(y, sizes, of, -1, 1, levels, clamped);
    EXPECT_EQ(dequantize_dct(levels, sizes, of, back), there);
    return there;
  };
  EXPECT_EQ(both({1, 1, 4, 5}, {2, 2, places, steps}), Status::kBadArgument);
  EXPECT_EQ(both({1, -1, 4, -4}, {2, 2, places, steps}), Status::kBadArgument);
  EXPECT_EQ(both(shape, {3, 2, places, steps}), Status::kBadArgument);
  EXPECT_EQ(both(shape, {4, 2, places, steps}), Status::kBadArgument);
  EXPECT_EQ(both(shape, {2, 1, places, steps}), Status::kBadArgument);
  for (const std::vector<int32_t>& wrong : {std::vector<int32_t>{0, -1, -1, 2},
                                            {0, -2, -1, 1},
                                            {1, -1, -1, 1},
                                            {0, -1, -1, -1},
                                            {0, 1}}) {
    EXPECT_EQ(both(shape, {2, 2, wrong, steps}), Status::kBadArgument);
  }
  for (const float wrong : {0.0f, -1.0f, std::numeric_limits<float>::infinity(),
                            std::numeric_limits<float>::quiet_NaN()}) {
    const std::vector<float> of = {1, 1, wrong, 1};
    EXPECT_EQ(both(shape, {2, 2, places, of}), Status::kBadArgument);
  }
  EXPECT_EQ(dct_quantize(y, shape, {2, 2, places, steps}, 2, 1, levels, clamped),
            Status::kBadArgument);
  EXPECT_EQ(dct_quantize(y, shape, {2, 2, places, steps}, 0, 40000, levels, clamped),
            Status::kBadArgument);
  EXPECT_EQ(clamped, 77);
  EXPECT_EQ(levels, std::vector<int16_t>(8, 9));
  EXPECT_EQ(both(shape, {2, 2, places, steps}), Status::kOk);
}

TEST(DctArguments, NaNIsClampedToTheLevelNearestToZero) {
  const std::vector<float> y = {std::numeric_limits<float>::quiet_NaN(), 0, 0, 0};
  const std::vector<float> steps(4, 1);
  const std::vector<int32_t> planes = {0, 1, 2, 3};
  std::vector<int16_t> levels(4);
  int64_t clamped = 0;
  ASSERT_EQ(dct_quantize(y, {1, 1, 2, 2}, {2, 4, planes, steps}, 1, 5, levels, clamped),
            Status::kOk);
  EXPECT_EQ(levels, std::vector<int16_t>(4, 1));
  EXPECT_EQ(clamped, 4);
}

}  // namespace
}  // namespace fmtc
