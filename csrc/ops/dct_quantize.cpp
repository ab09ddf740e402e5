#include <torch/csrc/stable/library.h>

#include <array>
#include <tuple>

#include "ops/dct.h"
#include "ops/memory.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor> dct_quantize(const Tensor& y, const Tensor& places, int64_t planes,
                                        const Tensor& steps, int64_t lo, int64_t hi) {
  const int64_t size = check_dct_quantize(y, places, planes, steps, lo, hi);
  const Tensor input = contiguous_of(converted(y, ScalarType::Float));
  const Tensor table = contiguous_of(places);
  const Tensor each = contiguous_of(steps);
  const Frequencies frequencies = frequencies_of(kDctQuantize, size, planes, table, each);
  const ComponentShape shape = {y.size(0), y.size(1), y.size(2), y.size(3)};
  const std::array<int64_t, 4> of_levels = {shape.images, planes, (shape.height + size - 1) / size,
                                            (shape.width + size - 1) / size};
  const Tensor levels = empty(of_levels, ScalarType::Short);
  int64_t clamped = 0;
  check_status(kDctQuantize,
               fmtc::dct_quantize(values<float>(input), shape, frequencies,
                                  static_cast<int32_t>(lo), static_cast<int32_t>(hi),
                                  mutable_values<int16_t>(levels), clamped, for_each_torch));
  return {levels, scalar(clamped)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("dct_quantize", TORCH_BOX(&dct_quantize)); }

}  // namespace fmtc::ops
