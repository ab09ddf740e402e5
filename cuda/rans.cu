// rANS chunks: a warp each, thread i codes the values of state i, or of states i and i + 32. The
// warps of a thread block share tables in shared memory.
#include <type_traits>

#include "core/bytes.h"
#include "core/rans.h"
#include "core/rans_value.h"
#include "cuda/chunks.h"
#include "cuda/rans_tables.h"
#include "cuda/share.h"
#include "cuda/word_at.h"

namespace fmtc::cuda {
namespace {

constexpr uint32_t kWarps = 16;  // of a thread block

// Threads of `mask` below this one.
FMTC_DEVICE uint32_t threads_below(const Thread& thread, uint32_t mask) {
  return static_cast<uint32_t>(count_bits(mask & ((1u << thread.warp_rank()) - 1)));
}

// Of a table's last entry, which ends at its sum of frequencies; any wrong one counts as one that
// may be.
FMTC_DEVICE int log2_total_of(uint32_t last) {
  const int log2 = count_bits(encode_frequency(last) + encode_start(last) - 1);
  return log2 < kMinLog2Total ? kMinLog2Total : log2 > kMaxLog2Total ? kMaxLog2Total : log2;
}

// A value's segment, and how many values from it on belong to that, or up to it when going
// backward. Chunks have few enough values for 32 bits.
struct InSegment {
  uint32_t segment;
  int32_t left;
};

// More than any chunk has is as much.
FMTC_DEVICE int32_t limited(uint64_t values) {
  constexpr uint64_t kMost = uint64_t{1} << 30;
  return static_cast<int32_t>(values < kMost ? values : kMost);
}

FMTC_DEVICE InSegment begin_forward(const ComponentTables& tables, uint64_t index) {
  uint64_t first = 0;
  const uint64_t segment = tables.segment_at(index, first);
  return {static_cast<uint32_t>(segment), limited(first + tables.segment_size(segment) - index)};
}
FMTC_DEVICE InSegment begin_backward(const ComponentTables& tables, uint64_t index) {
  uint64_t first = 0;
  const uint64_t segment = tables.segment_at(index, first);
  return {static_cast<uint32_t>(segment), limited(index - first + 1)};
}

// Where the values of one state lie.
class LaneSegment {
 public:
  // positions: of each class in the image, if there are several
  FMTC_DEVICE LaneSegment(const Coded& coded, const uint64_t* positions, const InSegment& begin)
      : coded_(coded), positions_(positions), segment_(begin.segment), left_(begin.left) {}

  // Goes on by so many values, maybe out of the segment; then one must seek.
  FMTC_DEVICE void skip(uint32_t values) { left_ -= static_cast<int32_t>(values); }
  FMTC_DEVICE bool outside() const { return left_ <= 0; }
  FMTC_DEVICE void seek_forward() {
    while (left_ <= 0) left_ += limited(size_of(++segment_));
  }
  FMTC_DEVICE void seek_backward() {
    while (left_ <= 0) left_ += limited(size_of(--segment_));
  }

  FMTC_DEVICE size_t table() const { return coded_.table_of(segment_); }

 private:
  FMTC_DEVICE uint64_t size_of(uint32_t segment) const {
    const uint32_t classes = coded_.header.classes;
    if (classes <= 1) return coded_.tables.plane;
    return segment == 0 ? coded_.tables.map : positions_[(segment - 1) % classes];
  }

  const Coded& coded_;
  const uint64_t* positions_;
  uint32_t segment_;
  int32_t left_;
};

// ---------------------------------------------------------------------------------------------
// Encoding

template <typename Tables>
struct EncodeRans {
  static constexpr uint32_t kThreads = kWarps * kWarpSize;
  static constexpr uint32_t kThreadBlocks = 3;
  static constexpr size_t kBesides = WarpChecksum::kSpace * sizeof(uint32_t);
  Encoding encoding;

