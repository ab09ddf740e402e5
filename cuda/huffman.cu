// Huffman chunks. Encoding: a thread block for each, whose warps take turns with the sub-streams,
// 32 codes at a time. Decoding: a thread for each sub-stream, those of several chunks in a warp.
#include <array>

#include "core/bytes.h"
#include "core/huffman_value.h"
#include "cuda/chunks.h"
#include "cuda/reduce.h"
#include "cuda/share.h"

namespace fmtc::cuda {
namespace {

constexpr int kWarps = 4;  // of a thread block that encodes: the sub-streams of a chunk by default

// Puts what the threads of a warp give one behind the other into a string of bits, the lowest bit
// first, as core/bitstream.h does.
class WarpBitWriter {
 public:
  // 32 codes of 15 bits, behind 7 bits left from those before; 32 bits more, as a code may begin
  // in the last.
  static constexpr uint32_t kBuffer = 17;

  // shared: kBuffer numbers of this warp
  FMTC_DEVICE WarpBitWriter(uint8_t* out, uint32_t* shared) : out_(out), buffer_(shared) {}

  // bits: below 2^length;  length: 0..15, 0 for threads that have nothing
  FMTC_DEVICE void put(const Thread& thread, uint32_t bits, uint32_t length) {
    if (thread.warp_rank() < kBuffer)
      buffer_[thread.warp_rank()] = thread.warp_rank() == 0 ? left_ : 0;
    thread.sync_warp();
    const uint32_t end = filled_ + sum_up_to_thread(thread, length);
    if (length > 0) {
      const uint32_t begin = end - length;
      const uint64_t placed = uint64_t{bits} << begin % 32;
      or_to(buffer_ + begin / 32, static_cast<uint32_t>(placed));
      if (placed >> 32 != 0) or_to(buffer_ + begin / 32 + 1, static_cast<uint32_t>(placed >> 32));
    }
    thread.sync_warp();
    filled_ = thread.shuffle(end, kWarpSize - 1);
    const uint32_t whole = filled_ / 8;
    for (uint32_t i = thread.warp_rank(); i < whole; i += kWarpSize) out_[i] = byte(i);
    left_ = byte(whole);
    out_ += whole;
    filled_ %= 8;
    thread.sync_warp();
  }

  FMTC_DEVICE void finish(const Thread& thread) const {
    if (filled_ > 0 && thread.warp_rank() == 0) *out_ = static_cast<uint8_t>(left_);
  }

 private:
  FMTC_DEVICE uint8_t byte(uint32_t i) const {
    return static_cast<uint8_t>(buffer_[i / 4] >> 8 * (i % 4));
  }

  uint8_t* out_;
  uint32_t* buffer_;
  uint32_t left_ = 0;    // bits that are no byte yet,
  uint32_t filled_ = 0;  // and how many
};

struct EncodeHuffman {
  static constexpr uint32_t kThreads = kWarps * kWarpSize;
  Encoding encoding;

  struct Shared {
    uint32_t sizes[kMaxSubstreams];
    uint32_t bits[kWarps][WarpBitWriter::kBuffer];
    uint32_t checksum[Checksum<kThreads>::kSpace];
  };

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t chunks = encoding.chunks();
    const int64_t image = thread.thread_block() / chunks;
    const StreamHeader& header = encoding.coded.header;
    const ChunkRange range = range_of(header, thread.thread_block() % chunks);
    const int substreams = header.lanes();
    const auto warp = static_cast<int>(thread.warp());
    const int16_t* levels = encoding.levels + static_cast<uint64_t>(image) * header.values();
    Payload& payload = encoding.payloads[thread.thread_block()];
    Shared& shared = *thread.shared<Shared>();

    bool uncoded = false;
    for (int i = warp; i < substreams; i += kWarps) {
      uint32_t bits = 0;
      for_each_entry(thread, levels, range, Substream(range.size, substreams, i),
                     [&](uint32_t entry, bool active) {
                       uncoded = uncoded || (active && entry == 0);
                       bits += static_cast<uint32_t>(encode_length(entry));
                     });
      bits = sum_of_warp(thread, bits);
      if (thread.warp_rank() == 0) shared.sizes[i] = (bits + 7) / 8;
    }
    if (thread.sync_or(uncoded)) {
      if (thread.rank() == 0) payload = {0, 0, 0, false};
      return;
    }

