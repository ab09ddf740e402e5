// The channel transform, alone and fused with the quantiser: a thread block makes a tile of pixels
// and rows, a thread kRowsEach rows of some groups of four neighbouring pixels in registers. Tiles
// with fewer rows have more pixels. What the next columns need is loaded while these are
// multiplied.
#include <cmath>
#include <type_traits>

#include "core/quantize.h"
#include "cuda/kernel.h"
#include "cuda/reduce.h"
#include "cuda/transform.h"

namespace fmtc::cuda {
namespace {

constexpr uint32_t kFour = 4;    // what is read from shared memory, and written, at a time
constexpr uint32_t kGroups = 2;  // of four pixels
constexpr uint32_t kRowsEach = kFour;
constexpr uint32_t kTileThreads = 256;

// Tiles of so many rows.
template <uint32_t kTileRows>
struct Shape {
  static constexpr uint32_t kRows = kTileRows;
  static constexpr uint32_t kThreadsAlongRows = kRows / kRowsEach;
  static constexpr uint32_t kThreadsAlongPixels = kTileThreads / kThreadsAlongRows;
  static constexpr uint32_t kGroupStride = kThreadsAlongPixels * kFour;
  static constexpr uint32_t kPixels = kGroups * kGroupStride;
  static constexpr uint32_t kDepth = 2048 / kPixels;  // columns in shared memory at a time
  // Rows are stored along a column; four more spread columns over the banks.
  static constexpr uint32_t kRowStride = kRows + kFour;

  // What a thread loads of the next columns.
  static constexpr uint32_t kPixelsEach = kPixels > kTileThreads ? kPixels / kTileThreads : 1;
  static constexpr uint32_t kColumnStep = kTileThreads * kPixelsEach / kPixels;
  static constexpr uint32_t kColumnsEach = kDepth / kColumnStep;
  static constexpr uint32_t kMatrixEach = (kDepth * kRows + kTileThreads - 1) / kTileThreads;

  struct alignas(16) Tile {
    float matrix[kDepth * kRowStride];
    float pixels[kDepth * kPixels];
  };
  static constexpr size_t kShared = 2 * sizeof(Tile);
};

template <typename T>
struct alignas(sizeof(T) < 4 ? 8 : 16) Four {
  T values[kFour];
};

FMTC_DEVICE const Four<float>& four_at(const float* aligned) {
  return *reinterpret_cast<const Four<float>*>(aligned);
}

// Where a pixel lies: out of range for those behind the last.
struct Pixel {
  bool inside;
  int64_t image, offset;
};

FMTC_DEVICE Pixel find_pixel(const ChannelProduct& product, int64_t index) {
  const int64_t all = product.images * product.plane;
  if (index >= all) return {false, 0, 0};
  if (all <= INT32_MAX) {  // dividing 64 bits takes several times as long
    const auto image = static_cast<int32_t>(index) / static_cast<int32_t>(product.plane);
    return {true, image, index - image * product.plane};
  }
  return {true, index / product.plane, index % product.plane};
}

// What a thread loads of some columns before it goes to shared memory.
template <typename Shape>
class Loaded {
 public:
  FMTC_DEVICE Loaded(const Thread& thread, const ChannelProduct& product, int64_t first_pixel,
                     int64_t first_row)
      : rank_(thread.rank()), product_(product), first_row_(first_row) {
    FMTC_UNROLL
    for (uint32_t p = 0; p < Shape::kPixelsEach; ++p) from_[p] = find(first_pixel + pixel(p));
  }

