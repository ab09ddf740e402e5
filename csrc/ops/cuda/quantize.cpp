#include "cuda/quantize.h"

#include <tuple>
#include <type_traits>

#include "ops/cuda/device.h"
#include "ops/cuda/real.h"
#include "ops/quantize.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor> quantize(const Tensor& y, double step, int64_t lo, int64_t hi) {
  check_quantize(y, step, lo, hi);
  const OnDevice device(kQuantize, y);
  const Tensor input = torch::stable::contiguous(y);
  const Tensor levels = device.empty(y.sizes(), ScalarType::Short);
  const Tensor clamped = device.empty({}, ScalarType::Long);
  with_real(y.scalar_type(), [&]<typename Y>(Real<Y>) {
    using T = std::conditional_t<std::is_same_v<Y, double>, double, float>;
    cuda::quantize(device.stream(), static_cast<const Y*>(input.const_data_ptr()), input.numel(),
                   static_cast<T>(step), static_cast<int32_t>(lo), static_cast<int32_t>(hi),
                   levels.mutable_data_ptr<int16_t>(), clamped.mutable_data_ptr<int64_t>());
  });
  device.check();
  return {levels, clamped};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) { m.impl("quantize", TORCH_BOX(&quantize)); }

}  // namespace fmtc::ops
