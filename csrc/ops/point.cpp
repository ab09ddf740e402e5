#include "ops/point.h"

#include <algorithm>
#include <atomic>
#include <new>

#include "core/quantize.h"
#include "ops/dct.h"
#include "ops/parallel.h"
#include "ops/predict.h"
#include "ops/transform.h"

namespace fmtc::ops {
namespace {

// Levels that go through the stages together: two bytes each, and two to four such arrays at a
// time.
constexpr int64_t kTogether = int64_t{1} << 17;

// Of what the quantiser has on its side of the matrix.
ComponentShape component_shape(int64_t images, const ImageShape& shape,
                               const PointQuantizer& quantizer) {
  return {images, quantizer.places.size(0), shape.height, shape.width};
}

// Memory for such components, of the thread.
std::span<float> components_of(const ComponentShape& shape) {
  return point_space().components.take(
      static_cast<size_t>(shape.images * shape.components * shape.plane()));
}

Tensor contiguous_or_empty(const std::optional<Tensor>& tensor, ScalarType dtype) {
  return tensor ? contiguous_of(*tensor) : torch::stable::empty({0}, dtype);
}

Status quantize_all(std::span<const float> x, float step, int64_t lo, int64_t hi,
                    std::span<int16_t> levels, int64_t& clamped, const ForEach& for_each) {
  std::atomic<int64_t> outside = 0;
  Failures failures;
  const auto all = static_cast<int64_t>(x.size());
  for_each((all + kGrain - 1) / kGrain, [&](int64_t begin, int64_t end) {
    const auto first = static_cast<size_t>(begin * kGrain);
    const auto count = static_cast<size_t>(std::min(end * kGrain, all)) - first;
    int64_t here = 0;
    failures.add(begin,
                 fmtc::quantize(x.subspan(first, count), step, static_cast<int32_t>(lo),
                                static_cast<int32_t>(hi), levels.subspan(first, count), here));
    outside += here;
  });
  clamped = outside;
  return failures.status();
}

Status dequantize_all(std::span<const int16_t> levels, float step, std::span<float> x,
                      const ForEach& for_each) {
  Failures failures;
  const auto all = static_cast<int64_t>(x.size());
  for_each((all + kGrain - 1) / kGrain, [&](int64_t begin, int64_t end) {
    const auto first = static_cast<size_t>(begin * kGrain);
    const auto count = static_cast<size_t>(std::min(end * kGrain, all)) - first;
    failures.add(begin,
                 fmtc::dequantize(levels.subspan(first, count), step, x.subspan(first, count)));
  });
  return failures.status();
}

Prediction checked_prediction(const char* op, const Tensor& contiguous) {
  check_dtype(op, "coefficients", contiguous, ScalarType::Short);
  check_dim(op, "coefficients", contiguous, 2, "[P, 3 + 9 * sources]");
  const int64_t sources = predict_sources(contiguous);
  STD_TORCH_CHECK(
      sources >= 0 && sources <= kMostSources &&
          contiguous.size(1) == kOwn + sources * static_cast<int64_t>(kWindow),
      "fmtc::", op, ": dimension 1 of coefficients must be 3 (left, above, above-left) ",
      "and 9 for each of up to ", kMostSources, " sources, but is ", contiguous.size(1));
  return prediction_of(op, contiguous);
}

}  // namespace

PointMatrix::PointMatrix(const char* op, const std::optional<Tensor>& matrix_or_none,
                         const std::optional<Tensor>& offset_or_none)
    : matrix(contiguous_or_empty(matrix_or_none, ScalarType::Float)),
      offset(contiguous_or_empty(offset_or_none, ScalarType::Float)),
      there(matrix_or_none.has_value()) {
  STD_TORCH_CHECK(there == offset_or_none.has_value(), "fmtc::", op,
                  ": a matrix comes with its offset, and none without");
  if (!there) return;
  check_dtype(op, "matrix", matrix, ScalarType::Float);
  check_dim(op, "matrix", matrix, 2, "[rows, columns]");
  check_dtype(op, "offset", offset, ScalarType::Float);
  check_dim(op, "offset", offset, 1, "[rows]");
  check_size(op, "offset", offset, 0, matrix.size(0), "the rows of matrix");
}

PointQuantizer::PointQuantizer(const char* op, const std::optional<Tensor>& places_or_none,
                               const std::optional<Tensor>& steps_or_none, int64_t planes,
                               double step_of_all)
    : places(contiguous_or_empty(places_or_none, ScalarType::Int)),
      steps(contiguous_or_empty(steps_or_none, ScalarType::Float)),
      step(static_cast<float>(step_of_all)) {
  check_quantizer_step(op, step_of_all, ScalarType::Float);
  STD_TORCH_CHECK(places_or_none.has_value() == steps_or_none.has_value(), "fmtc::", op,
                  ": places of frequencies come with their steps, and none without");
  if (!places_or_none.has_value()) return;
  const int64_t size = check_frequencies(op, places, steps);
  check_between(op, "the planes", planes, 0, places.numel());
  frequencies = frequencies_of(op, size, planes, places, steps);
}

PointSymbols::PointSymbols(const char* op, const Tensor& coefficients, const Tensor& shifts,
                           int64_t planes)
    : coefficients_(contiguous_of(coefficients)),
      prediction_(checked_prediction(op, coefficients_)) {
  check_dtype(op, "shifts", shifts, ScalarType::Long);
  check_dim(op, "shifts", shifts, 1, "[P]");
  check_size(op, "shifts", shifts, 0, coefficients.size(0), "dimension 0 of coefficients");
  const Tensor each = contiguous_of(shifts);
  for (const int64_t shift : values<int64_t>(each)) {
    check_between(op, "a shift", shift, 0, 15);
    if (shift > 0) split_.push_back(levels());
    shifts_.push_back(static_cast<int>(shift));
  }
  STD_TORCH_CHECK(planes == this->planes(), "fmtc::", op, ": planes must be ", this->planes(),
                  ", those of shifts and one for each that is not 0, but is ", planes);
}

Status PointSymbols::symbols_of(std::span<const int16_t> levels, int64_t images, uint32_t height,
                                uint32_t width, Buffer<int16_t>& space,
                                std::span<const int16_t>& symbols, const ForEach& for_each) const {
  symbols = levels;
  if (!prediction_.any && split_.empty()) return Status::kOk;
  const int64_t plane = int64_t{height} * width;
  const std::span<int16_t> made = space.take(static_cast<size_t>(images * planes() * plane));
  symbols = made;
  if (split_.empty()) {
    return predict_images(prediction_, levels, images, height, width, made, for_each);
  }
  for (int64_t n = 0; n < images; ++n) {
    const auto image = row(made, n, planes() * plane);
    const auto whole = image.first(static_cast<size_t>(this->levels() * plane));
    const Status status = predict_images(prediction_, row(levels, n, this->levels() * plane), 1,
                                         height, width, whole, for_each);
    if (status != Status::kOk) return status;
    for (size_t i = 0; i < split_.size(); ++i) {
      const int shift = shifts_[static_cast<size_t>(split_[i])];
      const auto low = row(image, this->levels() + static_cast<int64_t>(i), plane);
      const auto wide = row(image, split_[i], plane);
      for (size_t p = 0; p < wide.size(); ++p) {
        low[p] = static_cast<int16_t>(wide[p] & ((1 << shift) - 1));
        wide[p] = static_cast<int16_t>(wide[p] >> shift);
      }
    }
  }
  return Status::kOk;
}

Status PointSymbols::levels_of(std::span<const int16_t> symbols, int64_t images, uint32_t height,
                               uint32_t width, Buffer<int16_t>& space,
                               std::span<const int16_t>& levels, const ForEach& for_each) const {
  levels = symbols;
  if (!prediction_.any && split_.empty()) return Status::kOk;
  const int64_t plane = int64_t{height} * width;
  const auto size = static_cast<size_t>(this->levels() * plane);
  const std::span<int16_t> made = space.take(static_cast<size_t>(images) * size);
  levels = made;
  if (split_.empty()) {
    return unpredict_images(prediction_, symbols, images, height, width, made, for_each);
  }
  thread_local Buffer<int16_t> joined;
  for (int64_t n = 0; n < images; ++n) {
    const auto image = row(symbols, n, planes() * plane);
    const std::span<int16_t> residuals = joined.take(size);
    std::ranges::copy(image.first(size), residuals.begin());
    for (size_t i = 0; i < split_.size(); ++i) {
      const int shift = shifts_[static_cast<size_t>(split_[i])];
      const auto low = row(image, this->levels() + static_cast<int64_t>(i), plane);
      const auto wide = row(residuals, split_[i], plane);
      for (size_t p = 0; p < wide.size(); ++p) {
        wide[p] = static_cast<int16_t>((static_cast<uint32_t>(wide[p]) << shift) |
                                       static_cast<uint16_t>(low[p]));
      }
    }
    const Status status = unpredict_images(prediction_, residuals, 1, height, width,
                                           row(made, n, static_cast<int64_t>(size)), for_each);
    if (status != Status::kOk) return status;
  }
  return Status::kOk;
}

PointClasses::PointClasses(const char* op, const std::optional<Tensor>& weights_or_none,
                           const std::optional<Tensor>& thresholds_or_none, int64_t planes)
    : weights(contiguous_or_empty(weights_or_none, ScalarType::Int)),
      thresholds(contiguous_or_empty(thresholds_or_none, ScalarType::Long)) {
  STD_TORCH_CHECK(weights_or_none.has_value() == thresholds_or_none.has_value(), "fmtc::", op,
                  ": weights of classes come with their thresholds, and none without");
  if (!weights_or_none.has_value()) return;
  check_dtype(op, "weights", weights, ScalarType::Int);
  check_dim(op, "weights", weights, 1, "[planes]");
  check_size(op, "weights", weights, 0, planes, "planes");
  check_between(op, "planes", planes, 0, kMaxWeighted);
  for (const int32_t weight : values<int32_t>(weights)) {
    check_between(op, "a weight", weight, 0, kMaxWeight);
  }
  check_dtype(op, "thresholds", thresholds, ScalarType::Long);
  check_dim(op, "thresholds", thresholds, 1, "[classes - 1]");
  check_between(op, "the number of classes", thresholds.size(0) + 1, kMinPositionClasses,
                kMaxPositionClasses);
  classes = static_cast<int>(thresholds.size(0)) + 1;
}

PointCounts::PointCounts(const char* op, const std::optional<Tensor>& groups_or_none,
                         int64_t num_groups, int64_t from, int64_t num_symbols, int64_t segments)
    : groups(contiguous_or_empty(groups_or_none, ScalarType::Long)),
      num_groups(num_groups),
      num_symbols(num_symbols),
      from(from),
      there(groups_or_none.has_value()) {
  if (!there) return;
  check_groups(op, groups, segments, "the segments that are coded", num_groups);
  check_group_values(op, groups, num_groups);
  check_interval(op, from, from + num_symbols - 1);
}

std::optional<SegmentCounter> PointCounts::counter() const {
  if (!there) return std::nullopt;
  return std::optional<SegmentCounter>(std::in_place, values<int64_t>(groups), num_groups,
                                       static_cast<int32_t>(from),
                                       static_cast<int32_t>(from + num_symbols - 1));
}

Tensor PointCounts::zeros() const {
  const Tensor counts =
      torch::stable::empty({there ? num_groups : 0, there ? num_symbols : 0}, ScalarType::Long);
  std::ranges::fill(mutable_values<int64_t>(counts), 0);
  return counts;
}

int64_t point_channels(const char* op, const PointMatrix& matrix, bool back,
                       const PointQuantizer& quantizer, int64_t levels) {
  const int64_t components = quantizer.frequencies ? quantizer.places.size(0) : levels;
  if (!matrix.there) return components;
  check_size(op, "the matrix", matrix.matrix, back ? 1 : 0, components,
             quantizer.frequencies ? "the components of places" : "the planes of levels");
  return matrix.matrix.size(back ? 0 : 1);
}

int64_t check_point_shapes(const char* op, int64_t channels, const PointMatrix& matrix,
                           const PointQuantizer& quantizer, int64_t levels) {
  const int64_t expected = point_channels(op, matrix, false, quantizer, levels);
  STD_TORCH_CHECK(channels == expected, "fmtc::", op, ": x must have ", expected,
                  " channels, as the transform and the quantiser have, but has ", channels);
  return quantizer.size();
}

PointSpace& point_space() {
  thread_local PointSpace space;
  return space;
}

Status quantize_images(std::span<const float> x, int64_t images, const ImageShape& shape,
                       const PointMatrix& matrix, const PointQuantizer& quantizer, int64_t lo,
                       int64_t hi, std::span<int16_t> levels, int64_t& clamped,
                       const ForEach& for_each) {
  const auto low = static_cast<int32_t>(lo), high = static_cast<int32_t>(hi);
  if (quantizer.frequencies) {
    const ComponentShape of_y = component_shape(images, shape, quantizer);
    std::span<const float> y = x;
    if (matrix.there) {
      const std::span<float> made = components_of(of_y);
      const Status status =
          transform_channels(x, images, shape.plane(), matrix.view(), -Limits::kInfinity,
                             Limits::kInfinity, made, for_each);
      if (status != Status::kOk) return status;
      y = made;
    }
    return dct_quantize(y, of_y, *quantizer.frequencies, low, high, levels, clamped, for_each);
  }
  if (matrix.there) {
    return transform_quantize(x, images, shape.plane(), matrix.view(), quantizer.step, low, high,
                              levels, clamped, for_each);
  }
  return quantize_all(x, quantizer.step, lo, hi, levels, clamped, for_each);
}

Status dequantize_images(std::span<const int16_t> levels, int64_t images, const ImageShape& shape,
                         const PointMatrix& matrix, const PointQuantizer& quantizer, float least,
                         float most, std::span<float> x, const ForEach& for_each) {
  if (quantizer.frequencies) {
    const ComponentShape of_y = component_shape(images, shape, quantizer);
    const std::span<float> y = matrix.there ? components_of(of_y) : x;
    const Status status = dequantize_dct(levels, of_y, *quantizer.frequencies, y, for_each);
    if (status != Status::kOk || !matrix.there) return status;
    return transform_channels(y, images, shape.plane(), matrix.view(), least, most, x, for_each);
  }
  if (matrix.there) {
    return dequantize_transform(levels, images, shape.plane(), matrix.view(), quantizer.step, least,
                                most, x, for_each);
  }
  return dequantize_all(levels, quantizer.step, x, for_each);
}

Status arrange_symbols(const PointClasses& classes, std::span<const int16_t> symbols,
                       std::span<Layout> layouts, PointSpace& space,
                       std::span<const int16_t>& arranged, const ForEach& for_each) {
  arranged = symbols;
  if (classes.classes == 1 || layouts.empty()) return Status::kOk;
  const auto images = static_cast<int64_t>(layouts.size());
  const auto cells = static_cast<int64_t>(layouts[0].map_size());
  const auto size = static_cast<int64_t>(layouts[0].values());
  const auto size_of_symbols = static_cast<int64_t>(layouts[0].levels());
  const auto activity = space.activity.take(static_cast<size_t>(images * cells));
  const auto maps = space.map.take(static_cast<size_t>(images * cells));
  const auto made = space.arranged.take(static_cast<size_t>(images * size));
  const auto thresholds = values<int64_t>(classes.thresholds);
  arranged = made;
  Failures failures;
  for_each(images, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      Layout& layout = layouts[static_cast<size_t>(n)];
      const auto one = row(symbols, n, size_of_symbols);
      const auto active = row(activity, n, cells);
      const auto map = row(maps, n, cells);
      Status status = position_activity(one, layout.height, layout.width,
                                        values<int32_t>(classes.weights), active);
      for (size_t i = 0; i < map.size(); ++i) {
        // As torch.bucketize(right=True): how many thresholds are reached.
        int reached = 0;
        for (const int64_t threshold : thresholds) reached += active[i] >= threshold ? 1 : 0;
        map[i] = static_cast<uint8_t>(reached);
      }
      if (status == Status::kOk) status = count_positions(map, layout);
      if (status == Status::kOk) status = arrange(one, map, layout, row(made, n, size));
      failures.add(n, status);
    }
  });
  return failures.status();
}

int64_t images_together(int64_t images, int64_t values) {
  const int64_t threads = std::max<int64_t>(torch::stable::get_num_threads(), 1);
  const int64_t fit = std::max<int64_t>(kTogether / std::max<int64_t>(values, 1), 1);
  return std::clamp<int64_t>((images + threads - 1) / threads, 1, fit);
}

Status for_image_groups(int64_t images, int64_t together,
                        const std::function<Status(int64_t, int64_t)>& body) {
  Failures failures;
  for_each_torch((images + together - 1) / together, [&](int64_t begin, int64_t end) {
    for (int64_t group = begin; group < end; ++group) {
      const int64_t first = group * together;
      try {
        failures.add(first, body(first, std::min(together, images - first)));
      } catch (const std::bad_alloc&) {
        failures.add(first, Status::kOutOfMemory);
      }
    }
  });
  return failures.status();
}

Tensor float_images(const char* op, const Tensor& x) {
  check_real(op, "x", x);
  check_dim(op, "x", x, 4, "[N, C, H, W]");
  return contiguous_of(converted(x, ScalarType::Float));
}

}  // namespace fmtc::ops