  FMTC_DEVICE void operator()(const Thread& thread) const {
    const ComponentTables& all = encoding.coded.tables;
    const int log2_total = log2_total_of(all.entries[all.width - 1]);
    const WarpChecksum checksum_of(thread, thread.shared<uint32_t>());
    const Tables tables(thread, all, log2_total, thread.shared<uint8_t>() + kBesides);
    const uint32_t warp = thread.shuffle(thread.warp(), 0);  // to the compiler, all of a warp's
    const int64_t task = int64_t{thread.thread_block()} * kWarps + warp;
    if (task >= encoding.tasks()) return;
    if (encoding.coded.header.lanes() == static_cast<int>(kWarpSize)) {
      encode<kWarpSize>(thread, tables, task);
    } else {
      encode<0>(thread, tables, task);
    }
    if (encoding.chunks() < 2) return;  // the stream's checksum is also the payload's
    thread.sync_warp();
    Payload& payload = encoding.payloads[task];
    const uint32_t checksum = checksum_of(thread, encoding.space + payload.begin, payload.size);
    if (thread.warp_rank() == 0) payload.checksum = checksum;
  }

  // kStates: 32, or 0 for any less; our streams have no more
  template <uint32_t kStates>
  FMTC_DEVICE void encode(const Thread& thread, const Tables& tables, int64_t task) const {
    const StreamHeader& header = encoding.coded.header;
    const int64_t chunks = encoding.chunks(), image = task / chunks;
    const ChunkRange range = range_of(header, static_cast<uint64_t>(task % chunks));
    const auto size = static_cast<uint32_t>(range.size);
    const auto states = kStates > 0 ? kStates : static_cast<uint32_t>(header.lanes());
    const bool has_state = kStates > 0 || thread.warp_rank() < states;

    // Digits go downwards and escaped levels upwards from where both are used up. Here, other than
    // in a stream, they are aligned; devices and the CPUs that emulate them are little-endian.
    uint8_t* const space = encoding.space + task * static_cast<int64_t>(encoding.stride);
    auto* digits = reinterpret_cast<uint16_t*>(space + kRansStateBytes * states) + size;
    uint16_t* escapes = digits;
    uint32_t x = kRansLowest;
    // The last value comes first, so that of the highest thread.
    uint32_t rounds = (size - 1) / states + 1;
    const uint32_t last = (rounds - 1) * states + thread.warp_rank();
    const uint64_t* const positions = encoding.coded.positions_of(image);
    const ComponentTables segments = tables_of(encoding.coded, positions);
    LaneSegment segment(encoding.coded, positions,
                        begin_backward(segments, range.first + size - 1));
    segment.skip(size - 1 - last);
    auto place = tables.place(segment.table());
    const int16_t* from = encoding.levels + image * static_cast<int64_t>(header.values()) +
                          static_cast<int64_t>(range.first) + last;
    const uint32_t lower_threads = (1u << thread.warp_rank()) - 1;
    int32_t level = has_state && last < size ? *from : 0;
    // more: whether this is not the last round, so that a level can be loaded before its turn
    const auto one_round = [&](bool active, bool more) {
      from -= states;
      const int32_t next = has_state && more ? *from : 0;
      if (active && segment.outside()) {
        segment.seek_backward();
        place = tables.place(segment.table());
      }
      segment.skip(states);
      const auto entry = tables.find(place, static_cast<uint32_t>(level - tables.lo()));
      const bool escape = active && Tables::escapes(entry);
      const uint32_t escaping = thread.ballot(escape);
      if (escaping != 0) {
        if (escape) {
          escapes[count_bits(escaping & ~lower_threads) - 1] = static_cast<uint16_t>(level);
        }
        escapes += count_bits(escaping);
      }
      const bool gives = active && tables.gives_digit(x, entry);
      const uint32_t giving = thread.ballot(gives);
      digits -= count_bits(giving);
      if (gives) digits[count_bits(giving & lower_threads)] = static_cast<uint16_t>(x);
      const uint32_t encoded = tables.encode(gives ? x >> 16 : x, entry);
      if (active) x = encoded;
      level = next;
    };
    const bool in_last_round = has_state && last < size;
    one_round(in_last_round, --rounds > 0);
    // All others are whole.
    for (; rounds > 2; rounds -= 2) {
      one_round(has_state, true);
      one_round(has_state, true);
    }
    while (rounds > 0) one_round(has_state, --rounds > 0);
    auto* const begin = reinterpret_cast<uint8_t*>(digits) - kRansStateBytes * states;
    const auto* const end = reinterpret_cast<uint8_t*>(escapes);
    if (has_state) store_le(begin + kRansStateBytes * thread.warp_rank(), x);
    if (thread.warp_rank() == 0) {
      encoding.payloads[task] = {static_cast<uint64_t>(begin - encoding.space),
                                 static_cast<uint32_t>(end - begin), 0, true};
    }
  }
};

// ---------------------------------------------------------------------------------------------
// Decoding

// The digits that a warp takes next, in shared memory. They are loaded a word a thread, and a step
// before that is needed.
class DigitRing {
 public:
  static constexpr uint32_t kRounds = 2;                  // that take no more digits than are
  static constexpr uint32_t kStep = kRounds * kWarpSize;  // loaded together
  static constexpr uint32_t kDigits = 2 * kStep;

