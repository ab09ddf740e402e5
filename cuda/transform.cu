// The channel transform fused with the quantiser: a block makes a tile of pixels and rows, a thread
// kPixelsEach x kRowsEach of it in registers.
#include <cmath>
#include <type_traits>

#include "core/quantize.h"
#include "cuda/kernel.h"
#include "cuda/reduce.h"
#include "cuda/transform.h"

namespace fmtc::cuda {
namespace {

constexpr uint32_t kPixelsEach = 8;
constexpr uint32_t kRowsEach = 4;
constexpr uint32_t kSide = 16;  // threads of a block along either dimension
constexpr uint32_t kTilePixels = kSide * kPixelsEach;
constexpr uint32_t kTileRows = kSide * kRowsEach;
constexpr uint32_t kTileThreads = kSide * kSide;
constexpr uint32_t kDepth = 16;  // columns in shared memory at a time
// Rows are stored along a column; one more spreads them over the banks.
constexpr uint32_t kRowStride = kTileRows + 1;

struct Tile {
  float matrix[kDepth * kRowStride];
  float pixels[kDepth * kTilePixels];
};

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

// Makes this block's tile.
//   load(i)          value i of the input as a float
//   store(i, value)  takes value i of the output
template <typename Load, typename Store>
FMTC_DEVICE void multiply(const Thread& thread, const ChannelProduct& product, const Load& load,
                          const Store& store) {
  Tile& tile = *thread.shared<Tile>();
  const int64_t row_tiles = (product.rows + kTileRows - 1) / kTileRows;
  const int64_t first_pixel = thread.block() / row_tiles * kTilePixels;
  const int64_t first_row = thread.block() % row_tiles * kTileRows;
  // The pixel that this thread loads, of every second column; rows of the matrix likewise.
  static_assert(kTileThreads % kTilePixels == 0 && kTileThreads % kDepth == 0);
  const uint32_t loaded = thread.rank() % kTilePixels;
  const Pixel from = find_pixel(product, first_pixel + loaded);
  const uint32_t x = thread.rank() % kSide, y = thread.rank() / kSide;

  float sums[kRowsEach][kPixelsEach] = {};
  for (int64_t first = 0; first < product.columns; first += kDepth) {
    for (uint32_t k = thread.rank() / kTilePixels; k < kDepth; k += kTileThreads / kTilePixels) {
      const int64_t column = first + k;
      const bool inside = from.inside && column < product.columns;
      tile.pixels[k * kTilePixels + loaded] =
          inside ? load((from.image * product.columns + column) * product.plane + from.offset)
                 : 0.0f;
    }
    for (uint32_t i = thread.rank(); i < kDepth * kTileRows; i += kTileThreads) {
      const uint32_t k = i % kDepth, r = i / kDepth;
      const int64_t column = first + k, row = first_row + r;
      const bool inside = column < product.columns && row < product.rows;
      tile.matrix[k * kRowStride + r] =
          inside ? product.matrix[row * product.columns + column] : 0.0f;
    }
    thread.sync();
    for (uint32_t k = 0; k < kDepth; ++k) {
      float pixels[kPixelsEach];
      for (uint32_t j = 0; j < kPixelsEach; ++j) {
        pixels[j] = tile.pixels[k * kTilePixels + x + kSide * j];
      }
      for (uint32_t i = 0; i < kRowsEach; ++i) {
        const float of_row = tile.matrix[k * kRowStride + y * kRowsEach + i];
        for (uint32_t j = 0; j < kPixelsEach; ++j) {
          sums[i][j] = std::fma(of_row, pixels[j], sums[i][j]);
        }
      }
    }
    thread.sync();
  }
  for (uint32_t j = 0; j < kPixelsEach; ++j) {
    const Pixel to = find_pixel(product, first_pixel + x + kSide * j);
    for (uint32_t i = 0; i < kRowsEach; ++i) {
      const int64_t row = first_row + y * kRowsEach + i;
      if (!to.inside || row >= product.rows) continue;
      store((to.image * product.rows + row) * product.plane + to.offset,
            sums[i][j] + product.offset[row]);
    }
  }
}

template <typename X>
struct TransformQuantize {
  static constexpr uint32_t kThreads = kTileThreads;
  ChannelProduct product;
  const X* x;
  float step;
  int32_t lo, hi;
  int16_t* levels;
  int64_t* clamped;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    int64_t outside = 0;
    multiply(
        thread, product, [&](int64_t i) { return number(x[i]); },
        [&](int64_t i, float value) {
          bool clamp;
          levels[i] = quantize_one(value, step, lo, hi, clamp);
          outside += clamp;
        });
    outside = sum_of_warp(thread, outside);
    if (thread.lane() == 0 && outside != 0) add_to(clamped, outside);
  }

  FMTC_DEVICE static float number(X value) {
    if constexpr (std::is_same_v<X, double>) {
      return static_cast<float>(value);
    } else {
      return to_float(value);
    }
  }
};

template <typename X>
struct DequantizeTransform {
  static constexpr uint32_t kThreads = kTileThreads;
  ChannelProduct product;
  const int16_t* levels;
  float step, least, most;
  X* x;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    multiply(
        thread, product, [&](int64_t i) { return dequantize_one(levels[i], step); },
        [&](int64_t i, float value) {
          const float raised = value < least ? least : value;
          write(raised > most ? most : raised, x[i]);
        });
  }

  FMTC_DEVICE static void write(float value, X& to) {
    if constexpr (std::is_same_v<X, double>) {
      to = value;
    } else {
      from_float(value, to);
    }
  }
};

int64_t tiles_of(const ChannelProduct& product) {
  return (product.images * product.plane + kTilePixels - 1) / kTilePixels *
         ((product.rows + kTileRows - 1) / kTileRows);
}

}  // namespace

template <typename X>
void transform_quantize(Stream stream, const ChannelProduct& product, const X* x, float step,
                        int32_t lo, int32_t hi, int16_t* levels, int64_t* clamped) {
  clear(stream, clamped, sizeof(*clamped));
  launch(stream, tiles_of(product), TransformQuantize<X>{product, x, step, lo, hi, levels, clamped},
         sizeof(Tile));
}

template <typename X>
void dequantize_transform(Stream stream, const ChannelProduct& product, const int16_t* levels,
                          float step, float least, float most, X* x) {
  launch(stream, tiles_of(product), DequantizeTransform<X>{product, levels, step, least, most, x},
         sizeof(Tile));
}

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
