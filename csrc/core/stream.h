#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/coding.h"
#include "core/device.h"
#include "core/positions.h"
#include "core/status.h"

namespace fmtc {

// The stream container, version 2 (docs/stream_format.md): header, directory of chunks where there
// is more than one, checksum, payloads. One stream holds the levels of one image, an int16 tensor
// [K, H, W]; or its arrangement, where its positions have classes (core/positions.h).
//
// Encoding, chunks in any order or at the same time:
//   StreamHeader header = make_header(coder, K, H, W, table_id);
//   check_shape(header) and check_encode_tables(header, tables),
//   encode_chunk(header, levels, tables, i, buffer, payload) for each i < header.chunks(),
//   finish_stream(header, payloads, out, used).
// Decoding likewise:
//   read_header(bytes, header, size); check_expected(header, expected);
//   check_decode_tables(header, tables); decode_chunk(header, bytes, tables, i, levels) for each i.
// stream_encode and stream_decode do all of it on the calling thread.

inline constexpr uint8_t kStreamVersion = 2;
inline constexpr size_t kMaxFieldBytes = 64;  // of the header before directory and checksum
inline constexpr size_t kChecksumBytes = 4;
inline constexpr size_t kDirectoryEntryBytes = 8;
inline constexpr uint64_t kMaxValues = uint64_t{1} << 40;
// What decoders take unless they are told otherwise; fmtc/limits.py has the same.
inline constexpr uint64_t kDefaultMaxValues = uint64_t{1} << 28;

enum class Coder : uint8_t { kHuffman = 1, kRans = 2, kEbpc = 3, kDctCm = 4 };

// "huffman", "rans", "ebpc" or "dct-cm".
const char* coder_name(Coder coder) noexcept;

// The fields of the header; every number of a stream that read_header accepted is consistent.
struct StreamHeader {
  Coder coder = Coder::kHuffman;
  uint16_t table_id = 0;
  uint32_t components = 0;  // K
  uint32_t height = 0;      // H
  uint32_t width = 0;       // W
  uint8_t log2_chunk = 16;  // 8..23: a chunk holds 2^log2_chunk values, the last one the rest
  uint8_t log2_lanes = 0;   // Huffman: 0..4, of the sub-streams; rANS: 0..6, of the states; else 0
  uint8_t crop_h = 0;       // rows and columns of block padding; the coder only carries them
  uint8_t crop_w = 0;
  uint8_t classes = 1;                                       // of positions
  std::array<uint64_t, kMaxPositionClasses> positions = {};  // of each class, if there are several
  uint32_t payload = 0;     // bytes of all payloads, known to read_header alone
  uint8_t field_bytes = 0;  // where directory or checksum begin, likewise