  // begin: where digits begin in the payload;  ring: [kDigits], aligned to 4
  FMTC_DEVICE DigitRing(const Thread& thread, const std::span<const uint8_t>& payload,
                        uint32_t begin, uint16_t* ring)
      : payload_(payload), next_(begin + kWordBytes * thread.warp_rank()), ring_(ring) {
    load();
  }

  // Makes sure that kStep digits are there, with zeros behind the payload, where no more were taken
  // since the call before. By all of a warp.
  FMTC_DEVICE void fill(const Thread& thread) {
    if (loaded_ - taken_ < kBytes * kStep) {
      thread.sync_warp();  // others may still be reading those that were there
      uint16_t* const free = ring_ + loaded_ / kBytes % kDigits;
      reinterpret_cast<uint32_t*>(free)[thread.warp_rank()] = word_;
      thread.sync_warp();
      loaded_ += kBytes * kStep;
      load();
    }
  }

  // The one behind so many more, below kStep.
  FMTC_DEVICE uint16_t at(uint32_t index) const {
    return ring_[(taken_ + kBytes * index) % (kBytes * kDigits) / kBytes];
  }
  FMTC_DEVICE void take(uint32_t count) { taken_ += kBytes * count; }
  FMTC_DEVICE uint32_t bytes_taken() const { return taken_; }

 private:
  static constexpr uint32_t kWordBytes = 4;
  static constexpr auto kBytes = static_cast<uint32_t>(kRansDigitBytes);

  FMTC_DEVICE void load() {
    word_ = word_at(payload_.data(), payload_.size(), next_);
    next_ += kWordBytes * kWarpSize;
  }

  const std::span<const uint8_t>& payload_;
  uint32_t next_;  // where this thread's next word lies
  uint16_t* ring_;
  uint32_t word_ = 0;                // of the digits that come next into the ring
  uint32_t loaded_ = 0, taken_ = 0;  // bytes of digits
};

template <typename Tables>
struct DecodeRans {
  static constexpr uint32_t kThreads = kWarps * kWarpSize;
  static constexpr uint32_t kThreadBlocks = 3;
  static constexpr uint32_t kRounds = 4;  // that are decoded together
  Decoding decoding;

  // What a warp works on besides its share.
  struct Chunk {
    alignas(4) uint16_t digits[DigitRing::kDigits];
    ChunkRange range;
    InSegment begin;
    uint32_t states;
  };
  struct Shared {
    uint32_t checksum[WarpChecksum::kSpace];
    Share shares[kWarps];
    Chunk chunks[kWarps];
  };

