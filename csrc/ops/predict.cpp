#include "ops/predict.h"

#include <torch/csrc/stable/library.h>

#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

Tensor predict(const Tensor& levels, const Tensor& coefficients) {
  check_predict(kPredict, "levels", levels, coefficients);
  const Tensor factors = contiguous_of(coefficients);
  const Prediction prediction = prediction_of(kPredict, factors);
  const Tensor output = torch::stable::empty(levels.sizes(), ScalarType::Short);
  const Tensor input = contiguous_of(levels);
  check_status(kPredict, predict_images(prediction, values<int16_t>(input), levels.size(0),
                                        static_cast<uint32_t>(levels.size(2)),
                                        static_cast<uint32_t>(levels.size(3)),
                                        mutable_values<int16_t>(output), for_each_torch));
  return output;
}

Tensor unpredict(const Tensor& residuals, const Tensor& coefficients) {
  check_predict(kUnpredict, "residuals", residuals, coefficients);
  const Tensor factors = contiguous_of(coefficients);
  const Prediction prediction = prediction_of(kUnpredict, factors);
  const Tensor output = torch::stable::empty(residuals.sizes(), ScalarType::Short);
  const Tensor input = contiguous_of(residuals);
  check_status(kUnpredict, unpredict_images(prediction, values<int16_t>(input), residuals.size(0),
                                            static_cast<uint32_t>(residuals.size(2)),
                                            static_cast<uint32_t>(residuals.size(3)),
                                            mutable_values<int16_t>(output), for_each_torch));
  return output;
}

}  // namespace

Prediction prediction_of(const char* op, const Tensor& contiguous) {
  Prediction prediction(values<int16_t>(contiguous), static_cast<uint64_t>(contiguous.size(0)));
  const uint64_t k = prediction.first_beyond_limit();
  if (k < prediction.components()) {
    const PredictCoefficients& c = prediction.own[k];
    STD_TORCH_CHECK(false, "fmtc::", op, ": coefficients must be from ", -kPredictLimit, " to ",
                    kPredictLimit, ", but component ", k, " has ", c.left, ", ", c.above, ", ",
                    c.above_left);
  }
  return prediction;
}

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) {
  m.impl("predict", TORCH_BOX(&predict));
  m.impl("unpredict", TORCH_BOX(&unpredict));
}

}  // namespace fmtc::ops
