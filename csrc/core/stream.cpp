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

namespace fmtc {
namespace {

constexpr std::array<uint8_t, 2> kMagic = {'f', 'm'};
constexpr uint8_t kCoderMask = 7;
constexpr uint8_t kCropFlag = 8;
constexpr int kLanesShift = 4;
constexpr uint8_t kLanesMask = 7;
constexpr uint8_t kClassesFlag = 0x80;
constexpr int kMinLog2Chunk = 8;
constexpr int kMaxLog2Chunk = kMinLog2Chunk + 15;
constexpr int kMaxVarintBytes = 5;

// What the encoder chooses.
constexpr int kHuffmanLog2Chunk = 16;
constexpr uint64_t kHuffmanSmall = 4096;  // values below which one sub-stream is cheaper
constexpr int kHuffmanLog2Substreams = 2;
constexpr int kRansLog2Chunk = 17;
constexpr uint64_t kRansValuesPerState = 4096;
constexpr int kRansMaxLog2States = 5;

int rans_log2_states(uint64_t chunk_values) noexcept {
  const uint64_t states = std::max<uint64_t>(chunk_values / kRansValuesPerState, 1);
  return std::min(static_cast<int>(std::bit_width(states)) - 1, kRansMaxLog2States);
}

// ---------------------------------------------------------------------------------------------
// What differs between the coders

bool coder_known(Coder coder) noexcept {
  return coder >= Coder::kHuffman && coder <= Coder::kDctCm;
}

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

size_t smallest_payload(const StreamHeader& header, uint64_t chunk) noexcept {
  const size_t values = header.chunk_values(chunk);
  switch (header.coder) {
    case Coder::kHuffman:
      return huffman_smallest_payload(values, header.lanes());
    case Coder::kRans:
      return rans_smallest_payload(values, header.lanes());
    case Coder::kEbpc:
      return ebpc_smallest_payload(values);
    case Coder::kDctCm:
      return dct_cm_smallest_payload(values);
  }
  return 0;
}

int max_lanes(Coder coder) noexcept {
  if (coder == Coder::kHuffman) return kMaxSubstreams;
  return coder == Coder::kRans ? kMaxStates : 1;
}

Status check_words(const ComponentTables& tables) noexcept {
  return words_valid(tables) ? Status::kOk : Status::kBadArgument;
}

Status encode_payload(const StreamHeader& header, std::span<const int16_t> levels, uint64_t first,
                      const ComponentTables& tables, std::span<uint8_t> out,
                      size_t& used) noexcept {
  switch (header.coder) {
    case Coder::kHuffman:
      return huffman_chunk_encode(levels, first, tables, header.lanes(), out, used);
    case Coder::kRans:
      return rans_chunk_encode(levels, first, tables, header.lanes(), out, used);
    case Coder::kEbpc:
      return ebpc_chunk_encode(levels, Words(tables), out, used);
    case Coder::kDctCm:
      return dct_cm_chunk_encode(levels, Words(tables), out, used);
  }
  return Status::kBadCoder;
}

Status decode_payload(const StreamHeader& header, std::span<const uint8_t> payload, uint64_t first,
                      const ComponentTables& tables, std::span<int16_t> levels) noexcept {
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

// ---------------------------------------------------------------------------------------------
// Fields

size_t store_varint(uint8_t* to, uint32_t value) noexcept {
  size_t size = 0;
  for (; value >= 0x80; value >>= 7) to[size++] = static_cast<uint8_t>(value | 0x80);
  to[size++] = static_cast<uint8_t>(value);
  return size;
}

// Writes the fields of a stream with `payload` bytes of payloads; returns how many bytes they are.
size_t store_fields(const StreamHeader& header, uint32_t payload, uint8_t* to) noexcept {
  const bool crop = header.crop_h != 0 || header.crop_w != 0;
  std::copy(kMagic.begin(), kMagic.end(), to);
  to[2] = static_cast<uint8_t>(kStreamVersion << 4 | static_cast<int>(header.coder) |
                               (crop ? kCropFlag : 0));
  const bool classes = header.classes > 1;
  to[3] = static_cast<uint8_t>((classes ? kClassesFlag : 0) | header.log2_lanes << kLanesShift |
                               (header.log2_chunk - kMinLog2Chunk));
  store_le(to + 4, header.table_id);
  size_t size = 6;
  for (const uint32_t value : {header.components, header.height, header.width, payload}) {
    size += store_varint(to + size, value);
  }
  if (crop) {
    to[size++] = header.crop_h;
    to[size++] = header.crop_w;
  }
  if (classes) {
    to[size++] = header.classes;
    for (size_t c = 0; c + 1 < header.classes; ++c) {  // the last class has the rest
      size += store_varint(to + size, static_cast<uint32_t>(header.positions[c]));
    }
  }
  return size;
}

// Takes fields from the front of a stream. After a failure, status() says what was wrong and all
// that is taken is 0.
class FieldReader {
 public:
  explicit FieldReader(std::span<const uint8_t> bytes) noexcept : bytes_(bytes) {}

  Status status() const noexcept { return status_; }
  size_t position() const noexcept { return position_; }

  uint8_t byte() noexcept {
    if (status_ == Status::kOk && position_ == bytes_.size()) status_ = Status::kTruncated;
    return status_ == Status::kOk ? bytes_[position_++] : uint8_t{0};
  }

  // 7 bits a byte, the lowest first; the highest bit says that another byte follows.
  uint32_t varint() noexcept {
    uint64_t value = 0;
    for (int i = 0; i < kMaxVarintBytes; ++i) {
      const uint8_t next = byte();
      value |= uint64_t{next & 0x7Fu} << (7 * i);
      if (next >= 0x80) continue;
      const bool shortest = next != 0 || i == 0;
      if (status_ == Status::kOk && shortest && value <= std::numeric_limits<uint32_t>::max()) {
        return static_cast<uint32_t>(value);
      }
      break;
    }
    fail(Status::kBadNumber);
    return 0;
  }

  void fail(Status status) noexcept {
    if (status_ == Status::kOk) status_ = status;
  }

 private:
  std::span<const uint8_t> bytes_;
  size_t position_ = 0;
  Status status_ = Status::kOk;
};

// K * H * W <= kMaxValues, without overflow on the way; with classes there are positions, and their
// numbers fit into 32 bits.
bool size_valid(const StreamHeader& header) noexcept {
  const uint64_t plane = header.plane();
  if (header.classes == 1) return plane == 0 || header.components <= kMaxValues / plane;
  const bool tables = header.coder == Coder::kHuffman || header.coder == Coder::kRans;
  return tables && header.classes >= kMinPositionClasses && header.classes <= kMaxPositionClasses &&
         plane > 0 && plane <= std::numeric_limits<uint32_t>::max() && header.components > 0 &&
         header.components <= kMaxValues / plane;
}

// Reads how many positions each class has; the last one has the rest.
void load_classes(FieldReader& reader, StreamHeader& header) noexcept {
  header.classes = reader.byte();
  if (header.classes < kMinPositionClasses || header.classes > kMaxPositionClasses) {
    reader.fail(Status::kBadHeader);
    header.classes = 1;
    return;
  }
  uint64_t left = header.plane();
  const size_t last = header.classes - 1u;
  for (size_t c = 0; c < last; ++c) {
    header.positions[c] = reader.varint();
    if (header.positions[c] > left) reader.fail(Status::kBadHeader);
    left -= std::min(left, header.positions[c]);
  }
  header.positions[last] = left;
}

Status load_fields(std::span<const uint8_t> bytes, StreamHeader& header) noexcept {
  FieldReader reader(bytes);
  for (const uint8_t expected : kMagic) {
    if (reader.byte() != expected) reader.fail(Status::kBadMagic);
  }
  const uint8_t kind = reader.byte();
  if (kind >> 4 != kStreamVersion) reader.fail(Status::kBadVersion);
  header.coder = static_cast<Coder>(kind & kCoderMask);
  if (!coder_known(header.coder)) reader.fail(Status::kBadCoder);
  const uint8_t sizes = reader.byte();
  header.log2_chunk = static_cast<uint8_t>((sizes & 15) + kMinLog2Chunk);
  header.log2_lanes = sizes >> kLanesShift & kLanesMask;
  const uint8_t id = reader.byte();
  header.table_id = static_cast<uint16_t>(id | reader.byte() << 8);
  header.components = reader.varint();
  header.height = reader.varint();
  header.width = reader.varint();
  header.payload = reader.varint();
  const bool crop = (kind & kCropFlag) != 0;
  header.crop_h = crop ? reader.byte() : uint8_t{0};
  header.crop_w = crop ? reader.byte() : uint8_t{0};
  if (crop && header.crop_h == 0 && header.crop_w == 0) reader.fail(Status::kBadHeader);
  header.classes = 1;
  header.positions = {};
  if ((sizes & kClassesFlag) != 0) load_classes(reader, header);
  header.field_bytes = static_cast<uint8_t>(reader.position());
  return reader.status() == Status::kOk ? check_shape(header) : reader.status();
}

// ---------------------------------------------------------------------------------------------
// Directory

struct DirectoryEntry {
  uint32_t end;
  uint32_t checksum;
};

DirectoryEntry load_entry(const uint8_t* directory, uint64_t chunk) noexcept {
  const uint8_t* entry = directory + static_cast<size_t>(chunk) * kDirectoryEntryBytes;
  return {load_le<uint32_t>(entry), load_le<uint32_t>(entry + 4)};
}

void store_entry(uint8_t* directory, uint64_t chunk, DirectoryEntry entry) noexcept {
  uint8_t* to = directory + static_cast<size_t>(chunk) * kDirectoryEntryBytes;
  store_le(to, entry.end);
  store_le(to + 4, entry.checksum);
}

// A stream of one chunk has none: its payload is all that follows the checksum.
size_t directory_bytes(const StreamHeader& header) noexcept {
  return header.chunks() > 1 ? static_cast<size_t>(header.chunks()) * kDirectoryEntryBytes : 0;
}

// What precedes the payloads: fields, directory, checksum.
size_t payload_offset(const StreamHeader& header) noexcept {
  return header.field_bytes + directory_bytes(header) + kChecksumBytes;
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
Status encode_chunks(const StreamHeader& header, std::span<const int16_t> levels,
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
                         uint16_t table_id, uint8_t crop_h, uint8_t crop_w,
                         uint8_t classes) noexcept {
  StreamHeader header;
  header.coder = coder;
  header.table_id = table_id;
  header.components = components;
  header.height = height;
  header.width = width;
  header.crop_h = crop_h;
  header.crop_w = crop_w;
  header.classes = classes;
  header.log2_chunk = coder == Coder::kRans ? kRansLog2Chunk : kHuffmanLog2Chunk;
  const uint64_t values = size_valid(header) ? header.values() : kMaxValues;
  const uint64_t in_chunk = std::min(values, uint64_t{1} << header.log2_chunk);
  int lanes = 0;
  if (coder == Coder::kRans) lanes = rans_log2_states(in_chunk);
  if (coder == Coder::kHuffman && values >= kHuffmanSmall) lanes = kHuffmanLog2Substreams;
  header.log2_lanes = static_cast<uint8_t>(lanes);
  return header;
}

Status check_shape(const StreamHeader& header) noexcept {
  const bool good = coder_known(header.coder) && header.log2_chunk >= kMinLog2Chunk &&
                    header.log2_chunk <= kMaxLog2Chunk && header.log2_lanes < 8 &&
                    header.lanes() <= max_lanes(header.coder) && size_valid(header);
  return good ? Status::kOk : Status::kBadHeader;
}

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
  if (!chunk_valid(header, chunk, levels.size(), tables)) return Status::kBadArgument;
  if (out.size() < chunk_bound(header, chunk)) return Status::kBufferTooSmall;
  const uint64_t first = header.chunk_first(chunk);
  const auto values = levels.subspan(static_cast<size_t>(first), header.chunk_values(chunk));
  const ComponentTables segments = with_segments(tables, header);
  size_t used = 0;
  const Status status = encode_payload(header, values, first, segments, out, used);
  if (status != Status::kOk) return status;
  payload.bytes = out.first(used);
  payload.checksum = header.chunks() > 1 ? crc32c(payload.bytes) : 0;
  return Status::kOk;
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
  const auto payloads = bytes.subspan(payload_offset(header), header.payload);
  if (header.chunks() == 1) return {payloads, 0};
  const uint8_t* directory = bytes.data() + header.field_bytes;
  const DirectoryEntry entry = load_entry(directory, chunk);
  const size_t begin = chunk == 0 ? 0 : load_entry(directory, chunk - 1).end;
  return {payloads.subspan(begin, entry.end - begin), entry.checksum};
}

Status check_expected(const StreamHeader& header, const StreamHeader& expected) noexcept {
  if (header.coder != expected.coder) return Status::kBadCoder;
  if (header.components != expected.components || header.height != expected.height ||
      header.width != expected.width || header.classes != expected.classes) {
    return Status::kWrongShape;
  }
  return header.table_id == expected.table_id ? Status::kOk : Status::kWrongTables;
}

Status decode_chunk(const StreamHeader& header, std::span<const uint8_t> bytes,
                    const ComponentTables& tables, uint64_t chunk,
                    std::span<int16_t> levels) noexcept {
  if (!chunk_valid(header, chunk, levels.size(), tables)) return Status::kBadArgument;
  const ChunkPayload payload = find_chunk(header, bytes, chunk);
  if (header.chunks() > 1 && crc32c(payload.bytes) != payload.checksum) {
    return Status::kBadChunkChecksum;
  }
  const uint64_t first = header.chunk_first(chunk);
  const auto values = levels.subspan(static_cast<size_t>(first), header.chunk_values(chunk));
  const ComponentTables segments = with_segments(tables, header);
  return decode_payload(header, payload.bytes, first, segments, values);
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
    status = encode_chunks(header, levels, tables, out, payloads);
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
