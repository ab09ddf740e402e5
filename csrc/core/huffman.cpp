#include "core/huffman.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>
#include <utility>

#include "core/bytes.h"
#include "core/histogram.h"
#include "core/huffman_value.h"
#include "core/simd.h"

namespace fmtc {
namespace {

constexpr size_t kSizeBytes = kSubstreamSizeBytes;
// Codes of up to 15 bits that can be put or taken between two flushes or refills.
constexpr size_t kGroup = 3;
static_assert(kGroup * kMaxCodeLength <= BitReader::kBitsPerRefill);
static_assert(kGroup * kMaxCodeLength + 7 <= BitWriter::kBitsPerFlush);
// Sub-streams that are decoded side by side.
constexpr int kLanes = 4;

// Entries are first looked up by this many bits, so that what is used stays in the L1 cache; two
// codes are in one entry where they have no more bits together.
constexpr int kPairBits = 11;
// An entry from which on the code is longer than that.
constexpr uint32_t kLongEntry = (kPairBits + 1u) << kTotalShift;
// Look-ups between two refills; the levels that they may write, and the bytes that they may need
// where all codes are long.
constexpr size_t kLookups = 5;
constexpr size_t kGroupLevels = 2 * kLookups;
constexpr size_t kGroupBytes = 20;
static_assert(kLookups * kPairBits <= UncheckedBitReader::kBitsPerRefill);
static_assert(kLookups * kMaxCodeLength + 64 + 7 <= 8 * kGroupBytes);

// ---------------------------------------------------------------------------------------------
// Code lengths

// Package-merge over the symbols sorted by count. Each of max_length rounds merges the leaves with
// the pairs ("packages") of the round before; which of the two an item is, is all that need be
// kept: taking the first 2n - 2 items of the last round, the leaves among them are the first ones
// in sorted order, and the packages stand for the first items of the round before.
class PackageMerge {
 public:
  // order: the used symbols by ascending count, at least two and at most 2^max_length.
  PackageMerge(std::span<const int64_t> counts, std::span<const uint16_t> order) noexcept
      : counts_(counts), order_(order) {}

  void run(int max_length, std::span<uint8_t> lengths) noexcept {
    for (int round = 0; round < max_length; ++round) merge(round);
    size_t taken = 2 * order_.size() - 2;
    for (int round = max_length - 1; round >= 0; --round) {
      const auto& leaf = is_leaf_[static_cast<size_t>(round)];
      const auto leaves = static_cast<size_t>(
          std::count(leaf.begin(), leaf.begin() + static_cast<std::ptrdiff_t>(taken), true));
      for (size_t i = 0; i < leaves; ++i) ++lengths[order_[i]];
      taken = 2 * (taken - leaves);
    }
  }

 private:
  void merge(int round) noexcept {
    const size_t packages = size_ / 2;
    size_t leaf = 0;
    size_t package = 0;
    for (size_t i = 0; i < order_.size() + packages; ++i) {
      const int64_t package_weight =
          package < packages ? weights_[2 * package] + weights_[2 * package + 1] : 0;
      const bool take_leaf =
          package == packages || (leaf < order_.size() && counts_[order_[leaf]] <= package_weight);
      merged_[i] = take_leaf ? counts_[order_[leaf]] : package_weight;
      is_leaf_[static_cast<size_t>(round)][i] = take_leaf;
      leaf += take_leaf;
      package += !take_leaf;
    }
    size_ = order_.size() + packages;
    std::swap(weights_, merged_);
  }

