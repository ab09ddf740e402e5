#pragma once

// Coding of a batch on torch's threads, chunk by chunk: encode_batch and decode_batch of
// ops/coding.h on CPU tensors.
#include <optional>
#include <span>
#include <tuple>

#include "core/moments.h"
#include "ops/coding.h"

namespace fmtc::ops {

std::tuple<Tensor, Tensor> encode_on_host(const char* op, const Coding& coding,
                                          const Tensor& levels, int64_t buffer, NoCode no_code,
                                          const std::optional<Tensor>& maps);

std::tuple<Tensor, Tensor> decode_on_host(const Coding& coding, const Tensor& bytes,
                                          const Tensor& used);

// The streams of images of one shape.
//   headers  of each image;  values: of each, its levels or arrangement, header.values()
//   bytes    [images, buffer], zeros, of which each row begins with a stream;  used: [images]
//   failed   becomes the first image that could not be coded
// May throw std::bad_alloc.
Status encode_images(const ComponentTables& tables, std::span<const StreamHeader> headers,
                     std::span<const int16_t> values, std::span<uint8_t> bytes, int64_t buffer,
                     std::span<int64_t> used, const ForEach& for_each, int64_t& failed);

// levels [images, K, H, W] of such streams, 0 where a stream is damaged, and a Status of each. May
// throw std::bad_alloc.
void decode_images(const Coding& coding, std::span<const uint8_t> bytes, int64_t buffer,
                   std::span<const int64_t> used, std::span<int16_t> levels,
                   std::span<int32_t> status, const ForEach& for_each);

}  // namespace fmtc::ops
