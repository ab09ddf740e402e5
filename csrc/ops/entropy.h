#pragma once

#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kEntropy = "entropy";

// counts int64 [..., L].
inline void check_entropy(const Tensor& counts) {
  check_dtype(kEntropy, "counts", counts, ScalarType::Long);
  STD_TORCH_CHECK(counts.dim() >= 1, "fmtc::entropy: counts must be [..., L], but is a scalar");
}

}  // namespace fmtc::ops
