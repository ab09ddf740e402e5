#include "core/quantize.h"
#include "kernel.h"
#include "quantize.h"
#include "reduce.h"

namespace fmtc::cuda {
namespace {

template <typename T>
struct Quantize {
  static constexpr uint32_t kThreads = 256;
  const T* y;
  int64_t count;
  T step;
  int32_t lo, hi;
  int16_t* levels;
  int64_t* clamped;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    int64_t outside = 0;
    grid_stride(thread, count, [&](int64_t i) {
      bool clamp;
      levels[i] = quantize_one(y[i], step, lo, hi, clamp);
      outside += clamp;
    });
    outside = sum_of_warp(thread, outside);
    if (thread.lane() == 0 && outside != 0) add_to(clamped, outside);
  }
};

}  // namespace

template <typename T>
void quantize(Stream stream, const T* y, int64_t count, T step, int32_t lo, int32_t hi,
              int16_t* levels, int64_t* clamped) {
  clear(stream, clamped, sizeof(*clamped));
  using Kernel = Quantize<T>;
  launch(stream, blocks_for(count, Kernel::kThreads),
         Kernel{y, count, step, lo, hi, levels, clamped});
}

template void quantize(Stream, const float*, int64_t, float, int32_t, int32_t, int16_t*, int64_t*);
template void quantize(Stream, const double*, int64_t, double, int32_t, int32_t, int16_t*,
                       int64_t*);

}  // namespace fmtc::cuda
