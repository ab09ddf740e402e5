#include "cuda/transform.h"

#include <optional>
#include <string>
#include <tuple>

#include "ops/cuda/device.h"
#include "ops/cuda/real.h"
#include "ops/transform.h"

namespace fmtc::ops {
namespace {

// Contiguous arguments of a product, which must outlive it.
struct Product {
  Product(const Tensor& in, const Tensor& of_matrix, const Tensor& of_offset)
      : input(torch::stable::contiguous(in)),
        matrix(torch::stable::contiguous(of_matrix)),
        offset(torch::stable::contiguous(of_offset)),
        kernel{matrix.const_data_ptr<float>(),
               offset.const_data_ptr<float>(),
               matrix.size(0),
               matrix.size(1),
               in.size(0),
               in.size(2) * in.size(3)} {}

  Tensor input, matrix, offset;
  cuda::ChannelProduct kernel;
};

Tensor transform_channels(const Tensor& x, const Tensor& matrix, const Tensor& offset,
                          std::optional<double> least, std::optional<double> most) {
  const Limits limits(least, most);
  check_transform_channels(x, matrix, offset, limits);
  const OnDevice device(kTransformChannels, x, {{"matrix", matrix}, {"offset", offset}});
  const Product product(x, matrix, offset);
  const Tensor y =
      device.empty({x.size(0), matrix.size(0), x.size(2), x.size(3)}, ScalarType::Float);
  with_real(x.scalar_type(), [&]<typename X>(Real<X>) {
    cuda::transform_channels(device.stream(), product.kernel,
                             static_cast<const X*>(product.input.const_data_ptr()), limits.least,
                             limits.most, static_cast<float*>(y.mutable_data_ptr()));
  });
  device.check();
  return y;
}

std::tuple<Tensor, Tensor> transform_quantize(const Tensor& x, const Tensor& matrix,
                                              const Tensor& offset, double step, int64_t lo,
                                              int64_t hi) {
  check_transform_quantize(x, matrix, offset, step, lo, hi);
  const OnDevice device(kTransformQuantize, x, {{"matrix", matrix}, {"offset", offset}});
  const Product product(x, matrix, offset);
  const Tensor levels =
      device.empty({x.size(0), matrix.size(0), x.size(2), x.size(3)}, ScalarType::Short);
  const Tensor clamped = device.empty({}, ScalarType::Long);
  with_real(x.scalar_type(), [&]<typename X>(Real<X>) {
    cuda::transform_quantize(
        device.stream(), product.kernel, static_cast<const X*>(product.input.const_data_ptr()),
        static_cast<float>(step), static_cast<int32_t>(lo), static_cast<int32_t>(hi),
        levels.mutable_data_ptr<int16_t>(), clamped.mutable_data_ptr<int64_t>());
  });
  device.check();
  return {levels, clamped};
}

Tensor dequantize_transform(const Tensor& levels, const Tensor& matrix, const Tensor& offset,
                            double step, std::optional<double> least, std::optional<double> most,
                            const std::string& dtype) {
  const Limits limits(least, most);
  const ScalarType result = check_dequantize_transform(levels, matrix, offset, step, limits, dtype);
  const OnDevice device(kDequantizeTransform, levels, {{"matrix", matrix}, {"offset", offset}});
  const Product product(levels, matrix, offset);
  const Tensor x =
      device.empty({levels.size(0), matrix.size(0), levels.size(2), levels.size(3)}, result);
  with_real(result, [&]<typename X>(Real<X>) {
    cuda::dequantize_transform(device.stream(), product.kernel,
                               product.input.const_data_ptr<int16_t>(), static_cast<float>(step),
                               limits.least, limits.most, static_cast<X*>(x.mutable_data_ptr()));
  });
  device.check();
  return x;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) {
  m.impl("transform_channels", TORCH_BOX(&transform_channels));
  m.impl("transform_quantize", TORCH_BOX(&transform_quantize));
  m.impl("dequantize_transform", TORCH_BOX(&dequantize_transform));
}

}  // namespace fmtc::ops
