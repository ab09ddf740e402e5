#pragma once

#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kPca = "pca";

// covariance float64 [C, C] or [B, C, C].
inline void check_pca(const Tensor& covariance) {
  check_dtype(kPca, "covariance", covariance, ScalarType::Double);
  const int64_t dim = covariance.dim();
  STD_TORCH_CHECK(dim == 2 || dim == 3,
                  "fmtc::pca: covariance must be [C, C] or [B, C, C], but has ", "the shape ",
                  shape_text(covariance));
  STD_TORCH_CHECK(covariance.size(dim - 1) == covariance.size(dim - 2),
                  "fmtc::pca: covariance must be square, but has the shape ",
                  shape_text(covariance));
}

// What became of one of them.
inline void check_of_batch(int64_t index, Status status) {
  STD_TORCH_CHECK(status == Status::kOk, "fmtc::pca: covariance ", index,
                  " of the batch: ", message(status));
}

}  // namespace fmtc::ops
