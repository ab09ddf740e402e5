#include "core/rans.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "core/bytes.h"
#include "core/rans_kernels.h"
#include "core/rans_value.h"
#include "core/simd.h"

namespace fmtc {
namespace {

constexpr size_t kStateBytes = kRansStateBytes;
constexpr size_t kWordBytes = kRansWordBytes;

// ---------------------------------------------------------------------------------------------
// Frequencies

constexpr int kMaxTotal = 1 << kMaxLog2Total;
constexpr double kEscapedBits = 16;  // of an escaped level, besides its symbol
// A direct level must have at least 2^-i of the counts that a slot stands for, for one of these i.
constexpr int kThresholds = 6;

// log2(f) for f from 1, and log2((f + 1) / f), which is what one slot more saves for each count.
// Evaluated by the compiler from the series log((f + 1) / f) = 2 atanh(1 / (2 f + 1)).
struct Logarithms {
  std::array<double, kMaxTotal + 1> of{};
  std::array<double, kMaxTotal + 1> gain{};

  consteval Logarithms() {
    constexpr double kLog2E = 1.4426950408889634;
    for (size_t f = 1; f < of.size(); ++f) {
      const double z = 1.0 / (2.0 * static_cast<double>(f) + 1.0);
      double power = z;
      double sum = 0;
      for (int k = 1; power > 1e-18; k += 2, power *= z * z) sum += power / k;
      gain[f] = 2 * kLog2E * sum;
      if (f + 1 < of.size()) of[f + 1] = of[f] + gain[f];
    }
  }
};

constexpr Logarithms kLog2;

// The symbols of a table and how their slots are dealt out.
class Allocation {
 public:
  // window: the counts of the levels that may be direct; outside: the sum of all others.
  // threshold: the least count of a direct level.
  Allocation(std::span<const int64_t> window, double outside, double threshold) noexcept {
    double escaped = outside;
    for (size_t i = 0; i < window.size(); ++i) {
      const auto count = static_cast<double>(window[i]);
      if (window[i] > 0 && count >= threshold) {
        symbols_[size_++] = {count, 1, i};
      } else {
        escaped += count;
      }
    }
    symbols_[size_++] = {escaped, 1, kEscapeSymbol};
  }

  // Gives each symbol a slot and every other slot to the symbol that it saves most bits: as each
  // slot saves a symbol less than the one before, no other allocation is shorter.
  void deal(int total) noexcept {
    const auto less = [](const Symbol& a, const Symbol& b) {
      const double gain_a = a.gain(), gain_b = b.gain();
      return gain_a != gain_b ? gain_a < gain_b : a.index > b.index;
    };
    const auto begin = symbols_.begin();
    const auto end = begin + static_cast<std::ptrdiff_t>(size_);
    std::make_heap(begin, end, less);
    for (auto left = total - static_cast<int>(size_); left > 0; --left) {
      std::pop_heap(begin, end, less);
      ++(end - 1)->frequency;
      std::push_heap(begin, end, less);
    }
  }

  // Bits of all counts.
  double bits(int log2_total) const noexcept {
    double sum = 0;
    for (const Symbol& symbol : std::span(symbols_.data(), size_)) {
      const double extra = symbol.index == kEscapeSymbol ? kEscapedBits : 0;
      sum += symbol.count * (log2_total - kLog2.of[symbol.frequency] + extra);
    }
    return sum;
  }

  // frequencies: [L + 1], of which the window begins at `first`.
  void store(size_t first, std::span<int32_t> frequencies) const noexcept {
    std::fill(frequencies.begin(), frequencies.end(), 0);
    for (const Symbol& symbol : std::span(symbols_.data(), size_)) {
      const bool escape = symbol.index == kEscapeSymbol;
      frequencies[escape ? frequencies.size() - 1 : first + symbol.index] =
          static_cast<int32_t>(symbol.frequency);
    }
  }

 private:
  struct Symbol {
    double count;
    uint32_t frequency;
    size_t index;  // in the window, or kEscapeSymbol

    double gain() const noexcept { return count * kLog2.gain[frequency]; }
  };

