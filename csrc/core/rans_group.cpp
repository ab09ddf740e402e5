// Rounds of several chunks in vector code.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <type_traits>

#include "core/bytes.h"
#include "core/rans.h"
#include "core/rans_kernels.h"
#include "core/rans_states.h"
#include "core/rans_value.h"

namespace fmtc {
namespace rans {
namespace {

// A round takes as long with one lane as with 8, so fewer than these lanes are faster in scalar
// code.
constexpr size_t kWorthwhileLanes = 3;
constexpr size_t kMostStates = size_t{1} << RansKernels::kMaxLog2GroupStates;  // of such a chunk
// What callers are told to give at once.
static_assert(rans_chunks_together(1) == kMaxGroupLanes &&
              rans_chunks_together(1 << RansKernels::kMaxLog2GroupStates) > 1 &&
              rans_chunks_together(2 << RansKernels::kMaxLog2GroupStates) == 1);

// How many of the first chunks are coded together: those that fit a kernel and are alike. 1 where
// none are.
template <class Chunk, class Fits>
size_t group_size(std::span<Chunk> chunks, int states, const Fits& fits) noexcept {
  if (!states_valid(states) || states > 1 << RansKernels::kMaxLog2GroupStates) return 1;
  const Chunk& first = chunks[0];
  const auto other = std::find_if(chunks.begin(), chunks.end(), [&](const Chunk& chunk) {
    return !fits(chunk) || chunk.levels.size() != first.levels.size() ||
           chunk.tables.width != first.tables.width ||
           chunk.tables.entries.data() != first.tables.entries.data() ||
           chunk.tables.entries.size() != first.tables.entries.size();
  });
  const auto alike = static_cast<size_t>(other - chunks.begin());
  const auto count = static_cast<size_t>(states);
  return alike * count < kWorthwhileLanes ? 1 : std::min(alike, kMaxGroupLanes / count);
}

// The lanes of a round for so many chunks.
size_t lanes_of(size_t chunks, size_t states) noexcept {
  return std::max(std::bit_ceil(chunks * states), kMinGroupLanes);
}

// ---------------------------------------------------------------------------------------------
// Encoding

RansGroupEncode encode_kernel_of(const RansKernels* kernels, size_t lanes) noexcept {
  const int log2_lanes = std::countr_zero(lanes) - RansKernels::kMinLog2GroupLanes;
#if defined(FMTC_X86_KERNELS)
  if (kernels->encode_group[log2_lanes] == nullptr) kernels = &kRansAvx2;
#endif
  return kernels->encode_group[log2_lanes];
}

// The entries of the values of a tile, [rounds, lanes], and the digits that they give.
struct EncodeTile {
  static constexpr size_t kValues = 128;  // of a chunk, encoded by one call of a kernel
  static constexpr size_t kDigitBytes = kRansDigitBytes * kValues * kMaxGroupLanes;
  alignas(64) std::array<uint32_t, kValues * kMaxGroupLanes> entries;
  std::array<uint16_t, kValues> place;  // of the entries of a chunk, behind its first lane
  std::array<uint8_t, kGroupSlack + kDigitBytes> digits;
  std::array<uint8_t, kGroupSlack + kDigitBytes> chunks;  // of which each digit is
};

// One chunk of a group that is encoded.
template <size_t kStates>
class EncodeMember {
 public:
  EncodeMember(UncodedChunk& chunk, size_t index) noexcept
      : chunk_(&chunk),
        state_(begin_chunk(chunk.out, chunk.levels.size(), kStates)),
        run_(chunk.tables, chunk.first, chunk.levels.size()),
        lane_(index * kStates) {}

  // Encodes the values from `begin` on, one by one, before all others; the states that follow.
  std::span<const uint32_t, kStates> encode_last(size_t begin) noexcept {
    const auto levels = chunk_->levels;
    encode_values(levels, begin, levels.size(), chunk_->tables, kStates, run_, state_);
    return std::span(state_.states).template first<kStates>();
  }

