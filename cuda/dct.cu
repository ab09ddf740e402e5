#include <type_traits>

#include "core/dct.h"
#include "core/quantize.h"
#include "cuda/dct.h"
#include "cuda/kernel.h"
#include "cuda/reduce.h"

namespace fmtc::cuda {
namespace {

FMTC_DEVICE float number(double y) { return static_cast<float>(y); }
template <typename Y>
FMTC_DEVICE float number(Y y) {
  return to_float(y);
}

// A thread has a block of positions; threads side by side have blocks side by side.
struct BlockAt {
  int64_t image, component, row, column;
  int64_t height, width;  // of its positions that are there

  FMTC_DEVICE BlockAt(const DctShape& shape, int64_t index)
      : image(index / shape.columns() / shape.rows() / shape.components),
        component(index / shape.columns() / shape.rows() % shape.components),
        row(index / shape.columns() % shape.rows()),
        column(index % shape.columns()),
        height(shape.height - row * shape.size),
        width(shape.width - column * shape.size) {}

  // Of its first value.
  FMTC_DEVICE int64_t value(const DctShape& shape) const {
    const int64_t plane = image * shape.components + component;
    return (plane * shape.height + row * shape.size) * shape.width + column * shape.size;
  }
  // Of its level in a plane.
  FMTC_DEVICE int64_t level(const DctShape& shape, int32_t place) const {
    return ((image * shape.planes + place) * shape.rows() + row) * shape.columns() + column;
  }
};

FMTC_DEVICE bool is_plane(int32_t place, const DctShape& shape) {
  return place >= 0 && place < shape.planes;
}

int64_t blocks_of(const DctShape& shape) {
  return shape.images * shape.components * shape.rows() * shape.columns();
}

// The transform of rows, then of columns of `block`, or of columns, then of rows.
template <int kSize>
FMTC_DEVICE void forward(float (&block)[kSize * kSize]) {
  float in[kSize], out[kSize];
  for (int x = 0; x < kSize; ++x) {
    for (int i = 0; i < kSize; ++i) in[i] = block[i * kSize + x];
    Dct<kSize>::forward(in, out);
    for (int i = 0; i < kSize; ++i) block[i * kSize + x] = out[i];
  }
  for (int y = 0; y < kSize; ++y) {
    Dct<kSize>::forward(block + y * kSize, out);
    for (int i = 0; i < kSize; ++i) block[y * kSize + i] = out[i];
  }
}

template <int kSize>
FMTC_DEVICE void inverse(float (&block)[kSize * kSize]) {
  float in[kSize], out[kSize];
  for (int y = 0; y < kSize; ++y) {
    Dct<kSize>::inverse(block + y * kSize, out);
    for (int i = 0; i < kSize; ++i) block[y * kSize + i] = out[i];
  }
  for (int x = 0; x < kSize; ++x) {
    for (int i = 0; i < kSize; ++i) in[i] = block[i * kSize + x];
    Dct<kSize>::inverse(in, out);
    for (int i = 0; i < kSize; ++i) block[i * kSize + x] = out[i];
  }
}

template <typename Y, int kSize>
struct DctQuantize {
  static constexpr uint32_t kThreads = 256;
  const Y* y;
  int64_t count;
  DctShape shape;
  const int32_t* places;
  const float* steps;
  int32_t lo, hi;
  int16_t* levels;
  int64_t* clamped;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    int64_t outside = 0;
    grid_stride(thread, count, [&](int64_t i) { outside += quantize(BlockAt(shape, i)); });
    outside = sum_of_warp(thread, outside);
    if (thread.warp_rank() == 0 && outside != 0) add_to(clamped, outside);
  }

  FMTC_DEVICE int64_t quantize(const BlockAt& at) const {
    float block[kSize * kSize];
    const Y* first = y + at.value(shape);
    for (int i = 0; i < kSize; ++i) {
      const int64_t row = mirrored(i, at.height) * shape.width;
      for (int j = 0; j < kSize; ++j) {
        block[i * kSize + j] = number(first[row + mirrored(j, at.width)]);
      }
    }
    forward<kSize>(block);
    int64_t outside = 0;
    for (int f = 0; f < kSize * kSize; ++f) {
      const int32_t place = places[at.component * kSize * kSize + f];
      if (!is_plane(place, shape)) continue;
      bool clamp;
      levels[at.level(shape, place)] = quantize_one(block[f], steps[f], lo, hi, clamp);
      outside += clamp;
    }
    return outside;
  }
};

template <typename Y, int kSize>
struct DequantizeDct {
  static constexpr uint32_t kThreads = 256;
  const int16_t* levels;
  int64_t count;
  DctShape shape;
  const int32_t* places;
  const float* steps;
  Y* y;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    grid_stride(thread, count, [&](int64_t i) { dequantize(BlockAt(shape, i)); });
  }

