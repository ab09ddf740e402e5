#pragma once

// What the coders' kernels share: batches of chunks, of which each is a task.
#include <cstdint>
#include <span>

#include "core/stream.h"
#include "core/stream_fields.h"
#include "cuda/kernel.h"
#include "cuda/streams.h"

namespace fmtc::cuda {

// A chunk's payload in its own work space.
struct Payload {
  uint64_t begin;  // in the space of all chunks
  uint32_t size;
  uint32_t checksum;  // where there are several chunks
  bool coded;         // false where a level has no code
};

// A batch that is encoded; all pointers as in streams.h.
struct Encoding {
  Coded coded;
  const int16_t* levels;
  uint8_t* space;     // [tasks, stride]
  uint64_t stride;    // chunk_bound of any chunk, a multiple of 8
  Payload* payloads;  // [tasks]

  FMTC_HD int64_t chunks() const { return static_cast<int64_t>(coded.header.chunks()); }
  FMTC_HD int64_t tasks() const { return coded.images * chunks(); }
};

// A batch that is decoded. Each image has shares(), which are a warp's each: share i has chunks
// i, i + shares(), ...
struct Decoding {
  Coded coded;
  const uint8_t* bytes;
  int64_t buffer;
  const int64_t* used;
  uint64_t* damage;  // [images, shares], written by each share for itself
  int16_t* levels;

  // Only the streams say how many chunks there are; here one is assumed for as few values as rANS
  // chunks with the fewest values a lane have. What is too much ends at once.
  FMTC_HD int64_t shares() const {
    return 1 + static_cast<int64_t>(coded.header.values() / (kWarpSize * kMinLaneValues));
  }
  FMTC_HD int64_t warps() const { return coded.images * shares(); }
};

// The tables with the segments of an image.
//   positions  of each class in the image
FMTC_HD inline ComponentTables tables_of(const Coded& coded, const uint64_t* positions) {
  ComponentTables tables = coded.tables;
  if (coded.header.classes > 1) tables.parts = {positions, coded.header.classes};
  return tables;
}

// The values of a chunk.
struct ChunkRange {
  uint64_t first;  // in the image
  size_t size;
};

FMTC_HD inline ChunkRange range_of(const StreamHeader& header, uint64_t chunk) {
  return {header.chunk_first(chunk), header.chunk_values(chunk)};
}

// Finds the table of one value after the other, near to each other.
class SegmentCursor {
 public:
  FMTC_HD SegmentCursor(const Coded& coded, const ComponentTables& tables, uint64_t index)
      : coded_(&coded), tables_(&tables) {
    segment_ = tables.segment_at(index, begin_);
    set_end();
  }

  // Goes to the segment of value `index`; returns its table.
  FMTC_HD size_t seek(uint64_t index) {
    while (index >= end_) {
      begin_ = end_;
      ++segment_;
      set_end();
    }
    while (index < begin_) {
      --segment_;
      end_ = begin_;
      begin_ -= tables_->segment_size(segment_);
    }
    return coded_->table_of(segment_);
  }
  // The first value behind the segment.
  FMTC_HD uint64_t end() const { return end_; }

 private:
  FMTC_HD void set_end() { end_ = begin_ + tables_->segment_size(segment_); }

  const Coded* coded_;
  const ComponentTables* tables_;
  uint64_t segment_ = 0;
  uint64_t begin_ = 0, end_ = 0;
};

// Each coder's chunks: payloads of all, and levels of all streams with their damage.
void encode_rans(Stream stream, const Encoding& encoding);
void decode_rans(Stream stream, const Decoding& decoding);
void encode_huffman(Stream stream, const Encoding& encoding);
void decode_huffman(Stream stream, const Decoding& decoding);
void encode_words(Stream stream, const Encoding& encoding);  // EBPC and DCT-CM
void decode_words(Stream stream, const Decoding& decoding);

}  // namespace fmtc::cuda
