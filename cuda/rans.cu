// rANS chunks: a warp each, thread i codes the values of state i, or of states i and i + 32.
#include "core/bytes.h"
#include "core/rans.h"
#include "core/rans_value.h"
#include "cuda/chunks.h"

namespace fmtc::cuda {
namespace {

// Threads of `mask` below this one, and above it.
FMTC_DEVICE int threads_below(const Thread& thread, uint32_t mask) {
  return count_bits(mask & ((1u << thread.warp_rank()) - 1));
}
FMTC_DEVICE int threads_above(const Thread& thread, uint32_t mask) {
  return count_bits(mask >> thread.warp_rank() >> 1);
}

FMTC_DEVICE int log2_of(uint32_t total) { return count_bits(total - 1); }

struct EncodeRans {
  static constexpr uint32_t kThreads = kWarpSize;
  Encoding encoding;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const int64_t chunks = encoding.chunks();
    const int64_t image = thread.thread_block() / chunks;
    if (encoding.status[encoding.coded.images] != 0) return;  // dividing by frequencies of 0
    const StreamHeader& header = encoding.coded.header;
    const ChunkRange range = range_of(header, thread.thread_block() % chunks);
    const int16_t* levels = encoding.levels + image * static_cast<int64_t>(header.values()) +
                            static_cast<int64_t>(range.first);
    const ComponentTables tables = tables_of(encoding.coded, image);
    const size_t direct = tables.width - 1;
    const uint32_t last = tables.entries[direct];
    const int log2_total = log2_of(encode_frequency(last) + encode_start(last));
    const auto states = static_cast<uint32_t>(header.lanes());  // at most 32 in our streams
    const bool has_state = thread.warp_rank() < states;

    // Digits go downwards and escaped levels upwards from where both are used up. Here, other than
    // in a stream, they are aligned; devices and the CPUs that emulate them are little-endian.
    uint8_t* const space = encoding.space + thread.thread_block() * encoding.stride;
    auto* digits = reinterpret_cast<uint16_t*>(space + kRansStateBytes * states) + range.size;
    uint16_t* escapes = digits;
    uint32_t x = kRansLowest;
    SegmentCursor segment(tables, range.first + range.size - 1);
    for (size_t round = (range.size + states - 1) / states; round-- > 0;) {
      const size_t i = round * states + thread.warp_rank();
      const bool active = has_state && i < range.size;
      uint32_t entry = 0;
      bool escaped = false;
      if (active) {
        const uint32_t* entries = tables.table(segment.seek(range.first + i)).data();
        entry = encode_entry(levels[i], tables.lo, entries, direct);
        escaped = entry == entries[direct];
      }
      // The last value comes first, so that of the highest thread.
      const uint32_t escaping = thread.ballot(escaped);
      if (escaped) {
        escapes[threads_above(thread, escaping)] = static_cast<uint16_t>(levels[i]);
      }
      escapes += count_bits(escaping);
      const bool gives = active && gives_digit(x, entry, log2_total);
      const uint32_t giving = thread.ballot(gives);
      if (gives) {
        digits[-1 - threads_above(thread, giving)] = static_cast<uint16_t>(x);
        x >>= 16;
      }
      digits -= count_bits(giving);
      if (active) x = encode_value(x, entry, log2_total);
    }
    auto* const begin = reinterpret_cast<uint8_t*>(digits) - kRansStateBytes * states;
    const auto* const end = reinterpret_cast<uint8_t*>(escapes);
    if (has_state) store_le(begin + kRansStateBytes * thread.warp_rank(), x);
    if (thread.warp_rank() == 0) {
      encoding.payloads[thread.thread_block()] = {static_cast<uint64_t>(begin - encoding.space),
                                                  static_cast<uint32_t>(end - begin), 0};
    }
  }
};

struct DecodeRans {
  static constexpr uint32_t kThreads = kWarpSize;
  Decoding decoding;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    if (*decoding.tables != 0) return;
    for_each_chunk(thread, decoding,
                   [&](int64_t image, uint64_t chunk, const StreamHeader& header,
                       const ChunkPayload& payload) {
                     const bool good = decode(thread, image, chunk, header, payload.bytes);
                     if (!good && thread.warp_rank() == 0) {
                       report(decoding, image, chunk, Status::kBadCode);
                     }
                   });
  }

