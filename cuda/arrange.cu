#include "core/status.h"
#include "cuda/arrange.h"
#include "cuda/cells.h"
#include "cuda/damage_status.h"
#include "cuda/kernel.h"
#include "cuda/reduce.h"
#include "cuda/unpredict_plane.h"

namespace fmtc::cuda {
namespace {

// A thread block works on a map: each thread has a run of its cells.
constexpr uint32_t kMapThreads = 256;
// What it counts, in shared memory: positions [classes, threads] and then [classes].
constexpr size_t kCounts = kMaxPositionClasses * (kMapThreads + 1);
constexpr size_t kCountBytes = kCounts * sizeof(uint32_t);

// Where a map and its cells' places lie. Where shared memory holds them, each thread block of an
// image finds them again, which takes no longer than one that all wait for; else there is a kernel
// before, and they lie in global memory.
constexpr size_t kBytesOfCell = sizeof(uint32_t) + sizeof(uint8_t);
size_t bytes_of_maps(int64_t images, const Layout& layout) {
  return static_cast<size_t>(images) * layout.map_size() * kBytesOfCell;
}
bool fits(const Layout& layout) {
  constexpr size_t kMost = size_t{48} << 10;
  return kCountBytes + bytes_of_maps(1, layout) <= kMost;
}
size_t shared_bytes(const Layout& layout) {
  return kCountBytes + (fits(layout) ? bytes_of_maps(1, layout) : 0);
}

uint32_t parts_of(int64_t images, const Layout& layout) {
  constexpr int64_t kWorth = 8 * kMapThreads;  // cells of all planes
  const auto cells = static_cast<int64_t>(layout.components * layout.map_size());
  return thread_blocks_of_image(images, cells / kWorth);
}

// Calls body(cell, how many positions it has) for each cell of this thread's run.
template <typename Body>
FMTC_DEVICE void for_each_of_run(const Thread& thread, const Layout& layout, const Body& body) {
  const auto cells = static_cast<int64_t>(layout.map_size());
  const int64_t run = (cells + kMapThreads - 1) / kMapThreads;
  const int64_t end = run * (thread.rank() + 1);
  for (int64_t i = run * thread.rank(); i < (end < cells ? end : cells); ++i) {
    const CellAt cell = cell_at(layout, static_cast<uint32_t>(i));
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

// Calls body(cell, plane) for a thread block's share of the cells of `planes` planes.
//   Index  of a cell of all planes
template <typename Index, typename Body>
FMTC_DEVICE void for_each_cell(const Thread& thread, const Layout& layout, int64_t planes,
                               uint32_t part, uint32_t parts, const Body& body) {
  const auto cells = static_cast<int64_t>(layout.map_size());
  const int64_t step = int64_t{parts} * thread.size();
  for (int64_t i = int64_t{part} * thread.size() + thread.rank(); i < planes * cells; i += step) {
    body(static_cast<Index>(i) % static_cast<Index>(cells),
         static_cast<int64_t>(static_cast<Index>(i) / static_cast<Index>(cells)));
  }
}

// ---------------------------------------------------------------------------------------------
// Arranging

struct Arranging {
  const int16_t* levels;
  const uint8_t* maps;
  uint32_t* places;  // [images, map_size], or null where they are in shared memory
  Layout layout;
  int16_t* values;
  int64_t* positions;

  FMTC_DEVICE void place(const Thread& thread, int64_t image, bool tells,
                         uint32_t* of_image) const {
    const uint8_t* const map = maps + image * static_cast<int64_t>(layout.map_size());
    const uint32_t* totals = place_cells(thread, layout, map, of_image);
    if (tells && thread.rank() < static_cast<uint32_t>(layout.classes)) {
      positions[image * layout.classes + thread.rank()] = totals[thread.rank()];
    }
    thread.sync();
  }
};

struct PlaceCells {
  static constexpr uint32_t kThreads = kMapThreads;
  Arranging arranging;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t image = thread.thread_block();
    arranging.place(thread, image, true,
                    arranging.places + image * static_cast<int64_t>(arranging.layout.map_size()));
  }
};

// Index: of a cell of an image's map and planes
template <typename Index>
struct Arrange {
  static constexpr uint32_t kThreads = kMapThreads;
  Arranging arranging;
  uint32_t parts;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const Layout& layout = arranging.layout;
    const int64_t image = thread.thread_block() / parts;
    const uint32_t part = thread.thread_block() % parts;
    const auto cells = static_cast<int64_t>(layout.map_size());
    const auto size = static_cast<int64_t>(layout.plane());
    const uint32_t* places = arranging.places + image * cells;
    if (arranging.places == nullptr) {
      uint32_t* const found = thread.shared<uint32_t>() + kCounts;
      arranging.place(thread, image, part == 0, found);
      places = found;
    }
    const uint8_t* const map = arranging.maps + image * cells;
    int16_t* const of_image = arranging.values + image * static_cast<int64_t>(layout.values());
    // The map itself comes before the planes.
    for_each_cell<Index>(
        thread, layout, int64_t{layout.components} + 1, part, parts, [&](Index cell, int64_t i) {
          if (i == 0) {
            of_image[cell] = map_residual(layout, map, cell);
            return;
          }
          int16_t* to = of_image + cells + (i - 1) * size + places[cell];
          for_each_in_cell(cell_at(layout, cell),
                           arranging.levels + (image * layout.components + i - 1) * size,
                           layout.width, [&](int16_t level) { *to++ = level; });
        });
  }
};

// ---------------------------------------------------------------------------------------------
// Restoring

struct Restoring {
  const int16_t* values;
  const int64_t* positions;
  Damage damage;
  Layout layout;
  // [images, map_size], or null where they are in shared memory
  uint32_t* places;
  uint8_t* maps;
  int16_t* levels;
  int32_t* status;

