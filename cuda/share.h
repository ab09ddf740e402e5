#pragma once

// A warp's share of a stream that is decoded (cuda/chunks.h): what is checked before its chunks
// are. No warp waits for another: each reads the fields itself and only believes of sizes what it
// sees to be inside of the stream, and the first share checks the whole, as core/stream.h does.
#include <cstdint>
#include <span>

#include "core/stream.h"
#include "core/stream_fields.h"
#include "cuda/checksum.h"
#include "cuda/chunks.h"
#include "cuda/damage.h"
#include "cuda/kernel.h"

namespace fmtc::cuda {

using WarpChecksum = Checksum<kWarpSize>;

// In shared memory, as registers are few and it is hardly ever needed.
struct Share {
  int64_t image;
  uint64_t number;
  std::span<const uint8_t> bytes;  // the stream
  StreamHeader header;
  Status status;  // of the fields
  // The chunk that is decoded.
  uint64_t chunk;
  std::span<const uint8_t> payload;

  FMTC_DEVICE void tell(const Decoding& decoding, uint64_t damage) const {
    decoding.damage[image * decoding.shares() + static_cast<int64_t>(number)] = damage;
  }
};

// Reads the fields of the stream; whether there is something to do. By a warp.
FMTC_DEVICE inline bool open(const Thread& thread, const Decoding& decoding, int64_t image,
                             uint64_t number, Share& share) {
  if (thread.warp_rank() == 0) {
    const int64_t used = decoding.used[image];
    const bool inside = used >= 0 && used <= decoding.buffer;
    share.image = image;
    share.number = share.chunk = number;
    share.bytes = {decoding.bytes + image * decoding.buffer,
                   static_cast<size_t>(inside ? used : 0)};
    share.header = StreamHeader();
    share.status = inside ? load_fields(share.bytes, share.header) : Status::kBadArgument;
    share.tell(decoding, kNoDamage);
  }
  thread.sync_warp();
  return number == 0 || (share.status == Status::kOk && number < share.header.chunks());
}

// Where a chunk's payload ends, behind the directory.
FMTC_DEVICE inline uint64_t end_of(const Share& share, uint64_t chunk) {
  return share.header.chunks() > 1
             ? load_entry(share.bytes.data() + share.header.field_bytes, chunk).end
             : share.header.payload;
}

// Whether a chunk's payload lies behind the one before and is not too short for its values.
FMTC_DEVICE inline bool in_order(const Share& share, uint64_t chunk) {
  const uint64_t begin = chunk == 0 ? 0 : end_of(share, chunk - 1);
  return begin + smallest_payload(share.header, chunk) <= end_of(share, chunk);
}

// What read_header and the end of the bytes are checked for in core/stream.h, in its order.
FMTC_DEVICE inline Status check_whole(const Thread& thread, const Share& share,
                                      const WarpChecksum& checksum_of) {
  const StreamHeader& header = share.header;
  const uint8_t* const bytes = share.bytes.data();
  const uint64_t size = share.bytes.size(), payloads = payload_offset(header);
  const bool directory = header.chunks() > 1;
  if (size < payloads + (directory ? 0 : header.payload)) return Status::kTruncated;
  uint32_t checksum = checksum_of(thread, bytes, payloads - kChecksumBytes);
  if (!directory) checksum = checksum_of(thread, bytes + payloads, header.payload, checksum);
  if (load_le<uint32_t>(bytes + payloads - kChecksumBytes) != checksum) {
    return Status::kBadChecksum;
  }
  bool good = true;
  for (uint64_t i = thread.warp_rank(); i < header.chunks(); i += kWarpSize) {
    good = good && in_order(share, i);
  }
  const uint64_t end = header.chunks() == 0 ? 0 : end_of(share, header.chunks() - 1);
  if (thread.ballot(!good || end != header.payload) != 0) return Status::kBadDirectory;
  if (size - payloads < header.payload) return Status::kTruncated;
  return size == payloads + header.payload ? Status::kOk : Status::kTrailingBytes;
}

// Whether the chunks of a share may be looked at; else the first share says why. By a warp.
FMTC_DEVICE inline bool check(const Thread& thread, const Decoding& decoding, Share& share,
                              const WarpChecksum& checksum_of) {
  Status status = share.status;
  if (status == Status::kOk && share.number == 0) {
    status = check_whole(thread, share, checksum_of);
  } else if (status == Status::kOk &&
             share.bytes.size() < payload_offset(share.header) + share.header.payload) {
    status = Status::kTruncated;
  }
  if (status == Status::kOk) status = compare(share.header, decoding.coded.header);
  if (thread.warp_rank() == 0 && share.number == 0) {
    if (status != Status::kOk) share.tell(decoding, damage_of_stream(status));
    const int classes = decoding.coded.header.classes;
    for (int c = 0; classes > 1 && c < classes; ++c) {
      decoding.coded.positions[share.image * classes + c] = share.header.positions[c];
    }
  }
  return status == Status::kOk;
}

// Finds the payload of a chunk, and whether it is damaged. By a warp.
FMTC_DEVICE inline Status find_payload(const Thread& thread, const Share& share, uint64_t chunk,
                                       const WarpChecksum& checksum_of,
                                       std::span<const uint8_t>& payload) {
  if (!in_order(share, chunk) || end_of(share, chunk) > share.header.payload) {
    return Status::kBadDirectory;
  }
  const ChunkPayload found = chunk_of(share.header, share.bytes, chunk);
  payload = found.bytes;
  if (share.header.chunks() == 1) return Status::kOk;  // the stream's checksum was its own
  const uint32_t checksum = checksum_of(thread, payload.data(), payload.size());
  return checksum == found.checksum ? Status::kOk : Status::kBadChunkChecksum;
}

// Decodes a share's chunks up to the first that is damaged, where decode() gives the same status of
// share.chunk in all threads of the warp.
template <typename Decode>
FMTC_DEVICE void decode_share(const Thread& thread, const Decoding& decoding, Share& share,
                              const WarpChecksum& checksum_of, const Decode& decode) {
  if (!check(thread, decoding, share, checksum_of)) return;
  while (share.chunk < share.header.chunks()) {
    std::span<const uint8_t> payload;
    Status status = find_payload(thread, share, share.chunk, checksum_of, payload);
    if (thread.warp_rank() == 0) share.payload = payload;
    thread.sync_warp();
    if (status == Status::kOk) status = decode();
    if (status != Status::kOk) {
      if (thread.warp_rank() == 0) share.tell(decoding, damage_of_chunk(share.chunk, status));
      return;
    }
    thread.sync_warp();
    if (thread.warp_rank() == 0) share.chunk += static_cast<uint64_t>(decoding.shares());
    thread.sync_warp();
  }
}

}  // namespace fmtc::cuda