  //   load(i)  value i of the input as a float
  template <typename Load>
  FMTC_DEVICE void load(int64_t first_column, const Load& load) {
    FMTC_UNROLL
    for (uint32_t c = 0; c < Shape::kColumnsEach; ++c) {
      const int64_t column = first_column + column_of(c);
      FMTC_UNROLL
      for (uint32_t p = 0; p < Shape::kPixelsEach; ++p) {
        const bool inside = from_[p] >= 0 && column < product_.columns;
        pixels_[c][p] = inside ? load(from_[p] + column * product_.plane) : 0.0f;
      }
    }
    FMTC_UNROLL
    for (uint32_t m = 0; m < Shape::kMatrixEach; ++m) {
      const uint32_t i = rank_ + m * kTileThreads;
      const int64_t column = first_column + i % Shape::kDepth, row = first_row_ + i / Shape::kDepth;
      const bool inside = column < product_.columns && row < product_.rows;
      matrix_[m] = inside ? product_.matrix[row * product_.columns + column] : 0.0f;
    }
  }

  FMTC_DEVICE void store(typename Shape::Tile& tile) const {
    FMTC_UNROLL
    for (uint32_t c = 0; c < Shape::kColumnsEach; ++c) {
      FMTC_UNROLL
      for (uint32_t p = 0; p < Shape::kPixelsEach; ++p) {
        tile.pixels[column_of(c) * Shape::kPixels + pixel(p)] = pixels_[c][p];
      }
    }
    FMTC_UNROLL
    for (uint32_t m = 0; m < Shape::kMatrixEach; ++m) {
      const uint32_t i = rank_ + m * kTileThreads;
      if (i < Shape::kDepth * Shape::kRows) {
        tile.matrix[i % Shape::kDepth * Shape::kRowStride + i / Shape::kDepth] = matrix_[m];
      }
    }
  }

 private:
  FMTC_DEVICE uint32_t pixel(uint32_t p) const { return rank_ % Shape::kPixels + p * kTileThreads; }
  FMTC_DEVICE uint32_t column_of(uint32_t c) const {
    return rank_ / Shape::kPixels + c * Shape::kColumnStep;
  }
  // Where a pixel's first column lies in the input; negative for those behind the last pixel.
  FMTC_DEVICE int64_t find(int64_t index) const {
    const Pixel at = find_pixel(product_, index);
    return at.inside ? at.image * product_.columns * product_.plane + at.offset : -1;
  }

