// fmtc_transform, forward and inverse, against the core's float arithmetic on integers.
#include "core/transform.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "Vforward_16.h"
#include "Vforward_16x4.h"
#include "Vforward_64.h"
#include "Vinverse_16.h"
#include "Vinverse_16x4.h"
#include "Vinverse_64.h"
#include "bench.h"
#include "quantizer_table.h"
#include "real.h"

namespace fmtc::rtl {
namespace {

// A matrix of signed bytes, offsets, and the core's view of them.
struct Matrix {
  size_t rows, columns;
  std::vector<float> values, offset;

  Matrix(size_t rows, size_t columns, std::mt19937& random)
      : rows(rows), columns(columns), values(rows * columns), offset(rows) {
    for (float& value : values) value = static_cast<float>(static_cast<int>(random() % 256) - 128);
    for (float& value : offset) {
      value = static_cast<float>(static_cast<int>(random() % (1 << 20)) - (1 << 19));
    }
  }
  ChannelMatrix channel_matrix() const { return {values, offset}; }
};

template <typename Model>
class Transform {
 public:
  Transform(double share, uint32_t seed)
      : in(bench_->in_valid, bench_->in_ready,
           [this](const In& item) {
             bench_->in_value = static_cast<uint16_t>(item.value & 0x1FF);
             bench_->tile_pixels = static_cast<uint8_t>(item.pixels);
           },
           {share, seed}),
        out(bench_->out_valid, bench_->out_ready,
            [this] { return static_cast<uint32_t>(bench_->out_value); }, {share, seed + 1}) {
    bench_.attach(in);
    bench_.attach(out);
    bench_->table_write = 0;
    bench_.reset();
  }

  void load(const Matrix& matrix) {
    for (size_t r = 0; r < matrix.rows; ++r) {
      for (size_t c = 0; c < columns_; ++c) {
        // What is beyond the matrix must not count.
        const float value = c < matrix.columns ? matrix.values[r * matrix.columns + c] : 0;
        write(0, r, c, static_cast<int32_t>(value));
      }
      write(1, r, 0, static_cast<int32_t>(matrix.offset[r]));
    }
    bench_->rows = static_cast<uint16_t>(matrix.rows);
    bench_->columns = static_cast<uint16_t>(matrix.columns);
    bench_->table_write = 0;
  }
  void load(const QuantizerTable& table) {
    for (size_t v = 1; v < table.thresholds.size(); ++v) write(2, v, 0, table.thresholds[v]);
    bench_->table_write = 0;
    bench_->first_limit = masked(table.thresholds[1]);
    bench_->last_limit = masked(table.thresholds.back());
    bench_->last_index = static_cast<uint8_t>(table.last_index());
    bench_->reciprocal = table.reciprocal;
    bench_->shift = static_cast<uint8_t>(table.shift);
    bench_->lo = static_cast<uint16_t>(table.lo);
  }
  void limit(int32_t least, int32_t most) {
    bench_->first_limit = masked(least);
    bench_->last_limit = masked(most);
  }

  struct In {
    int32_t value = 0;
    uint32_t pixels = 0;
  };

  // Columns that the module has, so that load() clears those that a matrix has not.
  void set_columns(size_t columns) { columns_ = columns; }

  uint64_t run(size_t results) {
    const uint64_t before = bench_.cycles();
    EXPECT_TRUE(bench_.run([&] { return out.items.size() >= results; },
                           1000 * (results + in.size()) + 10000, 0));
    const uint64_t cycles = bench_.cycles() - before;
    bench_.run([] { return true; }, 1, 50);
    EXPECT_EQ(out.items.size(), results);
    return cycles;
  }

 private:
  static uint32_t masked(int32_t value) { return static_cast<uint32_t>(value) & 0x1FFFFFF; }
  void write(int kind, size_t row, size_t column, int32_t data) {
    bench_->table_write = 1;
    bench_->table_kind = static_cast<uint8_t>(kind);
    bench_->table_row = static_cast<uint16_t>(row);
    bench_->table_column = static_cast<uint16_t>(column);
    bench_->table_data = masked(data);
    bench_.edge();
  }

