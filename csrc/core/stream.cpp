#include "core/stream.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "core/bytes.h"
#include "core/crc32c.h"

namespace fmtc {
namespace {

constexpr std::array<uint8_t, 4> kMagic = {'F', 'M', 'T', 'C'};
constexpr size_t kCheckedBytes = 28;  // of the header; the checksum over them follows
constexpr uint8_t kLevelBits = 16;
constexpr uint64_t kSmallTensor = 4096;  // values below which one sub-stream is cheaper
constexpr uint8_t kSubstreams = 4;

size_t directory_bytes(const StreamHeader& header) noexcept {
  return static_cast<size_t>(header.chunks()) * kDirectoryEntryBytes;
}

size_t payload_offset(const StreamHeader& header) noexcept {
  return kHeaderBytes + directory_bytes(header);
}

size_t directory_entry(uint64_t chunk) noexcept {
  return kHeaderBytes + static_cast<size_t>(chunk) * kDirectoryEntryBytes;
}

// Where encode_chunk puts the payload of a chunk: behind the largest ones of those before.
size_t slot_offset(const StreamHeader& header, uint64_t chunk) noexcept {
  const size_t full = huffman_chunk_bound(size_t{1} << header.log2_chunk, header.substreams);
  return payload_offset(header) + static_cast<size_t>(chunk) * full;
}

// The smallest payload of a chunk: one bit a value and the sizes of the sub-streams.
size_t smallest_payload(const StreamHeader& header, uint64_t chunk) noexcept {
  return (header.chunk_values(chunk) + 7) / 8 + 4 * (size_t{header.substreams} - 1);
}

struct DirectoryEntry {
  uint32_t end;
  uint32_t checksum;
};

DirectoryEntry load_entry(std::span<const uint8_t> bytes, uint64_t chunk) noexcept {
  const uint8_t* entry = bytes.data() + directory_entry(chunk);
  return {load_le<uint32_t>(entry), load_le<uint32_t>(entry + 4)};
}

void store_entry(std::span<uint8_t> bytes, uint64_t chunk, DirectoryEntry entry) noexcept {
  uint8_t* to = bytes.data() + directory_entry(chunk);
  store_le(to, entry.end);
  store_le(to + 4, entry.checksum);
}

void store_fields(const StreamHeader& header, uint8_t* to) noexcept {
  std::copy(kMagic.begin(), kMagic.end(), to);
  to[4] = header.version;
  to[5] = header.coder;
  to[6] = header.level_bits;
  to[7] = header.flags;
  store_le(to + 8, header.table_id);
  store_le(to + 12, header.components);
  store_le(to + 16, header.height);
  store_le(to + 20, header.width);
  to[24] = header.log2_chunk;
  to[25] = header.substreams;
  to[26] = header.crop_h;
  to[27] = header.crop_w;
}

StreamHeader load_fields(const uint8_t* from) noexcept {
  StreamHeader header;
  header.version = from[4];
  header.coder = from[5];
  header.level_bits = from[6];
  header.flags = from[7];
  header.table_id = load_le<uint32_t>(from + 8);
  header.components = load_le<uint32_t>(from + 12);
  header.height = load_le<uint32_t>(from + 16);
  header.width = load_le<uint32_t>(from + 20);
  header.log2_chunk = from[24];
  header.substreams = from[25];
  header.crop_h = from[26];
  header.crop_w = from[27];
  return header;
}

uint32_t header_checksum(const StreamHeader& header, std::span<const uint8_t> bytes) noexcept {
  return crc32c(bytes.subspan(kHeaderBytes, directory_bytes(header)),
                crc32c(bytes.first(kCheckedBytes)));
}

// K * H * W <= kMaxValues, without overflow on the way.
bool size_valid(const StreamHeader& header) noexcept {
  const uint64_t plane = header.plane();
  return plane == 0 || header.components <= kMaxValues / plane;
}

// Checks the ends of all chunks; `payload` becomes the bytes of all payloads.
Status check_directory(const StreamHeader& header, std::span<const uint8_t> bytes,
                       size_t& payload) noexcept {
  uint64_t end = 0;
  for (uint64_t chunk = 0; chunk < header.chunks(); ++chunk) {
    const uint64_t smallest = end + smallest_payload(header, chunk);
    end = load_entry(bytes, chunk).end;
    if (end < smallest) return Status::kBadDirectory;
  }
  payload = static_cast<size_t>(end);
  return Status::kOk;
}

bool chunk_valid(const StreamHeader& header, uint64_t chunk, size_t levels,
                 const ComponentTables& tables) noexcept {
  return chunk < header.chunks() && levels == header.values() && tables.plane == header.plane();
}

// Checks everything but the contents of the chunks.
Status open_stream(std::span<const uint8_t> bytes, const StreamHeader& expected,
                   const ComponentTables& tables, StreamHeader& header) noexcept {
  size_t size = 0;
  Status status = read_header(bytes, header, size);
  if (status == Status::kOk && size != bytes.size()) status = Status::kTrailingBytes;
  if (status == Status::kOk) {
    status = check_expected(header, expected.coder, expected.table_id, expected.components,
                            expected.height, expected.width);
  }
  if (status == Status::kOk) status = check_decode_tables(tables, header.components);
  return status;
}

}  // namespace

StreamHeader make_header(uint32_t components, uint32_t height, uint32_t width, uint32_t table_id,
                         uint8_t crop_h, uint8_t crop_w) noexcept {
  StreamHeader header;
  header.table_id = table_id;
  header.components = components;
  header.height = height;
  header.width = width;
  header.crop_h = crop_h;
  header.crop_w = crop_w;
  const bool small = size_valid(header) && header.values() < kSmallTensor;
  header.substreams = small ? 1 : kSubstreams;
  return header;
}

Status check_shape(const StreamHeader& header) noexcept {
  const bool good = header.level_bits == kLevelBits && header.log2_chunk >= 8 &&
                    header.log2_chunk <= 24 && header.substreams >= 1 &&
                    header.substreams <= kMaxSubstreams && size_valid(header);
  return good ? Status::kOk : Status::kBadHeader;
}

size_t stream_bound(const StreamHeader& header) noexcept {
  const uint64_t chunks = header.chunks();
  if (chunks == 0) return kHeaderBytes;
  return slot_offset(header, chunks - 1) +
         huffman_chunk_bound(header.chunk_values(chunks - 1), header.substreams);
}

Status encode_chunk(const StreamHeader& header, std::span<const int16_t> levels,
                    const ComponentTables& tables, uint64_t chunk,
                    std::span<uint8_t> buffer) noexcept {
  if (!chunk_valid(header, chunk, levels.size(), tables)) return Status::kBadArgument;
  if (buffer.size() < stream_bound(header)) return Status::kBufferTooSmall;
  const size_t count = header.chunk_values(chunk);
  const std::span<uint8_t> slot =
      buffer.subspan(slot_offset(header, chunk), huffman_chunk_bound(count, header.substreams));
  const uint64_t first = header.chunk_first(chunk);
  size_t used = 0;
  const Status status = huffman_chunk_encode(levels.subspan(static_cast<size_t>(first), count),
                                             first, tables, header.substreams, slot, used);
  if (status != Status::kOk) return status;
  // Until finish_stream knows where the chunk ends, its entry holds its size.
  store_entry(buffer, chunk, {static_cast<uint32_t>(used), crc32c(slot.first(used))});
  return Status::kOk;
}

Status finish_stream(const StreamHeader& header, std::span<uint8_t> buffer, size_t& used) noexcept {
  if (buffer.size() < stream_bound(header)) return Status::kBufferTooSmall;
  const size_t payloads = payload_offset(header);
  uint64_t end = 0;
  for (uint64_t chunk = 0; chunk < header.chunks(); ++chunk) {
    const DirectoryEntry entry = load_entry(buffer, chunk);
    const uint64_t begin = end;
    end += entry.end;
    if (entry.end > huffman_chunk_bound(header.chunk_values(chunk), header.substreams)) {
      return Status::kBadArgument;
    }
    if (end > std::numeric_limits<uint32_t>::max()) return Status::kTooLarge;
    std::memmove(buffer.data() + payloads + begin, buffer.data() + slot_offset(header, chunk),
                 entry.end);
    store_entry(buffer, chunk, {static_cast<uint32_t>(end), entry.checksum});
  }
  store_fields(header, buffer.data());
  store_le(buffer.data() + kCheckedBytes, header_checksum(header, buffer));
  used = payloads + static_cast<size_t>(end);
  return Status::kOk;
}

Status read_header(std::span<const uint8_t> bytes, StreamHeader& header, size_t& size) noexcept {
  if (bytes.size() < kHeaderBytes) return Status::kTruncated;
  if (!std::equal(kMagic.begin(), kMagic.end(), bytes.begin())) return Status::kBadMagic;
  header = load_fields(bytes.data());
  if (header.version != kStreamVersion) return Status::kBadVersion;
  if (header.coder != kCoderHuffman) return Status::kBadCoder;
  if (header.flags != 0) return Status::kBadFlags;
  if (const Status status = check_shape(header); status != Status::kOk) return status;
  if (bytes.size() - kHeaderBytes < directory_bytes(header)) return Status::kTruncated;
  if (load_le<uint32_t>(bytes.data() + kCheckedBytes) != header_checksum(header, bytes)) {
    return Status::kBadChecksum;
  }
  size_t payload = 0;
  if (const Status status = check_directory(header, bytes, payload); status != Status::kOk) {
    return status;
  }
  if (bytes.size() - payload_offset(header) < payload) return Status::kTruncated;
  size = payload_offset(header) + payload;
  return Status::kOk;
}

Status check_expected(const StreamHeader& header, uint8_t coder, uint32_t table_id,
                      uint32_t components, uint32_t height, uint32_t width) noexcept {
  if (header.coder != coder) return Status::kBadCoder;
  if (header.components != components || header.height != height || header.width != width) {
    return Status::kWrongShape;
  }
  return header.table_id == table_id ? Status::kOk : Status::kWrongTables;
}

Status decode_chunk(const StreamHeader& header, std::span<const uint8_t> bytes,
                    const ComponentTables& tables, uint64_t chunk,
                    std::span<int16_t> levels) noexcept {
  if (!chunk_valid(header, chunk, levels.size(), tables)) return Status::kBadArgument;
  const DirectoryEntry entry = load_entry(bytes, chunk);
  const size_t begin = chunk == 0 ? 0 : load_entry(bytes, chunk - 1).end;
  const std::span<const uint8_t> payload =
      bytes.subspan(payload_offset(header) + begin, entry.end - begin);
  if (crc32c(payload) != entry.checksum) return Status::kBadChunkChecksum;
  const uint64_t first = header.chunk_first(chunk);
  return huffman_chunk_decode(
      payload, first, tables, header.substreams,
      levels.subspan(static_cast<size_t>(first), header.chunk_values(chunk)));
}

Status huffman_stream_encode(const StreamHeader& header, std::span<const int16_t> levels,
                             const ComponentTables& tables, std::span<uint8_t> out,
                             size_t& used) noexcept {
  Status status = check_shape(header);
  if (status == Status::kOk) status = check_encode_tables(tables, header.components);
  if (status == Status::kOk && levels.size() != header.values()) status = Status::kBadArgument;
  for (uint64_t chunk = 0; status == Status::kOk && chunk < header.chunks(); ++chunk) {
    status = encode_chunk(header, levels, tables, chunk, out);
  }
  return status == Status::kOk ? finish_stream(header, out, used) : status;
}

Status huffman_stream_decode(std::span<const uint8_t> bytes, const StreamHeader& expected,
                             const ComponentTables& tables, std::span<int16_t> levels) noexcept {
  StreamHeader header;
  Status status = open_stream(bytes, expected, tables, header);
  if (status == Status::kOk && levels.size() != header.values()) status = Status::kBadArgument;
  for (uint64_t chunk = 0; status == Status::kOk && chunk < header.chunks(); ++chunk) {
    status = decode_chunk(header, bytes, tables, chunk, levels);
  }
  if (status != Status::kOk) std::fill(levels.begin(), levels.end(), int16_t{0});
  return status;
}

}  // namespace fmtc
