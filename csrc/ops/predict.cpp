#include "ops/predict.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <vector>

#include "core/predict.h"
#include "core/predict_sources.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

// Planes that are made together, as core/predict.cpp makes them.
constexpr int64_t kTogether = 8;

// The coefficients of each component: of its own neighbours, within the limit, and of the sources.
struct Prediction {
  std::vector<PredictCoefficients> own;
  std::vector<int16_t> cross;  // [K, sources, 3, 3]
  int64_t sources;

  // Of the sources before component k.
  std::span<const int16_t> cross_of(int64_t k) const {
    const auto window = static_cast<int64_t>(kWindow);
    const auto before = sources_of(static_cast<uint64_t>(k), static_cast<uint32_t>(sources));
    return row(std::span(cross), k, sources * window).first(before * kWindow);
  }
};

Prediction prediction_of(const char* op, const Tensor& tensor) {
  const Tensor contiguous = torch::stable::contiguous(tensor);
  const auto all = values<int16_t>(contiguous);
  Prediction result = {{}, {}, predict_sources(tensor)};
  for (int64_t k = 0; k < tensor.size(0); ++k) {
    const auto c = row(all, k, tensor.size(1));
    result.own.push_back({c[0], c[1], c[2]});
    STD_TORCH_CHECK(valid(result.own.back()), "fmtc::", op, ": coefficients must be from ",
                    -kPredictLimit, " to ", kPredictLimit, ", but component ", k, " has ", c[0],
                    ", ", c[1], ", ", c[2]);
    result.cross.insert(result.cross.end(), c.begin() + 3, c.end());
  }
  return result;
}

// Images [N, K, H, W], and the sources of each, once they are known.
struct Images {
  const Prediction& prediction;
  int64_t count, components;
  uint32_t height, width;
  size_t space;                  // numbers of the sources of an image
  std::vector<int16_t> sources;  // [N, space]

  Images(const Prediction& prediction, const Tensor& levels)
      : prediction(prediction),
        count(levels.size(0)),
        components(levels.size(1)),
        height(static_cast<uint32_t>(levels.size(2))),
        width(static_cast<uint32_t>(levels.size(3))),
        space(Sources::space(static_cast<uint32_t>(most()), height, width)),
        sources(static_cast<size_t>(count) * space) {}

  int64_t plane() const { return int64_t{height} * width; }
  int64_t first_plane(int64_t n) const { return n * components; }
  // Sources there are.
  int64_t most() const { return std::min(prediction.sources, components); }
  Sources of(int64_t n) {
    return {std::span(sources).subspan(static_cast<size_t>(n) * space, space), height, width};
  }

  // What the sources tell of `size` components from k on, [size, H, W]; empty where it is nothing.
  std::span<const uint32_t> cross(int64_t n, int64_t k, int64_t size, std::vector<uint32_t>& sums) {
    if (prediction.sources == 0) return {};
    sums.resize(static_cast<size_t>(size * plane()));
    bool any = false;
    for (int64_t i = 0; i < size; ++i) {
      const auto one = row(std::span(sums), i, plane());
      const bool told = of(n).tell(prediction.cross_of(k + i), one);
      if (!told) std::ranges::fill(one, 0U);
      any = any || told;
    }
    return any ? std::span<const uint32_t>(sums) : std::span<const uint32_t>();
  }
};

// Calls body(image, first, count) for the components from `begin` on of all images, some at a time.
template <typename Body>
void for_components(const Images& images, int64_t begin, Failures& failures, const Body& body) {
  const int64_t each = images.components - begin;
  if (each <= 0) return;
  torch::stable::parallel_for(
      0, images.count * each, kGrain / images.plane() + 1, [&](int64_t from, int64_t to) {
        for (int64_t i = from; i < to;) {
          const int64_t first = i % each, count = std::min({to - i, each - first, kTogether});
          failures.add(i, body(i / each, begin + first, count));
          i += count;
        }
      });
}

// Planes `first` to first + count of all images' planes.
template <typename T>
std::span<T> planes(std::span<T> all, int64_t first, int64_t count, int64_t plane) {
  return all.subspan(static_cast<size_t>(first * plane), static_cast<size_t>(count * plane));
}

Tensor predict(const Tensor& levels, const Tensor& coefficients) {
  check_predict(kPredict, "levels", levels, coefficients);
  const Prediction prediction = prediction_of(kPredict, coefficients);
  const Tensor output = torch::stable::empty(levels.sizes(), ScalarType::Short);
  if (levels.numel() == 0) return output;
  const Tensor contiguous = torch::stable::contiguous(levels);
  const auto in = values<int16_t>(contiguous);
  const auto out = mutable_values<int16_t>(output);
  Images images(prediction, levels);
  Failures failures;
  if (images.most() > 0) {
    for_each_task(images.count, failures, [&](int64_t n) {
      for (int64_t k = 0; k < images.most(); ++k) {
        images.of(n).set(static_cast<uint32_t>(k),
                         planes(in, images.first_plane(n) + k, 1, images.plane()));
      }
      return Status::kOk;
    });
  }
  for_components(images, 0, failures, [&](int64_t n, int64_t first, int64_t count) {
    thread_local std::vector<uint32_t> sums;
    for (int64_t k = first; k < first + count; ++k) {
      const int64_t index = images.first_plane(n) + k;
      const Status status =
          predict_plane(planes(in, index, 1, images.plane()), images.width,
                        prediction.own[static_cast<size_t>(k)],
                        planes(out, index, 1, images.plane()), images.cross(n, k, 1, sums));
      if (status != Status::kOk) return status;
    }
    return Status::kOk;
  });
  check_status(kPredict, failures.status());
  return output;
}

Tensor unpredict(const Tensor& residuals, const Tensor& coefficients) {
  check_predict(kUnpredict, "residuals", residuals, coefficients);
  const Prediction prediction = prediction_of(kUnpredict, coefficients);
  const Tensor output = torch::stable::empty(residuals.sizes(), ScalarType::Short);
  if (residuals.numel() == 0) return output;
  const Tensor contiguous = torch::stable::contiguous(residuals);
  const auto in = values<int16_t>(contiguous);
  const auto out = mutable_values<int16_t>(output);
  Images images(prediction, residuals);
  Failures failures;
  const auto make = [&](int64_t n, int64_t first, int64_t count) {
    thread_local std::vector<uint32_t> sums;
    const int64_t index = images.first_plane(n) + first;
    return unpredict_planes(
        planes(in, index, count, images.plane()), images.width,
        std::span(prediction.own).subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
        planes(out, index, count, images.plane()), images.cross(n, first, count, sums));
  };
  if (images.most() > 0) {  // one after the other, as each may need those before it
    for_each_task(images.count, failures, [&](int64_t n) {
      for (int64_t k = 0; k < images.most(); ++k) {
        const Status status = make(n, k, 1);
        if (status != Status::kOk) return status;
        images.of(n).set(
            static_cast<uint32_t>(k),
            planes(std::span<const int16_t>(out), images.first_plane(n) + k, 1, images.plane()));
      }
      return Status::kOk;
    });
  }
  for_components(images, images.most(), failures, make);
  check_status(kUnpredict, failures.status());
  return output;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) {
  m.impl("predict", TORCH_BOX(&predict));
  m.impl("unpredict", TORCH_BOX(&unpredict));
}

}  // namespace fmtc::ops