    const uint64_t begin = thread.thread_block() * encoding.stride;
    uint8_t* const out = encoding.space + begin;
    auto size = static_cast<uint32_t>(kSubstreamSizeBytes) * static_cast<uint32_t>(substreams - 1);
    for (int i = 0; i < substreams; ++i) {
      if (i % kWarps == warp) {
        if (thread.warp_rank() == 0 && i + 1 < substreams) {
          store_le(out + kSubstreamSizeBytes * static_cast<size_t>(i), shared.sizes[i]);
        }
        WarpBitWriter writer(out + size, shared.bits[warp]);
        for_each_entry(thread, levels, range, Substream(range.size, substreams, i),
                       [&](uint32_t entry, bool) {
                         const auto length = static_cast<uint32_t>(encode_length(entry));
                         writer.put(thread, entry & ((1u << length) - 1), length);
                       });
        writer.finish(thread);
      }
      size += shared.sizes[i];
    }
    uint32_t checksum = 0;
    if (chunks > 1) {
      const Checksum<kThreads> checksum_of(thread, shared.checksum);
      checksum = checksum_of(thread, out, size);
    }
    if (thread.rank() == 0) payload = {begin, size, checksum, true};
  }

  // Calls visit(entry, active) in all threads for 32 values of a sub-stream at a time; the entry is
  // 0 where there is no value, or none with a code.
  //   levels  of the image
  template <typename Visit>
  FMTC_DEVICE void for_each_entry(const Thread& thread, const int16_t* levels,
                                  const ChunkRange& chunk, const Substream& part,
                                  const Visit& visit) const {
    if (part.size == 0) return;
    const ComponentTables& tables = encoding.coded.tables;
    const uint64_t first = chunk.first + part.first;
    SegmentCursor segment(encoding.coded, tables, first);
    for (size_t begin = 0; begin < part.size; begin += kWarpSize) {
      const size_t i = begin + thread.warp_rank();
      const bool active = i < part.size;
      uint32_t entry = 0;
      if (active) {
        const size_t table = segment.seek(first + i);
        const auto symbol = static_cast<uint32_t>(levels[first + i] - tables.lo);
        if (symbol < tables.width) entry = tables.entries[table * tables.width + symbol];
      }
      visit(entry, active);
    }
  }
};

// A warp works on as many chunks at a time as it has threads for their sub-streams.
struct DecodeHuffman {
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
    if (!check(thread, decoding, share, checksum_of)) return;
    const StreamHeader& header = share.header;
    const auto substreams = static_cast<uint32_t>(header.lanes());
    const uint32_t together = kWarpSize / substreams;
    const uint64_t step = static_cast<uint64_t>(decoding.shares()) * together;
    for (uint64_t first = share.number * together; first < header.chunks(); first += step) {
      const uint32_t own = thread.warp_rank() / substreams;
      const uint64_t left = header.chunks() - first;
      std::span<const uint8_t> payload;
      Status status = Status::kOk;
      for (uint32_t i = 0; i < together && i < left; ++i) {
        std::span<const uint8_t> found;
        const Status of_chunk = find_payload(thread, share, first + i, checksum_of, found);
        if (i != own) continue;
        payload = found;
        status = of_chunk;
      }
      if (own < left && status == Status::kOk) {
        const auto index = static_cast<int>(thread.warp_rank() % substreams);
        if (!decode(share, first + own, payload, index)) status = Status::kBadCode;
      }
      const uint32_t damaged = thread.ballot(status != Status::kOk);
      if (damaged == 0) continue;
      const uint32_t up_to_here = (2u << thread.warp_rank()) - 1;
      if ((damaged & up_to_here) == 1u << thread.warp_rank()) {
        share.tell(decoding, damage_of_chunk(first + own, status));
      }
      return;
    }
  }

  FMTC_DEVICE bool decode(const Share& share, uint64_t chunk, std::span<const uint8_t> payload,
                          int index) const {
    const int substreams = share.header.lanes();
    std::span<const uint8_t> bits;
    if (!find_part(payload, substreams, index, bits)) return false;
    const Coded& coded = decoding.coded;
    const ChunkRange range = range_of(share.header, chunk);
    const Substream part(range.size, substreams, index);
    BitReader reader(bits);
    uint64_t i = range.first + part.first;
    const uint64_t end = i + part.size;
    if (part.size > 0) {
      SegmentCursor segment(coded, coded.tables, i);
      int16_t* const levels =
          decoding.levels + static_cast<uint64_t>(share.image) * share.header.values();
      while (i < end) {
        const size_t table = segment.seek(i);
        const uint64_t run = std::min(end, segment.end());
        if (!decode_levels(reader, coded.tables.lo,
                           coded.tables.entries.data() + table * coded.tables.width,
                           coded.tables.width - 1, levels + i, static_cast<size_t>(run - i))) {
          return false;
        }
        i = run;
      }
    }
    return reader.at_end();
  }
};

}  // namespace

void encode_huffman(Stream stream, const Encoding& encoding) {
  launch(stream, encoding.tasks(), EncodeHuffman{encoding}, sizeof(EncodeHuffman::Shared));
}

void decode_huffman(Stream stream, const Decoding& decoding) {
  launch(stream, decoding.warps(), DecodeHuffman{decoding}, sizeof(DecodeHuffman::Shared));
}

}  // namespace fmtc::cuda
