#pragma once

#include <array>
#include <cstdint>

#include "ops/checks.h"

namespace fmtc::ops {

// A contiguous uint8 tensor of zeros on the CPU. Where it is large, pages that are never written to
// take neither memory nor time: streams fill a small part of the bound that their tensors have.
Tensor zeros(std::array<int64_t, 2> sizes);

}  // namespace fmtc::ops
