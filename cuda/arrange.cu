#include "core/status.h"
#include "cuda/arrange.h"
#include "cuda/cells.h"
#include "cuda/kernel.h"
#include "cuda/reduce.h"
#include "cuda/unpredict_plane.h"

namespace fmtc::cuda {
namespace {

// A thread block works on a map: each thread has a run of its cells.
constexpr uint32_t kMapThreads = 256;
// What it counts, in shared memory: positions [classes, threads] and then [classes].
constexpr size_t kCounts = kMaxPositionClasses * (kMapThreads + 1);

// Calls body(cell, how many positions it has) for each cell of this thread's run.
template <typename Body>
FMTC_DEVICE void for_each_of_run(const Thread& thread, const Layout& layout, const Body& body) {
  const auto cells = static_cast<int64_t>(layout.map_size());
  const int64_t run = (cells + kMapThreads - 1) / kMapThreads;
  const int64_t end = run * (thread.rank() + 1);
  for (int64_t i = run * thread.rank(); i < (end < cells ? end : cells); ++i) {
    const CellAt cell = cell_at(layout, i);
    body(i, cell.rows * cell.columns);
  }
}

// The places [map_size] of an image's cells, written, and the positions of each class, in the
// shared memory that is returned.
FMTC_DEVICE const uint32_t* place_cells(const Thread& thread, const Layout& layout,
                                        const uint8_t* map, uint32_t* places) {
  uint32_t* const counts = thread.shared<uint32_t>();
  uint32_t* const totals = counts + kMaxPositionClasses * kMapThreads;
  const auto classes = static_cast<uint32_t>(layout.classes);
  uint32_t* const own = counts + thread.rank();
  for (uint32_t c = 0; c < classes; ++c) own[c * kMapThreads] = 0;
  for_each_of_run(thread, layout, [&](int64_t cell, uint32_t positions) {
    own[class_of(layout, map, cell) * kMapThreads] += positions;
  });
  thread.sync();
  // A warp has a class and turns its counts into what the threads before have.
  for (uint32_t c = thread.warp(); c < classes; c += kMapThreads / kWarpSize) {
    uint32_t before = 0;
    for (uint32_t first = 0; first < kMapThreads; first += kWarpSize) {
      uint32_t* const count = counts + c * kMapThreads + first + thread.warp_rank();
      const uint32_t up_to = sum_up_to_thread(thread, *count);
      *count = before + up_to - *count;
      before += thread.shuffle(up_to, kWarpSize - 1);
    }
    if (thread.warp_rank() == 0) totals[c] = before;
  }
  thread.sync();
  uint32_t begin = 0;
  for (uint32_t c = 0; c < classes; ++c) {
    own[c * kMapThreads] += begin;
    begin += totals[c];
  }
  for_each_of_run(thread, layout, [&](int64_t cell, uint32_t positions) {
    uint32_t* const next = own + class_of(layout, map, cell) * kMapThreads;
    places[cell] = *next;
    *next += positions;
  });
  return totals;
}

struct CountPositions {
  static constexpr uint32_t kThreads = kMapThreads;
  const uint8_t* maps;
  Layout layout;
  uint32_t* places;
  int64_t* positions;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t image = thread.thread_block();
    const int64_t first = image * static_cast<int64_t>(layout.map_size());
    const uint32_t* totals = place_cells(thread, layout, maps + first, places + first);
    if (thread.rank() < static_cast<uint32_t>(layout.classes)) {
      positions[image * layout.classes + thread.rank()] = totals[thread.rank()];
    }
  }
};

// Index: of a cell of each plane of all images, and of the maps
template <typename Index>
struct Arrange {
  static constexpr uint32_t kThreads = 256;
  const int16_t* levels;
  const uint8_t* maps;
  const uint32_t* places;
  int64_t images;
  Layout layout;
  int16_t* values;

