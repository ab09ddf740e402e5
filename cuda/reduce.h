#pragma once

#include "cuda/kernel.h"

namespace fmtc::cuda {

// The sum of what the threads of a warp give, in all of them; each adds in the same order.
template <typename T>
FMTC_DEVICE T sum_of_warp(const Thread& thread, T value) {
  for (uint32_t distance = kWarpSize / 2; distance > 0; distance /= 2) {
    value += thread.shuffle(value, thread.warp_rank() ^ distance);
  }
  return value;
}

// The sum of what the threads of a warp up to this one give.
template <typename T>
FMTC_DEVICE T sum_up_to_thread(const Thread& thread, T value) {
  for (uint32_t distance = 1; distance < kWarpSize; distance *= 2) {
    const T before = thread.shuffle(value, (thread.warp_rank() - distance) % kWarpSize);
    if (thread.warp_rank() >= distance) value += before;
  }
  return value;
}

}  // namespace fmtc::cuda
