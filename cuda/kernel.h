#pragma once

// What all kernels use. A kernel is a structure: its members are the arguments, its operator()
// what each thread does, kThreads the threads of a thread block:
//
//   struct Scale {
//     static constexpr uint32_t kThreads = 256;
//     float* values;  // device, [count]
//     int64_t count;
//     FMTC_DEVICE void operator()(const Thread& thread) const;
//   };
//   launch(stream, thread_blocks, Scale{values, count});
//
// The same source compiles for the device and, with FMTC_EMULATE_CUDA, for the executor on the CPU
// (executor.h), where device pointers are ordinary ones.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/device.h"
#include "cuda/stream.h"

#if defined(FMTC_EMULATE_CUDA)
#include <algorithm>
#include <atomic>
#include <bit>
#include <typeinfo>

#include "cuda/executor.h"
#define FMTC_DEVICE
#define FMTC_UNROLL
#else
#define FMTC_DEVICE __device__
// Before a loop over an array that shall stay in registers.
#define FMTC_UNROLL _Pragma("unroll")
#endif

namespace fmtc::cuda {

inline constexpr uint32_t kWarpSize = 32;

#if defined(FMTC_EMULATE_CUDA)

// A thread and those it meets. All threads of a warp or a thread block must come to what they do
// together.
class Thread {
 public:
  uint32_t thread_block() const { return here().index(); }
  uint32_t thread_blocks() const { return here().thread_blocks(); }
  uint32_t rank() const { return here().thread(); }
  uint32_t size() const { return here().threads(); }
  uint32_t warp_rank() const { return rank() % kWarpSize; }
  uint32_t warp() const { return rank() / kWarpSize; }

  // Dynamic shared memory of the thread block, aligned to 16 bytes.
  template <typename T>
  T* shared() const {
    return static_cast<T*>(here().shared());
  }

  void sync() const { here().meet(here().all(), rank(), 0); }
  bool sync_or(bool value) const {
    const auto& all = here().meet(here().all(), rank(), value);
    return std::any_of(all.begin(), all.end(), [](uint64_t v) { return v != 0; });
  }
  void sync_warp() const { here().meet(here().warp(), warp_rank(), 0); }
  // Bit i: what thread i of the warp gave.
  uint32_t ballot(bool value) const {
    const auto& all = here().meet(here().warp(), warp_rank(), value);
    uint32_t bits = 0;
    for (size_t i = 0; i < all.size(); ++i) bits |= static_cast<uint32_t>(all[i] != 0) << i;
    return bits;
  }
  // What thread `from` of the warp gave.
  template <typename T>
  T shuffle(T value, uint32_t from) const {
    static_assert(sizeof(T) <= 8);
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof(T));
    const uint64_t other = here().meet(here().warp(), warp_rank(), bits)[from];
    std::memcpy(&value, &other, sizeof(T));
    return value;
  }

 private:
  static executor::ThreadBlock& here() { return executor::ThreadBlock::current(); }
};

inline int count_bits(uint32_t bits) { return std::popcount(bits); }

// Atomic on the device. What kernels of several threads of the CPU may add to at the same time is
// atomic here, too.
template <typename T>
void add_to(T* sum, T value) {
  std::atomic_ref<T>(*sum).fetch_add(value, std::memory_order_relaxed);
}
template <typename T>
void or_to(T* bits, T value) {
  *bits |= value;
}
template <typename T>
void lower_to(T* least, T value) {
  *least = std::min(*least, value);
}

template <typename Kernel>
void launch(Stream, int64_t thread_blocks, const Kernel& kernel, size_t shared_bytes = 0) {
  if (thread_blocks == 0) return;
  executor::record_launch(typeid(Kernel).name(), thread_blocks, Kernel::kThreads, shared_bytes);
  executor::ThreadBlock thread_block(Kernel::kThreads, shared_bytes);
  for (int64_t i = 0; i < thread_blocks; ++i) {
    thread_block.run(static_cast<uint32_t>(i), static_cast<uint32_t>(thread_blocks),
                     [&](uint32_t) { kernel(Thread{}); });
  }
}

#else

class Thread {
 public:
  FMTC_DEVICE uint32_t thread_block() const { return blockIdx.x; }
  FMTC_DEVICE uint32_t thread_blocks() const { return gridDim.x; }
  FMTC_DEVICE uint32_t rank() const { return threadIdx.x; }
  FMTC_DEVICE uint32_t size() const { return blockDim.x; }
  FMTC_DEVICE uint32_t warp_rank() const { return threadIdx.x % kWarpSize; }
  FMTC_DEVICE uint32_t warp() const { return threadIdx.x / kWarpSize; }

