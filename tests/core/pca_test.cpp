#include "core/pca.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace fmtc {
namespace {

struct Basis {
  std::vector<double> eigenvalues, vectors;
};

Basis run(const std::vector<double>& covariance, size_t channels) {
  Basis basis{std::vector<double>(channels), std::vector<double>(channels * channels)};
  EXPECT_EQ(pca(covariance, channels, basis.eigenvalues, basis.vectors), Status::kOk);
  return basis;
}

// A^T A of a random matrix with `rank` rows.
std::vector<double> random_covariance(size_t channels, size_t rank, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> draw;
  std::vector<double> covariance(channels * channels, 0), row(channels);
  for (size_t r = 0; r < rank; ++r) {
    for (double& value : row) value = draw(random);
    for (size_t i = 0; i < channels; ++i) {
      for (size_t j = 0; j < channels; ++j) covariance[i * channels + j] += row[i] * row[j];
    }
  }
  return covariance;
}

// U diag U^T = covariance, U^T U = I, descending, signs as promised.
void expect_decomposition(const std::vector<double>& covariance, size_t channels) {
  const Basis basis = run(covariance, channels);
  const auto u = [&](size_t i, size_t k) { return basis.vectors[i * channels + k]; };
  const double scale = std::abs(basis.eigenvalues.front()) + 1e-300;
  for (size_t i = 0; i < channels; ++i) {
    for (size_t j = 0; j < channels; ++j) {
      double product = 0, dot = 0;
      for (size_t k = 0; k < channels; ++k) {
        product += u(i, k) * basis.eigenvalues[k] * u(j, k);
        dot += u(k, i) * u(k, j);
      }
      ASSERT_NEAR(product, covariance[i * channels + j], 1e-12 * scale);
      ASSERT_NEAR(dot, i == j ? 1.0 : 0.0, 1e-12);
    }
  }
  for (size_t k = 0; k < channels; ++k) {
    if (k > 0) {
      ASSERT_GE(basis.eigenvalues[k - 1], basis.eigenvalues[k]);
    }
    double largest = 0;
    for (size_t i = 0; i < channels; ++i) {
      if (std::abs(u(i, k)) > std::abs(largest)) largest = u(i, k);
    }
    ASSERT_GT(largest, 0) << "sign of column " << k;
  }
}

TEST(Pca, DecomposesFullRank) {
  for (const size_t channels : {1, 2, 3, 17, 64}) {
    expect_decomposition(random_covariance(channels, 2 * channels, 1), channels);
  }
}

TEST(Pca, DecomposesLowRank) {
  expect_decomposition(random_covariance(24, 4, 2), 24);
  expect_decomposition(std::vector<double>(25, 0.0), 5);
}

TEST(Pca, EqualEigenvaluesKeepTheirOrder) {
  const size_t channels = 6;
  std::vector<double> identity(channels * channels, 0);
  for (size_t i = 0; i < channels; ++i) identity[i * channels + i] = 2;
  const Basis basis = run(identity, channels);
  for (size_t i = 0; i < channels; ++i) {
    EXPECT_EQ(basis.eigenvalues[i], 2.0);
    for (size_t k = 0; k < channels; ++k) {
      EXPECT_EQ(basis.vectors[i * channels + k], i == k ? 1.0 : 0.0);
    }
  }
}

TEST(Pca, SortsDiagonalMatrices) {
  const Basis basis = run({1, 0, 0, 0, 9, 0, 0, 0, 4}, 3);
  EXPECT_EQ(basis.eigenvalues, (std::vector<double>{9, 4, 1}));
  EXPECT_EQ(basis.vectors, (std::vector<double>{0, 0, 1, 1, 0, 0, 0, 1, 0}));
}

TEST(Pca, NegativeEigenvaluesComeLast) {
  expect_decomposition({0, 1, 1, 0}, 2);
  const Basis basis = run({0, 1, 1, 0}, 2);
  EXPECT_NEAR(basis.eigenvalues[0], 1, 1e-15);
  EXPECT_NEAR(basis.eigenvalues[1], -1, 1e-15);
}

TEST(Pca, IsReproducible) {
  const auto covariance = random_covariance(40, 40, 3);
  EXPECT_EQ(run(covariance, 40).vectors, run(covariance, 40).vectors);
}

TEST(Pca, UsesTheLowerTriangle) {
  const Basis full = run({4, 1, 1, 3}, 2);
  const Basis lower = run({4, 99, 1, 3}, 2);
  EXPECT_EQ(full.eigenvalues, lower.eigenvalues);
  EXPECT_EQ(full.vectors, lower.vectors);
}

TEST(Pca, RefusesBadInput) {
  std::vector<double> values(2), vectors(4);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(pca(std::vector<double>{1, 0, 0, nan}, 2, values, vectors), Status::kNotFinite);
  EXPECT_EQ(pca(std::vector<double>{inf, 0, 0, 1}, 2, values, vectors), Status::kNotFinite);
  EXPECT_EQ(pca(std::vector<double>(3), 2, values, vectors), Status::kBadArgument);
  EXPECT_EQ(pca(std::vector<double>(4), 2, values, std::span(vectors).first(3)),
            Status::kBadArgument);
  EXPECT_EQ(pca(std::vector<double>(4), 2, std::span(values).first(1), vectors),
            Status::kBadArgument);
  EXPECT_EQ(pca({}, 0, {}, {}), Status::kOk);
}

}  // namespace
}  // namespace fmtc
