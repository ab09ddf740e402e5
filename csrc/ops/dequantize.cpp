#include <torch/csrc/stable/library.h>

#include <cmath>

#include "core/quantize.h"
#include "ops/checks.h"
#include "ops/memory.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "dequantize";

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
    for (int64_t i = begin; i < end; ++i) out[i] = static_cast<double>(in[i]) * step;
  });
  return y;
}

Tensor dequantize(const Tensor& levels, double step, ScalarType dtype) {
  check_dtype(kOp, "levels", levels, ScalarType::Short);
  STD_TORCH_CHECK(is_real(dtype), "fmtc::dequantize: dtype must be float16, bfloat16, float32 or ",
                  "float64, but is ", dtype_name(dtype));
  const bool is_double = dtype == ScalarType::Double;
  const bool finite = is_double ? std::isfinite(step) : std::isfinite(static_cast<float>(step));
  STD_TORCH_CHECK(finite, "fmtc::dequantize: step must be finite in ",
                  is_double ? "float64" : "float32", ", but is ", step);
  const Tensor input = torch::stable::contiguous(levels);
  if (is_double) return to_double(input, step);
  return torch::stable::to(to_float(input, step), dtype);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("dequantize", TORCH_BOX(&dequantize)); }

}  // namespace fmtc::ops
