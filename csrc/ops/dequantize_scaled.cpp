#include <torch/csrc/stable/library.h>

#include <array>
#include <string>

#include "ops/memory.h"
#include "ops/scaled.h"
#include "ops/scaled_tasks.h"

namespace fmtc::ops {
namespace {

Tensor dequantize_scaled(const Tensor& levels, const std::string& format, int64_t block,
                         double layer_scale, const std::string& dtype) {
  ScalarType result;
  const Scaled scaled = check_dequantize_scaled(levels, format, block, layer_scale, dtype, result);
  const Tensor input = contiguous_of(levels);
  const int64_t planes = levels.size(1), plane = levels.size(2) * levels.size(3);
  const uint64_t c = channels_of(static_cast<uint64_t>(planes), scaled.block);
  const auto channels = static_cast<int64_t>(c);
  const std::array<int64_t, 4> shape = {levels.size(0), channels, levels.size(2), levels.size(3)};
  const Tensor y = empty(shape, ScalarType::Float);
  const auto in = values<int16_t>(input);
  const auto out = mutable_values<float>(y);
  for_each_part(kDequantizeScaled, levels.size(0), planes, plane,
                [&](int64_t image, size_t first, size_t count) {
                  return fmtc::dequantize_scaled(row(in, image, planes * plane), c, scaled, first,
                                                 count, row(out, image, channels * plane));
                });
  return converted(y, result);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) {
  m.impl("dequantize_scaled", TORCH_BOX(&dequantize_scaled));
}

}  // namespace fmtc::ops
