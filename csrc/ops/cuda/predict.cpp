// Coefficients beyond the limit, for which the CPU operators raise, count as the limit.
#include "ops/predict.h"

#include "cuda/predict.h"
#include "ops/cuda/device.h"

namespace fmtc::ops {
namespace {

template <typename Function>
Tensor map_planes(const char* op, const char* name, const Tensor& values,
                  const Tensor& coefficients, const Function& function) {
  check_predict(op, name, values, coefficients);
  const OnDevice device(op, values, {{"coefficients", coefficients}});
  const Tensor input = torch::stable::contiguous(values);
  const Tensor factors = torch::stable::contiguous(coefficients);
  const Tensor output = device.empty(values.sizes(), ScalarType::Short);
  function(device.stream(), input.const_data_ptr<int16_t>(),
           {factors.const_data_ptr<int16_t>(), values.size(0), values.size(1), values.size(2),
            values.size(3), predict_sources(coefficients)},
           output.mutable_data_ptr<int16_t>());
  device.check();
  return output;
}

Tensor predict(const Tensor& levels, const Tensor& coefficients) {
  return map_planes(kPredict, "levels", levels, coefficients, cuda::predict);
}

Tensor unpredict(const Tensor& residuals, const Tensor& coefficients) {
  return map_planes(kUnpredict, "residuals", residuals, coefficients, cuda::unpredict);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) {
  m.impl("predict", TORCH_BOX(&predict));
  m.impl("unpredict", TORCH_BOX(&unpredict));
}

}  // namespace fmtc::ops
