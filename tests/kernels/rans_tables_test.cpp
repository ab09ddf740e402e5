#include "cuda/rans_tables.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <random>

#include "core/rans.h"
#include "core/rans_value.h"

namespace fmtc {
namespace {

// What replaces the division, for states at which a quotient changes and others.
TEST(RansTables, EncodesAsTheDivisionDoes) {
  std::mt19937 random(0);
  for (int log2_total = kMinLog2Total; log2_total <= kMaxLog2Total; ++log2_total) {
    const uint32_t total = 1u << log2_total;
    for (uint32_t frequency = 1; frequency <= total; ++frequency) {
      const auto start = static_cast<uint32_t>(random() % (total - frequency + 1));
      const uint32_t entry = frequency << 16 | start;
      const cuda::DividingEntry dividing = cuda::dividing_entry(entry, false, log2_total);
      ASSERT_EQ(cuda::frequency_of(dividing), frequency);
      const uint64_t beyond = uint64_t{frequency}
                              << (32 - log2_total);  // a digit goes out from here
      const auto check = [&](uint64_t state) {
        if (state < kRansLowest || state >= beyond) return;
        const auto x = static_cast<uint32_t>(state);
        ASSERT_EQ(cuda::encode_value(x, dividing, log2_total), encode_value(x, entry, log2_total))
            << x << " by " << frequency;
      };
      for (uint64_t quotient = kRansLowest / frequency; quotient * frequency < beyond;
           quotient += 1 + quotient / 16) {
        for (uint64_t state : {quotient * frequency - 1, quotient * frequency}) check(state);
      }
      check(beyond - 1);
      for (int i = 0; i < 16; ++i) check(random());
    }
  }
}

TEST(RansTables, EscapesAreMarked) {
  const cuda::DividingEntry escape = cuda::dividing_entry(7 << 16 | 4089, true, 12);
  EXPECT_TRUE(cuda::SharedEncodeTables::escapes(escape));
  EXPECT_FALSE(cuda::SharedEncodeTables::escapes(cuda::dividing_entry(7 << 16 | 4089, false, 12)));
  for (uint32_t x : {1u << 16, 123456u, 7000000u}) {
    EXPECT_EQ(cuda::encode_value(x, escape, 12), encode_value(x, 7 << 16 | 4089, 12));
  }
}

}  // namespace
}  // namespace fmtc
