#include "core/bytes.h"
#include "core/rans.h"
#include "core/rans_value.h"
#include "cuda/checksum.h"
#include "cuda/chunks.h"
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

bool has_tables(Coder coder) { return coder == Coder::kHuffman || coder == Coder::kRans; }

// ---------------------------------------------------------------------------------------------
// Tables

// Says in `status` whether tables are such that coding would leave them or divide by 0; what
// check_encode_tables and check_decode_tables of core/stream.h refuse by contents.
struct CheckTables {
  static constexpr uint32_t kThreads = 256;
  ComponentTables tables;
  bool frequencies;    // of rANS encode tables
  int32_t* of_images;  // [images], set to 0, and behind them what is wrong with the tables
  int64_t images;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const auto count = static_cast<int64_t>(tables.count());
    for (int64_t i = thread.rank(); i < images; i += thread.size()) of_images[i] = 0;
    bool outside = false;
    for (size_t i = thread.rank(); i < tables.table_of.size(); i += thread.size()) {
      outside = outside || tables.table_of[i] < 0 || tables.table_of[i] >= count;
    }
    bool bad = false;
    for (int64_t i = thread.rank(); frequencies && i < count; i += thread.size()) {
      bad = bad || total(i) != total(0) || !allowed(total(i)) || frequency(i) == 0;
    }
    outside = thread.sync_or(outside);
    bad = thread.sync_or(bad);
    const Status status = outside ? Status::kBadArgument : bad ? Status::kBadTable : Status::kOk;
    if (thread.rank() == 0) of_images[images] = static_cast<int32_t>(status);
  }

 private:
  // The escape's slots are the last ones.
  FMTC_DEVICE uint32_t escape(int64_t table) const {
    return tables.entries[(static_cast<size_t>(table) + 1) * tables.width - 1];
  }
  FMTC_DEVICE uint32_t frequency(int64_t table) const { return encode_frequency(escape(table)); }
  FMTC_DEVICE uint32_t total(int64_t table) const {
    return frequency(table) + encode_start(escape(table));
  }
  FMTC_DEVICE static bool allowed(uint32_t total) {
    return (total & (total - 1)) == 0 && total >= 1u << kMinLog2Total &&
           total <= 1u << kMaxLog2Total;
  }
};

// ---------------------------------------------------------------------------------------------
// Encoding

struct ChecksumPayloads {
  static constexpr uint32_t kThreads = 128;
  Encoding encoding;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    if (encoding.failed(thread.thread_block() / encoding.chunks())) return;
    Payload& payload = encoding.payloads[thread.thread_block()];
    const uint32_t checksum = checksum_by_all<kThreads>(thread, encoding.space + payload.begin,
                                                        payload.size, thread.shared<uint32_t>());
    if (thread.rank() == 0) payload.checksum = checksum;
  }
};

// Writes what precedes the payloads, a thread block for each stream, and replaces each payload's
// checksum, which is then in the directory, by where the payload goes in the stream.
struct WriteHeaders {
  static constexpr uint32_t kThreads = 256;
  Encoding encoding;
  uint8_t* bytes;
  int64_t buffer;
  int64_t* used;
  uint64_t* places;  // [tasks]: where in the stream a payload goes

