#include "core/prediction.h"

#include <algorithm>
#include <atomic>
#include <new>

#include "core/buffer.h"

namespace fmtc {
namespace {

// Planes that are made together, as core/predict.cpp makes them.
constexpr int64_t kTogether = 8;
// Levels that are worth a thread.
constexpr int64_t kGrain = 32768;

// Planes `first` to first + count of all.
template <typename T>
std::span<T> planes(std::span<T> all, int64_t first, int64_t count, int64_t plane) {
  return all.subspan(static_cast<size_t>(first * plane), static_cast<size_t>(count * plane));
}

// Images [N, K, H, W], and the sources of each, once they are known.
class Images {
 public:
  Images(const Prediction& prediction, int64_t count, uint32_t height, uint32_t width)
      : prediction_(prediction),
        count_(count),
        height_(height),
        width_(width),
        space_(Sources::space(static_cast<uint32_t>(most()), height, width)) {
    thread_local Buffer<int16_t> kept;
    sources_ = kept.take(static_cast<size_t>(count) * space_);
    std::ranges::fill(sources_, int16_t{0});
  }

  int64_t count() const { return count_; }
  uint32_t width() const { return width_; }
  int64_t components() const { return static_cast<int64_t>(prediction_.components()); }
  int64_t plane() const { return int64_t{height_} * width_; }
  int64_t first_plane(int64_t n) const { return n * components(); }
  // Sources there are.
  int64_t most() const { return std::min<int64_t>(prediction_.sources, components()); }
  Sources of(int64_t n) const {
    return {sources_.subspan(static_cast<size_t>(n) * space_, space_), height_, width_};
  }

  // What the sources tell of `size` components from k on, [size, H, W]; empty where it is nothing.
  std::span<const uint32_t> cross(int64_t n, int64_t k, int64_t size,
                                  Buffer<uint32_t>& space) const {
    if (prediction_.sources == 0) return {};
    const std::span<uint32_t> sums = space.take(static_cast<size_t>(size * plane()));
    bool any = false;
    for (int64_t i = 0; i < size; ++i) {
      const auto one = planes(sums, i, 1, plane());
      const bool told = of(n).tell(prediction_.cross_of(static_cast<uint64_t>(k + i)), one);
      if (!told) std::ranges::fill(one, 0U);
      any = any || told;
    }
    return any ? std::span<const uint32_t>(sums) : std::span<const uint32_t>();
  }

  // Calls body(image, first, count) for the components from `begin` on of all images, some at a
  // time; the first failure counts.
  template <typename Body>
  Status for_components(int64_t begin, const ForEach& for_each, const Body& body) const {
    const int64_t each = components() - begin;
    if (each <= 0 || count_ == 0) return Status::kOk;
    const int64_t all = count_ * each, share = kGrain / plane() + 1;
    std::atomic<Status> status = Status::kOk;
    for_each((all + share - 1) / share, [&](int64_t from, int64_t to) {
      try {
        for (int64_t i = from * share; i < std::min(to * share, all);) {
          const int64_t first = i % each;
          const int64_t count = std::min({std::min(to * share, all) - i, each - first, kTogether});
          const Status made = body(i / each, begin + first, count);
          if (made != Status::kOk) status = made;
          i += count;
        }
      } catch (const std::bad_alloc&) {
        status = Status::kOutOfMemory;
      }
    });
    return status;
  }

  // Calls body(image) for all images.
  template <typename Body>
  Status for_images(const ForEach& for_each, const Body& body) const {
    std::atomic<Status> status = Status::kOk;
    for_each(count_, [&](int64_t from, int64_t to) {
      try {
        for (int64_t n = from; n < to; ++n) {
          const Status made = body(n);
          if (made != Status::kOk) status = made;
        }
      } catch (const std::bad_alloc&) {
        status = Status::kOutOfMemory;
      }
    });
    return status;
  }

