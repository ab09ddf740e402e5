#include "core/segment_counter.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

namespace fmtc {
namespace {

// Counts each value where its segment lies, in as many and as large histograms as are asked for.
void check(Layout layout, int64_t groups, int32_t lo, int32_t hi) {
  std::mt19937 random(7);
  std::vector<int64_t> group_of(layout.segments());
  for (int64_t& group : group_of) {
    group = std::uniform_int_distribution<int64_t>(0, groups - 1)(random);
  }
  const auto symbols = static_cast<size_t>(int64_t{hi} - lo + 1);
  std::vector<int64_t> counts(static_cast<size_t>(groups) * symbols, 5), expected = counts;
  SegmentCounter counter(group_of, groups, lo, hi);
  std::uniform_int_distribution<int> draw(lo - 3, hi + 3);
  for (int image = 0; image < 3; ++image) {
    std::vector<int16_t> values(layout.values());
    for (int16_t& value : values) value = static_cast<int16_t>(draw(random));
    counter.add(values, layout);
    size_t next = 0;
    for (uint64_t segment = 0; segment < layout.segments(); ++segment) {
      uint64_t size = layout.plane();
      if (layout.classes > 1) {
        const auto of_class = (segment - 1) % static_cast<uint64_t>(layout.classes);
        size = segment == 0 ? layout.map_size() : layout.positions[of_class];
      }
      for (uint64_t i = 0; i < size; ++i) {
        const int32_t symbol = std::clamp<int32_t>(values[next++], lo, hi) - lo;
        ++expected[static_cast<size_t>(group_of[segment]) * symbols + static_cast<size_t>(symbol)];
      }
    }
  }
  counter.move_to(counts);
  EXPECT_EQ(counts, expected);
  counter.move_to(counts);  // it has forgotten them
  EXPECT_EQ(counts, expected);
}

TEST(SegmentCounter, CountsWhereASegmentLies) {
  check({4, 5, 7, 1, {}}, 3, -4, 9);
  check({6, 5, 7, 3, {20, 0, 15}}, 3, -4, 9);
  check({3, 1, 1, 2, {1, 0}}, 1, 0, 0);
  check({2, 9, 9, 2, {80, 1}}, 4, -2000, 2000);  // more counters than a cache holds
  check({0, 5, 7, 1, {}}, 1, 0, 3);
}

TEST(Buffer, KeepsLittle) {
  Buffer<int16_t> buffer;
  const auto first = buffer.take(100);
  EXPECT_EQ(first.size(), 100u);
  EXPECT_EQ(buffer.take(50).data(), first.data());
  const size_t large = Buffer<int16_t>::kMostKept;
  EXPECT_EQ(buffer.take(large).size(), large);
  std::ranges::fill(buffer.take(10), int16_t{1});
}

}  // namespace
}  // namespace fmtc
