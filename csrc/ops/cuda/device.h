#pragma once

// What the operators on CUDA tensors share. They only enqueue work on torch's current stream of the
// tensors' device and never wait for it, so what a kernel finds in the values of its arguments goes
// into its results.
//
// FMTC_LIBRARY and FMTC_KEY name what these files register: fmtc and CUDA; or, with
// FMTC_EMULATE_CUDA, fmtc_emulated and CPU: the same operators with kernels run by the executor
// (cuda/executor.h) on CPU tensors, for tests.
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>

#include <cstdint>
#include <initializer_list>
#include <optional>

#include "cuda/stream.h"
#include "ops/checks.h"

namespace fmtc::ops {

#if !defined(FMTC_EMULATE_CUDA)
// torch's current stream of a CUDA device.
cuda::Stream current_stream(int32_t device);
#endif

// The device that an operator works on, made current, and its current stream.
class OnDevice {
 public:
  // others: arguments that must be on the same device as `tensor`, with their names.
  struct Argument {
    const char* name;
    const Tensor& tensor;
  };
  OnDevice(const char* op, const Tensor& tensor, std::initializer_list<Argument> others = {})
      : op_(op), device_(tensor.device()) {
    for (const Argument& other : others) {
      STD_TORCH_CHECK(other.tensor.device() == device_, "fmtc::", op, ": ", other.name,
                      " must be on the device of the first argument, but is on another one");
    }
#if !defined(FMTC_EMULATE_CUDA)
    guard_.emplace(device_.index());
    stream_ = current_stream(device_.index());
#endif
  }

  cuda::Stream stream() const { return stream_; }

  // A contiguous tensor on the device, without contents.
  Tensor empty(torch::headeronly::IntHeaderOnlyArrayRef sizes, ScalarType dtype) const {
    const Tensor tensor = torch::stable::empty(sizes, dtype, std::nullopt, device_);
#if defined(FMTC_EMULATE_CUDA)
    cuda::executor::record_bytes("allocation",
                                 static_cast<size_t>(tensor.numel()) * tensor.element_size());
#endif
    return tensor;
  }

  // To be called after the last launch.
  void check() const {
    const char* error = cuda::last_error();
    STD_TORCH_CHECK(error == nullptr, "fmtc::", op_, ": ", error == nullptr ? "" : error);
  }

 private:
  const char* op_;
  torch::stable::Device device_;
  cuda::Stream stream_ = nullptr;
#if !defined(FMTC_EMULATE_CUDA)
  std::optional<torch::stable::accelerator::DeviceGuard> guard_;
#endif
};

}  // namespace fmtc::ops
