#include "ops/predict.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <vector>

#include "core/predict.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

// The coefficients of each component, within the limit; int16 [K, 3].
std::vector<PredictCoefficients> coefficients_of(const char* op, const Tensor& tensor) {
  const Tensor contiguous = torch::stable::contiguous(tensor);
  const auto all = values<int16_t>(contiguous);
  std::vector<PredictCoefficients> result;
  for (int64_t k = 0; k < tensor.size(0); ++k) {
    const auto c = row(all, k, 3);
    result.push_back({c[0], c[1], c[2]});
    STD_TORCH_CHECK(valid(result.back()), "fmtc::", op, ": coefficients must be from ",
                    -kPredictLimit, " to ", kPredictLimit, ", but component ", k, " has ", c[0],
                    ", ", c[1], ", ", c[2]);
  }
  return result;
}

// A function of the core, predict_plane or unpredict_plane, on all planes of `input`.
template <typename PlaneFunction>
Tensor map_planes(const char* op, const Tensor& input,
                  const std::vector<PredictCoefficients>& coefficients,
                  const PlaneFunction& function) {
  const Tensor output = torch::stable::empty(input.sizes(), ScalarType::Short);
  if (input.numel() == 0) return output;
  const Tensor contiguous = torch::stable::contiguous(input);
  const auto in = values<int16_t>(contiguous);
  const auto out = mutable_values<int16_t>(output);
  const auto width = static_cast<uint64_t>(input.size(3));
  const int64_t plane = input.size(2) * input.size(3);
  Failures failures;
  torch::stable::parallel_for(
      0, input.numel() / plane, kGrain / plane + 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) {
          const auto& of_component = coefficients[static_cast<size_t>(i) % coefficients.size()];
          failures.add(i, function(row(in, i, plane), width, of_component, row(out, i, plane)));
        }
      });
  check_status(op, failures.status());
  return output;
}

Tensor predict(const Tensor& levels, const Tensor& coefficients) {
  check_predict(kPredict, "levels", levels, coefficients);
  return map_planes(kPredict, levels, coefficients_of(kPredict, coefficients), predict_plane);
}

Tensor unpredict(const Tensor& residuals, const Tensor& coefficients) {
  check_predict(kUnpredict, "residuals", residuals, coefficients);
  return map_planes(kUnpredict, residuals, coefficients_of(kUnpredict, coefficients),
                    unpredict_plane);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) {
  m.impl("predict", TORCH_BOX(&predict));
  m.impl("unpredict", TORCH_BOX(&unpredict));
}

}  // namespace fmtc::ops
