#pragma once

// Batches of streams (core/stream.h, docs/stream_format.md): the same bytes as the core makes.
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/coding.h"
#include "core/device.h"
#include "core/stream.h"
#include "cuda/damage.h"
#include "cuda/stream.h"

namespace fmtc::cuda {

// What encoding and decoding take. Pointers are to device memory, the spans of `tables` too. What
// they point to was checked when tables were made (rans_tables, huffman_tables), and is not again:
// whatever it is, no other memory is touched, and only what is coded is undefined.
struct Coded {
  StreamHeader header;     // of every image, as make_header gives it, but for `positions`
  ComponentTables tables;  // entries aligned to 4 bytes, table_of and base to 8; with `map`, but
                           // not `parts`
  int64_t images = 0;
  // With classes of positions, how many of each are in each image: [images, header.classes],
  // aligned to 8 bytes; read by encoding, written by decoding. Else null.
  uint64_t* positions = nullptr;
  uint64_t last_table = 0;  // tables.count() - 1

  FMTC_HD const uint64_t* positions_of(int64_t image) const {
    return positions == nullptr ? nullptr : positions + image * header.classes;
  }
  // The table of a segment; what is none counts as the last.
  FMTC_HD size_t table_of(uint64_t segment) const {
    const auto table = static_cast<uint64_t>(tables.table_of[segment]);
    return static_cast<size_t>(table < last_table ? table : last_table);
  }
};

// Bytes of work space, aligned to 16, and of a buffer that any stream fits into.
size_t encode_space(const Coded& coded);
size_t decode_space(const Coded& coded);

// Streams of images.
//   levels  [images, header.values()], aligned to 2 bytes; with classes, their arrangements
//   space   encode_space(coded) bytes
//   bytes   [images, buffer], buffer >= stream_bound(header); zeros behind each stream
//   used    [images], aligned to 8: each stream's size, or -status where it could not be made
//           (kNoCode, kTooLarge)
void encode_streams(Stream stream, const Coded& coded, const int16_t* levels, uint8_t* space,
                    uint8_t* bytes, int64_t buffer, int64_t* used);

// The inverse, of any bytes; levels of damaged images are unspecified.
//   used    [images]: the sizes of the streams in `bytes` [images, buffer]
//   levels  [images, header.values()]
// Returns what is wrong with them, in `space`.
Damage decode_streams(Stream stream, const Coded& coded, const uint8_t* bytes, int64_t buffer,
                      const int64_t* used, uint8_t* space, int16_t* levels);

// Says it.
//   levels  as above: those of damaged images become 0
//   status  written: [images], aligned to 4
void tell_status(Stream stream, const Coded& coded, const Damage& damage, int16_t* levels,
                 int32_t* status);

}  // namespace fmtc::cuda
