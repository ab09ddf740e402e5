#include <torch/csrc/stable/library.h>

#include <array>
#include <mutex>
#include <tuple>

#include "ops/memory.h"
#include "ops/parallel.h"
#include "ops/point.h"
#include "ops/transform.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "simulate_point";

std::tuple<Tensor, Tensor, Tensor> simulate_point(
    const Tensor& x, const std::optional<Tensor>& matrix, const std::optional<Tensor>& offset,
    const std::optional<Tensor>& inverse, const std::optional<Tensor>& mean,
    const std::optional<Tensor>& places, const std::optional<Tensor>& steps, double step,
    int64_t lo, int64_t hi, const Tensor& coefficients, const Tensor& shifts, int64_t planes,
    const std::optional<Tensor>& weights, const std::optional<Tensor>& thresholds,
    std::optional<double> least, std::optional<double> most, int64_t symbols_from,
    const std::optional<Tensor>& groups, int64_t num_groups, int64_t num_symbols) {
  const Tensor input = float_images(kOp, x);
  check_interval(kOp, lo, hi);
  const Limits limits = check_limits(kOp, least, most);
  const PointMatrix forward(kOp, matrix, offset), back(kOp, inverse, mean);
  const PointSymbols symbols(kOp, coefficients, shifts, planes);
  const PointQuantizer quantizer(kOp, places, steps, symbols.levels(), step);
  const PointClasses classes(kOp, weights, thresholds, planes);
  const ImageShape shape = {x.size(1), x.size(2), x.size(3)};
  const int64_t size =
      check_point_shapes(kOp, shape.channels, forward, quantizer, symbols.levels());
  const ImageShape made = {point_channels(kOp, back, true, quantizer, symbols.levels()),
                           shape.height, shape.width};
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  check_between(kOp, "the height", shape.height, 0, kMost);
  check_between(kOp, "the width", shape.width, 0, kMost);
  const Layout layout{static_cast<uint32_t>(planes),
                      static_cast<uint32_t>((shape.height + size - 1) / size),
                      static_cast<uint32_t>((shape.width + size - 1) / size), classes.classes};
  const PointCounts counts(kOp, groups, num_groups, symbols_from, num_symbols,
                           static_cast<int64_t>(layout.segments()));
  const int64_t images = x.size(0);
  const auto levels_of_image = symbols.levels() * static_cast<int64_t>(layout.plane());
  const Tensor y = reused(std::array<int64_t, 4>{images, made.channels, made.height, made.width},
                          ScalarType::Float);
  const Tensor counted = counts.zeros();
  std::mutex mutex;
  int64_t clamped = 0;
  const Status status = for_image_groups(
      images, images_together(images, levels_of_image), [&](int64_t first, int64_t count) {
        PointSpace& space = point_space();
        const auto levels = space.levels.take(static_cast<size_t>(count * levels_of_image));
        int64_t outside = 0;
        Status one = quantize_images(
            values<float>(input).subspan(static_cast<size_t>(first * shape.values()),
                                         static_cast<size_t>(count * shape.values())),
            count, shape, forward, quantizer, lo, hi, levels, outside, for_each_torch);
        if (one != Status::kOk) return one;
        one = dequantize_images(
            levels, count, made, back, quantizer, limits.least, limits.most,
            mutable_values<float>(y).subspan(static_cast<size_t>(first * made.values()),
                                             static_cast<size_t>(count * made.values())),
            for_each_torch);
        if (one != Status::kOk) return one;
        std::optional<SegmentCounter> counter = counts.counter();
        if (counter) {
          std::span<const int16_t> of_symbols, arranged;
          std::vector<Layout> layouts(static_cast<size_t>(count), layout);
          one = symbols.symbols_of(levels, count, layout.height, layout.width, space.symbols,
                                   of_symbols, for_each_torch);
          if (one != Status::kOk) return one;
          one = arrange_symbols(classes, of_symbols, layouts, space, arranged, for_each_torch);
          if (one != Status::kOk) return one;
          for (int64_t n = 0; n < count; ++n) {
            counter->add(row(arranged, n, static_cast<int64_t>(layout.values())),
                         layouts[static_cast<size_t>(n)]);
          }
        }
        const std::lock_guard<std::mutex> lock(mutex);
        clamped += outside;
        if (counter) counter->move_to(mutable_values<int64_t>(counted));
        return Status::kOk;
      });
  check_status(kOp, status);
  return {converted(y, x.scalar_type()), scalar(clamped), counted};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("simulate_point", TORCH_BOX(&simulate_point)); }

}  // namespace fmtc::ops