  std::array<Symbol, kMaxDirectLevels + 1> symbols_;
  size_t size_ = 0;
};

// Where the window with most counts begins.
size_t best_window(std::span<const int64_t> counts) noexcept {
  int64_t sum = 0;
  int64_t most = -1;
  size_t best = 0;
  for (size_t end = 1; end <= counts.size(); ++end) {
    sum += counts[end - 1];
    if (end > kMaxDirectLevels) sum -= counts[end - 1 - kMaxDirectLevels];
    if (sum > most) {
      most = sum;
      best = end > kMaxDirectLevels ? end - kMaxDirectLevels : 0;
    }
  }
  return best;
}

double total_of(std::span<const int64_t> counts) noexcept {
  double sum = 0;
  for (const int64_t count : counts) sum += static_cast<double>(count);
  return sum;
}

// The shortest of the allocations that make few or many levels direct.
Allocation best_allocation(std::span<const int64_t> window, double outside,
                           int log2_total) noexcept {
  const int total = 1 << log2_total;
  double threshold = (total_of(window) + outside) / total;
  Allocation best(window, outside, threshold);
  best.deal(total);
  for (int i = 1; i <= kThresholds; ++i) {
    threshold = i < kThresholds ? threshold / 2 : 0;
    Allocation other(window, outside, threshold);
    other.deal(total);
    if (other.bits(log2_total) < best.bits(log2_total)) best = other;
  }
  return best;
}

// ---------------------------------------------------------------------------------------------
// Tables

// Calls visit(index, frequency, start) for each entry of a valid table that has slots.
template <typename Visit>
void for_each_symbol(std::span<const int32_t> frequencies, Visit visit) noexcept {
  uint32_t start = 0;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const auto frequency = static_cast<uint32_t>(frequencies[i]);
    if (frequency > 0) visit(i, frequency, start);
    start += frequency;
  }
}

// log2 of a sum of frequencies, or 0 where it is none that is allowed.
int log2_of_total(uint32_t total) noexcept {
  const bool good =
      std::has_single_bit(total) && total >= 1u << kMinLog2Total && total <= 1u << kMaxLog2Total;
  return good ? std::countr_zero(total) : 0;
}

// The escape's slots are the last ones, so its entry tells how many there are.
int encode_log2_total(std::span<const uint32_t> entries) noexcept {
  const uint32_t escape = entries.back();
  return encode_frequency(escape) == 0
             ? 0
             : log2_of_total(encode_frequency(escape) + encode_start(escape));
}

bool states_valid(int states) noexcept {
  return states >= 1 && states <= kMaxStates && std::has_single_bit(static_cast<uint32_t>(states));
}

// ---------------------------------------------------------------------------------------------
// Chunks

// The coder's states and the payload's two ends: words meet escaped levels where both are used up.
struct EncoderState {
  alignas(64) std::array<uint32_t, kMaxStates> states;
  uint8_t* words;    // the words written so far begin here; they grow downwards
  uint8_t* escapes;  // the escaped levels written so far end here; they grow upwards
};

// Encodes values [begin, end) of a chunk, which share a table, the last one first.
void encode_run(std::span<const int16_t> levels, size_t begin, size_t end, int32_t lo,
                std::span<const uint32_t> entries, int log2_total, size_t state_mask,
                EncoderState& shared) noexcept {
  uint8_t* words = shared.words;
  uint8_t* escapes = shared.escapes;
  const size_t direct = entries.size() - 1;
  const uint32_t escape = entries[direct];
  for (size_t i = end; i-- > begin;) {
    const uint32_t entry = encode_entry(levels[i], lo, entries.data(), direct);
    if (entry == escape) {
      store_le(escapes, static_cast<uint16_t>(levels[i]));
      escapes += kWordBytes;
    }
    uint32_t x = shared.states[i & state_mask];
    // Where the state would exceed 32 bits, a word goes out first. That happens at random, so no
    // branch is made of it: the word is stored in any case.
    const uint32_t full = gives_word(x, entry, log2_total) ? 1 : 0;
    store_le(words - kWordBytes, static_cast<uint16_t>(x));
    words -= kWordBytes * full;
    x >>= 16 * full;
    shared.states[i & state_mask] = encode_value(x, entry, log2_total);
  }
  shared.words = words;
  shared.escapes = escapes;
}

struct DecoderState {
  alignas(64) std::array<uint32_t, kMaxStates> states;
  const uint8_t* words;    // the next word
  const uint8_t* escapes;  // the next escaped level ends here

  size_t left() const noexcept { return static_cast<size_t>(escapes - words); }
};

// Decodes values that share a table, one after the other. `offset`: the level of symbol 0.
// Checked: false where the payload does not hold what a value needs; else it must hold 4 bytes a
// value.
struct ValueDecoder {
  const uint32_t* table;
  uint32_t slot_mask;
  int log2_total;
  uint32_t offset;
  const uint8_t* words;
  const uint8_t* escapes;

  ValueDecoder(std::span<const uint32_t> entries, uint32_t offset,
               const DecoderState& state) noexcept
      : table(entries.data()),
        slot_mask(static_cast<uint32_t>(entries.size() - 1)),
        log2_total(std::countr_zero(entries.size())),
        offset(offset),
        words(state.words),
        escapes(state.escapes) {}

  template <bool kChecked>
  FMTC_ALWAYS_INLINE bool decode(uint32_t& state, int16_t& level) noexcept {
    const uint32_t entry = table[state & slot_mask];
    const uint32_t symbol = decode_symbol(entry);
    uint32_t x = decode_value(state, entry, log2_total);
    const uint32_t low = x < kRansLowest ? 1 : 0;
    if (!kChecked) {
      // No branch for what happens at random: the word is loaded in any case.
      x = x << 16 * low | (load_le<uint16_t>(words) & (0u - low));
      words += kWordBytes * low;
    } else if (low == 1) {
      if (escapes - words < static_cast<std::ptrdiff_t>(kWordBytes)) return false;
      x = take_word(x, load_le<uint16_t>(words));
      words += kWordBytes;
    }
    state = x;
    level = static_cast<int16_t>(offset + symbol);
    if (symbol == kEscapeSymbol) [[unlikely]] {
      if (kChecked && escapes - words < static_cast<std::ptrdiff_t>(kWordBytes)) return false;
      escapes -= kWordBytes;
      level = static_cast<int16_t>(load_le<uint16_t>(escapes));
    }
    return true;
  }
};

// Decodes values [begin, end) of a chunk, which share a table.
template <bool kChecked>
bool decode_run(std::span<int16_t> levels, size_t begin, size_t end, size_t state_mask,
                ValueDecoder& decoder, DecoderState& shared) noexcept {
  for (size_t i = begin; i < end; ++i) {
    if (!decoder.decode<kChecked>(shared.states[i & state_mask], levels[i])) return false;
  }
  return true;
}

// The same for whole rounds without checks, with a state for each of few, which stay in registers.
template <size_t kStates>
void decode_rounds_of(std::span<int16_t> levels, size_t begin, size_t end, ValueDecoder& shared,
                      DecoderState& state) noexcept {
  ValueDecoder decoder = shared;
  std::array<uint32_t, kStates> x;
  std::copy_n(state.states.begin(), kStates, x.begin());
  for (int16_t* level = levels.data() + begin; level != levels.data() + end; level += kStates) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kStates; ++i) decoder.decode<false>(x[i], level[i]);
  }
  std::copy_n(x.begin(), kStates, state.states.begin());
  shared = decoder;
}