  FMTC_DEVICE void dequantize(const BlockAt& at) const {
    float block[kSize * kSize];
    for (int f = 0; f < kSize * kSize; ++f) {
      const int32_t place = places[at.component * kSize * kSize + f];
      block[f] =
          is_plane(place, shape) ? dequantize_one(levels[at.level(shape, place)], steps[f]) : 0.0f;
    }
    inverse<kSize>(block);
    Y* first = y + at.value(shape);
    for (int i = 0; i < kSize && i < at.height; ++i) {
      for (int j = 0; j < kSize && j < at.width; ++j) {
        store(block[i * kSize + j], first[i * shape.width + j]);
      }
    }
  }

  FMTC_DEVICE static void store(float value, Y& to) {
    if constexpr (std::is_same_v<Y, double>) {
      to = value;
    } else {
      from_float(value, to);
    }
  }
};

template <int kSize, typename Y>
void quantize(Stream stream, const Y* y, const DctShape& shape, const int32_t* places,
              const float* steps, int32_t lo, int32_t hi, int16_t* levels, int64_t* clamped) {
  using Kernel = DctQuantize<Y, kSize>;
  const int64_t count = blocks_of(shape);
  launch(stream, thread_blocks_for(count, Kernel::kThreads),
         Kernel{y, count, shape, places, steps, lo, hi, levels, clamped});
}

template <int kSize, typename Y>
void dequantize(Stream stream, const int16_t* levels, const DctShape& shape, const int32_t* places,
                const float* steps, Y* y) {
  using Kernel = DequantizeDct<Y, kSize>;
  const int64_t count = blocks_of(shape);
  launch(stream, thread_blocks_for(count, Kernel::kThreads),
         Kernel{levels, count, shape, places, steps, y});
}

}  // namespace

template <typename Y>
void dct_quantize(Stream stream, const Y* y, const DctShape& shape, const int32_t* places,
                  const float* steps, int32_t lo, int32_t hi, int16_t* levels, int64_t* clamped) {
  clear(stream, clamped, sizeof(*clamped));
  const auto of_size = shape.size == 2 ? quantize<2, Y> : quantize<4, Y>;
  of_size(stream, y, shape, places, steps, lo, hi, levels, clamped);
}

template <typename Y>
void dequantize_dct(Stream stream, const int16_t* levels, const DctShape& shape,
                    const int32_t* places, const float* steps, Y* y) {
  const auto of_size = shape.size == 2 ? dequantize<2, Y> : dequantize<4, Y>;
  of_size(stream, levels, shape, places, steps, y);
}

template void dct_quantize(Stream, const Half*, const DctShape&, const int32_t*, const float*,
                           int32_t, int32_t, int16_t*, int64_t*);
template void dct_quantize(Stream, const BFloat16*, const DctShape&, const int32_t*, const float*,
                           int32_t, int32_t, int16_t*, int64_t*);
template void dct_quantize(Stream, const float*, const DctShape&, const int32_t*, const float*,
                           int32_t, int32_t, int16_t*, int64_t*);
template void dct_quantize(Stream, const double*, const DctShape&, const int32_t*, const float*,
                           int32_t, int32_t, int16_t*, int64_t*);
template void dequantize_dct(Stream, const int16_t*, const DctShape&, const int32_t*, const float*,
                             Half*);
template void dequantize_dct(Stream, const int16_t*, const DctShape&, const int32_t*, const float*,
                             BFloat16*);
template void dequantize_dct(Stream, const int16_t*, const DctShape&, const int32_t*, const float*,
                             float*);
template void dequantize_dct(Stream, const int16_t*, const DctShape&, const int32_t*, const float*,
                             double*);

}  // namespace fmtc::cuda