  struct Shared {
    uint32_t checksum[kChecksumSpace<kThreads>];
    uint64_t total;
    uint32_t fields;
  };

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t image = thread.thread_block();
    const int64_t first = image * encoding.chunks();
    Shared& shared = *thread.shared<Shared>();
    int32_t status = encoding.status[encoding.coded.images];
    if (status == 0) status = encoding.status[image];
    if (status == 0) {
      sum_sizes(thread, first, shared.total);
      if (shared.total > 0xFFFFFFFFu) status = static_cast<int32_t>(Status::kTooLarge);
    }
    if (status != 0) {
      if (thread.rank() == 0) used[image] = -int64_t{status};
      return;
    }
    uint8_t* const out = bytes + image * buffer;
    StreamHeader header = encoding.coded.header;
    for (int c = 0; header.classes > 1 && c < header.classes; ++c) {
      header.positions[c] = encoding.coded.positions[image * header.classes + c];
    }
    header.payload = static_cast<uint32_t>(shared.total);
    if (thread.rank() == 0) {
      shared.fields = static_cast<uint32_t>(store_fields(header, header.payload, out));
    }
    thread.sync();
    header.field_bytes = static_cast<uint8_t>(shared.fields);
    const uint64_t payloads = payload_offset(header);
    for (int64_t chunk = thread.rank(); chunk < encoding.chunks(); chunk += thread.size()) {
      const Payload& payload = encoding.payloads[first + chunk];
      uint64_t& place = places[first + chunk];
      if (encoding.chunks() > 1) {
        const auto end = static_cast<uint32_t>(place + payload.size);
        store_entry(out + header.field_bytes, static_cast<uint64_t>(chunk),
                    {end, payload.checksum});
      }
      place += payloads;
    }
    thread.sync();
    uint32_t checksum =
        checksum_by_all<kThreads>(thread, out, payloads - kChecksumBytes, shared.checksum);
    if (encoding.chunks() == 1) {
      const Payload& payload = encoding.payloads[first];
      checksum = checksum_by_all<kThreads>(thread, encoding.space + payload.begin, payload.size,
                                           shared.checksum, checksum);
    }
    if (thread.rank() == 0) {
      store_le(out + payloads - kChecksumBytes, checksum);
      used[image] = static_cast<int64_t>(payloads + header.payload);
    }
  }

 private:
  // Sets each place to the bytes of the payloads before it, and total to those of all.
  FMTC_DEVICE void sum_sizes(const Thread& thread, int64_t first, uint64_t& total) const {
    if (thread.warp() == 0) {
      uint64_t sum = 0;
      for (int64_t begin = 0; begin < encoding.chunks(); begin += kWarpSize) {
        const int64_t chunk = begin + thread.warp_rank();
        const bool active = chunk < encoding.chunks();
        const uint64_t size = active ? encoding.payloads[first + chunk].size : 0;
        const uint64_t end = sum + sum_up_to_thread(thread, size);
        if (active) places[first + chunk] = end - size;
        sum = thread.shuffle(end, kWarpSize - 1);
      }
      if (thread.warp_rank() == 0) total = sum;
    }
    thread.sync();
  }
};

// Copies each payload to its place, and sets what lies behind the stream to 0: a thread block for
// each chunk, which has its share of that.
struct CopyPayloads {
  static constexpr uint32_t kThreads = 256;
  Encoding encoding;
  uint8_t* bytes;
  int64_t buffer;
  const int64_t* used;
  const uint64_t* places;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t image = thread.thread_block() / encoding.chunks();
    uint8_t* const out = bytes + image * buffer;
    const bool failed = used[image] < 0;
    if (!failed) {
      const Payload& payload = encoding.payloads[thread.thread_block()];
      copy(thread, encoding.space + payload.begin, payload.size,
           out + places[thread.thread_block()]);
    }
    const int64_t end = failed ? 0 : used[image];
    const int64_t share = (buffer - end) / encoding.chunks() + 1;
    const int64_t first = end + thread.thread_block() % encoding.chunks() * share;
    const int64_t last = first + share < buffer ? first + share : buffer;
    if (first < last) clear_bytes(thread, out + first, out + last);
  }

 private:
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
    encoding.status = space.take<int32_t>(static_cast<uint64_t>(coded.images) + 1);
    places = space.take<uint64_t>(tasks);
  }

  Space space;
  Encoding encoding;
  uint64_t* places;
};

// ---------------------------------------------------------------------------------------------
// Decoding

