#include <algorithm>

#include "core/bytes.h"
#include "cuda/checksum.h"
#include "cuda/chunks.h"
#include "cuda/damage_status.h"
#include "cuda/reduce.h"
#include "cuda/streams.h"

namespace fmtc::cuda {
namespace {

constexpr uint64_t kAlignment = 16;

// Takes arrays one behind the other from a work space; with a null space, only measures.
class Space {
 public:
  explicit Space(uint8_t* begin) : begin_(begin) {}

  template <typename T>
  T* take(uint64_t count) {
    T* array = begin_ == nullptr ? nullptr : reinterpret_cast<T*>(begin_ + size_);
    size_ += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
    return array;
  }
  size_t size() const { return static_cast<size_t>(size_); }

 private:
  uint8_t* begin_;
  uint64_t size_ = 0;
};

// ---------------------------------------------------------------------------------------------
// Encoding

// Makes streams of payloads, with zeros behind them: `parts` thread blocks for each, which have
// their share of its chunks. The first one also writes what precedes the payloads.
struct WriteStreams {
  static constexpr uint32_t kThreads = 256;
  Encoding encoding;
  uint8_t* bytes;
  int64_t buffer;
  int64_t* used;
  uint32_t parts;

  struct Shared {
    uint32_t checksum[Checksum<kThreads>::kSpace];
    uint64_t before, total;  // bytes of the payloads before this share, and of all
    Status status;
    uint8_t fields[kMaxFieldBytes];
    StreamHeader header;
  };

  FMTC_DEVICE void operator()(const Thread& thread) const {
    Shared& shared = *thread.shared<Shared>();
    const int64_t image = thread.thread_block() / parts;
    const uint32_t part = thread.thread_block() % parts;
    const int64_t first = encoding.chunks() * part / parts;
    const int64_t last = encoding.chunks() * (part + 1) / parts;
    if (thread.warp() == 0) prepare(thread, image, first, shared);
    thread.sync();
    uint8_t* const out = bytes + image * buffer;
    int64_t end = 0;
    if (shared.status == Status::kOk) {
      if (part == 0) write_header(thread, image, out, shared);
      const uint64_t payloads = payload_offset(shared.header);
      uint64_t place = payloads + shared.before;
      for (int64_t chunk = first; chunk < last; ++chunk) {
        const Payload& payload = payload_of(image, chunk);
        copy(thread, encoding.space + payload.begin, payload.size, out + place);
        place += payload.size;
      }
      end = static_cast<int64_t>(payloads + shared.total);
    }
    if (part == 0 && thread.rank() == 0) {
      used[image] = shared.status == Status::kOk ? end : -static_cast<int64_t>(shared.status);
    }
    const int64_t share = (buffer - end) / parts + 1, from = end + part * share;
    const int64_t to = from + share < buffer ? from + share : buffer;
    if (from < to) clear_bytes(thread, out + from, out + to);
  }

 private:
  FMTC_DEVICE const Payload& payload_of(int64_t image, int64_t chunk) const {
    return encoding.payloads[image * encoding.chunks() + chunk];
  }

  // Calls visit(chunk, payload, bytes up to its end) for all chunks of an image, each in a thread
  // of the warp; returns the bytes of all.
  template <typename Visit>
  FMTC_DEVICE uint64_t for_each_payload(const Thread& thread, int64_t image,
                                        const Visit& visit) const {
    uint64_t sum = 0;
    for (int64_t begin = 0; begin < encoding.chunks(); begin += kWarpSize) {
      const int64_t chunk = begin + thread.warp_rank();
      const bool active = chunk < encoding.chunks();
      const uint64_t size = active ? payload_of(image, chunk).size : 0;
      const uint64_t end = sum + sum_up_to_thread(thread, size);
      if (active) visit(chunk, payload_of(image, chunk), end);
      sum = thread.shuffle(end, kWarpSize - 1);
    }
    return sum;
  }

