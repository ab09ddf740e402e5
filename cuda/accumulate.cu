#include "cuda/accumulate.h"
#include "cuda/kernel.h"

namespace fmtc::cuda {
namespace {

struct Accumulate {
  static constexpr uint32_t kThreads = 256;
  const int64_t* part;
  int64_t count;
  int64_t* total;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    grid_stride(thread, count, [&](int64_t i) { add_to(total + i, part[i]); });
  }
};

}  // namespace

void accumulate(Stream stream, const int64_t* part, int64_t count, int64_t* total) {
  launch(stream, thread_blocks_for(count, Accumulate::kThreads), Accumulate{part, count, total});
}

}  // namespace fmtc::cuda
