#include "ops/dequantize.h"

#include <torch/csrc/stable/library.h>

#include <string>

#include "core/quantize.h"
#include "ops/memory.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = kDequantize;

Tensor to_float(const Tensor& levels, double step) {
  const Tensor y = empty({levels.sizes().data(), levels.sizes().size()}, ScalarType::Float);
  const auto in = values<int16_t>(levels);
  const auto out = mutable_values<float>(y);
  Failures failures;
  torch::stable::parallel_for(0, levels.numel(), kGrain, [&](int64_t begin, int64_t end) {
    const auto first = static_cast<size_t>(begin);
    const auto count = static_cast<size_t>(end - begin);
    failures.add(begin, fmtc::dequantize(in.subspan(first, count), static_cast<float>(step),
                                         out.subspan(first, count)));
  });
  check_status(kOp, failures.status());
  return y;
}

Tensor to_double(const Tensor& levels, double step) {
  const Tensor y = torch::stable::empty(levels.sizes(), ScalarType::Double);
  const int16_t* in = levels.const_data_ptr<int16_t>();
  double* out = y.mutable_data_ptr<double>();
  torch::stable::parallel_for(0, levels.numel(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) out[i] = dequantize_one(in[i], step);
  });
  return y;
}

Tensor dequantize(const Tensor& levels, double step, const std::string& dtype) {
  const ScalarType result = check_dequantize(levels, step, dtype);
  const Tensor input = contiguous_of(levels);
  if (result == ScalarType::Double) return to_double(input, step);
  return converted(to_float(input, step), result);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("dequantize", TORCH_BOX(&dequantize)); }

}  // namespace fmtc::ops
