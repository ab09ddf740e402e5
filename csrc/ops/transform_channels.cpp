#include <torch/csrc/stable/library.h>

#include <array>
#include <optional>

#include "core/transform.h"
#include "ops/memory.h"
#include "ops/parallel.h"
#include "ops/transform.h"

namespace fmtc::ops {
namespace {

Tensor transform_channels(const Tensor& x, const Tensor& matrix, const Tensor& offset,
                          std::optional<double> least, std::optional<double> most) {
  const Limits limits(least, most);
  check_transform_channels(x, matrix, offset, limits);
  const Tensor input = contiguous_of(converted(x, ScalarType::Float));
  const Tensor rows = contiguous_of(matrix);
  const Tensor offsets = contiguous_of(offset);
  const Tensor y = reused(std::array<int64_t, 4>{x.size(0), matrix.size(0), x.size(2), x.size(3)},
                          ScalarType::Float);
  check_status(kTransformChannels,
               fmtc::transform_channels(values<float>(input), x.size(0), x.size(2) * x.size(3),
                                        {values<float>(rows), values<float>(offsets)}, limits.least,
                                        limits.most, mutable_values<float>(y), for_each_torch));
  return y;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) {
  m.impl("transform_channels", TORCH_BOX(&transform_channels));
}

}  // namespace fmtc::ops
