#pragma once

// What the Huffman operators share.
#include <algorithm>
#include <limits>

#include "core/huffman.h"
#include "core/stream.h"
#include "ops/checks.h"

namespace fmtc::ops {

// Table entries are uint32 in the core; torch has few operators for that, so tensors hold the same
// bits as int32. No entry uses the highest bit.
inline std::span<const uint32_t> entries(const Tensor& contiguous) {
  return {reinterpret_cast<const uint32_t*>(contiguous.const_data_ptr<int32_t>()),
          static_cast<size_t>(contiguous.numel())};
}

inline std::span<uint32_t> mutable_entries(const Tensor& contiguous) {
  return {reinterpret_cast<uint32_t*>(contiguous.mutable_data_ptr<int32_t>()),
          static_cast<size_t>(contiguous.numel())};
}

// Checks what both coders take: tables int32 [T, width], table_of int64 [components], lo and
// table_id. All that is left to the core is whether its width suits the coder.
inline void check_tables(const char* op, const char* name, const Tensor& tables, int64_t lo,
                         const Tensor& table_of, int64_t components, int64_t table_id) {
  check_dtype(op, name, tables, ScalarType::Int);
  check_dim(op, name, tables, 2, "[T, entries]");
  check_dtype(op, "table_of", table_of, ScalarType::Long);
  check_dim(op, "table_of", table_of, 1, "[K]");
  check_size(op, "table_of", table_of, 0, components, "the components K of levels");
  check_between(op, "lo", lo, std::numeric_limits<int16_t>::min(),
                std::numeric_limits<int16_t>::max());
  check_between(op, "table_id", table_id, 0, std::numeric_limits<uint32_t>::max());
  const auto all = values<int64_t>(table_of);
  const auto outside = std::find_if(
      all.begin(), all.end(), [&](int64_t table) { return table < 0 || table >= tables.size(0); });
  STD_TORCH_CHECK(outside == all.end(), "fmtc::", op, ": table_of must be from 0 to ",
                  tables.size(0) - 1, " (the tables of ", name, "), but component ",
                  outside - all.begin(), " has ", outside == all.end() ? 0 : *outside);
}

// The tensors must be contiguous and outlive the result.
inline ComponentTables component_tables(const Tensor& tables, int64_t lo, const Tensor& table_of,
                                        const StreamHeader& header) {
  return {static_cast<int32_t>(lo), static_cast<size_t>(tables.size(1)), entries(tables),
          values<int64_t>(table_of), header.plane()};
}

// The header of the streams of levels [N, components, height, width].
inline StreamHeader checked_header(const char* op, int64_t components, int64_t height,
                                   int64_t width, int64_t table_id, int64_t crop_h,
                                   int64_t crop_w) {
  constexpr int64_t kMaxSize = std::numeric_limits<uint32_t>::max();
  check_between(op, "the number of components", components, 0, kMaxSize);
  check_between(op, "the height", height, 0, kMaxSize);
  check_between(op, "the width", width, 0, kMaxSize);
  check_between(op, "crop_h", crop_h, 0, std::numeric_limits<uint8_t>::max());
  check_between(op, "crop_w", crop_w, 0, std::numeric_limits<uint8_t>::max());
  const StreamHeader header =
      make_header(static_cast<uint32_t>(components), static_cast<uint32_t>(height),
                  static_cast<uint32_t>(width), static_cast<uint32_t>(table_id),
                  static_cast<uint8_t>(crop_h), static_cast<uint8_t>(crop_w));
  STD_TORCH_CHECK(check_shape(header) == Status::kOk, "fmtc::", op, ": an image of ", components,
                  " x ", height, " x ", width, " values is too large for one stream");
  return header;
}

}  // namespace fmtc::ops