  // Whether the payload holds just these values; the same in all threads.
  FMTC_DEVICE bool decode(const Thread& thread, int64_t image, uint64_t chunk,
                          const StreamHeader& header, std::span<const uint8_t> payload) const {
    const auto states = static_cast<uint32_t>(header.lanes());
    if (payload.size() < kRansStateBytes * states) return false;
    const ComponentTables tables = tables_of(decoding.coded, image);
    const ChunkRange range = range_of(header, chunk);
    int16_t* levels = decoding.levels + image * static_cast<int64_t>(header.values()) +
                      static_cast<int64_t>(range.first);
    const uint32_t slot_mask = static_cast<uint32_t>(tables.width) - 1;
    const int log2_total = log2_of(static_cast<uint32_t>(tables.width));
    const uint32_t together = states < kWarpSize ? states : kWarpSize;
    const bool has_state = thread.warp_rank() < together;
    // With 64 states, x and other take turns.
    uint32_t x = kRansLowest, other = kRansLowest;
    if (has_state) x = load_le<uint32_t>(payload.data() + kRansStateBytes * thread.warp_rank());
    if (states > kWarpSize) {
      other =
          load_le<uint32_t>(payload.data() + kRansStateBytes * (thread.warp_rank() + kWarpSize));
    }
    if (thread.ballot(x < kRansLowest || other < kRansLowest) != 0) return false;

    const uint8_t* digits = payload.data() + kRansStateBytes * states;
    const uint8_t* escapes = payload.data() + payload.size();
    SegmentCursor segment(tables, range.first);
    for (size_t begin = 0; begin < range.size; begin += together) {
      const size_t i = begin + thread.warp_rank();
      const bool active = has_state && i < range.size;
      uint32_t symbol = 0;
      int16_t level = 0;
      bool takes = false;
      if (active) {
        const size_t table = segment.seek(range.first + i);
        const uint32_t entry = tables.entries[table * tables.width + (x & slot_mask)];
        symbol = decode_symbol(entry);
        level = static_cast<int16_t>(tables.lo + tables.base[table] + symbol);
        x = decode_value(x, entry, log2_total);
        takes = x < kRansLowest;
      }
      const uint32_t taking = thread.ballot(takes);
      const uint32_t escaping = thread.ballot(active && symbol == kEscapeSymbol);
      if (escapes - digits <
          static_cast<ptrdiff_t>(kRansDigitBytes) * (count_bits(taking) + count_bits(escaping))) {
        return false;
      }
      if (takes) {
        x = take_digit(x,
                       load_le<uint16_t>(digits + kRansDigitBytes * threads_below(thread, taking)));
      }
      digits += kRansDigitBytes * count_bits(taking);
      if (active && symbol == kEscapeSymbol) {
        level = static_cast<int16_t>(
            load_le<uint16_t>(escapes - kRansDigitBytes * (threads_below(thread, escaping) + 1)));
      }
      escapes -= kRansDigitBytes * count_bits(escaping);
      if (active) levels[i] = level;
      if (states > kWarpSize) {
        const uint32_t turn = x;
        x = other;
        other = turn;
      }
    }
    const bool at_start = x == kRansLowest && other == kRansLowest;
    return thread.ballot(!at_start) == 0 && digits == escapes;
  }
};

}  // namespace

void encode_rans(Stream stream, const Encoding& encoding) {
  launch(stream, encoding.tasks(), EncodeRans{encoding});
}

void decode_rans(Stream stream, const Decoding& decoding) {
  launch(stream, decoding.coded.images * decoding.thread_blocks(), DecodeRans{decoding});
}

}  // namespace fmtc::cuda
