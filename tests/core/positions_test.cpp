#include "core/positions.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <numeric>
#include <random>
#include <span>
#include <utility>
#include <vector>

#include "core/coding.h"

namespace fmtc {
namespace {

using Levels = std::vector<int16_t>;
using Map = std::vector<uint8_t>;

// Height and width: a single position, rows and columns, even and odd, whole and cut cells.
constexpr std::pair<uint32_t, uint32_t> kSizes[] = {{1, 1}, {1, 2}, {2, 1}, {1, 9},
                                                    {9, 1}, {2, 2}, {3, 3}, {4, 4},
                                                    {5, 8}, {8, 5}, {7, 7}, {16, 33}};

Levels random_levels(size_t size, int lo, int hi, std::mt19937& random) {
  std::uniform_int_distribution<int> draw(lo, hi);
  Levels levels(size);
  for (int16_t& level : levels) level = static_cast<int16_t>(draw(random));
  return levels;
}

// Classes drawn from 0 .. classes - 1 without those of which `without` has the bit.
Map random_map(const Layout& layout, unsigned without, std::mt19937& random) {
  std::vector<uint8_t> allowed;
  for (int c = 0; c < layout.classes; ++c) {
    if ((without >> c & 1) == 0) allowed.push_back(static_cast<uint8_t>(c));
  }
  Map map(layout.map_size());
  for (uint8_t& c : map) c = allowed[random() % allowed.size()];
  return map;
}

Layout counted(uint32_t components, uint32_t height, uint32_t width, int classes, const Map& map) {
  Layout layout{components, height, width, classes};
  EXPECT_EQ(count_positions(map, layout), Status::kOk);
  return layout;
}

Levels arranged(const Levels& levels, const Map& map, const Layout& layout) {
  Levels values(layout.values());
  EXPECT_EQ(arrange(levels, map, layout, values), Status::kOk);
  return values;
}

// The section "Classes of positions" of docs/stream_format.md, asking for each position's class.
Levels reference_arrangement(const Levels& levels, const Map& map, const Layout& layout) {
  const int64_t height = layout.height, width = layout.width;
  const int64_t rows = (height + 1) / 2, columns = (width + 1) / 2;
  const auto class_at = [&](int64_t y, int64_t x) -> int {
    return y < 0 || x < 0 ? 0 : map[static_cast<size_t>(y * columns + x)];
  };
  Levels values;
  for (int64_t y = 0; y < rows; ++y) {
    for (int64_t x = 0; x < columns; ++x) {
      const int expected = (32 * class_at(y, x - 1) + 32 * class_at(y - 1, x) + 32) / 64;
      values.push_back(static_cast<int16_t>(class_at(y, x) - expected));
    }
  }
  for (int64_t k = 0; k < layout.components; ++k) {
    for (int c = 0; c < layout.classes; ++c) {
      for (int64_t cell = 0; cell < rows * columns; ++cell) {
        const int64_t y = cell / columns, x = cell % columns;
        if (class_at(y, x) != c) continue;
        for (const auto& [dy, dx] : {std::pair{0, 0}, {0, 1}, {1, 0}, {1, 1}}) {
          if (2 * y + dy >= height || 2 * x + dx >= width) continue;
          const int64_t index = (k * height + 2 * y + dy) * width + 2 * x + dx;
          values.push_back(levels[static_cast<size_t>(index)]);
        }
      }
    }
  }
  return values;
}

std::array<uint64_t, kMaxPositionClasses> reference_positions(const Map& map, uint32_t height,
                                                              uint32_t width) {
  std::array<uint64_t, kMaxPositionClasses> positions = {};
  for (uint32_t y = 0; y < height; ++y) {
    for (uint32_t x = 0; x < width; ++x) ++positions[map[y / 2 * ((width + 1) / 2) + x / 2]];
  }
  return positions;
}

std::vector<int64_t> reference_activity(const Levels& levels, int64_t height, int64_t width,
                                        const std::vector<int32_t>& weights) {
  const int64_t rows = (height + 1) / 2, columns = (width + 1) / 2;
  std::vector<int64_t> sums(static_cast<size_t>(rows * columns)), positions(sums.size());
  for (size_t i = 0; i < levels.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    const int64_t x = at % width, y = at / width % height, k = at / (width * height);
    const auto cell = static_cast<size_t>(y / 2 * columns + x / 2);
    const int64_t product = std::abs(int64_t{levels[i]}) * weights[static_cast<size_t>(k)];
    sums[cell] += std::min<int64_t>(product, 1 << 14);
    positions[cell] += k == 0;
  }
  for (size_t b = 0; b < sums.size(); ++b) sums[b] /= positions[b];
  return sums;
}

std::vector<int64_t> activity_of(const Levels& levels, uint32_t height, uint32_t width,
                                 const std::vector<int32_t>& weights) {
  std::vector<int64_t> activity(size_t{(height + 1) / 2} * ((width + 1) / 2), -1);
  EXPECT_EQ(position_activity(levels, height, width, weights, activity), Status::kOk);
  return activity;
}

TEST(Positions, ActivityAgreesWithTheObviousSum) {
  std::mt19937 random(1);
  for (const auto& [height, width] : kSizes) {
    for (const uint32_t components : {1u, 2u, 5u, 40u}) {
      const Levels levels = random_levels(size_t{components} * height * width, -40, 40, random);
      std::vector<int32_t> weights(components);
      for (int32_t& weight : weights) weight = static_cast<int32_t>(random() % 3000);
      weights[random() % components] = 0;
      ASSERT_EQ(activity_of(levels, height, width, weights),
                reference_activity(levels, height, width, weights))
          << components << " x " << height << " x " << width;
    }
  }
}

TEST(Positions, ActivityOfExtremes) {
  std::mt19937 random(2);
  for (const auto& [height, width] : kSizes) {
    Levels levels = random_levels(size_t{3} * height * width, 0, 2, random);
    for (int16_t& level : levels) level = level == 0 ? INT16_MIN : level == 1 ? INT16_MAX : 1;
    for (const std::vector<int32_t>& weights :
         {std::vector<int32_t>{kMaxWeight, kMaxWeight, kMaxWeight}, {1, 0, kMaxWeight - 1}}) {
      ASSERT_EQ(activity_of(levels, height, width, weights),
                reference_activity(levels, height, width, weights));
    }
  }
  // The most components that there may be, all of them at the limit.
  EXPECT_EQ(activity_of(Levels(4 * kMaxWeighted, INT16_MIN), 2, 2,
                        std::vector<int32_t>(kMaxWeighted, kMaxWeight)),
            std::vector<int64_t>{int64_t{kMaxWeighted} * kMostActivity});
}

TEST(Positions, ActivityWorkedExample) {
  // Cells (5, 2; 0, -3), (7; 1) and, cut below, (4, 4), (-9): with weight 3 their means are
  // 30 / 4, 24 / 2, 24 / 2 and 27, rounded down.
  EXPECT_EQ(activity_of({5, 2, 7, 0, -3, 1, 4, 4, -9}, 3, 3, {3}),
            (std::vector<int64_t>{7, 12, 12, 27}));
}

TEST(Positions, ActivityOfNothing) {
  EXPECT_EQ(activity_of({}, 3, 3, {}), std::vector<int64_t>(4, 0));
  EXPECT_EQ(activity_of({}, 0, 3, {1}), std::vector<int64_t>{});
  EXPECT_EQ(activity_of({}, 3, 0, {1}), std::vector<int64_t>{});
}

TEST(Positions, ActivityRefusesBadArguments) {
  const Levels levels(12, 1);
  std::vector<int64_t> activity(4, -1);
  const auto status = [&](size_t size, uint32_t height, uint32_t width,
                          const std::vector<int32_t>& weights, size_t cells) {
    return position_activity(std::span(levels).first(size), height, width, weights,
                             std::span(activity).first(cells));
  };
  EXPECT_EQ(status(12, 3, 2, {1, 1}, 2), Status::kOk);
  EXPECT_EQ(status(11, 3, 2, {1, 1}, 2), Status::kBadArgument);
  EXPECT_EQ(status(12, 3, 2, {1, 1, 1}, 2), Status::kBadArgument);
  EXPECT_EQ(status(12, 4, 2, {1, 1}, 2), Status::kBadArgument);
  EXPECT_EQ(status(12, 3, 2, {1, 1}, 1), Status::kBadArgument);
  EXPECT_EQ(status(12, 3, 2, {1, 1}, 3), Status::kBadArgument);
  EXPECT_EQ(status(12, 3, 2, {1, -1}, 2), Status::kOutOfRange);
  EXPECT_EQ(status(12, 3, 2, {kMaxWeight + 1, 1}, 2), Status::kOutOfRange);
  const std::vector<int32_t> many(kMaxWeighted + 1, 1);
  const Levels wide(many.size());
  EXPECT_EQ(position_activity(wide, 1, 1, many, std::span(activity).first(1)),
            Status::kBadArgument);
}

TEST(Positions, CountsEachClass) {
  std::mt19937 random(3);
  for (const auto& [height, width] : kSizes) {
    for (int classes = kMinPositionClasses; classes <= kMaxPositionClasses; ++classes) {
      const Map map = random_map({1, height, width, classes}, 0, random);
      const Layout layout = counted(1, height, width, classes, map);
      ASSERT_EQ(layout.positions, reference_positions(map, height, width));
      ASSERT_EQ(std::accumulate(layout.positions.begin(), layout.positions.end(), uint64_t{0}),
                layout.plane());
    }
  }
}

TEST(Positions, CountForgetsWhatWasThere) {
  Layout layout{1, 2, 2, 2, {5, 6, 7, 8, 9, 10, 11, 12}};
  EXPECT_EQ(count_positions(Map{1}, layout), Status::kOk);
  EXPECT_EQ(layout.positions, (std::array<uint64_t, kMaxPositionClasses>{0, 4}));
}

TEST(Positions, CountRefusesBadMaps) {
  Layout layout{1, 3, 5, 4};
  EXPECT_EQ(count_positions(Map{0, 1, 2, 3, 0, 1}, layout), Status::kOk);
  EXPECT_EQ(count_positions(Map{0, 1, 2, 3, 0}, layout), Status::kBadArgument);
  EXPECT_EQ(count_positions(Map{0, 1, 2, 3, 0, 1, 0}, layout), Status::kBadArgument);
  EXPECT_EQ(count_positions(Map{0, 1, 2, 3, 0, 4}, layout), Status::kOutOfRange);
  EXPECT_EQ(count_positions(Map{255, 1, 2, 3, 0, 1}, layout), Status::kOutOfRange);
}

TEST(Positions, ArrangementWorkedExample) {
  // Classes 1 0 / 1 1 of cells (1, 2; 4, 5), (3; 6), (7, 8), (9). The map: 1 - 0; 0 - 1, as
  // (32 + 32) / 64 is 1; 1 - 1; 1 - 1. Then class 0, then class 1.
  const Map map = {1, 0, 1, 1};
  const Layout layout = counted(1, 3, 3, 2, map);
  EXPECT_EQ(arranged({1, 2, 3, 4, 5, 6, 7, 8, 9}, map, layout),
            (Levels{1, -1, 0, 0, 3, 6, 1, 2, 4, 5, 7, 8, 9}));
}

// All sizes and numbers of classes, with classes left out: the first, the last, all but one.
TEST(Positions, ArrangementAgreesWithTheFormatAndComesBack) {
  std::mt19937 random(4);
  for (const auto& [height, width] : kSizes) {
    for (int classes = kMinPositionClasses; classes <= kMaxPositionClasses; ++classes) {
      const unsigned last = 1u << (classes - 1);
      for (const unsigned without : {0u, 1u, last, 2 * last - 2, last - 1}) {
        const uint32_t components = 1 + random() % 6;
        const Map map = random_map({components, height, width, classes}, without, random);
        const Layout layout = counted(components, height, width, classes, map);
        const Levels levels = random_levels(layout.levels(), -32768, 32767, random);
        const Levels values = arranged(levels, map, layout);
        ASSERT_EQ(values, reference_arrangement(levels, map, layout))
            << height << " x " << width << ", " << classes << " classes";
        Levels back(levels.size());
        ASSERT_EQ(restore(values, layout, back), Status::kOk);
        ASSERT_EQ(back, levels);
      }
    }
  }
}

TEST(Positions, ManyComponents) {
  std::mt19937 random(5);
  const Map map = random_map({1000, 5, 7, 4}, 0, random);
  const Layout layout = counted(1000, 5, 7, 4, map);
  const Levels levels = random_levels(layout.levels(), -9, 9, random);
  const Levels values = arranged(levels, map, layout);
  EXPECT_EQ(values, reference_arrangement(levels, map, layout));
  Levels back(levels.size());
  ASSERT_EQ(restore(values, layout, back), Status::kOk);
  EXPECT_EQ(back, levels);
}

TEST(Positions, NothingIsArrangedAsItsMap) {
  const Map map = {0, 1};
  const Layout layout = counted(0, 2, 3, 2, map);
  const Levels values = arranged({}, map, layout);
  EXPECT_EQ(values, (Levels{0, 1}));
  EXPECT_EQ(restore(values, layout, {}), Status::kOk);
  for (const Layout& empty : {Layout{3, 0, 4, 2}, Layout{3, 4, 0, 2}, Layout{0, 0, 0, 8}}) {
    EXPECT_EQ(arranged({}, {}, empty), Levels{});
    EXPECT_EQ(restore({}, empty, {}), Status::kOk);
  }
}

TEST(Positions, ArrangeAndRestoreRefuseWrongSizes) {
  const Map map = {0, 1, 1, 0, 0, 1};
  const Layout layout = counted(2, 3, 5, 2, map);
  Levels levels(31), values(37);
  const auto both = [&](Status expected, const Layout& of, size_t in_levels, size_t in_values) {
    EXPECT_EQ(
        arrange(std::span(levels).first(in_levels), map, of, std::span(values).first(in_values)),
        expected);
    EXPECT_EQ(restore(std::span(values).first(in_values), of, std::span(levels).first(in_levels)),
              expected);
  };
  both(Status::kOk, layout, 30, 36);
  both(Status::kBadArgument, layout, 29, 36);
  both(Status::kBadArgument, layout, 31, 36);
  both(Status::kBadArgument, layout, 30, 35);
  both(Status::kBadArgument, layout, 30, 37);
  both(Status::kBadArgument, Layout{2, 3, 5, 1}, 30, 36);
  both(Status::kBadArgument, Layout{2, 3, 5, 1}, 30, 30);
  EXPECT_EQ(arrange(std::span(levels).first(30), std::span(map).first(5), layout,
                    std::span(values).first(36)),
            Status::kBadArgument);
}

// The classes that residuals stand for, as the format says, whatever comes out.
Levels reference_classes(std::span<const int16_t> residuals, size_t columns) {
  Levels classes;
  for (size_t i = 0; i < residuals.size(); ++i) {
    const int left = i % columns > 0 ? classes[i - 1] : 0;
    const int above = i >= columns ? classes[i - columns] : 0;
    classes.push_back(static_cast<int16_t>(residuals[i] + ((32 * left + 32 * above + 32) >> 6)));
  }
  return classes;
}

// Each value that a place of the map can hold: restore takes exactly those that give classes with
// as many positions as the header counts.
TEST(Positions, RestoreTakesValidMapsAlone) {
  std::mt19937 random(6);
  const Map map = random_map({1, 5, 5, 3}, 0, random);
  const Layout layout = counted(1, 5, 5, 3, map);
  const Levels levels = random_levels(25, -9, 9, random);
  const Levels good = arranged(levels, map, layout);
  size_t taken = 0;
  for (size_t place = 0; place < layout.map_size(); ++place) {
    for (int value = -32768; value <= 32767; ++value) {
      Levels changed = good;
      changed[place] = static_cast<int16_t>(value);
      const Levels classes = reference_classes(std::span(changed).first(layout.map_size()), 3);
      const bool known = std::ranges::all_of(classes, [](int c) { return c >= 0 && c < 3; });
      const Map other(classes.begin(), classes.end());
      const bool valid = known && reference_positions(other, 5, 5) == layout.positions;
      Levels back(25);
      ASSERT_EQ(restore(changed, layout, back), valid ? Status::kOk : Status::kBadCode);
      if (!valid) continue;
      ASSERT_EQ(reference_arrangement(back, other, layout), changed);
      ++taken;
    }
  }
  EXPECT_GE(taken, layout.map_size());
}

TEST(Positions, RestoreRefusesOtherCounts) {
  const Map map = {0, 1, 2, 0};
  Layout layout = counted(1, 4, 4, 3, map);
  const Levels values = arranged(Levels(16, 1), map, layout);
  Levels back(16);
  EXPECT_EQ(restore(values, layout, back), Status::kOk);
  std::swap(layout.positions[0], layout.positions[1]);
  EXPECT_EQ(restore(values, layout, back), Status::kBadCode);
  layout.positions = {8, 4, 3, 1};
  EXPECT_EQ(restore(values, layout, back), Status::kBadCode);
  layout.positions = {};
  EXPECT_EQ(restore(values, layout, back), Status::kBadCode);
  layout.positions = {8, 8};
  layout.classes = 2;
  EXPECT_EQ(restore(values, layout, back), Status::kBadCode) << "class 2 of 2";
}

// ---------------------------------------------------------------------------------------------
// Segments

// Tables of 3 entries for the segments of `components` components; entry t * 3 of table t is t.
struct Segments {
  std::vector<uint32_t> entries = {0, 7, 7, 1, 7, 7, 2, 7, 7, 3, 7, 7};
  std::vector<uint64_t> parts;
  std::vector<int64_t> table_of;
  uint64_t map = 0, plane = 0, components = 0;

