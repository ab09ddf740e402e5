#include <torch/csrc/stable/library.h>

#include <array>
#include <tuple>

#include "core/transform.h"
#include "ops/memory.h"
#include "ops/parallel.h"
#include "ops/transform.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor> transform_quantize(const Tensor& x, const Tensor& matrix,
                                              const Tensor& offset, double step, int64_t lo,
                                              int64_t hi) {
  check_transform_quantize(x, matrix, offset, step, lo, hi);
  const Tensor input = contiguous_of(converted(x, ScalarType::Float));
  const Tensor rows = contiguous_of(matrix);
  const Tensor offsets = contiguous_of(offset);
  const std::array<int64_t, 4> shape = {x.size(0), matrix.size(0), x.size(2), x.size(3)};
  const Tensor levels = empty(shape, ScalarType::Short);
  int64_t clamped = 0;
  check_status(kTransformQuantize,
               fmtc::transform_quantize(values<float>(input), x.size(0), x.size(2) * x.size(3),
                                        {values<float>(rows), values<float>(offsets)},
                                        static_cast<float>(step), static_cast<int32_t>(lo),
                                        static_cast<int32_t>(hi), mutable_values<int16_t>(levels),
                                        clamped, for_each_torch));
  return {levels, scalar(clamped)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) {
  m.impl("transform_quantize", TORCH_BOX(&transform_quantize));
}

}  // namespace fmtc::ops
