#include "quantize.h"

#include <tuple>

#include "ops/cuda/device.h"
#include "ops/quantize.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor> quantize(const Tensor& y, double step, int64_t lo, int64_t hi) {
  check_quantize(y, step, lo, hi);
  const bool is_double = y.scalar_type() == ScalarType::Double;
  const ScalarType dtype = is_double ? ScalarType::Double : ScalarType::Float;
  const OnDevice device(kQuantize, y);
  const Tensor input = torch::stable::contiguous(torch::stable::to(y, dtype));
  const Tensor levels = device.empty(y.sizes(), ScalarType::Short);
  const Tensor clamped = device.empty({}, ScalarType::Long);
  const auto run = [&]<typename T>(T step_of_y) {
    cuda::quantize(device.stream(), input.const_data_ptr<T>(), input.numel(), step_of_y,
                   static_cast<int32_t>(lo), static_cast<int32_t>(hi),
                   levels.mutable_data_ptr<int16_t>(), clamped.mutable_data_ptr<int64_t>());
  };
  if (is_double) {
    run(step);
  } else {
    run(static_cast<float>(step));
  }
  device.check();
  return {levels, clamped};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) { m.impl("quantize", TORCH_BOX(&quantize)); }

}  // namespace fmtc::ops
