#include <algorithm>

#include "core/predict.h"
#include "core/predict_sources.h"
#include "cuda/kernel.h"
#include "cuda/predict.h"
#include "cuda/unpredict_plane.h"

namespace fmtc::cuda {
namespace {

FMTC_DEVICE int16_t limited(int16_t coefficient) {
  constexpr auto kLimit = static_cast<int16_t>(kPredictLimit);
  return coefficient < -kLimit ? -kLimit : coefficient > kLimit ? kLimit : coefficient;
}

constexpr int64_t kOwn = 3;

FMTC_DEVICE const int16_t* row_of(const PredictedPlanes& planes, int64_t k) {
  return planes.coefficients + k * (kOwn + static_cast<int64_t>(kWindow) * planes.sources);
}

// Those of component k's own neighbours.
FMTC_DEVICE PredictCoefficients coefficients_of(const PredictedPlanes& planes, int64_t k) {
  const int16_t* c = row_of(planes, k);
  return {limited(c[0]), limited(c[1]), limited(c[2])};
}

// What the sources tell of component k of an image at a position.
//   levels  of the sources before k
FMTC_DEVICE uint32_t cross_at(const PredictedPlanes& planes, const int16_t* levels, int64_t k,
                              int64_t h, int64_t w) {
  const int16_t* c = row_of(planes, k) + kOwn;
  const int64_t sources =
      sources_of(static_cast<uint64_t>(k), static_cast<uint32_t>(planes.sources));
  uint32_t sum = 0;
  for (int64_t j = 0; j < sources; ++j, levels += planes.height * planes.width) {
    for (int64_t y = h - 1; y <= h + 1; ++y) {
      for (int64_t x = w - 1; x <= w + 1; ++x, ++c) {
        const bool inside = y >= 0 && y < planes.height && x >= 0 && x < planes.width;
        if (*c != 0 && inside) sum += static_cast<uint32_t>(*c * levels[y * planes.width + x]);
      }
    }
  }
  return sum;
}

// Index: of all values
template <typename Index>
struct Predict {
  static constexpr uint32_t kThreads = 256;
  const int16_t* levels;
  PredictedPlanes planes;
  int64_t count;
  int16_t* residuals;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t width = planes.width;
    grid_stride(thread, count, [&](int64_t i) {
      const int64_t row = static_cast<Index>(i) / static_cast<Index>(width);
      const bool has_left = i != row * width;
      const int64_t plane = static_cast<Index>(row) / static_cast<Index>(planes.height);
      const bool has_above = row != plane * planes.height;
      const int16_t* q = levels + i;
      const int64_t k = static_cast<Index>(plane) % static_cast<Index>(planes.components);
      const int16_t* image = levels + (plane - k) * planes.height * width;
      residuals[i] =
          residual_of(coefficients_of(planes, k), q[0], has_left ? q[-1] : 0,
                      has_above ? q[-width] : 0, has_left && has_above ? q[-width - 1] : 0,
                      cross_at(planes, image, k, row - plane * planes.height, i - row * width));
    });
  }
};

// The levels of component k of an image, by a warp.
//   residuals, levels  of the component;  sources: levels of those before it
FMTC_DEVICE void unpredict_component(const Thread& thread, const PredictedPlanes& planes, int64_t k,
                                     const int16_t* residuals, const int16_t* sources,
                                     int16_t* levels) {
  unpredict_plane(
      thread, residuals, planes.height, planes.width, coefficients_of(planes, k), levels,
      [](int16_t) {}, [&](int64_t h, int64_t w) { return cross_at(planes, sources, k, h, w); });
}

// The levels of the sources of an image, each of which may need those before it, by a warp.
FMTC_DEVICE void unpredict_sources(const Thread& thread, const PredictedPlanes& planes,
                                   int64_t sources, const int16_t* residuals, int16_t* levels) {
  const int64_t size = planes.height * planes.width;
  for (int64_t k = 0; k < sources; ++k) {
    unpredict_component(thread, planes, k, residuals + k * size, levels, levels + k * size);
    thread.sync_warp();  // all of it is there
  }
}

// Of one image a thread block, where shared memory does not hold the sources.
struct UnpredictSources {
  static constexpr uint32_t kThreads = kWarpSize;
  const int16_t* residuals;
  PredictedPlanes planes;
  int64_t sources;
  int16_t* levels;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t first = thread.thread_block() * planes.components * planes.height * planes.width;
    unpredict_sources(thread, planes, sources, residuals + first, levels + first);
  }
};

// `parts` thread blocks for an image. Where shared memory holds the sources, each of them finds
// those again, which takes no longer than one that all wait for.
struct Unpredict {
  static constexpr uint32_t kThreads = 512;
  static constexpr uint32_t kWarps = kThreads / kWarpSize;
  const int16_t* residuals;
  PredictedPlanes planes;
  int64_t sources;
  uint32_t parts;
  bool known;  // whether levels of the sources are there
  int16_t* levels;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t size = planes.height * planes.width;
    const int64_t image = thread.thread_block() / parts;
    const uint32_t part = thread.thread_block() % parts;
    const int64_t first = image * planes.components * size;
    const int16_t* of_sources = levels + first;
    if (!known) {
      auto* const found = thread.shared<int16_t>();
      if (thread.warp() == 0) {
        unpredict_sources(thread, planes, sources, residuals + first, found);
      }
      thread.sync();
      for (int64_t i = thread.rank(); part == 0 && i < sources * size; i += kThreads) {
        levels[first + i] = found[i];
      }
      of_sources = found;
    }
    const int64_t step = int64_t{parts} * kWarps;
    for (int64_t k = sources + int64_t{part} * kWarps + thread.warp(); k < planes.components;
         k += step) {
      unpredict_component(thread, planes, k, residuals + first + k * size, of_sources,
                          levels + first + k * size);
    }
  }
};

}  // namespace

void predict(Stream stream, const int16_t* levels, const PredictedPlanes& planes,
             int16_t* residuals) {
  const int64_t count = planes.images * planes.components * planes.height * planes.width;
  with_index(count, [&]<typename Index>(Index) {
    launch(stream, thread_blocks_for(count, Predict<Index>::kThreads),
           Predict<Index>{levels, planes, count, residuals});
  });
}

void unpredict(Stream stream, const int16_t* residuals, const PredictedPlanes& planes,
               int16_t* levels) {
  if (planes.height == 0 || planes.width == 0) return;
  const int64_t sources = std::min(planes.sources, planes.components);
  auto bytes = static_cast<size_t>(sources * planes.height * planes.width) * sizeof(int16_t);
  const bool fits = bytes <= most_shared_bytes();
  if (!fits) {
    bytes = 0;
    launch(stream, planes.images, UnpredictSources{residuals, planes, sources, levels});
  }
  const int64_t others = planes.components - sources;
  const uint32_t parts =
      thread_blocks_of_image(planes.images, (others + Unpredict::kWarps - 1) / Unpredict::kWarps);
  launch(stream, planes.images * parts, Unpredict{residuals, planes, sources, parts, !fits, levels},
         bytes);
}

}  // namespace fmtc::cuda
