#include "ops/accumulate.h"

#include <torch/csrc/stable/library.h>

#include <cstddef>
#include <cstdint>
#include <mutex>

namespace fmtc::ops {
namespace {

// Threads that share a compressed network count into the same totals. These are small, so one lock
// for all of them is enough; sums of integers do not depend on their order.
void accumulate_(const Tensor& total, const Tensor& part) {
  static std::mutex mutex;
  check_accumulate(total, part);
  const auto added = values<int64_t>(part);
  const auto sums = mutable_values<int64_t>(total);
  const std::lock_guard<std::mutex> lock(mutex);
  for (size_t i = 0; i < sums.size(); ++i) {  // modulo 2^64, as on CUDA
    sums[i] =
        static_cast<int64_t>(static_cast<uint64_t>(sums[i]) + static_cast<uint64_t>(added[i]));
  }
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("accumulate_", TORCH_BOX(&accumulate_)); }

}  // namespace fmtc::ops
