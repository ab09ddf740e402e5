// Chunks, value by value; what vector code can do of one is in rans_rounds.cpp.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "core/bytes.h"
#include "core/multiversion.h"
#include "core/rans.h"
#include "core/rans_rounds.h"
#include "core/rans_states.h"
#include "core/rans_value.h"

namespace fmtc {
namespace rans {
namespace {

// Encodes values [begin, end) of a chunk, which share a table, the last one first.
void encode_run(std::span<const int16_t> levels, size_t begin, size_t end, int32_t lo,
                std::span<const uint32_t> entries, int log2_total, size_t state_mask,
                EncoderState& shared) noexcept {
  uint8_t* digits = shared.digits;
  uint8_t* escapes = shared.escapes;
  const size_t direct = entries.size() - 1;
  const uint32_t escape = entries[direct];
  const auto encode = [&](uint32_t & state, int16_t level) __attribute__((always_inline)) {
    const uint32_t entry = encode_entry(level, lo, entries.data(), direct);
    if (entry == escape) {
      store_le(escapes, static_cast<uint16_t>(level));
      escapes += kRansDigitBytes;
    }
    uint32_t x = state;
    // Where the state would exceed 32 bits, a digit goes out first. That happens at random, so no
    // branch is made of it: the digit is stored in any case.
    const uint32_t full = gives_digit(x, entry, log2_total) ? 1 : 0;
    store_le(digits - kRansDigitBytes, static_cast<uint16_t>(x));
    digits -= kRansDigitBytes * full;
    x >>= 16 * full;
    state = encode_value(x, entry, log2_total);
  };
  if (state_mask == 0) {
    uint32_t state = shared.states[0];  // stays in a register
    for (size_t i = end; i-- > begin;) encode(state, levels[i]);
    shared.states[0] = state;
  } else {
    for (size_t i = end; i-- > begin;) encode(shared.states[i & state_mask], levels[i]);
  }
  shared.digits = digits;
  shared.escapes = escapes;
}

// Decodes values that share a table, one after the other. `offset`: the level of symbol 0.
// Checked: false where the payload does not hold what a value needs; else it must hold 4 bytes a
// value.
struct ValueDecoder {
  const uint32_t* table;
  uint32_t slot_mask;
  int log2_total;
  uint32_t offset;
  const uint8_t* digits;
  const uint8_t* escapes;

  ValueDecoder(std::span<const uint32_t> entries, uint32_t offset,
               const DecoderState& state) noexcept
      : table(entries.data()),
        slot_mask(static_cast<uint32_t>(entries.size() - 1)),
        log2_total(std::countr_zero(entries.size())),
        offset(offset),
        digits(state.digits),
        escapes(state.escapes) {}

