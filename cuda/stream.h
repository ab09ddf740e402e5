#pragma once

// What a caller of the kernels needs: the stream that they are enqueued on.
#include <cstddef>
#include <cstring>

#if defined(FMTC_EMULATE_CUDA)
#include "cuda/record.h"
#else
#include <cuda_runtime.h>
#endif

namespace fmtc::cuda {

#if defined(FMTC_EMULATE_CUDA)

using Stream = void*;

inline void clear(Stream, void* bytes, size_t size) {
  if (size == 0) return;
  executor::record_bytes("memset", size);
  std::memset(bytes, 0, size);
}
inline const char* last_error() { return nullptr; }

inline size_t most_shared_bytes() { return size_t{96} << 10; }

#else

using Stream = cudaStream_t;

// Sets device memory to 0.
inline void clear(Stream stream, void* bytes, size_t size) {
  if (size > 0) cudaMemsetAsync(bytes, 0, size, stream);
}

// The shared memory that a thread block of the current device can have.
inline size_t most_shared_bytes() {
  int device = 0, bytes = 0;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  return static_cast<size_t>(bytes);
}

// What went wrong in launches since the last call, or null.
inline const char* last_error() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

#endif

}  // namespace fmtc::cuda