  // Looks up the entries of the values from `begin` on, and stores levels that are escaped. In a
  // function of its own, so that what the loop needs is in registers.
  __attribute__((noinline)) void set_entries(EncodeTile& tile, size_t begin,
                                             size_t values) noexcept {
    const ComponentTables& tables = chunk_->tables;
    const int16_t* const levels = chunk_->levels.data() + begin;
    const auto lo = static_cast<uint16_t>(tables.lo),
               direct = static_cast<uint16_t>(tables.width - 1);
    std::array<uint16_t, EncodeTile::kValues> symbols;
    for (size_t i = 0; i < values; ++i) {
      symbols[i] = std::min(static_cast<uint16_t>(levels[i] - lo), direct);
    }
    const uint16_t* const place = tile.place.data();
    uint32_t* const column = tile.entries.data() + lane_;
    uint8_t* escapes = state_.escapes;
    for (size_t end = values; end > 0;) {
      const size_t first = end - std::min(run_.size(), end);
      const uint32_t* const entries = tables.table(run_.table()).data();
      const uint32_t escape = entries[direct];
      run_.advance(end - first);
      while (end > first) {
        --end;
        uint32_t entry = entries[symbols[end]];
        if (entry == 0 || entry == escape) [[unlikely]] {
          entry = escape;
          store_le(escapes, static_cast<uint16_t>(levels[end]));
          escapes += kRansDigitBytes;
        }
        column[place[end]] = entry;
      }
    }
    state_.escapes = escapes;
  }

  // Where the digit goes before which none is given yet.
  uint8_t*& digits() noexcept { return state_.digits; }

  void finish(const uint32_t* states) noexcept {
    std::copy_n(states, kStates, state_.states.begin());
    chunk_->used = finish_chunk(chunk_->out, kStates, state_);
    chunk_->status = Status::kOk;
  }

