#include "core/transform.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <utility>
#include <vector>

namespace fmtc {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Shape {
  int64_t images, columns, rows, plane;
  size_t in() const { return static_cast<size_t>(images * columns * plane); }
  size_t out() const { return static_cast<size_t>(images * rows * plane); }
};

// One value, less and more rows and columns than are made at a time, tiles with pixels of several
// images, images of several tiles, nothing at all.
constexpr Shape kShapes[] = {{1, 1, 1, 1},    {2, 5, 3, 24},     {3, 70, 7, 49},    {2, 17, 70, 45},
                             {1, 3, 13, 667}, {2, 33, 12, 1024}, {1, 1100, 5, 130}, {0, 3, 2, 4},
                             {2, 3, 4, 0},    {2, 3, 0, 5},      {2, 0, 3, 5}};

// Small multiples of `scale`, whose sums are exact in any order.
std::vector<float> whole(int64_t size, float scale, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> values(static_cast<size_t>(size));
  for (float& value : values)
    value = scale * static_cast<float>(static_cast<int>(random() % 19) - 9);
  return values;
}

struct Case {
  explicit Case(Shape shape)
      : values(whole(shape.rows * shape.columns, 0.125f, 1)), offset(whole(shape.rows, 0.5f, 2)) {}
  ChannelMatrix matrix() const { return {values, offset}; }

