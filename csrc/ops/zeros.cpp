#include "ops/zeros.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <torch/csrc/stable/device.h>

namespace fmtc::ops {
namespace {

// Below it, clearing memory that the allocator already has is faster than new pages.
[[maybe_unused]] constexpr int64_t kWorthPages = int64_t{1} << 20;

}  // namespace

Tensor zeros(std::array<int64_t, 2> sizes) {
#if defined(__linux__)
  int64_t bytes = 0;
  const bool fits = !__builtin_mul_overflow(sizes[0], sizes[1], &bytes);
  if (fits && bytes >= kWorthPages) {
    const auto length = static_cast<size_t>(bytes);
    void* pages = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    STD_TORCH_CHECK(pages != MAP_FAILED, "fmtc: no memory for ", bytes, " bytes of streams");
    const std::array<int64_t, 2> strides = {sizes[1], 1};
    return torch::stable::from_blob(
        pages, {sizes.data(), sizes.size()}, {strides.data(), strides.size()},
        torch::stable::Device(torch::headeronly::DeviceType::CPU), ScalarType::Byte,
        [length](void* data) { munmap(data, length); });
  }
#endif
  Tensor tensor = torch::stable::empty({sizes[0], sizes[1]}, ScalarType::Byte);
  torch::stable::zero_(tensor);
  return tensor;
}

}  // namespace fmtc::ops
