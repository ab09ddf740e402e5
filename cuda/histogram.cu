#include "cuda/bins.h"
#include "cuda/histogram.h"
#include "cuda/kernel.h"
#include "cuda/map.h"
#include "cuda/pieces.h"
#include "cuda/reduce.h"

namespace fmtc::cuda {
namespace {

// A thread block has a part of one component's levels.
struct Histogram {
  static constexpr uint32_t kThreads = 256;
  const int16_t* levels;
  Planes planes;
  int64_t parts;
  Histograms histograms;
  bool in_shared;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int32_t lo = histograms.lo, hi = histograms.hi;
    const int64_t component = thread.thread_block() / parts;
    const Bins bins{histograms.groups + component,
                    1,
                    int64_t{hi} - lo + 1,
                    histograms.num_groups,
                    histograms.counts,
                    in_shared ? thread.shared<uint32_t>() : nullptr};
    bins.clear(thread);
    // Threads that count the same level wait for each other; so each counts the most frequent one
    // for itself.
    uint32_t zeros = 0;
    for_each_piece(thread, levels, planes, component, thread.thread_block() % parts, parts,
                   [&](const int16_t* piece, uint32_t count) {
                     for_each_in_warp(thread, piece, count, [&](int16_t level) {
                       if (level == 0) {
                         ++zeros;
                       } else if (level >= lo && level <= hi) {
                         bins.add(0, level - lo, 1);
                       }
                     });
                   });
    zeros = sum_of_warp(thread, zeros);
    if (thread.warp_rank() == 0 && zeros != 0 && lo <= 0 && hi >= 0) bins.add(0, -lo, zeros);
    bins.flush(thread);
  }
};

}  // namespace

void histogram(Stream stream, const int16_t* levels, const Planes& planes,
               const Histograms& histograms) {
  const int64_t symbols = histograms.symbols();
  clear(stream, histograms.counts,
        static_cast<size_t>(histograms.num_groups * symbols) * sizeof(int64_t));
  const bool in_shared = fit_shared(symbols);
  const int64_t parts = parts_of(planes, 8 * symbols + kPiece);
  launch(stream, planes.channels * parts, Histogram{levels, planes, parts, histograms, in_shared},
         in_shared ? static_cast<size_t>(symbols) * sizeof(uint32_t) : 0);
}

}  // namespace fmtc::cuda
