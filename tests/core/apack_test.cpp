#include "core/apack.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "core/rans.h"

namespace fmtc {
namespace {

using Counts = std::vector<int64_t>;
using Frequencies = std::vector<int32_t>;

Frequencies frequencies_of(const Counts& counts, int log2_total) {
  Frequencies frequencies(counts.size() + 1, -1);
  EXPECT_EQ(apack_frequencies(counts, log2_total, frequencies), Status::kOk);
  EXPECT_EQ(rans_log2_total(frequencies), log2_total);
  return frequencies;
}

size_t runs(const Frequencies& frequencies) {
  size_t count = 0;
  for (size_t i = 0; i + 1 < frequencies.size(); ++i) {
    count += i == 0 || frequencies[i] != frequencies[i - 1];
  }
  return count;
}

TEST(Apack, EqualCountsTakeHardlyMoreThanTheirLogarithm) {
  for (const size_t levels : {1, 8, 100, 255}) {
    Frequencies frequencies = frequencies_of(Counts(levels, 100), 12);
    frequencies.pop_back();
    double bits = 0;
    for (const int32_t f : frequencies) bits += 12 - std::log2(f);
    const auto count = static_cast<double>(levels);
    EXPECT_LE(bits / count, std::log2(count) + 0.02);
  }
  EXPECT_EQ(frequencies_of(Counts(3, 0), 10), frequencies_of(Counts(3, 1), 10));
}

TEST(Apack, HasFewRanges) {
  Counts falling(256);
  for (size_t i = 0; i < falling.size(); ++i) {
    falling[i] = static_cast<int64_t>(1'000'000 / (i * i + 1)) + 1;
  }
  const Frequencies frequencies = frequencies_of(falling, 12);
  EXPECT_LE(runs(frequencies), kMostApackRanges + 1);  // and what the window leaves out
  EXPECT_GT(frequencies[0], 1500);
}

TEST(Apack, TakesWhatTheCoderMayHave) {
  EXPECT_GE(frequencies_of(Counts{7}, 8)[0], 200);
  const Frequencies wide = frequencies_of(Counts(kMaxSymbols, 3), 12);
  EXPECT_EQ(std::accumulate(wide.begin(), wide.end(), 0), 4096);
  Counts ends(600, 0);
  ends.front() = ends.back() = int64_t{1} << 50;
  frequencies_of(ends, 12);
}

TEST(Apack, RefusesWhatIsNone) {
  Frequencies out(3);
  EXPECT_EQ(apack_frequencies(Counts{1, -1}, 12, out), Status::kOutOfRange);
  EXPECT_EQ(apack_frequencies(Counts{1, 1}, 7, out), Status::kBadArgument);
  EXPECT_EQ(apack_frequencies(Counts{1, 1}, 13, out), Status::kBadArgument);
  EXPECT_EQ(apack_frequencies(Counts{1}, 12, out), Status::kBadArgument);
  EXPECT_EQ(apack_frequencies(Counts{}, 12, out), Status::kBadArgument);
}

}  // namespace
}  // namespace fmtc
