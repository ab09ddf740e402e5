#pragma once

#include "core/predict.h"
#include "cuda/kernel.h"

namespace fmtc::cuda {

// The levels of the residuals of a plane [height, width], by one warp. A level waits for those on
// the left, above and above left: each thread has a row and is a column behind the thread of the
// row above.
//   levels  written; Level is int16_t, or less where the levels are known to fit
//   see     called with each level as it comes out, by any thread
//   cross   cross(row, column): what other components add, core/predict_sources.h
template <typename Level, typename See, typename Cross>
FMTC_DEVICE void unpredict_plane(const Thread& thread, const int16_t* residuals, int64_t height,
                                 int64_t width, const PredictCoefficients& c, Level* levels,
                                 const See& see, const Cross& cross) {
  for (int64_t first = 0; first < height; first += kWarpSize) {
    const int64_t row = (first + thread.warp_rank()) * width;
    const bool inside = first + thread.warp_rank() < height;
    int32_t left = 0, above_left = 0;
    for (int64_t step = 0; step < width + kWarpSize - 1; ++step) {
      // The level that the thread above has just made lies above this one's.
      int32_t above = thread.shuffle(left, (thread.warp_rank() - 1) % kWarpSize);
      const int64_t x = step - thread.warp_rank();
      if (!inside || x < 0 || x >= width) continue;
      if (thread.warp_rank() == 0) above = first == 0 ? 0 : levels[row - width + x];
      const int16_t level = level_of(sum_without_left(c, residuals[row + x], above, above_left,
                                                      cross(first + thread.warp_rank(), x)),
                                     c.left, left);
      see(level);
      levels[row + x] = static_cast<Level>(level);
      left = level;
      above_left = above;
    }
    thread.sync_warp();  // the next rows read what the last thread wrote
  }
}

}  // namespace fmtc::cuda
