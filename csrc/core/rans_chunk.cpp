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

// Encodes values one by one, the last one of a chunk first, and walks along their tables.
class ValueEncoder {
 public:
  ValueEncoder(const ComponentTables& tables, BackwardRunCursor& run, EncoderState& state) noexcept
      : tables_(tables),
        run_(run),
        state_(state),
        log2_total_(encode_log2_total(tables.table(0))),
        digits_(state.digits),
        escapes_(state.escapes) {
    enter();
  }
  ~ValueEncoder() {
    run_.advance(run_.size() - left_);
    state_.digits = digits_;
    state_.escapes = escapes_;
  }
  ValueEncoder(const ValueEncoder&) = delete;
  ValueEncoder& operator=(const ValueEncoder&) = delete;

  FMTC_ALWAYS_INLINE void encode(uint32_t& state, int16_t level) noexcept {
    const uint32_t entry = encode_entry(level, tables_.lo, entries_.data(), direct_);
    if (entry == entries_[direct_]) {
      store_le(escapes_, static_cast<uint16_t>(level));
      escapes_ += kRansDigitBytes;
    }
    uint32_t x = state;
    // Where the state would exceed 32 bits, a digit goes out first. That happens at random, so no
    // branch is made of it: the digit is stored in any case.
    const uint32_t full = gives_digit(x, entry, log2_total_) ? 1 : 0;
    store_le(digits_ - kRansDigitBytes, static_cast<uint16_t>(x));
    digits_ -= kRansDigitBytes * full;
    x >>= 16 * full;
    state = encode_value(x, entry, log2_total_);
    if (--left_ == 0) {
      run_.advance(run_.size());
      enter();
    }
  }

 private:
  void enter() noexcept {
    left_ = run_.size();
    if (left_ == 0) return;  // all is encoded
    entries_ = tables_.table(run_.table());
    direct_ = entries_.size() - 1;
  }

  const ComponentTables& tables_;
  BackwardRunCursor& run_;
  EncoderState& state_;
  const int log2_total_;
  uint8_t* digits_;
  uint8_t* escapes_;
  std::span<const uint32_t> entries_;
  size_t direct_ = 0;
  size_t left_ = 0;  // values of the present run
};

// Encodes whole rounds of few states, which stay in registers, the last one first.
template <size_t kStates>
FMTC_ALWAYS_INLINE void encode_few(const int16_t* levels, size_t rounds,
                                   const ComponentTables& tables, BackwardRunCursor& run,
                                   EncoderState& state) noexcept {
  ValueEncoder encoder(tables, run, state);
  std::array<uint32_t, kStates> x;
  std::copy_n(state.states.begin(), kStates, x.begin());
  for (size_t round = rounds; round-- > 0;) {
#pragma GCC unroll 8
    for (size_t i = 1; i <= kStates; ++i) {
      encoder.encode(x[kStates - i], levels[(round + 1) * kStates - i]);
    }
  }
  std::copy_n(x.begin(), kStates, state.states.begin());
}

// Decodes values one by one, and walks along their tables. Checked: false where the payload does
// not hold what a value needs; else it must hold kWorst bytes a value.
class ValueDecoder {
 public:
  // A value takes at most a digit from the front and an escaped level from the back; and before it
  // takes any, the 2 bytes of a digit are loaded. So with kWorst bytes a value between the two
  // ends, they do not meet, and no load reaches beyond the back one.
  static constexpr size_t kWorst = 2 * kRansDigitBytes;

  ValueDecoder(const ComponentTables& tables, RunCursor& run, DecoderState& state) noexcept
      : tables_(tables),
        run_(run),
        state_(state),
        slot_mask_(static_cast<uint32_t>(tables.width - 1)),
        log2_total_(std::countr_zero(tables.width)),
        digits_(state.digits),
        escapes_(state.escapes) {
    enter();
  }
  ~ValueDecoder() {
    run_.advance(run_.size() - left_);
    state_.digits = digits_;
    state_.escapes = escapes_;
  }
  ValueDecoder(const ValueDecoder&) = delete;
  ValueDecoder& operator=(const ValueDecoder&) = delete;