// Without checks; the states of the first and the last values may be any.
void decode_unchecked(std::span<int16_t> levels, size_t begin, size_t end, size_t state_mask,
                      ValueDecoder& decoder, DecoderState& state) noexcept {
  const size_t first = std::min((begin + state_mask) & ~state_mask, end);
  const size_t last = std::max(end & ~state_mask, first);
  decode_run<false>(levels, begin, first, state_mask, decoder, state);
  switch (state_mask) {
    case 0:
      decode_rounds_of<1>(levels, first, last, decoder, state);
      break;
    case 1:
      decode_rounds_of<2>(levels, first, last, decoder, state);
      break;
    case 3:
      decode_rounds_of<4>(levels, first, last, decoder, state);
      break;
    default:
      decode_run<false>(levels, first, last, state_mask, decoder, state);
  }
  decode_run<false>(levels, last, end, state_mask, decoder, state);
}

// Decodes values [begin, end) of a chunk, which share a table: in pieces without checks while the
// payload is long enough for the worst, then with checks.
bool decode_table_run(std::span<int16_t> levels, size_t begin, size_t end, uint32_t offset,
                      std::span<const uint32_t> entries, size_t state_mask,
                      DecoderState& state) noexcept {
  constexpr size_t kWorst = 2 * kWordBytes;
  constexpr size_t kWorthwhile = 64;  // values in a piece
  ValueDecoder decoder(entries, offset, state);
  const auto left = [&] { return static_cast<size_t>(decoder.escapes - decoder.words); };
  while (begin < end && left() >= kWorst * kWorthwhile) {
    const size_t piece = std::min(end - begin, left() / kWorst);
    decode_unchecked(levels, begin, begin + piece, state_mask, decoder, state);
    begin += piece;
  }
  const bool good = decode_run<true>(levels, begin, end, state_mask, decoder, state);
  state.words = decoder.words;
  state.escapes = decoder.escapes;
  return good;
}

// Reads the states; false for a payload that does not hold them, or holds others than an encoder's.
bool load_states(std::span<const uint8_t> payload, size_t count, DecoderState& state) noexcept {
  if (payload.size() < kStateBytes * count) return false;
  for (size_t i = 0; i < count; ++i) {
    state.states[i] = load_le<uint32_t>(payload.data() + kStateBytes * i);
    if (state.states[i] < kRansLowest) return false;
  }
  state.words = payload.data() + kStateBytes * count;
  state.escapes = payload.data() + payload.size();
  return true;
}

// Decodes the values from `begin` on, at which `run` stands, and looks whether that is all.
bool decode_rest(std::span<int16_t> levels, size_t begin, const ComponentTables& tables,
                 size_t count, RunCursor& run, DecoderState& state) noexcept {
  while (begin < levels.size()) {
    const auto offset = static_cast<uint32_t>(tables.lo + tables.base[run.table()]);
    const size_t end = begin + run.size();
    if (!decode_table_run(levels, begin, end, offset, tables.table(run.table()), count - 1,
                          state)) {
      return false;
    }
    run.advance(end - begin);
    begin = end;
  }
  return state.left() == 0 && std::all_of(state.states.begin(),
                                          state.states.begin() + static_cast<std::ptrdiff_t>(count),
                                          [](uint32_t x) { return x == kRansLowest; });
}

// ---------------------------------------------------------------------------------------------
// Whole rounds in vector code

// The kernel for this many states, or null where the scalar code is to be used.
const RansKernel* kernel_of(const RansKernels* kernels, int states, const ComponentTables& tables,
                            int log2_total) noexcept {
  const int index = std::countr_zero(static_cast<uint32_t>(states)) - RansKernels::kMinLog2States;
  const bool fits = kernels != nullptr && index >= 0 && log2_total == kKernelLog2Total &&
                    tables.entries.size() <= std::numeric_limits<uint32_t>::max();
  if (!fits) return nullptr;
#if defined(FMTC_X86_KERNELS)
  if (kernels->of_states[index].encode == nullptr) kernels = &kRansAvx2;
#endif
  return &kernels->of_states[index];
}

const RansKernel* encode_kernel(const RansKernels* kernels, int states,
                                const ComponentTables& tables, int log2_total) noexcept {
  // Kernels compare level - lo modulo 2^16, so no level below lo may come out as a symbol.
  const bool distinct = tables.lo + static_cast<int64_t>(tables.width) - 1 <= 32768;
  return distinct ? kernel_of(kernels, states, tables, log2_total) : nullptr;
}

