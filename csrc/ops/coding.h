#pragma once

// What the operators of the entropy coders share: checks of tables and streams, and the coding of
// a batch where its tensors are.
#include <cstdint>
#include <optional>
#include <span>
#include <tuple>

#include "core/coding.h"
#include "core/stream.h"
#include "ops/checks.h"

namespace fmtc::ops {

// Table entries are uint32 in the core; torch has few operators for that, so tensors hold the same
// bits as int32.
inline std::span<const uint32_t> entries(const Tensor& contiguous) {
  return {reinterpret_cast<const uint32_t*>(contiguous.const_data_ptr<int32_t>()),
          static_cast<size_t>(contiguous.numel())};
}

inline std::span<uint32_t> mutable_entries(const Tensor& contiguous) {
  return {reinterpret_cast<uint32_t*>(contiguous.mutable_data_ptr<int32_t>()),
          static_cast<size_t>(contiguous.numel())};
}

// The tables of a coder and the header of the streams, checked, with the tensors they refer to,
// which are nothing where the coder has no tables.
struct Coding {
  Tensor entries;   // int32 [T, width], contiguous
  Tensor table_of;  // int64 [segments], contiguous
  StreamHeader header;
  ComponentTables tables;
};

// The argument that holds a coder's tables, with its name for messages.
struct TableArgument {
  const char* name;
  const Tensor& entries;
};

// Checks what the operators of coders with tables take: tables int32 [T, width], table_of int64
// [segments], lo, table_id, crop, the classes of positions, the values of a lane, and the shape of
// an image. All that is left to the core is whether the width and contents of the tables suit the
// coder. On a device what table_of and the tables hold is not looked at (cuda/streams.h).
Coding make_coding(const char* op, Coder coder, const TableArgument& argument, int64_t lo,
                   const Tensor& table_of, int64_t table_id, int64_t components, int64_t height,
                   int64_t width, int64_t crop_h = 0, int64_t crop_w = 0, int64_t classes = 1,
                   int64_t lane_values = 0);

// The number of classes that table_of [segments] has tables for; 1 where that is `components`.
int64_t classes_of(const Tensor& table_of, int64_t components);

// The same for coders without tables, whose words have `word_bits` bits from level `lo` on.
Coding make_word_coding(const char* op, Coder coder, int64_t lo, int64_t word_bits,
                        int64_t table_id, int64_t components, int64_t height, int64_t width,
                        int64_t crop_h = 0, int64_t crop_w = 0, int64_t lane_values = 0);

// Throws for the first of an image's levels that has no word.
[[noreturn]] void throw_no_word(const char* op, const Coding& coding,
                                std::span<const int16_t> levels, int64_t image);

// Bytes of the buffer that an operator makes for one stream, at least stream_bound(header). Kept
// free of branches on the shape, so that the fakes in fmtc/ops give the same number for symbolic
// ones.
int64_t rans_buffer_bytes(const StreamHeader& header);
int64_t huffman_buffer_bytes(const StreamHeader& header, int64_t lane_values);

// Throws for the first of an image's levels that has no Huffman code.
[[noreturn]] void throw_no_code(const char* op, const Coding& coding,
                                std::span<const int16_t> levels, int64_t image);

// What is only true of the tables of an encoder, or a decoder, with rANS or Huffman codes; throws
// where it is not, of what they hold not on a device. `levels` or `bytes`: where the operator runs.
void check_rans_encode_table(const char* op, const Coding& coding, const Tensor& levels);
void check_huffman_encode_table(const char* op, const Coding& coding);
// base: int64 [T], which must be contiguous and outlive the coding, whose tables get it.
void check_rans_decode_table(const char* op, Coding& coding, const Tensor& base,
                             const Tensor& bytes);
void check_huffman_decode_table(const char* op, const Coding& coding);

// The streams of levels int16 [N, K, H, W]: bytes uint8 [N, buffer] with zeros behind each stream,
// and used int64 [N].
//   maps     with classes of positions, those of each image's cells, uint8 [N, H', W']
//   buffer   at least stream_bound(coding.header)
//   no_code  called for a level without a code, with all levels of its image; throws
using NoCode = void (*)(const Coding& coding, std::span<const int16_t> levels, int64_t image);
std::tuple<Tensor, Tensor> encode_batch(const char* op, const Coding& coding, const Tensor& levels,
                                        int64_t buffer, NoCode no_code = nullptr,
                                        const std::optional<Tensor>& maps = std::nullopt);

// levels must be int16 [N, K, H, W].
void check_levels(const char* op, const Tensor& levels);

// Streams as decoders take them: bytes uint8 [N, bytes], used int64 [N], of at most max_values
// levels.
void check_coded(const char* op, const Coding& coding, const Tensor& bytes, const Tensor& used,
                 int64_t max_values);

// levels int16 [N, K, H, W] and status int32 [N] of such streams. Throws, before anything is
// allocated, where these are more than max_values levels.
std::tuple<Tensor, Tensor> decode_batch(const char* op, const Coding& coding, const Tensor& bytes,
                                        const Tensor& used, int64_t max_values);

}  // namespace fmtc::ops