// Reads and checks what precedes the payloads, a thread block for each stream: read_header, the end
// of the bytes, and check_expected of core/stream.h, in their order.
struct OpenStreams {
  static constexpr uint32_t kThreads = 256;
  Decoding decoding;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t image = thread.thread_block();
    Opened& opened = decoding.opened[image];
    uint32_t* shared = thread.shared<uint32_t>();
    const int64_t used = decoding.used[image];
    const bool inside = used >= 0 && used <= decoding.buffer;
    const std::span<const uint8_t> bytes(decoding.bytes + image * decoding.buffer,
                                         static_cast<size_t>(inside ? used : 0));
    if (thread.rank() == 0) {
      opened.header = StreamHeader();
      opened.status = inside ? load_fields(bytes, opened.header) : Status::kBadArgument;
      decoding.damaged[image] = ~uint64_t{0};
    }
    thread.sync();
    Status status = opened.status;
    const StreamHeader header = opened.header;
    if (status == Status::kOk) status = check(thread, bytes, header, shared);
    if (status == Status::kOk) status = compare(header, decoding.coded.header);
    thread.sync();
    if (thread.rank() != 0) return;
    opened.status = status;
    const int classes = decoding.coded.header.classes;
    for (int c = 0; classes > 1 && c < classes; ++c) {
      decoding.coded.positions[image * classes + c] = header.positions[c];
    }
  }

 private:
  FMTC_DEVICE static Status check(const Thread& thread, std::span<const uint8_t> bytes,
                                  const StreamHeader& header, uint32_t* shared) {
    const uint64_t payloads = payload_offset(header);
    const bool directory = header.chunks() > 1;
    if (bytes.size() < payloads + (directory ? 0 : header.payload)) return Status::kTruncated;
    uint32_t checksum =
        checksum_by_all<kThreads>(thread, bytes.data(), payloads - kChecksumBytes, shared);
    if (!directory) {
      checksum = checksum_by_all<kThreads>(thread, bytes.data() + payloads, header.payload, shared,
                                           checksum);
    }
    if (load_le<uint32_t>(bytes.data() + payloads - kChecksumBytes) != checksum) {
      return Status::kBadChecksum;
    }
    bool bad = false;
    for (uint64_t chunk = thread.rank(); chunk < header.chunks(); chunk += thread.size()) {
      bad = bad ||
            end_of(bytes, header, chunk) < (chunk == 0 ? 0 : end_of(bytes, header, chunk - 1)) +
                                               smallest_payload(header, chunk);
    }
    const uint64_t end = header.chunks() == 0 ? 0 : end_of(bytes, header, header.chunks() - 1);
    if (thread.sync_or(bad || end != header.payload)) return Status::kBadDirectory;
    if (bytes.size() - payloads < header.payload) return Status::kTruncated;
    return bytes.size() == payloads + header.payload ? Status::kOk : Status::kTrailingBytes;
  }

  FMTC_DEVICE static uint64_t end_of(std::span<const uint8_t> bytes, const StreamHeader& header,
                                     uint64_t chunk) {
    return header.chunks() > 1 ? load_entry(bytes.data() + header.field_bytes, chunk).end
                               : header.payload;
  }
};

struct CheckChunks {
  static constexpr uint32_t kThreads = 128;
  Decoding decoding;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    for_each_chunk(thread, decoding,
                   [&](int64_t image, uint64_t chunk, const StreamHeader& header,
                       const ChunkPayload& payload) {
                     if (header.chunks() < 2) return;
                     const uint32_t checksum =
                         checksum_by_all<kThreads>(thread, payload.bytes.data(),
                                                   payload.bytes.size(), thread.shared<uint32_t>());
                     if (checksum != payload.checksum && thread.rank() == 0) {
                       report(decoding, image, chunk, Status::kBadChunkChecksum);
                     }
                   });
  }
};