  // For each image a cell of the map itself, and then that cell of each plane.
  FMTC_DEVICE void operator()(const Thread& thread) const {
    const auto cells = static_cast<int64_t>(layout.map_size());
    const auto size = static_cast<int64_t>(layout.plane());
    const int64_t parts = int64_t{layout.components} + 1;
    grid_stride(thread, images * parts * cells, [&](int64_t i) {
      const auto map = static_cast<Index>(i) / static_cast<Index>(cells);
      const auto cell = static_cast<Index>(i) % static_cast<Index>(cells);
      const int64_t part = map % static_cast<Index>(parts), image = map / static_cast<Index>(parts);
      int16_t* const of_image = values + image * static_cast<int64_t>(layout.values());
      if (part == 0) {
        of_image[cell] = map_residual(layout, maps + image * cells, cell);
        return;
      }
      const int64_t plane = part - 1;
      int16_t* to =
          of_image + cells + plane * size + places[image * cells + static_cast<int64_t>(cell)];
      for_each_in_cell(cell_at(layout, cell), levels + (image * layout.components + plane) * size,
                       layout.width, [&](int16_t level) { *to++ = level; });
    });
  }
};

struct RestoreMap {
  static constexpr uint32_t kThreads = kMapThreads;
  const int16_t* values;
  const int64_t* positions;
  Layout layout;
  uint8_t* maps;
  uint32_t* places;
  int32_t* status;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t image = thread.thread_block();
    if (status[image] != 0) return;
    const int64_t first = image * static_cast<int64_t>(layout.map_size());
    constexpr PredictCoefficients kCoefficients = kMapPrediction;
    bool bad = false;
    if (thread.warp() == 0) {
      unpredict_plane(
          thread, values + image * static_cast<int64_t>(layout.values()),
          static_cast<int64_t>(layout.map_height()), static_cast<int64_t>(layout.map_width()),
          kCoefficients, maps + first,
          [&](int16_t level) { bad |= level < 0 || level >= layout.classes; },
          [](int64_t, int64_t) { return 0U; });
    }
    thread.sync();
    const uint32_t* totals = place_cells(thread, layout, maps + first, places + first);
    if (thread.rank() < static_cast<uint32_t>(layout.classes)) {
      bad |= positions[image * layout.classes + thread.rank()] != totals[thread.rank()];
    }
    bad = thread.sync_or(bad);
    if (bad && thread.rank() == 0) status[image] = static_cast<int32_t>(Status::kBadCode);
  }
};

// Index: of a cell of each plane of all images
template <typename Index>
struct Restore {
  static constexpr uint32_t kThreads = 256;
  const int16_t* values;
  const uint32_t* places;
  const int32_t* status;
  int64_t images;
  Layout layout;
  int16_t* levels;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const auto cells = static_cast<int64_t>(layout.map_size());
    const auto size = static_cast<int64_t>(layout.plane());
    grid_stride(thread, images * layout.components * cells, [&](int64_t i) {
      const auto cell = static_cast<Index>(i) % static_cast<Index>(cells);
      const int64_t plane = static_cast<Index>(i) / static_cast<Index>(cells);
      const int64_t image = static_cast<Index>(plane) / static_cast<Index>(layout.components);
      const bool good = status[image] == 0;
      // Planes follow each other in the arrangement as in the image, behind the image's own map.
      const int16_t* from = values + (image + 1) * cells + plane * size;
      if (good) from += places[image * cells + static_cast<int64_t>(cell)];
      for_each_in_cell(cell_at(layout, cell), levels + plane * size, layout.width,
                       [&](int16_t& level) { level = good ? *from++ : int16_t{0}; });
    });
  }
};

}  // namespace

void count_positions(Stream stream, const uint8_t* maps, int64_t images, const Layout& layout,
                     uint32_t* places, int64_t* positions) {
  launch(stream, images, CountPositions{maps, layout, places, positions},
         kCounts * sizeof(uint32_t));
}

void arrange(Stream stream, const int16_t* levels, const uint8_t* maps, const uint32_t* places,
             int64_t images, const Layout& layout, int16_t* values) {
  const int64_t count =
      images * (int64_t{layout.components} + 1) * static_cast<int64_t>(layout.map_size());
  with_index(count, [&]<typename Index>(Index) {
    launch(stream, thread_blocks_for(count, Arrange<Index>::kThreads),
           Arrange<Index>{levels, maps, places, images, layout, values});
  });
}

void restore(Stream stream, const int16_t* values, const int64_t* positions, int64_t images,
             const Layout& layout, uint8_t* maps, uint32_t* places, int16_t* levels,
             int32_t* status) {
  launch(stream, images, RestoreMap{values, positions, layout, maps, places, status},
         kCounts * sizeof(uint32_t));
  const int64_t count = images * layout.components * static_cast<int64_t>(layout.map_size());
  with_index(count, [&]<typename Index>(Index) {
    launch(stream, thread_blocks_for(count, Restore<Index>::kThreads),
           Restore<Index>{values, places, status, images, layout, levels});
  });
}

}  // namespace fmtc::cuda
