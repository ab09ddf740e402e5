#include "cuda/dct.h"

#include <string>
#include <tuple>

#include "ops/cuda/device.h"
#include "ops/cuda/real.h"
#include "ops/dct.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor> dct_quantize(const Tensor& y, const Tensor& places, int64_t planes,
                                        const Tensor& steps, int64_t lo, int64_t hi) {
  const int64_t size = check_dct_quantize(y, places, planes, steps, lo, hi);
  const OnDevice device(kDctQuantize, y, {{"places", places}, {"steps", steps}});
  const Tensor input = torch::stable::contiguous(y);
  const Tensor table = torch::stable::contiguous(places);
  const Tensor each = torch::stable::contiguous(steps);
  const cuda::DctShape shape = {y.size(0), y.size(1), y.size(2), y.size(3), size, planes};
  const Tensor levels =
      device.empty({y.size(0), planes, shape.rows(), shape.columns()}, ScalarType::Short);
  const Tensor clamped = device.empty({}, ScalarType::Long);
  with_real(y.scalar_type(), [&]<typename Y>(Real<Y>) {
    cuda::dct_quantize(device.stream(), static_cast<const Y*>(input.const_data_ptr()), shape,
                       table.const_data_ptr<int32_t>(), each.const_data_ptr<float>(),
                       static_cast<int32_t>(lo), static_cast<int32_t>(hi),
                       levels.mutable_data_ptr<int16_t>(), clamped.mutable_data_ptr<int64_t>());
  });
  device.check();
  return {levels, clamped};
}

Tensor dequantize_dct(const Tensor& levels, const Tensor& places, int64_t height, int64_t width,
                      const Tensor& steps, const std::string& dtype) {
  ScalarType result;
  const int64_t size = check_dequantize_dct(levels, places, height, width, steps, dtype, result);
  const OnDevice device(kDequantizeDct, levels, {{"places", places}, {"steps", steps}});
  const Tensor input = torch::stable::contiguous(levels);
  const Tensor table = torch::stable::contiguous(places);
  const Tensor each = torch::stable::contiguous(steps);
  const cuda::DctShape shape = {levels.size(0), places.size(0), height,
                                width,          size,           levels.size(1)};
  const Tensor y = device.empty({levels.size(0), places.size(0), height, width}, result);
  with_real(result, [&]<typename Y>(Real<Y>) {
    cuda::dequantize_dct(device.stream(), input.const_data_ptr<int16_t>(), shape,
                         table.const_data_ptr<int32_t>(), each.const_data_ptr<float>(),
                         static_cast<Y*>(y.mutable_data_ptr()));
  });
  device.check();
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) {
  m.impl("dct_quantize", TORCH_BOX(&dct_quantize));
  m.impl("dequantize_dct", TORCH_BOX(&dequantize_dct));
}

}  // namespace fmtc::ops