  std::span<const int64_t> counts_;
  std::span<const uint16_t> order_;
  size_t size_ = 0;  // items of the last round
  std::array<int64_t, 2 * kMaxSymbols> weights_;
  std::array<int64_t, 2 * kMaxSymbols> merged_;
  std::array<std::array<bool, 2 * kMaxSymbols>, kMaxCodeLength> is_leaf_;
};

// ---------------------------------------------------------------------------------------------
// Canonical codes

uint32_t reverse_bits(uint32_t code, int length) noexcept {
  uint32_t reversed = 0;
  for (int i = 0; i < length; ++i, code >>= 1) reversed = reversed << 1 | (code & 1);
  return reversed;
}

// The longest length, or 0 where the lengths make no valid code.
int longest_valid(std::span<const uint8_t> lengths) noexcept {
  constexpr uint32_t kOne = 1u << kMaxCodeLength;
  if (lengths.size() > kMaxSymbols) return 0;
  uint64_t kraft = 0;
  size_t used = 0;
  int longest = 0;
  for (const uint8_t length : lengths) {
    if (length == 0) continue;
    if (length > kMaxCodeLength) return 0;
    kraft += kOne >> length;
    longest = std::max<int>(longest, length);
    ++used;
  }
  const bool one_symbol = used == 1 && longest == 1;
  return kraft == kOne || one_symbol ? longest : 0;
}

// Calls visit(symbol, length, bit-reversed code) for each symbol of a valid code.
template <typename Visit>
void for_each_code(std::span<const uint8_t> lengths, Visit visit) noexcept {
  std::array<uint32_t, kMaxCodeLength + 2> next{};  // the next code of each length
  std::array<uint32_t, kMaxCodeLength + 1> used{};
  for (const uint8_t length : lengths) ++used[length];
  for (size_t length = 1; length <= kMaxCodeLength; ++length) {
    next[length + 1] = (next[length] + used[length]) << 1;
  }
  for (size_t symbol = 0; symbol < lengths.size(); ++symbol) {
    const int length = lengths[symbol];
    if (length == 0) continue;
    visit(static_cast<uint32_t>(symbol), length, reverse_bits(next[lengths[symbol]]++, length));
  }
}

// Puts the second code into entries that have bits for it. Bits behind an index are not known, so
// both codes must lie within the `bits` bits by which entries are looked up first.
void add_second_codes(int bits, std::span<uint32_t> entries) noexcept {
  // Downwards: the rest of an index is below it, so what is looked up still has its first code
  // alone. Only index 0 is its own rest; it is read before it is written.
  for (size_t i = entries.size(); i-- > 0;) {
    const uint32_t length = entries[i] >> kTotalShift;
    if (length == 0) continue;
    const uint32_t second = entries[(i & ((size_t{1} << bits) - 1)) >> length];
    const uint32_t second_length = second >> kTotalShift;
    if (second_length == 0 || length + second_length > static_cast<uint32_t>(bits)) continue;
    entries[i] += (second & (kMaxSymbols - 1)) << kSecondShift | second_length << kLengthShift |
                  second_length << kTotalShift;
  }
}

// ---------------------------------------------------------------------------------------------
// Runs

// Adds lo to both symbols of an entry at once, each in its 16 bits, and stores the two levels.
class LevelPair {
 public:
  explicit LevelPair(int32_t lo) noexcept {
    const uint32_t both = (static_cast<uint32_t>(lo) & 0xFFFF) * 0x10001u;
    // A symbol has 12 bits: without its highest bit, lo does not carry over into the other half.
    low_ = both & 0x7FFF7FFF;
    high_ = both & 0x80008000;
  }

  FMTC_ALWAYS_INLINE void store(uint32_t entry, int16_t* out) const noexcept {
    const uint32_t levels = ((entry & 0x0FFF0FFF) + low_) ^ high_;
    const std::array<int16_t, 2> both = {static_cast<int16_t>(levels),
                                         static_cast<int16_t>(levels >> 16)};
    std::memcpy(out, both.data(), sizeof(both));
  }

