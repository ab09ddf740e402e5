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

Status predict_planes(std::span<const int16_t> levels, uint64_t width,
                      std::span<const PredictCoefficients> coefficients,
                      std::span<int16_t> residuals) {
  const auto plane = static_cast<int64_t>(levels.size() / coefficients.size());
  Status status = Status::kOk;
  for (size_t k = 0; k < coefficients.size() && status == Status::kOk; ++k) {
    const auto index = static_cast<int64_t>(k);
    status = predict_plane(row(levels, index, plane), width, coefficients[k],
                           row(residuals, index, plane));
  }
  return status;
}

// A function of the core on all planes of `input`: some planes of an image at a time, with their
// coefficients.
template <typename PlanesFunction>
Tensor map_planes(const char* op, const Tensor& input,
                  const std::vector<PredictCoefficients>& coefficients,
                  const PlanesFunction& function) {
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
        const auto components = static_cast<int64_t>(coefficients.size());
        for (int64_t i = begin; i < end;) {
          const int64_t first = i % components, count = std::min(end - i, components - first);
          const auto of_planes =
              std::span(coefficients)
                  .subspan(static_cast<size_t>(first), static_cast<size_t>(count));
          const auto start = static_cast<size_t>(i * plane);
          const auto size = static_cast<size_t>(count * plane);
          failures.add(
              i, function(in.subspan(start, size), width, of_planes, out.subspan(start, size)));
          i += count;
        }
      });
  check_status(op, failures.status());
  return output;
}

Tensor predict(const Tensor& levels, const Tensor& coefficients) {
  check_predict(kPredict, "levels", levels, coefficients);
  return map_planes(kPredict, levels, coefficients_of(kPredict, coefficients), predict_planes);
}

Tensor unpredict(const Tensor& residuals, const Tensor& coefficients) {
  check_predict(kUnpredict, "residuals", residuals, coefficients);
  return map_planes(kUnpredict, residuals, coefficients_of(kUnpredict, coefficients),
                    unpredict_planes);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) {
  m.impl("predict", TORCH_BOX(&predict));
  m.impl("unpredict", TORCH_BOX(&unpredict));
}

}  // namespace fmtc::ops