  template <bool kChecked>
  FMTC_ALWAYS_INLINE bool decode(uint32_t& state, int16_t& level) noexcept {
    const uint32_t entry = table_[state & slot_mask_];
    const uint32_t symbol = decode_symbol(entry);
    uint32_t x = decode_value(state, entry, log2_total_);
    const uint32_t low = x < kRansLowest ? 1 : 0;
    if (!kChecked) {
      // No branch for what happens at random: the digit is loaded in any case.
      x = x << 16 * low | (load_le<uint16_t>(digits_) & (0u - low));
      digits_ += kRansDigitBytes * low;
    } else if (low == 1) {
      if (left() < kRansDigitBytes) return false;
      x = take_digit(x, load_le<uint16_t>(digits_));
      digits_ += kRansDigitBytes;
    }
    state = x;
    level = static_cast<int16_t>(offset_ + symbol);
    if (symbol == kEscapeSymbol) [[unlikely]] {
      if (kChecked && left() < kRansDigitBytes) return false;
      escapes_ -= kRansDigitBytes;
      level = static_cast<int16_t>(load_le<uint16_t>(escapes_));
    }
    if (--left_ == 0) {
      run_.advance(run_.size());
      enter();
    }
    return true;
  }

  // Bytes of the payload that nothing has taken.
  size_t left() const noexcept { return static_cast<size_t>(escapes_ - digits_); }

 private:
  void enter() noexcept {
    left_ = run_.size();
    if (left_ == 0) return;  // all is decoded
    table_ = run_.entries();
    offset_ = static_cast<uint32_t>(tables_.lo + tables_.base[run_.table()]);
  }

  const ComponentTables& tables_;
  RunCursor& run_;
  DecoderState& state_;
  const uint32_t slot_mask_;
  const int log2_total_;
  const uint8_t* digits_;
  const uint8_t* escapes_;
  const uint32_t* table_ = nullptr;
  uint32_t offset_ = 0;  // the level of symbol 0
  size_t left_ = 0;      // values of the present run
};

// Decodes whole rounds of few states, which stay in registers: in pieces without checks while the
// payload is long enough for the worst, then with checks.
template <size_t kStates>
FMTC_ALWAYS_INLINE bool decode_few(int16_t* levels, size_t rounds, const ComponentTables& tables,
                                   RunCursor& run, DecoderState& state) noexcept {
  constexpr size_t kWorthwhile = 8;  // rounds in a piece
  ValueDecoder decoder(tables, run, state);
  std::array<uint32_t, kStates> x;
  std::copy_n(state.states.begin(), kStates, x.begin());
  size_t round = 0;
  for (size_t sure; round < rounds; round += sure) {
    sure = std::min(rounds - round, decoder.left() / (ValueDecoder::kWorst * kStates));
    if (sure < kWorthwhile) break;
    for (int16_t* level = levels + round * kStates; level != levels + (round + sure) * kStates;
         level += kStates) {
#pragma GCC unroll 8
      for (size_t i = 0; i < kStates; ++i) decoder.decode<false>(x[i], level[i]);
    }
  }
  bool good = true;
  for (; round < rounds && good; ++round) {
    for (size_t i = 0; i < kStates && good; ++i) {
      good = decoder.decode<true>(x[i], levels[round * kStates + i]);
    }
  }
  std::copy_n(x.begin(), kStates, state.states.begin());
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
  const size_t whole = std::max(end / count * count, begin);
  {
    ValueEncoder encoder(tables, run, state);
    for (size_t i = end; i-- > whole;) encoder.encode(state.states[i % count], levels[i]);
  }
  with_states<kMaxStates>(count, [&](auto states) {
    multiversion<encode_few<states()>>(levels.data() + begin, (whole - begin) / count, tables, run,
                                       state);
  });
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

bool decode_rest(std::span<int16_t> levels, size_t begin, const ComponentTables& tables,
                 size_t count, RunCursor& run, DecoderState& state) noexcept {
  const size_t rounds = (levels.size() - begin) / count;
  bool good = true;
  with_states<kMaxStates>(count, [&](auto states) {
    good = multiversion<decode_few<states()>>(levels.data() + begin, rounds, tables, run, state);
  });
  if (!good) return false;
  {
    ValueDecoder decoder(tables, run, state);
    for (size_t i = begin + rounds * count; i < levels.size(); ++i) {
      if (!decoder.decode<true>(state.states[i % count], levels[i])) return false;
    }
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