  // Shares with the same number in all images follow each other, as most streams have fewer chunks
  // than there could be.
  FMTC_DEVICE void operator()(const Thread& thread) const {
    Shared& shared = *thread.shared<Shared>();
    const uint32_t warp = thread.shuffle(thread.warp(), 0);  // to the compiler, all of a warp's
    Share& share = shared.shares[warp];
    const int64_t task = int64_t{thread.thread_block()} * kWarps + warp;
    const int64_t number = task / decoding.coded.images, image = task % decoding.coded.images;
    const bool there = number < decoding.shares() &&
                       open(thread, decoding, image, static_cast<uint64_t>(number), share);
    if (!thread.sync_or(there)) return;
    const WarpChecksum checksum_of(thread, shared.checksum);
    const Tables tables(thread, decoding.coded.tables, reinterpret_cast<uint8_t*>(&shared + 1));
    if (!there) return;
    Chunk& chunk = shared.chunks[warp];
    decode_share(thread, decoding, share, checksum_of, [&] {
      if (thread.warp_rank() == 0) {
        chunk.range = range_of(share.header, share.chunk);
        chunk.begin = begin_forward(tables_of(decoding.coded, share.header.positions.data()),
                                    chunk.range.first);
        chunk.states = static_cast<uint32_t>(share.header.lanes());
      }
      thread.sync_warp();
      const bool good = chunk.states == kWarpSize ? decode<kWarpSize>(thread, tables, share, chunk)
                        : chunk.states > kWarpSize
                            ? decode<kMaxStates>(thread, tables, share, chunk)
                            : decode<0>(thread, tables, share, chunk);
      return good ? Status::kOk : Status::kBadCode;
    });
  }

  // Whether the payload holds just these values; the same in all threads. Nothing is looked at
  // before the end: digits and escaped levels are read wherever the payload may end, and must have
  // met.
  //   kStates  32 or 64, which take turns in each thread; 0 for any less
  template <uint32_t kStates>
  FMTC_DEVICE bool decode(const Thread& thread, const Tables& tables, const Share& share,
                          Chunk& chunk) const {
    constexpr uint32_t kTurns = kStates > kWarpSize ? 2 : 1;
    const uint32_t together = kStates > 0 ? kWarpSize : chunk.states;
    const bool has_state = kStates > 0 || thread.warp_rank() < together;
    const uint8_t* const payload = share.payload.data();
    if (share.payload.size() < kRansStateBytes * chunk.states) return false;
    uint32_t states[kTurns];
    bool good = true;
    FMTC_UNROLL
    for (uint32_t turn = 0; turn < kTurns; ++turn) {
      const uint32_t state = turn * kWarpSize + thread.warp_rank();
      states[turn] = has_state ? load_le<uint32_t>(payload + kRansStateBytes * state) : kRansLowest;
      good = good && states[turn] >= kRansLowest;
    }
    if (thread.ballot(!good) != 0) return false;

    int16_t* to = decoding.levels +
                  share.image * static_cast<int64_t>(decoding.coded.header.values()) +
                  static_cast<int64_t>(chunk.range.first);
    to += thread.warp_rank();
    DigitRing digits(thread, share.payload, kRansStateBytes * chunk.states, chunk.digits);
    uint32_t escaped = 0;
    LaneSegment segment(decoding.coded, share.header.positions.data(), chunk.begin);
    segment.skip(thread.warp_rank());
    auto place = tables.place(segment.table());
    uint32_t lowest = lowest_of(segment.table());
    const uint32_t lower_threads = (1u << thread.warp_rank()) - 1;
    uint32_t left = static_cast<uint32_t>(chunk.range.size);
    // kWhole: all states have a value in all these rounds
    const auto decode_rounds = [&]<bool kWhole>(std::bool_constant<kWhole>) {
      uint32_t made[kRounds];
      bool escapes[kRounds], any = false;
      FMTC_UNROLL
      for (uint32_t round = 0; round < kRounds; ++round) {
        if (round % DigitRing::kRounds == 0) digits.fill(thread);
        const bool active = has_state && (kWhole || thread.warp_rank() + round * together < left);
        if (active && segment.outside()) {
          segment.seek_forward();
          place = tables.place(segment.table());
          lowest = lowest_of(segment.table());
        }
        segment.skip(together);
        uint32_t& x = states[round % kTurns];
        const Decoded decoded = tables.decode(place, x);
        made[round] = lowest + decoded.symbol;
        escapes[round] = active && decoded.symbol == kEscapeSymbol;
        any = any || escapes[round];
        const bool takes = active && decoded.state < kRansLowest;
        const uint32_t taking = thread.ballot(takes);
        const uint16_t digit = digits.at(static_cast<uint32_t>(count_bits(taking & lower_threads)));
        if (active) x = takes ? take_digit(decoded.state, digit) : decoded.state;
        digits.take(static_cast<uint32_t>(count_bits(taking)));
      }
      if (thread.ballot(any) != 0) {
        FMTC_UNROLL
        for (uint32_t round = 0; round < kRounds; ++round) {
          take_escaped(thread, share.payload, escapes[round], escaped, made[round]);
        }
      }
      FMTC_UNROLL
      for (uint32_t round = 0; round < kRounds; ++round) {
        const uint32_t at = round * together;
        if (has_state && (kWhole || thread.warp_rank() + at < left)) {
          to[at] = static_cast<int16_t>(made[round]);
        }
      }
    };
    for (; left >= kRounds * together; left -= kRounds * together, to += kRounds * together) {
      decode_rounds(std::true_type());
    }
    if (left > 0) decode_rounds(std::false_type());
    good = true;
    FMTC_UNROLL
    for (uint32_t turn = 0; turn < kTurns; ++turn) good = good && states[turn] == kRansLowest;
    const uint64_t used =
        kRansStateBytes * chunk.states + digits.bytes_taken() + kRansDigitBytes * escaped;
    return thread.ballot(!good) == 0 && used == share.payload.size();
  }

