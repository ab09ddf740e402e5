#include <torch/csrc/stable/library.h>

#include <array>
#include <atomic>
#include <string>
#include <tuple>

#include "ops/memory.h"
#include "ops/scaled.h"
#include "ops/scaled_tasks.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor> quantize_scaled(const Tensor& y, const std::string& format,
                                           int64_t block, double layer_scale, int64_t lo,
                                           int64_t hi) {
  const Scaled scaled = check_quantize_scaled(y, format, block, layer_scale, lo, hi);
  const Tensor input = contiguous_of(converted(y, ScalarType::Float));
  const int64_t channels = y.size(1), plane = y.size(2) * y.size(3);
  const auto c = static_cast<uint64_t>(channels);
  const int64_t planes = channels + static_cast<int64_t>(scales_of(c, scaled.block));
  const std::array<int64_t, 4> shape = {y.size(0), planes, y.size(2), y.size(3)};
  const Tensor levels = empty(shape, ScalarType::Short);
  const auto in = values<float>(input);
  const auto out = mutable_values<int16_t>(levels);
  std::atomic<int64_t> clamped = 0;
  for_each_part(kQuantizeScaled, y.size(0), planes, plane,
                [&](int64_t image, size_t first, size_t count) {
                  int64_t here = 0;
                  const Status status =
                      fmtc::quantize_scaled(row(in, image, channels * plane), c, scaled, first,
                                            count, row(out, image, planes * plane), here);
                  clamped += here;
                  return status;
                });
  return {levels, scalar(clamped)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("quantize_scaled", TORCH_BOX(&quantize_scaled)); }

}  // namespace fmtc::ops
