#include "cuda/channel_moments.h"
#include "cuda/kernel.h"
#include "cuda/pieces.h"
#include "cuda/reduce.h"

namespace fmtc::cuda {
namespace {

// A thread block sums up a part of a channel's values.
template <typename T>
struct MeanSums {
  static constexpr uint32_t kThreads = 256;
  const T* x;
  Planes planes;
  int64_t parts;
  double* sums;  // [channels, parts]

  FMTC_DEVICE void operator()(const Thread& thread) const {
    double* const of_warps = thread.shared<double>();  // [warps]
    double sum = 0;
    for_each_piece(thread, x, planes, thread.thread_block() / parts, thread.thread_block() % parts,
                   parts, [&](const T* piece, uint32_t count) {
                     for (uint32_t i = thread.warp_rank(); i < count; i += kWarpSize) {
                       sum += to_double(piece[i]);
                     }
                   });
    sum = sum_of_warp(thread, sum);
    if (thread.warp_rank() == 0) of_warps[thread.warp()] = sum;
    thread.sync();
    if (thread.rank() != 0) return;
    double total = 0;
    for (uint32_t w = 0; w < kThreads / kWarpSize; ++w) total += of_warps[w];
    sums[thread.thread_block()] = total;
  }
};

// The means, and how many samples they are of.
struct Means {
  static constexpr uint32_t kThreads = 256;
  const double* sums;  // [channels, parts]
  Planes planes;
  int64_t parts;
  int64_t* count;
  double* mean;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t samples = planes.images * planes.plane;
    if (thread.thread_block() == 0 && thread.rank() == 0) *count = samples;
    grid_stride(thread, planes.channels, [&](int64_t channel) {
      double total = 0;
      for (int64_t i = 0; i < parts; ++i) total += sums[channel * parts + i];
      mean[channel] = samples == 0 ? 0 : total / static_cast<double>(samples);
    });
  }
};

// Products are taken of a tile of kTile x kTile pairs of channels over kDepth pixels at a time,
// which lie in shared memory, centred. Each thread has kPairs x kPairs of the pairs.
constexpr uint32_t kTile = 64;
constexpr uint32_t kDepth = 16;
constexpr uint32_t kPairs = 4;
constexpr uint32_t kSide = kTile / kPairs;  // threads side by side
constexpr uint32_t kStride = kTile + 1;     // of a pixel; the odd one keeps threads apart in memory

int64_t tiles_of(int64_t channels) { return (channels + kTile - 1) / kTile; }
// Pairs of tiles with row >= column.
int64_t pairs_of(int64_t tiles) { return tiles * (tiles + 1) / 2; }

// A thread block has a pair of tiles of channels and a part of the pixels.
template <typename T>
struct ProductSums {
  static constexpr uint32_t kThreads = kSide * kSide;
  static_assert(kThreads % kDepth == 0 && kTile % (kThreads / kDepth) == 0);
  const T* x;
  Planes planes;
  int64_t pairs, parts;
  const double* mean;
  double* sums;  // [parts, channels, channels], of which the lower triangle is used

  FMTC_DEVICE void operator()(const Thread& thread) const {
    double* const rows = thread.shared<double>();  // [kDepth, kStride]
    double* const columns = rows + kDepth * kStride;
    const int64_t part = thread.thread_block() / pairs;
    int64_t row = 0, column = thread.thread_block() % pairs;
    while (column > row) column -= ++row;
    const uint32_t i = thread.rank() / kSide, j = thread.rank() % kSide;
    double products[kPairs][kPairs] = {};
    const int64_t pixels = planes.images * planes.plane;
    for (int64_t first = part * kDepth; first < pixels; first += parts * kDepth) {
      load(thread, row * kTile, first, rows);
      load(thread, column * kTile, first, columns);
      thread.sync();
      for (uint32_t k = 0; k < kDepth; ++k) {
        for (uint32_t a = 0; a < kPairs; ++a) {
          const double of_row = rows[k * kStride + a * kSide + i];
          for (uint32_t b = 0; b < kPairs; ++b) {
            products[a][b] += of_row * columns[k * kStride + b * kSide + j];
          }
        }
      }
      thread.sync();
    }
    double* const out = sums + part * planes.channels * planes.channels;
    for (uint32_t a = 0; a < kPairs; ++a) {
      for (uint32_t b = 0; b < kPairs; ++b) {
        const int64_t r = row * kTile + a * kSide + i, c = column * kTile + b * kSide + j;
        if (r < planes.channels && c <= r) out[r * planes.channels + c] = products[a][b];
      }
    }
  }

