#include <type_traits>

#include "core/quantize.h"
#include "cuda/kernel.h"
#include "cuda/map.h"
#include "cuda/quantize.h"
#include "cuda/reduce.h"

namespace fmtc::cuda {
namespace {

template <typename Y, typename T>
struct Quantize {
  static constexpr uint32_t kThreads = 256;
  const Y* y;
  int64_t count;
  T step;
  int32_t lo, hi;
  int16_t* levels;
  int64_t* clamped;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    int64_t outside = 0;
    map_values(thread, y, count, levels, [&](Y value) {
      bool clamp;
      const int16_t level = quantize_one(number(value), step, lo, hi, clamp);
      outside += clamp;
      return level;
    });
    outside = sum_of_warp(thread, outside);
    if (thread.warp_rank() == 0 && outside != 0) add_to(clamped, outside);
  }

  FMTC_DEVICE static T number(Y value) {
    if constexpr (std::is_same_v<T, double>) {
      return to_double(value);
    } else {
      return to_float(value);
    }
  }
};

}  // namespace

template <typename Y, typename T>
void quantize(Stream stream, const Y* y, int64_t count, T step, int32_t lo, int32_t hi,
              int16_t* levels, int64_t* clamped) {
  clear(stream, clamped, sizeof(*clamped));
  using Kernel = Quantize<Y, T>;
  launch(stream, thread_blocks_for(threads_to_map(count), Kernel::kThreads),
         Kernel{y, count, step, lo, hi, levels, clamped});
}

template void quantize(Stream, const Half*, int64_t, float, int32_t, int32_t, int16_t*, int64_t*);
template void quantize(Stream, const BFloat16*, int64_t, float, int32_t, int32_t, int16_t*,
                       int64_t*);
template void quantize(Stream, const float*, int64_t, float, int32_t, int32_t, int16_t*, int64_t*);
template void quantize(Stream, const double*, int64_t, double, int32_t, int32_t, int16_t*,
                       int64_t*);

}  // namespace fmtc::cuda
