#pragma once

#include "ops/checks.h"

namespace fmtc::ops {

inline constexpr const char* kChannelMoments = "channel_moments";

// x real [N, C, H, W].
inline void check_channel_moments(const Tensor& x) {
  check_real(kChannelMoments, "x", x);
  check_dim(kChannelMoments, "x", x, 4, "[N, C, H, W]");
}

}  // namespace fmtc::ops
