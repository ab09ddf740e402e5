#include "cuda/bins.h"
#include "cuda/cells.h"
#include "cuda/kernel.h"
#include "cuda/pieces.h"
#include "cuda/position_histogram.h"

namespace fmtc::cuda {
namespace {

// A thread block has a part of the cells, of one component or of the maps.
struct PositionHistogram {
  static constexpr uint32_t kThreads = 256;
  const int16_t* levels;
  const uint8_t* maps;
  int64_t images;
  Layout layout;
  int64_t parts;
  Histograms histograms;
  bool in_shared;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t part = thread.thread_block() % parts,
                  component = thread.thread_block() / parts - 1;
    const bool of_maps = component < 0;
    const int64_t* const groups =
        histograms.groups + (of_maps ? 0 : 1 + component * layout.classes);
    const Bins bins{groups,
                    of_maps ? 1 : layout.classes,
                    int64_t{histograms.hi} - histograms.lo + 1,
                    histograms.num_groups,
                    histograms.counts,
                    in_shared ? thread.shared<uint32_t>() : nullptr};
    bins.clear(thread);
    const auto cells = static_cast<int64_t>(layout.map_size());
    for (int64_t i = part * kThreads + thread.rank(); i < images * cells; i += parts * kThreads) {
      const int64_t image = i / cells, cell = i % cells;
      const uint8_t* const map = maps + image * cells;
      if (of_maps) {
        bins.add(0, symbol(map_residual(layout, map, cell)), 1);
        continue;
      }
      const uint32_t row = class_of(layout, map, cell);
      const auto size = static_cast<int64_t>(layout.plane());
      for_each_in_cell(cell_at(layout, cell),
                       levels + (image * layout.components + component) * size, layout.width,
                       [&](int16_t level) { bins.add(row, symbol(level), 1); });
    }
    bins.flush(thread);
  }

  FMTC_DEVICE int32_t symbol(int16_t value) const {
    const int32_t lo = histograms.lo, hi = histograms.hi;
    return (value < lo ? lo : value > hi ? hi : value) - lo;
  }
};

}  // namespace

void position_histogram(Stream stream, const int16_t* levels, const uint8_t* maps, int64_t images,
                        const Layout& layout, const Histograms& histograms) {
  const int64_t symbols = histograms.symbols(), bins = symbols * layout.classes;
  clear(stream, histograms.counts,
        static_cast<size_t>(histograms.num_groups * symbols) * sizeof(int64_t));
  const bool in_shared = fit_shared(bins);
  const int64_t tasks = int64_t{layout.components} + 1;
  const int64_t parts =
      parts_of({images, tasks, static_cast<int64_t>(layout.map_size())}, 2 * bins + kPiece);
  launch(stream, tasks * parts,
         PositionHistogram{levels, maps, images, layout, parts, histograms, in_shared},
         in_shared ? static_cast<size_t>(bins) * sizeof(uint32_t) : 0);
}

}  // namespace fmtc::cuda
