// Chunks of EBPC and DCT-CM, which code words of a fixed width, a thread each.
#include "core/dct_cm_bits.h"
#include "core/ebpc_bits.h"
#include "cuda/chunks.h"

namespace fmtc::cuda {
namespace {

FMTC_DEVICE Status encode_chunk(Coder coder, std::span<const int16_t> levels, Words words,
                                std::span<uint8_t> out, size_t& used) {
  return coder == Coder::kEbpc ? ebpc::encode(levels, words, out, used)
                               : dct_cm::encode(levels, words, out, used);
}

struct EncodeWords {
  static constexpr uint32_t kThreads = kWarpSize;
  Encoding encoding;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const StreamHeader& header = encoding.coded.header;
    grid_stride(thread, encoding.tasks(), [&](int64_t task) {
      const int64_t image = task / encoding.chunks();
      const ChunkRange range = range_of(header, static_cast<uint64_t>(task % encoding.chunks()));
      const uint64_t begin = static_cast<uint64_t>(task) * encoding.stride;
      size_t used = 0;
      const Status status = encode_chunk(
          header.coder,
          {encoding.levels + static_cast<uint64_t>(image) * header.values() + range.first,
           range.size},
          Words(encoding.coded.tables),
          {encoding.space + begin, static_cast<size_t>(encoding.stride)}, used);
      if (status != Status::kOk) encoding.status[image] = static_cast<int32_t>(status);
      encoding.payloads[task] = {begin, static_cast<uint32_t>(used), 0};
    });
  }
};

struct DecodeWords {
  static constexpr uint32_t kThreads = 1;
  Decoding decoding;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    for_each_chunk(
        thread, decoding,
        [&](int64_t image, uint64_t chunk, const StreamHeader& header,
            const ChunkPayload& payload) {
          const ChunkRange range = range_of(header, chunk);
          const std::span<int16_t> levels(
              decoding.levels + static_cast<uint64_t>(image) * header.values() + range.first,
              range.size);
          const Words words(decoding.coded.tables);
          const Status status = header.coder == Coder::kEbpc
                                    ? ebpc::decode(payload.bytes, words, levels)
                                    : dct_cm::decode(payload.bytes, words, levels);
          if (status != Status::kOk) report(decoding, image, chunk, status);
        });
  }
};

}  // namespace

void encode_words(Stream stream, const Encoding& encoding) {
  launch(stream, thread_blocks_for(encoding.tasks(), EncodeWords::kThreads), EncodeWords{encoding});
}

void decode_words(Stream stream, const Decoding& decoding) {
  launch(stream, decoding.coded.images * decoding.thread_blocks(), DecodeWords{decoding});
}

}  // namespace fmtc::cuda