  // Where the payloads from chunk `first` on go, and the fields; by a warp.
  FMTC_DEVICE void prepare(const Thread& thread, int64_t image, int64_t first,
                           Shared& shared) const {
    if (thread.warp_rank() == 0) shared.before = 0;
    thread.sync_warp();
    bool coded = true;
    const uint64_t total =
        for_each_payload(thread, image, [&](int64_t chunk, const Payload& payload, uint64_t end) {
          if (chunk + 1 == first) shared.before = end;
          coded = coded && payload.coded;
        });
    const bool all_coded = thread.ballot(!coded) == 0;
    if (thread.warp_rank() != 0) return;
    shared.total = total;
    shared.status = !all_coded            ? Status::kNoCode
                    : total > 0xFFFFFFFFu ? Status::kTooLarge
                                          : Status::kOk;
    StreamHeader& header = shared.header;
    header = encoding.coded.header;
    const uint64_t* const positions = encoding.coded.positions_of(image);
    for (int c = 0; header.classes > 1 && c < header.classes; ++c) {
      header.positions[c] = positions[c];
    }
    header.payload = static_cast<uint32_t>(total);
    header.field_bytes = static_cast<uint8_t>(store_fields(header, header.payload, shared.fields));
  }

  FMTC_DEVICE void write_header(const Thread& thread, int64_t image, uint8_t* out,
                                Shared& shared) const {
    const StreamHeader& header = shared.header;
    if (thread.rank() < header.field_bytes) out[thread.rank()] = shared.fields[thread.rank()];
    if (encoding.chunks() > 1 && thread.warp() == 0) {
      for_each_payload(thread, image, [&](int64_t chunk, const Payload& payload, uint64_t end) {
        store_entry(out + header.field_bytes, static_cast<uint64_t>(chunk),
                    {static_cast<uint32_t>(end), payload.checksum});
      });
    }
    thread.sync();
    const Checksum<kThreads> checksum_of(thread, shared.checksum);
    uint8_t* const behind = out + payload_offset(header) - kChecksumBytes;
    uint32_t checksum = checksum_of(thread, out, static_cast<uint64_t>(behind - out));
    if (encoding.chunks() == 1) {
      const Payload& payload = payload_of(image, 0);
      checksum = checksum_of(thread, encoding.space + payload.begin, payload.size, checksum);
    }
    if (thread.rank() == 0) store_le(behind, checksum);
  }

  static constexpr uint32_t kWord = 4;

  FMTC_DEVICE static uint32_t before_words(const uint8_t* to, uint32_t size) {
    const auto before = static_cast<uint32_t>((0 - reinterpret_cast<uintptr_t>(to)) % kWord);
    return before < size ? before : size;
  }

  // Whole words of `out`, wherever those of `in` begin.
  FMTC_DEVICE static void copy(const Thread& thread, const uint8_t* in, uint32_t size,
                               uint8_t* out) {
    const uint32_t before = before_words(out, size);
    const uint32_t words = (size - before) / kWord;
    for (uint32_t i = thread.rank(); i < words; i += thread.size()) {
      reinterpret_cast<uint32_t*>(out + before)[i] = word_at(in, size, before + kWord * i);
    }
    const uint32_t behind = before + kWord * words;
    if (thread.rank() < before) out[thread.rank()] = in[thread.rank()];
    if (thread.rank() < size - behind) out[behind + thread.rank()] = in[behind + thread.rank()];
  }