  // Restores a map; the image's status, the same in all threads.
  FMTC_DEVICE Status restore_map(const Thread& thread, int64_t image, uint8_t* map,
                                 uint32_t* of_image) const {
    const Status known = status_of(thread, damage, image);
    if (known != Status::kOk) return known;
    constexpr PredictCoefficients kCoefficients = kMapPrediction;
    bool bad = false;
    if (thread.warp() == 0) {
      unpredict_plane(
          thread, values + image * static_cast<int64_t>(layout.values()),
          static_cast<int64_t>(layout.map_height()), static_cast<int64_t>(layout.map_width()),
          kCoefficients, map, [&](int16_t level) { bad |= level < 0 || level >= layout.classes; },
          [](int64_t, int64_t) { return 0U; });
    }
    thread.sync();
    const uint32_t* totals = place_cells(thread, layout, map, of_image);
    if (thread.rank() < static_cast<uint32_t>(layout.classes)) {
      bad |= positions[image * layout.classes + thread.rank()] != totals[thread.rank()];
    }
    return thread.sync_or(bad) ? Status::kBadCode : Status::kOk;
  }
};

struct RestoreMap {
  static constexpr uint32_t kThreads = kMapThreads;
  Restoring restoring;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t image = thread.thread_block();
    const int64_t first = image * static_cast<int64_t>(restoring.layout.map_size());
    const Status status =
        restoring.restore_map(thread, image, restoring.maps + first, restoring.places + first);
    if (thread.rank() == 0) restoring.status[image] = static_cast<int32_t>(status);
  }
};

// Index: of a cell of an image's planes
template <typename Index>
struct Restore {
  static constexpr uint32_t kThreads = kMapThreads;
  Restoring restoring;
  uint32_t parts;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const Layout& layout = restoring.layout;
    const int64_t image = thread.thread_block() / parts;
    const uint32_t part = thread.thread_block() % parts;
    const auto cells = static_cast<int64_t>(layout.map_size());
    const auto size = static_cast<int64_t>(layout.plane());
    const uint32_t* places = restoring.places + image * cells;
    if (restoring.places == nullptr) {
      uint32_t* const found = thread.shared<uint32_t>() + kCounts;
      const Status status =
          restoring.restore_map(thread, image, reinterpret_cast<uint8_t*>(found + cells), found);
      if (part == 0 && thread.rank() == 0) restoring.status[image] = static_cast<int32_t>(status);
      places = status == Status::kOk ? found : nullptr;
    } else if (restoring.status[image] != 0) {
      places = nullptr;
    }
    const int16_t* const of_image =
        restoring.values + image * static_cast<int64_t>(layout.values()) + cells;
    for_each_cell<Index>(
        thread, layout, layout.components, part, parts, [&](Index cell, int64_t plane) {
          const int16_t* from = of_image + plane * size;
          if (places != nullptr) from += places[cell];
          for_each_in_cell(
              cell_at(layout, cell), restoring.levels + (image * layout.components + plane) * size,
              layout.width,
              [&](int16_t& level) { level = places != nullptr ? *from++ : int16_t{0}; });
        });
  }
};

}  // namespace

size_t arrange_space(int64_t images, const Layout& layout) {
  return fits(layout) ? 0 : bytes_of_maps(images, layout);
}

void arrange(Stream stream, const int16_t* levels, const uint8_t* maps, int64_t images,
             const Layout& layout, uint8_t* space, int16_t* values, int64_t* positions) {
  Arranging arranging{levels, maps, nullptr, layout, values, positions};
  if (!fits(layout)) {
    arranging.places = reinterpret_cast<uint32_t*>(space);
    launch(stream, images, PlaceCells{arranging}, kCountBytes);
  }
  const uint32_t parts = parts_of(images, layout);
  const auto count = static_cast<int64_t>((layout.components + uint64_t{1}) * layout.map_size());
  with_index(count, [&]<typename Index>(Index) {
    launch(stream, images * parts, Arrange<Index>{arranging, parts}, shared_bytes(layout));
  });
}

size_t restore_space(int64_t images, const Layout& layout) { return arrange_space(images, layout); }

void restore(Stream stream, const int16_t* values, const int64_t* positions, const Damage& damage,
             int64_t images, const Layout& layout, uint8_t* space, int16_t* levels,
             int32_t* status) {
  Restoring restoring{values, positions, damage, layout, nullptr, nullptr, levels, status};
  if (!fits(layout)) {
    const auto cells = images * static_cast<int64_t>(layout.map_size());
    restoring.places = reinterpret_cast<uint32_t*>(space);
    restoring.maps = reinterpret_cast<uint8_t*>(restoring.places + cells);
    launch(stream, images, RestoreMap{restoring}, kCountBytes);
  }
  const uint32_t parts = parts_of(images, layout);
  const auto count = static_cast<int64_t>(layout.components * layout.map_size());
  with_index(count, [&]<typename Index>(Index) {
    launch(stream, images * parts, Restore<Index>{restoring, parts}, shared_bytes(layout));
  });
}

}  // namespace fmtc::cuda
