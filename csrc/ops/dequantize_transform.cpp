#include <torch/csrc/stable/library.h>

#include <array>
#include <optional>
#include <string>

#include "core/transform.h"
#include "ops/memory.h"
#include "ops/parallel.h"
#include "ops/transform.h"

namespace fmtc::ops {
namespace {

Tensor dequantize_transform(const Tensor& levels, const Tensor& matrix, const Tensor& offset,
                            double step, std::optional<double> least, std::optional<double> most,
                            const std::string& dtype) {
  const Limits limits(least, most);
  const ScalarType result = check_dequantize_transform(levels, matrix, offset, step, limits, dtype);
  const Tensor input = contiguous_of(levels);
  const Tensor rows = contiguous_of(matrix);
  const Tensor offsets = contiguous_of(offset);
  const std::array<int64_t, 4> shape = {levels.size(0), matrix.size(0), levels.size(2),
                                        levels.size(3)};
  const Tensor x = empty(shape, ScalarType::Float);
  check_status(kDequantizeTransform,
               fmtc::dequantize_transform(
                   values<int16_t>(input), levels.size(0), levels.size(2) * levels.size(3),
                   {values<float>(rows), values<float>(offsets)}, static_cast<float>(step),
                   limits.least, limits.most, mutable_values<float>(x), for_each_torch));
  return converted(x, result);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) {
  m.impl("dequantize_transform", TORCH_BOX(&dequantize_transform));
}

}  // namespace fmtc::ops