  ComponentTables tables() const { return {0, 3, entries, table_of, plane, {}, map, parts}; }
  // The segment of each value, one after the other.
  std::vector<uint64_t> segment_of_values() const {
    std::vector<uint64_t> sizes;
    if (!parts.empty()) sizes.push_back(map);
    for (uint64_t k = 0; k < components; ++k) {
      if (parts.empty()) sizes.push_back(plane);
      sizes.insert(sizes.end(), parts.begin(), parts.end());
    }
    std::vector<uint64_t> segments;
    for (uint64_t s = 0; s < sizes.size(); ++s) segments.insert(segments.end(), sizes[s], s);
    return segments;
  }
};

Segments random_segments(uint64_t components, uint64_t map, std::vector<uint64_t> parts,
                         size_t tables, std::mt19937& random) {
  Segments made;
  made.parts = std::move(parts);
  made.map = map;
  made.plane = std::accumulate(made.parts.begin(), made.parts.end(), uint64_t{0});
  made.components = components;
  for (uint64_t s = 0; s < 1 + components * made.parts.size(); ++s) {
    made.table_of.push_back(static_cast<int64_t>(random() % tables));
  }
  return made;
}

// From any value on, any number of values, in steps of any size: the tables are those of a list
// with the table of each value.
void expect_runs(const Segments& made, std::mt19937& random) {
  const ComponentTables tables = made.tables();
  ASSERT_TRUE(tables_valid(tables, made.components));
  const std::vector<uint64_t> segments = made.segment_of_values();
  for (uint64_t first = 0; first < segments.size(); ++first) {
    uint64_t begin = 0;
    ASSERT_EQ(tables.segment_at(first, begin), segments[first]) << first;
    ASSERT_EQ(begin, std::ranges::find(segments, segments[first]) - segments.begin());
    const size_t count = 1 + random() % (segments.size() - first);
    size_t done = 0;
    for (RunCursor run(tables, first, count); run.size() > 0;) {
      ASSERT_LE(done + run.size(), count);
      for (size_t i = 0; i < run.size(); ++i) {
        const int64_t expected = made.table_of[segments[first + done + i]];
        ASSERT_EQ(run.table(), static_cast<size_t>(expected)) << first << " + " << done + i;
        ASSERT_EQ(run.entries()[0], static_cast<uint32_t>(expected));
      }
      const size_t step = 1 + random() % run.size();
      done += step;
      run.advance(step);
    }
    ASSERT_EQ(done, count);
  }
  EXPECT_EQ(RunCursor(tables, segments.size(), 0).size(), 0u);
}

TEST(Segments, RunsAreThoseOfEachValue) {
  std::mt19937 random(7);
  for (const uint64_t components : {1u, 2u, 5u}) {
    for (const size_t tables : {1u, 2u, 4u}) {
      for (const std::vector<uint64_t>& parts :
           std::vector<std::vector<uint64_t>>{{5, 3},
                                              {0, 4},
                                              {4, 0},
                                              {0, 0, 6},
                                              {6, 0, 0},
                                              {2, 0, 0, 3},
                                              {0, 1, 0, 2, 0, 0, 3, 0},
                                              {1, 1, 1, 1, 1, 1, 1, 1}}) {
        expect_runs(random_segments(components, 4, parts, tables, random), random);
      }
    }
  }
}

TEST(Segments, RunsWithoutClassesAreThoseOfEachValue) {
  std::mt19937 random(8);
  for (const size_t tables : {1u, 2u, 4u}) {
    Segments made = random_segments(6, 0, {7}, tables, random);
    made.parts.clear();
    made.table_of.pop_back();
    expect_runs(made, random);
  }
}

TEST(Segments, EachNeedsATable) {
  std::mt19937 random(9);
  const Segments made = random_segments(3, 4, {2, 0, 5}, 4, random);
  EXPECT_EQ(made.tables().segments(3), 10u);
  EXPECT_TRUE(tables_valid(made.tables(), 3));
  EXPECT_FALSE(tables_valid(made.tables(), 2));
  EXPECT_FALSE(tables_valid(made.tables(), 4));
  Segments other = made;
  other.table_of[9] = 4;
  EXPECT_FALSE(tables_valid(other.tables(), 3));
  other.table_of[9] = -1;
  EXPECT_FALSE(tables_valid(other.tables(), 3));
}

}  // namespace
}  // namespace fmtc
