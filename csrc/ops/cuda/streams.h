#pragma once

// encode_batch and decode_batch of ops/coding.h on CUDA tensors. What the others refuse because of
// values, levels without a code and tables that make none, gives `used` = -status here.
#include <optional>
#include <tuple>

#include "ops/coding.h"

namespace fmtc::ops {

std::tuple<Tensor, Tensor> encode_on_device(const char* op, const Coding& coding,
                                            const Tensor& levels, int64_t buffer,
                                            const std::optional<Tensor>& maps);

std::tuple<Tensor, Tensor> decode_on_device(const char* op, const Coding& coding,
                                            const Tensor& bytes, const Tensor& used);

}  // namespace fmtc::ops
