#include <torch/csrc/stable/library.h>

#include <array>
#include <string>

#include "ops/dct.h"
#include "ops/memory.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

Tensor dequantize_dct(const Tensor& levels, const Tensor& places, int64_t height, int64_t width,
                      const Tensor& steps, const std::string& dtype) {
  ScalarType result;
  const int64_t size = check_dequantize_dct(levels, places, height, width, steps, dtype, result);
  const Tensor input = contiguous_of(levels);
  const Tensor table = contiguous_of(places);
  const Tensor each = contiguous_of(steps);
  const Frequencies frequencies = frequencies_of(kDequantizeDct, size, levels.size(1), table, each);
  const ComponentShape shape = {levels.size(0), places.size(0), height, width};
  const std::array<int64_t, 4> of_y = {shape.images, shape.components, height, width};
  const Tensor y = empty(of_y, ScalarType::Float);
  check_status(kDequantizeDct, fmtc::dequantize_dct(values<int16_t>(input), shape, frequencies,
                                                    mutable_values<float>(y), for_each_torch));
  return converted(y, result);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("dequantize_dct", TORCH_BOX(&dequantize_dct)); }

}  // namespace fmtc::ops
