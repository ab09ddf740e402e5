#pragma once

// Several neighbouring values at a time: what a GPU's memory needs to be read and written fast.
#include "cuda/kernel.h"

namespace fmtc::cuda {

inline constexpr uint32_t kPack = 8;

template <typename T>
struct alignas(16) Pack {
  T values[kPack];
};

// Of values before the first that a Pack may begin with.
template <typename T>
FMTC_DEVICE uint32_t values_before_packs(const T* values) {
  static_assert(sizeof(T) >= 2 && alignof(T) == sizeof(T));
  const auto address = reinterpret_cast<uintptr_t>(values);
  return static_cast<uint32_t>((0 - address) % alignof(Pack<T>) / sizeof(T));
}

// The threads that map_values has work for.
inline int64_t threads_to_map(int64_t count) { return (count + kPack - 1) / kPack; }

// out[i] = function(in[i]) for all i below count, by all threads of the grid.
template <typename In, typename Out, typename Function>
FMTC_DEVICE void map_values(const Thread& thread, const In* in, int64_t count, Out* out,
                            const Function& function) {
  const bool aligned = values_before_packs(in) == 0 && values_before_packs(out) == 0;
  const int64_t packs = aligned ? count / kPack : 0;
  grid_stride(thread, packs, [&](int64_t i) {
    const Pack<In> from = reinterpret_cast<const Pack<In>*>(in)[i];
    Pack<Out> to;
    for (uint32_t j = 0; j < kPack; ++j) to.values[j] = function(from.values[j]);
    reinterpret_cast<Pack<Out>*>(out)[i] = to;
  });
  const int64_t first = packs * kPack;
  grid_stride(thread, count - first, [&](int64_t i) { out[first + i] = function(in[first + i]); });
}

// Calls body(values[i]) for all i below count, each in one of the threads of a warp.
template <typename T, typename Body>
FMTC_DEVICE void for_each_in_warp(const Thread& thread, const T* values, uint32_t count,
                                  const Body& body) {
  const uint32_t before = values_before_packs(values);
  const uint32_t head = before < count ? before : count;
  const uint32_t packs = (count - head) / kPack;
  for (uint32_t i = thread.warp_rank(); i < head; i += kWarpSize) body(values[i]);
  const auto* pack = reinterpret_cast<const Pack<T>*>(values + head);
  for (uint32_t i = thread.warp_rank(); i < packs; i += kWarpSize) {
    const Pack<T> from = pack[i];
    for (uint32_t j = 0; j < kPack; ++j) body(from.values[j]);
  }
  for (uint32_t i = head + packs * kPack + thread.warp_rank(); i < count; i += kWarpSize)
    body(values[i]);
}

}  // namespace fmtc::cuda
