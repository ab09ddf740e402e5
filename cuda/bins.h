#pragma once

#include "cuda/kernel.h"

namespace fmtc::cuda {

// 48 KiB of them, which every device has for a thread block.
inline constexpr int64_t kMostSharedBins = 12288;

inline bool fit_shared(int64_t bins) { return bins <= kMostSharedBins; }

// Rows of counts of a thread block: in shared memory, which flush() adds to the counts of all,
// or at once in these.
struct Bins {
  const int64_t* groups;  // of each row: which row of the counts of all it belongs to
  int64_t rows, symbols, num_groups;
  int64_t* counts;   // [num_groups, symbols]; a row whose group is none of these is left out
  uint32_t* shared;  // [rows, symbols] or null

  // Both with all threads of the thread block.
  FMTC_DEVICE void clear(const Thread& thread) const {
    if (shared == nullptr) return;
    for (int64_t i = thread.rank(); i < rows * symbols; i += thread.size()) shared[i] = 0;
    thread.sync();
  }
  FMTC_DEVICE void flush(const Thread& thread) const {
    if (shared == nullptr) return;
    thread.sync();
    for (int64_t i = thread.rank(); i < rows * symbols; i += thread.size()) {
      if (shared[i] != 0) add_to_all(i / symbols, i % symbols, shared[i]);
    }
  }

  FMTC_DEVICE void add(int64_t row, int64_t symbol, uint32_t count) const {
    if (shared != nullptr) {
      add_to(shared + row * symbols + symbol, count);
    } else {
      add_to_all(row, symbol, count);
    }
  }

  FMTC_DEVICE void add_to_all(int64_t row, int64_t symbol, uint32_t count) const {
    const int64_t group = groups[row];
    if (group < 0 || group >= num_groups) return;
    add_to(counts + group * symbols + symbol, static_cast<int64_t>(count));
  }
};

}  // namespace fmtc::cuda