  FMTC_HD int lanes() const noexcept { return 1 << log2_lanes; }
  FMTC_HD uint64_t plane() const noexcept { return uint64_t{height} * width; }
  FMTC_HD Layout layout() const noexcept { return {components, height, width, classes, positions}; }
  // What is coded, components * height * width levels and the map of classes if there is one; only
  // after check_shape or read_header.
  FMTC_HD uint64_t values() const noexcept { return layout().values(); }
  FMTC_HD uint64_t chunks() const noexcept {
    return (values() >> log2_chunk) + ((values() & ((uint64_t{1} << log2_chunk) - 1)) != 0);
  }
  // The index of a chunk's first value, and how many it holds.
  FMTC_HD uint64_t chunk_first(uint64_t chunk) const noexcept { return chunk << log2_chunk; }
  FMTC_HD size_t chunk_values(uint64_t chunk) const noexcept {
    const uint64_t left = values() - chunk_first(chunk);
    const uint64_t full = uint64_t{1} << log2_chunk;
    return static_cast<size_t>(left < full ? left : full);
  }
};

// How many values an encoder may give a lane: a power of two from kMinLaneValues to kMaxLaneValues,
// or 0, which leaves it to the coder. Fewer values make more lanes, which a GPU decodes a thread
// each, and more side bytes.
inline constexpr uint32_t kMinLaneValues = 1u << 8;
inline constexpr uint32_t kMaxLaneValues = 1u << 16;
constexpr bool lane_values_valid(int64_t lane_values) noexcept {
  return lane_values == 0 || (lane_values >= kMinLaneValues && lane_values <= kMaxLaneValues &&
                              (lane_values & (lane_values - 1)) == 0);
}

// The header of a new stream with the encoder's choice of chunks and lanes. Chunks are for the most
// lanes, rANS 32, Huffman 16, others 1, of `lane_values` values each; the tensor, or a chunk of a
// larger one, gets as many lanes as it has such shares, rounded down to a power of two, at least 1.
// The coders' own choice are 4096 values with rANS and 2^16 with those of one lane; with Huffman
// chunks of 2^16 values with 4 lanes, or 1 where the tensor has fewer than 4096 values. check_shape
// refuses the header of other lane_values. With classes of positions, `positions` is left for the
// caller to fill in for each image.
StreamHeader make_header(Coder coder, uint32_t components, uint32_t height, uint32_t width,
                         uint16_t table_id, uint8_t crop_h = 0, uint8_t crop_w = 0,
                         uint8_t classes = 1, uint32_t lane_values = 0) noexcept;

// kBadHeader where a field is outside its range or the tensor has more than kMaxValues values.
Status check_shape(const StreamHeader& header) noexcept;

// Whether tables are such that the header's coder can use them; see {huffman,rans}_check_*, and
// words_valid for coders without tables.
Status check_encode_tables(const StreamHeader& header, const ComponentTables& tables) noexcept;
Status check_decode_tables(const StreamHeader& header, const ComponentTables& tables) noexcept;

// The bytes that suffice for the payload of a chunk, and for a stream with all side bytes, whatever
// the levels. They depend on the header's coder, shape and chunking alone.
size_t chunk_bound(const StreamHeader& header, uint64_t chunk) noexcept;
size_t stream_bound(const StreamHeader& header) noexcept;

// A coded chunk, wherever its bytes lie.
struct ChunkPayload {
  std::span<const uint8_t> bytes;
  uint32_t checksum = 0;  // CRC-32C of the bytes; 0 where the chunk is the only one
};

// Codes chunk `chunk`.
//   levels   all values of the tensor or its arrangement, [header.values()]
//   out      chunk_bound(header, chunk) bytes, of which the payload's are the first
// kNoCode where a level has no code (all but rANS), kBadArgument for a wrong size or chunk number.
Status encode_chunk(const StreamHeader& header, std::span<const int16_t> levels,
                    const ComponentTables& tables, uint64_t chunk, std::span<uint8_t> out,
                    ChunkPayload& payload) noexcept;

// A chunk of one of several streams; the members are as for encode_chunk.
struct EncodeTask {
  const StreamHeader* header = nullptr;
  std::span<const int16_t> levels;
  uint64_t chunk = 0;
  std::span<uint8_t> out;
  ChunkPayload payload;
  Status status = Status::kOk;  // what came of it
};

// encode_chunk for each task, to the same bytes. Chunks of several streams that have few states, as
// those of a batch of small tensors do, are encoded side by side (rans_chunks_encode), as many as
// chunks_together says; more at once are no faster.
void encode_chunks(const ComponentTables& tables, std::span<EncodeTask> tasks) noexcept;
size_t chunks_together(const StreamHeader& header) noexcept;

// Makes a stream of all chunks: the first `used` bytes of `out`; no others are touched.
//   payloads  [header.chunks()], not in `out`; or in it in their order, each of them at or behind
//             its place in the stream
//   out       stream_bound(header) bytes suffice
// kTooLarge where the payloads exceed 4 GiB.
Status finish_stream(const StreamHeader& header, std::span<const ChunkPayload> payloads,
                     std::span<uint8_t> out, size_t& used) noexcept;

// Reads and checks header and directory, and the payload where it is covered by the same checksum
// (a stream of one chunk). `size` becomes the size of the stream; `bytes` may hold more behind it.
// An accepted header has no more values than its payload can hold: 8 a byte with Huffman codes and
// DCT-CM, kMaxValuesPerDigit for 2 bytes with rANS, 128 for 5 bytes with EBPC. That is still tens
// of thousands of values a byte, or any height and width of no components: a caller compares with
// what it expects (check_expected) and with a limit (check_limit) before it allocates.
Status read_header(std::span<const uint8_t> bytes, StreamHeader& header, size_t& size) noexcept;

// Where chunk `chunk` lies, and its checksum.
//   header, bytes  as read_header accepted them;  chunk: below header.chunks()
ChunkPayload find_chunk(const StreamHeader& header, std::span<const uint8_t> bytes,
                        uint64_t chunk) noexcept;

// kWrongShape, kWrongTables or kBadCoder where the stream is not the one that is expected: compares
// coder, shape, table_id and number of classes.
Status check_expected(const StreamHeader& header, const StreamHeader& expected) noexcept;

// kOverLimit where so many images like this one have more than max_values levels together.
Status check_limit(const StreamHeader& header, uint64_t images, uint64_t max_values) noexcept;

// Checks and decodes chunk `chunk` into its part of `levels` ([header.values()]); calls for
// different chunks touch different values.
//   header, bytes  as read_header accepted them;  tables: checked by check_decode_tables
// kBadChunkChecksum, kBadCode; kBadArgument for a wrong size or chunk number.
Status decode_chunk(const StreamHeader& header, std::span<const uint8_t> bytes,
                    const ComponentTables& tables, uint64_t chunk,
                    std::span<int16_t> levels) noexcept;

// A chunk of one of several streams; the members are as for decode_chunk.
struct ChunkTask {
  const StreamHeader* header = nullptr;
  std::span<const uint8_t> bytes;
  uint64_t chunk = 0;
  std::span<int16_t> levels;
  Status status = Status::kOk;  // what came of it
};

// decode_chunk for each task. Where streams of the same shape follow each other whose chunks have
// few states, as those of a batch of small tensors do, it is 2 to 3 times as fast as one by one
// (rans_chunks_decode).
void decode_chunks(const ComponentTables& tables, std::span<ChunkTask> tasks) noexcept;

// A whole stream. `tables.plane` must be height * width.
//   levels  [header.values()];  out: stream_bound(header) bytes, of which `used` are the stream
Status stream_encode(const StreamHeader& header, std::span<const int16_t> levels,
                     const ComponentTables& tables, std::span<uint8_t> out, size_t& used) noexcept;

// The inverse, for a stream that must have the expected coder, shape and table set; `bytes` must
// end with the stream (kTrailingBytes otherwise). Whatever is wrong, levels ([expected.values()])
// are then all 0.
Status stream_decode(std::span<const uint8_t> bytes, const StreamHeader& expected,
                     const ComponentTables& tables, std::span<int16_t> levels) noexcept;

// The same without decoding: all checks but those of the chunks, for callers with threads.
Status open_stream(std::span<const uint8_t> bytes, const StreamHeader& expected,
                   StreamHeader& header) noexcept;

}  // namespace fmtc
