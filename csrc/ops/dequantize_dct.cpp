#include <torch/csrc/stable/library.h>

#include <array>
#include <string>

#include "ops/dct.h"
#include "ops/memory.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

Tensor dequantize_dct(const Tensor& levels, int64_t components, int64_t height, int64_t width,
                      int64_t size, const Tensor& planes, const Tensor& steps,
                      const std::string& dtype) {
  const ScalarType result =
      check_dequantize_dct(levels, components, height, width, size, planes, steps, dtype);
  const Tensor input = torch::stable::contiguous(levels);
  const Tensor places = torch::stable::contiguous(planes);
  const Tensor each = torch::stable::contiguous(steps);
  const ComponentShape shape = {levels.size(0), components, height, width};
  const Frequencies frequencies = frequencies_of(kDequantizeDct, size, places, each, components);
  const std::array<int64_t, 4> of_y = {shape.images, components, height, width};
  const Tensor y = empty(of_y, ScalarType::Float);
  check_status(kDequantizeDct, fmtc::dequantize_dct(values<int16_t>(input), shape, frequencies,
                                                    mutable_values<float>(y), for_each_torch));
  return torch::stable::to(y, result);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("dequantize_dct", TORCH_BOX(&dequantize_dct)); }

}  // namespace fmtc::ops