// The tables of the lanes of a round.
struct EncodeLanes {
  alignas(64) std::array<uint32_t, kMaxStates> table;
  alignas(64) std::array<uint32_t, kMaxStates> escape;

  void set(const ComponentTables& tables, size_t index, size_t begin, size_t end) noexcept {
    std::fill(table.begin() + begin, table.begin() + end,
              static_cast<uint32_t>(index * tables.width));
    std::fill(escape.begin() + begin, escape.begin() + end, tables.table(index).back());
  }
};

struct DecodeLanes {
  alignas(64) std::array<uint32_t, kMaxStates> table;
  alignas(64) std::array<uint16_t, kMaxStates> offset;

  void set(const ComponentTables& tables, size_t index, size_t begin, size_t end) noexcept {
    std::fill(table.begin() + begin, table.begin() + end,
              static_cast<uint32_t>(index * tables.width));
    std::fill(offset.begin() + begin, offset.begin() + end,
              static_cast<uint16_t>(tables.lo + tables.base[index]));
  }
};

// Encodes the first rounds * count values, of which `run` stands at the last one.
void encode_rounds(const RansKernel& kernel, const int16_t* levels, size_t rounds,
                   const ComponentTables& tables, size_t count, BackwardRunCursor& run,
                   EncoderState& state) noexcept {
  EncodeLanes lanes;
  RansEncodeRounds shared = {tables.entries.data(),
                             lanes.table.data(),
                             lanes.escape.data(),
                             false,
                             tables.lo,
                             static_cast<uint32_t>(tables.width - 1),
                             state.states.data(),
                             state.words,
                             state.escapes};
  while (rounds > 0) {
    size_t together = run.size() / count;
    shared.one_table = together > 0;
    if (together > 0) {
      lanes.set(tables, run.table(), 0, count);
      run.advance(together * count);
    } else {
      together = 1;
      for (size_t end = count; end > 0;) {
        const size_t values = std::min(run.size(), end);
        lanes.set(tables, run.table(), end - values, end);
        run.advance(values);
        end -= values;
      }
    }
    rounds -= together;
    kernel.encode(shared, levels + rounds * count, together);
  }
  state.words = shared.words;
  state.escapes = shared.escapes;
}

// Decodes `rounds` * count values from the one on that `run` stands at; false for a payload that
// does not hold them.
bool decode_rounds(const RansKernel& kernel, std::span<const uint8_t> payload, size_t rounds,
                   const ComponentTables& tables, size_t count, RunCursor& run, DecoderState& state,
                   int16_t* levels) noexcept {
  const size_t words_of_round = kWordBytes * count;
  const uint8_t* const payload_end = payload.data() + payload.size();
  // Where the words of a round might reach beyond the payload, it is read from a copy that zeros
  // follow. A good payload ends before them, so a kernel does not stop for want of words there.
  std::array<uint8_t, 2 * kWordBytes * kMaxStates> tail{};
  size_t in_tail = 0;
  DecodeLanes lanes;
  RansDecodeRounds shared = {tables.entries.data(), lanes.table.data(), lanes.offset.data(),
                             state.states.data(),   state.words,        payload_end,
                             state.escapes,         payload.data()};
  while (rounds > 0) {
    size_t together = run.size() / count;
    if (together > 0) {
      lanes.set(tables, run.table(), 0, count);
      run.advance(together * count);
    } else {
      together = 1;
      for (size_t begin = 0; begin < count;) {
        const size_t values = std::min(run.size(), count - begin);
        lanes.set(tables, run.table(), begin, begin + values);
        run.advance(values);
        begin += values;
      }
    }
    rounds -= together;
    for (;;) {
      const size_t done = kernel.decode(shared, levels, together);
      levels += done * count;
      together -= done;
      if (together == 0) break;
      const auto left = static_cast<size_t>(shared.words_end - shared.words);
      if (left >= words_of_round || shared.words_end != payload_end) return false;
      std::memcpy(tail.data(), shared.words, left);
      in_tail = left;
      shared.words = tail.data();
      shared.words_end = tail.data() + left + words_of_round;
    }
  }
  if (shared.words_end != payload_end) {
    const auto taken = static_cast<size_t>(shared.words - tail.data());
    if (taken > in_tail) return false;
    shared.words = payload_end - (in_tail - taken);
  }
  state.words = shared.words;
  state.escapes = shared.escapes;
  return state.words <= state.escapes;
}

// ---------------------------------------------------------------------------------------------
// Rounds of several chunks in vector code

constexpr size_t kMinGroupLanes = size_t{1} << RansKernels::kMinLog2GroupLanes;
constexpr size_t kMaxGroupLanes = size_t{1} << RansKernels::kMaxLog2GroupLanes;
// A round takes as long with one lane as with 8, so fewer than these lanes are faster in scalar
// code.
constexpr size_t kWorthwhileLanes = 3;
constexpr size_t kBlockValues = 64;  // of a chunk, decoded by one call of a kernel
constexpr size_t kBlockWords = kWordBytes * kBlockValues;  // bytes that they can take

