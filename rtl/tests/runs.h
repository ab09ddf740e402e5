#pragma once

// Runs of values with one table, as the modules of the coders are told them.
#include <algorithm>
#include <cstdint>
#include <random>
#include <vector>

#include "core/coding.h"

namespace fmtc::rtl {

struct Run {
  uint32_t table = 0;
  uint32_t count = 0;
  bool last = false;
  bool join = false;  // of encoders alone
};

// The runs of `count` values from `first` on. With `random`, some are cut in two or are empty,
// which must not matter.
inline std::vector<Run> runs_of(const ComponentTables& tables, uint64_t first, size_t count,
                                std::mt19937* random = nullptr) {
  std::vector<Run> runs;
  for (RunCursor cursor(tables, first, count); cursor.size() > 0; cursor.advance(cursor.size())) {
    const auto table = static_cast<uint32_t>(cursor.table());
    auto size = static_cast<uint32_t>(cursor.size());
    if (random != nullptr && (*random)() % 4 == 0) {
      const uint32_t part = static_cast<uint32_t>((*random)()) % (size + 1);
      runs.push_back({table, part});
      size -= part;
    }
    runs.push_back({table, size});
  }
  if (runs.empty()) runs.push_back({});
  runs.back().last = true;
  return runs;
}

}  // namespace fmtc::rtl