 private:
  UncodedChunk* chunk_;
  EncoderState state_;
  BackwardRunCursor run_;
  size_t lane_;  // the first one
};

// Chunks of which group_size says that they can be encoded together.
template <size_t kStates>
void encode_group(std::span<UncodedChunk> chunks, const RansKernels* kernels) noexcept {
  constexpr size_t kMaxChunks = kMaxGroupLanes / kStates;
  const size_t lanes = lanes_of(chunks.size(), kStates);
  const size_t whole_rounds = chunks[0].levels.size() / kStates * kStates;
  const RansGroupEncode kernel = encode_kernel_of(kernels, lanes);
  EncodeTile tile;
  // Lanes without a chunk encode values of all slots, which changes nothing.
  tile.entries.fill(static_cast<uint32_t>(kMaxTotal) << 16);
  for (size_t i = 0; i < EncodeTile::kValues; ++i) {
    tile.place[i] = static_cast<uint16_t>(i / kStates * lanes + i % kStates);
  }
  alignas(64) std::array<uint32_t, kMaxGroupLanes> states, chunk_of;
  states.fill(kRansLowest);
  for (size_t lane = 0; lane < lanes; ++lane) {
    chunk_of[lane] = static_cast<uint32_t>(lane / kStates);
  }
  std::array<std::optional<EncodeMember<kStates>>, kMaxChunks> space;
  std::array<EncodeMember<kStates>*, kMaxChunks> members;
  std::array<uint8_t*, kMaxChunks> digits;
  for (size_t i = 0; i < chunks.size(); ++i) {
    members[i] = &space[i].emplace(chunks[i], i);
    const auto first = members[i]->encode_last(whole_rounds);
    std::copy_n(first.begin(), kStates, states.data() + i * kStates);
    digits[i] = members[i]->digits();
  }
  for (size_t begin = whole_rounds; begin > 0;) {
    const size_t values = std::min(EncodeTile::kValues, begin);
    begin -= values;
    for (size_t i = 0; i < chunks.size(); ++i) members[i]->set_entries(tile, begin, values);
    RansGroupEncodeRounds rounds = {tile.entries.data(), states.data(), chunk_of.data(),
                                    tile.digits.data() + tile.digits.size(),
                                    tile.chunks.data() + tile.chunks.size()};
    const size_t given = kernel(rounds, values / kStates);
    for (size_t i = 1; i <= given; ++i) {
      uint8_t*& to = digits[load_le<uint16_t>(rounds.chunks - kRansDigitBytes * i)];
      to -= kRansDigitBytes;
      std::memcpy(to, rounds.digits - kRansDigitBytes * i, kRansDigitBytes);
    }
  }
  for (size_t i = 0; i < chunks.size(); ++i) {
    members[i]->digits() = digits[i];
    members[i]->finish(states.data() + i * kStates);
  }
}

// ---------------------------------------------------------------------------------------------
// Decoding

RansGroupDecode decode_kernel_of(const RansKernels* kernels, size_t states, size_t lanes) noexcept {
  const int log2_states = std::countr_zero(states);
  const int log2_lanes = std::countr_zero(lanes) - RansKernels::kMinLog2GroupLanes;
#if defined(FMTC_X86_KERNELS)
  if (kernels->decode_group[log2_states][log2_lanes] == nullptr) kernels = &kRansAvx2;
#endif
  return kernels->decode_group[log2_states][log2_lanes];
}

constexpr size_t kTileValues = 64;  // of a chunk, decoded by one call of a kernel
constexpr size_t kTileDigitBytes = kRansDigitBytes * kTileValues;  // bytes that they can take
// A round of a chunk with S states reads 2 S bytes at its next digit and takes at most these, so
// the kTileValues / S rounds of a tile stay within its kTileDigitBytes, whatever is in them.
static_assert(kTileValues % (1 << RansKernels::kMaxLog2GroupStates) == 0);

// What a kernel needs for the values of a tile: [rounds, lanes]; and of each chunk the digits.
struct DecodeTile {
  alignas(64) std::array<uint32_t, kTileValues * kMaxGroupLanes> table;
  alignas(64) std::array<uint16_t, kTileValues * kMaxGroupLanes> offset;
  std::array<uint8_t, kTileDigitBytes * kMaxGroupLanes> digits;
};

// One chunk of a group, its lanes and how far it is decoded. Its digits are copied tile by tile,
// so a kernel need not look where they end.
template <size_t kStates>
class DecodeMember {
 public:
  // The chunk with this index in the group; so many lanes have all.
  DecodeMember(const CodedChunk& chunk, size_t index, size_t lanes,
               const DecoderState& state) noexcept
      : chunk_(&chunk),
        state_(state),
        run_(chunk.tables, chunk.first, chunk.levels.size()),
        lane_(index * kStates),
        lanes_(lanes),
        digits_(index * kTileDigitBytes) {}

  void set_tables(DecodeTile& tile, size_t values) noexcept {
    const ComponentTables& tables = chunk_->tables;
    const bool one_table = run_.size() >= values;
    if (one_table && one_table_ && run_.table() == table_) {  // those of the last tile
      run_.advance(values);
      return;
    }
    one_table_ = one_table;
    table_ = run_.table();
    for (size_t i = 0; i < values;) {
      const size_t end = i + std::min(run_.size(), values - i);
      std::array<uint32_t, kStates> table;
      table.fill(static_cast<uint32_t>(run_.table() * tables.width));
      std::array<uint16_t, kStates> offset;
      offset.fill(static_cast<uint16_t>(tables.lo + tables.base[run_.table()]));
      run_.advance(end - i);
      for (; i < end && i % kStates != 0; ++i) {
        tile.table[place(i)] = table[0];
        tile.offset[place(i)] = offset[0];
      }
      // Whole rounds. What the last one has behind the end is written again for the next run.
      uint32_t* to_table = tile.table.data() + place(i);
      uint16_t* to_offset = tile.offset.data() + place(i);
      const size_t step = lanes_;
      for (; i < end; i += kStates, to_table += step, to_offset += step) {
        std::memcpy(to_table, table.data(), sizeof(table));
        std::memcpy(to_offset, offset.data(), sizeof(offset));
      }
      i = end;
    }
  }

  void set_digits(DecodeTile& tile) const noexcept {
    uint8_t* const digits = tile.digits.data() + digits_;
    if (left() >= kTileDigitBytes) {
      std::memcpy(digits, state_.digits, kTileDigitBytes);  // a size that the compiler knows
    } else {
      std::memcpy(digits, state_.digits, left());
    }
  }

