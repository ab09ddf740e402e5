#include "cuda/blocks.h"
#include "cuda/kernel.h"
#include "cuda/position_activity.h"

namespace fmtc::cuda {
namespace {

// Blocks of positions are shared out to lanes, and components to warps.
struct PositionActivity {
  static constexpr uint32_t kThreads = 256;
  static constexpr uint32_t kWarps = kThreads / kLanes;
  const int16_t* levels;
  int64_t images;
  Layout layout;
  const int32_t* weights;
  int64_t* activity;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    int32_t* const sums = thread.shared<int32_t>();  // [kWarps, kLanes]
    const auto blocks = static_cast<int64_t>(layout.map_size());
    const int64_t count = images * blocks;
    const int64_t step = int64_t{thread.blocks()} * kLanes;
    for (int64_t first = int64_t{thread.block()} * kLanes; first < count; first += step) {
      const int64_t i = first + thread.lane();
      const bool inside = i < count;
      const BlockAt block = block_at(layout, inside ? i % blocks : 0);
      sums[thread.rank()] = inside ? sum(thread, i / blocks, block) : 0;
      thread.sync();
      if (thread.warp() == 0 && inside) {
        int32_t total = 0;
        for (uint32_t w = 0; w < kWarps; ++w) total += sums[w * kLanes + thread.lane()];
        activity[i] = total / static_cast<int32_t>(block.rows * block.columns);
      }
      thread.sync();
    }
  }

  // Over this warp's components; at most 4 * kMaxWeighted * kMostActivity = 2^30.
  FMTC_DEVICE int32_t sum(const Thread& thread, int64_t image, const BlockAt& block) const {
    const auto size = static_cast<int64_t>(layout.plane());
    const int16_t* const planes = levels + image * static_cast<int64_t>(layout.levels());
    int32_t result = 0;
    for (uint32_t k = thread.warp(); k < layout.components; k += kWarps) {
      const int32_t weight = weights[k] < 0 ? 0 : weights[k] > kMaxWeight ? kMaxWeight : weights[k];
      for_each_in_block(block, planes + k * size, layout.width,
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
  launch(stream, blocks_for(count, kLanes), Kernel{levels, images, layout, weights, activity},
         Kernel::kThreads * sizeof(int32_t));
}

}  // namespace fmtc::cuda
