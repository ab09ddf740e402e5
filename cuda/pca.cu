#include <cmath>

#include "cuda/kernel.h"
#include "cuda/pca.h"
#include "cuda/reduce.h"

namespace fmtc::cuda {
namespace {

struct CountNotFinite {
  static constexpr uint32_t kThreads = 256;
  const double* matrices;
  int64_t count, size;
  uint32_t* not_finite;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    grid_stride(thread, count, [&](int64_t i) {
      if (!std::isfinite(matrices[i])) add_to(not_finite + i / size, uint32_t{1});
    });
  }
};

// A warp has an eigenvector.
struct OrderComponents {
  static constexpr uint32_t kThreads = 128;
  static constexpr uint32_t kWarps = kThreads / kWarpSize;
  const double* eigenvalues;
  const double* vectors;
  int64_t batch, channels;
  double* ordered;
  double* basis;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t step = int64_t{thread.thread_blocks()} * kWarps;
    int64_t i = int64_t{thread.thread_block()} * kWarps + thread.warp();
    for (; i < batch * channels; i += step) {
      const int64_t matrix = i / channels, k = i % channels;
      const double* const column = vectors + matrix * channels * channels + k;
      const int64_t place = place_of(thread, eigenvalues + matrix * channels, k);
      const double sign = sign_of(thread, column);
      double* const to = basis + matrix * channels * channels + place;
      for (int64_t c = thread.warp_rank(); c < channels; c += kWarpSize) {
        to[c * channels] = sign * column[c * channels];
      }
      if (thread.warp_rank() == 0) ordered[matrix * channels + place] = eigenvalues[i];
    }
  }

  // How many come before: the larger ones and, of equal ones, those before.
  FMTC_DEVICE int64_t place_of(const Thread& thread, const double* values, int64_t k) const {
    int64_t before = 0;
    for (int64_t j = thread.warp_rank(); j < channels; j += kWarpSize) {
      before += values[j] > values[k] || (values[j] == values[k] && j < k);
    }
    return sum_of_warp(thread, before);
  }

  // 1 or -1, so that the entry of largest magnitude, the first such, becomes positive.
  FMTC_DEVICE double sign_of(const Thread& thread, const double* column) const {
    int64_t largest = 0;
    const auto better = [&](int64_t a) {
      const double of_a = std::abs(column[a * channels]);
      const double of_largest = std::abs(column[largest * channels]);
      return of_a > of_largest || (of_a == of_largest && a < largest);
    };
    for (int64_t c = thread.warp_rank(); c < channels; c += kWarpSize) {
      if (better(c)) largest = c;
    }
    for (uint32_t distance = kWarpSize / 2; distance > 0; distance /= 2) {
      const int64_t other = thread.shuffle(largest, thread.warp_rank() ^ distance);
      if (better(other)) largest = other;
    }
    return column[largest * channels] < 0 ? -1.0 : 1.0;
  }
};

}  // namespace

void count_not_finite(Stream stream, const double* matrices, int64_t batch, int64_t channels,
                      uint32_t* not_finite) {
  clear(stream, not_finite, static_cast<size_t>(batch) * sizeof(uint32_t));
  const int64_t size = channels * channels, count = batch * size;
  launch(stream, thread_blocks_for(count, CountNotFinite::kThreads),
         CountNotFinite{matrices, count, size, not_finite});
}

void order_components(Stream stream, const double* eigenvalues, const double* vectors,
                      int64_t batch, int64_t channels, double* ordered, double* basis) {
  launch(stream, thread_blocks_for(batch * channels, OrderComponents::kWarps),
         OrderComponents{eigenvalues, vectors, batch, channels, ordered, basis});
}

}  // namespace fmtc::cuda
