#include "cuda/arrange.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "core/positions.h"

namespace fmtc {
namespace {

using Levels = std::vector<int16_t>;

constexpr int32_t kBadCode = static_cast<int32_t>(Status::kBadCode);
constexpr int32_t kBadChunkChecksum = static_cast<int32_t>(Status::kBadChunkChecksum);

// Images of one shape with classes of positions, arranged by the core.
struct Images {
  Images(int64_t images, const Layout& shape, std::mt19937& random) : count(images), layout(shape) {
    for (int64_t n = 0; n < images; ++n) {
      Levels of_image(layout.levels());
      for (int16_t& level : of_image) level = static_cast<int16_t>(random());
      std::vector<uint8_t> map(layout.map_size());
      for (uint8_t& c : map) c = static_cast<uint8_t>(random() % layout.classes);
      EXPECT_EQ(fmtc::count_positions(map, layout), Status::kOk);
      Levels arranged(layout.values());
      EXPECT_EQ(fmtc::arrange(of_image, map, layout, arranged), Status::kOk);
      levels.insert(levels.end(), of_image.begin(), of_image.end());
      values.insert(values.end(), arranged.begin(), arranged.end());
      positions.insert(positions.end(), layout.positions.begin(),
                       layout.positions.begin() + layout.classes);
    }
  }

  std::span<int16_t> values_of(int64_t n) {
    return std::span(values).subspan(static_cast<size_t>(n) * layout.values(), layout.values());
  }

  // What the core says of an image and makes of it; zeros where it is bad.
  Status restored_by_core(int64_t n, std::span<int16_t> result) {
    Layout of_image = layout;
    of_image.positions = {};
    for (int c = 0; c < layout.classes; ++c) {
      of_image.positions[c] = static_cast<uint64_t>(positions[n * layout.classes + c]);
    }
    const Status status = fmtc::restore(values_of(n), of_image, result);
    if (status != Status::kOk) std::ranges::fill(result, int16_t{0});
    return status;
  }

  // The kernels' levels and statuses beside the core's.
  void expect_same_as_core() {
    const size_t size = layout.levels();
    Levels restored(static_cast<size_t>(count) * size, 77);
    const std::vector<int32_t> status =
        restore(std::vector<uint64_t>(static_cast<size_t>(count), cuda::kNoDamage), restored);
    for (int64_t n = 0; n < count; ++n) {
      Levels expected(size);
      EXPECT_EQ(static_cast<Status>(status[n]), restored_by_core(n, expected));
      EXPECT_TRUE(std::ranges::equal(std::span(restored).subspan(n * size, size), expected));
    }
  }

  // The kernels' statuses, and levels, of images with this damage [count, shares].
  std::vector<int32_t> restore(const std::vector<uint64_t>& damage, Levels& restored) {
    std::vector<uint32_t> space(cuda::restore_space(count, layout) / sizeof(uint32_t) + 1);
    std::vector<int32_t> status(static_cast<size_t>(count), 77);
    cuda::restore(nullptr, values.data(), positions.data(),
                  {damage.data(), static_cast<int64_t>(damage.size()) / count}, count, layout,
                  reinterpret_cast<uint8_t*>(space.data()), restored.data(), status.data());
    return status;
  }

  int64_t count;
  Layout layout;
  Levels levels, values;
  std::vector<int64_t> positions;
};

// Single positions, rows and columns, cut cells, more rows of cells than a warp has threads, more
// cells than a thread block has threads, and than its shared memory holds.
constexpr Layout kShapes[] = {{3, 1, 1, 2}, {2, 1, 9, 4},  {2, 9, 1, 4},    {3, 7, 5, 3},
                              {1, 8, 6, 8}, {2, 70, 7, 5}, {1, 70, 66, 8},  {0, 4, 4, 2},
                              {2, 0, 4, 2}, {2, 4, 0, 2},  {2, 191, 200, 3}};

TEST(Restore, InvertsTheCoresArrangement) {
  std::mt19937 random(1);
  for (const Layout& shape : kShapes) {
    Images images(3, shape, random);
    images.expect_same_as_core();
    Levels core(shape.levels());
    ASSERT_EQ(images.restored_by_core(2, core), Status::kOk);
  }
}

TEST(Restore, FindsWhatTheCoreFinds) {
  std::mt19937 random(2);
  int bad = 0;
  for (int round = 0; round < 50; ++round) {
    const Layout& shape = kShapes[random() % 7];
    Images images(3, shape, random);
    if (random() % 2 == 0) {  // another number somewhere in the second image's map
      images.values_of(1)[random() % shape.map_size()] += static_cast<int16_t>(random() % 9 - 4);
    }
    if (random() % 2 == 0) {  // as many positions of other classes
      const size_t first = shape.classes + random() % shape.classes;
      const size_t second = shape.classes + random() % shape.classes;
      images.positions[first] += 4;
      images.positions[second] -= 4;
    }
    images.expect_same_as_core();
    Levels core(shape.levels());
    bad += images.restored_by_core(1, core) != Status::kOk;
  }
  EXPECT_GT(bad, 10);
  EXPECT_LT(bad, 45);
}

TEST(Restore, TakesAnyNumbersForAMap) {
  std::mt19937 random(3);
  for (int round = 0; round < 20; ++round) {
    Images images(2, kShapes[3], random);
    for (int16_t& value : images.values) value = static_cast<int16_t>(random());
    for (int64_t& count : images.positions) count = static_cast<int64_t>(random()) << 32;
    images.expect_same_as_core();
  }
}

TEST(Restore, LeavesAloneWhatHasFailedBefore) {
  std::mt19937 random(4);
  Images images(3, {2, 6, 5, 3}, random);
  const size_t size = images.layout.levels();
  Levels restored(3 * size, 77);
  images.values_of(2)[0] = 1000;
  // The least of what the shares of an image tell counts.
  std::vector<uint64_t> damage(3 * 70, cuda::kNoDamage);
  damage[70 + 2] = cuda::damage_of_chunk(7, Status::kBadCode);
  damage[70 + 69] = cuda::damage_of_chunk(6, Status::kBadChunkChecksum);
  std::vector<int32_t> status = images.restore(damage, restored);
  EXPECT_EQ(status, (std::vector<int32_t>{0, kBadChunkChecksum, kBadCode}));
  EXPECT_TRUE(std::equal(restored.begin(), restored.begin() + size, images.levels.begin()));
  EXPECT_TRUE(std::all_of(restored.begin() + size, restored.end(), [](int16_t l) { return !l; }));
  damage[2 * 70 + 5] = cuda::damage_of_stream(Status::kTruncated);
  status = images.restore(damage, restored);
  EXPECT_EQ(status[2], static_cast<int32_t>(Status::kTruncated));
}

}  // namespace
}  // namespace fmtc
