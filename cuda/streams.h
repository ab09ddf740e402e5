#pragma once

// Batches of streams (core/stream.h, docs/stream_format.md): the same bytes as the core makes.
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/coding.h"
#include "core/stream.h"
#include "cuda/stream.h"

namespace fmtc::cuda {

// What encoding and decoding take. Pointers are to device memory, the spans of `tables` too; only
// what they point to is not checked yet, and is checked on the device.
struct Coded {
  StreamHeader header;     // of every image, as make_header gives it, but for `positions`
  ComponentTables tables;  // entries aligned to 4 bytes, table_of and base to 8
  int64_t images = 0;
  // With classes of positions, how many of each are in each image: [images, header.classes],
  // aligned to 8 bytes; read by encoding, written by decoding. Else null.
  uint64_t* positions = nullptr;
};

// Bytes of work space, aligned to 16, and of a buffer that any stream fits into.
size_t encode_space(const Coded& coded);
size_t decode_space(const Coded& coded);

// Streams of images.
//   levels  [images, header.values()], aligned to 2 bytes; with classes, their arrangements
//   space   encode_space(coded) bytes
//   bytes   [images, buffer], buffer >= stream_bound(header); zeros behind each stream
//   used    [images], aligned to 8: each stream's size, or -status where it could not be made
//           (kNoCode, kBadTable, kBadArgument for table_of, kTooLarge)
void encode_streams(Stream stream, const Coded& coded, const int16_t* levels, uint8_t* space,
                    uint8_t* bytes, int64_t buffer, int64_t* used);

// The inverse, of any bytes.
//   used    [images]: the sizes of the streams in `bytes` [images, buffer]
//   clears  whether levels are 0 where status is not kOk; else they are unspecified there
//   levels  [images, header.values()]
//   status  [images], aligned to 4
void decode_streams(Stream stream, const Coded& coded, const uint8_t* bytes, int64_t buffer,
                    const int64_t* used, uint8_t* space, bool clears, int16_t* levels,
                    int32_t* status);

}  // namespace fmtc::cuda