  // Goes on behind the digits of a tile that a kernel took, those before `next`.
  void take_digits(uint32_t next) noexcept {
    const size_t taken = next - digits_;
    good_ = good_ && taken <= left();
    if (good_) state_.digits += taken;
  }

  // Puts escaped levels into a tile, of which the kernel has written the levels.
  void take_escapes(const DecodeTile& tile, std::span<int16_t> levels) noexcept {
    for (size_t i = 0; i < levels.size() && good_; ++i) {
      if (static_cast<uint16_t>(levels[i] - tile.offset[place(i)]) != kEscapeSymbol) continue;
      good_ = state_.escapes - state_.digits >= static_cast<std::ptrdiff_t>(kRansDigitBytes);
      if (!good_) return;
      state_.escapes -= kRansDigitBytes;
      levels[i] = static_cast<int16_t>(load_le<uint16_t>(state_.escapes));
    }
  }

  // Decodes the values from `begin` on, one by one, beginning with these states; false for a
  // damaged payload.
  bool finish(const uint32_t* states, size_t begin) noexcept {
    std::copy_n(states, kStates, state_.states.begin());
    return good_ && state_.digits <= state_.escapes &&
           decode_rest(chunk_->levels, begin, chunk_->tables, kStates, run_, state_);
  }

 private:
  // Where value i of a tile has its table.
  size_t place(size_t i) const noexcept { return i / kStates * lanes_ + lane_ + i % kStates; }
  // Bytes that can be read as digits. The last ones may be escaped levels, as finish() finds out.
  size_t left() const noexcept {
    return static_cast<size_t>(chunk_->payload.data() + chunk_->payload.size() - state_.digits);
  }

  const CodedChunk* chunk_;
  DecoderState state_;
  RunCursor run_;
  size_t lane_;             // the first one
  size_t lanes_;            // of a round
  size_t digits_;           // where its digits are in a tile
  bool one_table_ = false;  // whether all values of the last tile had table_
  size_t table_ = 0;
  bool good_ = true;
};

// Chunks of which group_size says that they can be decoded together.
template <size_t kStates>
class DecodeGroup {
 public:
  DecodeGroup(std::span<CodedChunk> chunks, const RansKernels* kernels) noexcept
      : chunks_(chunks),
        lanes_(lanes_of(chunks.size(), kStates)),
        kernel_(decode_kernel_of(kernels, kStates, lanes_)) {
    // Lanes without a chunk decode nothing to nowhere.
    states_.fill(kRansLowest);
    levels_.fill(nowhere_.data());
    for (size_t i = 0; i < chunks.size(); ++i) {
      DecoderState state;
      if (!load_states(chunks[i].payload, kStates, state)) continue;
      members_[i].emplace(chunks[i], i, lanes_, state);
      std::copy_n(state.states.begin(), kStates, states_.data() + i * kStates);
    }
  }

  // Writes the levels and the status of each chunk.
  void decode() noexcept {
    const size_t whole_rounds = chunks_[0].levels.size() / kStates * kStates;
    for (size_t begin = 0; begin < whole_rounds; begin += kTileValues) {
      decode_tile(begin, std::min(kTileValues, whole_rounds - begin));
    }
    for (size_t i = 0; i < chunks_.size(); ++i) {
      auto& member = members_[i];
      const bool good = member && member->finish(states_.data() + i * kStates, whole_rounds);
      chunks_[i].status = good ? Status::kOk : Status::kBadCode;
    }
  }

 private:
  static constexpr size_t kMaxChunks = kMaxGroupLanes / kStates;

