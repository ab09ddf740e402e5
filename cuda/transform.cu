// The channel transform fused with the quantiser: a thread block makes a tile of pixels and rows, a
// thread kRowsEach rows of some groups of four neighbouring pixels in registers.
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
constexpr uint32_t kSide = 16;  // threads of a thread block along either dimension
constexpr uint32_t kGroupStride = kSide * kFour;
constexpr uint32_t kTilePixels = kGroups * kGroupStride;
constexpr uint32_t kTileRows = kSide * kRowsEach;
constexpr uint32_t kTileThreads = kSide * kSide;
constexpr uint32_t kDepth = 16;  // columns in shared memory at a time
// Rows are stored along a column; four more spread columns over the banks.
constexpr uint32_t kRowStride = kTileRows + kFour;

template <typename T>
struct alignas(sizeof(T) < 4 ? 8 : 16) Four {
  T values[kFour];
};

struct alignas(16) Tile {
  float matrix[kDepth * kRowStride];
  float pixels[kDepth * kTilePixels];
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

// Makes this thread block's tile.
//   load(i)      value i of the input as a float
//   make(value)  what is written to `out` for a value of the product
template <typename Load, typename Make, typename Out>
FMTC_DEVICE void multiply(const Thread& thread, const ChannelProduct& product, const Load& load,
                          const Make& make, Out* out) {
  Tile& tile = *thread.shared<Tile>();
  const int64_t row_tiles = (product.rows + kTileRows - 1) / kTileRows;
  const int64_t first_pixel = thread.thread_block() / row_tiles * kTilePixels;
  const int64_t first_row = thread.thread_block() % row_tiles * kTileRows;
  // The pixel that this thread loads, of every second column; rows of the matrix likewise.
  static_assert(kTileThreads % kTilePixels == 0 && kTileThreads % kDepth == 0);
  const uint32_t loaded = thread.rank() % kTilePixels;
  const Pixel from = find_pixel(product, first_pixel + loaded);
  const uint32_t x = thread.rank() % kSide, y = thread.rank() / kSide;

  float sums[kGroups][kRowsEach][kFour] = {};
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
      const Four<float> rows = four_at(tile.matrix + k * kRowStride + y * kFour);
      FMTC_UNROLL
      for (uint32_t g = 0; g < kGroups; ++g) {
        const Four<float> pixels =
            four_at(tile.pixels + k * kTilePixels + g * kGroupStride + x * kFour);
        FMTC_UNROLL
        for (uint32_t i = 0; i < kRowsEach; ++i) {
          FMTC_UNROLL
          for (uint32_t j = 0; j < kFour; ++j) {
            sums[g][i][j] = std::fma(rows.values[i], pixels.values[j], sums[g][i][j]);
          }
        }
      }
    }
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
    const uint32_t first = g * kGroupStride + x * kFour;
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
        [&](float value) {
          const float raised = value < least ? least : value;
          X result;
          convert(raised > most ? most : raised, result);
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
