#include "core/moments.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <thread>
#include <vector>

namespace fmtc {
namespace {

struct Moments {
  int64_t count = 0;
  std::vector<double> mean, m2;
};

struct Shape {
  int64_t images, channels, plane;
  size_t values() const { return static_cast<size_t>(images * channels * plane); }
};

template <typename T>
Moments compute(const std::vector<T>& x, Shape shape, const ForEach& for_each = for_each_serial) {
  const auto channels = static_cast<size_t>(shape.channels);
  Moments moments{shape.images * shape.plane, std::vector<double>(channels, -1),
                  std::vector<double>(channels * channels, -1)};
  EXPECT_EQ(channel_moments(std::span<const T>(x), shape.images, shape.channels, shape.plane,
                            moments.mean, moments.m2, for_each),
            Status::kOk);
  return moments;
}

template <typename T>
Moments naive(const std::vector<T>& x, Shape shape) {
  const auto channels = static_cast<size_t>(shape.channels);
  const auto plane = static_cast<size_t>(shape.plane);
  const auto images = static_cast<size_t>(shape.images);
  const auto at = [&](size_t n, size_t c, size_t p) -> long double {
    return x[(n * channels + c) * plane + p];
  };
  std::vector<long double> mean(channels, 0), m2(channels * channels, 0);
  for (size_t n = 0; n < images; ++n) {
    for (size_t c = 0; c < channels; ++c) {
      for (size_t p = 0; p < plane; ++p) mean[c] += at(n, c, p);
    }
  }
  for (long double& value : mean) value /= static_cast<long double>(images * plane);
  for (size_t n = 0; n < images; ++n) {
    for (size_t i = 0; i < channels; ++i) {
      for (size_t j = 0; j < channels; ++j) {
        for (size_t p = 0; p < plane; ++p) {
          m2[i * channels + j] += (at(n, i, p) - mean[i]) * (at(n, j, p) - mean[j]);
        }
      }
    }
  }
  return {shape.images * shape.plane, {mean.begin(), mean.end()}, {m2.begin(), m2.end()}};
}

// Channels of different size and offset, correlated with their neighbours.
template <typename T>
std::vector<T> samples(Shape shape, uint32_t seed, T offset = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<T> draw;
  std::vector<T> x(shape.values());
  T previous = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const auto channel =
        static_cast<T>(i / static_cast<size_t>(shape.plane) % static_cast<size_t>(shape.channels));
    previous = previous / 2 + draw(random);
    x[i] = previous * (1 + channel / 10) + channel - offset;
  }
  return x;
}

void expect_near(const Moments& actual, const Moments& expected, double tolerance) {
  ASSERT_EQ(actual.count, expected.count);
  const size_t channels = expected.mean.size();
  for (size_t i = 0; i < channels; ++i) {
    ASSERT_NEAR(actual.mean[i], expected.mean[i], tolerance * (1 + std::abs(expected.mean[i])));
    for (size_t j = 0; j < channels; ++j) {
      const double scale =
          std::sqrt(expected.m2[i * channels + i] * expected.m2[j * channels + j]) + 1e-300;
      ASSERT_NEAR(actual.m2[i * channels + j], expected.m2[i * channels + j], tolerance * scale)
          << i << ", " << j;
      ASSERT_EQ(actual.m2[i * channels + j], actual.m2[j * channels + i]);
    }
  }
}

// On threads, in another order than the serial one.
void for_each_threaded(int64_t count, const std::function<void(int64_t, int64_t)>& body) {
  constexpr int64_t kThreads = 3;
  std::vector<std::thread> threads;
  for (int64_t t = kThreads - 1; t >= 0; --t) {
    threads.emplace_back([=, &body] {
      const int64_t begin = count * t / kThreads;
      const int64_t end = count * (t + 1) / kThreads;
      for (int64_t i = end - 1; i >= begin; --i) body(i, i + 1);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

class MomentsOfShape : public testing::TestWithParam<Shape> {};

TEST_P(MomentsOfShape, AgreeWithTheDefinitionInFloat) {
  const auto x = samples<float>(GetParam(), 1);
  expect_near(compute(x, GetParam()), naive(x, GetParam()), 1e-13);
}

TEST_P(MomentsOfShape, AgreeWithTheDefinitionInDouble) {
  const auto x = samples<double>(GetParam(), 2);
  expect_near(compute(x, GetParam()), naive(x, GetParam()), 1e-13);
}

TEST_P(MomentsOfShape, DoNotDependOnThreads) {
  const auto x = samples<float>(GetParam(), 3);
  const Moments serial = compute(x, GetParam());
  const Moments threaded = compute(x, GetParam(), for_each_threaded);
  EXPECT_EQ(serial.mean, threaded.mean);
  EXPECT_EQ(serial.m2, threaded.m2);
}

INSTANTIATE_TEST_SUITE_P(Shapes, MomentsOfShape,
                         testing::Values(Shape{1, 1, 1}, Shape{2, 1, 300}, Shape{1, 8, 128},
                                         Shape{3, 7, 49}, Shape{5, 9, 1}, Shape{200, 64, 3},
                                         Shape{2, 65, 129}, Shape{1, 130, 200}, Shape{7, 3, 50000},
                                         Shape{3, 200, 2500}));

TEST(ChannelMoments, LargeOffsetsDoNotCancel) {
  const Shape shape{2, 3, 5000};
  const auto x = samples<double>(shape, 4, 1e8);
  expect_near(compute(x, shape), naive(x, shape), 1e-9);
}

TEST(ChannelMoments, NoSamplesGiveZeros) {
  for (const Shape shape : {Shape{0, 3, 4}, Shape{2, 3, 0}, Shape{2, 0, 4}}) {
    const Moments moments = compute(std::vector<float>{}, shape);
    for (const double value : moments.mean) EXPECT_EQ(value, 0.0);
    for (const double value : moments.m2) EXPECT_EQ(value, 0.0);
  }
}

TEST(ChannelMoments, NonFiniteInputIsVisible) {
  const Shape shape{1, 9, 10};
  auto x = samples<float>(shape, 5);
  x[4 * 10] = std::numeric_limits<float>::infinity();
  const Moments moments = compute(x, shape);
  EXPECT_FALSE(std::isfinite(moments.mean[4]));
  EXPECT_FALSE(std::isfinite(moments.m2[4 * 9 + 4]));
  EXPECT_TRUE(std::isfinite(moments.m2[3 * 9 + 3]));
}

TEST(ChannelMoments, RefusesSizesThatDisagree) {
  std::vector<float> x(24);
  std::vector<double> mean(3), m2(9);
  const auto status = [&](int64_t images, int64_t channels, int64_t plane) {
    return channel_moments(std::span<const float>(x), images, channels, plane, mean, m2);
  };
  EXPECT_EQ(status(2, 3, 4), Status::kOk);
  EXPECT_EQ(status(2, 3, 5), Status::kBadArgument);
  EXPECT_EQ(status(3, 2, 4), Status::kBadArgument);
  EXPECT_EQ(status(-2, 3, -4), Status::kBadArgument);
  EXPECT_EQ(status(-2, -3, 4), Status::kBadArgument);
  EXPECT_EQ(status(INT64_MAX, 3, INT64_MAX), Status::kBadArgument);
}

Moments merge(const Moments& a, const Moments& b) {
  Moments merged{0, std::vector<double>(a.mean.size()), std::vector<double>(a.m2.size())};
  EXPECT_EQ(merge_moments(a.count, a.mean, a.m2, b.count, b.mean, b.m2, merged.count, merged.mean,
                          merged.m2),
            Status::kOk);
  return merged;
}

TEST(MergeMoments, PartsGiveTheWhole) {
  const Shape whole{5, 6, 40};
  const auto x = samples<double>(whole, 6);
  const auto part = [&](size_t first, int64_t images) {
    const auto begin = x.begin() + static_cast<std::ptrdiff_t>(first * 240);
    return compute(std::vector<double>(begin, begin + images * 240), Shape{images, 6, 40});
  };
  expect_near(merge(part(0, 1), part(1, 4)), compute(x, whole), 1e-13);
  expect_near(merge(merge(part(0, 2), part(2, 2)), part(4, 1)), compute(x, whole), 1e-13);
}

TEST(MergeMoments, NothingChangesNothing) {
  const Shape shape{1, 4, 30};
  const Moments some = compute(samples<double>(shape, 7), shape);
  const Moments none{0, std::vector<double>(4, 0.0), std::vector<double>(16, 0.0)};
  for (const Moments& merged : {merge(some, none), merge(none, some)}) {
    EXPECT_EQ(merged.count, some.count);
    EXPECT_EQ(merged.mean, some.mean);
    EXPECT_EQ(merged.m2, some.m2);
  }
  EXPECT_EQ(merge(none, none).count, 0);
}

TEST(MergeMoments, RefusesBadCountsAndSizes) {
  std::vector<double> mean(2), m2(4);
  int64_t count = 0;
  const auto status = [&](int64_t a, int64_t b, size_t channels) {
    return merge_moments(a, mean, m2, b, std::span(mean).first(channels), m2, count, mean, m2);
  };
  EXPECT_EQ(status(-1, 1, 2), Status::kBadArgument);
  EXPECT_EQ(status(1, -1, 2), Status::kBadArgument);
  EXPECT_EQ(status(INT64_MAX, 1, 2), Status::kBadArgument);
  EXPECT_EQ(status(1, 1, 1), Status::kBadArgument);
}

}  // namespace
}  // namespace fmtc