  void decode_tile(size_t begin, size_t values) noexcept {
    for (size_t i = 0; i < chunks_.size(); ++i) {
      auto& member = members_[i];
      if (!member) continue;
      member->set_tables(tile_, values);
      member->set_digits(tile_);
      levels_[i] = chunks_[i].levels.data() + begin;
    }
    for (size_t lane = 0; lane < lanes_; ++lane) {
      next_[lane] = static_cast<uint32_t>(lane / kStates * kTileDigitBytes);
    }
    RansGroupDecodeRounds rounds = {chunks_[0].tables.entries.data(),
                                    tile_.table.data(),
                                    tile_.offset.data(),
                                    states_.data(),
                                    tile_.digits.data(),
                                    next_.data(),
                                    levels_.data()};
    const uint32_t escaped = kernel_(rounds, values / kStates);
    for (size_t i = 0; i < chunks_.size(); ++i) {
      auto& member = members_[i];
      if (!member) continue;
      member->take_digits(next_[i * kStates]);
      const uint32_t of_chunk = escaped >> i * kStates & ((1u << kStates) - 1);
      if (of_chunk != 0) member->take_escapes(tile_, std::span(levels_[i], values));
    }
  }

  std::span<CodedChunk> chunks_;
  size_t lanes_;  // of a round
  RansGroupDecode kernel_;
  std::array<std::optional<DecodeMember<kStates>>, kMaxChunks> members_;  // none: damaged
  alignas(64) std::array<uint32_t, kMaxGroupLanes> states_;
  alignas(64) std::array<uint32_t, kMaxGroupLanes> next_;
  std::array<int16_t*, kMaxChunks> levels_;
  std::array<int16_t, kTileValues> nowhere_;
  DecodeTile tile_{};
};

}  // namespace
// Brings decode tables to the L2 cache, from which the tables of a network's other layers have
// driven them: a value would wait for each line that it is the first to need. Few values need few
// lines.
void fetch_tables(std::span<const CodedChunk> chunks) noexcept {
  constexpr size_t kLine = 64 / sizeof(uint32_t);
  size_t values = 0;
  for (const CodedChunk& chunk : chunks) values += chunk.levels.size();
  if (chunks.empty() || values < chunks[0].tables.entries.size() / kLine) return;
  const std::span<const uint32_t> entries = chunks[0].tables.entries;
  for (size_t i = 0; i < entries.size(); i += kLine) __builtin_prefetch(entries.data() + i, 0, 2);
}

}  // namespace rans

void rans_chunks_encode(std::span<UncodedChunk> chunks, int states,
                        const RansKernels* kernels) noexcept {
  const auto fits = [&](const UncodedChunk& chunk) {
    return kernels != nullptr && chunk.tables.count() > 0 && rans::symbols_distinct(chunk.tables) &&
           rans::encode_log2_total(chunk.tables.table(0)) == kKernelLog2Total &&
           chunk.out.size() >= rans_chunk_bound(chunk.levels.size(), states);
  };
  while (!chunks.empty()) {
    const size_t together = rans::group_size(chunks, states, fits);
    if (together == 1) {
      UncodedChunk& chunk = chunks[0];
      chunk.status = rans_chunk_encode(chunk.levels, chunk.first, chunk.tables, states, chunk.out,
                                       chunk.used, kernels);
    } else {
      rans::with_states<rans::kMostStates>(static_cast<size_t>(states), [&](auto count) {
        rans::encode_group<count()>(chunks.first(together), kernels);
      });
    }
    chunks = chunks.subspan(together);
  }
}

void rans_chunks_decode(std::span<CodedChunk> chunks, int states,
                        const RansKernels* kernels) noexcept {
  const auto fits = [&](const CodedChunk& chunk) {
    return kernels != nullptr && chunk.tables.width == size_t{1} << kKernelLog2Total &&
           chunk.tables.entries.size() <= std::numeric_limits<uint32_t>::max();
  };
  rans::fetch_tables(chunks);
  while (!chunks.empty()) {
    const size_t together = rans::group_size(chunks, states, fits);
    if (together == 1) {
      CodedChunk& chunk = chunks[0];
      chunk.status = rans_chunk_decode(chunk.payload, chunk.first, chunk.tables, states,
                                       chunk.levels, kernels);
    } else {
      rans::with_states<rans::kMostStates>(static_cast<size_t>(states), [&](auto count) {
        rans::DecodeGroup<count()>(chunks.first(together), kernels).decode();
      });
    }
    chunks = chunks.subspan(together);
  }
}

}  // namespace fmtc
