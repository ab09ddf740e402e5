// Chunks of EBPC and DCT-CM, which code words of a fixed width, a thread each.
#include "core/dct_cm_bits.h"
#include "core/ebpc_bits.h"
#include "cuda/chunks.h"
#include "cuda/share.h"

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
    const WarpChecksum checksum_of(thread, thread.shared<uint32_t>());
    const int64_t tasks = encoding.tasks(), step = int64_t{thread.thread_blocks()} * kThreads;
    for (int64_t first = int64_t{thread.thread_block()} * kThreads; first < tasks; first += step) {
      if (first + thread.rank() < tasks) encode(first + thread.rank());
      thread.sync_warp();
      if (encoding.chunks() < 2) continue;
      for (int64_t task = first; task < tasks && task < first + kThreads; ++task) {
        Payload& payload = encoding.payloads[task];
        const uint32_t checksum = checksum_of(thread, encoding.space + payload.begin, payload.size);
        if (thread.rank() == 0) payload.checksum = checksum;
      }
    }
  }

 private:
  FMTC_DEVICE void encode(int64_t task) const {
    const StreamHeader& header = encoding.coded.header;
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
    encoding.payloads[task] = {begin, static_cast<uint32_t>(used), 0, status == Status::kOk};
  }
};

// A warp for each share, of which one thread decodes.
struct DecodeWords {
  static constexpr uint32_t kThreads = kWarpSize;
  Decoding decoding;

  struct Shared {
    uint32_t checksum[WarpChecksum::kSpace];
    Share share;
  };

  FMTC_DEVICE void operator()(const Thread& thread) const {
    Shared& shared = *thread.shared<Shared>();
    Share& share = shared.share;
    const int64_t number = thread.thread_block() / decoding.coded.images;
    const int64_t image = thread.thread_block() % decoding.coded.images;
    if (!open(thread, decoding, image, static_cast<uint64_t>(number), share)) return;
    const WarpChecksum checksum_of(thread, shared.checksum);
    decode_share(thread, decoding, share, checksum_of, [&] {
      const Status status = thread.rank() == 0 ? decode(share) : Status::kOk;
      return static_cast<Status>(thread.shuffle(static_cast<uint32_t>(status), 0));
    });
  }

 private:
  FMTC_DEVICE Status decode(const Share& share) const {
    const ChunkRange range = range_of(share.header, share.chunk);
    const uint64_t first = static_cast<uint64_t>(share.image) * share.header.values() + range.first;
    const std::span<int16_t> levels(decoding.levels + first, range.size);
    const Words words(decoding.coded.tables);
    return share.header.coder == Coder::kEbpc ? ebpc::decode(share.payload, words, levels)
                                              : dct_cm::decode(share.payload, words, levels);
  }
};

}  // namespace

void encode_words(Stream stream, const Encoding& encoding) {
  launch(stream, thread_blocks_for(encoding.tasks(), EncodeWords::kThreads), EncodeWords{encoding},
         WarpChecksum::kSpace * sizeof(uint32_t));
}

void decode_words(Stream stream, const Decoding& decoding) {
  launch(stream, decoding.warps(), DecodeWords{decoding}, sizeof(DecodeWords::Shared));
}

}  // namespace fmtc::cuda