 private:
  const Prediction& prediction_;
  int64_t count_;
  uint32_t height_, width_;
  size_t space_;                // numbers of the sources of an image
  std::span<int16_t> sources_;  // [N, space_]
};

bool fits(const Prediction& prediction, size_t in, size_t out, int64_t images, uint32_t height,
          uint32_t width) {
  const uint64_t plane = uint64_t{height} * width;
  return images >= 0 && in == out && prediction.sources <= kMostSources &&
         in == static_cast<uint64_t>(images) * prediction.components() * plane;
}

Status predict_checked(const Prediction& prediction, std::span<const int16_t> levels,
                       int64_t images, uint32_t height, uint32_t width,
                       std::span<int16_t> residuals, const ForEach& for_each) {
  const Images all(prediction, images, height, width);
  if (all.most() > 0) {
    const Status status = all.for_images(for_each, [&](int64_t n) {
      for (int64_t k = 0; k < all.most(); ++k) {
        all.of(n).set(static_cast<uint32_t>(k),
                      planes(levels, all.first_plane(n) + k, 1, all.plane()));
      }
      return Status::kOk;
    });
    if (status != Status::kOk) return status;
  }
  return all.for_components(0, for_each, [&](int64_t n, int64_t first, int64_t count) {
    thread_local Buffer<uint32_t> sums;
    for (int64_t k = first; k < first + count; ++k) {
      const int64_t index = all.first_plane(n) + k;
      const Status status =
          predict_plane(planes(levels, index, 1, all.plane()), all.width(),
                        prediction.own[static_cast<size_t>(k)],
                        planes(residuals, index, 1, all.plane()), all.cross(n, k, 1, sums));
      if (status != Status::kOk) return status;
    }
    return Status::kOk;
  });
}

Status unpredict_checked(const Prediction& prediction, std::span<const int16_t> residuals,
                         int64_t images, uint32_t height, uint32_t width, std::span<int16_t> levels,
                         const ForEach& for_each) {
  const Images all(prediction, images, height, width);
  const auto make = [&](int64_t n, int64_t first, int64_t count) {
    thread_local Buffer<uint32_t> sums;
    const int64_t index = all.first_plane(n) + first;
    return unpredict_planes(
        planes(residuals, index, count, all.plane()), all.width(),
        std::span(prediction.own).subspan(static_cast<size_t>(first), static_cast<size_t>(count)),
        planes(levels, index, count, all.plane()), all.cross(n, first, count, sums));
  };
  if (all.most() > 0) {  // one after the other, as each may need those before it
    const Status status = all.for_images(for_each, [&](int64_t n) {
      for (int64_t k = 0; k < all.most(); ++k) {
        const Status made = make(n, k, 1);
        if (made != Status::kOk) return made;
        all.of(n).set(static_cast<uint32_t>(k), planes(std::span<const int16_t>(levels),
                                                       all.first_plane(n) + k, 1, all.plane()));
      }
      return Status::kOk;
    });
    if (status != Status::kOk) return status;
  }
  return all.for_components(all.most(), for_each, make);
}

}  // namespace

Prediction::Prediction(std::span<const int16_t> all, uint64_t components)
    : own(components), coefficients(all) {
  const size_t width = components == 0 ? kOwnCoefficients : all.size() / components;
  sources = static_cast<uint32_t>((width - kOwnCoefficients) / kWindow);
  for (size_t k = 0; k < components; ++k) {
    const auto c = all.subspan(k * width, kOwnCoefficients);
    own[k] = {c[0], c[1], c[2]};
  }
  any = std::ranges::any_of(all, [](int16_t c) { return c != 0; });
}

uint64_t Prediction::first_beyond_limit() const {
  return static_cast<uint64_t>(std::ranges::find_if_not(own, valid) - own.begin());
}

std::span<const int16_t> Prediction::cross_of(uint64_t k) const {
  const size_t width = kOwnCoefficients + size_t{sources} * kWindow;
  return coefficients.subspan(k * width + kOwnCoefficients, sources_of(k, sources) * kWindow);
}

Status predict_images(const Prediction& prediction, std::span<const int16_t> levels, int64_t images,
                      uint32_t height, uint32_t width, std::span<int16_t> residuals,
                      const ForEach& for_each) {
  if (!fits(prediction, levels.size(), residuals.size(), images, height, width)) {
    return Status::kBadArgument;
  }
  if (prediction.first_beyond_limit() < prediction.components()) return Status::kOutOfRange;
  if (levels.empty()) return Status::kOk;
  try {
    return predict_checked(prediction, levels, images, height, width, residuals, for_each);
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
}

Status unpredict_images(const Prediction& prediction, std::span<const int16_t> residuals,
                        int64_t images, uint32_t height, uint32_t width, std::span<int16_t> levels,
                        const ForEach& for_each) {
  if (!fits(prediction, residuals.size(), levels.size(), images, height, width)) {
    return Status::kBadArgument;
  }
  if (prediction.first_beyond_limit() < prediction.components()) return Status::kOutOfRange;
  if (residuals.empty()) return Status::kOk;
  try {
    return unpredict_checked(prediction, residuals, images, height, width, levels, for_each);
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
}

}  // namespace fmtc
