#include "ops/memory.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <torch/csrc/stable/device.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <vector>

namespace fmtc::ops {
namespace {

// The C library's largest threshold from which on it maps fresh pages for every request; what is
// smaller may come from pages that were used before.
constexpr size_t kAlwaysFresh = size_t{32} << 20;
// From here on fresh zeros are better than clearing memory.
constexpr size_t kWorthFreshZeros = size_t{1} << 20;

// Blocks for results of a size that the C library gives back to the system when they are freed,
// kept for the next result: fresh pages cost more than what is written to them. A result takes the
// smallest block that holds it and is not kLoose times as large: a network's large tensors then
// leave theirs to all layers behind them, and few blocks are enough.
class Pool {
 public:
  static constexpr size_t kSmallest = size_t{256} << 10;
  static constexpr size_t kMostKept = size_t{64} << 20;
  static constexpr size_t kLoose = 16;

  // At least `bytes`, which become what the block has; nullptr where there is no memory.
  void* take(size_t& bytes) {
    bytes = rounded(bytes);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      auto found = free_.end();
      for (auto block = free_.begin(); block != free_.end(); ++block) {
        const bool fits = block->bytes >= bytes && block->bytes / kLoose < bytes;
        if (fits && (found == free_.end() || block->bytes < found->bytes)) found = block;
      }
      if (found != free_.end()) {
        void* const data = found->data;
        bytes = found->bytes;
        kept_ -= bytes;
        free_.erase(found);
        return data;
      }
    }
    return std::aligned_alloc(kAlignment, bytes);
  }

  void give_back(void* data, size_t bytes) {
    std::vector<void*> too_old;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (bytes > kMostKept) {
        too_old.push_back(data);
      } else {
        free_.push_back({data, bytes});
        kept_ += bytes;
        while (kept_ > kMostKept) {  // the one that nobody has wanted for longest
          too_old.push_back(free_.front().data);
          kept_ -= free_.front().bytes;
          free_.erase(free_.begin());
        }
      }
    }
    for (void* const one : too_old) std::free(one);
  }

 private:
  static constexpr size_t kAlignment = 64;
  struct Block {
    void* data;
    size_t bytes;
  };

  // To an eighth of a power of two, so that few sizes are many results'.
  static size_t rounded(size_t bytes) {
    const size_t unit = std::max(std::bit_floor(bytes) / 8, kAlignment);
    return (bytes + unit - 1) / unit * unit;
  }

  std::mutex mutex_;
  std::vector<Block> free_;  // the one that was given back last is the last
  size_t kept_ = 0;
};

// Never destroyed: tensors may be freed after all else.
Pool& pool() {
  static Pool& one = *new Pool;
  return one;
}

// A contiguous tensor over `data`, which `free` gives back.
template <typename Free>
Tensor over(void* data, std::span<const int64_t> sizes, ScalarType dtype, Free free) {
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t i = sizes.size(); i-- > 1;) strides[i - 1] = strides[i] * sizes[i];
  return torch::stable::from_blob(
      data, {sizes.data(), sizes.size()}, {strides.data(), strides.size()},
      torch::stable::Device(torch::headeronly::DeviceType::CPU), dtype, free);
}

size_t bytes_of(std::span<const int64_t> sizes, ScalarType dtype) {
  size_t bytes = dtype == ScalarType::Byte ? 1 : dtype == ScalarType::Short ? 2 : 4;
  for (const int64_t size : sizes) {
    STD_TORCH_CHECK(size >= 0 && !__builtin_mul_overflow(bytes, static_cast<size_t>(size), &bytes),
                    "fmtc: a result of this shape is too large");
  }
  return bytes;
}

// A tensor on fresh pages, which hold zeros; none where the system gives none.
std::optional<Tensor> map(std::span<const int64_t> sizes, ScalarType dtype, size_t bytes) {
#if defined(__linux__)
  constexpr size_t kHugePage = size_t{2} << 20;
  const size_t length = bytes + kHugePage;
  void* const mapped =
      mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return std::nullopt;
  const auto address = reinterpret_cast<uintptr_t>(mapped);
  const uintptr_t aligned = (address + kHugePage - 1) / kHugePage * kHugePage;
  void* const data = reinterpret_cast<void*>(aligned);
  // Only a wish: where it is not met, the pages are small.
  if (bytes >= kAlwaysFresh) madvise(data, bytes, MADV_HUGEPAGE);
  return over(data, sizes, dtype, [mapped, length](void*) { munmap(mapped, length); });
#else
  return std::nullopt;
#endif
}

}  // namespace

Tensor empty(std::span<const int64_t> sizes, ScalarType dtype) {
  const size_t bytes = bytes_of(sizes, dtype);
  if (bytes >= kAlwaysFresh) {
    if (const auto tensor = map(sizes, dtype, bytes)) return *tensor;
  }
  return torch::stable::empty({sizes.data(), sizes.size()}, dtype);
}

Tensor reused(std::span<const int64_t> sizes, ScalarType dtype) {
  size_t bytes = bytes_of(sizes, dtype);
  if (bytes < Pool::kSmallest || bytes > Pool::kMostKept) return empty(sizes, dtype);
  void* const data = pool().take(bytes);
  if (data == nullptr) return empty(sizes, dtype);
  return over(data, sizes, dtype, [bytes](void* block) { pool().give_back(block, bytes); });
}

Tensor zeros(std::span<const int64_t> sizes, ScalarType dtype) {
  const size_t bytes = bytes_of(sizes, dtype);
  if (bytes >= kWorthFreshZeros) {
    if (const auto tensor = map(sizes, dtype, bytes)) return *tensor;
  }
  Tensor tensor = torch::stable::empty({sizes.data(), sizes.size()}, dtype);
  torch::stable::zero_(tensor);
  return tensor;
}

}  // namespace fmtc::ops
