#pragma once

// The operators that build tables, for CPU tensors; those for CUDA call them.
#include <cstdint>
#include <tuple>

#include "ops/checks.h"

namespace fmtc::ops {

Tensor huffman_lengths(const Tensor& counts, int64_t max_length);
std::tuple<Tensor, Tensor> huffman_tables(const Tensor& lengths);
Tensor rans_frequencies(const Tensor& counts, int64_t log2_total);
Tensor apack_frequencies(const Tensor& counts, int64_t log2_total);
std::tuple<Tensor, Tensor, Tensor> rans_tables(const Tensor& frequencies);

}  // namespace fmtc::ops
