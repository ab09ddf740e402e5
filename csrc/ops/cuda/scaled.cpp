#include "cuda/scaled.h"

#include <string>
#include <tuple>

#include "ops/cuda/device.h"
#include "ops/cuda/real.h"
#include "ops/scaled.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor> quantize_scaled(const Tensor& y, const std::string& format,
                                           int64_t block, double layer_scale, int64_t lo,
                                           int64_t hi) {
  const Scaled scaled = check_quantize_scaled(y, format, block, layer_scale, lo, hi);
  const OnDevice device(kQuantizeScaled, y);
  const Tensor input = torch::stable::contiguous(y);
  const cuda::ScaledShape shape = {y.size(0), y.size(1), y.size(2) * y.size(3)};
  const auto channels = static_cast<uint64_t>(shape.channels);
  const int64_t planes = shape.channels + static_cast<int64_t>(scales_of(channels, scaled.block));
  const Tensor levels = device.empty({y.size(0), planes, y.size(2), y.size(3)}, ScalarType::Short);
  const Tensor clamped = device.empty({}, ScalarType::Long);
  with_real(y.scalar_type(), [&]<typename Y>(Real<Y>) {
    cuda::quantize_scaled(device.stream(), static_cast<const Y*>(input.const_data_ptr()), shape,
                          scaled, levels.mutable_data_ptr<int16_t>(),
                          clamped.mutable_data_ptr<int64_t>());
  });
  device.check();
  return {levels, clamped};
}

Tensor dequantize_scaled(const Tensor& levels, const std::string& format, int64_t block,
                         double layer_scale, const std::string& dtype) {
  ScalarType result;
  const Scaled scaled = check_dequantize_scaled(levels, format, block, layer_scale, dtype, result);
  const OnDevice device(kDequantizeScaled, levels);
  const Tensor input = torch::stable::contiguous(levels);
  const auto planes = static_cast<uint64_t>(levels.size(1));
  const auto channels = static_cast<int64_t>(channels_of(planes, scaled.block));
  const cuda::ScaledShape shape = {levels.size(0), channels, levels.size(2) * levels.size(3)};
  const Tensor y = device.empty({levels.size(0), channels, levels.size(2), levels.size(3)}, result);
  with_real(result, [&]<typename Y>(Real<Y>) {
    cuda::dequantize_scaled(device.stream(), input.const_data_ptr<int16_t>(), shape, scaled,
                            static_cast<Y*>(y.mutable_data_ptr()));
  });
  device.check();
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) {
  m.impl("quantize_scaled", TORCH_BOX(&quantize_scaled));
  m.impl("dequantize_scaled", TORCH_BOX(&dequantize_scaled));
}

}  // namespace fmtc::ops
