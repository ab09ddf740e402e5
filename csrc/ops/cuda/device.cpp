#include "ops/cuda/device.h"

#if !defined(FMTC_EMULATE_CUDA)

#include <dlfcn.h>

namespace fmtc::ops {
namespace {

using CurrentStream = AOTITorchError (*)(int32_t device, void** stream);

// Looked up in torch's library for CUDA, which is loaded where there are CUDA tensors: linked to
// it, this library could not be loaded where torch is built without CUDA.
CurrentStream find_current_stream() {
  void* const library = dlopen("libtorch_cuda.so", RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return nullptr;
  return reinterpret_cast<CurrentStream>(dlsym(library, "aoti_torch_get_current_cuda_stream"));
}

}  // namespace

cuda::Stream current_stream(int32_t device) {
  static const CurrentStream find = find_current_stream();
  STD_TORCH_CHECK(find != nullptr,
                  "fmtc: torch's library libtorch_cuda.so is not loaded, or is not ",
                  "one of torch 2.11 or later");
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(find(device, &stream));
  return static_cast<cuda::Stream>(stream);
}

}  // namespace fmtc::ops

#endif
