#include <type_traits>

#include "cuda/kernel.h"
#include "cuda/reduce.h"
#include "cuda/scaled.h"

namespace fmtc::cuda {
namespace {

// A block of channels at a position of an image; threads side by side have positions side by side.
struct BlockAt {
  int64_t value;     // index of its first value
  int64_t level;     // index of that one's level
  int64_t code;      // index of the scale's code
  int64_t channels;  // of the block
};

FMTC_DEVICE BlockAt block_at(const ScaledShape& shape, const Scaled& scaled, int64_t index) {
  const auto block = static_cast<int64_t>(scaled.block == 0 ? shape.channels : scaled.block);
  const int64_t scales = (shape.channels + block - 1) / block;
  const int64_t position = index % shape.positions;
  const int64_t s = index / shape.positions % scales;
  const int64_t image = index / shape.positions / scales;
  const int64_t first = s * block;
  const int64_t plane = image * (shape.channels + scales);
  const int64_t rest = shape.channels - first;
  return {(image * shape.channels + first) * shape.positions + position,
          (plane + first) * shape.positions + position,
          (plane + shape.channels + s) * shape.positions + position, rest < block ? rest : block};
}

int64_t blocks_of(const ScaledShape& shape, const Scaled& scaled) {
  const auto channels = static_cast<uint64_t>(shape.channels);
  return shape.images * static_cast<int64_t>(scales_of(channels, scaled.block)) * shape.positions;
}

FMTC_DEVICE float number(double y) { return static_cast<float>(y); }
template <typename Y>
FMTC_DEVICE float number(Y y) {
  return to_float(y);
}

template <typename Y>
struct QuantizeScaled {
  static constexpr uint32_t kThreads = 256;
  const Y* y;
  int64_t count;
  ScaledShape shape;
  Scaled scaled;
  int16_t* levels;
  int64_t* clamped;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    int64_t outside = 0;
    grid_stride(thread, count, [&](int64_t i) { outside += quantize(i); });
    outside = sum_of_warp(thread, outside);
    if (thread.warp_rank() == 0 && outside != 0) add_to(clamped, outside);
  }

  FMTC_DEVICE int64_t quantize(int64_t index) const {
    const BlockAt at = block_at(shape, scaled, index);
    float most = 0;
    for (int64_t c = 0; c < at.channels; ++c) {
      const float magnitude =
          magnitude_of(number(y[at.value + c * shape.positions]), scaled.lo < 0);
      most = magnitude > most ? magnitude : most;
    }
    const int32_t code = scale_code(scaled, most);
    const float scale = scale_value(scaled, code);
    levels[at.code] = static_cast<int16_t>(code);
    int64_t outside = 0;
    for (int64_t c = 0; c < at.channels; ++c) {
      const float value = number(y[at.value + c * shape.positions]);
      bool clamp;
      levels[at.level + c * shape.positions] =
          scaled.format == ScaledFormat::kIntegers
              ? quantize_integer(value, scale, scaled.lo, scaled.hi, clamp)
              : quantize_fp4(value, scale, clamp);
      outside += clamp;
    }
    return outside;
  }
};

template <typename Y>
struct DequantizeScaled {
  static constexpr uint32_t kThreads = 256;
  const int16_t* levels;
  int64_t count;
  ScaledShape shape;
  Scaled scaled;
  Y* y;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    grid_stride(thread, count, [&](int64_t i) { dequantize(i); });
  }

  FMTC_DEVICE void dequantize(int64_t index) const {
    const BlockAt at = block_at(shape, scaled, index);
    const float scale = scale_value(scaled, levels[at.code]);
    const bool integers = scaled.format == ScaledFormat::kIntegers;
    for (int64_t c = 0; c < at.channels; ++c) {
      const int16_t level = levels[at.level + c * shape.positions];
      store(dequantize_element(integers, level, scale), y[at.value + c * shape.positions]);
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

}  // namespace

template <typename Y>
void quantize_scaled(Stream stream, const Y* y, const ScaledShape& shape, const Scaled& scaled,
                     int16_t* levels, int64_t* clamped) {
  clear(stream, clamped, sizeof(*clamped));
  using Kernel = QuantizeScaled<Y>;
  const int64_t count = blocks_of(shape, scaled);
  launch(stream, thread_blocks_for(count, Kernel::kThreads),
         Kernel{y, count, shape, scaled, levels, clamped});
}

template <typename Y>
void dequantize_scaled(Stream stream, const int16_t* levels, const ScaledShape& shape,
                       const Scaled& scaled, Y* y) {
  using Kernel = DequantizeScaled<Y>;
  const int64_t count = blocks_of(shape, scaled);
  launch(stream, thread_blocks_for(count, Kernel::kThreads),
         Kernel{levels, count, shape, scaled, y});
}

template void quantize_scaled(Stream, const Half*, const ScaledShape&, const Scaled&, int16_t*,
                              int64_t*);
template void quantize_scaled(Stream, const BFloat16*, const ScaledShape&, const Scaled&, int16_t*,
                              int64_t*);
template void quantize_scaled(Stream, const float*, const ScaledShape&, const Scaled&, int16_t*,
                              int64_t*);
template void quantize_scaled(Stream, const double*, const ScaledShape&, const Scaled&, int16_t*,
                              int64_t*);
template void dequantize_scaled(Stream, const int16_t*, const ScaledShape&, const Scaled&, Half*);
template void dequantize_scaled(Stream, const int16_t*, const ScaledShape&, const Scaled&,
                                BFloat16*);
template void dequantize_scaled(Stream, const int16_t*, const ScaledShape&, const Scaled&, float*);
template void dequantize_scaled(Stream, const int16_t*, const ScaledShape&, const Scaled&, double*);

}  // namespace fmtc::cuda
