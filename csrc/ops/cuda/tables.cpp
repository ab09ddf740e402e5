// Tables are built once, out of a few counts, so the CPU does it. These operators wait for the
// device.
#include "ops/tables.h"

#include <torch/csrc/stable/library.h>

#include <tuple>
#include <type_traits>

namespace fmtc::ops {
namespace {

// An operator of the CPU on a tensor of any device; the results are on that device too.
template <auto kOperator, typename... Parameters>
auto on_cpu(const Tensor& tensor, Parameters... parameters) {
  const torch::stable::Device cpu(torch::headeronly::DeviceType::CPU);
  const auto back = [&](const auto&... results) {
    return std::tuple(torch::stable::to(results, tensor.device())...);
  };
  const auto result = kOperator(torch::stable::to(tensor, cpu), parameters...);
  if constexpr (std::is_same_v<decltype(result), const Tensor>) {
    return std::get<0>(back(result));
  } else {
    return std::apply(back, result);
  }
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) {
  m.impl("huffman_lengths", TORCH_BOX((&on_cpu<huffman_lengths, int64_t>)));
  m.impl("huffman_tables", TORCH_BOX((&on_cpu<huffman_tables>)));
  m.impl("rans_frequencies", TORCH_BOX((&on_cpu<rans_frequencies, int64_t>)));
  m.impl("apack_frequencies", TORCH_BOX((&on_cpu<apack_frequencies, int64_t>)));
  m.impl("rans_tables", TORCH_BOX((&on_cpu<rans_tables>)));
}

}  // namespace fmtc::ops
