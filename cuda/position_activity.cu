#include "cuda/cells.h"
#include "cuda/kernel.h"
#include "cuda/position_activity.h"

namespace fmtc::cuda {
namespace {

// Cells are shared out to the threads of a warp, and components to warps.
struct PositionActivity {
  static constexpr uint32_t kThreads = 256;
  static constexpr uint32_t kWarps = kThreads / kWarpSize;
  const int16_t* levels;
  int64_t images;
  Layout layout;
  const int32_t* weights;
  int64_t* activity;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    int32_t* const sums = thread.shared<int32_t>();  // [kWarps, kWarpSize]
    const auto cells = static_cast<int64_t>(layout.map_size());
    const int64_t count = images * cells;
    const int64_t step = int64_t{thread.thread_blocks()} * kWarpSize;
    for (int64_t first = int64_t{thread.thread_block()} * kWarpSize; first < count; first += step) {
      const int64_t i = first + thread.warp_rank();
      const bool inside = i < count;
      const CellAt cell = cell_at(layout, inside ? i % cells : 0);
      sums[thread.rank()] = inside ? sum(thread, i / cells, cell) : 0;
      thread.sync();
      if (thread.warp() == 0 && inside) {
        int32_t total = 0;
        for (uint32_t w = 0; w < kWarps; ++w) total += sums[w * kWarpSize + thread.warp_rank()];
        activity[i] = total / static_cast<int32_t>(cell.rows * cell.columns);
      }
      thread.sync();
    }
  }

  // Over this warp's components; at most 4 * kMaxWeighted * kMostActivity = 2^30.
  FMTC_DEVICE int32_t sum(const Thread& thread, int64_t image, const CellAt& cell) const {
    const auto size = static_cast<int64_t>(layout.plane());
    const int16_t* const planes = levels + image * static_cast<int64_t>(layout.levels());
    int32_t result = 0;
    for (uint32_t k = thread.warp(); k < layout.components; k += kWarps) {
      const int32_t weight = weights[k] < 0 ? 0 : weights[k] > kMaxWeight ? kMaxWeight : weights[k];
      for_each_in_cell(cell, planes + k * size, layout.width,
                       [&](int16_t level) { result += activity_of(level, weight); });
    }
    return result;
  }
};

}  // namespace

void position_activity(Stream stream, const int16_t* levels, int64_t images, const Layout& layout,
                       const int32_t* weights, int64_t* activity) {
  using Kernel = PositionActivity;
  const int64_t count = images * static_cast<int64_t>(layout.map_size());
  launch(stream, thread_blocks_for(count, kWarpSize),
         Kernel{levels, images, layout, weights, activity}, Kernel::kThreads * sizeof(int32_t));
}

}  // namespace fmtc::cuda
