#pragma once

// What the operators asked of the device, where the executor stands for it: a line for each launch,
// memset and allocation, for experiments/bench/cuda_report.py. Nothing is recorded unless somebody
// began to.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace fmtc::cuda::executor {

// Of the calling thread.
inline thread_local std::optional<std::string> recorded;

// kernel: the mangled name of its structure
inline void record_launch(const char* kernel, int64_t thread_blocks, uint32_t threads,
                          size_t shared_bytes) {
  if (!recorded) return;
  *recorded += std::string("launch ") + kernel + ' ' + std::to_string(thread_blocks) + ' ' +
               std::to_string(threads) + ' ' + std::to_string(shared_bytes) + '\n';
}

// what: "memset" or "allocation"
inline void record_bytes(const char* what, size_t bytes) {
  if (recorded) *recorded += std::string(what) + ' ' + std::to_string(bytes) + '\n';
}

}  // namespace fmtc::cuda::executor
