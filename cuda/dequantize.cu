#include <type_traits>

#include "core/quantize.h"
#include "cuda/dequantize.h"
#include "cuda/kernel.h"
#include "cuda/map.h"

namespace fmtc::cuda {
namespace {

template <typename Y, typename T>
struct Dequantize {
  static constexpr uint32_t kThreads = 256;
  const int16_t* levels;
  int64_t count;
  T step;
  Y* y;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    map_values(thread, levels, count, y, [&](int16_t level) {
      Y result;
      if constexpr (std::is_same_v<T, double>) {
        result = dequantize_one(level, step);
      } else {
        from_float(dequantize_one(level, step), result);
      }
      return result;
    });
  }
};

}  // namespace

template <typename Y, typename T>
void dequantize(Stream stream, const int16_t* levels, int64_t count, T step, Y* y) {
  using Kernel = Dequantize<Y, T>;
  launch(stream, thread_blocks_for(threads_to_map(count), Kernel::kThreads),
         Kernel{levels, count, step, y});
}

template void dequantize(Stream, const int16_t*, int64_t, float, Half*);
template void dequantize(Stream, const int16_t*, int64_t, float, BFloat16*);
template void dequantize(Stream, const int16_t*, int64_t, float, float*);
template void dequantize(Stream, const int16_t*, int64_t, double, double*);

}  // namespace fmtc::cuda
