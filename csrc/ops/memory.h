#pragma once

// Memory for large results. Pages that a process has not touched before cost more than coding what
// goes into them: a fault for each 4 KiB. So large results get huge pages, where the system has
// them, and zeros that nobody writes over are never touched at all.
#include <cstdint>
#include <span>

#include "ops/checks.h"

namespace fmtc::ops {

// A contiguous CPU tensor without contents.
Tensor empty(std::span<const int64_t> sizes, ScalarType dtype);

// The same of memory that a result before it had, as far as that is little: for what a network has
// of every layer, and again with the next batch.
Tensor reused(std::span<const int64_t> sizes, ScalarType dtype);

// The same of zeros. A large one takes no memory where nothing is written: streams fill a small
// part of it, and levels of refused streams none.
Tensor zeros(std::span<const int64_t> sizes, ScalarType dtype);

}  // namespace fmtc::ops