// How many of the first chunks a kernel decodes together; 1: none does.
size_t group_size(std::span<const CodedChunk> chunks, int states,
                  const RansKernels* kernels) noexcept {
  const CodedChunk& first = chunks[0];
  const bool fits = kernels != nullptr && states_valid(states) &&
                    states <= 1 << RansKernels::kMaxLog2GroupStates &&
                    first.tables.width == size_t{1} << kKernelLog2Total &&
                    first.tables.entries.size() <= std::numeric_limits<uint32_t>::max();
  if (!fits) return 1;
  const auto other = std::find_if(chunks.begin(), chunks.end(), [&](const CodedChunk& chunk) {
    return chunk.levels.size() != first.levels.size() || chunk.tables.width != first.tables.width ||
           chunk.tables.entries.data() != first.tables.entries.data() ||
           chunk.tables.entries.size() != first.tables.entries.size();
  });
  const auto alike = static_cast<size_t>(other - chunks.begin());
  const auto count = static_cast<size_t>(states);
  return alike * count < kWorthwhileLanes ? 1 : std::min(alike, kMaxGroupLanes / count);
}

RansGroupKernel group_kernel(const RansKernels* kernels, size_t states, size_t lanes) noexcept {
  const int log2_states = std::countr_zero(states);
  const int log2_lanes = std::countr_zero(lanes) - RansKernels::kMinLog2GroupLanes;
#if defined(FMTC_X86_KERNELS)
  if (kernels->of_group[log2_states][log2_lanes] == nullptr) kernels = &kRansAvx2;
#endif
  return kernels->of_group[log2_states][log2_lanes];
}

// What a kernel needs for the values of a block: [rounds, lanes]; and of each chunk the words.
struct GroupBlock {
  alignas(64) std::array<uint32_t, kBlockValues * kMaxGroupLanes> table;
  alignas(64) std::array<uint16_t, kBlockValues * kMaxGroupLanes> offset;
  std::array<uint8_t, kBlockWords * kMaxGroupLanes> words;
};

// One chunk of a group, its lanes and how far it is decoded. Its words are copied block by block,
// so a kernel need not look where they end.
template <size_t kStates>
class GroupMember {
 public:
  // The chunk with this index in the group; so many lanes have all.
  GroupMember(const CodedChunk& chunk, size_t index, size_t lanes,
              const DecoderState& state) noexcept
      : chunk_(&chunk),
        state_(state),
        run_(chunk.tables, chunk.first, chunk.levels.size()),
        lane_(index * kStates),
        lanes_(lanes),
        words_(index * kBlockWords) {}

  void set_tables(GroupBlock& block, size_t values) noexcept {
    const ComponentTables& tables = chunk_->tables;
    const bool one_table = run_.size() >= values;
    if (one_table && one_table_ && run_.table() == table_) {  // those of the last block
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
        block.table[place(i)] = table[0];
        block.offset[place(i)] = offset[0];
      }
      // Whole rounds. What the last one has behind the end is written again for the next run.
      uint32_t* to_table = block.table.data() + place(i);
      uint16_t* to_offset = block.offset.data() + place(i);
      const size_t step = lanes_;
      for (; i < end; i += kStates, to_table += step, to_offset += step) {
        std::memcpy(to_table, table.data(), sizeof(table));
        std::memcpy(to_offset, offset.data(), sizeof(offset));
      }
      i = end;
    }
  }

  void set_words(GroupBlock& block) const noexcept {
    uint8_t* const words = block.words.data() + words_;
    if (left() >= kBlockWords) {
      std::memcpy(words, state_.words, kBlockWords);  // a size that the compiler knows
    } else {
      std::memcpy(words, state_.words, left());
    }
  }

  // Goes on behind the words of a block that a kernel took, those before `next`.
  void take_words(uint32_t next) noexcept {
    const size_t taken = next - words_;
    good_ = good_ && taken <= left();
    if (good_) state_.words += taken;
  }

  // Puts escaped levels into a block, of which the kernel has written the levels.
  void take_escapes(const GroupBlock& block, std::span<int16_t> levels) noexcept {
    for (size_t i = 0; i < levels.size() && good_; ++i) {
      if (static_cast<uint16_t>(levels[i] - block.offset[place(i)]) != kEscapeSymbol) continue;
      good_ = state_.escapes - state_.words >= static_cast<std::ptrdiff_t>(kWordBytes);
      if (!good_) return;
      state_.escapes -= kWordBytes;
      levels[i] = static_cast<int16_t>(load_le<uint16_t>(state_.escapes));
    }
  }

  // Decodes the values from `begin` on, one by one, beginning with these states; false for a
  // damaged payload.
  bool finish(const uint32_t* states, size_t begin) noexcept {
    std::copy_n(states, kStates, state_.states.begin());
    return good_ && state_.words <= state_.escapes &&
           decode_rest(chunk_->levels, begin, chunk_->tables, kStates, run_, state_);
  }

 private:
  // Where value i of a block has its table.
  size_t place(size_t i) const noexcept { return i / kStates * lanes_ + lane_ + i % kStates; }
  // Bytes that can be read as words. The last ones may be escaped levels, as finish() finds out.
  size_t left() const noexcept {
    return static_cast<size_t>(chunk_->payload.data() + chunk_->payload.size() - state_.words);
  }

  const CodedChunk* chunk_;
  DecoderState state_;
  RunCursor run_;
  size_t lane_;             // the first one
  size_t lanes_;            // of a round
  size_t words_;            // where its words are in a block
  bool one_table_ = false;  // whether all values of the last block had table_
  size_t table_ = 0;
  bool good_ = true;
};

