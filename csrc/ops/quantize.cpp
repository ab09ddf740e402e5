#include "ops/quantize.h"

#include <torch/csrc/stable/library.h>

#include <atomic>
#include <cmath>
#include <tuple>

#include "core/quantize.h"
#include "ops/memory.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = kQuantize;

// T is the type of the division: float64 for float64 input, float32 for all others.
template <typename T>
int64_t quantize_values(const Tensor& y, double step, int64_t lo, int64_t hi,
                        const Tensor& levels) {
  const T step_of_y = static_cast<T>(step);
  const auto in = values<T>(y);
  const auto out = mutable_values<int16_t>(levels);
  std::atomic<int64_t> clamped = 0;
  Failures failures;
  torch::stable::parallel_for(0, y.numel(), kGrain, [&](int64_t begin, int64_t end) {
    const auto first = static_cast<size_t>(begin);
    const auto count = static_cast<size_t>(end - begin);
    int64_t clamped_here = 0;
    failures.add(begin,
                 fmtc::quantize(in.subspan(first, count), step_of_y, static_cast<int32_t>(lo),
                                static_cast<int32_t>(hi), out.subspan(first, count), clamped_here));
    clamped += clamped_here;
  });
  check_status(kOp, failures.status());
  return clamped;
}

std::tuple<Tensor, Tensor> quantize(const Tensor& y, double step, int64_t lo, int64_t hi) {
  check_quantize(y, step, lo, hi);
  const bool is_double = y.scalar_type() == ScalarType::Double;
  const ScalarType dtype = is_double ? ScalarType::Double : ScalarType::Float;
  const Tensor input = contiguous_of(converted(y, dtype));
  const Tensor levels = empty({y.sizes().data(), y.sizes().size()}, ScalarType::Short);
  const int64_t clamped = is_double ? quantize_values<double>(input, step, lo, hi, levels)
                                    : quantize_values<float>(input, step, lo, hi, levels);
  return {levels, scalar(clamped)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("quantize", TORCH_BOX(&quantize)); }

}  // namespace fmtc::ops
