#include "ops/memory.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <torch/csrc/stable/device.h>

#include <optional>
#include <vector>

namespace fmtc::ops {
namespace {

// The C library's largest threshold from which on it maps fresh pages for every request; what is
// smaller may come from pages that were used before.
constexpr size_t kAlwaysFresh = size_t{32} << 20;
// From here on fresh zeros are better than clearing memory.
constexpr size_t kWorthFreshZeros = size_t{1} << 20;

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
  std::vector<int64_t> strides(sizes.size(), 1);
  for (size_t i = sizes.size(); i-- > 1;) strides[i - 1] = strides[i] * sizes[i];
  return torch::stable::from_blob(data, {sizes.data(), sizes.size()},
                                  {strides.data(), strides.size()},
                                  torch::stable::Device(torch::headeronly::DeviceType::CPU), dtype,
                                  [mapped, length](void*) { munmap(mapped, length); });
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
