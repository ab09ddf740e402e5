#include "core/entropy.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <vector>

namespace fmtc {
namespace {

TEST(Entropy, KnownValues) {
  EXPECT_EQ(entropy({}), 0.0);
  EXPECT_EQ(entropy(std::vector<int64_t>{0, 0}), 0.0);
  EXPECT_EQ(entropy(std::vector<int64_t>{0, 5, 0}), 0.0);
  EXPECT_DOUBLE_EQ(entropy(std::vector<int64_t>{3, 3}), 1.0);
  EXPECT_DOUBLE_EQ(entropy(std::vector<int64_t>{4, 2, 1, 1}), 1.75);
  EXPECT_DOUBLE_EQ(entropy(std::vector<int64_t>(4096, 11)), 12.0);
}

TEST(Entropy, HugeCountsDoNotOverflow) {
  EXPECT_DOUBLE_EQ(entropy(std::vector<int64_t>(4, INT64_MAX)), 2.0);
}

TEST(Entropy, NegativeCountsGiveNaN) {
  EXPECT_TRUE(std::isnan(entropy(std::vector<int64_t>{1, -1})));
}

}  // namespace
}  // namespace fmtc
