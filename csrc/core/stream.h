#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/huffman.h"
#include "core/status.h"

namespace fmtc {

// The stream container, version 1 (docs/stream_format.md): header, directory of chunks, payloads.
// One stream holds the levels of one image, an int16 tensor [K, H, W].
//
// Encoding, chunks in any order or at the same time:
//   StreamHeader header = make_header(K, H, W, table_id);
//   check_shape(header) and check_encode_tables(tables, K), a buffer of stream_bound(header) bytes,
//   encode_chunk(header, levels, tables, i, buffer) for each i < header.chunks(),
//   finish_stream(header, buffer, used).
// Decoding likewise:
//   read_header(bytes, header, size); check_expected(header, ...); check_decode_tables(tables, K);
//   decode_chunk(header, bytes, tables, i, levels) for each i.
// huffman_stream_encode and huffman_stream_decode do all of it on the calling thread.

inline constexpr uint8_t kStreamVersion = 1;
inline constexpr uint8_t kCoderHuffman = 1;
inline constexpr size_t kHeaderBytes = 32;
inline constexpr size_t kDirectoryEntryBytes = 8;
inline constexpr uint64_t kMaxValues = uint64_t{1} << 40;

// The fields of the header; every number of a stream that read_header accepted is consistent.
struct StreamHeader {
  uint8_t version = kStreamVersion;
  uint8_t coder = kCoderHuffman;
  uint8_t level_bits = 16;
  uint8_t flags = 0;
  uint32_t table_id = 0;
  uint32_t components = 0;  // K
  uint32_t height = 0;      // H
  uint32_t width = 0;       // W
  uint8_t log2_chunk = 16;  // 8..24: a chunk holds 2^log2_chunk values, the last one the rest
  uint8_t substreams = 1;   // 1..16
  uint8_t crop_h = 0;       // rows and columns of block padding; the coder only carries them
  uint8_t crop_w = 0;

  uint64_t plane() const noexcept { return uint64_t{height} * width; }
  // components * height * width; only after check_shape or read_header.
  uint64_t values() const noexcept { return components * plane(); }
  uint64_t chunks() const noexcept {
    return (values() >> log2_chunk) + ((values() & ((uint64_t{1} << log2_chunk) - 1)) != 0);
  }
  // The index of a chunk's first value, and how many it holds.
  uint64_t chunk_first(uint64_t chunk) const noexcept { return chunk << log2_chunk; }
  size_t chunk_values(uint64_t chunk) const noexcept {
    const uint64_t left = values() - chunk_first(chunk);
    const uint64_t full = uint64_t{1} << log2_chunk;
    return static_cast<size_t>(left < full ? left : full);
  }
};

// The header of a new stream with the encoder's choice of chunks and sub-streams: 2^16 values a
// chunk; 4 sub-streams, or 1 where the tensor has fewer than 4096 values.
StreamHeader make_header(uint32_t components, uint32_t height, uint32_t width, uint32_t table_id,
                         uint8_t crop_h = 0, uint8_t crop_w = 0) noexcept;

// kBadHeader where a field is outside its range or the tensor has more than kMaxValues values.
Status check_shape(const StreamHeader& header) noexcept;

// The bytes that suffice for any levels (15 bits a value and all side bytes); a buffer of this size
// is also the work space of encode_chunk. Depends on the header's shape and chunking alone.
size_t stream_bound(const StreamHeader& header) noexcept;

// Codes chunk `chunk` into its own part of `buffer` (stream_bound(header) bytes): calls for
// different chunks touch different bytes.
//   levels  all values of the tensor, [header.values()]
// kNoCode where a level has no code, kBadArgument for a wrong size or chunk number.
Status encode_chunk(const StreamHeader& header, std::span<const int16_t> levels,
                    const ComponentTables& tables, uint64_t chunk,
                    std::span<uint8_t> buffer) noexcept;

// Makes a stream of the chunks, which encode_chunk must all have coded into `buffer`: moves the
// payloads together and writes directory and header. The stream is the first `used` bytes of the
// buffer. kTooLarge where the payloads exceed 4 GiB.
Status finish_stream(const StreamHeader& header, std::span<uint8_t> buffer, size_t& used) noexcept;

// Reads and checks header and directory, not the payloads. `size` becomes the size of the stream;
// `bytes` may hold more behind it. An accepted header has at most 8 values a payload byte, so what
// a caller allocates by it is bounded by the size of its input.
Status read_header(std::span<const uint8_t> bytes, StreamHeader& header, size_t& size) noexcept;

// kWrongShape, kWrongTables or kBadCoder where the stream is not the one that is expected.
Status check_expected(const StreamHeader& header, uint8_t coder, uint32_t table_id,
                      uint32_t components, uint32_t height, uint32_t width) noexcept;

// Checks and decodes chunk `chunk` into its part of `levels` ([header.values()]); calls for
// different chunks touch different values.
//   header, bytes  as read_header accepted them;  tables: checked by check_decode_tables
// kBadChunkChecksum, kBadCode; kBadArgument for a wrong size or chunk number.
Status decode_chunk(const StreamHeader& header, std::span<const uint8_t> bytes,
                    const ComponentTables& tables, uint64_t chunk,
                    std::span<int16_t> levels) noexcept;

// A whole stream. `tables.plane` must be height * width.
//   levels  [header.values()];  out: stream_bound(header) bytes, of which `used` are the stream
Status huffman_stream_encode(const StreamHeader& header, std::span<const int16_t> levels,
                             const ComponentTables& tables, std::span<uint8_t> out,
                             size_t& used) noexcept;

// The inverse, for a stream that must have the expected shape ([components, height, width], given
// by `expected`) and table set; `bytes` must end with the stream (kTrailingBytes otherwise).
// Whatever is wrong, levels ([expected.values()]) are then all 0.
Status huffman_stream_decode(std::span<const uint8_t> bytes, const StreamHeader& expected,
                             const ComponentTables& tables, std::span<int16_t> levels) noexcept;

}  // namespace fmtc
