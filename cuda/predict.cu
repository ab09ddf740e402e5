#include "core/predict.h"
#include "cuda/kernel.h"
#include "cuda/predict.h"
#include "cuda/unpredict_plane.h"

namespace fmtc::cuda {
namespace {

FMTC_DEVICE int16_t limited(int16_t coefficient) {
  constexpr auto kLimit = static_cast<int16_t>(kPredictLimit);
  return coefficient < -kLimit ? -kLimit : coefficient > kLimit ? kLimit : coefficient;
}

// Those of component k.
FMTC_DEVICE PredictCoefficients coefficients_of(const PredictedPlanes& planes, int64_t k) {
  const int16_t* c = planes.coefficients + 3 * k;
  return {limited(c[0]), limited(c[1]), limited(c[2])};
}

struct Predict {
  static constexpr uint32_t kThreads = 256;
  const int16_t* levels;
  PredictedPlanes planes;
  int64_t count;
  int16_t* residuals;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t width = planes.width;
    grid_stride(thread, count, [&](int64_t i) {
      const int64_t row = i / width;
      const bool has_left = i != row * width;
      const int64_t plane = row / planes.height;
      const bool has_above = row != plane * planes.height;
      const int16_t* q = levels + i;
      residuals[i] = residual_of(coefficients_of(planes, plane % planes.components), q[0],
                                 has_left ? q[-1] : 0, has_above ? q[-width] : 0,
                                 has_left && has_above ? q[-width - 1] : 0);
    });
  }
};

struct Unpredict {
  static constexpr uint32_t kThreads = 128;
  static constexpr uint32_t kWarps = kThreads / kWarpSize;
  const int16_t* residuals;
  PredictedPlanes planes;
  int16_t* levels;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t size = planes.height * planes.width;
    const int64_t step = int64_t{thread.thread_blocks()} * kWarps;
    int64_t plane = int64_t{thread.thread_block()} * kWarps + thread.warp();
    for (; plane < planes.images * planes.components; plane += step) {
      unpredict_plane(thread, residuals + plane * size, planes.height, planes.width,
                      coefficients_of(planes, plane % planes.components), levels + plane * size,
                      [](int16_t) {});
    }
  }
};

}  // namespace

void predict(Stream stream, const int16_t* levels, const PredictedPlanes& planes,
             int16_t* residuals) {
  const int64_t count = planes.images * planes.components * planes.height * planes.width;
  launch(stream, thread_blocks_for(count, Predict::kThreads),
         Predict{levels, planes, count, residuals});
}

void unpredict(Stream stream, const int16_t* residuals, const PredictedPlanes& planes,
               int16_t* levels) {
  const bool empty = planes.height == 0 || planes.width == 0;
  const int64_t count = empty ? 0 : planes.images * planes.components;
  launch(stream, thread_blocks_for(count, Unpredict::kWarps), Unpredict{residuals, planes, levels});
}

}  // namespace fmtc::cuda