// Chunks of which group_size says that they can be decoded together.
template <size_t kStates>
class Group {
 public:
  Group(std::span<CodedChunk> chunks, const RansKernels* kernels) noexcept
      : chunks_(chunks),
        lanes_(std::max(std::bit_ceil(chunks.size() * kStates), kMinGroupLanes)),
        kernel_(group_kernel(kernels, kStates, lanes_)) {
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
    for (size_t begin = 0; begin < whole_rounds; begin += kBlockValues) {
      decode_block(begin, std::min(kBlockValues, whole_rounds - begin));
    }
    for (size_t i = 0; i < chunks_.size(); ++i) {
      const bool good =
          members_[i] && members_[i]->finish(states_.data() + i * kStates, whole_rounds);
      chunks_[i].status = good ? Status::kOk : Status::kBadCode;
    }
  }

 private:
  static constexpr size_t kMaxChunks = kMaxGroupLanes / kStates;

  void decode_block(size_t begin, size_t values) noexcept {
    for (size_t i = 0; i < chunks_.size(); ++i) {
      if (!members_[i]) continue;
      members_[i]->set_tables(block_, values);
      members_[i]->set_words(block_);
      levels_[i] = chunks_[i].levels.data() + begin;
    }
    for (size_t lane = 0; lane < lanes_; ++lane) {
      next_[lane] = static_cast<uint32_t>(lane / kStates * kBlockWords);
    }
    RansGroupRounds rounds = {chunks_[0].tables.entries.data(),
                              block_.table.data(),
                              block_.offset.data(),
                              states_.data(),
                              block_.words.data(),
                              next_.data(),
                              levels_.data()};
    const uint32_t escaped = kernel_(rounds, values / kStates);
    for (size_t i = 0; i < chunks_.size(); ++i) {
      if (!members_[i]) continue;
      members_[i]->take_words(next_[i * kStates]);
      const uint32_t of_chunk = escaped >> i * kStates & ((1u << kStates) - 1);
      if (of_chunk != 0) members_[i]->take_escapes(block_, std::span(levels_[i], values));
    }
  }

  std::span<CodedChunk> chunks_;
  size_t lanes_;  // of a round
  RansGroupKernel kernel_;
  std::array<std::optional<GroupMember<kStates>>, kMaxChunks> members_;  // none: damaged
  alignas(64) std::array<uint32_t, kMaxGroupLanes> states_;
  alignas(64) std::array<uint32_t, kMaxGroupLanes> next_;
  std::array<int16_t*, kMaxChunks> levels_;
  std::array<int16_t, kBlockValues> nowhere_;
  GroupBlock block_{};
};

void decode_group(std::span<CodedChunk> chunks, int states, const RansKernels* kernels) noexcept {
  switch (states) {
    case 1:
      return Group<1>(chunks, kernels).decode();
    case 2:
      return Group<2>(chunks, kernels).decode();
    case 4:
      return Group<4>(chunks, kernels).decode();
    default:
      return Group<8>(chunks, kernels).decode();
  }
}

// ---------------------------------------------------------------------------------------------
// Self-test

// Whether kernels decode groups of each size that has a kernel of its own. Every other chunk begins
// elsewhere in the tensor of these levels.
bool decodes_groups(std::span<const int16_t> levels, const ComponentTables& encode_tables,
                    const ComponentTables& decode_tables, const RansKernels* kernels) noexcept {
  constexpr size_t kValues = 250;
  const std::array<size_t, 2> first = {0, levels.size() - kValues};
  for (int states = 1; states <= 1 << RansKernels::kMaxLog2GroupStates; states *= 2) {
    std::array<std::array<uint8_t, kStateBytes * kMaxStates + 2 * kWordBytes * kValues>, 2> coded;
    std::array<size_t, 2> sizes{};
    for (size_t i = 0; i < 2; ++i) {
      if (rans_chunk_encode(levels.subspan(first[i], kValues), first[i], encode_tables, states,
                            coded[i], sizes[i], nullptr) != Status::kOk) {
        return false;
      }
    }
    for (size_t lanes = kMinGroupLanes; lanes <= kMaxGroupLanes; lanes *= 2) {
      std::array<std::array<int16_t, kValues>, kMaxGroupLanes> decoded{};
      std::array<CodedChunk, kMaxGroupLanes> chunks;
      const size_t count = lanes / static_cast<size_t>(states);
      for (size_t i = 0; i < count; ++i) {
        chunks[i] = {std::span(coded[i % 2]).first(sizes[i % 2]), first[i % 2], decode_tables,
                     decoded[i], Status::kBadCode};
      }
      rans_chunks_decode(std::span(chunks).first(count), states, kernels);
      for (size_t i = 0; i < count; ++i) {
        const auto expected = levels.subspan(first[i % 2], kValues);
        if (chunks[i].status != Status::kOk ||
            !std::equal(expected.begin(), expected.end(), decoded[i].begin())) {
          return false;
        }
      }
    }
  }
  return true;
}