  Bench<Model> bench_;
  size_t columns_ = 0;

 public:
  Source<In> in;
  Sink<uint32_t> out;
};

constexpr size_t kMostPixels = 32;

// Pixels of a tile at a time: whole tiles, then what is left.
std::vector<std::pair<size_t, size_t>> tiles_of(size_t plane, std::mt19937& random) {
  std::vector<std::pair<size_t, size_t>> tiles;
  for (size_t first = 0; first < plane;) {
    const size_t size = std::min<size_t>(
        plane - first, random() % 2 == 0 ? kMostPixels : 1 + random() % kMostPixels);
    tiles.emplace_back(first, size);
    first += size;
  }
  return tiles;
}

// Levels of random pixels: tiles come out component by component.
template <typename Model>
void test_forward(size_t lanes, size_t groups, uint64_t values) {
  uint64_t done = 0;
  for (uint32_t round = 0; done < values; ++round) {
    std::mt19937 random(round + 1);
    Transform<Model> transform(kShares[round % std::size(kShares)], round);
    transform.set_columns(lanes * groups);
    const size_t columns = round == 0 ? lanes * groups : 1 + random() % (lanes * groups);
    const size_t rows = round == 1 ? 1 : 1 + random() % (lanes * groups);
    const size_t plane = round == 2 ? 1 : 1 + random() % 200;
    const Matrix matrix(rows, columns, random);
    const int32_t lo = -static_cast<int32_t>(random() % 129);
    const int32_t hi = lo + 1 + static_cast<int32_t>(random() % 255);
    const auto step = static_cast<float>(std::ldexp(
        1 + std::uniform_real_distribution<>(0, 1)(random), static_cast<int>(random() % 17)));
    const auto table = quantizer_table(step, lo, hi);
    if (!table) {
      EXPECT_LT(step, 4) << "no table for a step that is not small";
      continue;
    }
    transform.load(matrix);
    transform.load(*table);
    std::vector<float> x(columns * plane);
    for (float& value : x) value = static_cast<float>(static_cast<int>(random() % 512) - 256);
    std::vector<int16_t> expected(rows * plane);
    int64_t clamped;
    ASSERT_EQ(transform_quantize(x, 1, static_cast<int64_t>(plane), matrix.channel_matrix(), step,
                                 lo, hi, expected, clamped),
              Status::kOk);
    std::vector<int16_t> in_order;
    for (const auto& [first, size] : tiles_of(plane, random)) {
      for (size_t p = first; p < first + size; ++p) {
        for (size_t c = 0; c < columns; ++c) {
          transform.in.push({static_cast<int32_t>(x[c * plane + p]), static_cast<uint32_t>(size)});
        }
      }
      for (size_t r = 0; r < rows; ++r) {
        for (size_t p = first; p < first + size; ++p) in_order.push_back(expected[r * plane + p]);
      }
    }
    transform.run(in_order.size());
    std::vector<int16_t> levels;
    for (const uint32_t level : transform.out.items) levels.push_back(static_cast<int16_t>(level));
    ASSERT_EQ(levels, in_order) << "round " << round << ", step " << step;
    done += columns * rows * plane / 16;
  }
}

// The way back: levels come component by component, values go pixel by pixel.
template <typename Model>
void test_inverse(size_t lanes, size_t groups, uint64_t values) {
  uint64_t done = 0;
  for (uint32_t round = 0; done < values; ++round) {
    std::mt19937 random(round + 1);
    Transform<Model> transform(kShares[round % std::size(kShares)], round);
    transform.set_columns(lanes * groups);
    const size_t columns = round == 0 ? lanes * groups : 1 + random() % (lanes * groups);
    const size_t rows = round == 1 ? 1 : 1 + random() % (lanes * groups);
    const size_t plane = round == 2 ? 1 : 1 + random() % 200;
    const Matrix matrix(rows, columns, random);
    transform.load(matrix);
    const int32_t least = random() % 2 == 0 ? 0 : -(1 << 23);
    const auto most = static_cast<int32_t>(random() % (1 << 23));
    transform.limit(least, most);
    std::vector<int16_t> levels(columns * plane);
    for (int16_t& level : levels)
      level = static_cast<int16_t>(static_cast<int>(random() % 512) - 256);
    std::vector<float> expected(rows * plane);
    ASSERT_EQ(
        dequantize_transform(levels, 1, static_cast<int64_t>(plane), matrix.channel_matrix(), 1.0f,
                             static_cast<float>(least), static_cast<float>(most), expected),
        Status::kOk);
    std::vector<int32_t> in_order;
    for (const auto& [first, size] : tiles_of(plane, random)) {
      for (size_t c = 0; c < columns; ++c) {
        for (size_t p = first; p < first + size; ++p) {
          transform.in.push({levels[c * plane + p], static_cast<uint32_t>(size)});
        }
      }
      for (size_t p = first; p < first + size; ++p) {
        for (size_t r = 0; r < rows; ++r) {
          in_order.push_back(static_cast<int32_t>(expected[r * plane + p]));
        }
      }
    }
    transform.run(in_order.size());
    std::vector<int32_t> found;
    for (const uint32_t value : transform.out.items) {
      found.push_back(static_cast<int32_t>(value << 7) >> 7);
    }
    ASSERT_EQ(found, in_order) << "round " << round;
    done += columns * rows * plane / 16;
  }
}

TEST(Transform, Forward16) { test_forward<Vforward_16>(16, 1, work()); }
TEST(Transform, Forward16In4Groups) { test_forward<Vforward_16x4>(16, 4, work()); }
TEST(Transform, Forward64) { test_forward<Vforward_64>(64, 1, work()); }
TEST(Transform, Inverse16) { test_inverse<Vinverse_16>(16, 1, work()); }
TEST(Transform, Inverse16In4Groups) { test_inverse<Vinverse_16x4>(16, 4, work()); }
TEST(Transform, Inverse64) { test_inverse<Vinverse_64>(64, 1, work()); }

// The table of levels alone, at and beside each threshold, and that a reciprocal alone would not
// do.
TEST(Transform, QuantizerTables) {
  std::mt19937 random(7);
  uint64_t wrong = 0, tried = 0;
  for (int i = 0; i < 300; ++i) {
    const auto step = static_cast<float>(
        std::ldexp(1 + std::uniform_real_distribution<>(0, 1)(random), 2 + i % 15));
    const int32_t lo = -128, hi = 127;
    const auto table = quantizer_table(step, lo, hi);
    ASSERT_TRUE(table) << step;
    const auto check = [&](int32_t y) {
      const int64_t v = y < table->thresholds[1]        ? 0
                        : y >= table->thresholds.back() ? table->last_index()
                                                        : table->guess(y);
      const bool inside = y >= table->thresholds[1] && y < table->thresholds.back();
      const int64_t index = v + (inside && y >= table->thresholds[static_cast<size_t>(v) + 1]);
      bool clamped;
      ASSERT_EQ(table->lo + index, quantize_one(static_cast<float>(y), step, lo, hi, clamped)) << y;
      ++tried;
      wrong += inside && index != v ? 1 : 0;
    };
    for (size_t v = 1; v < table->thresholds.size(); ++v) {
      for (int32_t near = -2; near <= 2; ++near) check(table->thresholds[v] + near);
    }
    for (int j = 0; j < 1000; ++j) check(static_cast<int32_t>(random() % (1 << 25)) - (1 << 24));
  }
  EXPECT_GT(wrong, tried / 1000) << "thresholds that are never needed test nothing";
}

TEST(Transform, AComponentOfAPixelACycle) {
  std::mt19937 random(8);
  Transform<Vforward_64> transform(0, 1);
  transform.set_columns(64);
  const Matrix matrix(64, 64, random);
  transform.load(matrix);
  transform.load(*quantizer_table(3000, -128, 127));
  const size_t values = 64 * 32 * 10;
  for (size_t i = 0; i < values; ++i) transform.in.push({static_cast<int32_t>(random() % 256), 32});
  const uint64_t cycles = transform.run(values);
  report_cycles("transform", cycles - 64 * 32, values);  // but for the first tile, which comes in
  EXPECT_LE(cycles, values + 64 * 32 + 40);
}

}  // namespace
}  // namespace fmtc::rtl
