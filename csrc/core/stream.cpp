#include "core/stream.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <new>
#include <numeric>
#include <vector>

#include "core/bytes.h"
#include "core/crc32c.h"
#include "core/dct_cm.h"
#include "core/ebpc.h"
#include "core/huffman.h"
#include "core/rans.h"
#include "core/stream_fields.h"

namespace fmtc {
namespace {

// What the encoder chooses: chunks of at most 2^log2_lanes lanes, of 2^log2_values values each.
struct Chunking {
  int log2_lanes;
  int log2_values;
};

constexpr uint64_t kHuffmanSmall = 4096;  // values below which one sub-stream is cheaper

Chunking chunking_of(Coder coder, uint32_t lane_values) noexcept {
  const bool given = lane_values != 0;
  const int log2_values = std::countr_zero(lane_values);
  switch (coder) {
    case Coder::kHuffman:
      return given ? Chunking{4, log2_values} : Chunking{2, 14};
    case Coder::kRans:
      return {5, given ? log2_values : 12};
    default:
      return {0, given ? log2_values : 16};
  }
}

// The lanes of a tensor that has `values` values.
int log2_lanes_of(Coder coder, uint32_t lane_values, uint64_t values) noexcept {
  const Chunking chunking = chunking_of(coder, lane_values);
  if (coder == Coder::kHuffman && lane_values == 0) {
    return values < kHuffmanSmall ? 0 : chunking.log2_lanes;
  }
  const auto shares = static_cast<int>(std::bit_width(values >> chunking.log2_values));
  return std::clamp(shares - 1, 0, chunking.log2_lanes);
}

// ---------------------------------------------------------------------------------------------
// What differs between the coders

size_t bound_of(const StreamHeader& header, size_t values) noexcept {
  switch (header.coder) {
    case Coder::kHuffman:
      return huffman_chunk_bound(values, header.lanes());
    case Coder::kRans:
      return rans_chunk_bound(values, header.lanes());
    case Coder::kEbpc:
      return ebpc_chunk_bound(values);
    case Coder::kDctCm:
      return dct_cm_chunk_bound(values);
  }
  return 0;
}

Status check_words(const ComponentTables& tables) noexcept {
  return words_valid(tables) ? Status::kOk : Status::kBadArgument;
}

void encode_payload(const StreamHeader& header, UncodedChunk& chunk) noexcept {
  auto& [levels, first, tables, out, used, status] = chunk;
  switch (header.coder) {
    case Coder::kHuffman:
      status = huffman_chunk_encode(levels, first, tables, header.lanes(), out, used);
      return;
    case Coder::kRans:
      status = rans_chunk_encode(levels, first, tables, header.lanes(), out, used);
      return;
    case Coder::kEbpc:
      status = ebpc_chunk_encode(levels, Words(tables), out, used);
      return;
    case Coder::kDctCm:
      status = dct_cm_chunk_encode(levels, Words(tables), out, used);
      return;
  }
  status = Status::kBadCoder;
}

Status decode_payload(const StreamHeader& header, const CodedChunk& chunk) noexcept {
  const auto& [payload, first, tables, levels, status] = chunk;
  switch (header.coder) {
    case Coder::kHuffman:
      return huffman_chunk_decode(payload, first, tables, header.lanes(), levels);
    case Coder::kRans:
      return rans_chunk_decode(payload, first, tables, header.lanes(), levels);
    case Coder::kEbpc:
      return ebpc_chunk_decode(payload, Words(tables), levels);
    case Coder::kDctCm:
      return dct_cm_chunk_decode(payload, Words(tables), levels);
  }
  return Status::kBadCoder;
}

// The checksum covers what stands before it, and the payload too where there is no directory.
uint32_t stream_checksum(const StreamHeader& header, std::span<const uint8_t> bytes) noexcept {
  const size_t payloads = payload_offset(header);
  const uint32_t checksum = crc32c(bytes.first(payloads - kChecksumBytes));
  return header.chunks() > 1 ? checksum : crc32c(bytes.subspan(payloads, header.payload), checksum);
}

// Checks that the payloads are in order and none of them is too short for its values.
Status check_payloads(const StreamHeader& header, std::span<const uint8_t> bytes) noexcept {
  uint64_t end = 0;
  for (uint64_t chunk = 0; chunk < header.chunks(); ++chunk) {
    const uint64_t smallest = end + smallest_payload(header, chunk);
    end = header.chunks() > 1 ? load_entry(bytes.data() + header.field_bytes, chunk).end
                              : header.payload;
    if (end < smallest) return Status::kBadDirectory;
  }
  return end == header.payload ? Status::kOk : Status::kBadDirectory;
}

// Adds up the sizes of all payloads.
Status sum_payloads(const StreamHeader& header, std::span<const ChunkPayload> payloads,
                    uint32_t& sum) noexcept {
  if (payloads.size() != header.chunks()) return Status::kBadArgument;
  uint64_t bytes = 0;
  for (uint64_t chunk = 0; chunk < header.chunks(); ++chunk) {
    const size_t size = payloads[chunk].bytes.size();
    if (size > chunk_bound(header, chunk)) return Status::kBadArgument;
    bytes += size;
  }
  if (bytes > std::numeric_limits<uint32_t>::max()) return Status::kTooLarge;
  sum = static_cast<uint32_t>(bytes);
  return Status::kOk;
}

void store_directory(std::span<const ChunkPayload> payloads, uint8_t* directory) noexcept {
  uint32_t end = 0;
  for (uint64_t chunk = 0; chunk < payloads.size(); ++chunk) {
    end += static_cast<uint32_t>(payloads[chunk].bytes.size());
    store_entry(directory, chunk, {end, payloads[chunk].checksum});
  }
}

// Encodes chunk after chunk, each behind the one before, with room for what precedes them.
Status encode_one_by_one(const StreamHeader& header, std::span<const int16_t> levels,
                         const ComponentTables& tables, std::span<uint8_t> out,
                         std::span<ChunkPayload> payloads) noexcept {
  size_t used = kMaxFieldBytes + directory_bytes(header) + kChecksumBytes;
  for (uint64_t chunk = 0; chunk < payloads.size(); ++chunk) {
    const Status status =
        encode_chunk(header, levels, tables, chunk, out.subspan(used, chunk_bound(header, chunk)),
                     payloads[chunk]);
    if (status != Status::kOk) return status;
    used += payloads[chunk].bytes.size();
  }
  return Status::kOk;
}

bool chunk_valid(const StreamHeader& header, uint64_t chunk, size_t levels,
                 const ComponentTables& tables) noexcept {
  const uint64_t positions =
      std::accumulate(header.positions.begin(), header.positions.end(), uint64_t{0});
  return chunk < header.chunks() && levels == header.values() && tables.plane == header.plane() &&
         (header.classes == 1 || positions == header.plane());
}

// The tables with the segments of this stream.
ComponentTables with_segments(const ComponentTables& tables, const StreamHeader& header) noexcept {
  ComponentTables result = tables;
  if (header.classes > 1) {
    result.map = header.layout().map_size();
    result.parts = std::span(header.positions).first(header.classes);
  }
  return result;
}

// The chunk of a task, if it can be encoded, as its status says.
UncodedChunk open_task(const EncodeTask& task, const ComponentTables& tables) noexcept {
  const StreamHeader& header = *task.header;
  UncodedChunk opened;
  if (!chunk_valid(header, task.chunk, task.levels.size(), tables)) {
    opened.status = Status::kBadArgument;
    return opened;
  }
  if (task.out.size() < chunk_bound(header, task.chunk)) {
    opened.status = Status::kBufferTooSmall;
    return opened;
  }
  opened.first = header.chunk_first(task.chunk);
  opened.levels =
      task.levels.subspan(static_cast<size_t>(opened.first), header.chunk_values(task.chunk));
  opened.tables = with_segments(tables, header);
  opened.out = task.out;
  return opened;
}

// What an encoded chunk became.
ChunkPayload payload_of(const StreamHeader& header, const UncodedChunk& chunk) noexcept {
  const std::span<const uint8_t> bytes = chunk.out.first(chunk.used);
  return {bytes, header.chunks() > 1 ? crc32c(bytes) : 0};
}

// Finds a chunk and checks all that can be checked without decoding it, as its status says.
CodedChunk open_chunk(const StreamHeader& header, std::span<const uint8_t> bytes,
                      const ComponentTables& tables, uint64_t chunk,
                      std::span<int16_t> levels) noexcept {
  CodedChunk opened;
  if (!chunk_valid(header, chunk, levels.size(), tables)) {
    opened.status = Status::kBadArgument;
    return opened;
  }
  const ChunkPayload payload = find_chunk(header, bytes, chunk);
  if (header.chunks() > 1 && crc32c(payload.bytes) != payload.checksum) {
    opened.status = Status::kBadChunkChecksum;
    return opened;
  }
  opened.payload = payload.bytes;
  opened.first = header.chunk_first(chunk);
  opened.tables = with_segments(tables, header);
  opened.levels = levels.subspan(static_cast<size_t>(opened.first), header.chunk_values(chunk));
  return opened;
}

constexpr size_t kMostTogether = 32;  // chunks that rANS codes together

// How many of the first tasks are rANS chunks with as many states, at most kMostTogether; 1 where
// the first one is of another coder.
template <class Task>
size_t rans_tasks(std::span<const Task> tasks) noexcept {
  const StreamHeader& first = *tasks[0].header;
  const auto end = std::find_if(tasks.begin(), tasks.end(), [&](const Task& task) {
    return task.header->coder != Coder::kRans || task.header->log2_lanes != first.log2_lanes;
  });
  return std::clamp<size_t>(static_cast<size_t>(end - tasks.begin()), 1, kMostTogether);
}

}  // namespace

const char* coder_name(Coder coder) noexcept {
  switch (coder) {
    case Coder::kHuffman:
      return "huffman";
    case Coder::kRans:
      return "rans";
    case Coder::kEbpc:
      return "ebpc";
    case Coder::kDctCm:
      return "dct-cm";
  }
  return "unknown";
}

StreamHeader make_header(Coder coder, uint32_t components, uint32_t height, uint32_t width,
                         uint16_t table_id, uint8_t crop_h, uint8_t crop_w, uint8_t classes,
                         uint32_t lane_values) noexcept {
  StreamHeader header;
  header.coder = coder;
  header.table_id = table_id;
  header.components = components;
  header.height = height;
  header.width = width;
  header.crop_h = crop_h;
  header.crop_w = crop_w;
  header.classes = classes;
  if (!lane_values_valid(lane_values)) {
    header.log2_chunk = 0;  // which check_shape refuses
    return header;
  }
  const Chunking chunking = chunking_of(coder, lane_values);
  const uint64_t values = size_valid(header) ? header.values() : kMaxValues;
  header.log2_chunk = static_cast<uint8_t>(chunking.log2_lanes + chunking.log2_values);
  header.log2_lanes = static_cast<uint8_t>(log2_lanes_of(coder, lane_values, values));
  return header;
}

Status check_shape(const StreamHeader& header) noexcept { return shape_status(header); }

Status check_encode_tables(const StreamHeader& header, const ComponentTables& tables) noexcept {
  const ComponentTables segments = with_segments(tables, header);
  switch (header.coder) {
    case Coder::kHuffman:
      return huffman_check_encode_tables(segments, header.components);
    case Coder::kRans:
      return rans_check_encode_tables(segments, header.components);
    default:
      return check_words(tables);
  }
}

Status check_decode_tables(const StreamHeader& header, const ComponentTables& tables) noexcept {
  const ComponentTables segments = with_segments(tables, header);
  switch (header.coder) {
    case Coder::kHuffman:
      return huffman_check_decode_tables(segments, header.components);
    case Coder::kRans:
      return rans_check_decode_tables(segments, header.components);
    default:
      return check_words(tables);
  }
}

size_t chunk_bound(const StreamHeader& header, uint64_t chunk) noexcept {
  return bound_of(header, header.chunk_values(chunk));
}

size_t stream_bound(const StreamHeader& header) noexcept {
  const uint64_t chunks = header.chunks();
  const size_t before = kMaxFieldBytes + directory_bytes(header) + kChecksumBytes;
  if (chunks == 0) return before;
  return before + static_cast<size_t>(chunks - 1) * chunk_bound(header, 0) +
         chunk_bound(header, chunks - 1);
}

Status encode_chunk(const StreamHeader& header, std::span<const int16_t> levels,
                    const ComponentTables& tables, uint64_t chunk, std::span<uint8_t> out,
                    ChunkPayload& payload) noexcept {
  const EncodeTask task = {&header, levels, chunk, out, {}, Status::kOk};
  UncodedChunk opened = open_task(task, tables);
  if (opened.status == Status::kOk) encode_payload(header, opened);
  if (opened.status == Status::kOk) payload = payload_of(header, opened);
  return opened.status;
}

size_t chunks_together(const StreamHeader& header) noexcept {
  return header.coder == Coder::kRans ? rans_chunks_together(header.lanes()) : 1;
}

void encode_chunks(const ComponentTables& tables, std::span<EncodeTask> tasks) noexcept {
  std::array<UncodedChunk, kMostTogether> opened;
  std::array<EncodeTask*, kMostTogether> of_task;
  while (!tasks.empty()) {
    const size_t together = rans_tasks(std::span<const EncodeTask>(tasks));
    size_t good = 0;
    for (EncodeTask& task : tasks.first(together)) {
      opened[good] = open_task(task, tables);
      task.status = opened[good].status;
      of_task[good] = &task;
      if (task.status == Status::kOk) ++good;
    }
    const StreamHeader& header = *tasks[0].header;
    if (header.coder == Coder::kRans) {
      rans_chunks_encode(std::span(opened).first(good), header.lanes());
    } else if (good == 1) {
      encode_payload(header, opened[0]);
    }
    for (size_t i = 0; i < good; ++i) {
      of_task[i]->status = opened[i].status;
      if (opened[i].status == Status::kOk) {
        of_task[i]->payload = payload_of(*of_task[i]->header, opened[i]);
      }
    }
    tasks = tasks.subspan(together);
  }
}

Status finish_stream(const StreamHeader& header, std::span<const ChunkPayload> payloads,
                     std::span<uint8_t> out, size_t& used) noexcept {
  StreamHeader complete = header;
  const Status status = sum_payloads(header, payloads, complete.payload);
  if (status != Status::kOk) return status;
  const size_t before = kMaxFieldBytes + directory_bytes(header) + kChecksumBytes;
  if (out.size() < before + complete.payload) return Status::kBufferTooSmall;
  complete.field_bytes = static_cast<uint8_t>(store_fields(header, complete.payload, out.data()));
  if (header.chunks() > 1) store_directory(payloads, out.data() + complete.field_bytes);
  used = payload_offset(complete);
  for (const ChunkPayload& payload : payloads) {
    std::memmove(out.data() + used, payload.bytes.data(), payload.bytes.size());
    used += payload.bytes.size();
  }
  store_le(out.data() + payload_offset(complete) - kChecksumBytes, stream_checksum(complete, out));
  return Status::kOk;
}

Status read_header(std::span<const uint8_t> bytes, StreamHeader& header, size_t& size) noexcept {
  if (const Status status = load_fields(bytes, header); status != Status::kOk) return status;
  const size_t payloads = payload_offset(header);
  const bool directory = header.chunks() > 1;
  if (bytes.size() < payloads + (directory ? 0 : header.payload)) return Status::kTruncated;
  if (load_le<uint32_t>(bytes.data() + payloads - kChecksumBytes) !=
      stream_checksum(header, bytes)) {
    return Status::kBadChecksum;
  }
  if (const Status status = check_payloads(header, bytes); status != Status::kOk) return status;
  if (bytes.size() - payloads < header.payload) return Status::kTruncated;
  size = payloads + header.payload;
  return Status::kOk;
}

ChunkPayload find_chunk(const StreamHeader& header, std::span<const uint8_t> bytes,
                        uint64_t chunk) noexcept {
  return chunk_of(header, bytes, chunk);
}

Status check_expected(const StreamHeader& header, const StreamHeader& expected) noexcept {
  return compare(header, expected);
}

Status check_limit(const StreamHeader& header, uint64_t images, uint64_t max_values) noexcept {
  const uint64_t levels = header.layout().levels();
  return levels == 0 || images <= max_values / levels ? Status::kOk : Status::kOverLimit;
}

Status decode_chunk(const StreamHeader& header, std::span<const uint8_t> bytes,
                    const ComponentTables& tables, uint64_t chunk,
                    std::span<int16_t> levels) noexcept {
  const CodedChunk opened = open_chunk(header, bytes, tables, chunk, levels);
  return opened.status == Status::kOk ? decode_payload(header, opened) : opened.status;
}

void decode_chunks(const ComponentTables& tables, std::span<ChunkTask> tasks) noexcept {
  std::array<CodedChunk, kMostTogether> opened;
  std::array<ChunkTask*, kMostTogether> of_task;
  while (!tasks.empty()) {
    const size_t together = rans_tasks(std::span<const ChunkTask>(tasks));
    size_t good = 0;
    for (ChunkTask& task : tasks.first(together)) {
      opened[good] = open_chunk(*task.header, task.bytes, tables, task.chunk, task.levels);
      task.status = opened[good].status;
      of_task[good] = &task;
      if (task.status == Status::kOk) ++good;
    }
    const StreamHeader& header = *tasks[0].header;
    if (header.coder == Coder::kRans) {
      rans_chunks_decode(std::span(opened).first(good), header.lanes());
    } else if (good == 1) {
      opened[0].status = decode_payload(header, opened[0]);
    }
    for (size_t i = 0; i < good; ++i) of_task[i]->status = opened[i].status;
    tasks = tasks.subspan(together);
  }
}

Status stream_encode(const StreamHeader& header, std::span<const int16_t> levels,
                     const ComponentTables& tables, std::span<uint8_t> out, size_t& used) noexcept {
  Status status = check_shape(header);
  if (status == Status::kOk) status = check_encode_tables(header, tables);
  if (status == Status::kOk && levels.size() != header.values()) status = Status::kBadArgument;
  if (status == Status::kOk && out.size() < stream_bound(header)) status = Status::kBufferTooSmall;
  if (status != Status::kOk) return status;
  try {
    std::vector<ChunkPayload> payloads(static_cast<size_t>(header.chunks()));
    status = encode_one_by_one(header, levels, tables, out, payloads);
    return status == Status::kOk ? finish_stream(header, payloads, out, used) : status;
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
}

Status open_stream(std::span<const uint8_t> bytes, const StreamHeader& expected,
                   StreamHeader& header) noexcept {
  size_t size = 0;
  Status status = read_header(bytes, header, size);
  if (status == Status::kOk && size != bytes.size()) status = Status::kTrailingBytes;
  return status == Status::kOk ? check_expected(header, expected) : status;
}

Status stream_decode(std::span<const uint8_t> bytes, const StreamHeader& expected,
                     const ComponentTables& tables, std::span<int16_t> levels) noexcept {
  StreamHeader header;
  Status status = open_stream(bytes, expected, header);
  if (status == Status::kOk) status = check_decode_tables(header, tables);
  if (status == Status::kOk && levels.size() != header.values()) status = Status::kBadArgument;
  for (uint64_t chunk = 0; status == Status::kOk && chunk < header.chunks(); ++chunk) {
    status = decode_chunk(header, bytes, tables, chunk, levels);
  }
  if (status != Status::kOk) std::fill(levels.begin(), levels.end(), int16_t{0});
  return status;
}

}  // namespace fmtc