  template <bool kChecked>
  FMTC_ALWAYS_INLINE bool decode(uint32_t& state, int16_t& level) noexcept {
    const uint32_t entry = table[state & slot_mask];
    const uint32_t symbol = decode_symbol(entry);
    uint32_t x = decode_value(state, entry, log2_total);
    const uint32_t low = x < kRansLowest ? 1 : 0;
    if (!kChecked) {
      // No branch for what happens at random: the digit is loaded in any case.
      x = x << 16 * low | (load_le<uint16_t>(digits) & (0u - low));
      digits += kRansDigitBytes * low;
    } else if (low == 1) {
      if (escapes - digits < static_cast<std::ptrdiff_t>(kRansDigitBytes)) return false;
      x = take_digit(x, load_le<uint16_t>(digits));
      digits += kRansDigitBytes;
    }
    state = x;
    level = static_cast<int16_t>(offset + symbol);
    if (symbol == kEscapeSymbol) [[unlikely]] {
      if (kChecked && escapes - digits < static_cast<std::ptrdiff_t>(kRansDigitBytes)) return false;
      escapes -= kRansDigitBytes;
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
  // A value takes at most a digit from the front and an escaped level from the back; and before it
  // takes any, the 2 bytes of a digit are loaded. So with kWorst bytes a value between the two
  // ends, they do not meet within a piece, and no load reaches beyond the back one.
  constexpr size_t kWorst = 2 * kRansDigitBytes;
  constexpr size_t kWorthwhile = 64;  // values in a piece
  ValueDecoder decoder(entries, offset, state);
  const auto left = [&] { return static_cast<size_t>(decoder.escapes - decoder.digits); };
  while (begin < end && left() >= kWorst * kWorthwhile) {
    const size_t piece = std::min(end - begin, left() / kWorst);
    decode_unchecked(levels, begin, begin + piece, state_mask, decoder, state);
    begin += piece;
  }
  const bool good = decode_run<true>(levels, begin, end, state_mask, decoder, state);
  state.digits = decoder.digits;
  state.escapes = decoder.escapes;
  return good;
}

}  // namespace

EncoderState begin_chunk(std::span<uint8_t> out, size_t values, size_t count) noexcept {
  EncoderState state;
  state.states.fill(kRansLowest);
  state.digits = out.data() + kRansStateBytes * count + kRansDigitBytes * values;
  state.escapes = state.digits;
  return state;
}

void encode_values(std::span<const int16_t> levels, size_t begin, size_t end,
                   const ComponentTables& tables, size_t count, BackwardRunCursor& run,
                   EncoderState& state) noexcept {
  const int log2_total = encode_log2_total(tables.table(0));
  while (end > begin) {
    const size_t first = end - std::min(run.size(), end - begin);
    encode_run(levels, first, end, tables.lo, tables.table(run.table()), log2_total, count - 1,
               state);
    run.advance(end - first);
    end = first;
  }
}

size_t finish_chunk(std::span<uint8_t> out, size_t count, EncoderState& state) noexcept {
  for (size_t i = count; i-- > 0;) {
    state.digits -= kRansStateBytes;
    store_le(state.digits, state.states[i]);
  }
  const auto used = static_cast<size_t>(state.escapes - state.digits);
  std::memmove(out.data(), state.digits, used);
  return used;
}

bool load_states(std::span<const uint8_t> payload, size_t count, DecoderState& state) noexcept {
  if (payload.size() < kRansStateBytes * count) return false;
  for (size_t i = 0; i < count; ++i) {
    state.states[i] = load_le<uint32_t>(payload.data() + kRansStateBytes * i);
    if (state.states[i] < kRansLowest) return false;
  }
  state.digits = payload.data() + kRansStateBytes * count;
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

}  // namespace rans

namespace {

// How many values at most a state lasts until it is below kRansLowest: the slowest has a frequency
// of M - 1 and its symbol's first slot, which makes x - floor(x / M) of x, and grows with x.
constexpr size_t most_values_of_a_digit() {
  size_t values = 0;
  for (uint32_t x = 0xFFFFFFFF; x >= kRansLowest; ++values) x -= x / kMaxTotal;
  return values;
}
static_assert(most_values_of_a_digit() <= kMaxValuesPerDigit);

// The encoder's buffer has 4 bytes for each state, then 4 for each value: with k values still to be
// encoded, digits begin at least 2 k bytes behind the first part and escaped levels end at least 2
// k bytes before the end, as each value moves them by at most 2. The 2 bytes that are stored before
// `digits` in any case, and the 2 S of vector code at a round of S values, are thus always there,
// and in the end the states are.
static_assert(kRansStateBytes == 2 * kRansDigitBytes);

}  // namespace

size_t rans_chunk_bound(size_t values, int states) noexcept {
  return kRansStateBytes * static_cast<size_t>(states) + 2 * kRansDigitBytes * values;
}

Status rans_chunk_encode(std::span<const int16_t> levels, uint64_t first,
                         const ComponentTables& tables, int states, std::span<uint8_t> out,
                         size_t& used, const RansKernels* kernels) noexcept {
  using namespace rans;
  if (!states_valid(states) || tables.count() == 0) return Status::kBadArgument;
  if (out.size() < rans_chunk_bound(levels.size(), states)) return Status::kBufferTooSmall;
  const auto count = static_cast<size_t>(states);
  EncoderState state = begin_chunk(out, levels.size(), count);
  const RansKernel* kernel =
      encode_kernel(kernels, states, tables, encode_log2_total(tables.table(0)));
  const size_t rounds = kernel == nullptr ? 0 : levels.size() / count;
  BackwardRunCursor run(tables, first, levels.size());
  encode_values(levels, rounds * count, levels.size(), tables, count, run, state);
  if (rounds > 0) encode_rounds(*kernel, levels.data(), rounds, tables, count, run, state);
  used = finish_chunk(out, count, state);
  return Status::kOk;
}

Status rans_chunk_decode(std::span<const uint8_t> payload, uint64_t first,
                         const ComponentTables& tables, int states, std::span<int16_t> levels,
                         const RansKernels* kernels) noexcept {
  using namespace rans;
  if (!states_valid(states)) return Status::kBadArgument;
  const auto count = static_cast<size_t>(states);
  DecoderState state;
  if (!load_states(payload, count, state)) return Status::kBadCode;
  const RansKernel* kernel = decode_kernel(kernels, states, tables);
  const size_t rounds = kernel == nullptr ? 0 : levels.size() / count;
  RunCursor run(tables, first, levels.size());
  if (rounds > 0 &&
      !decode_rounds(*kernel, payload, rounds, tables, count, run, state, levels.data())) {
    return Status::kBadCode;
  }
  return decode_rest(levels, rounds * count, tables, count, run, state) ? Status::kOk
                                                                        : Status::kBadCode;
}

}  // namespace fmtc
