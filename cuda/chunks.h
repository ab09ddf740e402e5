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
  uint32_t checksum;
};

// A batch that is encoded; all pointers as in streams.h.
struct Encoding {
  Coded coded;
  const int16_t* levels;
  uint8_t* space;     // [tasks, stride]
  uint64_t stride;    // chunk_bound of any chunk, a multiple of 8
  Payload* payloads;  // [tasks]
  int32_t* status;    // [images], and behind them what is wrong with the tables

  FMTC_HD int64_t chunks() const { return static_cast<int64_t>(coded.header.chunks()); }
  FMTC_HD int64_t tasks() const { return coded.images * chunks(); }
  // Whether coding an image failed; its payloads are then undefined.
  FMTC_HD bool failed(int64_t image) const {
    return status[coded.images] != 0 || status[image] != 0;
  }
};

// A stream that is decoded.
struct Opened {
  StreamHeader header;
  Status status;
};

struct Decoding {
  Coded coded;
  const uint8_t* bytes;
  int64_t buffer;
  const int64_t* used;
  Opened* opened;     // [images]
  uint64_t* damaged;  // [images]: the first damaged chunk << 8 | its status
  int32_t* tables;    // [1]: what is wrong with the tables
  int16_t* levels;

  // Chunks of an image, or thread blocks for it. Only the streams say how many chunks there are;
  // here one is assumed for as few values as rANS chunks with the fewest values a lane have. What
  // is too much ends at once.
  FMTC_HD int64_t thread_blocks() const {
    return 1 + static_cast<int64_t>(coded.header.values() / (kWarpSize * kMinLaneValues));
  }
};

// The tables with the segments of an image.
FMTC_HD inline ComponentTables tables_of(const Coded& coded, int64_t image) {
  ComponentTables tables = coded.tables;
  if (coded.header.classes > 1) {
    tables.map = coded.header.layout().map_size();
    tables.parts = {coded.positions + image * coded.header.classes, coded.header.classes};
  }
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
  FMTC_HD SegmentCursor(const ComponentTables& tables, uint64_t index) : tables_(&tables) {
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
    return static_cast<size_t>(tables_->table_of[segment_]);
  }

 private:
  FMTC_HD void set_end() { end_ = begin_ + tables_->segment_size(segment_); }

  const ComponentTables* tables_;
  uint64_t segment_ = 0;
  uint64_t begin_ = 0, end_ = 0;
};

// The image that a thread block works on, and which of the image's thread blocks it is.
struct OfImage {
  FMTC_DEVICE OfImage(const Thread& thread, const Decoding& decoding)
      : thread_blocks(static_cast<uint64_t>(thread.thread_blocks()) /
                      static_cast<uint64_t>(decoding.coded.images)),
        thread_block(static_cast<uint64_t>(thread.thread_block()) % thread_blocks),
        image(static_cast<int64_t>(static_cast<uint64_t>(thread.thread_block()) / thread_blocks)),
        opened(decoding.opened + image) {
    if (opened->status != Status::kOk) return;
    bytes = {decoding.bytes + image * decoding.buffer, static_cast<size_t>(decoding.used[image])};
  }

  uint64_t thread_blocks, thread_block;
  int64_t image;
  const Opened* opened;
  std::span<const uint8_t> bytes;  // where the stream could be opened
};

// Calls body(image, chunk, header, payload) for this thread block's chunks of a stream that could
// be opened.
template <typename Body>
FMTC_DEVICE void for_each_chunk(const Thread& thread, const Decoding& decoding, const Body& body) {
  const OfImage of(thread, decoding);
  if (of.opened->status != Status::kOk) return;
  const StreamHeader& header = of.opened->header;
  for (uint64_t chunk = of.thread_block; chunk < header.chunks(); chunk += of.thread_blocks) {
    body(of.image, chunk, header, chunk_of(header, of.bytes, chunk));
  }
}

FMTC_DEVICE inline void report(const Decoding& decoding, int64_t image, uint64_t chunk,
                               Status status) {
  lower_to(decoding.damaged + image, chunk << 8 | static_cast<uint64_t>(status));
}

// Each coder's chunks: payloads of all, and levels of all chunks of opened streams.
void encode_rans(Stream stream, const Encoding& encoding);
void decode_rans(Stream stream, const Decoding& decoding);
void encode_huffman(Stream stream, const Encoding& encoding);
void decode_huffman(Stream stream, const Decoding& decoding);
void encode_words(Stream stream, const Encoding& encoding);  // EBPC and DCT-CM
void decode_words(Stream stream, const Decoding& decoding);

}  // namespace fmtc::cuda
