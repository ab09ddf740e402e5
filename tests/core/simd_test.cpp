#include "core/simd.h"

#include <gtest/gtest.h>

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

TEST(Simd, HasAName) {
  const std::set<std::string> names = {"avx512", "avx2", "scalar"};
  EXPECT_EQ(names.count(name(cpu_simd())), 1u) << name(cpu_simd());
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