 private:
  FMTC_DEVICE uint32_t lowest_of(size_t table) const {
    const ComponentTables& tables = decoding.coded.tables;
    return static_cast<uint32_t>(tables.lo + tables.base[table]);
  }

  // Levels that follow in 16 bits each, the first one last.
  FMTC_DEVICE static void take_escaped(const Thread& thread, std::span<const uint8_t> payload,
                                       bool escapes, uint32_t& escaped, uint32_t& level) {
    const uint32_t escaping = thread.ballot(escapes);
    const size_t end = kRansDigitBytes * (size_t{escaped} + threads_below(thread, escaping) + 1);
    if (escapes && end <= payload.size()) {
      level = load_le<uint16_t>(payload.data() + payload.size() - end);
    }
    escaped += static_cast<uint32_t>(count_bits(escaping));
  }
};

// Calls launch_with(Tables()) with those in shared memory where they fit.
template <typename Shared, typename Global, typename Launch>
void with_tables(const ComponentTables& tables, size_t besides, const Launch& launch_with) {
  // A third of a multiprocessor's shared memory, so that it is full of warps.
  constexpr size_t kMost = size_t{72} << 10;
  const size_t bytes = Shared::bytes(tables) + besides;
  if (bytes <= kMost && bytes <= most_shared_bytes()) {
    launch_with(std::type_identity<Shared>(), bytes);
  } else {
    launch_with(std::type_identity<Global>(), besides);
  }
}

int64_t thread_blocks_of(int64_t warps) { return (warps + kWarps - 1) / kWarps; }

}  // namespace

void encode_rans(Stream stream, const Encoding& encoding) {
  with_tables<SharedEncodeTables, GlobalEncodeTables>(
      encoding.coded.tables, EncodeRans<GlobalEncodeTables>::kBesides,
      [&]<typename Tables>(std::type_identity<Tables>, size_t bytes) {
        launch(stream, thread_blocks_of(encoding.tasks()), EncodeRans<Tables>{encoding}, bytes);
      });
}

void decode_rans(Stream stream, const Decoding& decoding) {
  with_tables<SharedDecodeTables, GlobalDecodeTables>(
      decoding.coded.tables, sizeof(DecodeRans<GlobalDecodeTables>::Shared),
      [&]<typename Tables>(std::type_identity<Tables>, size_t bytes) {
        launch(stream, thread_blocks_of(decoding.warps()), DecodeRans<Tables>{decoding}, bytes);
      });
}

}  // namespace fmtc::cuda
