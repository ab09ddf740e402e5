#pragma once

#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kMergeMoments = "merge_moments";

// One of the two sets of moments; its tensors may have any strides.
struct Moments {
  Tensor count, mean, m2;
};

struct MomentsNames {
  const char *count, *mean, *m2;
};

// count int64 [], mean float64 [C], m2 float64 [C, C], where C is that of both sets.
inline void check_moments(const MomentsNames& names, const Moments& moments, int64_t channels) {
  constexpr const char* kOp = kMergeMoments;
  check_dtype(kOp, names.count, moments.count, ScalarType::Long);
  check_dtype(kOp, names.mean, moments.mean, ScalarType::Double);
  check_dtype(kOp, names.m2, moments.m2, ScalarType::Double);
  check_dim(kOp, names.count, moments.count, 0, "[]");
  check_dim(kOp, names.mean, moments.mean, 1, "[C]");
  check_dim(kOp, names.m2, moments.m2, 2, "[C, C]");
  check_size(kOp, names.mean, moments.mean, 0, channels, "the channels of mean_a");
  check_size(kOp, names.m2, moments.m2, 0, channels, "the channels of mean_a");
  check_size(kOp, names.m2, moments.m2, 1, channels, "the channels of mean_a");
}

// Both sets; returns C.
inline int64_t check_merge_moments(const Moments& a, const Moments& b) {
  check_dim(kMergeMoments, "mean_a", a.mean, 1, "[C]");
  const int64_t channels = a.mean.size(0);
  check_moments({"count_a", "mean_a", "m2_a"}, a, channels);
  check_moments({"count_b", "mean_b", "m2_b"}, b, channels);
  return channels;
}

}  // namespace fmtc::ops