 private:
  uint32_t low_, high_;
};

// Levels within the table; false where one has no code.
FMTC_MULTIVERSION bool encode_levels(const int16_t* levels, size_t count, int32_t lo,
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
    return std::min(run.size() / kGroupLevels, reader.left() / kGroupBytes);
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
template <int kCount>
FMTC_ALWAYS_INLINE bool decode_groups(Lane* lanes, size_t groups, int32_t lo,
                                      size_t mask) noexcept {
  std::array<UncheckedBitReader, kCount> readers =
      readers_of(lanes, std::make_index_sequence<kCount>());
  const uint32_t* entries[kCount];
  int16_t* out[kCount];
  for (int lane = 0; lane < kCount; ++lane) {
    entries[lane] = lanes[lane].run.entries();
    out[lane] = lanes[lane].out;
  }
  const LevelPair pair(lo);
  const size_t fast_mask = std::min(mask, (size_t{1} << kPairBits) - 1);
  bool all_codes = true;
  for (size_t group = 0; group < groups; ++group) {
#pragma GCC unroll 4
    for (int lane = 0; lane < kCount; ++lane) readers[lane].refill();
#pragma GCC unroll 5
    for (size_t j = 0; j < kLookups; ++j) {
#pragma GCC unroll 4
      for (int lane = 0; lane < kCount; ++lane) {
        uint32_t entry = entries[lane][readers[lane].peek() & fast_mask];
        if (entry - 1 >= kLongEntry - 1) [[unlikely]] {
          // A longer code, or none: all bits of the table's index are needed, and what is left must
          // again be enough for the other look-ups of the group.
          readers[lane].refill();
          entry = entries[lane][readers[lane].peek() & mask];
          all_codes = all_codes && entry != 0;
          *out[lane]++ = first_level(entry, lo);
          readers[lane].skip(first_length(entry));
          readers[lane].refill();
          continue;
        }
        pair.store(entry, out[lane]);
        readers[lane].skip(total_length(entry));
        out[lane] += second_length(entry) != 0 ? 2 : 1;
      }
    }
  }
  for (int lane = 0; lane < kCount; ++lane) {
    readers[lane].store(lanes[lane].reader);
    lanes[lane].run.advance(static_cast<size_t>(out[lane] - lanes[lane].out));
    lanes[lane].out = out[lane];
  }
  return all_codes;
}

FMTC_MULTIVERSION bool decode_groups_1(Lane* lanes, size_t groups, int32_t lo,
                                       size_t mask) noexcept {
  return decode_groups<1>(lanes, groups, lo, mask);
}

FMTC_MULTIVERSION bool decode_groups_4(Lane* lanes, size_t groups, int32_t lo,
                                       size_t mask) noexcept {
  return decode_groups<kLanes>(lanes, groups, lo, mask);
}

// Decodes lanes side by side until one of them nears its end; false for bits that are no code.
bool decode_interleaved(std::span<Lane, kLanes> lanes, int32_t lo, size_t mask) noexcept {
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
    if (!decode_groups_4(lanes.data(), groups, lo, mask)) return false;
  }
}

// Decodes the rest of a lane; false for bits that are no code or are not there.
bool decode_rest(Lane& lane, int32_t lo, size_t mask) noexcept {
  while (lane.run.size() > 0) {
    const size_t groups = lane.groups();
    const bool good = groups > 0 ? decode_groups_1(&lane, groups, lo, mask)
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
    if (!encode_levels(next, count, tables.lo, run.entries(), writer)) return Status::kNoCode;
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

Status huffman_lengths(std::span<const int64_t> counts, int max_length,
                       std::span<uint8_t> lengths) noexcept {
  if (max_length < 1 || max_length > kMaxCodeLength || lengths.size() != counts.size()) {
    return Status::kBadArgument;
  }
  if (!counts_valid(counts)) return Status::kOutOfRange;
  if (counts.size() > kMaxSymbols) return Status::kBadTable;
  std::array<uint16_t, kMaxSymbols> order;
  size_t used = 0;
  for (size_t symbol = 0; symbol < counts.size(); ++symbol) {
    if (counts[symbol] > 0) order[used++] = static_cast<uint16_t>(symbol);
  }
  if (used > size_t{1} << max_length) return Status::kBadTable;
  std::fill(lengths.begin(), lengths.end(), uint8_t{0});
  if (used == 1) lengths[order[0]] = 1;
  if (used < 2) return Status::kOk;
  const std::span<uint16_t> symbols(order.data(), used);
  std::sort(symbols.begin(), symbols.end(), [&](uint16_t a, uint16_t b) {
    return counts[a] != counts[b] ? counts[a] < counts[b] : a < b;
  });
  PackageMerge(counts, symbols).run(max_length, lengths);
  return Status::kOk;
}

Status huffman_encode_table(std::span<const uint8_t> lengths,
                            std::span<uint32_t> entries) noexcept {
  if (entries.size() != lengths.size()) return Status::kBadArgument;
  if (longest_valid(lengths) == 0) return Status::kBadTable;
  std::fill(entries.begin(), entries.end(), 0u);
  for_each_code(lengths, [&](uint32_t symbol, int length, uint32_t code) {
    entries[symbol] = static_cast<uint32_t>(length) << 16 | code;
  });
  return Status::kOk;
}

Status huffman_decode_table(std::span<const uint8_t> lengths, int table_bits,
                            std::span<uint32_t> entries) noexcept {
  if (table_bits < 1 || table_bits > kMaxCodeLength || entries.size() != size_t{1} << table_bits) {
    return Status::kBadArgument;
  }
  const int longest = longest_valid(lengths);
  if (longest == 0) return Status::kBadTable;
  if (longest > table_bits) return Status::kBadArgument;
  std::fill(entries.begin(), entries.end(), 0u);
  for_each_code(lengths, [&](uint32_t symbol, int length, uint32_t code) {
    for (size_t i = code; i < entries.size(); i += size_t{1} << length) {
      entries[i] = symbol | static_cast<uint32_t>(length) << kTotalShift;
    }
  });
  add_second_codes(std::min(table_bits, kPairBits), entries);
  return Status::kOk;
}

Status huffman_check_encode_tables(const ComponentTables& tables, uint64_t components) noexcept {
  const bool good = tables_valid(tables, components) && tables.width <= kMaxSymbols;
  return good ? Status::kOk : Status::kBadArgument;
}

Status huffman_check_decode_tables(const ComponentTables& tables, uint64_t components) noexcept {
  const bool good = tables_valid(tables, components) && std::has_single_bit(tables.width) &&
                    tables.width >= 2 && tables.width <= size_t{1} << kMaxCodeLength;
  return good ? Status::kOk : Status::kBadArgument;
}

Status huffman_encode_run(std::span<const int16_t> levels, int32_t lo,
                          std::span<const uint32_t> entries, BitWriter& writer) noexcept {
  if (entries.empty() || entries.size() > kMaxSymbols) return Status::kBadArgument;
  if (!levels_within(levels, lo, lo + static_cast<int32_t>(entries.size()) - 1) ||
      !encode_levels(levels.data(), levels.size(), lo, entries.data(), writer)) {
    return Status::kNoCode;
  }
  return Status::kOk;
}

Status huffman_decode_run(BitReader& reader, int32_t lo, std::span<const uint32_t> entries,
                          std::span<int16_t> levels) noexcept {
  if (entries.size() < 2 || !std::has_single_bit(entries.size())) return Status::kBadArgument;
  return decode_levels(reader, lo, entries.data(), entries.size() - 1, levels.data(), levels.size())
             ? Status::kOk
             : Status::kBadCode;
}

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
  for (size_t i = 0; i + kLanes <= count; i += kLanes) {
    const std::span<Lane, kLanes> group(lanes.data() + i, kLanes);
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
