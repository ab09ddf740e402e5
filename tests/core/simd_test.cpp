#include "core/simd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

#include "core/multiversion.h"

namespace fmtc {
namespace {

FMTC_ALWAYS_INLINE int sum_to(int n) {
  int sum = 0;
  for (int i = 1; i <= n; ++i) sum += i;
  return sum;
}

TEST(Simd, IsOneOfThisArchitecture) {
  EXPECT_EQ(std::count(kSimds.begin(), kSimds.end(), cpu_simd()), 1) << name(cpu_simd());
  EXPECT_TRUE(std::is_sorted(kSimds.begin(), kSimds.end()));
}

TEST(Simd, HasAName) {
  std::set<std::string> names;
  for (const Simd simd : {Simd::kScalar, Simd::kNeon, Simd::kAvx2, Simd::kAvx512}) {
    names.insert(name(simd));
  }
  EXPECT_EQ(names, (std::set<std::string>{"scalar", "neon", "avx2", "avx512"}));
}

TEST(Simd, MultiversionedFunctionsRun) { EXPECT_EQ(multiversion<sum_to>(100), 5050); }

// Arguments are the caller's, as in a call.
FMTC_ALWAYS_INLINE void add(const int& x, int* sum, int& calls) {
  *sum += x;
  ++calls;
}

TEST(Simd, MultiversionedFunctionsTakeReferences) {
  int sum = 1, calls = 0;
  const int x = 4;
  multiversion<add>(x, &sum, calls);
  multiversion<add>(2, &sum, calls);
  EXPECT_EQ(sum, 7);
  EXPECT_EQ(calls, 2);
}

}  // namespace
}  // namespace fmtc