// Whether kernels give the bytes of the scalar code for a block of levels, with frequencies from 1
// to 2048, two tables in a round and escapes; and give the levels back.
bool codes_like_scalar(const RansKernels* kernels) noexcept {
  constexpr size_t kPlane = 200, kValues = 2 * kPlane, kLevels = 11;
  constexpr int32_t kLo = -5;
  std::array<int32_t, 2 * (kLevels + 1)> frequencies = {
      1, 3, 60, 200, 700, 2048, 800, 230, 50, 2, 1, 1, 1, 1, 1, 1, 1, 4000, 80, 7, 1, 1, 1, 1};
  std::array<uint32_t, 2 * (kLevels + 1)> encode;
  std::array<uint32_t, 2 * kMaxTotal> decode;
  std::array<int64_t, 2> base;
  for (size_t table = 0; table < 2; ++table) {
    const auto of_table = std::span(frequencies).subspan(table * (kLevels + 1), kLevels + 1);
    if (rans_encode_table(of_table, std::span(encode).subspan(table * (kLevels + 1),
                                                              kLevels + 1)) != Status::kOk ||
        rans_decode_table(of_table, std::span(decode).subspan(table * kMaxTotal, kMaxTotal),
                          base[table]) != Status::kOk) {
      return false;
    }
  }
  std::array<int16_t, kValues> levels;
  uint32_t random = 1;
  for (int16_t& level : levels) {
    random = random * 1664525 + 1013904223;
    // The sum of two dice, now and then one that has no slots.
    level = static_cast<int16_t>(random >> 24 == 7 ? random >> 8
                                                   : (random >> 28) % 6 + (random >> 16) % 6 + kLo);
  }
  const std::array<int64_t, 2> table_of = {0, 1};
  const ComponentTables encode_tables = {kLo, kLevels + 1, encode, table_of, kPlane};
  const ComponentTables decode_tables = {kLo, kMaxTotal, decode, table_of, kPlane, base};
  for (int states = 8; states <= kMaxStates; states *= 2) {
    std::array<uint8_t, kStateBytes * kMaxStates + 2 * kWordBytes * kValues> expected, coded;
    std::array<int16_t, kValues> decoded{};
    size_t expected_size = 0, coded_size = 0;
    const bool same =
        rans_chunk_encode(levels, 0, encode_tables, states, expected, expected_size, nullptr) ==
            Status::kOk &&
        rans_chunk_encode(levels, 0, encode_tables, states, coded, coded_size, kernels) ==
            Status::kOk &&
        coded_size == expected_size &&
        std::equal(coded.begin(), coded.begin() + static_cast<std::ptrdiff_t>(coded_size),
                   expected.begin()) &&
        rans_chunk_decode(std::span(coded).first(coded_size), 0, decode_tables, states, decoded,
                          kernels) == Status::kOk &&
        decoded == levels;
    if (!same) return false;
  }
  return decodes_groups(levels, encode_tables, decode_tables, kernels);
}

}  // namespace

Status rans_frequencies(std::span<const int64_t> counts, int log2_total,
                        std::span<int32_t> frequencies) noexcept {
  if (log2_total < kMinLog2Total || log2_total > kMaxLog2Total || counts.empty() ||
      counts.size() > kMaxSymbols || frequencies.size() != counts.size() + 1) {
    return Status::kBadArgument;
  }
  if (!counts_valid(counts)) return Status::kOutOfRange;
  const size_t first = best_window(counts);
  const size_t size = std::min(counts.size() - first, kMaxDirectLevels);
  std::array<int64_t, kMaxDirectLevels> window;
  std::copy_n(counts.begin() + static_cast<std::ptrdiff_t>(first), size, window.begin());
  double outside = total_of(counts.first(first)) + total_of(counts.subspan(first + size));
  if (total_of(counts) == 0) {
    window.fill(1);
    outside = static_cast<double>(counts.size() - size);
  }
  best_allocation(std::span(window.data(), size), outside, log2_total).store(first, frequencies);
  return Status::kOk;
}

int rans_log2_total(std::span<const int32_t> frequencies) noexcept {
  if (frequencies.size() < 2 || frequencies.size() > kMaxSymbols + 1 || frequencies.back() < 1) {
    return 0;
  }
  uint32_t total = 0;
  size_t first = frequencies.size();
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const int32_t frequency = frequencies[i];
    if (frequency < 0 || frequency > kMaxTotal) return 0;
    total += static_cast<uint32_t>(frequency);
    if (frequency == 0 || i + 1 == frequencies.size()) continue;
    first = std::min(first, i);
    if (i - first >= kMaxDirectLevels) return 0;
  }
  return log2_of_total(total);
}

Status rans_encode_table(std::span<const int32_t> frequencies,
                         std::span<uint32_t> entries) noexcept {
  if (entries.size() != frequencies.size()) return Status::kBadArgument;
  if (rans_log2_total(frequencies) == 0) return Status::kBadTable;
  std::fill(entries.begin(), entries.end(), 0u);
  for_each_symbol(frequencies, [&](size_t index, uint32_t frequency, uint32_t start) {
    entries[index] = frequency << 16 | start;
  });
  return Status::kOk;
}

Status rans_decode_table(std::span<const int32_t> frequencies, std::span<uint32_t> entries,
                         int64_t& base) noexcept {
  const int log2_total = rans_log2_total(frequencies);
  if (log2_total == 0) return Status::kBadTable;
  if (entries.size() != size_t{1} << log2_total) return Status::kBadArgument;
  const size_t escape = frequencies.size() - 1;
  size_t first = 0;
  while (first < escape && frequencies[first] == 0) ++first;
  if (first == escape) first = 0;  // every level is escaped
  for_each_symbol(frequencies, [&](size_t index, uint32_t frequency, uint32_t start) {
    const uint32_t symbol = index == escape ? kEscapeSymbol : static_cast<uint32_t>(index - first);
    for (uint32_t i = 0; i < frequency; ++i) {
      entries[start + i] = i << 20 | (frequency - 1) << 8 | symbol;
    }
  });
  base = static_cast<int64_t>(first);
  return Status::kOk;
}

