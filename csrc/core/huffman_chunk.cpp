// Chunks: their sub-streams, several at a time.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <limits>
#include <span>
#include <utility>

#include "core/bytes.h"
#include "core/histogram.h"
#include "core/huffman.h"
#include "core/huffman_value.h"
#include "core/multiversion.h"

namespace fmtc {
namespace {

constexpr size_t kSizeBytes = kSubstreamSizeBytes;
// Codes of up to 15 bits that can be put or taken between two flushes or refills.
constexpr size_t kGroup = 3;
static_assert(kGroup * kMaxCodeLength <= BitReader::kBitsPerRefill);
static_assert(kGroup * kMaxCodeLength + 7 <= BitWriter::kBitsPerFlush);
// Sub-streams that are decoded side by side.
constexpr size_t kLanesTogether = 4;

// An entry from which on the code is longer than the bits of a first look-up.
constexpr uint32_t kLongEntry = (kPairBits + 1u) << kTotalShift;
// Look-ups between two refills; the levels that they may write, and the bytes that they may need
// where all codes are long.
constexpr size_t kLookups = 5;
constexpr size_t kGroupLevels = 2 * kLookups;
constexpr size_t kGroupBytes = 20;
// Groups at a time, so that what they write stays in the L1 cache.
constexpr size_t kMostGroups = 128;
// Short codes: what a refill brings is enough for all look-ups of a group, whose entries say at
// most kPairBits (another one goes the way of long codes).
static_assert(kLookups * kPairBits <= UncheckedBitReader::kBitsPerRefill);
// Long codes: a refill before brings a code's bits, one behind it those of the other look-ups.
static_assert(kMaxCodeLength <= UncheckedBitReader::kBitsPerRefill);
// A reader stands within its first byte, at bit 7 or before; G groups take at most G * kLookups
// codes of kMaxCodeLength bits, and the last refill reads 64 bits from the byte where they end.
// With kGroupBytes bytes a group, that is all within the payload: for one group by this, and each
// other one brings more bytes than it takes.
static_assert(kLookups * kMaxCodeLength + 64 + 7 <= 8 * kGroupBytes);
static_assert(kLookups * kMaxCodeLength <= 8 * kGroupBytes);
// A look-up stores two levels also where only the first counts. The j-th, from 0 on, stores them at
// most 2 j levels behind the group's first.
static_assert(2 * (kLookups - 1) + 2 <= kGroupLevels);

// Stores both symbols of an entry, with what is above them.
FMTC_ALWAYS_INLINE void store_halves(uint32_t entry, int16_t* out) noexcept {
  const std::array<int16_t, 2> both = {static_cast<int16_t>(entry),
                                       static_cast<int16_t>(entry >> 16)};
  std::memcpy(out, both.data(), sizeof(both));
}

// Makes levels of the halves of entries, each of which has a symbol in its lowest bits: many at
// once, which takes less than pair by pair where they are decoded.
FMTC_ALWAYS_INLINE void levels_of_symbols(int16_t* halves, size_t count, int32_t lo) noexcept {
  for (size_t i = 0; i < count; ++i) {
    halves[i] = static_cast<int16_t>((halves[i] & static_cast<int32_t>(kMaxSymbols - 1)) + lo);
  }
}

// Levels within the table; false where one has no code.
FMTC_ALWAYS_INLINE bool encode_levels(const int16_t* levels, size_t count, int32_t lo,
                                      const uint32_t* entries, BitWriter& shared) noexcept {
  BitWriter writer = shared;
  uint32_t smallest = std::numeric_limits<uint32_t>::max();
  const auto put = [&](int16_t level) __attribute__((always_inline)) {
    const uint32_t entry = entries[level - lo];
    smallest = std::min(smallest, entry);
    writer.put(entry & 0xFFFF, encode_length(entry));
  };
  size_t i = 0;
  for (; i + kGroup <= count; i += kGroup) {
    for (size_t j = 0; j < kGroup; ++j) put(levels[i + j]);
    writer.flush();
  }
  for (; i < count; ++i) put(levels[i]);
  writer.flush();
  shared = writer;
  return smallest != 0;
}

// One of several bit strings that are decoded side by side.
struct Lane {
  BitReader reader;
  RunCursor run;
  int16_t* out = nullptr;
  const uint8_t* end = nullptr;  // of the bit string

