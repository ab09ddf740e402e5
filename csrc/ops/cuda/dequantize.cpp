#include "cuda/dequantize.h"

#include <string>
#include <type_traits>

#include "ops/cuda/device.h"
#include "ops/cuda/real.h"
#include "ops/dequantize.h"

namespace fmtc::ops {
namespace {

Tensor dequantize(const Tensor& levels, double step, const std::string& dtype) {
  const ScalarType result = check_dequantize(levels, step, dtype);
  const OnDevice device(kDequantize, levels);
  const Tensor input = torch::stable::contiguous(levels);
  const Tensor y = device.empty(levels.sizes(), result);
  with_real(result, [&]<typename Y>(Real<Y>) {
    using T = std::conditional_t<std::is_same_v<Y, double>, double, float>;
    cuda::dequantize(device.stream(), input.const_data_ptr<int16_t>(), input.numel(),
                     static_cast<T>(step), static_cast<Y*>(y.mutable_data_ptr()));
  });
  device.check();
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) {
  m.impl("dequantize", TORCH_BOX(&dequantize));
}

}  // namespace fmtc::ops
