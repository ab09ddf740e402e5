#pragma once

// torch.linalg.eigh, which is LAPACK's on the CPU.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/tensor.h>

#include <array>
#include <string>
#include <tuple>

namespace fmtc::ops {

// Eigenvalues, ascending, and eigenvectors in columns; of the lower triangle. Throws where LAPACK
// finds none.
inline std::tuple<torch::stable::Tensor, torch::stable::Tensor> eigh(
    const torch::stable::Tensor& matrices) {
  std::array<StableIValue, 2> stack = {torch::stable::detail::from(matrices),
                                       torch::stable::detail::from(std::string("L"))};
  TORCH_ERROR_CODE_CHECK(
      torch_call_dispatcher("aten::linalg_eigh", "", stack.data(), TORCH_ABI_VERSION));
  return {torch::stable::detail::to<torch::stable::Tensor>(stack[0]),
          torch::stable::detail::to<torch::stable::Tensor>(stack[1])};
}

}  // namespace fmtc::ops