  // Groups that decode_groups may take without looking at the end of the bits or of the run.
  size_t groups() const noexcept {
    return std::min({kMostGroups, run.size() / kGroupLevels, reader.left() / kGroupBytes});
  }

  bool decode(size_t count, int32_t lo, size_t mask) noexcept {
    if (!decode_levels(reader, lo, run.entries(), mask, out, count)) return false;
    out += count;
    run.advance(count);
    return true;
  }
};

template <size_t... kIndex>
std::array<UncheckedBitReader, sizeof...(kIndex)> readers_of(
    const Lane* lanes, std::index_sequence<kIndex...>) noexcept {
  return {UncheckedBitReader(lanes[kIndex].reader)...};
}

// Decodes `groups` groups of kLookups look-ups in each lane, each of which gives one level or two;
// false for bits that are no code.
template <size_t kCount>
FMTC_ALWAYS_INLINE bool decode_groups(Lane* lanes, size_t groups, int32_t lo,
                                      size_t mask) noexcept {
  std::array<UncheckedBitReader, kCount> readers =
      readers_of(lanes, std::make_index_sequence<kCount>());
  const uint32_t* entries[kCount];
  int16_t* out[kCount];
  for (size_t lane = 0; lane < kCount; ++lane) {
    entries[lane] = lanes[lane].run.entries();
    out[lane] = lanes[lane].out;
  }
  const size_t fast_mask = std::min(mask, (size_t{1} << kPairBits) - 1);
  bool all_codes = true;
  for (size_t group = 0; group < groups; ++group) {
#pragma GCC unroll 4
    for (size_t lane = 0; lane < kCount; ++lane) readers[lane].refill();
#pragma GCC unroll 5
    for (size_t j = 0; j < kLookups; ++j) {
#pragma GCC unroll 4
      for (size_t lane = 0; lane < kCount; ++lane) {
        uint32_t entry = entries[lane][readers[lane].peek() & fast_mask];
        if (entry - 1 >= kLongEntry - 1) [[unlikely]] {
          // A longer code, or none: all bits of the table's index are needed, and what is left must
          // again be enough for the other look-ups of the group.
          readers[lane].refill();
          entry = entries[lane][readers[lane].peek() & mask];
          all_codes = all_codes && entry != 0;
          *out[lane]++ = static_cast<int16_t>(entry);
          readers[lane].skip(first_length(entry));
          readers[lane].refill();
          continue;
        }
        store_halves(entry, out[lane]);
        readers[lane].skip(total_length(entry));
        out[lane] += 1 + (has_second(entry) ? 1 : 0);
      }
    }
  }
  for (size_t lane = 0; lane < kCount; ++lane) {
    readers[lane].store(lanes[lane].reader);
    const auto count = static_cast<size_t>(out[lane] - lanes[lane].out);
    levels_of_symbols(lanes[lane].out, count, lo);
    lanes[lane].run.advance(count);
    lanes[lane].out = out[lane];
  }
  return all_codes;
}

// Decodes lanes side by side until one of them nears its end; false for bits that are no code.
bool decode_interleaved(std::span<Lane, kLanesTogether> lanes, int32_t lo, size_t mask) noexcept {
  for (;;) {
    size_t groups = std::numeric_limits<size_t>::max();
    for (Lane& lane : lanes) {
      // The last values before the next table would stop all lanes: take them one by one.
      while (lane.run.size() > 0 && lane.run.size() < kGroupLevels) {
        if (!lane.decode(lane.run.size(), lo, mask)) return false;
      }
      groups = std::min(groups, lane.groups());
    }
    if (groups == 0) return true;
    if (!multiversion<decode_groups<kLanesTogether>>(lanes.data(), groups, lo, mask)) return false;
  }
}

// Decodes the rest of a lane; false for bits that are no code or are not there.
bool decode_rest(Lane& lane, int32_t lo, size_t mask) noexcept {
  while (lane.run.size() > 0) {
    const size_t groups = lane.groups();
    const bool good = groups > 0 ? multiversion<decode_groups<1>>(&lane, groups, lo, mask)
                                 : lane.decode(std::min(lane.run.size(), kGroupLevels), lo, mask);
    if (!good) return false;
  }
  return true;
}

// Encodes one sub-stream of levels that are known to be inside the tables.
Status encode_substream(std::span<const int16_t> levels, uint64_t first,
                        const ComponentTables& tables, std::span<uint8_t> out,
                        size_t& used) noexcept {
  BitWriter writer(out);
  const int16_t* next = levels.data();
  RunCursor run(tables, first, levels.size());
  while (run.size() > 0) {
    const size_t count = run.size();
    if (!multiversion<encode_levels>(next, count, tables.lo, run.entries(), writer))
      return Status::kNoCode;
    next += count;
    run.advance(count);
  }
  return writer.finish(used);
}

bool substreams_valid(int substreams) noexcept {
  return substreams >= 1 && substreams <= kMaxSubstreams;
}

int32_t highest_level(const ComponentTables& tables) noexcept {
  return tables.lo + static_cast<int32_t>(std::min(tables.width, kMaxSymbols)) - 1;
}

}  // namespace

size_t huffman_chunk_bound(size_t values, int substreams) noexcept {
  size_t bytes = kSizeBytes * static_cast<size_t>(substreams - 1);
  for (int i = 0; i < substreams; ++i) {
    bytes += (Substream(values, substreams, i).size * kMaxCodeLength + 7) / 8;
  }
  return bytes;
}

Status huffman_chunk_encode(std::span<const int16_t> levels, uint64_t first,
                            const ComponentTables& tables, int substreams, std::span<uint8_t> out,
                            size_t& used) noexcept {
  if (!substreams_valid(substreams)) return Status::kBadArgument;
  if (!levels_within(levels, tables.lo, highest_level(tables))) return Status::kNoCode;
  used = kSizeBytes * static_cast<size_t>(substreams - 1);
  if (out.size() < used) return Status::kBufferTooSmall;
  for (int i = 0; i < substreams; ++i) {
    const Substream part(levels.size(), substreams, i);
    size_t size = 0;
    const Status status = encode_substream(levels.subspan(part.first, part.size),
                                           first + part.first, tables, out.subspan(used), size);
    if (status != Status::kOk) return status;
    if (i + 1 < substreams) {
      store_le<uint32_t>(out.data() + kSizeBytes * static_cast<size_t>(i),
                         static_cast<uint32_t>(size));
    }
    used += size;
  }
  return Status::kOk;
}

Status huffman_chunk_decode(std::span<const uint8_t> payload, uint64_t first,
                            const ComponentTables& tables, int substreams,
                            std::span<int16_t> levels) noexcept {
  if (!substreams_valid(substreams)) return Status::kBadArgument;
  std::array<std::span<const uint8_t>, kMaxSubstreams> parts;
  if (!split_payload(payload, substreams, parts)) return Status::kBadCode;

  std::array<Lane, kMaxSubstreams> lanes;
  const uint8_t* const end = payload.data() + payload.size();
  for (int i = 0; i < substreams; ++i) {
    const Substream part(levels.size(), substreams, i);
    const auto lane = static_cast<size_t>(i);
    // A lane may read on to the end of the payload, so that it need not slow down for its own,
    // where it must be at last.
    lanes[lane] = {BitReader({parts[lane].data(), end}),
                   RunCursor(tables, first + part.first, part.size), levels.data() + part.first,
                   parts[lane].data() + parts[lane].size()};
  }
  const size_t mask = tables.width - 1;
  const auto count = static_cast<size_t>(substreams);
  for (size_t i = 0; i + kLanesTogether <= count; i += kLanesTogether) {
    const std::span<Lane, kLanesTogether> group(lanes.data() + i, kLanesTogether);
    if (!decode_interleaved(group, tables.lo, mask)) return Status::kBadCode;
  }
  for (Lane& lane : std::span(lanes.data(), count)) {
    if (!decode_rest(lane, tables.lo, mask) || !lane.reader.at_end(lane.end)) {
      return Status::kBadCode;
    }
  }
  return Status::kOk;
}

size_t find_uncodable(std::span<const int16_t> levels, const ComponentTables& tables) noexcept {
  size_t index = 0;
  for (RunCursor run(tables, 0, levels.size()); run.size() > 0; run.advance(1), ++index) {
    const int64_t symbol = int64_t{levels[index]} - tables.lo;
    if (symbol < 0 || symbol >= static_cast<int64_t>(tables.width) || run.entries()[symbol] == 0) {
      return index;
    }
  }
  return index;
}

}  // namespace fmtc
