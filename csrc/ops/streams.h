#pragma once

// Coding of a batch on torch's threads, chunk by chunk: encode_batch and decode_batch of
// ops/coding.h on CPU tensors.
#include <optional>
#include <tuple>

#include "ops/coding.h"

namespace fmtc::ops {

std::tuple<Tensor, Tensor> encode_on_host(const char* op, const Coding& coding,
                                          const Tensor& levels, int64_t buffer, NoCode no_code,
                                          const std::optional<Tensor>& maps);

std::tuple<Tensor, Tensor> decode_on_host(const Coding& coding, const Tensor& bytes,
                                          const Tensor& used);

}  // namespace fmtc::ops
