#include <cmath>
#include <cstdint>

#include "core/moments.h"
#include "cuda/kernel.h"
#include "cuda/merge_moments.h"

namespace fmtc::cuda {
namespace {

struct MergeMoments {
  static constexpr uint32_t kThreads = 256;
  Moments a, b;
  int64_t channels;
  int64_t* count;
  double* mean;
  double* m2;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t count_a = *a.count, count_b = *b.count;
    const bool valid = count_a >= 0 && count_b >= 0 && count_a <= INT64_MAX - count_b;
    const Merge merge{valid ? count_a : 0, valid ? count_b : 0};
    constexpr double kNone = NAN;
    if (thread.thread_block() == 0 && thread.rank() == 0) *count = valid ? merge.count() : -1;
    grid_stride(thread, channels,
                [&](int64_t i) { mean[i] = valid ? merge.mean(a.mean[i], b.mean[i]) : kNone; });
    grid_stride(thread, channels * channels, [&](int64_t ij) {
      const int64_t i = ij / channels, j = ij % channels;
      m2[ij] = valid ? merge.m2(a.m2[ij], b.m2[ij], b.mean[i] - a.mean[i], b.mean[j] - a.mean[j])
                     : kNone;
    });
  }
};

}  // namespace

void merge_moments(Stream stream, const Moments& a, const Moments& b, int64_t channels,
                   int64_t* count, double* mean, double* m2) {
  launch(stream, thread_blocks_for(channels * channels + 1, MergeMoments::kThreads),
         MergeMoments{a, b, channels, count, mean, m2});
}

}  // namespace fmtc::cuda