  FMTC_DEVICE static void clear_bytes(const Thread& thread, uint8_t* begin, const uint8_t* end) {
    struct alignas(16) Wide {
      uint32_t words[4];
    };
    const auto misaligned = (0 - reinterpret_cast<uintptr_t>(begin)) % sizeof(Wide);
    const auto size = static_cast<uint64_t>(end - begin);
    const uint64_t before = misaligned < size ? misaligned : size;
    const uint64_t wide = (size - before) / sizeof(Wide), behind = before + wide * sizeof(Wide);
    for (uint64_t i = thread.rank(); i < wide; i += thread.size()) {
      reinterpret_cast<Wide*>(begin + before)[i] = Wide{};
    }
    if (thread.rank() < before) begin[thread.rank()] = 0;
    if (thread.rank() < size - behind) begin[behind + thread.rank()] = 0;
  }
};

struct EncodeSpace {
  EncodeSpace(const Coded& coded, uint8_t* begin) : space(begin) {
    encoding.coded = coded;
    const auto tasks = static_cast<uint64_t>(encoding.tasks());
    const uint64_t bound = tasks > 0 ? chunk_bound(coded.header, 0) : 0;
    encoding.stride = (bound + kAlignment - 1) / kAlignment * kAlignment;
    encoding.space = space.take<uint8_t>(tasks * encoding.stride);
    encoding.payloads = space.take<Payload>(tasks);
  }

  Space space;
  Encoding encoding;
};

// ---------------------------------------------------------------------------------------------
// Decoding

// Says what came of each image, a thread block for it, and clears the levels of damaged ones.
struct TellStatus {
  static constexpr uint32_t kThreads = 256;
  Damage damage;
  int64_t values;  // of an image
  int16_t* levels;
  int32_t* of_images;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t image = thread.thread_block();
    const Status status = status_of(thread, damage, image);
    if (thread.rank() == 0) of_images[image] = static_cast<int32_t>(status);
    if (status == Status::kOk) return;
    int16_t* const of_image = levels + image * values;
    for (int64_t i = thread.rank(); i < values; i += thread.size()) of_image[i] = 0;
  }
};

struct DecodeSpace {
  DecodeSpace(const Coded& coded, uint8_t* begin) : space(begin) {
    decoding.coded = coded;
    decoding.damage = space.take<uint64_t>(static_cast<uint64_t>(decoding.warps()));
  }

  Space space;
  Decoding decoding{};
};

}  // namespace

size_t encode_space(const Coded& coded) { return EncodeSpace(coded, nullptr).space.size(); }

size_t decode_space(const Coded& coded) { return DecodeSpace(coded, nullptr).space.size(); }

void encode_streams(Stream stream, const Coded& coded, const int16_t* levels, uint8_t* space,
                    uint8_t* bytes, int64_t buffer, int64_t* used) {
  if (coded.images == 0) return;
  Encoding encoding = EncodeSpace(coded, space).encoding;
  encoding.levels = levels;
  if (encoding.tasks() > 0) {
    switch (coded.header.coder) {
      case Coder::kRans:
        encode_rans(stream, encoding);
        break;
      case Coder::kHuffman:
        encode_huffman(stream, encoding);
        break;
      default:
        encode_words(stream, encoding);
    }
  }
  constexpr int64_t kMostParts = 64;  // each adds up the sizes of all payloads
  const auto parts = static_cast<uint32_t>(std::clamp<int64_t>(encoding.chunks(), 1, kMostParts));
  launch(stream, coded.images * parts, WriteStreams{encoding, bytes, buffer, used, parts},
         sizeof(WriteStreams::Shared));
}

Damage decode_streams(Stream stream, const Coded& coded, const uint8_t* bytes, int64_t buffer,
                      const int64_t* used, uint8_t* space, int16_t* levels) {
  Decoding decoding = DecodeSpace(coded, space).decoding;
  decoding.bytes = bytes;
  decoding.buffer = buffer;
  decoding.used = used;
  decoding.levels = levels;
  if (coded.images > 0) {
    switch (coded.header.coder) {
      case Coder::kRans:
        decode_rans(stream, decoding);
        break;
      case Coder::kHuffman:
        decode_huffman(stream, decoding);
        break;
      default:
        decode_words(stream, decoding);
    }
  }
  return {decoding.damage, decoding.shares()};
}

void tell_status(Stream stream, const Coded& coded, const Damage& damage, int16_t* levels,
                 int32_t* status) {
  const auto values = static_cast<int64_t>(coded.header.values());
  launch(stream, coded.images, TellStatus{damage, values, levels, status});
}

}  // namespace fmtc::cuda