  std::vector<float> values, offset;
};

// One product of an image [columns, plane] and the matrix, value by value.
double product(const Case& c, Shape s, const std::function<double(int64_t)>& in, int64_t row,
               int64_t pixel) {
  double sum = c.offset[static_cast<size_t>(row)];
  for (int64_t k = 0; k < s.columns; ++k) {
    sum += static_cast<double>(c.values[static_cast<size_t>(row * s.columns + k)]) *
           in(k * s.plane + pixel);
  }
  return sum;
}

// In several ranges and from the back, as threads may do it.
void for_each_in_parts(int64_t count, const std::function<void(int64_t, int64_t)>& body) {
  for (int64_t end = count; end > 0; end -= std::min<int64_t>(end, 2)) {
    body(end - std::min<int64_t>(end, 2), end);
  }
}

TEST(Transform, QuantizesTheProduct) {
  for (const Shape& s : kShapes) {
    const Case c(s);
    const std::vector<float> x = whole(s.images * s.columns * s.plane, 0.25f, 3);
    for (const auto& for_each : {ForEach(for_each_serial), ForEach(for_each_in_parts)}) {
      std::vector<int16_t> levels(s.out(), 77);
      int64_t clamped = -1, expected_clamped = 0;
      ASSERT_EQ(transform_quantize(x, s.images, s.plane, c.matrix(), 0.25f, -30, 41, levels,
                                   clamped, for_each),
                Status::kOk);
      for (size_t i = 0; i < levels.size(); ++i) {
        const auto index = static_cast<int64_t>(i);
        const int64_t image = index / (s.rows * s.plane), row = index / s.plane % s.rows;
        const auto in = [&](int64_t at) {
          return static_cast<double>(x[static_cast<size_t>(image * s.columns * s.plane + at)]);
        };
        const double nearest = std::nearbyint(product(c, s, in, row, index % s.plane) / 0.25);
        expected_clamped += nearest < -30 || nearest > 41;
        ASSERT_EQ(levels[i], std::clamp(nearest, -30.0, 41.0)) << i;
      }
      EXPECT_EQ(clamped, expected_clamped);
    }
  }
}

TEST(Transform, DequantizesAndLimitsTheProduct) {
  for (const Shape& s : kShapes) {
    const Case c(s);
    std::vector<int16_t> levels;
    for (const float value : whole(s.images * s.columns * s.plane, 3, 4)) {
      levels.push_back(static_cast<int16_t>(value));
    }
    for (const auto& [least, most] : {std::pair(-kInfinity, kInfinity), std::pair(0.0f, 6.0f)}) {
      std::vector<float> x(s.out(), 77);
      ASSERT_EQ(dequantize_transform(levels, s.images, s.plane, c.matrix(), 0.5f, least, most, x,
                                     for_each_in_parts),
                Status::kOk);
      for (size_t i = 0; i < x.size(); ++i) {
        const auto index = static_cast<int64_t>(i);
        const int64_t image = index / (s.rows * s.plane), row = index / s.plane % s.rows;
        const auto in = [&](int64_t at) {
          return 0.5 * levels[static_cast<size_t>(image * s.columns * s.plane + at)];
        };
        const double value = product(c, s, in, row, index % s.plane);
        ASSERT_EQ(x[i], std::clamp(value, double{least}, double{most})) << i;
      }
    }
  }
}

TEST(Transform, LimitsTheProduct) {
  for (const Shape& s : kShapes) {
    const Case c(s);
    const std::vector<float> in = whole(s.images * s.columns * s.plane, 0.25f, 3);
    for (const auto& [least, most] : {std::pair(-kInfinity, kInfinity), std::pair(0.0f, 6.0f)}) {
      std::vector<float> out(s.out(), 77);
      ASSERT_EQ(transform_channels(in, s.images, s.plane, c.matrix(), least, most, out,
                                   for_each_in_parts),
                Status::kOk);
      for (size_t i = 0; i < out.size(); ++i) {
        const auto index = static_cast<int64_t>(i);
        const int64_t image = index / (s.rows * s.plane), row = index / s.plane % s.rows;
        const auto of = [&](int64_t at) {
          return static_cast<double>(in[static_cast<size_t>(image * s.columns * s.plane + at)]);
        };
        const double value = product(c, s, of, row, index % s.plane);
        ASSERT_EQ(out[i], std::clamp(value, double{least}, double{most})) << i;
      }
    }
  }
}

// The sums of a pixel are the same wherever it lies in a tile, bit for bit.
TEST(Transform, APixelDependsOnNoOther) {
  const Shape s = {1, 37, 11, 700};
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  const auto draw = [&](size_t size) {
    std::vector<float> values(size);
    for (float& value : values) value = normal(random);
    return values;
  };
  const std::vector<float> x = draw(s.in()), values = draw(37 * 11), offset = draw(11);
  const ChannelMatrix matrix = {values, offset};
  std::vector<int16_t> levels(s.out()), alone(11);
  int64_t clamped = 0;
  ASSERT_EQ(transform_quantize(x, 1, 700, matrix, 1e-3f, -32768, 32767, levels, clamped),
            Status::kOk);
  for (const size_t pixel : {0, 1, 15, 16, 31, 32, 479, 480, 699}) {
    std::vector<float> of_pixel;
    for (size_t k = 0; k < 37; ++k) of_pixel.push_back(x[k * 700 + pixel]);
    ASSERT_EQ(transform_quantize(of_pixel, 1, 1, matrix, 1e-3f, -32768, 32767, alone, clamped),
              Status::kOk);
    for (size_t row = 0; row < 11; ++row) EXPECT_EQ(alone[row], levels[row * 700 + pixel]);
  }
}

TEST(Transform, RefusesBadArguments) {
  const std::vector<float> values(6, 1), offset(2), x(12);
  const ChannelMatrix matrix = {values, offset};
  std::vector<int16_t> levels(8);
  std::vector<float> back(8);
  int64_t clamped = 0;
  const auto forward = [&](int64_t images, int64_t plane, const ChannelMatrix& m, float step,
                           int32_t lo, int32_t hi) {
    return transform_quantize(x, images, plane, m, step, lo, hi, levels, clamped);
  };
  EXPECT_EQ(forward(2, 2, matrix, 1, -9, 9), Status::kOk);
  EXPECT_EQ(forward(2, 3, matrix, 1, -9, 9), Status::kBadArgument);
  EXPECT_EQ(forward(-2, -2, matrix, 1, -9, 9), Status::kBadArgument);
  EXPECT_EQ(forward(int64_t{1} << 62, 4, matrix, 1, -9, 9), Status::kBadArgument);
  EXPECT_EQ(forward(2, 2, {std::span(values).first(5), offset}, 1, -9, 9), Status::kBadArgument);
  EXPECT_EQ(forward(2, 2, matrix, 0, -9, 9), Status::kBadArgument);
  EXPECT_EQ(forward(2, 2, matrix, 1, 9, -9), Status::kBadArgument);
  EXPECT_EQ(forward(2, 2, matrix, 1, -9, 40000), Status::kBadArgument);
  const auto alone = [&](int64_t plane, float least, float most) {
    return transform_channels(x, 2, plane, matrix, least, most, back);
  };
  EXPECT_EQ(alone(2, -kInfinity, kInfinity), Status::kOk);
  EXPECT_EQ(alone(3, -kInfinity, kInfinity), Status::kBadArgument);
  EXPECT_EQ(alone(2, 1, 0), Status::kBadArgument);
  EXPECT_EQ(alone(2, 0, std::nanf("")), Status::kBadArgument);
  const std::vector<int16_t> in(12);
  const auto backward = [&](int64_t images, float step, float least, float most) {
    return dequantize_transform(in, images, 2, matrix, step, least, most, back);
  };
  EXPECT_EQ(backward(2, 1, -kInfinity, kInfinity), Status::kOk);
  EXPECT_EQ(backward(1, 1, -kInfinity, kInfinity), Status::kBadArgument);
  EXPECT_EQ(backward(2, kInfinity, 0, 1), Status::kBadArgument);
  EXPECT_EQ(backward(2, 1, 1, 0), Status::kBadArgument);
  EXPECT_EQ(backward(2, 1, std::nanf(""), 0), Status::kBadArgument);
}

}  // namespace
}  // namespace fmtc
