#include <cmath>

#include "cuda/entropy.h"
#include "cuda/kernel.h"
#include "cuda/reduce.h"

namespace fmtc::cuda {
namespace {

// A warp has a histogram.
struct Entropy {
  static constexpr uint32_t kThreads = 128;
  static constexpr uint32_t kWarps = kThreads / kWarpSize;
  const int64_t* counts;
  int64_t histograms, symbols;
  double* bits;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t step = int64_t{thread.thread_blocks()} * kWarps;
    for (int64_t i = int64_t{thread.thread_block()} * kWarps + thread.warp(); i < histograms;
         i += step) {
      const double result = entropy(thread, counts + i * symbols);
      if (thread.warp_rank() == 0) bits[i] = result;
    }
  }

  FMTC_DEVICE double entropy(const Thread& thread, const int64_t* row) const {
    double total = 0;
    bool negative = false;
    for (int64_t i = thread.warp_rank(); i < symbols; i += kWarpSize) {
      total += static_cast<double>(row[i]);
      negative |= row[i] < 0;
    }
    total = sum_of_warp(thread, total);
    double result = 0;
    for (int64_t i = thread.warp_rank(); i < symbols; i += kWarpSize) {
      if (row[i] <= 0) continue;
      const double share = static_cast<double>(row[i]) / total;
      result -= share * std::log2(share);
    }
    result = sum_of_warp(thread, result);
    return thread.ballot(negative) == 0 ? result : static_cast<double>(NAN);
  }
};

}  // namespace

void entropy(Stream stream, const int64_t* counts, int64_t histograms, int64_t symbols,
             double* bits) {
  launch(stream, thread_blocks_for(histograms, Entropy::kWarps),
         Entropy{counts, histograms, symbols, bits});
}

}  // namespace fmtc::cuda