// Says what came of each image, a thread block for it, and clears the levels of damaged ones.
struct TellStatus {
  static constexpr uint32_t kThreads = 256;
  Decoding decoding;
  bool clears;
  int32_t* status;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t image = thread.thread_block();
    Status result = decoding.opened[image].status;
    const uint64_t damaged = decoding.damaged[image];
    if (result == Status::kOk && damaged != ~uint64_t{0}) {
      result = static_cast<Status>(damaged & 0xFF);
    }
    const int32_t told = *decoding.tables != 0 ? *decoding.tables : static_cast<int32_t>(result);
    if (thread.rank() == 0) status[image] = told;
    if (!clears || told == 0) return;
    const auto values = static_cast<int64_t>(decoding.coded.header.values());
    int16_t* const levels = decoding.levels + image * values;
    for (int64_t i = thread.rank(); i < values; i += thread.size()) levels[i] = 0;
  }
};

struct DecodeSpace {
  DecodeSpace(const Coded& coded, uint8_t* begin) : space(begin) {
    decoding.coded = coded;
    const auto images = static_cast<uint64_t>(coded.images);
    decoding.opened = space.take<Opened>(images);
    decoding.damaged = space.take<uint64_t>(images);
    decoding.tables = space.take<int32_t>(1);
  }

  Space space;
  Decoding decoding{};
};

// Makes the statuses of images 0, and says behind them what is wrong with the tables.
void check_tables(Stream stream, const Coded& coded, bool encode, int32_t* status, int64_t images) {
  if (!has_tables(coded.header.coder)) {
    clear(stream, status, (static_cast<size_t>(images) + 1) * sizeof(int32_t));
    return;
  }
  const bool frequencies = encode && coded.header.coder == Coder::kRans;
  launch(stream, 1, CheckTables{coded.tables, frequencies, status, images});
}

}  // namespace

size_t encode_space(const Coded& coded) { return EncodeSpace(coded, nullptr).space.size(); }

size_t decode_space(const Coded& coded) { return DecodeSpace(coded, nullptr).space.size(); }

void encode_streams(Stream stream, const Coded& coded, const int16_t* levels, uint8_t* space,
                    uint8_t* bytes, int64_t buffer, int64_t* used) {
  if (coded.images == 0) return;
  EncodeSpace work(coded, space);
  Encoding& encoding = work.encoding;
  encoding.levels = levels;
  if (encoding.tasks() > 0) {
    check_tables(stream, coded, true, encoding.status, coded.images);
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
    if (encoding.chunks() > 1) {
      launch(stream, encoding.tasks(), ChecksumPayloads{encoding},
             kChecksumSpace<ChecksumPayloads::kThreads> * sizeof(uint32_t));
    }
  } else {  // nothing is copied, and so nothing is set to 0 behind the headers
    clear(stream, encoding.status, (static_cast<size_t>(coded.images) + 1) * sizeof(int32_t));
    clear(stream, bytes, static_cast<size_t>(coded.images * buffer));
  }
  launch(stream, coded.images, WriteHeaders{encoding, bytes, buffer, used, work.places},
         sizeof(WriteHeaders::Shared));
  launch(stream, encoding.tasks(), CopyPayloads{encoding, bytes, buffer, used, work.places});
}

void decode_streams(Stream stream, const Coded& coded, const uint8_t* bytes, int64_t buffer,
                    const int64_t* used, uint8_t* space, bool clears, int16_t* levels,
                    int32_t* status) {
  if (coded.images == 0) return;
  Decoding decoding = DecodeSpace(coded, space).decoding;
  decoding.bytes = bytes;
  decoding.buffer = buffer;
  decoding.used = used;
  decoding.levels = levels;
  check_tables(stream, coded, false, decoding.tables, 0);
  launch(stream, coded.images, OpenStreams{decoding},
         kChecksumSpace<OpenStreams::kThreads> * sizeof(uint32_t));
  launch(stream, coded.images * decoding.thread_blocks(), CheckChunks{decoding},
         kChecksumSpace<CheckChunks::kThreads> * sizeof(uint32_t));
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
  launch(stream, coded.images, TellStatus{decoding, clears, status});
}

}  // namespace fmtc::cuda
