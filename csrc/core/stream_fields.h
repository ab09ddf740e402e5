#pragma once

// The parts of the stream container (core/stream.h) but for checksums and payloads, for the core
// and for the CUDA kernels.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>

#include "core/bytes.h"
#include "core/dct_cm.h"
#include "core/ebpc.h"
#include "core/huffman.h"
#include "core/rans.h"
#include "core/stream.h"

namespace fmtc {

inline constexpr uint16_t kMagic = 0x6D66;  // "fm"
inline constexpr uint8_t kCoderMask = 7;
inline constexpr uint8_t kCropFlag = 8;
inline constexpr int kLanesShift = 4;
inline constexpr uint8_t kLanesMask = 7;
inline constexpr uint8_t kClassesFlag = 0x80;
inline constexpr int kMinLog2Chunk = 8;
inline constexpr int kMaxLog2Chunk = kMinLog2Chunk + 15;
inline constexpr int kMaxVarintBytes = 5;

FMTC_HD inline bool coder_known(Coder coder) noexcept {
  return coder >= Coder::kHuffman && coder <= Coder::kDctCm;
}

FMTC_HD inline size_t smallest_payload(const StreamHeader& header, uint64_t chunk) noexcept {
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

FMTC_HD inline int max_lanes(Coder coder) noexcept {
  if (coder == Coder::kHuffman) return kMaxSubstreams;
  return coder == Coder::kRans ? kMaxStates : 1;
}

// ---------------------------------------------------------------------------------------------
// Fields

FMTC_HD inline size_t store_varint(uint8_t* to, uint32_t value) noexcept {
  size_t size = 0;
  for (; value >= 0x80; value >>= 7) to[size++] = static_cast<uint8_t>(value | 0x80);
  to[size++] = static_cast<uint8_t>(value);
  return size;
}

// Writes the fields of a stream with `payload` bytes of payloads; returns how many bytes they are.
FMTC_HD inline size_t store_fields(const StreamHeader& header, uint32_t payload,
                                   uint8_t* to) noexcept {
  const bool crop = header.crop_h != 0 || header.crop_w != 0;
  store_le(to, kMagic);
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
  FMTC_HD explicit FieldReader(std::span<const uint8_t> bytes) noexcept : bytes_(bytes) {}

  FMTC_HD Status status() const noexcept { return status_; }
  FMTC_HD size_t position() const noexcept { return position_; }

  FMTC_HD uint8_t byte() noexcept {
    if (status_ == Status::kOk && position_ == bytes_.size()) status_ = Status::kTruncated;
    return status_ == Status::kOk ? bytes_[position_++] : uint8_t{0};
  }

  // 7 bits a byte, the lowest first; the highest bit says that another byte follows.
  FMTC_HD uint32_t varint() noexcept {
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

  FMTC_HD void fail(Status status) noexcept {
    if (status_ == Status::kOk) status_ = status;
  }

 private:
  std::span<const uint8_t> bytes_;
  size_t position_ = 0;
  Status status_ = Status::kOk;
};

// K * H * W <= kMaxValues, without overflow on the way; with classes there are positions, and their
// numbers fit into 32 bits.
FMTC_HD inline bool size_valid(const StreamHeader& header) noexcept {
  const uint64_t plane = header.plane();
  if (header.classes == 1) return plane == 0 || header.components <= kMaxValues / plane;
  const bool tables = header.coder == Coder::kHuffman || header.coder == Coder::kRans;
  return tables && header.classes >= kMinPositionClasses && header.classes <= kMaxPositionClasses &&
         plane > 0 && plane <= std::numeric_limits<uint32_t>::max() && header.components > 0 &&
         header.components <= kMaxValues / plane;
}

// Reads how many positions each class has; the last one has the rest.
FMTC_HD inline void load_classes(FieldReader& reader, StreamHeader& header) noexcept {
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

// check_shape of core/stream.h.
FMTC_HD inline Status shape_status(const StreamHeader& header) noexcept {
  const bool good = coder_known(header.coder) && header.log2_chunk >= kMinLog2Chunk &&
                    header.log2_chunk <= kMaxLog2Chunk && header.log2_lanes < 8 &&
                    header.lanes() <= max_lanes(header.coder) && size_valid(header);
  return good ? Status::kOk : Status::kBadHeader;
}

FMTC_HD inline Status load_fields(std::span<const uint8_t> bytes, StreamHeader& header) noexcept {
  FieldReader reader(bytes);
  for (int i = 0; i < 2; ++i) {
    if (reader.byte() != (kMagic >> 8 * i & 0xFF)) reader.fail(Status::kBadMagic);
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
  return reader.status() == Status::kOk ? shape_status(header) : reader.status();
}

// ---------------------------------------------------------------------------------------------
// Directory

struct DirectoryEntry {
  uint32_t end;
  uint32_t checksum;
};

FMTC_HD inline DirectoryEntry load_entry(const uint8_t* directory, uint64_t chunk) noexcept {
  const uint8_t* entry = directory + static_cast<size_t>(chunk) * kDirectoryEntryBytes;
  return {load_le<uint32_t>(entry), load_le<uint32_t>(entry + 4)};
}

FMTC_HD inline void store_entry(uint8_t* directory, uint64_t chunk, DirectoryEntry entry) noexcept {
  uint8_t* to = directory + static_cast<size_t>(chunk) * kDirectoryEntryBytes;
  store_le(to, entry.end);
  store_le(to + 4, entry.checksum);
}

// A stream of one chunk has none: its payload is all that follows the checksum.
FMTC_HD inline size_t directory_bytes(const StreamHeader& header) noexcept {
  return header.chunks() > 1 ? static_cast<size_t>(header.chunks()) * kDirectoryEntryBytes : 0;
}

// What precedes the payloads: fields, directory, checksum.
FMTC_HD inline size_t payload_offset(const StreamHeader& header) noexcept {
  return header.field_bytes + directory_bytes(header) + kChecksumBytes;
}

// find_chunk of core/stream.h.
FMTC_HD inline ChunkPayload chunk_of(const StreamHeader& header, std::span<const uint8_t> bytes,
                                     uint64_t chunk) noexcept {
  const auto payloads = bytes.subspan(payload_offset(header), header.payload);
  if (header.chunks() == 1) return {payloads, 0};
  const uint8_t* directory = bytes.data() + header.field_bytes;
  const DirectoryEntry entry = load_entry(directory, chunk);
  const size_t begin = chunk == 0 ? 0 : load_entry(directory, chunk - 1).end;
  return {payloads.subspan(begin, entry.end - begin), entry.checksum};
}

// check_expected of core/stream.h.
FMTC_HD inline Status compare(const StreamHeader& header, const StreamHeader& expected) noexcept {
  if (header.coder != expected.coder) return Status::kBadCoder;
  if (header.components != expected.components || header.height != expected.height ||
      header.width != expected.width || header.classes != expected.classes) {
    return Status::kWrongShape;
  }
  return header.table_id == expected.table_id ? Status::kOk : Status::kWrongTables;
}

}  // namespace fmtc