  template <typename T>
  FMTC_DEVICE T* shared() const {
    extern __shared__ uint4 memory[];
    return reinterpret_cast<T*>(memory);
  }

  FMTC_DEVICE void sync() const { __syncthreads(); }
  FMTC_DEVICE bool sync_or(bool value) const { return __syncthreads_or(value) != 0; }
  FMTC_DEVICE void sync_warp() const { __syncwarp(); }
  FMTC_DEVICE uint32_t ballot(bool value) const { return __ballot_sync(kAll, value); }
  template <typename T>
  FMTC_DEVICE T shuffle(T value, uint32_t from) const {
    return __shfl_sync(kAll, value, static_cast<int>(from));
  }

 private:
  static constexpr uint32_t kAll = 0xFFFFFFFF;
};

FMTC_DEVICE inline int count_bits(uint32_t bits) { return __popc(bits); }

FMTC_DEVICE inline void add_to(uint32_t* sum, uint32_t value) { atomicAdd(sum, value); }
FMTC_DEVICE inline void add_to(int64_t* sum, int64_t value) {
  atomicAdd(reinterpret_cast<unsigned long long*>(sum), static_cast<unsigned long long>(value));
}
FMTC_DEVICE inline void or_to(uint32_t* bits, uint32_t value) { atomicOr(bits, value); }
FMTC_DEVICE inline void lower_to(uint64_t* least, uint64_t value) {
  atomicMin(reinterpret_cast<unsigned long long*>(least), static_cast<unsigned long long>(value));
}

// Thread blocks that a multiprocessor shall have room for, which limits registers: kThreadBlocks of
// a kernel that has it. Multiprocessors of 7.5 have fewer threads than others.
template <typename Kernel>
constexpr uint32_t thread_blocks_together() {
#if defined(__CUDA_ARCH__)
  constexpr bool kFew = __CUDA_ARCH__ <= 750;
#else
  constexpr bool kFew = false;
#endif
  if constexpr (requires { Kernel::kThreadBlocks; }) {
    return kFew ? 0 : Kernel::kThreadBlocks;
  } else {
    return 0;  // as many as there may be
  }
}

template <typename Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, thread_blocks_together<Kernel>())
    run(const Kernel kernel) {
  kernel(Thread{});
}

template <typename Kernel>
void launch(Stream stream, int64_t thread_blocks, const Kernel& kernel, size_t shared_bytes = 0) {
  if (thread_blocks == 0) return;
  constexpr size_t kUnasked = size_t{48} << 10;  // what a thread block can have of shared memory
  if (shared_bytes > kUnasked) {
    cudaFuncSetAttribute(run<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(shared_bytes));
  }
  run<<<static_cast<uint32_t>(thread_blocks), Kernel::kThreads, shared_bytes, stream>>>(kernel);
}

#endif

// Thread blocks of `threads` for a grid-stride loop over `count` things: enough to fill any device.
inline int64_t thread_blocks_for(int64_t count, int64_t threads) {
  constexpr int64_t kMost = 8192;
  const int64_t enough = (count + threads - 1) / threads;
  return enough < kMost ? enough : kMost;
}

// Thread blocks for each image, where each repeats what all need of it: at most as many as there is
// work for, and no more than fill any device.
inline uint32_t thread_blocks_of_image(int64_t images, int64_t most) {
  constexpr int64_t kEnough = 1024;
  const int64_t enough = images < kEnough ? kEnough / (images > 0 ? images : 1) : 1;
  const int64_t fewer = most < enough ? most : enough;
  return static_cast<uint32_t>(fewer > 1 ? fewer : 1);
}

// Calls launch_with(a value of the type of indices below `count`): of 32 bits where that is enough,
// as dividing 64 bits takes several times as long.
template <typename Launch>
void with_index(int64_t count, const Launch& launch_with) {
  if (count <= UINT32_MAX) {
    launch_with(uint32_t{});
  } else {
    launch_with(uint64_t{});
  }
}

// Calls body(i) for each i below count that is this thread's share of the grid.
template <typename Body>
FMTC_DEVICE void grid_stride(const Thread& thread, int64_t count, const Body& body) {
  const int64_t step = int64_t{thread.thread_blocks()} * thread.size();
  for (int64_t i = int64_t{thread.thread_block()} * thread.size() + thread.rank(); i < count;
       i += step) {
    body(i);
  }
}

}  // namespace fmtc::cuda
