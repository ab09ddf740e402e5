#pragma once

#include <algorithm>

#include "ops/checks.h"
#include "ops/parallel.h"

namespace fmtc::ops {

// Runs body(image, first position, positions) -> Status for all positions of all images, on torch's
// threads, in parts that are worth one each.
template <typename Body>
void for_each_part(const char* op, int64_t images, int64_t planes, int64_t positions,
                   const Body& body) {
  const int64_t size = std::max<int64_t>(kGrain / std::max<int64_t>(planes, 1), 64);
  const int64_t parts = (positions + size - 1) / size;
  Failures failures;
  for_each_task(images * parts, failures, [&](int64_t task) {
    const int64_t first = task % parts * size;
    return body(task / parts, static_cast<size_t>(first),
                static_cast<size_t>(std::min(size, positions - first)));
  });
  check_status(op, failures.status());
}

}  // namespace fmtc::ops