Status rans_check_encode_tables(const ComponentTables& tables, uint64_t components) noexcept {
  if (!tables_valid(tables, components) || tables.width < 2 || tables.width > kMaxSymbols + 1) {
    return Status::kBadArgument;
  }
  for (size_t i = 0; i < tables.count(); ++i) {
    const int log2_total = encode_log2_total(tables.table(i));
    if (log2_total == 0 || log2_total != encode_log2_total(tables.table(0))) {
      return Status::kBadTable;
    }
  }
  return Status::kOk;
}

Status rans_check_decode_tables(const ComponentTables& tables, uint64_t components) noexcept {
  const bool good =
      tables_valid(tables, components) &&
      log2_of_total(static_cast<uint32_t>(std::min<size_t>(tables.width, kMaxTotal + 1))) != 0 &&
      tables.base.size() == tables.count() &&
      std::all_of(tables.base.begin(), tables.base.end(), [](int64_t base) {
        return base >= 0 && base < static_cast<int64_t>(kMaxSymbols);
      });
  return good ? Status::kOk : Status::kBadArgument;
}

size_t rans_chunk_bound(size_t values, int states) noexcept {
  return kStateBytes * static_cast<size_t>(states) + 2 * kWordBytes * values;
}

const RansKernels* rans_kernels([[maybe_unused]] Simd simd) noexcept {
#if defined(FMTC_X86_KERNELS)
  if (simd == Simd::kAvx2) return &kRansAvx2;
  if (simd == Simd::kAvx512) return &kRansAvx512;
#endif
  return nullptr;
}

Simd rans_simd() noexcept {
  // A wrong byte would be found only where the stream is decoded, or never. So what the CPU offers
  // is tried first, each instruction set on its own; this costs some microseconds once.
  static const Simd best = [] {
    for (const Simd simd : {Simd::kAvx512, Simd::kAvx2}) {
      if (simd <= cpu_simd() && codes_like_scalar(rans_kernels(simd))) return simd;
    }
    return Simd::kScalar;
  }();
  return best;
}

Status rans_chunk_encode(std::span<const int16_t> levels, uint64_t first,
                         const ComponentTables& tables, int states, std::span<uint8_t> out,
                         size_t& used, const RansKernels* kernels) noexcept {
  if (!states_valid(states) || tables.count() == 0) return Status::kBadArgument;
  if (out.size() < rans_chunk_bound(levels.size(), states)) return Status::kBufferTooSmall;
  const int log2_total = encode_log2_total(tables.table(0));
  const auto count = static_cast<size_t>(states);
  EncoderState state;
  state.states.fill(kRansLowest);
  state.words = out.data() + kStateBytes * count + kWordBytes * levels.size();
  state.escapes = state.words;
  const RansKernel* kernel = encode_kernel(kernels, states, tables, log2_total);
  const size_t rounds = kernel == nullptr ? 0 : levels.size() / count;
  BackwardRunCursor run(tables, first, levels.size());
  for (size_t end = levels.size(); end > rounds * count;) {
    const size_t begin = end - std::min(run.size(), end - rounds * count);
    encode_run(levels, begin, end, tables.lo, tables.table(run.table()), log2_total, count - 1,
               state);
    run.advance(end - begin);
    end = begin;
  }
  if (rounds > 0) encode_rounds(*kernel, levels.data(), rounds, tables, count, run, state);
  for (size_t i = count; i-- > 0;) {
    state.words -= kStateBytes;
    store_le(state.words, state.states[i]);
  }
  used = static_cast<size_t>(state.escapes - state.words);
  std::memmove(out.data(), state.words, used);
  return Status::kOk;
}

Status rans_chunk_decode(std::span<const uint8_t> payload, uint64_t first,
                         const ComponentTables& tables, int states, std::span<int16_t> levels,
                         const RansKernels* kernels) noexcept {
  if (!states_valid(states)) return Status::kBadArgument;
  const auto count = static_cast<size_t>(states);
  DecoderState state;
  if (!load_states(payload, count, state)) return Status::kBadCode;
  const RansKernel* kernel = kernel_of(kernels, states, tables, std::countr_zero(tables.width));
  const size_t rounds = kernel == nullptr ? 0 : levels.size() / count;
  RunCursor run(tables, first, levels.size());
  if (rounds > 0 &&
      !decode_rounds(*kernel, payload, rounds, tables, count, run, state, levels.data())) {
    return Status::kBadCode;
  }
  return decode_rest(levels, rounds * count, tables, count, run, state) ? Status::kOk
                                                                        : Status::kBadCode;
}

void rans_chunks_decode(std::span<CodedChunk> chunks, int states,
                        const RansKernels* kernels) noexcept {
  while (!chunks.empty()) {
    const size_t together = group_size(chunks, states, kernels);
    const auto group = chunks.first(together);
    if (together == 1) {
      CodedChunk& chunk = group[0];
      chunk.status = rans_chunk_decode(chunk.payload, chunk.first, chunk.tables, states,
                                       chunk.levels, kernels);
    } else {
      decode_group(group, states, kernels);
    }
    chunks = chunks.subspan(together);
  }
}

}  // namespace fmtc
