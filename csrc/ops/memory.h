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

// A contiguous CPU tensor [rows, bytes] of zeros, uint8: streams, which fill a small part of it.
Tensor zeros(int64_t rows, int64_t bytes);

}  // namespace fmtc::ops