  uint32_t rank_;
  const ChannelProduct& product_;
  int64_t first_row_;
  int64_t from_[Shape::kPixelsEach];
  float pixels_[Shape::kColumnsEach][Shape::kPixelsEach];
  float matrix_[Shape::kMatrixEach];
};

// Makes this thread block's tile.
//   load(i)      value i of the input as a float
//   make(value)  what is written to `out` for a value of the product
template <typename Shape, typename Load, typename Make, typename Out>
FMTC_DEVICE void multiply(const Thread& thread, const ChannelProduct& product, const Load& load,
                          const Make& make, Out* out) {
  auto* const tiles = thread.shared<typename Shape::Tile>();
  const auto row_tiles = static_cast<uint32_t>((product.rows + Shape::kRows - 1) / Shape::kRows);
  const int64_t first_pixel = int64_t{thread.thread_block() / row_tiles} * Shape::kPixels;
  const int64_t first_row = int64_t{thread.thread_block() % row_tiles} * Shape::kRows;
  const uint32_t x = thread.rank() % Shape::kThreadsAlongPixels;
  const uint32_t y = thread.rank() / Shape::kThreadsAlongPixels;

  float sums[kGroups][kRowsEach][kFour] = {};
  Loaded<Shape> loaded(thread, product, first_pixel, first_row);
  loaded.load(0, load);
  loaded.store(tiles[0]);
  thread.sync();
  uint32_t current = 0;
  for (int64_t first = 0; first < product.columns; first += Shape::kDepth, current ^= 1) {
    const bool more = first + Shape::kDepth < product.columns;
    if (more) loaded.load(first + Shape::kDepth, load);
    const typename Shape::Tile& tile = tiles[current];
    for (uint32_t k = 0; k < Shape::kDepth; ++k) {
      const Four<float> rows = four_at(tile.matrix + k * Shape::kRowStride + y * kFour);
      FMTC_UNROLL
      for (uint32_t g = 0; g < kGroups; ++g) {
        const Four<float> pixels =
            four_at(tile.pixels + k * Shape::kPixels + g * Shape::kGroupStride + x * kFour);
        FMTC_UNROLL
        for (uint32_t i = 0; i < kRowsEach; ++i) {
          FMTC_UNROLL
          for (uint32_t j = 0; j < kFour; ++j) {
            sums[g][i][j] = std::fma(rows.values[i], pixels.values[j], sums[g][i][j]);
          }
        }
      }
    }
    if (more) loaded.store(tiles[current ^ 1]);
    thread.sync();
  }
  const auto for_each_row = [&](uint32_t first, const auto& body) {
    const Pixel to = find_pixel(product, first_pixel + first);
    FMTC_UNROLL
    for (uint32_t i = 0; i < kRowsEach; ++i) {
      const int64_t row = first_row + y * kRowsEach + i;
      if (!to.inside || row >= product.rows) continue;
      body(i, product.offset[row],
           out + (to.image * product.rows + row) * product.plane + to.offset);
    }
  };
  FMTC_UNROLL
  for (uint32_t g = 0; g < kGroups; ++g) {
    const uint32_t first = g * Shape::kGroupStride + x * kFour;
    if (product.plane % kFour == 0) {  // all four lie in one image, and begin at a multiple of 4
      for_each_row(first, [&](uint32_t i, float offset, Out* to) {
        Four<Out> made;
        FMTC_UNROLL
        for (uint32_t j = 0; j < kFour; ++j) made.values[j] = make(sums[g][i][j] + offset);
        *reinterpret_cast<Four<Out>*>(to) = made;
      });
    } else {
      FMTC_UNROLL
      for (uint32_t j = 0; j < kFour; ++j) {
        for_each_row(first + j, [&](uint32_t i, float offset, Out* to) {
          *to = make(sums[g][i][j] + offset);
        });
      }
    }
  }
}

// A value of any type as a float.
template <typename X>
FMTC_DEVICE float number(X value) {
  if constexpr (std::is_same_v<X, double>) {
    return static_cast<float>(value);
  } else {
    return to_float(value);
  }
}

FMTC_DEVICE float limited(float value, float least, float most) {
  const float raised = value < least ? least : value;
  return raised > most ? most : raised;
}

template <typename X, uint32_t kRows>
struct TransformChannels {
  static constexpr uint32_t kThreads = kTileThreads;
  static constexpr uint32_t kThreadBlocks = 3;
  ChannelProduct product;
  const X* x;
  float least, most;
  float* y;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    multiply<Shape<kRows>>(
        thread, product, [&](int64_t i) { return number(x[i]); },
        [&](float value) { return limited(value, least, most); }, y);
  }
};

template <typename X, uint32_t kRows>
struct TransformQuantize {
  static constexpr uint32_t kThreads = kTileThreads;
  static constexpr uint32_t kThreadBlocks = 3;
  ChannelProduct product;
  const X* x;
  float step;
  int32_t lo, hi;
  int16_t* levels;
  int64_t* clamped;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    int64_t outside = 0;
    multiply<Shape<kRows>>(
        thread, product, [&](int64_t i) { return number(x[i]); },
        [&](float value) {
          bool clamp;
          const int16_t level = quantize_one(value, step, lo, hi, clamp);
          outside += clamp;
          return level;
        },
        levels);
    outside = sum_of_warp(thread, outside);
    if (thread.warp_rank() == 0 && outside != 0) add_to(clamped, outside);
  }
};

template <typename X, uint32_t kRows>
struct DequantizeTransform {
  static constexpr uint32_t kThreads = kTileThreads;
  static constexpr uint32_t kThreadBlocks = 3;
  ChannelProduct product;
  const int16_t* levels;
  float step, least, most;
  X* x;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    multiply<Shape<kRows>>(
        thread, product, [&](int64_t i) { return dequantize_one(levels[i], step); },
        [&](float value) {
          X result;
          convert(limited(value, least, most), result);
          return result;
        },
        x);
  }

  FMTC_DEVICE static void convert(float value, X& to) {
    if constexpr (std::is_same_v<X, double>) {
      to = value;
    } else {
      from_float(value, to);
    }
  }
};

