#include "core/simd.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "core/multiversion.h"

namespace fmtc {
namespace {

FMTC_MULTIVERSION int sum_to(int n) {
  int sum = 0;
  for (int i = 1; i <= n; ++i) sum += i;
  return sum;
}

TEST(Simd, LevelIsAKnownName) {
  const std::set<std::string> names = {"avx512", "avx2", "sse4.2", "baseline"};
  EXPECT_EQ(names.count(simd_level()), 1u) << simd_level();
}

TEST(Simd, MultiversionedFunctionsRun) { EXPECT_EQ(sum_to(100), 5050); }

}  // namespace
}  // namespace fmtc
