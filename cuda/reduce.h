#pragma once

#include "cuda/kernel.h"

namespace fmtc::cuda {

// The sum of what the lanes of a warp give, in all of them; each adds in the same order.
template <typename T>
FMTC_DEVICE T sum_of_warp(const Thread& thread, T value) {
  for (uint32_t distance = kLanes / 2; distance > 0; distance /= 2) {
    value += thread.shuffle(value, thread.lane() ^ distance);
  }
  return value;
}

// The sum of what the lanes up to this one give.
template <typename T>
FMTC_DEVICE T sum_up_to_lane(const Thread& thread, T value) {
  for (uint32_t distance = 1; distance < kLanes; distance *= 2) {
    const T before = thread.shuffle(value, (thread.lane() - distance) % kLanes);
    if (thread.lane() >= distance) value += before;
  }
  return value;
}

}  // namespace fmtc::cuda