template <uint32_t kRows>
using Rows = std::integral_constant<uint32_t, kRows>;

// Calls launch_with(rows of a tile, thread blocks, bytes of shared memory).
template <typename Launch>
void with_tiles(const ChannelProduct& product, const Launch& launch_with) {
  const auto with = [&]<uint32_t kRows>(Rows<kRows> rows) {
    using Tiles = Shape<kRows>;
    const int64_t pixels = product.images * product.plane;
    launch_with(
        rows, (pixels + Tiles::kPixels - 1) / Tiles::kPixels * ((product.rows + kRows - 1) / kRows),
        Tiles::kShared);
  };
  if (product.rows <= 16) {
    with(Rows<16>());
  } else if (product.rows <= 32) {
    with(Rows<32>());
  } else {
    with(Rows<64>());
  }
}

}  // namespace

template <typename X>
void transform_channels(Stream stream, const ChannelProduct& product, const X* x, float least,
                        float most, float* y) {
  with_tiles(product, [&]<uint32_t kRows>(Rows<kRows>, int64_t thread_blocks, size_t shared) {
    launch(stream, thread_blocks, TransformChannels<X, kRows>{product, x, least, most, y}, shared);
  });
}

template <typename X>
void transform_quantize(Stream stream, const ChannelProduct& product, const X* x, float step,
                        int32_t lo, int32_t hi, int16_t* levels, int64_t* clamped) {
  clear(stream, clamped, sizeof(*clamped));
  with_tiles(product, [&]<uint32_t kRows>(Rows<kRows>, int64_t thread_blocks, size_t shared) {
    launch(stream, thread_blocks,
           TransformQuantize<X, kRows>{product, x, step, lo, hi, levels, clamped}, shared);
  });
}

template <typename X>
void dequantize_transform(Stream stream, const ChannelProduct& product, const int16_t* levels,
                          float step, float least, float most, X* x) {
  with_tiles(product, [&]<uint32_t kRows>(Rows<kRows>, int64_t thread_blocks, size_t shared) {
    launch(stream, thread_blocks,
           DequantizeTransform<X, kRows>{product, levels, step, least, most, x}, shared);
  });
}

template void transform_channels(Stream, const ChannelProduct&, const Half*, float, float, float*);
template void transform_channels(Stream, const ChannelProduct&, const BFloat16*, float, float,
                                 float*);
template void transform_channels(Stream, const ChannelProduct&, const float*, float, float, float*);
template void transform_channels(Stream, const ChannelProduct&, const double*, float, float,
                                 float*);
template void transform_quantize(Stream, const ChannelProduct&, const Half*, float, int32_t,
                                 int32_t, int16_t*, int64_t*);
template void transform_quantize(Stream, const ChannelProduct&, const BFloat16*, float, int32_t,
                                 int32_t, int16_t*, int64_t*);
template void transform_quantize(Stream, const ChannelProduct&, const float*, float, int32_t,
                                 int32_t, int16_t*, int64_t*);
template void transform_quantize(Stream, const ChannelProduct&, const double*, float, int32_t,
                                 int32_t, int16_t*, int64_t*);
template void dequantize_transform(Stream, const ChannelProduct&, const int16_t*, float, float,
                                   float, Half*);
template void dequantize_transform(Stream, const ChannelProduct&, const int16_t*, float, float,
                                   float, BFloat16*);
template void dequantize_transform(Stream, const ChannelProduct&, const int16_t*, float, float,
                                   float, float*);
template void dequantize_transform(Stream, const ChannelProduct&, const int16_t*, float, float,
                                   float, double*);

}  // namespace fmtc::cuda
