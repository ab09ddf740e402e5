#pragma once

#include "cuda/damage.h"
#include "cuda/kernel.h"

namespace fmtc::cuda {

// The status of an image, by a warp.
FMTC_DEVICE inline Status status_of(const Thread& thread, const Damage& damage, int64_t image) {
  uint64_t least = kNoDamage;
  for (int64_t i = thread.warp_rank(); i < damage.shares; i += kWarpSize) {
    const uint64_t of_share = damage.of_shares[image * damage.shares + i];
    least = of_share < least ? of_share : least;
  }
  for (uint32_t distance = kWarpSize / 2; distance > 0; distance /= 2) {
    const uint64_t other = thread.shuffle(least, thread.warp_rank() ^ distance);
    least = other < least ? other : least;
  }
  return least == kNoDamage ? Status::kOk : static_cast<Status>(least & 0xFF);
}

}  // namespace fmtc::cuda