  // Centred values of kTile channels and kDepth pixels; 0 beyond the last.
  FMTC_DEVICE void load(const Thread& thread, int64_t first_channel, int64_t first_pixel,
                        double* to) const {
    const uint32_t k = thread.rank() % kDepth;
    const int64_t pixel = first_pixel + k;
    const bool inside = pixel < planes.images * planes.plane;
    const int64_t image = pixel / planes.plane;
    const T* const from = x + image * planes.channels * planes.plane + pixel % planes.plane;
    for (uint32_t c = thread.rank() / kDepth; c < kTile; c += kThreads / kDepth) {
      const int64_t channel = first_channel + c;
      to[k * kStride + c] = inside && channel < planes.channels
                                ? to_double(from[channel * planes.plane]) - mean[channel]
                                : 0;
    }
  }
};

// The sums of all parts, in their order, in both triangles.
struct Products {
  static constexpr uint32_t kThreads = 256;
  const double* sums;
  int64_t channels, parts;
  double* m2;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    grid_stride(thread, channels * channels, [&](int64_t ij) {
      const int64_t i = ij / channels, j = ij % channels;
      if (j > i) return;
      double total = 0;
      for (int64_t part = 0; part < parts; ++part) total += sums[part * channels * channels + ij];
      m2[ij] = total;
      m2[j * channels + i] = total;
    });
  }
};

}  // namespace

MomentsPlan::MomentsPlan(const Planes& planes) {
  constexpr int64_t kThreadBlocks = 512;  // enough for any device, and not too much memory for sums
  constexpr int64_t kPixels = 512;        // of a part, so that it is worth adding up
  const int64_t enough = kThreadBlocks / (pairs_of(tiles_of(planes.channels)) + 1) + 1;
  const int64_t most = planes.images * planes.plane / kPixels + 1;
  mean_parts = parts_of(planes, kPiece);
  product_parts = most < enough ? most : enough;
  mean_sums = planes.channels * mean_parts;
  product_sums = product_parts * planes.channels * planes.channels;
}

template <typename T>
void channel_moments(Stream stream, const T* x, const Planes& planes, const MomentsPlan& plan,
                     double* sums, int64_t* count, double* mean, double* m2) {
  const int64_t channels = planes.channels;
  using Sums = MeanSums<T>;
  launch(stream, plan.mean_sums, Sums{x, planes, plan.mean_parts, sums},
         Sums::kThreads / kWarpSize * sizeof(double));
  launch(stream, thread_blocks_for(channels + 1, Means::kThreads),
         Means{sums, planes, plan.mean_parts, count, mean});
  const int64_t pairs = pairs_of(tiles_of(channels));
  launch(stream, pairs * plan.product_parts,
         ProductSums<T>{x, planes, pairs, plan.product_parts, mean, sums},
         2 * kDepth * kStride * sizeof(double));
  launch(stream, thread_blocks_for(channels * channels, Products::kThreads),
         Products{sums, channels, plan.product_parts, m2});
}

template void channel_moments(Stream, const Half*, const Planes&, const MomentsPlan&, double*,
                              int64_t*, double*, double*);
template void channel_moments(Stream, const BFloat16*, const Planes&, const MomentsPlan&, double*,
                              int64_t*, double*, double*);
template void channel_moments(Stream, const float*, const Planes&, const MomentsPlan&, double*,
                              int64_t*, double*, double*);
template void channel_moments(Stream, const double*, const Planes&, const MomentsPlan&, double*,
                              int64_t*, double*, double*);

}  // namespace fmtc::cuda
